"""Actions on roles: create, update, activate, deactivate and delete. All of them require staff."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from collegium.access.rules import Actor, ScopeKind, require_staff
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Invalid
from collegium.roles import queries as role_queries
from collegium.roles import rules as role_rules
from collegium.roles.queries import RoleRow


def create(
    tx: WriteTransaction, actor: Actor, values: Mapping[str, Any], permissions: Collection[str]
) -> str:
    """Create a role and return its UUID, 32 hex digits.

    Args:
        values: columns of the role, at least ``name`` and ``kind``. Languages whose entry in
            ``descriptions`` is None are omitted.
        permissions: names of the permissions of the role.

    Raises:
        Forbidden: ``permission.missing``.
        Invalid: ``role.permissions``, ``role.name_taken``.
    """
    require_staff(actor)
    role_rules.check_permissions(ScopeKind(values["kind"]), permissions)
    uuid = uuid4().hex
    descriptions = _without_empty(values.get("descriptions", {}))
    role_id = role_queries.add(tx, {**values, "descriptions": descriptions, "uuid": uuid})
    role_queries.set_permissions(tx, role_id, permissions)
    event_queries.record(
        tx,
        actor,
        events.RoleCreated(role=values["name"], role_uuid=uuid, permissions=sorted(permissions)),
    )
    return uuid


def problems(
    tx: ReadTransaction,
    role: RoleRow | None,
    values: Mapping[str, Any],
    permissions: Collection[str],
) -> Iterator[Invalid]:
    """Yield what rules and other roles refuse of the values of a role.

    Args:
        role: the role that is changed; None: a new one.
        values: as far as they are valid, of ``name`` and ``kind``.
        permissions: names of the permissions.
    """
    kind = values.get("kind") if role is None else role.kind
    checks = [partial(role_rules.check_permissions, ScopeKind(kind) if kind else None, permissions)]
    if role is not None:
        checks.insert(0, partial(role_rules.check_kind, role.kind, values.get("kind", role.kind)))
    for check in checks:
        try:
            check()
        except Invalid as refusal:
            yield refusal
    if "name" in values and role_queries.is_name_taken(tx, values["name"], role.id if role else 0):
        yield Invalid("role.name_taken", field="name")


def update(
    tx: WriteTransaction,
    actor: Actor,
    uuid: str,
    changes: Mapping[str, Any],
    permissions: Collection[str] | None = None,
) -> None:
    """Update a role; the new permissions apply at once to all who have it.

    Args:
        uuid: 32 hex digits.
        changes: columns of the role; of ``descriptions`` the languages that change.
        permissions: all permissions of the role; None to keep the present ones.

    Raises:
        NotFound: ``role.unknown``.
        Forbidden: ``permission.missing``.
        Invalid: ``role.kind_is_fixed``, ``role.permissions``, ``role.name_taken``.
        Conflict: ``role.system_name``.
    """
    require_staff(actor)
    role = role_queries.get_by_uuid_locked(tx, uuid)
    role_rules.check_kind(role.kind, changes.get("kind", role.kind))
    if permissions is not None:
        role_rules.check_permissions(ScopeKind(role.kind), permissions)
    role_rules.check_name(role.name, changes.get("name", role.name), is_system=role.is_system)
    new_values = dict(changes)
    if "descriptions" in new_values:
        new_values["descriptions"] = _without_empty(
            {**role.descriptions, **new_values["descriptions"]}
        )
    changed = {name: value for name, value in new_values.items() if getattr(role, name) != value}
    if changed:
        role_queries.change(tx, role.id, changed)
    before = set(role_queries.permissions_of(tx, [role.id]).get(role.id, ()))
    after = before if permissions is None else set(permissions)
    if after != before:
        role_queries.set_permissions(tx, role.id, after)
    is_active = changed.pop("is_active", None)
    if changed or after != before:
        event_queries.record(
            tx,
            actor,
            events.RoleChanged(
                role=role.name,
                role_uuid=uuid,
                changes={name: [getattr(role, name), value] for name, value in changed.items()},
                permissions_added=sorted(after - before),
                permissions_removed=sorted(before - after),
            ),
        )
    if is_active is not None:
        _record_set_active(tx, actor, role, active=is_active)


def set_active(tx: WriteTransaction, actor: Actor, uuid: str, *, active: bool) -> RoleRow:
    """Activate or deactivate a role; return the role as it was before.

    A deactivated role can no longer be granted. Existing grants stay.

    Raises:
        NotFound: ``role.unknown``.
        Forbidden: ``permission.missing``.
    """
    require_staff(actor)
    role = role_queries.get_by_uuid_locked(tx, uuid)
    if role.is_active != active:
        role_queries.change(tx, role.id, {"is_active": active})
        _record_set_active(tx, actor, role, active=active)
    return role


def delete(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Delete a role that was never granted or offered; otherwise the audit log would be unreadable.

    Raises:
        NotFound: ``role.unknown``.
        Forbidden: ``permission.missing``.
        Conflict: ``role.is_system``, ``role.used``.
    """
    require_staff(actor)
    role = role_queries.get_by_uuid_locked(tx, uuid)
    role_rules.check_removable(is_system=role.is_system)
    role_queries.remove(tx, role.id)
    event_queries.record(tx, actor, events.RoleDeleted(role=role.name, role_uuid=uuid))


def _without_empty(descriptions: Mapping[str, str | None]) -> dict[str, str]:
    return {language: text for language, text in descriptions.items() if text is not None}


def _record_set_active(tx: WriteTransaction, actor: Actor, role: RoleRow, *, active: bool) -> None:
    event = events.RoleEnabled if active else events.RoleDisabled
    event_queries.record(tx, actor, event(role=role.name, role_uuid=role.uuid))
