"""People of an organisation: accounts with a role in it or in one of its projects."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, literal_column, or_, select, true, union_all

from collegium.access.queries import actor_grants, is_active, viewer_params, visible_scopes
from collegium.access.rules import KINDS, Actor, ScopeKind
from collegium.accounts.queries import Person
from collegium.db.database import ReadTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, any_of
from collegium.db.tables import BigInt, accounts, grants, roles, scopes
from collegium.lists.listing import Filter, Listing
from collegium.lists.sql_hints import parse_uuid

_grant = grants.alias("member_grant")
_scope = bindparam("scope", type_=BigInt)
_in_organisation = _grant.c.scope_id.in_(
    union_all(
        select(scopes.c.id).where(scopes.c.id == _scope),
        select(scopes.c.id).where(scopes.c.parent_id == _scope, scopes.c.deleted_at.is_(None)),
    )
)
_member_ids = select(_grant.c.account_id).where(is_active(_grant), _in_organisation)


def _in_role(name: str, kind: ScopeKind) -> Filter:
    """Return a filter for holders of one of several roles there, given by names or UUIDs."""
    uuids = f"{name}_uuids"
    account_ids = _member_ids.join(roles, roles.c.id == _grant.c.role_id).where(
        roles.c.kind == kind.value, or_(any_of(roles.c.name, name), any_of(roles.c.uuid, uuids))
    )

    def read(value: Collection[str]) -> tuple[str, dict[str, Any]]:
        return "", {name: value, uuids: [key for role in value if (key := parse_uuid(role))]}

    return Filter(read, lambda _form, _sees_all: accounts.c.id.in_(account_ids))


def _is_member() -> ColumnElement[bool]:
    return accounts.c.id.in_(_member_ids)


class OrganisationUser(Person):
    """An account in a list of the users of an organisation."""


_accounts = (
    Relations(accounts)
    .select(OrganisationUser, "picture")
    .where(accounts.c.is_active, accounts.c.deleted_at.is_(None))
)

listing = Listing[OrganisationUser](
    rows=_accounts,
    visible=true,  # the caller checks permissions before
    key=accounts.c.id,
    tiebreaker=accounts.c.username,
    default="concatenated_name",
    orders={"concatenated_name": (accounts.c.first_name_sort, accounts.c.last_name_sort)},
    filters={
        "scope": _is_member(),
        "organization_role": _in_role("organization_role", ScopeKind.ORGANISATION),
        "project_role": _in_role("project_role", ScopeKind.PROJECT),
    },
)


_other_project = scopes.alias("other_project")


def _in_other_projects(_variant: str, sees_all: bool) -> ColumnElement[bool]:
    """Return the condition that an account has a role in another project of the organisation.

    Actors who do not see all find only people of projects that they can see.
    """
    project_ids = select(_other_project.c.id).where(
        _other_project.c.parent_id == bindparam("organisation", type_=BigInt),
        _other_project.c.id != bindparam("project", type_=BigInt),
        _other_project.c.deleted_at.is_(None),
        true() if sees_all else _other_project.c.id.in_(visible_scopes()),
    )
    return accounts.c.id.in_(
        select(_grant.c.account_id).where(is_active(_grant), _grant.c.scope_id.in_(project_ids))
    )


of_other_projects = Listing[OrganisationUser](
    rows=_accounts.add_columns(accounts.c.native_name),
    visible=true,  # the filter ``other_projects`` decides
    key=accounts.c.id,
    tiebreaker=accounts.c.username,
    default="concatenated_name",
    orders=listing.orders,
    filters={
        "other_projects": Filter(
            lambda ids: ("", {"organisation": ids[0], "project": ids[1]}), _in_other_projects
        )
    },
)
"""People of the other projects of an organisation.

The filter ``other_projects`` is always given, as a pair of ids: organisation, project.
"""


class UserRole:
    """A role of an account in an organisation or in one of its projects, and the scope."""

    account_id: int
    kind: str


_ROLES = Statement[UserRole](
    select(
        _grant.c.account_id,
        _grant.c.valid_until,
        roles.c.name.label("role_name"),
        scopes.c.kind,
        scopes.c.uuid,
        scopes.c.name,
    )
    .join(roles, roles.c.id == _grant.c.role_id)
    .join(scopes, scopes.c.id == _grant.c.scope_id)
    .where(
        any_of(_grant.c.account_id, "ids"),
        is_active(_grant),
        or_(
            scopes.c.id == _scope,
            and_(scopes.c.parent_id == _scope, scopes.c.deleted_at.is_(None)),
        ),
    )
    .order_by(_grant.c.valid_from, _grant.c.id)
)
_ROLE_NAMES = Statement[str](
    select(roles.c.name)
    .join(grants, grants.c.role_id == roles.c.id)
    .where(actor_grants(), grants.c.scope_id == _scope)
)
_OWNED_NAMES = Statement[str](
    select(scopes.c.name)
    .join(_grant, _grant.c.scope_id == scopes.c.id)
    .join(roles, roles.c.id == _grant.c.role_id)
    .where(
        _grant.c.account_id == bindparam("account", type_=BigInt),
        is_active(_grant),
        or_(*(roles.c.name == name for name in KINDS[ScopeKind.ORGANISATION].owner_roles)),
        scopes.c.deleted_at.is_(None),
    )
    .order_by(scopes.c.name_sort, scopes.c.id)
    .limit(literal_column("50"))
)


def roles_of(tx: ReadTransaction, scope: int, ids: Iterable[int]) -> dict[int, list[UserRole]]:
    """Return the roles of accounts in an organisation and its projects, the oldest first."""
    roles_by_account: dict[int, list[UserRole]] = {}
    for row in tx.fetch_all(_ROLES, scope=scope, ids=list(ids), now=tx.now):
        roles_by_account.setdefault(row.account_id, []).append(row)
    return roles_by_account


def role_names(tx: ReadTransaction, actor: Actor, scope: int) -> set[str]:
    """Return the names of the roles that the actor holds directly in a scope.

    Access subnets apply.
    """
    return set(tx.fetch_all(_ROLE_NAMES, scope=scope, **viewer_params(tx, actor)))


def owned_by(tx: ReadTransaction, account: int) -> list[str]:
    """Return the names of the organisations that an account owns, fifty at most."""
    return tx.fetch_all(_OWNED_NAMES, account=account, now=tx.now)
