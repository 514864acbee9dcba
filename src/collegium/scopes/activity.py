"""Health at a glance: how many came, were let in and wait, day by day, for staff and support.

Every number comes out of an index of its moments alone, from the first of the days on, so that
it costs what happened in these days, and not what happened in years.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Float, bindparam, func, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from collegium.access.rules import require_staff_or_support
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import accounts, invitations, requests

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.sql.compiler import SQLCompiler

    from collegium.access.rules import Actor
    from collegium.db.database import ReadTransaction

DAYS: Final = 30

WAIT_STEPS: Final = (
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=3),
    timedelta(days=7),
)
"""Up to when an invitation is accepted in an hour, a day and so on; later is the last."""


class _Seconds(FunctionElement[float]):
    """How long it is from one moment to another."""

    inherit_cache = True
    name = "seconds"
    type = Float()


@compiles(_Seconds)
def _seconds(element: _Seconds, compiler: SQLCompiler, **kw: Any) -> str:
    first, last = (compiler.process(one, **kw) for one in element.clauses)
    if compiler.dialect.name == "postgresql":
        return f"EXTRACT(EPOCH FROM {last} - {first})"
    return f"(julianday({last}) - julianday({first})) * 86400.0"


def _per_day(moment: ColumnElement[Any]) -> Statement:
    # A range of the index for each: nothing is grouped, and with that nothing is sorted.
    numbers = [
        select(func.count())
        .select_from(moment.table)
        .where(
            moment >= bindparam(f"day{at}", type_=UtcDateTime),
            moment < bindparam(f"day{at + 1}", type_=UtcDateTime),
        )
        .scalar_subquery()
        .label(f"number{at}")
        for at in range(DAYS)
    ]
    return Statement(select(*numbers))


_JOINED = _per_day(accounts.c.joined)
_ACCEPTED = _per_day(invitations.c.accepted)
_ASKED = _per_day(requests.c.created)
_DECIDED = _per_day(requests.c.decided)

# Half a second aside: SQLite counts days in floating point.
_duration_histogram = _Seconds(invitations.c.created, invitations.c.accepted) - literal_column(
    "0.5"
)
_WAITS = Statement(
    select(
        *(
            func.count()
            .filter(_duration_histogram <= literal_column(str(wait.total_seconds())))
            .label(f"within{at}")
            for at, wait in enumerate(WAIT_STEPS)
        ),
        func.count().label("every"),
    ).where(invitations.c.accepted >= bindparam("since", type_=UtcDateTime))
)

_WAITING = Statement(
    select(func.count().label("number")).select_from(requests).where(requests.c.state == "pending")
)


@dataclass(frozen=True)
class Activity:
    """The last days, today the last of them; a number for each.

    Args:
        joined: accounts that were made.
        accepted: invitations that were accepted.
        waits: those by how long that took: within each of ``WAITS``, and longer.
        waiting: requests that nobody had decided when the day ended.
    """

    days: list[date]
    joined: list[int]
    accepted: list[int]
    waits: list[int]
    waiting: list[int]


def _numbers(tx: ReadTransaction, counted: Statement, **moments: datetime) -> list[int]:
    (row,) = tx.fetch_all(counted, **moments)
    return list(row)


def of_days(tx: ReadTransaction, actor: Actor) -> Activity:
    """Count what happened in the last ``DAYS``.

    Refuses: NotFound for anybody but staff and support.
    """
    require_staff_or_support(actor)
    today = tx.now.astimezone(UTC).date()
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    since = datetime.combine(days[0], time(), UTC)
    bounds = {f"day{at}": since + timedelta(days=at) for at in range(DAYS + 1)}
    joined, accepted, asked, decided = (
        _numbers(tx, one, **bounds) for one in (_JOINED, _ACCEPTED, _ASKED, _DECIDED)
    )
    up_to = [0, *_numbers(tx, _WAITS, since=since)]
    # From those who wait now back, day by day: without who asked on the next day, and with who
    # was answered on it.
    waiting = [int(tx.scalar(_WAITING))]
    for at in reversed(range(1, DAYS)):
        waiting.append(waiting[-1] - asked[at] + decided[at])
    waiting.reverse()
    waits = [more - less for less, more in pairwise(up_to)]
    return Activity(days, joined, accepted, waits, waiting)
