"""Mail budgets: the times of the e-mails to an address in the last day, for all senders together.

There is one row per address. It is locked while an e-mail is counted, so of two concurrent
senders the second counts the e-mail of the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import mail_budgets
from collegium.invitations.mail_budgets.rules import WINDOW
from collegium.text.email_addresses import comparable_address


class _Sent:
    recipient: str
    sent_at: str


def _lock_row(insert: Callable[..., Any]) -> Statement[str]:
    row = insert(mail_budgets).values(
        recipient=bindparam("recipient"), last_at=bindparam("now", type_=UtcDateTime)
    )
    # The update changes nothing. It ensures that the row exists and is locked.
    no_change = {"recipient": row.excluded.recipient}
    upsert = row.on_conflict_do_update(index_elements=[mail_budgets.c.recipient], set_=no_change)
    return Statement[str](upsert.returning(mail_budgets.c.sent_at))


_LOCK = {"sqlite": _lock_row(_insert_sqlite), "postgresql": _lock_row(_insert_postgresql)}
_SENT = Statement[_Sent](
    select(mail_budgets.c.recipient, mail_budgets.c.sent_at).where(
        any_of(mail_budgets.c.recipient, "recipients")
    )
)
_SET_TIMES = Statement(
    mail_budgets.update()
    .where(mail_budgets.c.recipient == bindparam("recipient_hash"))
    .values(sent_at=bindparam("sent_at"), last_at=bindparam("last_at", type_=UtcDateTime))
)
_DELETE = Statement(delete(mail_budgets).where(mail_budgets.c.recipient == bindparam("recipient")))
_DELETE_OLD = Statement(
    delete(mail_budgets).where(
        mail_budgets.c.recipient.in_(
            select(mail_budgets.c.recipient)
            .where(mail_budgets.c.last_at < bindparam("before", type_=UtcDateTime))
            .with_for_update(skip_locked=True)
        )
    )
)


def lock(tx: WriteTransaction, emails: Collection[str]) -> dict[str, list[datetime]]:
    """Lock the rows of addresses; return the times of their e-mails, UTC, by recipient.

    The rows are locked in the same order everywhere, which prevents deadlocks.

    Args:
        emails: keys are made of them by ``recipient_of``.
    """
    recipients = sorted({recipient_of(email) for email in emails})
    texts = tx.execute_many(
        _LOCK[tx.backend], [{"recipient": each, "now": tx.now} for each in recipients]
    )
    return dict(zip(recipients, map(_times, texts), strict=True))


def sent_to(tx: ReadTransaction, emails: Collection[str]) -> dict[str, list[datetime]]:
    """Return the times of the e-mails to addresses, UTC, by recipient, without locking them."""
    recipients = sorted({recipient_of(email) for email in emails})
    rows = tx.fetch_all(_SENT, recipients=recipients) if recipients else []
    return {row.recipient: _times(row.sent_at) for row in rows}


def set_times(tx: WriteTransaction, sent: Mapping[str, Collection[datetime]]) -> None:
    """Store the times of sent and planned e-mails by recipient; drop those older than a day."""
    parameters = []
    for recipient, times in sent.items():
        recent = sorted(at for at in times if at > tx.now - WINDOW)
        text = " ".join(str(at.timestamp()) for at in recent)
        parameters.append({"recipient_hash": recipient, "sent_at": text, "last_at": recent[-1]})
    tx.execute_many(_SET_TIMES, parameters)


def _times(text: str) -> list[datetime]:
    return [datetime.fromtimestamp(float(timestamp), UTC) for timestamp in text.split()]


def reset(tx: WriteTransaction, email: str) -> None:
    """Delete the times of an address, because its owner has accepted an invitation."""
    tx.execute(_DELETE, recipient=recipient_of(email))


def purge(tx: WriteTransaction) -> None:
    """Delete rows that no longer count. The worker calls this periodically."""
    tx.execute(_DELETE_OLD, before=tx.now - WINDOW)


def recipient_of(email: str) -> str:
    """Return the key of an address."""
    # A hash, so that this table does not store once more who was invited.
    return hashlib.sha256(comparable_address(email).encode()).hexdigest()
