"""Actions on projects: create, update and delete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from collegium.access.queries import ScopeAccess, lock_scope_and_recheck
from collegium.access.rules import Actor, Permission, ScopeKind, require_permission
from collegium.db.database import WriteTransaction
from collegium.db.tables import projects
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invite_links.rules import check_patterns
from collegium.lists import slugs
from collegium.refusals import Invalid, check_quota
from collegium.scopes import queries as scope_queries
from collegium.scopes.actions import check_open, delete_scope
from collegium.scopes.projects import queries as project_queries
from collegium.settings import DEFAULTS, Settings

STAFF_ONLY: Final = frozenset({"slug", "staff_notes"})
"""The columns that only staff may write; values from others are ignored."""


def create(
    tx: WriteTransaction,
    actor: Actor,
    parent: ScopeAccess,
    values: Mapping[str, Any],
    *,
    settings: Settings = DEFAULTS,
) -> str:
    """Create a project in an organisation that the actor can see; return its UUID, 32 hex digits.

    Args:
        parent: the organisation and the actor's permissions there.
        values: columns of the project, at least ``name``.

    Raises:
        NotFound: ``organisation.unknown``, ``scope.unknown`` if the organisation was deleted or
            hidden in the meantime.
        Forbidden: ``permission.missing``, also for an end date without the permission to delete.
        Conflict: ``organisation.unavailable``, ``organisation.too_many_projects``.
        Invalid: ``project.date_in_the_past``, ``scope.slug_taken``, ``invite_link.patterns``.
    """
    parent = lock_scope_and_recheck(tx, actor, parent, Permission.PROJECT_CREATE)
    check_open(parent.scope)
    values = _writable(actor, values)
    check_dates(tx.now, values)
    check_patterns(values.get("email_patterns", ()))
    values = _with_end(tx, actor, parent, values)
    return add(tx, actor, parent.scope.id, values, settings=settings)[1]


def add(
    tx: WriteTransaction,
    actor: Actor | None,
    parent: int,
    values: Mapping[str, Any],
    *,
    settings: Settings = DEFAULTS,
) -> tuple[int, str]:
    """Insert a project that the caller has checked; return its id and UUID.

    The caller has locked the organisation. The limit does not apply to staff, whose programs may
    import whole institutions.

    Args:
        actor: who creates it; None for auto-approval of a join request.
        parent: id of the organisation.

    Raises:
        Conflict: ``organisation.too_many_projects``.
        Invalid: ``scope.slug_taken``.
    """
    if actor is None or not actor.is_staff:
        count = scope_queries.count_children(tx, parent)
        check_quota(count, settings.max_projects, "organisation.too_many_projects")
    uuid = uuid4().hex
    project_id = scope_queries.add(
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
    event_queries.record(tx, actor, events.ProjectCreated(scope=project_id, name=values["name"]))
    return project_id, uuid


def _writable(actor: Actor, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if actor.is_staff or name not in STAFF_ONLY
    }


def _with_end(
    tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess, values: dict[str, Any]
) -> dict[str, Any]:
    """Require the permission to delete for an end date, and record who requested it, and when.

    Args:
        scope_access: the project, or the organisation of a new one.

    Raises:
        Forbidden: ``permission.missing``.
    """
    end = values.get("end_date")
    if "end_date" in values and end != scope_access.scope.end_date:
        values = values | {"end_date_changed_at": tx.now}
    if end is None:
        return values
    require_permission(actor, scope_access.permissions, Permission.PROJECT_DELETE)
    return values | {"end_date_requested_by": actor.id}


def check_dates(now: datetime, values: Mapping[str, Any]) -> None:
    """Require that start and end date are not in the past.

    Raises:
        Invalid: ``project.date_in_the_past``.
    """
    for name in ("start_date", "end_date"):
        if values.get(name) is not None and values[name] < now.date():
            raise Invalid("project.date_in_the_past", field=name)


def update(
    tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess, changes: Mapping[str, Any]
) -> None:
    """Update a project that the actor can see. Do nothing if nothing changes.

    A start date that has passed stays unchanged. Values that the project has already are not
    judged again: clients send back what they were shown.

    Raises:
        NotFound: ``project.unknown``, ``scope.unknown`` if it was deleted or hidden in the
            meantime.
        Forbidden: ``permission.missing``, also for an end date without the permission to delete.
        Conflict: ``organisation.unavailable``.
        Invalid: ``project.date_in_the_past``, ``scope.slug_taken``, ``invite_link.patterns``.
    """
    scope_access = lock_scope_and_recheck(tx, actor, scope_access, Permission.PROJECT_UPDATE)
    check_open(scope_access.scope)
    changes = _writable(actor, changes)
    if scope_access.scope.start_date is not None and scope_access.scope.start_date <= tx.now.date():
        changes.pop("start_date", None)
    before = project_queries.existing(tx, scope_access.scope.id)
    changes = {name: value for name, value in changes.items() if getattr(before, name) != value}
    if not changes:
        return
    check_dates(tx.now, changes)
    check_patterns(changes.get("email_patterns", ()))
    changes = _with_end(tx, actor, scope_access, changes)
    scope_queries.change(tx, scope_access.scope.id, projects, changes)
    event_queries.record(
        tx,
        actor,
        events.ProjectUpdated(
            scope=scope_access.scope.id,
            name=scope_access.scope.name,
            fields=sorted(changes.keys() - {"end_date_changed_at"}),
        ),
    )


def delete(tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess) -> None:
    """Delete a project and end its grants; its events remain.

    Raises:
        NotFound: ``project.unknown``, ``scope.unknown`` if it was deleted or hidden in the
            meantime.
        Forbidden: ``permission.missing`` unless the permission to delete is inherited from the
            organisation.
        Conflict: ``organisation.unavailable``.
    """
    scope_access = lock_scope_and_recheck(tx, actor, scope_access)
    require_permission(actor, scope_access.parent_permissions, Permission.PROJECT_DELETE)
    check_open(scope_access.scope)
    delete_scope(tx, actor, scope_access.scope.id)
    event_queries.record(
        tx, actor, events.ProjectDeleted(scope=scope_access.scope.id, name=scope_access.scope.name)
    )
