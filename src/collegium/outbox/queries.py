"""Queries of the outbox: e-mails from the action that queues them until they are finished.

Calls of web hooks are queued here too. They are claimed hook by hook (``hooks.call_queue``),
because an endpoint of somebody may be slow, and staff do not look after them.

A worker claims an e-mail by a lease. Each later update names the attempt that it claimed, so a
worker whose lease has expired cannot finish the attempt of another one.
"""

from collections.abc import Collection, Mapping, Sequence
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
    not_,
    or_,
    select,
    update,
)

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import FINISHED, IS_CALL, IS_MAIL, BigInt, hooks, outbox
from collegium.db.writing import insertion
from collegium.lists.listing import Filter, Listing
from collegium.outbox.mails import EventNotification, MailTest
from collegium.refusals import Conflict, or_not_found

OVERDUE_AFTER: Final = timedelta(minutes=1)
"""An e-mail that could have been claimed for this long shows that no worker is running."""

REQUEST: Final = "request_id"
"""The key of the payload that names the request, so that logs can be correlated."""


class QueuedMail(Protocol):
    """An e-mail that can be queued; ``outbox.mails`` has all kinds."""

    @property
    def kind(self) -> str:
        """The stable name of the mail."""

    @property
    def recipient(self) -> str:
        """The address to which it is sent."""

    def payload(self) -> dict[str, Any]:
        """Return the data of the e-mail, as JSON."""


class MailAddress:
    """The kind and the recipient of an e-mail."""

    kind: str
    recipient: str


class ClaimedMail(MailAddress):
    """An e-mail that a worker has claimed; the attempt that begins now is counted."""

    id: int
    payload: dict[str, Any]
    attempts: int
    next_attempt_at: datetime


class CollectingMail:
    """An e-mail of a hook to which further events can be added."""

    id: int
    hook_id: int
    payload: dict[str, Any]


class _QueuedForHook:
    hook_id: int
    count: int


class MailRow(MailAddress):
    """An e-mail in a list."""


class MailCounts:
    """The numbers of queued, overdue (among the queued) and failed e-mails."""

    queued: int
    overdue: int
    failed: int


_QUEUED = outbox.c.state == "queued"
_QUEUED_MAIL = and_(_QUEUED, IS_MAIL)
_OF_HOOK = outbox.c.hook_id == bindparam("hook", type_=BigInt)
_QUEUED_CALL = and_(_QUEUED, IS_CALL, _OF_HOOK)
_IS_OF_EVENT = outbox.c.kind == EventNotification.kind
_FAILED = outbox.c.state == "failed"
_NOW = bindparam("now", type_=UtcDateTime)
_UNTIL = bindparam("until", type_=UtcDateTime)
_ERROR = bindparam("reason", type_=outbox.c.error.type)

# The time from which an e-mail can be claimed: it is due and its lease has expired.
_claimable_from = case(
    (
        and_(outbox.c.locked_until.is_not(None), outbox.c.locked_until > outbox.c.next_attempt_at),
        outbox.c.locked_until,
    ),
    else_=outbox.c.next_attempt_at,
)


def _is_claimable(queued: ColumnElement[bool] = _QUEUED_MAIL) -> ColumnElement[bool]:
    return and_(
        queued,
        outbox.c.next_attempt_at <= _NOW,
        or_(outbox.c.locked_until.is_(None), outbox.c.locked_until <= _NOW),
    )


_COLUMNS: Final = (
    "kind",
    "recipient",
    "payload",
    "created_at",
    "next_attempt_at",
    "is_bulk",
    "account_id",
    "hook_id",
)

_ENQUEUE = Statement[int](insertion(outbox, _COLUMNS).returning(outbox.c.id))


