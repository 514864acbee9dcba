"""Device sign-in: open requests and typed codes."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.refusals import NotFound
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.devices.rules import check_open, plain
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
