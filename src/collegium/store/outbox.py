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
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from collegium.rules.refusals import Conflict
from collegium.store.db import Prepared, Read, Row, Time, Write, any_of
from collegium.store.tables import Number, outbox

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


# Written into the text: against a bound value, a partial index cannot be used.
_OWED = outbox.c.state == literal_column("'owed'")
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


_POST = Prepared(
    insert(outbox)
    .values({name: bindparam(name) for name in ("kind", "recipient", "facts", "created", "due")})
    .returning(outbox.c.id)
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
    .values(kind=bindparam("kind"), facts=bindparam("facts"))
)


def _put_off(which: ColumnElement[bool]) -> Prepared:
    return Prepared(update(outbox).where(_free(), which).values(due=_UNTIL, error=_ERROR))


_PUT_OFF = {
    True: _put_off(any_of(outbox.c.kind, "kinds")),
    False: _put_off(not_(any_of(outbox.c.kind, "kinds"))),
}

_COUNTS = Prepared(
    select(
        func.count().filter(_OWED).label("owed"),
        func.count().filter(_OWED, _free_from <= bindparam("before", type_=Time)).label("overdue"),
        func.count().filter(outbox.c.state == literal_column("'abandoned'")).label("abandoned"),
    ).select_from(outbox)
)
_NEXT_DUE = Prepared(select(func.min(_free_from, type_=Time).label("due")).where(_OWED))


def post(tx: Write, mail: Owed) -> int:
    """Owe a mail from the moment this transaction commits; give its number."""
    facts = mail.facts()
    if tx.request:
        facts[REQUEST] = tx.request
    number = tx.value(
        _POST,
        kind=mail.kind,
        recipient=mail.recipient,
        facts=facts,
        created=tx.now,
        due=tx.now,
    )
    tx.owes = True
    return int(number)


def claim(tx: Write, limit: int, lease_seconds: int) -> list[Row]:
    """Take mails that are due, so that nobody else does before the lease runs out.

    Gives ``id kind recipient facts attempts``, the attempt just begun included.
    """
    until = tx.now + timedelta(seconds=lease_seconds)
    return tx.all(_CLAIM, now=tx.now, limit=limit, until=until)


def turn(tx: Write, mail: int, attempt: int, kind: str, facts: Mapping[str, Any]) -> None:
    """Make another kind of mail of one that is claimed.

    Refuses: Conflict ``mail.overtaken`` when the attempt is no longer the latest.
    """
    if not tx.run(_TURN, mail=mail, attempt=attempt, kind=kind, facts=facts):
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


def counts(tx: Read) -> Row:
    """Count the mails: ``owed``, ``overdue`` among these, ``abandoned``."""
    return tx.one(_COUNTS, before=tx.now - OVERDUE_AFTER)


def next_due(tx: Read) -> datetime | None:
    """Give the moment from which a mail can be claimed; None while nothing is owed."""
    due: datetime | None = tx.value(_NEXT_DUE)
    return due