def _claim(queued: ColumnElement[bool]) -> Statement[ClaimedMail]:
    # MATERIALIZED: otherwise the database may run a sub-select with a limit more than once, and
    # claim too many rows.
    claimable = (
        select(outbox.c.id, outbox.c.attempts, outbox.c.next_attempt_at)
        .where(_is_claimable(queued))
        .order_by(outbox.c.next_attempt_at, outbox.c.id)
        .limit(bindparam("limit", type_=Integer))
        .with_for_update(skip_locked=True)
        .cte("claimable")
        .prefix_with("MATERIALIZED")
    )
    first = (
        select(claimable.c.id)
        .order_by(claimable.c.next_attempt_at, claimable.c.id)
        .limit(1)
        .scalar_subquery()
    )
    # A worker that dies costs all that it has claimed an attempt. Perhaps an e-mail kills it. So
    # one that was tried before comes first in its batch or not at all: the others lose one attempt
    # to it, and not all of theirs.
    chosen = select(claimable.c.id).where(or_(claimable.c.attempts == 0, claimable.c.id == first))
    return Statement[ClaimedMail](
        update(outbox)
        # The condition is repeated here. PostgreSQL evaluates the outer condition again on the
        # newest version of a row. Without it two workers could claim the same e-mail.
        .where(outbox.c.id.in_(chosen), _is_claimable(queued))
        .values(locked_until=_UNTIL, attempts=outbox.c.attempts + 1, error="")
        .returning(
            *(outbox.c[name] for name in ("id", "kind", "recipient", "payload", "attempts")),
            outbox.c.next_attempt_at,
        )
    )


_CLAIM_MAILS = _claim(and_(_QUEUED_MAIL, not_(outbox.c.is_bulk)))
_CLAIM_BULK = _claim(and_(_QUEUED_MAIL, outbox.c.is_bulk))
_CLAIM_CALL = _claim(_QUEUED_CALL)
_NEXT_CALL = Statement[datetime](
    select(func.min(_claimable_from, type_=UtcDateTime).label("next_attempt_at")).where(
        _QUEUED_CALL
    )
)
_RELEASE_LEASES = Statement(
    update(outbox).where(_QUEUED, outbox.c.locked_until.is_not(None)).values(locked_until=None)
)
_RELEASE_HOOKS = Statement(
    update(hooks).where(hooks.c.locked_until.is_not(None)).values(locked_until=None)
)
_IS_QUEUED_FOR_ANY = and_(_QUEUED, outbox.c.hook_id.is_not(None), any_of(outbox.c.hook_id, "hooks"))
_COUNT_OF_HOOKS = Statement[_QueuedForHook](
    select(outbox.c.hook_id, func.count().label("count"))
    .where(_IS_QUEUED_FOR_ANY)
    .group_by(outbox.c.hook_id)
)
# Nobody has tried to send them yet.
_COLLECTING = Statement[CollectingMail](
    Relations(outbox)
    .select(CollectingMail)
    .where(
        _IS_QUEUED_FOR_ANY,
        _IS_OF_EVENT,
        outbox.c.attempts == 0,
        outbox.c.locked_until.is_(None),
    )
    .order_by(outbox.c.id)
    .with_for_update(skip_locked=True)
)
_SET_PAYLOAD = Statement(
    update(outbox)
    .where(outbox.c.id == bindparam("mail", type_=BigInt))
    .values(payload=bindparam("new_payload", type_=outbox.c.payload.type))
)
# It waits for nobody: what is being finished at this moment stays as it is.
_DISCARD_OF_HOOKS = Statement(
    update(outbox)
    .where(
        outbox.c.id.in_(
            select(outbox.c.id)
            .where(_IS_QUEUED_FOR_ANY)
            .order_by(outbox.c.id)
            .with_for_update(skip_locked=True)
        )
    )
    .values(state="obsolete", locked_until=None, finished_at=_NOW, error=_ERROR)
)


def _finish() -> Update:
    return (
        update(outbox)
        .where(
            _QUEUED,
            outbox.c.id == bindparam("mail", type_=BigInt),
            outbox.c.attempts == bindparam("attempt", type_=Integer),
        )
        .values(locked_until=None, error=_ERROR)
    )


