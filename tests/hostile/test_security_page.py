"""What ``docs/security.md`` says is shown by a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 80
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text(), f"{file}::{test}"


def test_every_line_says_how_it_is_shown_or_that_it_is_not() -> None:
    rows = re.findall(r"(?m)^\| (\d+\.[\d.,\u2013 ]+) \| .+ \| (.+) \|$", PAGE)
    assert len(rows) > 100
    for number, shown in rows:
        assert "`" in shown or "not met" in shown or shown in {"does not apply", "this page"}, (
            number
        )
