"""Notify the owner of an account of changed credentials: when, from where, by whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from collegium.access.rules import Actor
from collegium.accounts.queries import AccountRow
from collegium.db.database import WriteTransaction
from collegium.outbox import queries as outbox_queries

PERSON: Final = "person"
STAFF: Final = "staff"
OPERATOR: Final = "operator"
"""Somebody at the command line."""


def send_notice(
    tx: WriteTransaction,
    notice: Callable[..., outbox_queries.QueuedMail],
    account: AccountRow,
    actor: Actor | None,
    *,
    by: str = OPERATOR,
    ip_address: str = "",
    **fields: Any,
) -> None:
    """Queue a notice to the owner of an account, in the transaction of the change.

    The IP address is included only if the owner made the change, or somebody with the owner's
    credentials or link. The address of staff is never included.

    Args:
        notice: a class of ``collegium.outbox.mails`` with the fields ``account at by address`` and
            those of ``fields``.
        account: the account, at least ``id email``.
        actor: who made the change; None if ``by`` says it.
        by: ``PERSON`` for the holder of a link from an e-mail, else ``OPERATOR``.
        ip_address: of that holder.
    """
    if not account.email:
        return
    if actor is not None:
        is_own = actor.id == account.id and actor.impersonator is None
        by, ip_address = (PERSON, actor.ip_address or "") if is_own else (STAFF, "")
    outbox_queries.enqueue(
        tx, notice(account.email, account.id, tx.now.isoformat(), by, ip_address, **fields)
    )
