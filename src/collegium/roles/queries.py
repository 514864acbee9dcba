"""Queries of roles and their permissions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    true,
)

from collegium.access.queries import is_active, viewer_params, visible_scopes
from collegium.access.rules import ANONYMOUS, WALDUR_KINDS, Actor, Kinds, ScopeKind
from collegium.db.database import (
    ForeignKeyViolationError,
    ReadTransaction,
    WriteTransaction,
)
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    grants,
    organisation_roles,
    role_concealments,
    role_permissions,
    roles,
    scopes,
)
from collegium.db.writing import insert_row, unique_or, update_row
from collegium.lists.filters import is_equal
from collegium.lists.listing import Filter, Listing
from collegium.refusals import Conflict, Invalid, NotFound, or_not_found
from collegium.text.names import sort_key


class RoleRow:
    """A role."""

    id: int
    uuid: str
    name: str
    kind: str
    description: str
    descriptions: dict[str, str]
    is_system: bool
    is_active: bool
    organisation_id: int | None
    """The only organisation in which the role exists; None for all."""


_own = organisation_roles
_organisation = scopes.alias("role_organisation")


def _visible() -> ColumnElement[bool]:
    """Return the rule of ``get_visible`` as SQL.

    Anonymous actors see built-in roles only, others those of their organisations too.
    """
    return or_(
        roles.c.is_system,
        and_(
            bindparam("actor", type_=BigInt) > literal_column("0"),
            or_(_own.c.organisation_id.is_(None), _own.c.organisation_id.in_(visible_scopes())),
        ),
    )


def _usable_in(organisation: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a role exists in an organisation."""
    return or_(_own.c.organisation_id.is_(None), _own.c.organisation_id == organisation)


def _is_concealed(organisation: ColumnElement[Any]) -> ColumnElement[bool]:
    return roles.c.id.in_(
        select(role_concealments.c.role_id).where(
            role_concealments.c.organisation_id == organisation
        )
    )


def _for_organisation(variant: str, sees_all: bool) -> ColumnElement[bool]:
    organisation = select(_organisation.c.id).where(
        is_equal("for_organisation", _organisation.c.uuid),
        _organisation.c.kind == ScopeKind.ORGANISATION.value,
        _organisation.c.deleted_at.is_(None),
        true() if sees_all else _organisation.c.id.in_(visible_scopes()),
    )
    conditions = [organisation.exists(), _usable_in(organisation.scalar_subquery())]
    if variant == "shown":
        conditions.append(not_(_is_concealed(organisation.scalar_subquery())))
    return and_(*conditions)


_roles = Relations(
    roles,
    own=Relation(
        _own,
        on=_own.c.role_id == roles.c.id,
        is_outer=True,
        unprefixed=("organisation_id", "template_id"),
    ),
    organisation=Relation(_organisation, _own.c.organisation_id, is_outer=True),
    template=Relation(roles.alias("template"), _own.c.template_id),
)
_with_organisation = _roles.select(RoleRow)
_full_rows = _roles.select(
    RoleRow,
    *("template_id", "template_uuid", "template_name"),
    *("organisation_uuid", "organisation_name"),
)
listing = Listing[RoleRow](
    rows=_full_rows.where(roles.c.kind != ScopeKind.GROUP.value),
    filters={
        # An organisation by its UUID, and whether roles that it does not use are listed too.
        "for_organisation": Filter(
            lambda value: ("all" if value[1] else "shown", {"for_organisation": value[0]}),
            _for_organisation,
        )
    },
    visible=_visible,
    key=roles.c.id,
    default="name",
    orders={"name": (roles.c.name_sort,)},
)

