"""Kinds and lifetimes of tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.refusals import Forbidden, Limited
from collegium.sign_in.tokens import rules as token_rules
from collegium.sign_in.tokens.rules import BEARERS, COUNTED, TokenKind, expiry
from tests.rules.refusing import refused

ISSUED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
USED = ISSUED + timedelta(minutes=30)
FIXED_END = ISSUED + timedelta(minutes=45)
HOUR = 3600
SECONDS = st.none() | st.integers(0, 10**7)
MOMENTS = st.integers(-(10**8), 10**8).map(lambda seconds: ISSUED + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("lifetime", "max_age", "ends", "until"),
    [
        (None, None, None, None),
        (HOUR, None, None, USED + timedelta(hours=1)),
        (None, HOUR, None, ISSUED + timedelta(hours=1)),
        (None, None, FIXED_END, FIXED_END),
        (HOUR, HOUR, None, ISSUED + timedelta(hours=1)),
        (60, HOUR, None, USED + timedelta(minutes=1)),
        (HOUR, HOUR, FIXED_END, FIXED_END),
        (0, HOUR, FIXED_END, USED),
    ],
)
def test_token_expires_at_the_first_of_its_limits(
    lifetime: int | None, max_age: int | None, ends: datetime | None, until: datetime | None
) -> None:
    assert expiry(ISSUED, USED, lifetime, max_age, ends) == until


@given(MOMENTS, MOMENTS, SECONDS, SECONDS, st.none() | MOMENTS)
def test_another_limit_never_extends_a_token(
    issued: datetime,
    used: datetime,
    lifetime: int | None,
    max_age: int | None,
    ends: datetime | None,
) -> None:
    expires_at = expiry(issued, used, lifetime, max_age, ends)
    for fewer in (
        expiry(issued, used, None, max_age, ends),
        expiry(issued, used, lifetime, None, ends),
        expiry(issued, used, lifetime, max_age),
    ):
        assert fewer is None or (expires_at is not None and expires_at <= fewer)


def test_kinds_of_bearer_tokens() -> None:
    assert {kind.value for kind in BEARERS} == {"api", "personal", "device", "access"}
    assert {kind.value for kind in COUNTED} == {"personal", "device"}
    assert {kind.value for kind in set(TokenKind) - BEARERS} == {"session", "refresh", "spent"}


@pytest.mark.parametrize(
    ("seconds", "lasts"),
    [
        (token_rules.PERSONAL_LIFETIME, timedelta(days=365)),
        (token_rules.ACCESS_LIFETIME, timedelta(hours=1)),
        (token_rules.REFRESH_LIFETIME, timedelta(days=30)),
        (token_rules.SESSION_LIFETIME, timedelta(hours=12)),
        (token_rules.SESSION_AGE, timedelta(days=30)),
    ],
    ids=["personal", "access", "refresh", "session", "session_in_all"],
)
def test_lifetimes_of_tokens(seconds: int, lasts: timedelta) -> None:
    assert timedelta(seconds=seconds) == lasts


def test_only_the_api_token_may_change_the_address() -> None:
    token_rules.check_not_delegated(TokenKind.API.value)
    for kind in {*map(str, TokenKind)} - {TokenKind.API.value}:
        with refused(Forbidden, "token.delegated"):
            token_rules.check_not_delegated(kind)


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(timedelta(0), 600), (timedelta(minutes=9, seconds=58.5), 2), (timedelta(minutes=10), 1)],
)
def test_sign_in_waits_until_the_earliest_one_is_outside_the_window(
    age: timedelta, seconds: int
) -> None:
    token_rules.check_logins(None, USED)
    with refused(Limited, "tries.wait", {"seconds": seconds}):
        token_rules.check_logins(USED - age, USED)


def test_programs_have_no_access_to_the_api_token() -> None:
    allowed = {kind for kind in (None, *TokenKind) if token_rules.may_manage_api_token(kind)}
    assert allowed == {None, TokenKind.API}


def test_session_is_confirmed_for_fifteen_minutes() -> None:
    last = USED - timedelta(minutes=15)
    assert not token_rules.is_confirmed(None, USED)
    assert not token_rules.is_confirmed(last, USED)
    assert token_rules.is_confirmed(last + timedelta(microseconds=1), USED)
