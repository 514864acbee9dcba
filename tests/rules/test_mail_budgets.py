"""The number of e-mails to an address in one day is limited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collegium.invitations.mail_budgets.rules import WINDOW, next_slot

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_budget_is_for_one_day() -> None:
    assert timedelta(days=1) == WINDOW


@given(st.lists(st.integers(0, 200_000), max_size=60), st.integers(1, 7))
def test_mail_budget_limits_each_window_without_needless_delay(
    steps: list[int], limit: int
) -> None:
    now = START
    sent: list[datetime] = []
    for step in steps:
        now += timedelta(seconds=step)
        slot = next_slot(sent, now, limit)
        assert slot >= now
        if slot > now:
            # The earliest time at which the window has room.
            assert sorted(sent)[-limit] == slot - WINDOW
        sent.append(slot)
    for end in sent:
        assert sum(end - WINDOW < time <= end for time in sent) <= limit