# The BrainSTEM API addresses group roles in another way, so a UUID only finds the other roles.
_not_of_groups = _with_organisation.where(
    roles.c.uuid == bindparam("uuid"), roles.c.kind != ScopeKind.GROUP.value
)
_BY_UUID = Statement[RoleRow](
    _full_rows.where(roles.c.uuid == bindparam("uuid"), roles.c.kind != ScopeKind.GROUP.value)
)
# FOR UPDATE, not the weaker FOR NO KEY UPDATE: a transaction that inserts a reference to the role
# waits until the role is changed or deleted.
_BY_UUID_LOCKED = Statement[RoleRow](_not_of_groups.with_for_update(of=roles))
_BY_NAME_OR_UUID = Statement[RoleRow](
    _with_organisation.where(
        or_(roles.c.name == bindparam("name"), roles.c.uuid == bindparam("uuid"))
    )
)
_BY_UUIDS = Statement[RoleRow](_with_organisation.where(any_of(roles.c.uuid, "uuids")))
_ALL = Statement[RoleRow](_with_organisation.order_by(roles.c.is_system.desc(), roles.c.id))
_PERMISSIONS = Statement[tuple[int, str]](
    select(role_permissions)
    .where(any_of(role_permissions.c.role_id, "ids", plan_once=True))
    .order_by(role_permissions.c.role_id, role_permissions.c.permission)
)
_OF_KIND = Statement[RoleRow](
    _with_organisation.where(
        roles.c.kind == bindparam("kind", type_=String()),
        roles.c.is_active,
        _usable_in(bindparam("organisation", type_=BigInt)),
        not_(_is_concealed(bindparam("organisation", type_=BigInt))),
    ).order_by(roles.c.name_sort, roles.c.id)
)
_NAMES = Statement[tuple[str, str]](select(roles.c.name, roles.c.description))
_COUNT_PEOPLE = Statement[tuple[int, int]](
    select(grants.c.role_id, func.count(grants.c.account_id.distinct()).label("people"))
    .join(accounts, and_(accounts.c.id == grants.c.account_id, accounts.c.is_active))
    .where(any_of(grants.c.role_id, "ids"), is_active())
    .group_by(grants.c.role_id)
)


_holder = grants.alias("holder")
HOLDERS: Final = (
    select(func.count(_holder.c.account_id.distinct()))
    .where(_holder.c.role_id == roles.c.id, is_active(_holder))
    .correlate(roles)
    .scalar_subquery()
)
"""The number of accounts that have a role in some scope, to sort by."""


@lru_cache(maxsize=32)
def _insert_permissions(count: int) -> Statement:
    return Statement(
        insert(role_permissions).values(
            [
                {"role_id": bindparam("role"), "permission": bindparam(f"permission{index}")}
                for index in range(count)
            ]
        )
    )


_DELETE_PERMISSIONS = Statement(
    delete(role_permissions).where(role_permissions.c.role_id == bindparam("role", type_=BigInt))
)
_DELETE = Statement(delete(roles).where(roles.c.id == bindparam("role")))
_NAME_TAKEN = Statement[int](
    select(roles.c.id).where(
        roles.c.name == bindparam("name"), roles.c.id != bindparam("excluded_role", type_=BigInt)
    )
)


_SEES_ORGANISATION = Statement[int](
    select(scopes.c.id).where(
        scopes.c.id == bindparam("organisation", type_=BigInt), scopes.c.id.in_(visible_scopes())
    )
)


def get_by_uuid(tx: ReadTransaction, uuid: str) -> RoleRow:
    """Return a role without a visibility check.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``role.unknown``, also for a role of groups.
    """
    return or_not_found(tx.fetch_one(_BY_UUID, uuid=uuid), "role.unknown")


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> RoleRow:
    """Return a role that the actor may see; anonymous actors see built-in roles only.

    The role of an organisation is visible to those who see the organisation.

    Raises:
        NotFound: ``role.unknown``.
    """
    row = get_by_uuid(tx, uuid)
    if actor.id == ANONYMOUS.id and not row.is_system:
        raise NotFound("role.unknown")
    if (
        row.organisation_id is not None
        and not actor.sees_all
        and tx.fetch_one(
            _SEES_ORGANISATION, organisation=row.organisation_id, **viewer_params(tx, actor)
        )
        is None
    ):
        raise NotFound("role.unknown")
    return row


def get_by_uuid_locked(tx: WriteTransaction, uuid: str) -> RoleRow:
    """Return a role as ``get_by_uuid``, with its row locked.

    Raises:
        NotFound: ``role.unknown``.
    """
    return or_not_found(tx.fetch_one(_BY_UUID_LOCKED, uuid=uuid), "role.unknown")


