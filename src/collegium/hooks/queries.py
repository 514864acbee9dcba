"""SQL of hooks: who sees them, which events are new for them, what became of deliveries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    bindparam,
    case,
    column,
    delete,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
    true,
    update,
)

from collegium.access.rules import Actor
from collegium.accounts.queries import Identity
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Position, Statement, UtcDateTime, any_of
from collegium.db.tables import BigInt, accounts, events, grants, hook_marks, hooks, outbox, scopes
from collegium.db.writing import insertion
from collegium.hooks.rules import Kind
from collegium.lists.listing import Filter, Listing
from collegium.refusals import or_not_found

EVENTS_MAX: Final = 100
"""Maximum number of new events that are looked at together."""


class HookRow:
    """A hook, with its author."""

    id: int
    uuid: str
    account_id: int
    kind: str
    is_active: bool
    event_kinds: list[str]
    event_groups: list[str]
    destination_url: str
    content_type: str
    email: str
    created_at: datetime
    modified_at: datetime
    activated_at: datetime
    first_failed_at: datetime | None
    failures: int
    next_attempt_at: datetime | None
    last_sent_at: datetime | None
    dropped: int
    dropped_at: datetime | None
    author_uuid: str
    author_username: str
    author_name: str
    author_email: str


class Delivery:
    """An event for a hook that is queued, or of which is known what became of it."""

    id: int
    state: str
    payload: dict[str, Any]
    created_at: datetime
    next_attempt_at: datetime
    finished_at: datetime | None
    attempts: int
    response_status: int | None
    error: str


class NewEvent:
    """An event after the mark."""

    id: int
    kind: str
    created_at: datetime
    actor_id: int | None
    account_id: int | None
    scope_id: int | None
    scope_kind: str | None
    parent_id: int | None


class Mark:
    """The event up to which deliveries are queued, the newest one, and whether a hook is active."""

    event_id: int
    newest: int
    has_hooks: bool


class AuthoredHook(Identity):
    """An active hook with the account of its author; ``id`` is that of the account."""

    hook_id: int
    event_kinds: list[str]
    event_groups: list[str]
    activated_at: datetime


class QueueState:
    """What decides when a hook sends its next delivery."""

    id: int
    uuid: str
    kind: str
    account_id: int
    is_active: bool
    first_failed_at: datetime | None
    failures: int
    next_attempt_at: datetime | None
    recipient: str


author_name = func.trim(accounts.c.first_name + " " + accounts.c.last_name)
"""The full name of the author, in lists."""

recipient = case(
    (and_(hooks.c.kind == Kind.EMAIL.value, hooks.c.email == ""), accounts.c.email),
    else_=hooks.c.email,
)
"""The address to which an e-mail hook sends; empty for a web hook."""

# Of a URL the rest after "https://"; its host ends where a path or a query begins.
_rest = func.substr(hooks.c.destination_url, Position(hooks.c.destination_url, literal("://")) + 3)
destination_host = func.substr(
    _rest, 1, Position(func.replace(_rest, "?", "/") + "/", literal("/")) - 1
)
"""The host of the URL of a web hook, with the port. Unlike the URL it is no secret."""

_hooks = Relations(hooks, author=Relation(accounts, hooks.c.account_id))
_rows = _hooks.select(HookRow, email=recipient, author_name=author_name)

_hook = bindparam("hook", type_=BigInt)


def visible() -> ColumnElement[bool]:
    """Return the condition that an ordinary actor may see a hook: it is their own."""
    return hooks.c.account_id == bindparam("actor", type_=BigInt)


listing = Listing[HookRow](
    rows=_rows,
    visible=visible,
    key=hooks.c.id,
    default="created",
    orders={"created": (hooks.c.created_at,)},
    filters={
        "kind": Filter(
            lambda value: ("", {"hook_kind": value}),
            lambda _form, _sees_all: hooks.c.kind == bindparam("hook_kind"),
        ),
    },
)

_ADDED: Final = (
    *("uuid", "account_id", "kind", "is_active", "event_kinds", "event_groups"),
    *("destination_url", "content_type", "email", "created_at", "modified_at", "activated_at"),
)
_INSERT = Statement(insertion(hooks, _ADDED))
_CHANGED: Final = (
    *("is_active", "event_kinds", "event_groups", "destination_url", "content_type", "email"),
    *("modified_at", "activated_at", "first_failed_at", "failures", "next_attempt_at"),
    *("dropped", "dropped_at"),
)
_UPDATE = Statement(
    update(hooks)
    .where(hooks.c.id == _hook)
    .values({name: bindparam(f"new_{name}", type_=hooks.c[name].type) for name in _CHANGED})
)
_DELETE = Statement(delete(hooks).where(hooks.c.id == _hook))
_DELETE_ENTRIES = Statement(delete(outbox).where(outbox.c.hook_id == _hook))
_OF_ACCOUNT = Statement[HookRow](
    _rows.where(hooks.c.account_id == bindparam("account", type_=BigInt)).order_by(hooks.c.id)
)
_COUNT = Statement[int](
    select(func.count().label("count"))
    .select_from(hooks)
    .where(hooks.c.account_id == bindparam("account", type_=BigInt))
)
_BY_ID = Statement[HookRow](_rows.where(hooks.c.id == _hook))
_BY_UUID = Statement[HookRow](_rows.where(hooks.c.uuid == bindparam("uuid")))
_DELIVERIES = Statement[Delivery](
    Relations(outbox)
    .select(Delivery)
    .where(outbox.c.hook_id == _hook)
    .order_by(outbox.c.id.desc())
    .limit(bindparam("limit"))
)

_MARK = Statement[Mark](
    select(
        hook_marks.c.event_id,
        func.coalesce(select(func.max(events.c.id)).scalar_subquery(), 0).label("newest"),
        exists(select(hooks.c.id).where(hooks.c.is_active)).label("has_hooks"),
    )
)
_LOCK_MARK = Statement[int](select(hook_marks.c.event_id).with_for_update())
_MOVE_MARK = Statement(
    update(hook_marks)
    .where(hook_marks.c.event_id < bindparam("event", type_=BigInt))
    .values(event_id=bindparam("event", type_=BigInt))
)
_NEW_EVENTS = Statement[NewEvent](
    Relations(events, scope=Relation(scopes, unprefixed=("parent_id",)))
    .select(NewEvent)
    .where(events.c.id > bindparam("mark", type_=BigInt))
    .order_by(events.c.id)
    .limit(EVENTS_MAX)
)
# A transaction has this lock from before its first event gets an id until its end. Unlike ids of
# transactions this does not wait for those of other databases of the server.
_locks = table(
    "pg_locks", *(column(name) for name in ("relation", "database", "mode", "virtualtransaction"))
)
_RECORDING = Statement[str](
    select(_locks.c.virtualtransaction).where(
        _locks.c.relation == literal_column("'events'::regclass"),
        _locks.c.database
        == literal_column("(SELECT oid FROM pg_database WHERE datname = current_database())"),
        _locks.c.mode == literal_column("'RowExclusiveLock'"),
    )
)
# Of the hooks whose author may see one of some events: because of a role in the scope or in its
# organisation, as the person who acted or is affected, or as staff or support. What the author
# really sees is decided for these few.
_HOOKS = Statement[AuthoredHook](
    select(
        *(
            accounts.c[name]
            for name in (
                *("id", "uuid", "username", "first_name", "last_name", "email", "civil_number"),
                *("is_staff", "is_support", "is_identity_manager", "is_active"),
            )
        ),
        hooks.c.id.label("hook_id"),
        hooks.c.event_kinds,
        hooks.c.event_groups,
        hooks.c.activated_at,
    )
    .join(accounts, accounts.c.id == hooks.c.account_id)
    .where(
        hooks.c.is_active,
        accounts.c.is_active,
        accounts.c.deleted_at.is_(None),
        or_(
            accounts.c.is_staff,
            accounts.c.is_support,
            any_of(hooks.c.account_id, "people"),
            exists(
                select(grants.c.id).where(
                    grants.c.account_id == hooks.c.account_id,
                    grants.c.ended_at.is_(None),
                    any_of(grants.c.scope_id, "scopes"),
                )
            ),
        ),
    )
    .order_by(hooks.c.account_id, hooks.c.id)
)

_NOW = bindparam("now", type_=UtcDateTime)
_NEXT = bindparam("next_at", type_=UtcDateTime)
_state = _hooks.select(QueueState, recipient=recipient)
# In the order of the ids everywhere, so that two transactions do not wait for each other.
_LOCK = Statement[QueueState](
    _state.where(any_of(hooks.c.id, "hooks"))
    .order_by(hooks.c.id)
    .with_for_update(of=hooks, key_share=True)
)
_LOCK_SENDING = Statement[QueueState](
    _state.where(
        any_of(hooks.c.id, "hooks"),
        hooks.c.is_active,
        accounts.c.is_active,
        accounts.c.deleted_at.is_(None),
    )
    .order_by(hooks.c.id)
    .with_for_update(of=hooks, key_share=True)
)
_LOCK_ACTIVE = Statement[QueueState](
    _state.where(hooks.c.is_active, hooks.c.account_id == bindparam("account", type_=BigInt))
    .order_by(hooks.c.id)
    .with_for_update(of=hooks, key_share=True)
)
_SUCCEEDED = Statement(
    update(hooks)
    .where(hooks.c.id == _hook)
    .values(
        first_failed_at=None,
        failures=0,
        last_sent_at=_NOW,
        locked_until=None,
        next_attempt_at=_NEXT,
    )
)
_FAILED = Statement(
    update(hooks)
    .where(hooks.c.id == _hook)
    .values(
        first_failed_at=func.coalesce(hooks.c.first_failed_at, _NOW),
        failures=hooks.c.failures + 1,
        locked_until=None,
        next_attempt_at=_NEXT,
    )
)
_RELEASE = Statement(
    update(hooks).where(hooks.c.id == _hook).values(locked_until=None, next_attempt_at=_NOW)
)
_MAKE_DUE = Statement(
    update(hooks)
    .where(any_of(hooks.c.id, "hooks"))
    .values(next_attempt_at=func.coalesce(hooks.c.next_attempt_at, _NOW))
)
_PLAN_MAIL = Statement(update(hooks).where(hooks.c.id == _hook).values(next_attempt_at=_NEXT))
_DROP = Statement(
    update(hooks)
    .where(hooks.c.id == _hook)
    .values(dropped=hooks.c.dropped + bindparam("count", type_=Integer), dropped_at=_NOW)
)
_DEACTIVATE = Statement(
    update(hooks)
    .where(any_of(hooks.c.id, "hooks"))
    .values(is_active=False, modified_at=_NOW, next_attempt_at=None, locked_until=None)
)


@lru_cache(maxsize=2)
def _by_uuid(*, sees_all: bool) -> Statement[HookRow]:
    return Statement[HookRow](
        _rows.where(
            and_(
                hooks.c.uuid == bindparam("uuid"),
                hooks.c.kind == bindparam("kind"),
                true() if sees_all else visible(),
            )
        )
    )


def get_visible(tx: ReadTransaction, actor: Actor, kind: Kind, uuid: str) -> HookRow:
    """Load a hook that the actor may see.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``hook.unknown``: there is no such hook of this kind, or it is hidden from the
            actor.
    """
    parameters = {} if actor.sees_all else {"actor": actor.id}
    statement = _by_uuid(sees_all=actor.sees_all)
    row = tx.fetch_one(statement, uuid=uuid, kind=kind.value, **parameters)
    return or_not_found(row, "hook.unknown")


def by_id(tx: ReadTransaction, hook: int) -> HookRow | None:
    """Return a hook, or None."""
    return tx.fetch_one(_BY_ID, hook=hook)


def by_uuid(tx: ReadTransaction, uuid: str) -> HookRow | None:
    """Return a hook, or None; without a visibility check.

    Args:
        uuid: 32 hex digits.
    """
    return tx.fetch_one(_BY_UUID, uuid=uuid)


def of_account(tx: ReadTransaction, account: int) -> list[HookRow]:
    """Return all hooks of an account."""
    return tx.fetch_all(_OF_ACCOUNT, account=account)


def count(tx: ReadTransaction, account: int) -> int:
    """Return the number of hooks of an account."""
    return tx.fetch_only(_COUNT, account=account)


def deliveries(tx: ReadTransaction, hook: int, limit: int) -> list[Delivery]:
    """Return the latest deliveries of a hook, the newest first."""
    return tx.fetch_all(_DELIVERIES, hook=hook, limit=limit)


def add(tx: WriteTransaction, account: int, kind: Kind, values: Mapping[str, Any]) -> str:
    """Insert a hook. Return its UUID.

    Args:
        values: columns, ``is_active event_kinds event_groups destination_url content_type email``.
    """
    uuid = uuid4().hex
    tx.execute(
        _INSERT,
        uuid=uuid,
        account_id=account,
        kind=kind.value,
        created_at=tx.now,
        modified_at=tx.now,
        activated_at=tx.now,
        **values,
    )
    return uuid


def change(tx: WriteTransaction, hook: int, values: Mapping[str, Any]) -> None:
    """Store a changed hook.

    Args:
        values: columns as for ``add``, and ``activated_at first_failed_at failures
            next_attempt_at dropped dropped_at``.
    """
    columns = {f"new_{name}": value for name, value in values.items()}
    tx.execute(_UPDATE, hook=hook, new_modified_at=tx.now, **columns)


def remove(tx: WriteTransaction, hook: int) -> bool:
    """Delete a hook with its deliveries. Return whether it existed."""
    tx.execute(_DELETE_ENTRIES, hook=hook)
    return tx.execute(_DELETE, hook=hook) > 0


def mark(tx: ReadTransaction) -> Mark:
    """Return the mark, and whether there is something to do."""
    return tx.fetch_only(_MARK)


def events_after(tx: ReadTransaction, mark: int) -> list[NewEvent]:
    """Return the first events after the mark, by id."""
    return tx.fetch_all(_NEW_EVENTS, mark=mark)


def recording(tx: ReadTransaction) -> list[str]:
    """Return the transactions that have recorded an event and not ended, on PostgreSQL."""
    return tx.fetch_all(_RECORDING)


def active_of(
    tx: ReadTransaction, people: Collection[int | None], places: Collection[int | None]
) -> list[AuthoredHook]:
    """Return the active hooks of people who may see events of some people or scopes.

    Staff and support are among them.

    Args:
        people: ids of accounts.
        places: ids of scopes.
    """
    return tx.fetch_all(_HOOKS, people=list(people), scopes=list(places))


def lock_mark(tx: WriteTransaction) -> int:
    """Lock the mark and return it. It is the lock of all who use several hooks at once."""
    return tx.fetch_only(_LOCK_MARK)


def move_mark(tx: WriteTransaction, mark: int, new_mark: int) -> bool:
    """Move the mark; return False if another worker has moved it since it was read."""
    if lock_mark(tx) != mark:
        return False
    return tx.execute(_MOVE_MARK, event=new_mark) > 0


def lock(tx: WriteTransaction, hook: int) -> QueueState | None:
    """Lock a hook and return it; None if it is gone."""
    return tx.fetch_one(_LOCK, hooks=[hook])


def lock_sending(tx: WriteTransaction, ids: Collection[int]) -> list[QueueState]:
    """Lock those of some hooks that may still send something, and return them by id.

    An account that is erased meanwhile waits, and then takes along what was queued.

    Args:
        ids: of hooks.
    """
    return tx.fetch_all(_LOCK_SENDING, hooks=sorted(set(ids)))


def lock_active(tx: WriteTransaction, account: int) -> list[QueueState]:
    """Lock the active hooks of an account, and return them by id."""
    return tx.fetch_all(_LOCK_ACTIVE, account=account)


def succeeded(tx: WriteTransaction, hook: int, next_at: datetime | None) -> None:
    """Record a successful delivery.

    Args:
        next_at: when the next one may be made, UTC.
    """
    tx.execute(_SUCCEEDED, hook=hook, now=tx.now, next_at=next_at)


def failed(tx: WriteTransaction, hook: int, next_at: datetime) -> None:
    """Record a failed delivery.

    Args:
        next_at: when the next attempt of any may be made, UTC.
    """
    tx.execute(_FAILED, hook=hook, now=tx.now, next_at=next_at)


def release(tx: WriteTransaction, hook: int) -> None:
    """End the lease of a web hook whose claimed call was not made."""
    tx.execute(_RELEASE, hook=hook, now=tx.now)


def make_due(tx: WriteTransaction, ids: Collection[int]) -> None:
    """Make web hooks due that have a new call, unless they pause after a failure.

    Args:
        ids: of locked hooks.
    """
    tx.execute(_MAKE_DUE, hooks=list(ids), now=tx.now)


def plan_mails(tx: WriteTransaction, times: Mapping[int, datetime]) -> None:
    """Store when the next e-mail of e-mail hooks may be sent, UTC, by id of the hook."""
    tx.execute_many(_PLAN_MAIL, ({"hook": hook, "next_at": at} for hook, at in times.items()))


def drop(tx: WriteTransaction, counts: Mapping[int, int]) -> None:
    """Count events that are not sent, because too many are waiting; by id of the hook."""
    rows = ({"hook": hook, "count": count, "now": tx.now} for hook, count in counts.items())
    tx.execute_many(_DROP, rows)


def deactivate_all(tx: WriteTransaction, ids: Collection[int]) -> None:
    """Deactivate hooks.

    Args:
        ids: of locked hooks.
    """
    tx.execute(_DEACTIVATE, hooks=list(ids), now=tx.now)
