"""Mail budgets: the times of the e-mails to an address in the last day, for all senders together.

There is one row per address. It is locked while an e-mail is counted, so of two concurrent
senders the second counts the e-mail of the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import mail_budgets
from collegium.invitations.mail_budgets.rules import WINDOW
from collegium.text.email_addresses import comparable_address


def _hold(insert: Callable[..., Any]) -> Statement:
    row = insert(mail_budgets).values(
        recipient=bindparam("recipient"), last_at=bindparam("moment", type_=UtcDateTime)
    )
    # The update changes nothing. It ensures that the row exists and is locked.
    kept = {"recipient": row.excluded.recipient}
    held = row.on_conflict_do_update(index_elements=[mail_budgets.c.recipient], set_=kept)
    return Statement(held.returning(mail_budgets.c.sent_at))


_HOLD = {"sqlite": _hold(_insert_sqlite), "postgresql": _hold(_insert_postgresql)}
_PUT = Statement(
    mail_budgets.update()
    .where(mail_budgets.c.recipient == bindparam("of"))
    .values(sent_at=bindparam("sent_at"), last_at=bindparam("last_at", type_=UtcDateTime))
)
_FORGET = Statement(delete(mail_budgets).where(mail_budgets.c.recipient == bindparam("recipient")))
_PURGE = Statement(
    delete(mail_budgets).where(
        mail_budgets.c.recipient.in_(
            select(mail_budgets.c.recipient)
            .where(mail_budgets.c.last_at < bindparam("before", type_=UtcDateTime))
            .with_for_update(skip_locked=True)
        )
    )
)


def lock(tx: WriteTransaction, address: str) -> list[datetime]:
    """Lock the row of an address; return the times of its e-mails, UTC."""
    told = str(tx.scalar(_HOLD[tx.backend], recipient=_key(address), moment=tx.now))
    return [datetime.fromtimestamp(float(one), UTC) for one in told.split()]


def put(tx: WriteTransaction, address: str, sent: Collection[datetime]) -> None:
    """Store the times of sent and planned e-mails to an address; drop those older than a day."""
    kept = sorted(at for at in sent if at > tx.now - WINDOW)
    told = " ".join(str(at.timestamp()) for at in kept)
    tx.execute(_PUT, of=_key(address), sent_at=told, last_at=kept[-1])


def forget(tx: WriteTransaction, address: str) -> None:
    """Delete the times of an address, because its owner has accepted an invitation."""
    tx.execute(_FORGET, recipient=_key(address))


def purge(tx: WriteTransaction) -> None:
    """Delete rows that no longer count. The worker calls this periodically."""
    tx.execute(_PURGE, before=tx.now - WINDOW)


def _key(address: str) -> str:
    # A hash, so that this table does not store once more who was invited.
    return hashlib.sha256(comparable_address(address).encode()).hexdigest()
