"""Delays after too many failures."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.security.rate_limits import rules as rate_limit_rules
from collegium.security.rate_limits.rules import Limit, Per, RateLimit, backoff
from collegium.sign_in.two_factor import rules as two_factor_rules

RATES = {
    key.strip(): rate
    for limit in [*vars(rate_limit_rules).values(), two_factor_rules.CODES]
    if isinstance(limit, Limit)
    for key, rate in limit.keys(0, "", "").items()
}
# Allowed failures, initial delay, maximum delay and window; the last three in seconds.
EXPECTED = {
    "ask account 0": (10, 30, 3600, 3600),
    "ask address": (100, 30, 3600, 3600),
    "code address": (10, 5, 600, 600),
    "device address": (30, 5, 600, 600),
    "passkey address": (60, 5, 600, 600),
    "export account 0": (30, 30, 3600, 3600),
    "import account 0": (20, 30, 3600, 3600),
    "import address": (100, 30, 3600, 3600),
    "bulk change account 0": (30, 60, 3600, 3600),
    "import start account 0": (5, 60, 3600, 3600),
    "invite account 0": (200, 30, 3600, 3600),
    "invite address": (1000, 30, 3600, 3600),
    "join account 0": (20, 5, 600, 600),
    "join address": (200, 5, 600, 600),
    "login address": (30, 5, 600, 600),
    "login pair": (3, 600, 600, 600),
    "login target": (10, 1, 30, 600),
    "mail account 0": (10, 30, 3600, 3600),
    "password address": (10, 30, 3600, 3600),
    "password target": (10, 30, 3600, 3600),
    "people account 0": (60, 5, 600, 600),
    "people address": (60, 5, 600, 600),
    "provider address": (300, 5, 600, 600),
    "refresh address": (10, 5, 600, 600),
    "second factor target": (5, 30, 600, 600),
    "send target": (5, 60, 3600, 3600),
    "stray return address": (300, 5, 600, 600),
    "sign up address": (100, 5, 600, 600),
    "sign up target": (20, 5, 600, 600),
}
COUNTS = st.integers(0, 10_000)
HOUR = timedelta(hours=1)


def test_rate_limits_have_the_documented_values() -> None:
    assert {
        name: (limit.allowed, *(int(duration.total_seconds()) for duration in limit[1:]))
        for name, limit in RATES.items()
    } == EXPECTED


def test_limits_have_two_usual_shapes() -> None:
    # The table above was made when the module was loaded, so a mutant does not reach it.
    seconds, minutes = timedelta(seconds=5), timedelta(minutes=10)
    assert rate_limit_rules._in_minutes(7) == RateLimit(7, seconds, minutes, minutes)
    assert rate_limit_rules._in_hours(7) == RateLimit(7, 6 * seconds, HOUR, HOUR)
    assert rate_limit_rules._in_hours(7, seconds) == RateLimit(7, seconds, HOUR, HOUR)


def test_staff_are_exempt_from_limits_of_what_they_may_do_anyway() -> None:
    exempt = {
        name
        for name, limit in vars(rate_limit_rules).items()
        if isinstance(limit, Limit) and limit.exempts_staff
    }
    assert exempt == {"INVITE", "IMPORT", "IMPORT_START", "BULK_CHANGE", "ASK", "JOIN", "PEOPLE"}
    assert not two_factor_rules.CODES.exempts_staff


def test_attempts_count_by_who_from_where_and_at_what() -> None:
    """The keys are stored."""
    rates = {per: RateLimit(number, HOUR, HOUR, HOUR) for number, per in enumerate(Per)}
    limit = Limit("x", rates)
    assert list(limit.keys(7, "192.0.2.0/24", "t").items()) == [
        ("x account 7", rates[Per.ACCOUNT]),
        ("x address 192.0.2.0/24", rates[Per.NETWORK]),
        ("x target t", rates[Per.TARGET]),
        ("x pair t 192.0.2.0/24", rates[Per.TARGET_AND_NETWORK]),
    ]
    assert set(map(len, limit.keys(10**200, "n" * 200, "t" * 200))) == {128}
    with pytest.raises(AttributeError):
        setattr(limit, "exempts_staff", True)  # noqa: B010 - the type checker knows


def test_forwarding_headers_are_counted_without_a_delay() -> None:
    day = timedelta(days=1)
    second = timedelta(seconds=1)
    assert RateLimit(1_000_000, second, second, day) == rate_limit_rules.FORWARDED


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(0, 0), (2, 0), (3, 0), (4, 5), (5, 10), (6, 20), (7, 40), (8, 60), (9, 60), (10**9, 60)],
)
def test_each_failure_beyond_the_limit_doubles_the_delay(count: int, seconds: int) -> None:
    limit = RateLimit(3, timedelta(seconds=5), timedelta(seconds=60), timedelta(hours=1))
    assert backoff(limit, count) == timedelta(seconds=seconds)


@given(st.sampled_from([*RATES.values()]), COUNTS)
def test_delay_grows_up_to_its_maximum(limit: RateLimit, count: int) -> None:
    assert backoff(limit, count) <= backoff(limit, count + 1) <= limit.max_delay
    assert bool(backoff(limit, count)) is (count > limit.allowed)


@pytest.mark.parametrize("name", RATES)
def test_every_delay_reaches_its_maximum(name: str) -> None:
    limit = RATES[name]
    assert backoff(limit, limit.allowed + 21) == limit.max_delay
