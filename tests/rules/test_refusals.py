"""Refusals have a kind, a code and facts."""

from __future__ import annotations

import pytest

from collegium.refusals import Refusal

KINDS = Refusal.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
def test_refusal_has_a_code_and_facts(kind: type[Refusal]) -> None:
    for facts in ({}, {"field": "name", "most": 3}):
        refusal = kind("noun.reason", **facts)
        assert (refusal.code, refusal.facts) == ("noun.reason", facts)
        assert str(refusal) == "noun.reason"
        assert isinstance(refusal, Refusal)
