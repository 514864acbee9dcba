"""``docs/security.md`` names existing tests, and a reason for every requirement."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()


def test_every_named_test_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 80
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text(), f"{file}::{test}"


def test_every_requirement_names_a_proof_or_is_not_met() -> None:
    rows = re.findall(r"(?m)^\| (\d+\.[\d.,\u2013 ]+) \| .+ \| (.+) \|$", PAGE)
    assert len(rows) > 100
    for number, proof in rows:
        is_excepted = "not met" in proof or proof in {"does not apply", "this page"}
        assert "`" in proof or is_excepted, number
