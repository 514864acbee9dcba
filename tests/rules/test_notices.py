"""What people are told about their roles, and when the end of one is near."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from collegium.memberships.notices.rules import (
    COLLECT,
    LISTED,
    Kind,
    is_late,
    reminders_done,
    select_items,
)

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
SOON, LATER = NOW + 14 * DAY, NOW + 14 * DAY + SECOND


class Notice(NamedTuple):
    kind: str
    grant_id: int
    former_id: int | None = None


class State(NamedTuple):
    is_active: bool
    role_id: int = 1
    valid_until: datetime | None = None
    scope_id: int = 1


ACTIVE, GONE = State(is_active=True), State(is_active=False)


@pytest.mark.parametrize(
    ("happened", "grants", "told"),
    [
        # kind, grant, and after "<" the one that it replaces
        ("granted 1", [ACTIVE], "granted 1"),
        ("granted 1", [GONE], ""),
        ("granted 1, removed 1", [GONE], ""),
        ("granted 1, ended 1", [GONE], ""),
        ("removed 1", [GONE], "removed 1"),
        ("removed 1, removed 1", [GONE], "removed 1"),
        ("ended 1", [GONE], "ended 1"),
        ("removed 1", [ACTIVE], ""),
        ("changed 1", [ACTIVE], "changed 1"),
        ("changed 1", [GONE], ""),
        ("changed 1, removed 1", [GONE], "removed 1"),
        ("granted 1, granted 2, removed 1", [GONE, State(True, 2)], "granted 2"),
        # Another role instead of the first one.
        ("changed 2<1", [GONE, State(True, 2)], "changed 2<1"),
        ("changed 2<1, changed 3<2", [GONE, State(False, 2), State(True, 3)], "changed 3<1"),
        ("changed 2<1, changed 3<2", [GONE, State(False, 2), ACTIVE], ""),
        ("changed 2<1", [GONE, State(True, scope_id=2)], "changed 2<1"),
        ("changed 2<1, changed 2", [GONE, State(True, 2)], "changed 2<1"),
        ("granted 1, changed 2<1", [GONE, State(True, 2)], "granted 2"),
        ("granted 1, changed 1", [ACTIVE], "granted 1"),
        ("changed 2<1, removed 2", [GONE, State(False, 2)], "removed 1"),
        ("granted 1, changed 2<1, removed 2", [GONE, State(False, 2)], ""),
        # The same role again.
        ("removed 1, granted 2", [GONE, ACTIVE], ""),
        ("ended 1, granted 2", [GONE, ACTIVE], ""),
        ("ended 1, granted 2", [GONE, State(True, 1, SOON)], "granted 2"),
        ("removed 1, granted 2", [State(False, 1, SOON), State(True, 1, SOON)], ""),
        ("removed 1, granted 2", [GONE, GONE], "removed 1"),
        ("removed 1, granted 2", [GONE, State(True, 2)], "removed 1, granted 2"),
        ("removed 1, granted 2", [GONE, State(True, scope_id=2)], "removed 1, granted 2"),
        ("granted 1, removed 1, granted 2", [GONE, ACTIVE], "granted 2"),
        ("changed 2<1, removed 2, granted 3", [GONE, State(False, 2), ACTIVE], ""),
        (
            "changed 2<1, removed 2, granted 3",
            [GONE, State(False, 2), State(True, 2)],
            "removed 1, granted 3",
        ),
        # The end is near.
        ("ending 1", [State(True, 1, SOON)], "ending 1"),
        ("ending 1", [State(True, 1, LATER)], ""),
        ("ending 1", [ACTIVE], ""),
        ("ending 1", [State(False, 1, SOON)], ""),
        ("granted 1, ending 1", [State(True, 1, SOON)], "granted 1"),
        ("changed 1, ending 1", [State(True, 1, SOON)], "changed 1"),
        ("ending 1, granted 2", [State(True, 1, SOON), State(True, 2)], "ending 1, granted 2"),
    ],
)
def test_people_are_told_what_is_still_true_and_new_to_them(
    happened: str, grants: list[State], told: str
) -> None:
    notices = []
    for text in filter(None, happened.split(", ")):
        kind, _, rest = text.partition(" ")
        grant, _, former = rest.partition("<")
        notices.append(Notice(f"role_{kind}", int(grant), int(former) if former else None))
    items = select_items(iter(notices), dict(enumerate(grants, 1)), NOW)
    assert told == ", ".join(
        f"{item.kind.removeprefix('role_')} {item.grant}" + (f"<{item.former}" * bool(item.former))
        for item in items
    )
    for item in items:
        assert isinstance(item.kind, Kind)
        assert item.notice in notices


def test_last_of_several_notices_about_the_same_counts() -> None:
    notices = [Notice("role_changed", 1), Notice("role_changed", 1)]
    (item,) = select_items(notices, {1: ACTIVE}, NOW)
    assert item.notice is notices[1]


@pytest.mark.parametrize(
    ("until", "done"),
    [
        (None, 0),
        (LATER, 0),
        (SOON, 1),
        (NOW + 2 * DAY + SECOND, 1),
        (NOW + 2 * DAY, 2),
    ],
)
def test_notice_of_a_near_end_needs_no_reminder(until: datetime | None, done: int) -> None:
    assert reminders_done(until, NOW) == done


def test_an_end_is_told_for_a_week() -> None:
    assert not is_late(NOW - 7 * DAY, NOW)
    assert is_late(NOW - 7 * DAY - SECOND, NOW)


def test_notices_of_one_minute_are_one_mail_with_up_to_twenty_roles() -> None:
    assert (COLLECT.total_seconds(), LISTED) == (60, 20)
    assert " ".join(Kind) == "role_granted role_changed role_ending role_ended role_removed"
