"""Actions on organisations: create, update and delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from collegium.access.queries import ScopeAccess, ScopeRow, lock_scope_and_recheck
from collegium.access.rules import Actor, Permission, ScopeKind, require_staff
from collegium.access.subnets import queries as subnet_queries
from collegium.access.subnets.rules import denied_ranges
from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import as_dict
from collegium.db.tables import organisations
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.events.versions import json_value
from collegium.invite_links.rules import check_patterns
from collegium.lists import slugs
from collegium.refusals import Conflict
from collegium.scopes import queries as scope_queries
from collegium.scopes.actions import delete_scope
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.projects import actions as project_actions
from collegium.settings import Settings

STAFF_ONLY = frozenset(
    {
        "access_subnets",
        "accounting_started_at",
        "default_tax_percent",
        "agreement_number",
        "domain",
        "blocked",
        "archived",
        "sponsor_number",
    }
)
"""The columns that only staff may write; values from others are ignored."""


def check_available(scope: ScopeRow) -> None:
    """Require that an organisation is neither blocked nor archived.

    Raises:
        Conflict: ``organisation.blocked``, ``organisation.archived``.
    """
    _check_available(blocked=scope.blocked, archived=scope.archived)


def _check_available(*, blocked: bool | None, archived: bool | None) -> None:
    if blocked:
        raise Conflict("organisation.blocked")
    if archived:
        raise Conflict("organisation.archived")


def _check_may_change(actor: Actor, scope: ScopeRow, changes: Mapping[str, Any]) -> None:
    if not actor.is_staff:
        check_available(scope)
        return
    is_closed = scope.blocked or scope.archived
    if is_closed and not changes.keys() <= {"blocked", "archived"}:
        _check_available(
            blocked=changes.get("blocked", scope.blocked),
            archived=changes.get("archived", scope.archived),
        )


def default_domain(tx: ReadTransaction, actor: Actor) -> str:
    """Return the organisation in the actor's profile: the default domain of a new organisation."""
    return str(account_queries.own(tx, actor).organization)


def create(
    tx: WriteTransaction, actor: Actor, settings: Settings, values: Mapping[str, Any]
) -> str:
    """Create an organisation and return its UUID, 32 hex digits.

    Args:
        values: columns of the organisation, at least ``name``.

    Raises:
        Forbidden: ``permission.missing`` unless the actor is staff.
        Invalid: ``scope.slug_taken``, ``invite_link.patterns``.
    """
    require_staff(actor)
    check_patterns(values.get("email_patterns", ()))
    uuid = uuid4().hex
    columns = {name: value for name, value in values.items() if name in organisations.c}
    organisation_id = scope_queries.add(
        tx,
        ScopeKind.ORGANISATION,
        organisations,
        {
            "uuid": uuid,
            "name": values["name"],
            "slug": values.get("slug") or slugs.new(tx, "organisation", values["name"]),
            "description": values.get("description", ""),
        },
        columns,
    )
    subnet_queries.replace(tx, organisation_id, denied_ranges(columns.get("access_subnets", "")))
    event_queries.record(
        tx, actor, events.OrganisationCreated(scope=organisation_id, name=values["name"])
    )
    if settings.create_default_project_on_organization_creation:
        project_actions.add(tx, actor, organisation_id, {"name": "First project"})
    return uuid


def update(
    tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess, changes: Mapping[str, Any]
) -> None:
    """Update an organisation that the actor can see. Do nothing if nothing changes.

    Staff may unblock or unarchive an organisation and change other columns in the same call. While
    it stays blocked or archived, only these two columns may change.

    Raises:
        NotFound: ``organisation.unknown``, ``scope.unknown`` if it was deleted or hidden in the
            meantime.
        Forbidden: ``permission.missing``.
        Conflict: ``organisation.blocked``, ``organisation.archived``.
        Invalid: ``scope.slug_taken``, ``invite_link.patterns``.
    """
    scope_access = lock_scope_and_recheck(tx, actor, scope_access, Permission.ORGANISATION_UPDATE)
    _check_may_change(actor, scope_access.scope, changes)
    if not actor.is_staff:
        changes = {
            name: value
            for name, value in changes.items()
            if name not in STAFF_ONLY and name != "slug"
        }
    check_patterns(changes.get("email_patterns", ()))
    before = as_dict(organisation_queries.existing(tx, scope_access.scope.id))
    changes = {name: value for name, value in changes.items() if before[name] != value}
    if not changes:
        return
    scope_queries.change(tx, scope_access.scope.id, organisations, changes)
    if "access_subnets" in changes:
        subnet_queries.replace(tx, scope_access.scope.id, denied_ranges(changes["access_subnets"]))
    event_queries.record(
        tx,
        actor,
        events.OrganisationUpdated(
            scope=scope_access.scope.id,
            name=scope_access.scope.name,
            fields=sorted(changes),
            replaced={name: json_value(before[name]) for name in changes},
        ),
    )


def delete(tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess) -> None:
    """Delete an organisation and end its grants; its events remain.

    Raises:
        NotFound: ``organisation.unknown``, ``scope.unknown`` if it was deleted or hidden in the
            meantime.
        Forbidden: ``permission.missing``.
        Conflict: ``organisation.blocked``, ``organisation.archived``,
            ``organisation.has_projects``.
    """
    scope_access = lock_scope_and_recheck(tx, actor, scope_access, Permission.ORGANISATION_DELETE)
    check_available(scope_access.scope)
    scope_queries.check_childless(tx, scope_access.scope.id)
    delete_scope(tx, actor, scope_access.scope.id)
    event_queries.record(
        tx,
        actor,
        events.OrganisationDeleted(scope=scope_access.scope.id, name=scope_access.scope.name),
    )
