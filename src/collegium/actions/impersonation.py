"""Staff who act as somebody else: that is recorded also when they only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.actions.tokens import actor_of
from collegium.store import accounts, events, tries
from collegium.store.access import lock_account

if TYPE_CHECKING:
    from datetime import datetime

    from collegium.rules.access import Actor
    from collegium.store.db import Write
    from collegium.store.statements import Row


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
    if not tries.is_first(tx, f"impersonation {staff.id} {person.id} {hour_of(tx.now)}"):
        return
    # Either account may be deleted by now, by this very request: then it has a neutral name.
    for account in sorted((person.id, staff.id)):
        lock_account(tx, account)
    by: Row = accounts.by_number(tx, staff.id)
    whom: Row = accounts.by_number(tx, person.id)
    actor = actor_of(by, "" if by.deleted else staff.address, staff.request)
    events.record(tx, "account.impersonated", actor, account=whom.id, username=whom.username)
