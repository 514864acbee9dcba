"""Addresses are folded and validated only in ``text/email_addresses.py``."""

from __future__ import annotations

import re
from pathlib import Path

import collegium

SOURCE = Path(collegium.__file__).parent
HOME = "text/email_addresses.py"
_SQL_FOLDING = re.compile(r"func\.(lower|upper)\(|ilike\(|casefold\(")
_PYTHON_FOLDING = re.compile(r"(e?mail|address)[\w.\[\]\"']*\.(lower|upper|casefold)\(\)")


def _lines() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(SOURCE)), line)
        for path in sorted(SOURCE.rglob("*.py"))
        if "migrations" not in path.parts
        for line in path.read_text().splitlines()
    ]


def test_no_sql_statement_folds_an_address() -> None:
    # Searches for names may fold: their lines name no column of an address.
    assert not [
        (name, line)
        for name, line in _lines()
        if (name.endswith("queries.py") or name.startswith("lists/"))
        and _SQL_FOLDING.search(line)
        and "email" in line
    ]


def test_addresses_are_folded_only_in_email_addresses() -> None:
    lines = [(name, line) for name, line in _lines() if name != HOME]
    assert not [(name, line) for name, line in lines if _PYTHON_FOLDING.search(line)]


def test_addresses_are_validated_by_one_function() -> None:
    assert {name for name, line in _lines() if re.search(r"\bvalidate_email\b", line)} == {HOME}
