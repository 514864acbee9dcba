"""What staff do with mails that did not go out. All of it is staff's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.access.rules import require_staff_or_support
from collegium.accounts.actions import require_staff
from collegium.events import queries as event_queries
from collegium.outbox import queries as outbox_queries
from collegium.refusals import NotFound

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction

RETRY_MAX: Final = 1000
"""So many mails are owed again at once at most; a transaction is not to be long."""

DROPPED: Final = "Staff decided that it is not sent."


def retry(tx: WriteTransaction, actor: Actor, mail: int) -> None:
    """Owe an abandoned mail again, as if for the first time; one that waits is due at once.

    Refuses: NotFound when the actor sees no mails, Forbidden for anybody but staff,
    NotFound ``mail.settled`` for any other mail.
    """
    _check(actor)
    row = outbox_queries.retry(tx, mail)
    event_queries.record(tx, "mail.retried", actor, mail=row.kind, recipient=row.recipient)


def retry_all(tx: WriteTransaction, actor: Actor) -> int:
    """Owe the abandoned mails again, ``MOST`` of them at most; give their number.

    Refuses: as ``retry``; NotFound ``mail.settled`` when there is none.
    """
    _check(actor)
    number = outbox_queries.retry_all(tx, RETRY_MAX)
    if not number:
        raise NotFound("mail.settled")
    event_queries.record(tx, "mail.retried", actor, mails=number)
    return number


def discard(tx: WriteTransaction, actor: Actor, mail: int) -> None:
    """Send a mail no more that was abandoned, or waits.

    Refuses: as ``retry``.
    """
    _check(actor)
    row = outbox_queries.discard(tx, mail, DROPPED)
    event_queries.record(tx, "mail.dropped", actor, mail=row.kind, recipient=row.recipient)


def _check(actor: Actor) -> None:
    require_staff_or_support(actor)
    require_staff(actor)