_MARK_SENT = Statement[int](_finish().values(state="sent", finished_at=_NOW).returning(outbox.c.id))
_GIVE_BACK = Statement(_finish().values(attempts=outbox.c.attempts - 1))
_MARK_OBSOLETE = Statement(_finish().values(state="obsolete", finished_at=_NOW))
_MARK_FAILED = Statement(_finish().values(state="failed", finished_at=_NOW))
_RETRY = Statement(_finish().values(next_attempt_at=_UNTIL))
_STATUS = bindparam("status", type_=Integer)
_MARK_CALLED = Statement(_finish().values(state="sent", finished_at=_NOW, response_status=_STATUS))
_GIVE_UP_CALL = Statement(
    _finish().values(state="obsolete", finished_at=_NOW, response_status=_STATUS)
)
_RETRY_CALL = Statement(_finish().values(next_attempt_at=_UNTIL, response_status=_STATUS))
_CHANGE_KIND = Statement(
    update(outbox)
    .where(
        _QUEUED,
        outbox.c.id == bindparam("mail", type_=BigInt),
        outbox.c.attempts == bindparam("attempt", type_=Integer),
    )
    .values(
        kind=bindparam("kind"),
        payload=bindparam("payload"),
        account_id=bindparam("account", type_=BigInt),
    )
)


def _postpone(condition: ColumnElement[bool]) -> Statement:
    return Statement(
        update(outbox)
        .where(_is_claimable(), condition)
        .values(next_attempt_at=_UNTIL, error=_ERROR)
    )


_POSTPONE = {
    True: _postpone(any_of(outbox.c.kind, "kinds")),
    False: _postpone(not_(any_of(outbox.c.kind, "kinds"))),
}

_old = (
    select(outbox.c.id)
    .where(FINISHED, outbox.c.finished_at < bindparam("before", type_=UtcDateTime))
    .order_by(outbox.c.finished_at)
    .limit(bindparam("limit", type_=Integer))
)
_DELETE_OLD = Statement(delete(outbox).where(outbox.c.id.in_(_old)))

# Each count uses an index of its own, so years of sent e-mails are not read.
_COUNTS = Statement[MailCounts](
    select(
        *(
            select(func.count()).select_from(outbox).where(*which).scalar_subquery().label(name)
            for name, which in (
                ("queued", (_QUEUED_MAIL,)),
                (
                    "overdue",
                    (_QUEUED_MAIL, _claimable_from <= bindparam("before", type_=UtcDateTime)),
                ),
                ("failed", (_FAILED,)),
            )
        )
    )
)
_NEXT_DUE = Statement[datetime](
    select(func.min(_claimable_from, type_=UtcDateTime).label("next_attempt_at")).where(
        _QUEUED_MAIL
    )
)

_STATES: Final = {"queued": _QUEUED_MAIL, "failed": _FAILED}

listing = Listing[MailRow](
    rows=Relations(outbox).select(
        MailRow,
        *("id", "state", "created_at", "next_attempt_at", "locked_until", "attempts", "error"),
        "finished_at",
    ),
    visible=false,
    key=outbox.c.id,
    default="next_attempt_at",
    orders={"next_attempt_at": (outbox.c.next_attempt_at,), "finished_at": (outbox.c.finished_at,)},
    filters={"state": Filter(lambda value: (value, {}), lambda form, _: _STATES[form])},
    count_query=select(outbox.c.id),
    filters_fit_count_query=True,
)
"""The e-mails of a state, queued or failed; for staff and support."""

_TEST_BY_ID = Statement[MailRow](
    listing.rows.where(
        outbox.c.id == bindparam("mail", type_=BigInt), outbox.c.kind == MailTest.kind
    )
)

# Excludes e-mails that a worker has claimed now.
_is_unclaimed = or_(
    _FAILED, and_(_QUEUED_MAIL, or_(outbox.c.locked_until.is_(None), outbox.c.locked_until <= _NOW))
)
_is_mail = and_(outbox.c.id == bindparam("mail", type_=BigInt), _is_unclaimed)
_first_failed = outbox.c.id.in_(
    select(outbox.c.id)
    .where(_FAILED)
    .order_by(outbox.c.finished_at, outbox.c.id)
    .limit(bindparam("limit", type_=Integer))
)


