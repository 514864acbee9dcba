"""What the generated calls leave alone; Schemathesis loads this beside our tests."""

from __future__ import annotations

import os
from typing import Any

import schemathesis

OWN = os.environ["HOSTILE_OWN"]
"""The account that calls: its UUID and its number, with a space between."""


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Leave out what would end the calls, and the parameter that leaves fields out."""
    is_write = case.method.upper() not in {"GET", "HEAD"}
    names_own = bool(set(map(str, (case.path_parameters or {}).values())) & set(OWN.split()))
    return not (is_write and names_own) and "field" not in (case.query or {})
