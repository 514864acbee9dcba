"""No database and nobody else folds an address: one function in the rules does."""

from __future__ import annotations

import re
from pathlib import Path

import collegium

SOURCE = Path(collegium.__file__).parent
_SQL_FOLDS = re.compile(r"func\.(lower|upper)\(|ilike\(|casefold\(")
_PYTHON_FOLDS = re.compile(r"(e?mail|address)[\w.\[\]\"']*\.(lower|upper|casefold)\(\)")


def _sources() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(SOURCE)), path.read_text())
        for path in sorted(SOURCE.rglob("*.py"))
        if "migrations" not in path.parts
    ]


def test_no_statement_lowers_an_address() -> None:
    # Searches for names may fold; they have no column of an address in their line.
    found = [
        (name, line.strip())
        for name, text in _sources()
        if name.endswith("queries.py") or name.startswith("lists/")
        for line in text.splitlines()
        if _SQL_FOLDS.search(line) and "email" in line
    ]
    assert not found


def test_no_address_is_folded_outside_the_rules_of_addresses() -> None:
    found = [
        (name, line.strip())
        for name, text in _sources()
        if name != "text/email_addresses.py"
        for line in text.splitlines()
        if _PYTHON_FOLDS.search(line)
    ]
    assert not found


def test_addresses_are_judged_by_one_function() -> None:
    users = [name for name, text in _sources() if "validate_email" in text]
    assert users == ["text/email_addresses.py"]
