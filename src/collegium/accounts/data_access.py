"""Who can see an account: staff and support, and people with whom it shares a scope.

The twin of ``accounts.queries.visible``, read from the other side. Access subnets are left out,
because they depend on the address from which somebody looks.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, func, select, true, union, union_all

from collegium.access.queries import is_active, viewer_params, visible_scopes
from collegium.access.rules import Actor, ScopeKind
from collegium.accounts.queries import AccountDetails, PersonName, visible
from collegium.db.database import ReadTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement
from collegium.db.tables import BigInt, accounts, grants, roles, scopes
from collegium.lists.sql_hints import no_index

PEOPLE_MAX: Final = 1000
"""Maximum number of people who are named. The total counts all of them."""


class Viewer(PersonName):
    """A person who can see an account."""

    uuid: str
    username: str


class Colleague(Viewer):
    """A person who sees an account because of a scope."""

    scope_uuid: str
    scope_kind: str
    scope_name: str
    role_name: str


class Administrator(Viewer):
    """A member of staff or support."""

    is_staff: bool
    is_support: bool


class AdministratorCounts:
    """How many people see everything."""

    staff: int
    support: int
    people: int


_own = grants.alias("own_grant")
_child = scopes.alias("child")
_is_own = and_(_own.c.account_id == bindparam("account", type_=BigInt), is_active(_own))
# Each scope of the account, with the scopes in which a grant makes it visible.
_pairs = union_all(
    select(_own.c.scope_id.label("own_id"), _own.c.scope_id.label("their_id")).where(_is_own),
    select(_own.c.scope_id, scopes.c.parent_id)
    .join(scopes, scopes.c.id == _own.c.scope_id)
    .where(_is_own, scopes.c.parent_id.is_not(None)),
    select(_own.c.scope_id, _child.c.id)
    .join(_child, _child.c.parent_id == _own.c.scope_id)
    .where(_is_own),
).subquery("pairs")
# Two index ranges. With OR, SQLite would go through all active accounts.
_administrator = accounts.alias("administrator")
_is_administrator = and_(
    accounts.c.id.in_(
        union(
            select(_administrator.c.id).where(_administrator.c.is_staff),
            select(_administrator.c.id).where(_administrator.c.is_support),
        )
    ),
    no_index(accounts.c.is_active),
    accounts.c.deleted_at.is_(None),
)
_shared = (
    _pairs.join(grants, grants.c.scope_id == _pairs.c.their_id)
    .join(accounts, accounts.c.id == grants.c.account_id)
    .join(scopes, and_(scopes.c.id == _pairs.c.own_id, scopes.c.deleted_at.is_(None)))
)
_sees_account = and_(
    is_active(),
    accounts.c.id != bindparam("account", type_=BigInt),
    accounts.c.is_active,
    # Staff are named as administrators.
    accounts.c.is_staff.is_(False),
)


def _colleagues(condition: ColumnElement[bool]) -> Statement[Colleague]:
    return Statement[Colleague](
        select(
            scopes.c.uuid.label("scope_uuid"),
            scopes.c.kind.label("scope_kind"),
            scopes.c.name.label("scope_name"),
            accounts.c.uuid,
            accounts.c.username,
            accounts.c.first_name,
            accounts.c.last_name,
            func.min(roles.c.name).label("role_name"),
        )
        .select_from(_shared.join(roles, roles.c.id == grants.c.role_id))
        .where(_sees_account, scopes.c.kind != ScopeKind.GROUP.value, condition)
        .group_by(
            scopes.c.id,
            scopes.c.uuid,
            scopes.c.kind,
            scopes.c.name,
            accounts.c.id,
            accounts.c.uuid,
            accounts.c.username,
            accounts.c.first_name,
            accounts.c.last_name,
        )
        .order_by(scopes.c.name, scopes.c.id, accounts.c.username)
        .limit(PEOPLE_MAX)
    )


_ALL_COLLEAGUES = _colleagues(true())
_VISIBLE_COLLEAGUES = _colleagues(and_(scopes.c.id.in_(visible_scopes()), visible()))
_COUNT_COLLEAGUES = Statement[int](
    select(func.count(accounts.c.id.distinct()).label("people"))
    .select_from(_shared)
    .where(_sees_account)
)
_ADMINISTRATORS = Statement[Administrator](
    Relations(accounts)
    .select(Administrator)
    .where(_is_administrator)
    .order_by(accounts.c.username)
    .limit(PEOPLE_MAX)
)
_COUNT_ADMINISTRATORS = Statement[AdministratorCounts](
    select(
        func.count().filter(accounts.c.is_staff).label("staff"),
        func.count().filter(accounts.c.is_support).label("support"),
        func.count().label("people"),
    ).where(_is_administrator)
)


def colleagues(tx: ReadTransaction, actor: Actor, account: AccountDetails) -> list[Colleague]:
    """Return the people who see an account because of a scope, by scope.

    An actor who does not see all sees only people whom they may see anyway. People of groups are
    not among them.
    """
    if not account.is_active or account.is_staff:
        return []
    statement = _ALL_COLLEAGUES if actor.sees_all else _VISIBLE_COLLEAGUES
    return tx.fetch_all(statement, **viewer_params(tx, actor), account=account.id)


def count_colleagues(tx: ReadTransaction, account: AccountDetails) -> int:
    """Return how many people see an account because of a scope, groups included."""
    if not account.is_active or account.is_staff:
        return 0
    return tx.fetch_only(_COUNT_COLLEAGUES, account=account.id, now=tx.now)


def administrators(tx: ReadTransaction) -> list[Administrator]:
    """Return staff and support, who see every account."""
    return tx.fetch_all(_ADMINISTRATORS)


def count_administrators(tx: ReadTransaction) -> AdministratorCounts:
    """Return how many members staff and support have."""
    return tx.fetch_only(_COUNT_ADMINISTRATORS)
