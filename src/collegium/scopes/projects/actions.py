"""What can be done to projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from collegium.access.queries import lock_and_recheck
from collegium.access.rules import Permission, ScopeKind, has_permission
from collegium.db.tables import projects
from collegium.events import queries as event_queries
from collegium.lists import slugs
from collegium.refusals import Forbidden, Invalid
from collegium.scopes import queries as scope_queries
from collegium.scopes.actions import check_open, delete_scope
from collegium.scopes.rules import check_project_quota
from collegium.settings import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from collegium.access.queries import ScopeAccess
    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction
    from collegium.settings import Settings


STAFF_ONLY: Final = frozenset({"slug", "staff_notes"})
"""The columns that nobody but staff may write; sent by others they are passed over."""


def create(
    tx: WriteTransaction,
    actor: Actor,
    parent: ScopeAccess,
    values: Mapping[str, Any],
    *,
    settings: Settings = DEFAULTS,
) -> str:
    """Create a project in an organisation that the actor can see.

    Args:
        values: columns of the project; ``name`` at least.

    Refuses: Forbidden ``permission.missing`` (also for an end without the right to delete),
    Conflict ``organisation.unavailable`` and ``organisation.too_many_projects``, Invalid
    ``project.date_in_the_past`` and ``scope.slug_taken``.
    """
    parent = lock_and_recheck(tx, actor, parent, Permission.PROJECT_CREATE)
    check_open(parent.scope)
    values = _writable(actor, values)
    check_dates(tx.now, values)
    values = _with_end(actor, parent, values)
    return add(tx, actor, parent.scope.id, values, settings=settings)[1]


def add(
    tx: WriteTransaction,
    actor: Actor | None,
    parent: int,
    values: Mapping[str, Any],
    *,
    settings: Settings = DEFAULTS,
) -> tuple[int, str]:
    """Write a project whose creation was judged before; give its number and its UUID.

    The organisation must be locked. Staff are not bounded: their programs bring whole
    institutions in.

    Refuses: Conflict ``organisation.too_many_projects``.
    """
    if actor is None or not actor.is_staff:
        check_project_quota(scope_queries.children(tx, parent), settings.max_projects)
    uuid = uuid4().hex
    number = scope_queries.add(
        tx,
        ScopeKind.PROJECT,
        projects,
        {
            "uuid": uuid,
            "name": values["name"],
            "slug": values.get("slug") or slugs.new(tx, "project", values["name"]),
            "description": values.get("description", ""),
        },
        {name: value for name, value in values.items() if name in projects.c},
        parent,
    )
    event_queries.record(tx, "project.created", actor, scope=number, name=values["name"])
    return number, uuid


def _writable(actor: Actor, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if actor.is_staff or name not in STAFF_ONLY
    }


def _with_end(actor: Actor, reached: ScopeAccess, values: dict[str, Any]) -> dict[str, Any]:
    """Let only somebody who could delete a project say when it ends, and remember who did."""
    if values.get("ends") is None:
        return values
    if not has_permission(actor, reached.permissions, Permission.PROJECT_DELETE):
        raise Forbidden("permission.missing")
    return values | {"ends_requested_by": actor.id}


def check_dates(now: datetime, values: Mapping[str, Any]) -> None:
    """Let a project begin and end today at the earliest.

    Refuses: Invalid ``project.date_in_the_past``.
    """
    for name in ("starts", "ends"):
        if values.get(name) is not None and values[name] < now.date():
            raise Invalid("project.date_in_the_past", field=name)


def update(
    tx: WriteTransaction, actor: Actor, reached: ScopeAccess, changes: Mapping[str, Any]
) -> None:
    """Change a project that the actor reached with the right to change it.

    A start that has passed stays as it is.

    Refuses: Forbidden when an end is set without the right to delete,
    Conflict ``organisation.unavailable``, Invalid ``project.date_in_the_past``
    and ``scope.slug_taken``.
    """
    reached = lock_and_recheck(tx, actor, reached, Permission.PROJECT_UPDATE)
    check_open(reached.scope)
    changes = _writable(actor, changes)
    if reached.scope.starts is not None and reached.scope.starts <= tx.now.date():
        changes.pop("starts", None)
    check_dates(tx.now, changes)
    changes = _with_end(actor, reached, changes)
    scope_queries.change(tx, reached.scope.id, projects, changes)
    event_queries.record(
        tx,
        "project.updated",
        actor,
        scope=reached.scope.id,
        name=reached.scope.name,
        fields=sorted(changes),
    )


def delete(tx: WriteTransaction, actor: Actor, reached: ScopeAccess) -> None:
    """Remove a project; its grants end, its history stays.

    Refuses: Forbidden unless the right to delete comes from the organisation above,
    Conflict ``organisation.unavailable``.
    """
    reached = lock_and_recheck(tx, actor, reached)
    if not has_permission(actor, reached.parent_permissions, Permission.PROJECT_DELETE):
        raise Forbidden("permission.missing")
    check_open(reached.scope)
    delete_scope(tx, actor, reached.scope.id)
    event_queries.record(
        tx, "project.deleted", actor, scope=reached.scope.id, name=reached.scope.name
    )
