"""Programs that wait to be let in: which are still decided on, and how their codes are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.refusals import NotFound
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.devices.rules import check_open, plain

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
    ids=["waits", "ends_now", "ended", "let_in", "turned_away", "has_its_token"],
)
def test_a_program_is_decided_on_only_while_it_waits(
    state: str, expires: datetime, *, is_open: bool
) -> None:
    if is_open:
        check_open(state, expires, NOW)
    else:
        with pytest.raises(NotFound) as refused:
            check_open(state, expires, NOW)
        assert refused.value.code == "device.unknown"


def test_the_states_are_kept_by_these_names() -> None:
    assert [*device_rules.State] == ["pending", "approved", "denied", "used"]


def test_a_program_waits_a_quarter_of_an_hour_and_asks_every_five_seconds() -> None:
    assert (device_rules.LIFETIME, device_rules.INTERVAL) == (900, 5)


@pytest.mark.parametrize(
    "typed",
    ["BCDF-GHJ7", "bcdf-ghj7", " bcdf ghj7 ", "BCDFGHJ7", "bcdf\N{EN DASH}ghj7", "bcdf_ghj7é"],
)
def test_a_code_is_read_as_people_type_it(typed: str) -> None:
    assert plain(typed) == "BCDFGHJ7"


@given(st.text(max_size=40))
def test_nothing_is_left_of_a_code_but_capitals_and_digits(typed: str) -> None:
    assert set(plain(typed)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    assert plain(plain(typed)) == plain(typed)
