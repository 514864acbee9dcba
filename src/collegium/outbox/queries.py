"""The outbox: mails owed, from the deed that owes them until they are settled.

A worker claims a mail by a lease. Whatever it then says about it names the attempt it claimed,
so that a worker whose lease ran out cannot settle the attempt of another.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Integer,
    Update,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row, Statement, UtcDateTime, any_of
from collegium.db.tables import DELIVERED, BigInt, outbox
from collegium.lists.listing import Filter, Listing
from collegium.refusals import Conflict, NotFound

OVERDUE_AFTER: Final = timedelta(minutes=1)
"""A mail that could have been claimed for so long says that nobody pays the outbox."""

REQUEST: Final = "request_id"
"""The fact that names the request which owed the mail, so that logs can follow it."""


class QueuedMail(Protocol):
    """What can be posted; ``actions.mails`` has every kind."""

    @property
    def kind(self) -> str:
        """The stable name of the mail."""

    @property
    def recipient(self) -> str:
        """The address it goes to."""

    def payload(self) -> dict[str, Any]:
        """What it is about, as JSON."""


_OWED = outbox.c.state == "owed"
_ABANDONED = outbox.c.state == "abandoned"
_NOW = bindparam("now", type_=UtcDateTime)
_UNTIL = bindparam("until", type_=UtcDateTime)
_ERROR = bindparam("reason", type_=outbox.c.error.type)

# From when on a mail can be claimed: it is due, and nobody holds it any more.
_free_from = case(
    (and_(outbox.c.leased.is_not(None), outbox.c.leased > outbox.c.due), outbox.c.leased),
    else_=outbox.c.due,
)


def _free() -> ColumnElement[bool]:
    return and_(
        _OWED, outbox.c.due <= _NOW, or_(outbox.c.leased.is_(None), outbox.c.leased <= _NOW)
    )


_POSTED: Final = ("kind", "recipient", "facts", "created", "due", "account_id")
_POST = Statement(
    insert(outbox).values({name: bindparam(name) for name in _POSTED}).returning(outbox.c.id)
)

# Materialized: a sub-select with a limit may otherwise run more than once, and claim too many.
_picked = (
    select(outbox.c.id)
    .where(_free())
    .order_by(outbox.c.due, outbox.c.id)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("picked")
    .prefix_with("MATERIALIZED")
)
_CLAIM = Statement(
    update(outbox)
    # The condition stands here a second time: PostgreSQL judges the outer one again on the
    # newest version of a row, and without it two workers can claim the same mail.
    .where(outbox.c.id.in_(select(_picked.c.id)), _free())
    .values(leased=_UNTIL, attempts=outbox.c.attempts + 1, error="")
    .returning(outbox.c.id, outbox.c.kind, outbox.c.recipient, outbox.c.facts, outbox.c.attempts)
)


_FREE = Statement(update(outbox).where(_OWED, outbox.c.leased.is_not(None)).values(leased=None))


def _finish() -> Update:
    return (
        update(outbox)
        .where(
            _OWED,
            outbox.c.id == bindparam("mail", type_=BigInt),
            outbox.c.attempts == bindparam("attempt", type_=Integer),
        )
        .values(leased=None, error=_ERROR)
    )


_SENT = Statement(_finish().values(state="sent", settled=_NOW))
_VOID = Statement(_finish().values(state="void", settled=_NOW))
_ABANDON = Statement(_finish().values(state="abandoned", settled=_NOW))
_RETRY = Statement(_finish().values(due=_UNTIL))
_TURN = Statement(
    update(outbox)
    .where(
        _OWED,
        outbox.c.id == bindparam("mail", type_=BigInt),
        outbox.c.attempts == bindparam("attempt", type_=Integer),
    )
    .values(
        kind=bindparam("kind"),
        facts=bindparam("facts"),
        account_id=bindparam("about", type_=BigInt),
    )
)


def _postpone(which: ColumnElement[bool]) -> Statement:
    return Statement(update(outbox).where(_free(), which).values(due=_UNTIL, error=_ERROR))


_PUT_OFF = {
    True: _postpone(any_of(outbox.c.kind, "kinds")),
    False: _postpone(not_(any_of(outbox.c.kind, "kinds"))),
}

_old = (
    select(outbox.c.id)
    .where(DELIVERED, outbox.c.settled < bindparam("before", type_=UtcDateTime))
    .order_by(outbox.c.settled)
    .limit(bindparam("limit", type_=Integer))
)
_SWEEP = Statement(delete(outbox).where(outbox.c.id.in_(_old)))

# Each from an index of its own: what was sent, in years, is not looked at.
_COUNTS = Statement(
    select(
        *(
            select(func.count()).select_from(outbox).where(*which).scalar_subquery().label(name)
            for name, which in (
                ("owed", (_OWED,)),
                ("overdue", (_OWED, _free_from <= bindparam("before", type_=UtcDateTime))),
                ("abandoned", (_ABANDONED,)),
            )
        )
    )
)
_NEXT_DUE = Statement(select(func.min(_free_from, type_=UtcDateTime).label("due")).where(_OWED))

_STATES: Final = {"owed": _OWED, "abandoned": _ABANDONED}

listing = Listing(
    select(
        *(
            outbox.c[name]
            for name in (
                *("id", "kind", "recipient", "state", "created", "due", "leased"),
                *("attempts", "error", "settled"),
            )
        )
    ),
    visible=false,
    key=outbox.c.id,
    default="due",
    orders={"due": (outbox.c.due,), "settled": (outbox.c.settled,)},
    filters={"state": Filter(lambda value: (value, {}), lambda form, _: _STATES[form])},
    counted=select(outbox.c.id),
    lean=True,
)
"""The mails of a state, ``owed`` or ``abandoned``; for staff and support."""

# Not what a worker has in its hands at this moment.
_unheld = or_(_ABANDONED, and_(_OWED, or_(outbox.c.leased.is_(None), outbox.c.leased <= _NOW)))
_one = and_(outbox.c.id == bindparam("mail", type_=BigInt), _unheld)
_some = outbox.c.id.in_(
    select(outbox.c.id)
    .where(_ABANDONED)
    .order_by(outbox.c.settled, outbox.c.id)
    .limit(bindparam("limit", type_=Integer))
)


def _requeue(which: ColumnElement[bool]) -> Update:
    # What was given up begins anew; what is still tried keeps the count of its attempts.
    attempts = case((_ABANDONED, 0), else_=outbox.c.attempts)
    return (
        update(outbox)
        .where(which)
        .values(state="owed", due=_NOW, leased=None, settled=None, attempts=attempts)
    )


_AGAIN = Statement(_requeue(_one).returning(outbox.c.kind, outbox.c.recipient))
_ALL_AGAIN = Statement(_requeue(and_(_some, _ABANDONED)))
_DROP = Statement(
    update(outbox)
    .where(_one)
    .values(state="void", leased=None, settled=_NOW, error=_ERROR)
    .returning(outbox.c.kind, outbox.c.recipient)
)


def enqueue(tx: WriteTransaction, mail: QueuedMail, due: datetime | None = None) -> int:
    """Owe a mail from the moment this transaction commits; give its number.

    Args:
        due: when it may go; None: at once.
    """
    facts = mail.payload()
    if tx.request:
        facts[REQUEST] = tx.request
    number = tx.scalar(
        _POST,
        kind=mail.kind,
        recipient=mail.recipient,
        facts=facts,
        created=tx.now,
        due=due or tx.now,
        account_id=facts.get("account"),
    )
    tx.mail_enqueued = True
    return int(number)


def claim(tx: WriteTransaction, limit: int, lease_seconds: int) -> list[Row]:
    """Take mails that are due, so that nobody else does before the lease runs out.

    Gives ``id kind recipient facts attempts``, the attempt just begun included.
    """
    until = tx.now + timedelta(seconds=lease_seconds)
    return tx.fetch_all(_CLAIM, now=tx.now, limit=limit, until=until)


def release(tx: WriteTransaction) -> int:
    """End all leases; only for whoever knows that nobody works under one. Give their number."""
    return tx.execute(_FREE)


def change_kind(
    tx: WriteTransaction, mail: int, attempt: int, kind: str, facts: Mapping[str, Any]
) -> None:
    """Make another kind of mail of one that is claimed.

    Refuses: Conflict ``mail.overtaken`` when the attempt is no longer the latest.
    """
    about = facts.get("account")
    if not tx.execute(_TURN, mail=mail, attempt=attempt, kind=kind, facts=facts, about=about):
        raise Conflict("mail.overtaken")


def mark_sent(tx: WriteTransaction, mail: int, attempt: int) -> bool:
    """Note that a mail went out; False when the attempt is no longer the latest."""
    return tx.execute(_SENT, mail=mail, attempt=attempt, now=tx.now, reason="") > 0


def mark_obsolete(tx: WriteTransaction, mail: int, attempt: int, reason: str) -> bool:
    """Note that there is nothing left to say; False when the attempt is not the latest."""
    return tx.execute(_VOID, mail=mail, attempt=attempt, now=tx.now, reason=reason) > 0


def mark_failed(
    tx: WriteTransaction, mail: int, attempt: int, reason: str, retry_at: datetime | None
) -> bool:
    """Note why an attempt failed; False when the attempt is no longer the latest.

    Args:
        reason: a short sentence; people see it.
        retry_at: when to try again; None abandons the mail.
    """
    if retry_at is None:
        return tx.execute(_ABANDON, mail=mail, attempt=attempt, now=tx.now, reason=reason) > 0
    return tx.execute(_RETRY, mail=mail, attempt=attempt, until=retry_at, reason=reason) > 0


def postpone(
    tx: WriteTransaction,
    until: datetime,
    reason: str,
    kinds: Collection[str] = (),
    *,
    those: bool = False,
) -> int:
    """Let what could be claimed now wait, without counting an attempt.

    Args:
        kinds: the kinds of mail that wait; or, unless ``those``, that do not.
    """
    return tx.execute(_PUT_OFF[those], now=tx.now, until=until, reason=reason, kinds=list(kinds))


def retry(tx: WriteTransaction, mail: int) -> Row:
    """Owe a mail again, or at once; gives ``kind recipient``.

    Refuses: NotFound ``mail.settled`` when it is neither abandoned nor waits to be tried.
    """
    row = tx.fetch_one(_AGAIN, mail=mail, now=tx.now)
    if row is None:
        raise NotFound("mail.settled")
    tx.mail_enqueued = True
    return row


def retry_all(tx: WriteTransaction, most: int) -> int:
    """Owe abandoned mails again, those first that were abandoned first; give their number."""
    number = tx.execute(_ALL_AGAIN, limit=most, now=tx.now)
    tx.mail_enqueued = tx.mail_enqueued or number > 0
    return number


def discard(tx: WriteTransaction, mail: int, reason: str) -> Row:
    """Send a mail no more; gives ``kind recipient``.

    Args:
        reason: a short sentence; people see it.

    Refuses: as ``again``.
    """
    row = tx.fetch_one(_DROP, mail=mail, now=tx.now, reason=reason)
    if row is None:
        raise NotFound("mail.settled")
    return row


def purge(tx: WriteTransaction, before: datetime, limit: int) -> int:
    """Delete some mails that were sent, or had become needless, before a moment; count them."""
    return tx.execute(_SWEEP, before=before, limit=limit)


def counts(tx: ReadTransaction) -> Row:
    """Count the mails: ``owed``, ``overdue`` among these, ``abandoned``."""
    return tx.fetch_one(_COUNTS, before=tx.now - OVERDUE_AFTER)


def next_due(tx: ReadTransaction) -> datetime | None:
    """Give the moment from which a mail can be claimed; None while nothing is owed."""
    due: datetime | None = tx.scalar(_NEXT_DUE)
    return due
