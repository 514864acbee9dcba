"""Refusals have a kind, a code and facts."""

from __future__ import annotations

import pytest

from collegium.refusals import NotFound, Refusal, or_not_found
from tests.rules.refusing import refused

KINDS = Refusal.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
def test_refusal_has_a_code_and_facts(kind: type[Refusal]) -> None:
    for facts in ({}, {"field": "name", "most": 3}):
        refusal = kind("noun.reason", **facts)
        assert (refusal.code, refusal.facts) == ("noun.reason", facts)
        assert str(refusal) == "noun.reason"
        assert isinstance(refusal, Refusal)


def test_missing_row_is_refused() -> None:
    assert or_not_found(0, "noun.unknown") == 0
    with refused(NotFound, "noun.unknown", {}):
        or_not_found(None, "noun.unknown")
