"""Actions on where roles exist: copy a role into an organisation, conceal and reveal roles."""

from __future__ import annotations

from itertools import count
from uuid import uuid4

from collegium.access.queries import ScopeAccess, lock_scope_and_recheck
from collegium.access.rules import KINDS, Actor, Permission, ScopeKind, require_staff
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Conflict
from collegium.roles import queries as role_queries
from collegium.roles.availability import queries as availability_queries
from collegium.roles.availability.rules import name_of_copy
from collegium.roles.queries import RoleRow


def clone(
    tx: WriteTransaction,
    actor: Actor,
    uuid: str,
    organisation: ScopeAccess,
    *,
    description: str = "",
    conceals: bool = True,
) -> str:
    """Copy a role, with its permissions, into an organisation; return the UUID of the copy.

    The copy can be granted only there and in the projects of the organisation.

    Args:
        uuid: of the role, 32 hex digits.
        organisation: as loaded through ``get_visible``.
        description: of the copy; empty for that of the role.
        conceals: whether the organisation uses the copy instead of the role.

    Raises:
        NotFound: ``role.unknown``; ``scope.unknown`` if the organisation was deleted.
        Forbidden: ``permission.missing``.
        Conflict: ``role.of_organisation`` for a copy; ``role.cloned`` if the organisation has a
            copy of the role already.
    """
    require_staff(actor)
    scope = lock_scope_and_recheck(tx, actor, organisation).scope
    template = role_queries.get_by_uuid_locked(tx, uuid)
    if template.organisation_id is not None:
        raise Conflict("role.of_organisation")
    name = next(
        name
        for number in count(1)
        if not role_queries.is_name_taken(
            tx, name := name_of_copy(template.name, template.kind, scope.slug, number)
        )
    )
    new_uuid = uuid4().hex
    permissions = role_queries.permissions_of(tx, [template.id]).get(template.id, [])
    role = role_queries.add(
        tx,
        {
            "uuid": new_uuid,
            "name": name,
            "kind": template.kind,
            "description": description or template.description,
            "descriptions": template.descriptions,
        },
    )
    role_queries.set_permissions(tx, role, permissions)
    availability_queries.add_availability(tx, uuid4().hex, role, scope.id, template.id)
    event_queries.record(
        tx, actor, events.RoleCreated(role=name, role_uuid=new_uuid, permissions=permissions)
    )
    if conceals and template.is_active:
        _conceal(tx, actor, template, scope.id)
    return new_uuid


def release(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Let the role of an organisation exist everywhere.

    Args:
        uuid: of the availability, 32 hex digits.

    Raises:
        NotFound: ``availability.unknown``.
        Forbidden: ``permission.missing``.
    """
    require_staff(actor)
    row = availability_queries.get_availability(tx, actor, uuid)
    role_queries.get_by_uuid_locked(tx, row.role_uuid)
    availability_queries.remove_availability(tx, row.id)
    event_queries.record(
        tx, actor, events.RoleReleased(role=row.role_name, role_uuid=row.role_uuid)
    )


def conceal(tx: WriteTransaction, actor: Actor, uuid: str, organisation: ScopeAccess) -> str:
    """Stop the use of a role in an organisation and its projects; return the UUID of the record.

    Members who have the role keep it.

    Args:
        uuid: of the role, 32 hex digits.
        organisation: as loaded through ``get_visible``.

    Raises:
        NotFound: ``role.unknown``; ``scope.unknown`` if the organisation was deleted.
        Forbidden: ``permission.missing``.
        Conflict: ``role.concealed_already``; ``role.not_available`` for the role of another
            organisation; ``role.last_granting`` if nobody could add members with the other roles.
    """
    require_staff(actor)
    scope = lock_scope_and_recheck(tx, actor, organisation).scope
    role = role_queries.get_by_uuid_locked(tx, uuid)
    if role.organisation_id not in {None, scope.id}:
        raise Conflict("role.not_available")
    return _conceal(tx, actor, role, scope.id)


def _conceal(tx: WriteTransaction, actor: Actor, role: RoleRow, organisation: int) -> str:
    permissions = role_queries.permissions_of(tx, [role.id]).get(role.id, [])
    grants = {KINDS[ScopeKind.ORGANISATION].grant, Permission.PROJECT_GRANT}
    is_granting = role.is_active and not grants.isdisjoint(permissions)
    uuid = uuid4().hex
    availability_queries.add_concealment(tx, uuid, role.id, organisation)
    if is_granting and not availability_queries.count_granting(tx, role.kind, organisation):
        raise Conflict("role.last_granting")
    event_queries.record(
        tx,
        actor,
        events.RoleConcealed(scope=organisation, role=role.name, role_uuid=role.uuid),
    )
    return uuid


def reveal(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Let an organisation use a role again.

    Args:
        uuid: of the concealment, 32 hex digits.

    Raises:
        NotFound: ``concealment.unknown``.
        Forbidden: ``permission.missing``.
    """
    require_staff(actor)
    row = availability_queries.get_concealment(tx, actor, uuid)
    availability_queries.remove_concealment(tx, row.id)
    event_queries.record(
        tx,
        actor,
        events.RoleRevealed(scope=row.organisation_id, role=row.role_name, role_uuid=row.role_uuid),
    )
