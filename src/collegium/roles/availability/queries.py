"""Queries of the roles of a single organisation, and of roles that an organisation does not use."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, bindparam, delete, false, func, or_, select

from collegium.access.rules import KINDS, Actor, Permission, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, any_of
from collegium.db.tables import (
    BigInt,
    organisation_roles,
    role_concealments,
    role_permissions,
    roles,
    scopes,
)
from collegium.db.writing import insertion, unique_or
from collegium.lists.listing import Listing
from collegium.refusals import Conflict, or_not_found


class _Use:
    role_id: int
    organisation_id: int | None
    concealment_id: int | None


class AvailabilityRow:
    """A role that exists in one organisation only."""

    id: int
    uuid: str
    role_uuid: str
    role_name: str
    role_description: str
    organisation_id: int


class ConcealmentRow:
    """A role that an organisation does not use."""

    id: int
    uuid: str
    role_uuid: str
    role_name: str
    role_description: str
    organisation_id: int


_organisation_id = bindparam("organisation", type_=BigInt)
_USES = Statement[_Use](
    select(
        roles.c.id.label("role_id"),
        organisation_roles.c.organisation_id,
        role_concealments.c.id.label("concealment_id"),
    )
    .select_from(roles)
    .outerjoin(organisation_roles, organisation_roles.c.role_id == roles.c.id)
    .outerjoin(
        role_concealments,
        and_(
            role_concealments.c.role_id == roles.c.id,
            role_concealments.c.organisation_id == _organisation_id,
        ),
    )
    .where(any_of(roles.c.id, "roles"))
)

_availability_rows = Relations(organisation_roles, role=roles, organisation=scopes).select(
    AvailabilityRow,
    *("role_kind", "organisation_uuid", "organisation_name"),
    id=organisation_roles.c.role_id,
)
availabilities = Listing[AvailabilityRow](
    rows=_availability_rows,
    visible=false,  # for actors who see all alone
    key=organisation_roles.c.role_id,
    default="role_name",
    orders={"role_name": (roles.c.name_sort,)},
    filters={"organisation": organisation_roles.c.organisation_id == _organisation_id},
)
_concealment_rows = Relations(role_concealments, role=roles, organisation=scopes).select(
    ConcealmentRow, "organisation_uuid", "organisation_name"
)
concealments = Listing[ConcealmentRow](
    rows=_concealment_rows,
    visible=false,  # for actors who see all alone
    key=role_concealments.c.id,
    default="role_name",
    orders={"role_name": (roles.c.name_sort,)},
    filters={"organisation": role_concealments.c.organisation_id == _organisation_id},
)
_AVAILABILITY = Statement[AvailabilityRow](
    _availability_rows.where(organisation_roles.c.uuid == bindparam("uuid"))
)
_CONCEALMENT = Statement[ConcealmentRow](
    _concealment_rows.where(role_concealments.c.uuid == bindparam("uuid"))
)
_ADD_AVAILABILITY = Statement(insertion(organisation_roles))
_DELETE_AVAILABILITY = Statement(
    delete(organisation_roles).where(organisation_roles.c.role_id == bindparam("role"))
)
_ADD_CONCEALMENT = Statement(insertion(role_concealments, ("uuid", "organisation_id", "role_id")))
_DELETE_CONCEALMENT = Statement(
    delete(role_concealments).where(role_concealments.c.id == bindparam("concealment"))
)
# Permissions that let somebody add members to a kind of scope. Owners add members to projects.
_granting = or_(
    *(
        role_permissions.c.permission == permission.value
        for permission in (KINDS[ScopeKind.ORGANISATION].grant, Permission.PROJECT_GRANT)
    )
)
_COUNT_GRANTING = Statement[int](
    select(func.count(roles.c.id.distinct()).label("count"))
    .select_from(roles)
    .join(role_permissions, role_permissions.c.role_id == roles.c.id)
    .outerjoin(organisation_roles, organisation_roles.c.role_id == roles.c.id)
    .where(
        _granting,
        roles.c.kind == bindparam("kind"),
        roles.c.is_active,
        or_(
            organisation_roles.c.organisation_id.is_(None),
            organisation_roles.c.organisation_id == _organisation_id,
        ),
        roles.c.id.not_in(
            select(role_concealments.c.role_id).where(
                role_concealments.c.organisation_id == _organisation_id
            )
        ),
    )
)


def check_available(tx: ReadTransaction, role_ids: Collection[int], organisation: int) -> None:
    """Require that an organisation uses roles.

    Args:
        organisation: id of the organisation.

    Raises:
        Conflict: ``role.not_available`` for a role of another organisation; ``role.concealed``.
    """
    for row in tx.fetch_all(_USES, roles=list(role_ids), organisation=organisation):
        if row.organisation_id not in {None, organisation}:
            raise Conflict("role.not_available")
        if row.concealment_id is not None:
            raise Conflict("role.concealed")


def select_available(tx: ReadTransaction, role_ids: Collection[int], organisation: int) -> set[int]:
    """Return the ids of the roles among these that an organisation uses."""
    return {
        row.role_id
        for row in tx.fetch_all(_USES, roles=list(role_ids), organisation=organisation)
        if row.organisation_id in {None, organisation} and row.concealment_id is None
    }


def get_availability(tx: ReadTransaction, _actor: Actor, uuid: str) -> AvailabilityRow:
    """Return where a role exists, for actors who see all.

    Raises:
        NotFound: ``availability.unknown``.
    """
    return or_not_found(tx.fetch_one(_AVAILABILITY, uuid=uuid), "availability.unknown")


def get_concealment(tx: ReadTransaction, _actor: Actor, uuid: str) -> ConcealmentRow:
    """Return a role that an organisation does not use, for actors who see all.

    Raises:
        NotFound: ``concealment.unknown``.
    """
    return or_not_found(tx.fetch_one(_CONCEALMENT, uuid=uuid), "concealment.unknown")


def add_availability(
    tx: WriteTransaction, uuid: str, role: int, organisation: int, template: int
) -> None:
    """Limit a role to an organisation.

    Args:
        template: id of the role that it was copied from.

    Raises:
        Conflict: ``role.cloned`` if the organisation has a copy of that role already.
    """
    with unique_or(tx, Conflict("role.cloned")):
        tx.execute(
            _ADD_AVAILABILITY,
            uuid=uuid,
            role_id=role,
            organisation_id=organisation,
            template_id=template,
        )


def remove_availability(tx: WriteTransaction, role: int) -> None:
    """Let a role exist everywhere."""
    tx.execute(_DELETE_AVAILABILITY, role=role)


def add_concealment(tx: WriteTransaction, uuid: str, role: int, organisation: int) -> None:
    """Record that an organisation does not use a role.

    Raises:
        Conflict: ``role.concealed_already``.
    """
    with unique_or(tx, Conflict("role.concealed_already")):
        tx.execute(_ADD_CONCEALMENT, uuid=uuid, role_id=role, organisation_id=organisation)


def remove_concealment(tx: WriteTransaction, concealment: int) -> None:
    """Let an organisation use a role again."""
    tx.execute(_DELETE_CONCEALMENT, concealment=concealment)


def count_granting(tx: ReadTransaction, kind: str, organisation: int) -> int:
    """Return the number of active roles that an organisation uses and that can add members.

    Args:
        kind: of the scope for which the roles are.
    """
    return tx.fetch_only(_COUNT_GRANTING, kind=kind, organisation=organisation)
