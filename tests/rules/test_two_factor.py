"""Validity of authenticator codes and recovery codes."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta

import pytest

from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits.rules import backoff
from collegium.sign_in.two_factor import rules as two_factor_rules
from tests.rules.refusing import refused


def test_code_is_valid_one_step_before_and_after() -> None:
    assert list(two_factor_rules.steps(299)) == [8, 9, 10]
    assert list(two_factor_rules.steps(300)) == [9, 10, 11]


@pytest.mark.parametrize(("step", "last"), [(None, 0), (5, 5), (4, 5)])
def test_wrong_used_and_earlier_codes_are_refused_alike(step: int | None, last: int) -> None:
    with refused(Invalid, "second_factor.wrong", {"field": "code"}):
        two_factor_rules.check_step(step, last)


def test_later_step_is_accepted() -> None:
    assert two_factor_rules.check_step(6, 5) == 6


def test_typed_code_is_normalised() -> None:
    assert two_factor_rules.plain(" 123 456 ") == "123456"
    (shown,) = two_factor_rules.format_codes(["0110915539081f71"])
    assert shown == "0110-9155-3908-1f71"
    assert two_factor_rules.plain(shown.upper()) == "0110915539081f71"


@pytest.mark.parametrize(
    ("code", "is_recovery"),
    [
        *(("123456", False), ("12345678", False), ("123456789", True), ("", True)),
        *(("0110915539081f71", True), ("1234567890123456", True)),
    ],
)
def test_recovery_code_is_recognised(code: str, *, is_recovery: bool) -> None:
    assert two_factor_rules.is_recovery(code) is is_recovery


def test_account_has_one_authenticator() -> None:
    two_factor_rules.check_off(is_on=False)
    with refused(Conflict, "second_factor.exists"):
        two_factor_rules.check_off(is_on=True)


def test_number_of_recovery_codes() -> None:
    assert two_factor_rules.RECOVERY_CODES == 10


def test_wrong_codes_are_rate_limited() -> None:
    delays = [backoff(two_factor_rules.TRIES, count) for count in range(1, 11)]
    assert delays[:5] == [timedelta()] * 5
    assert delays[5:] == [timedelta(seconds=30 * 2**n) for n in range(4)] + [timedelta(minutes=8)]
    assert backoff(two_factor_rules.TRIES, 11) == timedelta(minutes=10)
    assert two_factor_rules.TRIES.window == timedelta(minutes=10)


def test_codes_are_locked_after_twenty_wrong_ones() -> None:
    for wrong in (0, 3, 19):
        two_factor_rules.check_unlocked(wrong)
    for wrong in (20, 21, 1000):
        with refused(Invalid, "second_factor.locked", {"field": "code"}):
            two_factor_rules.check_unlocked(wrong)


def test_owner_is_notified_of_the_third_wrong_code() -> None:
    assert two_factor_rules.NOTIFY_AT == 3


@pytest.mark.parametrize(
    ("required_of", "of_staff", "of_others"),
    [("nobody", False, False), ("staff", True, False), ("everybody", True, True)],
)
def test_two_factor_authentication_can_be_required(
    required_of: str, *, of_staff: bool, of_others: bool
) -> None:
    for sees_all, required in ((True, of_staff), (False, of_others)):
        assert two_factor_rules.is_required(required_of, sees_all=sees_all) is required
        with refused(Conflict, "second_factor.mandatory") if required else nullcontext():
            two_factor_rules.check_optional(required_of, sees_all=sees_all)
