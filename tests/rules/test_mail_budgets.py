"""No window of a day holds more mails to an address than the limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collegium.invitations.mail_budgets.rules import WINDOW, next_slot

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.lists(st.integers(0, 200_000), max_size=60), st.integers(1, 7))
def test_no_day_holds_more_than_the_limit_and_no_mail_waits_without_need(
    steps: list[int], limit: int
) -> None:
    now = START
    sent: list[datetime] = []
    for step in steps:
        now += timedelta(seconds=step)
        slot = next_slot(sent, now, limit)
        assert slot >= now
        if slot > now:
            # It waits exactly until the window has moved on.
            assert sorted(sent)[-limit] == slot - WINDOW
        sent.append(slot)
    for end in sent:
        assert sum(end - WINDOW < one <= end for one in sent) <= limit
