"""Hooks that Schemathesis loads: which generated calls are left out."""

import os
from typing import Any

import schemathesis

OWN = os.environ["HOSTILE_OWN"]
"""UUID and number of the calling account."""


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Skip writes to the calling account, and the parameter that removes fields."""
    is_write = case.method.upper() not in {"GET", "HEAD"}
    names_own = bool(set(map(str, (case.path_parameters or {}).values())) & set(OWN.split()))
    return not (is_write and names_own) and "field" not in (case.query or {})
