"""How long a token counts, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.refusals import Forbidden
from collegium.sign_in.tokens import rules as token_rules
from collegium.sign_in.tokens.rules import BEARERS, TokenKind, expiry

ISSUED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
USED = ISSUED + timedelta(minutes=30)
SET = ISSUED + timedelta(minutes=45)
HOUR = 3600
SECONDS = st.none() | st.integers(0, 10**7)
MOMENTS = st.integers(-(10**8), 10**8).map(lambda seconds: ISSUED + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("lifetime", "max_age", "ends", "until"),
    [
        (None, None, None, None),
        (HOUR, None, None, USED + timedelta(hours=1)),
        (None, HOUR, None, ISSUED + timedelta(hours=1)),
        (None, None, SET, SET),
        (HOUR, HOUR, None, ISSUED + timedelta(hours=1)),
        (60, HOUR, None, USED + timedelta(minutes=1)),
        (HOUR, HOUR, SET, SET),
        (0, HOUR, SET, USED),
    ],
    ids=["for_ever", "unused", "old", "set", "old_first", "unused_first", "set_first", "at_once"],
)
def test_a_token_ends_when_the_first_of_its_bounds_is_reached(
    lifetime: int | None, max_age: int | None, ends: datetime | None, until: datetime | None
) -> None:
    assert expiry(ISSUED, USED, lifetime, max_age, ends) == until


@given(MOMENTS, MOMENTS, SECONDS, SECONDS, st.none() | MOMENTS)
def test_one_bound_more_never_makes_a_token_live_longer(
    issued: datetime,
    used: datetime,
    lifetime: int | None,
    max_age: int | None,
    ends: datetime | None,
) -> None:
    found = expiry(issued, used, lifetime, max_age, ends)
    for fewer in (
        expiry(issued, used, None, max_age, ends),
        expiry(issued, used, lifetime, None, ends),
        expiry(issued, used, lifetime, max_age),
    ):
        assert fewer is None or (found is not None and found <= fewer)


def test_a_program_is_let_in_by_these_tokens_and_no_others() -> None:
    assert {kind.value for kind in BEARERS} == {"api", "personal", "device", "access"}
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
def test_tokens_last_as_long_as_is_said(seconds: int, lasts: timedelta) -> None:
    assert timedelta(seconds=seconds) == lasts


def test_the_api_token_alone_may_ask_for_another_address() -> None:
    token_rules.check_is_own(TokenKind.API.value)
    for kind in {*map(str, TokenKind)} - {TokenKind.API.value}:
        with pytest.raises(Forbidden) as refused:
            token_rules.check_is_own(kind)
        assert refused.value.code == "token.delegated"
