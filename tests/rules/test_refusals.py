"""Refusals have a kind, a code and facts."""

from __future__ import annotations

import pytest

from collegium.refusals import Conflict, NotFound, Refusal, check_quota, or_not_found
from tests.rules.refusing import refused

KINDS = Refusal.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
def test_refusal_has_a_code_and_facts(kind: type[Refusal]) -> None:
    for facts in ({}, {"field": "name", "most": 3}):
        refusal = kind("noun.reason", **facts)
        assert (refusal.code, refusal.facts) == ("noun.reason", facts)
        assert str(refusal) == "noun.reason"
        assert isinstance(refusal, Refusal)


def test_quota_allows_numbers_below_the_limit() -> None:
    check_quota(0, 1, "noun.too_many")
    check_quota(4, 5, "noun.too_many")
    for count in (5, 6):
        with refused(Conflict, "noun.too_many", {"most": 5}):
            check_quota(count, 5, "noun.too_many")


def test_only_none_is_not_found() -> None:
    for found in (0, "", (), False):
        assert or_not_found(found, "noun.unknown") is found
    with refused(NotFound, "noun.unknown", {}):
        or_not_found(None, "noun.unknown")
