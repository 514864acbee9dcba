"""Device sign-in: open requests and typed codes."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.refusals import Invalid, NotFound
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.devices.rules import check_lifetime, check_open, lifetime, plain
from tests.rules.refusing import refused

NOW = datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("state", "expires", "is_open"),
    [
        ("pending", NOW + TICK, True),
        ("pending", NOW, False),
        ("pending", NOW - TICK, False),
        ("approved", NOW + TICK, False),
        ("denied", NOW + TICK, False),
        ("used", NOW + TICK, False),
    ],
)
def test_device_login_is_open_while_pending_and_not_expired(
    state: str, expires: datetime, *, is_open: bool
) -> None:
    with nullcontext() if is_open else refused(NotFound, "device.unknown"):
        check_open(state, expires, NOW)


def test_names_of_the_stored_states() -> None:
    assert [*device_rules.State] == ["pending", "approved", "denied", "used"]


def test_lifetime_and_polling_interval() -> None:
    assert (device_rules.LIFETIME, device_rules.INTERVAL) == (900, 5)


@pytest.mark.parametrize(
    "typed",
    ["BCDF-GHJ7", "bcdf-ghj7", " bcdf ghj7 ", "BCDFGHJ7", "bcdf\N{EN DASH}ghj7", "bcdf_ghj7é"],
)
def test_typed_code_is_normalised(typed: str) -> None:
    assert plain(typed) == "BCDFGHJ7"


@given(st.text(max_size=40))
def test_normalised_code_has_only_capitals_and_digits(typed: str) -> None:
    assert set(plain(typed)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    assert plain(plain(typed)) == plain(typed)


def test_requested_lifetime_has_a_maximum() -> None:
    check_lifetime(60, 60)
    with refused(Invalid, "device.lifetime", {"field": "token_lifetime", "longest": 60}):
        check_lifetime(61, 60)


@pytest.mark.parametrize(
    ("requested", "limit", "max_age", "seconds"),
    [
        (5, 60, None, 5),
        (70, 60, None, 60),
        (70, 60, 40, 40),
        (5, 60, 40, 5),
        (5, 60, 3, 3),
    ],
)
def test_lifetime_is_the_requested_one_within_all_limits(
    requested: int, limit: int, max_age: int | None, seconds: int
) -> None:
    assert lifetime(requested, limit, max_age) == seconds
