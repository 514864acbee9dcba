"""Queries of the audit log: one row per action, in its transaction.

Only erasure changes rows. Of all rows only old records of views (``accounts.views``) are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    and_,
    bindparam,
    exists,
    false,
    literal_column,
    not_,
    or_,
    select,
    true,
    union,
    union_all,
)

from collegium.access.queries import (
    in_organisations,
    organisation_of,
    scopes_with_permission,
    viewer_params,
    visible_scopes,
)
from collegium.access.rules import GRANTING, Actor, Permission, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import BigInt, accounts, events, scopes
from collegium.db.writing import insertion
from collegium.events.event import Event
from collegium.events.types import SignedIn
from collegium.invitations.queries import READERS
from collegium.lists.listing import Filter, Listing
from collegium.refusals import or_not_found

_INSERT = Statement(insertion(events))

_LATEST = Statement[datetime](select(events.c.created_at).order_by(events.c.id.desc()).limit(1))


class _Payload:
    payload: dict[str, Any]


_payloads = (
    select(events.c.payload)
    .where(events.c.kind == bindparam("kind"), events.c.account_id == bindparam("account"))
    .order_by(events.c.id)
)
_PAYLOADS = Statement[_Payload](_payloads)
_FIRST_PAYLOAD = Statement[_Payload](_payloads.limit(1))


class Recorded:
    """An event: when it happened, and its facts."""

    created_at: datetime
    payload: dict[str, Any]


_NEWEST = Statement[Recorded](
    select(events.c.created_at, events.c.payload)
    .where(
        events.c.kind == bindparam("kind"),
        events.c.created_at > bindparam("since", type_=UtcDateTime),
    )
    .order_by(events.c.created_at.desc(), events.c.id.desc())
    .limit(bindparam("most"))
)
_NTH_LOGIN = Statement[datetime](
    select(events.c.created_at)
    .where(
        events.c.account_id == bindparam("account"),
        events.c.created_at > bindparam("since", type_=UtcDateTime),
        events.c.kind == literal_column(f"'{SignedIn.kind}'"),
    )
    .order_by(events.c.created_at.desc(), events.c.id.desc())
    .limit(1)
    .offset(bindparam("skip", type_=Integer))
)


def nth_sign_in(tx: ReadTransaction, account: int, since: datetime, nth: int) -> datetime | None:
    """Return the time of the nth latest sign-in of an account, UTC; None if there were fewer.

    Args:
        since: earlier sign-ins do not count, UTC.
        nth: 1 for the latest.
    """
    return tx.fetch_one(_NTH_LOGIN, account=account, since=since, skip=nth - 1)


def payload_of(tx: ReadTransaction, event: type[Event], account: int) -> Mapping[str, Any]:
    """Return the facts of the first such event of an account; empty if there is none."""
    row = tx.fetch_one(_FIRST_PAYLOAD, kind=event.kind, account=account)
    return {} if row is None else dict(row.payload)


def payloads_of(tx: ReadTransaction, event: type[Event], account: int) -> list[Mapping[str, Any]]:
    """Return the facts of all such events of an account, oldest first."""
    return [row.payload for row in tx.fetch_all(_PAYLOADS, kind=event.kind, account=account)]


def newest(tx: ReadTransaction, event: type[Event], since: datetime, most: int) -> list[Recorded]:
    """Return such events of everybody, the newest first.

    Args:
        since: time after which they happened.
        most: maximum number of them.
    """
    return tx.fetch_all(_NEWEST, kind=event.kind, since=since, most=most)


def record(tx: WriteTransaction, actor: Actor | None, event: Event) -> None:
    """Record an event.

    Args:
        actor: the acting account. For an anonymous actor only the IP address and the request
            id are stored; for None, nothing.
        event: what happened, with the names as they are now; never a secret.
    """
    tx.execute(_INSERT, **_values(tx, actor, event))


def record_all(tx: WriteTransaction, actor: Actor | None, events: Iterable[Event]) -> None:
    """Record several events of one action, in one call of the driver; otherwise as ``record``."""
    tx.execute_many(_INSERT, (_values(tx, actor, event) for event in events))


def _values(tx: WriteTransaction, actor: Actor | None, event: Event) -> dict[str, Any]:
    payload = event.payload()
    if actor is not None and actor.impersonator is not None:
        payload["impersonated_by"] = actor.impersonator.name or actor.impersonator.username
        payload["impersonator"] = actor.impersonator.id
    return {
        "uuid": uuid4().hex,
        "created_at": tx.now,
        "kind": event.kind,
        "actor_id": (actor.id or None) if actor else None,
        "actor_name": (actor.name or actor.username) if actor else "",
        "ip_address": (actor.ip_address or "") if actor else "",
        "request_id": actor.request_id if actor else "",
        "scope_id": event.scope,
        "account_id": event.account,
        "payload": payload,
    }


def latest(tx: ReadTransaction) -> datetime | None:
    """Return the time of the latest event, UTC; None if there is none."""
    return tx.fetch_one(_LATEST)


EVENT_READERS: Final = (
    *READERS,
    (ScopeKind.ORGANISATION, Permission.ORGANISATION_UPDATE),
    (ScopeKind.PROJECT, Permission.PROJECT_UPDATE),
)
"""The permissions that allow reading the events of a scope."""

_scope = scopes.alias("event_scope")
_inner = events.alias("inner_events")
_scope_or_child = scopes.alias("scope_or_child")

_actor_id = bindparam("actor", type_=BigInt)


def _is_scope_visible() -> ColumnElement[bool]:
    return events.c.scope_id.in_(visible_scopes())


class EventRow:
    """An event, with its account, actor and scope, as one reader may see them."""

    id: int
    uuid: str
    created_at: datetime
    kind: str
    payload: dict[str, Any]
    actor_id: int | None
    actor_uuid: str | None
    actor_name: str
    actor_username: str | None
    actor_deleted_at: datetime | None
    ip_address: str
    request_id: str
    account_id: int | None
    account_uuid: str | None
    account_username: str | None
    account_first_name: str | None
    account_last_name: str | None
    account_deleted_at: datetime | None
    scope_id: int | None
    scope_uuid: str | None
    scope_kind: str | None
    scope_name: str | None
    organisation_uuid: str | None
    organisation_name: str | None
    sees_scope: bool | None
    reads_invitations: bool | None
    reads_requests: bool | None


_rows = Relations(
    events,
    actor=accounts.alias("actor"),
    account=accounts.alias("account"),
    scope=_scope,
    organisation=organisation_of(_scope, is_outer=True),
).select(
    EventRow,
    sees_scope=_is_scope_visible(),
    reads_invitations=events.c.scope_id.in_(scopes_with_permission(*READERS)),
    reads_requests=or_(
        events.c.scope_id.in_(scopes_with_permission(*GRANTING)),
        events.c.scope_id.in_(in_organisations()),
    ),
)


def visible() -> ColumnElement[bool]:
    """Return the condition for events that an ordinary actor may see.

    They are those of scopes that the actor manages, the actor's own actions, and those that affect
    the actor's account.
    """
    # A union of three small sets, each found through an index. An OR would not use the indexes.
    return events.c.id.in_(
        union(
            select(_inner.c.id).where(
                _inner.c.scope_id.in_(scopes_with_permission(*EVENT_READERS))
            ),
            select(_inner.c.id).where(_inner.c.account_id == _actor_id),
            select(_inner.c.id).where(_inner.c.actor_id == _actor_id),
        )
    )


def _under_scope(bind: str, kind: str, *, sees_all: bool) -> ColumnElement[bool]:
    """Return the condition for events of a scope or its children that the actor may see."""
    scope, child = scopes.alias("filter_scope"), scopes.alias("filter_child")
    condition = and_(
        scope.c.uuid == bindparam(bind),
        scope.c.kind == kind,
        true() if sees_all else scope.c.id.in_(visible_scopes()),
    )
    return events.c.scope_id.in_(
        union_all(
            select(scope.c.id).where(condition),
            select(child.c.id).join(scope, scope.c.id == child.c.parent_id).where(condition),
        )
    )


def _names_account(bind: str, *columns: ColumnElement[Any], sees_all: bool) -> ColumnElement[bool]:
    """Return the condition for events that name a person whom the actor may see there."""
    account_id = select(accounts.c.id).where(accounts.c.uuid == bindparam(bind)).scalar_subquery()
    # Events of a scope that is now hidden from the actor do not reveal other people.
    is_visible = or_(events.c.scope_id.is_(None), _is_scope_visible())
    return or_(
        *(
            and_(column == account_id, true() if sees_all else or_(is_visible, column == _actor_id))
            for column in columns
        )
    )


_PEOPLE: Final = (events.c.actor_id, events.c.account_id)


def _filter_by(bind: str, where: Callable[..., ColumnElement[bool]], *arguments: Any) -> Filter:
    return Filter(
        lambda value: ("", {bind: value}),
        lambda _form, sees_all: where(bind, *arguments, sees_all=sees_all),
    )


def _read_scope(value: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    kind, uuid = value
    return kind, {"scope": uuid} if kind else {}


def _where_scope(form: str, sees_all: bool) -> ColumnElement[bool]:
    if not form:
        return false()
    if form == "account":
        return _names_account("scope", *_PEOPLE, sees_all=sees_all)
    return _under_scope("scope", form, sees_all=sees_all)


def _read_kinds(value: list[str]) -> tuple[str, dict[str, Any]]:
    # With a single kind the index returns the rows in order. A list of kinds would need a sort.
    return ("one", {"kinds": value[0]}) if len(value) == 1 else ("many", {"kinds": value})


def _where_kinds(form: str, _sees_all: bool) -> ColumnElement[bool]:
    if form == "one":
        return events.c.kind == bindparam("kinds", type_=String())
    return any_of(events.c.kind, "kinds")


def _where_not_in(bind: str, *, sees_all: bool) -> ColumnElement[bool]:
    kind = bindparam(bind, type_=String())
    if not sees_all:
        of_kind = exists().where(scopes.c.id == events.c.scope_id, scopes.c.kind == kind)
        return not_(of_kind.correlate(events))
    # Staff and support see all events, so the count uses one index and looks up no scopes.
    return or_(
        events.c.scope_id.is_(None),
        events.c.scope_id.not_in(select(scopes.c.id).where(scopes.c.kind == kind)),
    )


def _visible_in_scope() -> ColumnElement[bool]:
    """Return the same condition as ``visible``, for events of one scope, or known by their ids.

    Each of these events is read anyway, so no union of index ranges is needed.
    """
    return or_(
        events.c.scope_id.in_(scopes_with_permission(*EVENT_READERS)),
        events.c.account_id == _actor_id,
        events.c.actor_id == _actor_id,
    )


_COMMON_FILTERS: dict[str, ColumnElement[bool] | Filter] = {
    "created_from": events.c.created_at >= bindparam("created_from", type_=UtcDateTime),
    "created_to": events.c.created_at < bindparam("created_to", type_=UtcDateTime),
    "kinds": Filter(_read_kinds, _where_kinds),
}

listing = Listing[EventRow](
    rows=_rows,
    visible=visible,
    key=events.c.id,
    count_query=select(events.c.id),
    filters_fit_count_query=True,
    default="-created",
    orders={"created": (events.c.created_at,)},
    filters={
        **_COMMON_FILTERS,
        # A kind of scope and a UUID. The kind may be ``account``. An empty kind matches no event.
        "scope": Filter(_read_scope, _where_scope),
        **{
            kind: _filter_by(kind, _under_scope, kind)
            for kind in (ScopeKind.ORGANISATION.value, ScopeKind.PROJECT.value)
        },
        "by": _filter_by("by", _names_account, events.c.actor_id),
        "related": _filter_by("related", _names_account, *_PEOPLE),
        # A kind of scope whose events are left out.
        "without": _filter_by("without", _where_not_in),
    },
)
"""The events of all kinds of scope, unless ``without`` leaves one out."""

_scope_id = bindparam("scope_id", type_=BigInt)

of_scope = replace(
    listing,
    visible=_visible_in_scope,
    loads_rows_late=True,
    filters={
        **_COMMON_FILTERS,
        # The events of a single scope come from the index in order.
        "scope_id": Filter(
            lambda value: (
                "tree" if value[0] == ScopeKind.ORGANISATION else "",
                {"scope_id": value[1]},
            ),
            lambda form, _sees_all: (
                events.c.scope_id.in_(
                    select(_scope_or_child.c.id).where(
                        or_(
                            _scope_or_child.c.id == _scope_id,
                            _scope_or_child.c.parent_id == _scope_id,
                        )
                    )
                )
                if form
                else events.c.scope_id == _scope_id
            ),
        ),
    },
)
"""The events of one scope and its children; the filter ``scope_id`` is its kind and id."""


@lru_cache(maxsize=4)
def _select_visible(column: str, *, sees_all: bool) -> Statement[EventRow]:
    return Statement[EventRow](
        _rows.where(
            events.c[column] == bindparam("key"), true() if sees_all else _visible_in_scope()
        )
    )


def get_visible(tx: ReadTransaction, actor: Actor, key: str | int) -> EventRow:
    """Return an event that the actor may see.

    Args:
        key: UUID, 32 hex digits, or id.

    Raises:
        NotFound: ``event.unknown``: it does not exist or the actor may not see it.
    """
    statement = _select_visible("uuid" if isinstance(key, str) else "id", sees_all=actor.sees_all)
    row = tx.fetch_one(statement, key=key, **viewer_params(tx, actor))
    return or_not_found(row, "event.unknown")


@lru_cache(maxsize=2)
def _select_all_visible(*, sees_all: bool) -> Statement[EventRow]:
    return Statement[EventRow](
        _rows.where(any_of(events.c.id, "ids"), true() if sees_all else _visible_in_scope())
        .order_by(events.c.id)
        .limit(bindparam("limit", type_=Integer))
    )


def all_visible(
    tx: ReadTransaction, actor: Actor, ids: Collection[int], limit: int
) -> list[EventRow]:
    """Return the first of some events that the actor may see, by id.

    Args:
        ids: their ids.
        limit: maximum number.
    """
    statement = _select_all_visible(sees_all=actor.sees_all)
    return tx.fetch_all(statement, ids=list(ids), limit=limit, **viewer_params(tx, actor))


_VISIBLE_AMONG = Statement[int](
    select(events.c.id).where(any_of(events.c.id, "ids"), _visible_in_scope())
)


def visible_among(tx: ReadTransaction, actor: Actor, ids: Collection[int]) -> set[int]:
    """Return which of some events the actor may see.

    Args:
        ids: their ids; all exist.
    """
    if actor.sees_all:
        return set(ids)
    return set(tx.fetch_all(_VISIBLE_AMONG, ids=sorted(ids), **viewer_params(tx, actor)))
