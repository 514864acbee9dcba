"""Delays after too many failures."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.security.rate_limits import rules as rate_limit_rules
from collegium.security.rate_limits.rules import RateLimit, backoff

LIMITS = {
    name: limit
    for name, limit in sorted(vars(rate_limit_rules).items())
    if isinstance(limit, RateLimit)
}
# Allowed failures, initial delay, maximum delay and window; the last three in seconds.
EXPECTED = {
    "ASK_ADDRESS": (100, 30, 3600, 3600),
    "CODE_ADDRESS": (10, 5, 600, 600),
    "DEVICE_ADDRESS": (30, 5, 600, 600),
    "FORWARDED": (1_000_000, 1, 1, 86_400),
    "INVITE_ACCOUNT": (200, 30, 3600, 3600),
    "INVITE_ADDRESS": (1000, 30, 3600, 3600),
    "JOIN_ACCOUNT": (20, 5, 600, 600),
    "JOIN_ADDRESS": (200, 5, 600, 600),
    "LOGIN_ACCOUNT": (10, 1, 30, 600),
    "LOGIN_ADDRESS": (30, 5, 600, 600),
    "LOGIN_PAIR": (3, 600, 600, 600),
    "MAIL_ACCOUNT": (10, 30, 3600, 3600),
    "MAIL_INVITEE": (5, 60, 3600, 3600),
    "PEOPLE_ACCOUNT": (60, 5, 600, 600),
    "PEOPLE_ADDRESS": (60, 5, 600, 600),
    "SIGN_UP_ADDRESS": (100, 5, 600, 600),
    "SIGN_UP_LINK": (20, 5, 600, 600),
}
COUNTS = st.integers(0, 10_000)


def test_rate_limits_have_the_documented_values() -> None:
    assert {
        name: (limit.allowed, *(int(duration.total_seconds()) for duration in limit[1:]))
        for name, limit in LIMITS.items()
    } == EXPECTED


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(0, 0), (2, 0), (3, 0), (4, 5), (5, 10), (6, 20), (7, 40), (8, 60), (9, 60), (10**9, 60)],
)
def test_each_failure_beyond_the_limit_doubles_the_delay(count: int, seconds: int) -> None:
    limit = RateLimit(3, timedelta(seconds=5), timedelta(seconds=60), timedelta(hours=1))
    assert backoff(limit, count) == timedelta(seconds=seconds)


@given(st.sampled_from([*LIMITS.values()]), COUNTS)
def test_delay_grows_up_to_its_maximum(limit: RateLimit, count: int) -> None:
    assert backoff(limit, count) <= backoff(limit, count + 1) <= limit.max_delay
    assert bool(backoff(limit, count)) is (count > limit.allowed)


@pytest.mark.parametrize("name", LIMITS)
def test_every_delay_reaches_its_maximum(name: str) -> None:
    limit = LIMITS[name]
    assert backoff(limit, limit.allowed + 21) == limit.max_delay
