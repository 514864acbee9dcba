"""Rules of statistics: their periods and classes, and which result of invitations counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import accumulate
from typing import Final

MONTHS: Final = 12
"""Months of the statistics; the last one is the present month."""

END_DAYS: Final = 90
"""Days from today on in which ends of roles are counted, today included."""

_WEEK: Final = 7

WEEKS: Final = -(-END_DAYS // _WEEK)

WAIT_STEPS: Final = (
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=3),
    timedelta(days=7),
)
"""Upper bounds of the waiting times of accepted invitations; longer ones form the last class."""

OWNERS_MAX: Final = 3
"""Organisations with this number of owners or more are one class."""

FEW_OWNERS: Final = 1
"""Organisations with no more owners are listed."""

LISTED_MAX: Final = 50
"""Maximum number of organisations in that list."""


class Outcome(StrEnum):
    """What became of an invitation.

    Somebody who was invited to a scope several times counts once there, with the first of these
    results that one of the invitations has.
    """

    ACCEPTED = "accepted"
    PENDING = "pending"
    HELD = "held"
    REQUESTED = "requested"
    DECLINED = "declined"
    REFUSED = "refused"
    """Staff did not approve it."""
    EXPIRED = "expired"
    CANCELED = "canceled"


ALWAYS_SHOWN: Final = frozenset(Outcome) - {Outcome.HELD, Outcome.REQUESTED, Outcome.REFUSED}
"""The results that are shown even if they are 0."""


@dataclass(frozen=True)
class Statistics:
    """Figures of a scope with its projects, or of the whole service.

    Args:
        at: when they were counted, UTC.
        members: people with a role at the end of each month of ``months``, now for the last one.
        outcomes: number of invited people for each ``Outcome`` in its order; of the invitations
            that were sent, or sent anew after their end, in these months.
        waits: those of these invitations that were accepted by waiting time: within each of
            ``WAIT_STEPS``, and longer.
        median_wait: the waiting time in seconds that half of them did not exceed; None without any.
        ends: roles that end in each week of ``weeks``.
    """

    at: datetime
    members: list[int]
    outcomes: list[int]
    waits: list[int]
    median_wait: float | None
    ends: list[int]


@dataclass(frozen=True)
class SiteStatistics:
    """Figures of the whole service.

    Args:
        figures: those that a scope has too.
        owners: organisations with no owner, with one, and so on; with ``OWNERS_MAX`` or more. Those
            that are archived are not counted.
        few_owners: ids of at most ``LISTED_MAX`` of those with ``FEW_OWNERS`` owners or none, those
            without an owner first.
    """

    figures: Statistics
    owners: list[int]
    few_owners: list[int]


def months(now: datetime) -> list[date]:
    """Return the first day of each of the last ``MONTHS`` months in UTC, the present month last."""
    today = now.astimezone(UTC).date()
    present = today.year * 12 + today.month - 1
    return [
        date(number // 12, number % 12 + 1, 1)
        for number in range(present - MONTHS + 1, present + 1)
    ]


def month_ends(now: datetime) -> list[datetime]:
    """Return the end of each of ``months``, and the present time for the last one, in UTC."""
    return [*(_midnight(first) for first in months(now)[1:]), now]


def since(now: datetime) -> datetime:
    """Return the begin of the period of the statistics, in UTC."""
    return _midnight(months(now)[0])


def weeks(now: datetime) -> list[tuple[date, date]]:
    """Return first and last day of each week of the next ``END_DAYS`` days in UTC.

    The first week begins today. The last one is shorter.
    """
    today = now.astimezone(UTC).date()
    return [
        (
            today + timedelta(days=day),
            today + timedelta(days=min(day + _WEEK, END_DAYS) - 1),
        )
        for day in range(0, END_DAYS, _WEEK)
    ]


def week_bounds(now: datetime) -> list[datetime]:
    """Return the begin of each of ``weeks``, now for the first one, and the end of the last one."""
    firsts = [first for first, _last in weeks(now)]
    last = _midnight(weeks(now)[-1][1] + timedelta(days=1))
    return [now, *map(_midnight, firsts[1:]), last]


def members_by_month(spans: Iterable[tuple[int, int, int]]) -> list[int]:
    """Return the number of people in each of ``months``.

    Args:
        spans: first month, first month after it, and the number of people; months as indexes.
    """
    spans = list(spans)
    return [
        sum(people for start, until, people in spans if start <= month < until)
        for month in range(MONTHS)
    ]


def by_step(waits: Iterable[tuple[int, int]]) -> list[int]:
    """Return the number in each class of waiting times.

    Args:
        waits: waiting time in minutes, begun ones included, and number.
    """
    bounds = [step / timedelta(minutes=1) for step in WAIT_STEPS]
    classes = [0] * (len(bounds) + 1)
    for minutes, number in waits:
        classes[bisect_left(bounds, minutes)] += number
    return classes


def median(waits: Iterable[tuple[int, int]]) -> float | None:
    """Return the waiting time in seconds that half did not exceed; None without any.

    Args:
        waits: as in ``by_step``.
    """
    ordered = sorted(waits)
    ends = list(accumulate(number for _minutes, number in ordered))
    if not ends:
        return None
    # The one in the middle, or the two.
    middle = ((ends[-1] + 1) // 2, ends[-1] // 2 + 1)
    return sum(ordered[bisect_left(ends, position)][0] for position in middle) * 60 / 2


def rounded(seconds: float) -> int:
    """Return a duration in full minutes, from one hour on in full hours, from two days in days."""
    for unit, least in ((86400, 2), (3600, 1)):
        if seconds >= unit * least:
            return round(seconds / unit) * unit
    return max(1, round(seconds / 60)) * 60


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
