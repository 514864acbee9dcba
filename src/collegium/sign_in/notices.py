"""Notices to the owner of an account: its credentials were changed, when, from where, by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.outbox import queries as outbox_queries

if TYPE_CHECKING:
    from collections.abc import Callable

    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction
    from collegium.db.statements import Row

PERSON: Final = "person"
STAFF: Final = "staff"
OPERATOR: Final = "operator"
"""At the command line."""


def send_notice(
    tx: WriteTransaction,
    notice: Callable[..., outbox_queries.QueuedMail],
    account: Row,
    actor: Actor | None,
    *,
    by: str = OPERATOR,
    address: str = "",
    **facts: Any,
) -> None:
    """Queue a notice to the owner of an account, in the transaction of what it tells.

    The network address is told only where the owner did it, or somebody who claims to be them;
    that of staff is never told.

    Args:
        notice: a class of ``actions.mails`` with ``account at by address``, and perhaps more.
        account: ``id email`` at least.
        actor: who did it; None: ``by`` says it.
        by: ``PERSON`` for the holder of a mailed link, else the operator.
        address: the network address of that holder.
    """
    if not account.email:
        return
    if actor is not None:
        is_own = actor.id == account.id and actor.impersonator is None
        by, address = (PERSON, actor.address or "") if is_own else (STAFF, "")
    outbox_queries.enqueue(
        tx, notice(account.email, account.id, tx.now.isoformat(), by, address, **facts)
    )