def _requeue(condition: ColumnElement[bool]) -> Update:
    # A failed e-mail starts again with no attempts. A queued one keeps its count.
    attempts = case((_FAILED, 0), else_=outbox.c.attempts)
    return (
        update(outbox)
        .where(condition)
        .values(
            state="queued",
            next_attempt_at=_NOW,
            locked_until=None,
            finished_at=None,
            attempts=attempts,
        )
    )


_RETRY_ONE = Statement[MailAddress](_requeue(_is_mail).returning(outbox.c.kind, outbox.c.recipient))
_RETRY_ALL = Statement(_requeue(and_(_first_failed, _FAILED)))
_DISCARD = Statement[MailAddress](
    update(outbox)
    .where(_is_mail)
    .values(state="obsolete", locked_until=None, finished_at=_NOW, error=_ERROR)
    .returning(outbox.c.kind, outbox.c.recipient)
)


def enqueue(tx: WriteTransaction, mail: QueuedMail, send_at: datetime | None = None) -> int:
    """Queue an e-mail for delivery after this transaction commits; return its id.

    Args:
        send_at: earliest time of delivery, UTC; None for now.
    """
    (mail_id,) = enqueue_all(tx, [mail], send_at)
    return mail_id


def enqueue_all(
    tx: WriteTransaction, queued: Sequence[QueuedMail], send_at: datetime | None = None
) -> list[int]:
    """Queue several e-mails, and return their ids in order; otherwise as ``enqueue``."""
    parameters = []
    for mail in queued:
        payload = _payload_of(tx, mail)
        parameters.append(
            {
                "kind": mail.kind,
                "recipient": mail.recipient,
                "payload": payload,
                "created_at": tx.now,
                "next_attempt_at": send_at or tx.now,
                "is_bulk": tx.is_bulk or mail.kind == EventNotification.kind,
                "account_id": payload.get("account"),
                "hook_id": payload.get("hook"),
            }
        )
    tx.mail_enqueued = True
    return tx.execute_many(_ENQUEUE, parameters)


def set_mails(tx: WriteTransaction, queued: Mapping[int, QueuedMail]) -> None:
    """Replace the data of e-mails that this transaction has queued, by their ids."""
    tx.execute_many(
        _SET_PAYLOAD,
        [
            {"mail": mail_id, "new_payload": _payload_of(tx, mail)}
            for mail_id, mail in queued.items()
        ],
    )


def _payload_of(tx: WriteTransaction, mail: QueuedMail) -> dict[str, Any]:
    payload = mail.payload()
    if tx.request:
        payload[REQUEST] = tx.request
    return payload


def claim(tx: WriteTransaction, limit: int, lease_seconds: int) -> list[ClaimedMail]:
    """Claim e-mails that are due; other workers leave them alone until the lease expires.

    Those of imports, of the schedule and of hooks are claimed when no other e-mail is due: somebody
    may wait for it. Of those that were tried before, only the first is claimed.

    Args:
        limit: maximum number of e-mails.
        lease_seconds: length of the lease.

    Returns:
        The e-mails, those first that have been due for longest.
    """
    facts = {"now": tx.now, "limit": limit, "until": tx.now + timedelta(seconds=lease_seconds)}
    claimed = tx.fetch_all(_CLAIM_MAILS, **facts) or tx.fetch_all(_CLAIM_BULK, **facts)
    return sorted(claimed, key=lambda row: (row.next_attempt_at, row.id))


def give_back(tx: WriteTransaction, claimed: Sequence[ClaimedMail]) -> None:
    """End the leases of claimed e-mails that were not tried: this does not count as an attempt."""
    tx.execute_many(
        _GIVE_BACK,
        [{"mail": row.id, "attempt": row.attempts, "reason": ""} for row in claimed],
    )