def by_name_or_uuid(
    tx: ReadTransaction, name: str, uuid: str | None, kinds: Kinds = WALDUR_KINDS
) -> RoleRow | None:
    """Return a role by name or UUID, whichever matches; None if there is none for these kinds."""
    role = tx.fetch_one(_BY_NAME_OR_UUID, name=name, uuid=uuid)
    return role if role is not None and role.kind in kinds else None


def by_uuids(
    tx: ReadTransaction, uuids: Iterable[str], kinds: Kinds = WALDUR_KINDS
) -> dict[str, RoleRow]:
    """Return the roles for some kinds of scope that exist among these, by UUID."""
    rows = tx.fetch_all(_BY_UUIDS, uuids=list(uuids))
    return {row.uuid: row for row in rows if row.kind in kinds}


def existing(tx: ReadTransaction, name: str = "", uuid: str | None = None) -> RoleRow:
    """Return a role of any kind that exists, by name or UUID."""
    return tx.fetch_only(_BY_NAME_OR_UUID, name=name, uuid=uuid)


def all_roles(tx: ReadTransaction) -> list[RoleRow]:
    """Return all roles, group roles included; built-in roles first."""
    return tx.fetch_all(_ALL)


def of_kind(tx: ReadTransaction, kind: str, organisation: int | None = None) -> list[RoleRow]:
    """Return the active roles of a kind of scope, groups included, by name.

    Args:
        organisation: id of the organisation in which the role is to be granted: with its own roles,
            without those that it does not use. None for the roles that exist everywhere.
    """
    return tx.fetch_all(_OF_KIND, kind=kind, organisation=organisation)


def display_names(tx: ReadTransaction) -> dict[str, str]:
    """Return the display name of each role, group roles included, by the role's name."""
    return {name: description or name for name, description in tx.fetch_all(_NAMES)}


def permissions_of(tx: ReadTransaction, ids: Iterable[int]) -> dict[int, list[str]]:
    """Return the permissions of roles by role id, in alphabetical order."""
    permissions_by_role: dict[int, list[str]] = {}
    for role_id, permission in tx.fetch_all(_PERMISSIONS, ids=list(ids)):
        permissions_by_role.setdefault(role_id, []).append(permission)
    return permissions_by_role


def count_people(tx: ReadTransaction, ids: Iterable[int]) -> dict[int, int]:
    """Return the number of active accounts that have each role in some scope."""
    return dict(tx.fetch_all(_COUNT_PEOPLE, ids=list(ids), now=tx.now))


def is_name_taken(tx: ReadTransaction, name: str, excluded_role: int = 0) -> bool:
    """Return whether another role has this name.

    Args:
        excluded_role: id of the role that does not count.
    """
    return tx.fetch_one(_NAME_TAKEN, name=name, excluded_role=excluded_role) is not None


def _with_sort_key(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**values, "name_sort": sort_key(values["name"])} if "name" in values else values


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert a role and return its id.

    Raises:
        Invalid: ``role.name_taken``, decided by the unique constraint.
    """
    with unique_or(tx, Invalid("role.name_taken", field="name")):
        values = _with_sort_key(values)
        return insert_row(tx, roles, values)


def change(tx: WriteTransaction, role: int, values: Mapping[str, Any]) -> None:
    """Update the given columns of a role.

    Raises:
        Invalid: ``role.name_taken``.
    """
    with unique_or(tx, Invalid("role.name_taken", field="name")):
        values = _with_sort_key(values)
        update_row(tx, roles, role, values)


def set_permissions(tx: WriteTransaction, role: int, permissions: Collection[str]) -> None:
    """Replace the permissions of a role; each may occur only once."""
    tx.execute(_DELETE_PERMISSIONS, role=role)
    if permissions:
        names = {f"permission{index}": name for index, name in enumerate(permissions)}
        tx.execute(_insert_permissions(len(permissions)), role=role, **names)


def remove(tx: WriteTransaction, role: int) -> None:
    """Delete a role; the foreign keys of other tables decide whether it is in use.

    Raises:
        Conflict: ``role.used``.
    """
    try:
        with tx.savepoint():
            tx.execute(_DELETE, role=role)
    except ForeignKeyViolationError as error:
        raise Conflict("role.used") from error
