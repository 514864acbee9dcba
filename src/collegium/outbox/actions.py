"""Actions of staff on e-mails that were not delivered."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import Actor, require_staff, require_staff_or_support
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import queries as outbox_queries
from collegium.refusals import NotFound

RETRY_MAX: Final = 1000
"""Maximum number of e-mails that one call queues again, so that the transaction stays short."""

DISCARDED: Final = "Discarded by staff."


def retry(tx: WriteTransaction, actor: Actor, mail: int) -> None:
    """Reset the attempts of a failed e-mail and make it due now; make a queued one due now.

    Args:
        mail: id of the e-mail.

    Raises:
        NotFound: ``staff_page.unknown`` unless the actor is staff or support; ``mail.settled`` for
            any other e-mail.
        Forbidden: ``permission.missing`` unless the actor is staff.
    """
    _check(actor)
    row = outbox_queries.retry(tx, mail)
    event_queries.record(tx, actor, events.MailRetried(mail=row.kind, recipient=row.recipient))


def retry_all(tx: WriteTransaction, actor: Actor) -> int:
    """Queue failed e-mails again, at most ``RETRY_MAX``; return their number.

    Raises:
        NotFound: as ``retry``; ``mail.settled`` if there is none.
        Forbidden: as ``retry``.
    """
    _check(actor)
    number = outbox_queries.retry_all(tx, RETRY_MAX)
    if not number:
        raise NotFound("mail.settled")
    event_queries.record(tx, actor, events.MailRetried(mails=number))
    return number


def discard(tx: WriteTransaction, actor: Actor, mail: int) -> None:
    """Discard a failed or queued e-mail: it is never sent.

    Args:
        mail: id of the e-mail.

    Raises:
        NotFound, Forbidden: as ``retry``.
    """
    _check(actor)
    row = outbox_queries.discard(tx, mail, DISCARDED)
    event_queries.record(tx, actor, events.MailDiscarded(mail=row.kind, recipient=row.recipient))


def _check(actor: Actor) -> None:
    require_staff_or_support(actor)
    require_staff(actor)
