"""Staff who act as somebody else: that is recorded also when they only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.store import events, tries

if TYPE_CHECKING:
    from datetime import datetime

    from collegium.rules.access import Actor
    from collegium.store.db import Write


def hour_of(moment: datetime) -> str:
    """Return the hour of a moment as text; within one only the first request is recorded."""
    return moment.strftime("%Y-%m-%dT%H")


def record(tx: Write, person: Actor, staff: Actor) -> None:
    """Record that staff act as a person, once for each person and hour.

    The database decides which request is the first, so many at once leave one event.

    Args:
        person: the account whose rights are used.
        staff: who uses them.
    """
    if tries.is_first(tx, f"impersonation {staff.id} {person.id} {hour_of(tx.now)}"):
        events.record(
            tx, "account.impersonated", staff, account=person.id, username=person.username
        )
