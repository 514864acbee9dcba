"""Which codes of an authenticator count, and how recovery codes are told from them."""

from __future__ import annotations

import pytest

from collegium.rules import second_factors as rules
from collegium.rules.refusals import Conflict, Invalid


def test_the_step_before_and_after_are_taken_and_no_other() -> None:
    assert list(rules.steps(299)) == [8, 9, 10]
    assert list(rules.steps(300)) == [9, 10, 11]


@pytest.mark.parametrize(("found", "last"), [(None, 0), (5, 5), (4, 5)])
def test_a_wrong_code_a_used_one_and_an_earlier_one_are_refused_alike(
    found: int | None, last: int
) -> None:
    with pytest.raises(Invalid) as refused:
        rules.check_step(found, last)
    assert refused.value.code == "second_factor.wrong"
    assert refused.value.facts == {"field": "code"}


def test_a_later_step_is_taken() -> None:
    assert rules.check_step(6, 5) == 6


def test_a_code_is_read_as_people_type_it() -> None:
    assert rules.plain(" 123 456 ") == "123456"
    (shown,) = rules.shown(["0110915539081f71"])
    assert shown == "0110-9155-3908-1f71"
    assert rules.plain(shown.upper()) == "0110915539081f71"


@pytest.mark.parametrize(
    ("code", "is_recovery"),
    [("123456", False), ("0110915539081f71", True), ("1234567890123456", True), ("", True)],
)
def test_a_recovery_code_is_told_from_an_authenticators(code: str, *, is_recovery: bool) -> None:
    assert rules.is_recovery(code) is is_recovery


def test_there_is_one_second_factor_an_account() -> None:
    rules.check_off(is_on=False)
    with pytest.raises(Conflict, match=r"second_factor\.exists"):
        rules.check_off(is_on=True)
