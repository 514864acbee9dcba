"""SQL of notices about roles, and of what their e-mails say."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from collegium.access.queries import (
    GRANTS,
    is_active,
    organisation_of,
    scopes_with_permission,
    viewer_params,
    visible_scopes,
)
from collegium.access.rules import KINDS, Actor, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.accounts.mail_preferences.queries import receives_mail
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    grants,
    invitations,
    role_notices,
    role_permissions,
    roles,
    scopes,
)
from collegium.invitations.rules import State as InvitationState
from collegium.lists.listing import Listing
from collegium.memberships.notices.rules import REMIND_BEFORE, Kind


class NoticeRow:
    """A notice that has not become an e-mail yet."""

    id: int
    account_id: int
    grant_id: int
    kind: str
    former_id: int | None
    actor_id: int | None
    scope_name: str


class GrantState:
    """A grant as it is now, perhaps ended, perhaps in a deleted scope."""

    id: int
    scope_id: int
    role_id: int
    valid_until: datetime | None
    is_active: bool


class GrantFacts(GrantState):
    """What an e-mail says about a grant."""

    source: str
    ended_at: datetime | None
    role_name: str
    role_description: str
    scope_kind: str
    scope_name: str
    scope_deleted_at: datetime | None
    organisation_name: str


class Person:
    """Somebody whom an e-mail names."""

    id: int
    username: str
    first_name: str
    last_name: str


class Manager(Person):
    """Somebody who may give roles in a scope."""

    scope_id: int
    since: datetime


class EndingRole:
    """A role that ends soon, with its holder."""

    uuid: str
    account_id: int
    scope_id: int
    scope_uuid: str
    username: str
    first_name: str
    last_name: str
    role_name: str
    role_description: str
    scope_kind: str
    scope_name: str
    organisation_name: str
    valid_until: datetime


_now = bindparam("now", type_=UtcDateTime)
_limit = bindparam("limit", type_=Integer)
_scope = bindparam("scope", type_=BigInt)


def _add(*which: ColumnElement[bool]) -> Statement[Any]:
    """Return a statement that adds notices about grants to accounts that get e-mails."""
    actor = bindparam("actor", type_=BigInt)
    rows = (
        select(
            grants.c.account_id,
            grants.c.id,
            bindparam("kind", type_=String),
            bindparam("former", type_=BigInt),
            actor,
            scopes.c.name,
            _now,
        )
        .join(scopes, scopes.c.id == grants.c.scope_id)
        .join(accounts, and_(accounts.c.id == grants.c.account_id, receives_mail))
        .where(*which, grants.c.account_id != bindparam("excluded", type_=BigInt))
        # The rows lock accounts, in the same order in all transactions.
        .order_by(grants.c.account_id, grants.c.id)
    )
    columns = (
        *("account_id", "grant_id", "kind", "former_id", "actor_id", "scope_name"),
        "created_at",
    )
    return Statement(insert(role_notices).from_select(columns, rows, include_defaults=False))


_ADD = _add(grants.c.id == bindparam("grant", type_=BigInt))
_ADD_MANY = _add(any_of(grants.c.id, "grants"))
_ADD_REMOVALS = _add(grants.c.scope_id == _scope, is_active())
_ADD_GRANTS = _add(grants.c.scope_id == _scope, is_active(), grants.c.valid_from == _now)


_is_due = and_(
    grants.c.ended_at.is_(None),
    grants.c.reminders_done == bindparam("done", type_=Integer),
    grants.c.valid_until > bindparam("after", type_=UtcDateTime),
    grants.c.valid_until <= bindparam("before", type_=UtcDateTime),
)
_due = select(grants.c.id).where(_is_due).order_by(grants.c.valid_until, grants.c.id).limit(_limit)
_ANY_DUE = Statement[int](_due)
# MATERIALIZED and the locks: as in the outbox, several workers never take the same rows.
_due_locked = _due.with_for_update(skip_locked=True).cte("due").prefix_with("MATERIALIZED")
_TAKE_DUE = Statement[int](
    update(grants)
    .where(grants.c.id.in_(select(_due_locked.c.id)), _is_due)
    .values(reminders_done=bindparam("stage", type_=Integer))
    .returning(grants.c.id)
)

_ready = role_notices.c.created_at <= bindparam("before", type_=UtcDateTime)
_ANY_READY = Statement[int](select(role_notices.c.id).where(_ready).limit(_limit))
_ready_accounts = (
    select(role_notices.c.account_id)
    .where(_ready)
    .order_by(role_notices.c.created_at, role_notices.c.id)
    .limit(_limit)
)
_taken = (
    select(role_notices.c.id)
    .where(role_notices.c.account_id.in_(_ready_accounts))
    .order_by(role_notices.c.account_id, role_notices.c.id)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("taken")
    .prefix_with("MATERIALIZED")
)
_TAKE = Statement[NoticeRow](
    delete(role_notices)
    .where(role_notices.c.id.in_(select(_taken.c.id)))
    .returning(*(one for one in role_notices.c if one.name != "created_at"))
)

_is_current = and_(is_active(), scopes.c.deleted_at.is_(None))
_STATES = Statement[GrantState](
    GRANTS.select(GrantState, join=["scope"], is_active=_is_current).where(
        any_of(grants.c.id, "grants")
    )
)
_FACTS = Statement[GrantFacts](
    GRANTS.select(GrantFacts, is_active=_is_current).where(any_of(grants.c.id, "grants"))
)
_held = grants.alias("held")
_HELD_AGAIN = Statement[int](
    select(grants.c.id)
    .join(
        _held,
        and_(
            _held.c.account_id == grants.c.account_id,
            _held.c.scope_id == grants.c.scope_id,
            _held.c.role_id == grants.c.role_id,
        ),
    )
    .where(any_of(grants.c.id, "grants"), is_active(_held))
)
_VISIBLE_SCOPES = Statement[int](
    select(scopes.c.id).where(
        any_of(scopes.c.id, "scopes"),
        scopes.c.deleted_at.is_(None),
        scopes.c.id.in_(select(visible_scopes().subquery("visible").c.scope_id)),
    )
)
_NAMES = Statement[Person](
    Relations(accounts)
    .select(Person)
    .where(any_of(accounts.c.id, "accounts"), accounts.c.deleted_at.is_(None))
)
# Aliases: the condition of visibility has the tables too.
_place = scopes.alias("place")
_may_grant = or_(
    *(
        and_(_place.c.kind == kind, role_permissions.c.permission == rules.grant.value)
        for kind, rules in KINDS.items()
    )
)


def _managers(link: ColumnElement[bool]) -> Statement[Manager]:
    return Statement[Manager](
        select(
            _place.c.id.label("scope_id"),
            accounts.c.id,
            accounts.c.username,
            accounts.c.first_name,
            accounts.c.last_name,
            _held.c.valid_from.label("since"),
        )
        .distinct()
        .select_from(_place)
        .join(_held, link)
        .join(accounts, accounts.c.id == _held.c.account_id)
        .join(role_permissions, role_permissions.c.role_id == _held.c.role_id)
        .where(
            any_of(_place.c.id, "scopes"),
            is_active(_held),
            _may_grant,
            accounts.c.id != bindparam("actor", type_=BigInt),
            account_queries.visible(),
        )
        .order_by(_place.c.id, _held.c.valid_from, accounts.c.username)
        .limit(_limit)
    )


_MANAGERS = (
    _managers(_held.c.scope_id == _place.c.id),
    _managers(_held.c.scope_id == _place.c.parent_id),
)

_NEEDED = tuple((ScopeKind(kind), rules.update_role) for kind, rules in KINDS.items())
ending = Listing[EndingRole](
    rows=Relations(
        _held,
        account=Relation(accounts, unprefixed=("username", "first_name", "last_name")),
        role=roles,
        scope=_place,
        organisation=organisation_of(_place),
    )
    .select(EndingRole)
    .where(
        _held.c.ended_at.is_(None),
        _held.c.valid_until > _now,
        accounts.c.is_active,
        _place.c.deleted_at.is_(None),
    ),
    visible=lambda: _held.c.scope_id.in_(scopes_with_permission(*_NEEDED)),
    key=_held.c.id,
    default="end",
    orders={"end": (_held.c.valid_until,)},
    filters={"soon": _held.c.valid_until <= bindparam("soon", type_=UtcDateTime)},
)
"""The roles that end soon in the scopes where the actor may change that."""

_COUNT_REQUESTED = Statement[int](
    select(func.count().label("count"))
    .select_from(invitations)
    .join(scopes, scopes.c.id == invitations.c.scope_id)
    .where(
        invitations.c.state == InvitationState.REQUESTED.value,
        scopes.c.deleted_at.is_(None),
    )
)


def _facts(
    tx: WriteTransaction, kind: Kind, actor: int | None, excluded: int | None
) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "former": None,
        "actor": actor,
        # No account has this id.
        "excluded": 0 if excluded is None else excluded,
        "now": tx.now,
    }


def add(
    tx: WriteTransaction,
    kind: Kind,
    grant: int,
    actor: int | None,
    excluded: int | None,
    former: int | None = None,
) -> None:
    """Add a notice about a grant, unless its holder gets no e-mails.

    Args:
        grant: id of the grant.
        actor: id of the account that did it; None if the holder does not learn it.
        excluded: id of an account that is not told, because it did it itself.
        former: id of the grant that this one replaces.
    """
    facts = _facts(tx, kind, actor, excluded) | {"former": former}
    tx.execute(_ADD, grant=grant, **facts)


def add_many(
    tx: WriteTransaction,
    kind: Kind,
    ids: Collection[int],
    actor: int | None = None,
    excluded: int | None = None,
) -> None:
    """Add notices about several grants, as ``add``; by default of something that comes by time."""
    tx.execute(_ADD_MANY, grants=list(ids), **_facts(tx, kind, actor, excluded))


def add_removals(tx: WriteTransaction, scope: int, actor: int | None, excluded: int | None) -> None:
    """Add notices of the removal of all roles in a scope, before it; otherwise as ``add``."""
    tx.execute(_ADD_REMOVALS, scope=scope, **_facts(tx, Kind.REMOVED, actor, excluded))


def add_grants(tx: WriteTransaction, scope: int, actor: int | None, excluded: int | None) -> None:
    """Add notices of all roles in a scope that begin in this transaction, as ``add``."""
    tx.execute(_ADD_GRANTS, scope=scope, **_facts(tx, Kind.GRANTED, actor, excluded))


def _stages(now: datetime) -> list[dict[str, Any]]:
    """Return, for each reminder and each number of reminders that are done, when it is due.

    Who gets a reminder gets no earlier one any more.
    """
    ends = [now, *(now + before for before in reversed(REMIND_BEFORE))]
    stages = len(REMIND_BEFORE)
    return [
        {"after": after, "before": before, "done": done, "stage": stages - number}
        for number, (after, before) in enumerate(pairwise(ends))
        for done in range(stages - number)
    ]


def is_reminder_due(tx: ReadTransaction) -> bool:
    """Return whether somebody must be reminded of the end of a role."""
    return any(
        tx.fetch_one(
            _ANY_DUE,
            done=stage["done"],
            after=stage["after"],
            before=stage["before"],
            limit=1,
        )
        is not None
        for stage in _stages(tx.now)
    )


def take_reminders(tx: WriteTransaction, limit: int) -> list[int]:
    """Return the ids of grants of whose end people must be reminded, and mark them.

    Args:
        limit: maximum number for each reminder.
    """
    return [
        grant
        for stage in _stages(tx.now)
        for grant in tx.fetch_all(_TAKE_DUE, **stage, limit=limit)
    ]


def is_any_ready(tx: ReadTransaction, before: datetime) -> bool:
    """Return whether a notice waits to become an e-mail.

    Args:
        before: of notices that were added up to then, UTC.
    """
    return tx.fetch_one(_ANY_READY, before=before, limit=1) is not None


def take(tx: WriteTransaction, before: datetime, limit: int, most: int) -> list[NoticeRow]:
    """Remove notices, and return them in the order in which things happened.

    Everything of a person is taken together, also what is newer.

    Args:
        before: people who have waited since then, UTC.
        limit: maximum number of notices that select people.
        most: maximum number of notices.
    """
    rows = tx.fetch_all(_TAKE, before=before, limit=limit, most=most)
    return sorted(rows, key=lambda row: row.id)


def states(tx: ReadTransaction, ids: Collection[int]) -> dict[int, GrantState]:
    """Return grants by id."""
    return {row.id: row for row in tx.fetch_all(_STATES, grants=list(ids), now=tx.now)}


def facts(tx: ReadTransaction, ids: Collection[int]) -> dict[int, GrantFacts]:
    """Return what an e-mail says about grants, by id."""
    return {row.id: row for row in tx.fetch_all(_FACTS, grants=list(ids), now=tx.now)}


def held_again(tx: ReadTransaction, ids: Collection[int]) -> set[int]:
    """Return which of these grants their holders have again: the same role in the same scope."""
    return set(tx.fetch_all(_HELD_AGAIN, grants=list(ids), now=tx.now))


def visible_scopes_among(tx: ReadTransaction, actor: Actor, ids: Collection[int]) -> set[int]:
    """Return which of these scopes an ordinary actor may see."""
    return set(tx.fetch_all(_VISIBLE_SCOPES, scopes=list(ids), **viewer_params(tx, actor)))


def people(tx: ReadTransaction, ids: Collection[int]) -> dict[int, Person]:
    """Return accounts by id, without deleted ones."""
    return {row.id: row for row in tx.fetch_all(_NAMES, accounts=list(ids))}


def managers(
    tx: ReadTransaction, actor: Actor, scopes: Collection[int], limit: int
) -> dict[int, list[Manager]]:
    """Return, by scope, who may give roles there, as far as an ordinary actor may see them.

    Those with a role in the scope itself come first, then those of its organisation.

    Args:
        limit: maximum number of each of the two, in all scopes together.
    """
    found: dict[int, list[Manager]] = {}
    for statement in _MANAGERS:
        for row in tx.fetch_all(
            statement, scopes=list(scopes), limit=limit, **viewer_params(tx, actor)
        ):
            found.setdefault(row.scope_id, []).append(row)
    return found


def count_requested(tx: ReadTransaction) -> int:
    """Return the number of invitations that wait for the approval of staff."""
    return tx.fetch_only(_COUNT_REQUESTED)
