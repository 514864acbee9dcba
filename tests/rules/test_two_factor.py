"""Which codes of an authenticator count, and how recovery codes are told from them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits.rules import backoff
from collegium.sign_in.two_factor import rules as two_factor_rules


def test_the_step_before_and_after_are_taken_and_no_other() -> None:
    assert list(two_factor_rules.steps(299)) == [8, 9, 10]
    assert list(two_factor_rules.steps(300)) == [9, 10, 11]


@pytest.mark.parametrize(("found", "last"), [(None, 0), (5, 5), (4, 5)])
def test_a_wrong_code_a_used_one_and_an_earlier_one_are_refused_alike(
    found: int | None, last: int
) -> None:
    with pytest.raises(Invalid) as refused:
        two_factor_rules.check_step(found, last)
    assert refused.value.code == "second_factor.wrong"
    assert refused.value.facts == {"field": "code"}


def test_a_later_step_is_taken() -> None:
    assert two_factor_rules.check_step(6, 5) == 6


def test_a_code_is_read_as_people_type_it() -> None:
    assert two_factor_rules.plain(" 123 456 ") == "123456"
    (shown,) = two_factor_rules.shown(["0110915539081f71"])
    assert shown == "0110-9155-3908-1f71"
    assert two_factor_rules.plain(shown.upper()) == "0110915539081f71"


@pytest.mark.parametrize(
    ("code", "is_recovery"),
    [
        ("123456", False),
        ("12345678", False),
        ("123456789", True),
        ("0110915539081f71", True),
        ("1234567890123456", True),
        ("", True),
    ],
)
def test_a_recovery_code_is_told_from_an_authenticators(code: str, *, is_recovery: bool) -> None:
    assert two_factor_rules.is_recovery(code) is is_recovery


def test_there_is_one_second_factor_an_account() -> None:
    two_factor_rules.check_off(is_on=False)
    with pytest.raises(Conflict) as refused:
        two_factor_rules.check_off(is_on=True)
    assert refused.value.code == "second_factor.exists"


def test_ten_recovery_codes_are_given_out() -> None:
    assert two_factor_rules.RECOVERY_CODES == 10


def test_guessing_six_digits_costs_half_a_minute_and_soon_ten_each() -> None:
    waits = [backoff(two_factor_rules.TRIES, count) for count in range(1, 11)]
    assert waits[:5] == [timedelta()] * 5
    assert waits[5:] == [timedelta(seconds=30 * 2**n) for n in range(4)] + [timedelta(minutes=8)]
    assert backoff(two_factor_rules.TRIES, 11) == timedelta(minutes=10)
    assert two_factor_rules.TRIES.window == timedelta(minutes=10)


@pytest.mark.parametrize("wrong", [0, 3, 19])
def test_codes_count_while_fewer_than_twenty_were_wrong(wrong: int) -> None:
    two_factor_rules.check_unlocked(wrong)


@pytest.mark.parametrize("wrong", [20, 21, 1000])
def test_no_code_counts_after_twenty_wrong_ones(wrong: int) -> None:
    with pytest.raises(Invalid) as refused:
        two_factor_rules.check_unlocked(wrong)
    assert refused.value.code == "second_factor.locked"
    assert refused.value.facts == {"field": "code"}


def test_the_owner_is_told_of_the_third() -> None:
    assert two_factor_rules.TOLD_AT == 3
