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

from collegium.db.database import Read, Write
from collegium.db.statements import Prepared, Row, Time, any_of
from collegium.db.tables import DELIVERED, Number, outbox
from collegium.lists.listing import Filter, Listing
from collegium.refusals import Conflict, NotFound

OVERDUE_AFTER: Final = timedelta(minutes=1)
"""A mail that could have been claimed for so long says that nobody pays the outbox."""

REQUEST: Final = "request_id"
"""The fact that names the request which owed the mail, so that logs can follow it."""


class Owed(Protocol):
    """What can be posted; ``actions.mails`` has every kind."""

    @property
    def kind(self) -> str:
        """The stable name of the mail."""

    @property
    def recipient(self) -> str:
        """The address it goes to."""

    def facts(self) -> dict[str, Any]:
        """What it is about, as JSON."""


_OWED = outbox.c.state == "owed"
_ABANDONED = outbox.c.state == "abandoned"
_NOW = bindparam("now", type_=Time)
_UNTIL = bindparam("until", type_=Time)
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
_POST = Prepared(
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
_CLAIM = Prepared(
    update(outbox)
    # The condition stands here a second time: PostgreSQL judges the outer one again on the
    # newest version of a row, and without it two workers can claim the same mail.
    .where(outbox.c.id.in_(select(_picked.c.id)), _free())
    .values(leased=_UNTIL, attempts=outbox.c.attempts + 1, error="")
    .returning(outbox.c.id, outbox.c.kind, outbox.c.recipient, outbox.c.facts, outbox.c.attempts)
)


_FREE = Prepared(update(outbox).where(_OWED, outbox.c.leased.is_not(None)).values(leased=None))


def _settle() -> Update:
    return (
        update(outbox)
        .where(
            _OWED,
            outbox.c.id == bindparam("mail", type_=Number),
            outbox.c.attempts == bindparam("attempt", type_=Integer),
        )
        .values(leased=None, error=_ERROR)
    )


_SENT = Prepared(_settle().values(state="sent", settled=_NOW))
_VOID = Prepared(_settle().values(state="void", settled=_NOW))
_ABANDON = Prepared(_settle().values(state="abandoned", settled=_NOW))
_RETRY = Prepared(_settle().values(due=_UNTIL))
_TURN = Prepared(
    update(outbox)
    .where(
        _OWED,
        outbox.c.id == bindparam("mail", type_=Number),
        outbox.c.attempts == bindparam("attempt", type_=Integer),
    )
    .values(
        kind=bindparam("kind"),
        facts=bindparam("facts"),
        account_id=bindparam("about", type_=Number),
    )
)


def _put_off(which: ColumnElement[bool]) -> Prepared:
    return Prepared(update(outbox).where(_free(), which).values(due=_UNTIL, error=_ERROR))


_PUT_OFF = {
    True: _put_off(any_of(outbox.c.kind, "kinds")),
    False: _put_off(not_(any_of(outbox.c.kind, "kinds"))),
}

_old = (
    select(outbox.c.id)
    .where(DELIVERED, outbox.c.settled < bindparam("before", type_=Time))
    .order_by(outbox.c.settled)
    .limit(bindparam("limit", type_=Integer))
)
_SWEEP = Prepared(delete(outbox).where(outbox.c.id.in_(_old)))

# Each from an index of its own: what was sent, in years, is not looked at.
_COUNTS = Prepared(
    select(
        *(
            select(func.count()).select_from(outbox).where(*which).scalar_subquery().label(name)
            for name, which in (
                ("owed", (_OWED,)),
                ("overdue", (_OWED, _free_from <= bindparam("before", type_=Time))),
                ("abandoned", (_ABANDONED,)),
            )
        )
    )
)
_NEXT_DUE = Prepared(select(func.min(_free_from, type_=Time).label("due")).where(_OWED))

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
_one = and_(outbox.c.id == bindparam("mail", type_=Number), _unheld)
_some = outbox.c.id.in_(
    select(outbox.c.id)
    .where(_ABANDONED)
    .order_by(outbox.c.settled, outbox.c.id)
    .limit(bindparam("limit", type_=Integer))
)


def _owe_again(which: ColumnElement[bool]) -> Update:
    # What was given up begins anew; what is still tried keeps the count of its attempts.
    attempts = case((_ABANDONED, 0), else_=outbox.c.attempts)
    return (
        update(outbox)
        .where(which)
        .values(state="owed", due=_NOW, leased=None, settled=None, attempts=attempts)
    )


_AGAIN = Prepared(_owe_again(_one).returning(outbox.c.kind, outbox.c.recipient))
_ALL_AGAIN = Prepared(_owe_again(and_(_some, _ABANDONED)))
_DROP = Prepared(
    update(outbox)
    .where(_one)
    .values(state="void", leased=None, settled=_NOW, error=_ERROR)
    .returning(outbox.c.kind, outbox.c.recipient)
)


def post(tx: Write, mail: Owed, due: datetime | None = None) -> int:
    """Owe a mail from the moment this transaction commits; give its number.

    Args:
        due: when it may go; None: at once.
    """
    facts = mail.facts()
    if tx.request:
        facts[REQUEST] = tx.request
    number = tx.value(
        _POST,
        kind=mail.kind,
        recipient=mail.recipient,
        facts=facts,
        created=tx.now,
        due=due or tx.now,
        account_id=facts.get("account"),
    )
    tx.owes = True
    return int(number)


def claim(tx: Write, limit: int, lease_seconds: int) -> list[Row]:
    """Take mails that are due, so that nobody else does before the lease runs out.

    Gives ``id kind recipient facts attempts``, the attempt just begun included.
    """
    until = tx.now + timedelta(seconds=lease_seconds)
    return tx.all(_CLAIM, now=tx.now, limit=limit, until=until)


def free(tx: Write) -> int:
    """End all leases; only for whoever knows that nobody works under one. Give their number."""
    return tx.run(_FREE)


def turn(tx: Write, mail: int, attempt: int, kind: str, facts: Mapping[str, Any]) -> None:
    """Make another kind of mail of one that is claimed.

    Refuses: Conflict ``mail.overtaken`` when the attempt is no longer the latest.
    """
    about = facts.get("account")
    if not tx.run(_TURN, mail=mail, attempt=attempt, kind=kind, facts=facts, about=about):
        raise Conflict("mail.overtaken")


def sent(tx: Write, mail: int, attempt: int) -> bool:
    """Note that a mail went out; False when the attempt is no longer the latest."""
    return tx.run(_SENT, mail=mail, attempt=attempt, now=tx.now, reason="") > 0


def void(tx: Write, mail: int, attempt: int, reason: str) -> bool:
    """Note that there is nothing left to say; False when the attempt is not the latest."""
    return tx.run(_VOID, mail=mail, attempt=attempt, now=tx.now, reason=reason) > 0


def failed(tx: Write, mail: int, attempt: int, reason: str, retry_at: datetime | None) -> bool:
    """Note why an attempt failed; False when the attempt is no longer the latest.

    Args:
        reason: a short sentence; people see it.
        retry_at: when to try again; None abandons the mail.
    """
    if retry_at is None:
        return tx.run(_ABANDON, mail=mail, attempt=attempt, now=tx.now, reason=reason) > 0
    return tx.run(_RETRY, mail=mail, attempt=attempt, until=retry_at, reason=reason) > 0


def put_off(
    tx: Write, until: datetime, reason: str, kinds: Collection[str] = (), *, those: bool = False
) -> int:
    """Let what could be claimed now wait, without counting an attempt.

    Args:
        kinds: the kinds of mail that wait; or, unless ``those``, that do not.
    """
    return tx.run(_PUT_OFF[those], now=tx.now, until=until, reason=reason, kinds=list(kinds))


def again(tx: Write, mail: int) -> Row:
    """Owe a mail again, or at once; gives ``kind recipient``.

    Refuses: NotFound ``mail.settled`` when it is neither abandoned nor waits to be tried.
    """
    row = tx.one(_AGAIN, mail=mail, now=tx.now)
    if row is None:
        raise NotFound("mail.settled")
    tx.owes = True
    return row


def all_again(tx: Write, most: int) -> int:
    """Owe abandoned mails again, those first that were abandoned first; give their number."""
    number = tx.run(_ALL_AGAIN, limit=most, now=tx.now)
    tx.owes = tx.owes or number > 0
    return number


def drop(tx: Write, mail: int, reason: str) -> Row:
    """Send a mail no more; gives ``kind recipient``.

    Args:
        reason: a short sentence; people see it.

    Refuses: as ``again``.
    """
    row = tx.one(_DROP, mail=mail, now=tx.now, reason=reason)
    if row is None:
        raise NotFound("mail.settled")
    return row


def sweep(tx: Write, before: datetime, limit: int) -> int:
    """Delete some mails that were sent, or had become needless, before a moment; count them."""
    return tx.run(_SWEEP, before=before, limit=limit)


def counts(tx: Read) -> Row:
    """Count the mails: ``owed``, ``overdue`` among these, ``abandoned``."""
    return tx.one(_COUNTS, before=tx.now - OVERDUE_AFTER)


def next_due(tx: Read) -> datetime | None:
    """Give the moment from which a mail can be claimed; None while nothing is owed."""
    due: datetime | None = tx.value(_NEXT_DUE)
    return due
