"""Daily figures for staff and support: new accounts, accepted invitations, pending requests.

Each figure is counted from an index on its timestamp, starting with the first day. The cost
depends on what happened in these days, not on the size of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, func, select

from collegium.access.rules import Actor, require_staff_or_support
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import accounts, invitations, join_requests
from collegium.statistics.queries import WAIT
from collegium.statistics.rules import by_step

DAYS: Final = 30


def _per_day(moment: ColumnElement[Any]) -> Statement[tuple[int, ...]]:
    # One index range per day: nothing is grouped, so nothing is sorted.
    counts = [
        select(func.count())
        .select_from(moment.table)
        .where(
            moment >= bindparam(f"day{day}", type_=UtcDateTime),
            moment < bindparam(f"day{day + 1}", type_=UtcDateTime),
        )
        .scalar_subquery()
        .label(f"number{day}")
        for day in range(DAYS)
    ]
    return Statement[tuple[int, ...]](select(*counts))


_JOINED = _per_day(accounts.c.joined_at)
_ACCEPTED = _per_day(invitations.c.accepted_at)
_REQUESTED = _per_day(join_requests.c.created_at)
_DECIDED = _per_day(join_requests.c.decided_at)

_ACCEPTANCES_BY_WAIT = Statement[tuple[int, int]](
    select(WAIT.label("minutes"), func.count().label("number"))
    .where(invitations.c.accepted_at >= bindparam("since", type_=UtcDateTime))
    .group_by(WAIT)
)

_COUNT_PENDING = Statement[int](
    select(func.count().label("number"))
    .select_from(join_requests)
    .where(join_requests.c.state == "pending")
)


@dataclass(frozen=True)
class Activity:
    """Figures of the last days, today last; each list has one figure per day, except ``waits``.

    Args:
        days: dates in UTC.
        joined: new accounts.
        accepted: accepted invitations.
        waits: accepted invitations by waiting time: within each step of ``WAIT_STEPS``, and longer.
        waiting: join requests that were pending when the day ended.
    """

    days: list[date]
    joined: list[int]
    accepted: list[int]
    waits: list[int]
    waiting: list[int]


def of_days(tx: ReadTransaction, actor: Actor) -> Activity:
    """Return the figures of the last ``DAYS`` days.

    Raises:
        NotFound: ``staff_page.unknown`` unless the actor is staff or support.
    """
    require_staff_or_support(actor)
    today = tx.now.astimezone(UTC).date()
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    since = datetime.combine(days[0], time(), UTC)
    bounds = {f"day{day}": since + timedelta(days=day) for day in range(DAYS + 1)}
    joined, accepted, requested, decided = (
        tx.fetch_only(statement, **bounds)
        for statement in (_JOINED, _ACCEPTED, _REQUESTED, _DECIDED)
    )
    waits = tx.fetch_all(_ACCEPTANCES_BY_WAIT, since=since)
    # Calculated backwards from the requests that are pending now: without those that were made on
    # the following day, and with those that were decided on it.
    waiting = [tx.fetch_only(_COUNT_PENDING)]
    for day in reversed(range(1, DAYS)):
        waiting.append(waiting[-1] - requested[day] + decided[day])
    waiting.reverse()
    return Activity(days, list(joined), list(accepted), by_step(waits), waiting)
