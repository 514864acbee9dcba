"""Rules of projects: when they end."""

from __future__ import annotations

from datetime import date, timedelta


def effective_end(
    end: date | None, grace_days: int | None, organisation_grace_days: int | None
) -> date | None:
    """Return the last day of a project, its grace period included; None if it has no end.

    Args:
        end: the last day of the project itself.
        grace_days: days that the project may go on after its end; None: as its organisation says.
        organisation_grace_days: the same of the organisation; None: 0.
    """
    if end is None:
        return None
    days = grace_days if grace_days is not None else organisation_grace_days or 0
    return end + timedelta(days=min(days, (date.max - end).days))


def is_in_grace_period(
    today: date, end: date | None, grace_days: int | None, organisation_grace_days: int | None
) -> bool:
    """Return whether a project has ended, but not its grace period."""
    last = effective_end(end, grace_days, organisation_grace_days)
    return end is not None and last is not None and end < today <= last
