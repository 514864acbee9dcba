"""A refusal is a kind, a code, and facts."""

from __future__ import annotations

import pytest

from collegium import refusals
from collegium.refusals import Refusal

KINDS = [kind for kind in vars(refusals).values() if isinstance(kind, type) and kind is not Refusal]


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_carries_its_code_and_its_facts(kind: type[Refusal]) -> None:
    bare, told = kind("noun.reason"), kind("noun.reason", field="name", most=3)
    assert (bare.code, bare.facts) == ("noun.reason", {})
    assert (told.code, told.facts) == ("noun.reason", {"field": "name", "most": 3})
    assert str(told) == "noun.reason"
    assert isinstance(told, Refusal)
