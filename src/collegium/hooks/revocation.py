"""Deactivate hooks whose author has lost credentials.

A thief of the account may have added them, to go on reading what happens. Nothing tells which.
"""

from __future__ import annotations

from typing import Final

from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.hooks import queries as hook_queries
from collegium.outbox import queries as outbox_queries

_REASON: Final = "The credentials of the account have changed."


def revoke(tx: WriteTransaction, account: int) -> None:
    """Deactivate all hooks of an account, and discard what is queued for them.

    Their author activates those that are to go on. The account must be locked.
    """
    active = hook_queries.lock_active(tx, account)
    if not active:
        return
    hook_queries.deactivate_all(tx, [row.id for row in active])
    outbox_queries.discard_of_hooks(tx, [row.id for row in active], _REASON)
    event_queries.record_all(
        tx,
        None,
        (
            events.HookUpdated(
                account=account, hook=row.uuid, hook_kind=row.kind, fields=["is_active"]
            )
            for row in active
        ),
    )
