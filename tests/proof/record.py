"""What a run of the proof leaves behind: one line of JSON for each thing that was run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LONG = "PROOF_RECORD" in os.environ
"""Whether this is the long run, which ``script/prove`` begins."""


def record(what: str, **figures: Any) -> None:
    """Keep some figures of a run for the report."""
    if LONG:
        with Path(os.environ["PROOF_RECORD"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, **figures}) + "\n")