def claim_call(tx: WriteTransaction, hook: int, until: datetime) -> ClaimedMail | None:
    """Claim the call of a web hook that has been due for longest; None if none is due.

    Args:
        hook: id of the hook, locked.
        until: when the lease expires, UTC.
    """
    return tx.fetch_one(_CLAIM_CALL, hook=hook, now=tx.now, limit=1, until=until)


def next_call(tx: ReadTransaction, hook: int) -> datetime | None:
    """Return the time from which a call of a web hook can be claimed, UTC; None without any."""
    return tx.fetch_one(_NEXT_CALL, hook=hook)


def count_for_hooks(tx: ReadTransaction, ids: Collection[int]) -> dict[int, int]:
    """Return the number of queued entries of each hook that has any.

    Args:
        ids: of hooks.
    """
    rows = tx.fetch_all(_COUNT_OF_HOOKS, hooks=list(ids))
    return {row.hook_id: row.count for row in rows}


def collecting(tx: WriteTransaction, ids: Collection[int]) -> dict[int, CollectingMail]:
    """Lock the e-mail of each hook to which further events can be added; return them by hook.

    Args:
        ids: of hooks.
    """
    return {row.hook_id: row for row in tx.fetch_all(_COLLECTING, hooks=list(ids))}


def set_payloads(tx: WriteTransaction, payloads: Mapping[int, Mapping[str, Any]]) -> None:
    """Store the data of queued e-mails that are locked, by id."""
    rows = ({"mail": mail, "new_payload": payload} for mail, payload in payloads.items())
    tx.execute_many(_SET_PAYLOAD, rows)


def discard_of_hooks(tx: WriteTransaction, ids: Collection[int], reason: str) -> None:
    """Mark what is queued for hooks as obsolete.

    Args:
        ids: of hooks.
        reason: a short sentence for people.
    """
    tx.execute(_DISCARD_OF_HOOKS, hooks=list(ids), now=tx.now, reason=reason)


def mark_called(tx: WriteTransaction, call: int, attempt: int, status: int) -> bool:
    """Mark a call as made; return False if it was claimed again or discarded meanwhile.

    Args:
        status: HTTP status of the response.
    """
    return (
        tx.execute(_MARK_CALLED, mail=call, attempt=attempt, now=tx.now, reason="", status=status)
        > 0
    )


def mark_call_failed(
    tx: WriteTransaction,
    call: int,
    attempt: int,
    reason: str,
    status: int | None,
    retry_at: datetime | None,
) -> bool:
    """Record why a call failed; return False if it was claimed again or discarded meanwhile.

    A call that is not tried again becomes obsolete: its author reads why, and staff need not.

    Args:
        reason: a short sentence for people.
        status: HTTP status of the response; None if there was none.
        retry_at: time of the next attempt, UTC; None if there is none.
    """
    facts = {"mail": call, "attempt": attempt, "reason": reason, "status": status}
    if retry_at is None:
        return tx.execute(_GIVE_UP_CALL, now=tx.now, **facts) > 0
    return tx.execute(_RETRY_CALL, until=retry_at, **facts) > 0


def release(tx: WriteTransaction) -> int:
    """End all leases and return their number; the caller knows that no worker is running."""
    tx.execute(_RELEASE_HOOKS)
    return tx.execute(_RELEASE_LEASES)


def change_kind(
    tx: WriteTransaction, mail: int, attempt: int, kind: str, payload: Mapping[str, Any]
) -> None:
    """Change the kind and data of a claimed e-mail.

    Raises:
        Conflict: ``mail.overtaken`` if another worker has claimed it since.
    """
    account = payload.get("account")
    if not tx.execute(
        _CHANGE_KIND, mail=mail, attempt=attempt, kind=kind, payload=payload, account=account
    ):
        raise Conflict("mail.overtaken")


