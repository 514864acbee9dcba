"""Record when staff impersonate a person, even if they only read."""

from __future__ import annotations

from datetime import datetime

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.sign_in.tokens.actions import actor_of


def hour_of(moment: datetime) -> str:
    """Return the hour of a time as text. Only the first request of each hour is recorded."""
    return moment.strftime("%Y-%m-%dT%H")


def record(tx: WriteTransaction, person: Actor, staff: Actor) -> None:
    """Record that staff impersonate a person, once for each person and hour.

    The database decides which request is the first, so concurrent requests record one event.

    Args:
        person: the impersonated account.
        staff: the member of staff.
    """
    if not rate_limit_queries.is_first(
        tx, f"impersonation {staff.id} {person.id} {hour_of(tx.now)}"
    ):
        return
    # This request may just have deleted either account. Then the account has a neutral name.
    for account in sorted((person.id, staff.id)):
        lock_account(tx, account)
    staff_row = account_queries.existing(tx, staff.id)
    row = account_queries.existing(tx, person.id)
    actor = actor_of(staff_row, "" if staff_row.deleted_at else staff.ip_address, staff.request_id)
    event_queries.record(
        tx, actor, events.AccountImpersonated(account=row.id, username=row.username)
    )
