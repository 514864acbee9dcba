"""The record of a run: one line of JSON per part."""

import json
import os
from pathlib import Path
from typing import Any

LONG = "PROOF_RECORD" in os.environ
"""Whether this is the long run of ``script/prove``."""


def record(what: str, **figures: Any) -> None:
    """Add figures to the report of a long run."""
    if LONG:
        with Path(os.environ["PROOF_RECORD"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, **figures}) + "\n")