def mark_sent(tx: WriteTransaction, sent: Sequence[ClaimedMail]) -> set[int]:
    """Mark e-mails as sent.

    Returns:
        The ids of those that no other worker has claimed since.
    """
    facts = {"now": tx.now, "reason": ""}
    rows = [facts | {"mail": row.id, "attempt": row.attempts} for row in sent]
    return set(tx.execute_many(_MARK_SENT, rows))


def mark_obsolete(tx: WriteTransaction, mail: int, attempt: int, reason: str) -> bool:
    """Mark an e-mail as obsolete; return False if another worker has claimed it since."""
    return tx.execute(_MARK_OBSOLETE, mail=mail, attempt=attempt, now=tx.now, reason=reason) > 0


def mark_failed(
    tx: WriteTransaction, mail: int, attempt: int, reason: str, retry_at: datetime | None
) -> bool:
    """Record why an attempt failed; return False if another worker has claimed the e-mail since.

    Args:
        reason: a short sentence for people.
        retry_at: time of the next attempt, UTC; None if the e-mail has finally failed.
    """
    if retry_at is None:
        return tx.execute(_MARK_FAILED, mail=mail, attempt=attempt, now=tx.now, reason=reason) > 0
    return tx.execute(_RETRY, mail=mail, attempt=attempt, until=retry_at, reason=reason) > 0


def postpone(
    tx: WriteTransaction,
    until: datetime,
    reason: str,
    kinds: Collection[str] = (),
    *,
    only: bool = False,
) -> int:
    """Postpone the e-mails that could be claimed now; return their number.

    This does not count as an attempt.

    Args:
        until: new time of the next attempt, UTC.
        reason: a short sentence for people.
        kinds: kinds of e-mail.
        only: postpone only these kinds; by default all kinds but these.
    """
    return tx.execute(_POSTPONE[only], now=tx.now, until=until, reason=reason, kinds=list(kinds))


def retry(tx: WriteTransaction, mail: int) -> MailAddress:
    """Queue a failed e-mail again, or make a queued one due now.

    Raises:
        NotFound: ``mail.settled`` if it is neither failed nor waiting for an attempt.
    """
    row = or_not_found(tx.fetch_one(_RETRY_ONE, mail=mail, now=tx.now), "mail.settled")
    tx.mail_enqueued = True
    return row


def retry_all(tx: WriteTransaction, limit: int) -> int:
    """Queue failed e-mails again, those that failed first in front; return their number.

    Args:
        limit: maximum number.
    """
    count = tx.execute(_RETRY_ALL, limit=limit, now=tx.now)
    tx.mail_enqueued = tx.mail_enqueued or count > 0
    return count


def discard(tx: WriteTransaction, mail: int, reason: str) -> MailAddress:
    """Mark a failed or waiting e-mail as obsolete.

    Args:
        reason: a short sentence for people.

    Raises:
        NotFound: as ``retry``.
    """
    row = tx.fetch_one(_DISCARD, mail=mail, now=tx.now, reason=reason)
    return or_not_found(row, "mail.settled")


def purge(tx: WriteTransaction, before: datetime, limit: int) -> int:
    """Delete old e-mails that were sent or obsolete; return their number.

    Args:
        before: only those that were finished before this time, UTC.
        limit: maximum number.
    """
    return tx.execute(_DELETE_OLD, before=before, limit=limit)


def counts(tx: ReadTransaction) -> MailCounts:
    """Return the numbers of queued, overdue (among the queued) and failed e-mails."""
    return tx.fetch_only(_COUNTS, before=tx.now - OVERDUE_AFTER)


def test_by_id(tx: ReadTransaction, mail: int) -> MailRow | None:
    """Return a test e-mail in any state, for staff and support: without a visibility check.

    Nobody sees delivered e-mails of other kinds.
    """
    return tx.fetch_one(_TEST_BY_ID, mail=mail)


def next_due(tx: ReadTransaction) -> datetime | None:
    """Return the time from which the next e-mail can be claimed, UTC; None if none is queued."""
    return tx.fetch_one(_NEXT_DUE)
