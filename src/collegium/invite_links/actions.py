"""Actions on invite links: create, change and cancel.

Using a link creates a join request: see ``join_requests.actions``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import (
    KINDS,
    Actor,
    require_permission,
)
from collegium.db.database import WriteTransaction
from collegium.db.statements import as_dict
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links import rules as invite_link_rules
from collegium.invite_links.queries import InviteLinkRow, offer_of
from collegium.invite_links.rules import Action, effective_state
from collegium.memberships.offers import (
    Offer,
    check_available,
    check_may_grant,
    ids_with_able_sponsor,
)
from collegium.refusals import Conflict, Invalid, NotFound, check_quota
from collegium.roles.queries import RoleRow
from collegium.scopes.actions import check_open
from collegium.settings import Settings


def create(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    role: RoleRow,
    project_role: RoleRow | None,
    details: Mapping[str, Any],
) -> str:
    """Create an invite link to a scope that the actor can see; return the UUID, 32 hex digits.

    Args:
        scope_access: the scope and the actor's permissions there.
        project_role: the role in the project that is created for each requester; None if there is
            none.
        details: the other columns: ``is_public``, ``auto_create_project`` and so on.

    Raises:
        Invalid: as ``problems`` yields; ``invite_link.end``.
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``organisation.unavailable``, ``role.inactive``, ``invite_link.too_many``.
        NotFound: ``<kind>.unknown``, ``scope.unknown``: the scope was deleted or hidden in the
            meantime.
    """
    scope_access = access_queries.lock_scope_and_recheck(tx, actor, scope_access)
    scope = scope_access.scope
    for problem in problems(actor, scope.kind, role, project_role, details):
        raise problem
    invite_link_rules.check_end(
        details.get("expires_at"), tx.now, settings.group_invitation_lifetime
    )
    offered_roles = [role] if project_role is None else [role, project_role]
    offer = Offer(
        tuple(offered.id for offered in offered_roles),
        all(offered.is_active for offered in offered_roles),
        bool(details.get("auto_create_project")),
    )
    check_may_grant(tx, actor, scope_access, offer)
    check_available(scope, offer)
    count = invite_link_queries.count_active(tx, scope.id)
    check_quota(count, settings.max_invite_links, "invite_link.too_many")
    uuid = uuid4().hex
    invite_link_queries.add(
        tx,
        {
            "is_public": False,
            "auto_approve": False,
            "auto_create_project": False,
            "template": None,
            "allow_multiple_requests": False,
            "custom_text": "",
            "affiliations": [],
            "email_patterns": [],
            "identity_sources": [],
            "claims": {},
            "allow_custom_project_details": False,
            "expires_at": tx.now + timedelta(seconds=settings.group_invitation_lifetime),
            **details,
            "uuid": uuid,
            "scope_id": scope.id,
            "role_id": role.id,
            "project_role_id": project_role.id if project_role else None,
            "created_at": tx.now,
            "created_by": actor.id,
            "sponsor_id": actor.id,
        },
    )
    event_queries.record(
        tx, actor, events.InviteLinkCreated(scope=scope.id, invitation=uuid, role=role.name)
    )
    return uuid


def problems(
    actor: Actor,
    kind: str | None,
    role: RoleRow | None,
    project_role: RoleRow | None,
    details: Mapping[str, Any],
) -> Iterator[Invalid]:
    """Yield every validation error in the settings of a new invite link.

    Args:
        kind: kind of the scope; None if the caller has found that there is no such scope.
        role: the offered role; None if the caller has found that there is no such role.
    """
    texts = (
        partial(invite_link_rules.check_template, details.get("template") or ""),
        partial(invite_link_rules.check_patterns, details.get("email_patterns", ())),
    )
    if kind is None or role is None:
        return _collect_errors(*texts)
    creates_project = bool(details.get("auto_create_project"))
    project_kind = project_role.kind if project_role else None
    return _collect_errors(
        partial(
            invite_link_rules.check_public,
            is_public=bool(details.get("is_public")),
            is_staff=actor.is_staff,
            auto_create_project=creates_project,
            role_kind=role.kind,
        ),
        partial(
            invite_link_rules.check_roles,
            kind,
            role.kind,
            project_kind,
            auto_create_project=creates_project,
        ),
        *texts,
    )


def problems_of_change(
    actor: Actor,
    row: InviteLinkRow,
    changes: Mapping[str, Any],
    role: RoleRow | None = None,
    project_role: RoleRow | None = None,
) -> Iterator[Invalid]:
    """Yield every validation error in the changed settings of an invite link.

    Args:
        changes: as of ``change``.
        role: the new role; None for the present one.
        project_role: the new role in projects; None for the present one.
    """
    stays_public = row.is_public and bool(changes.get("is_public", True))
    creates_project = bool(changes.get("auto_create_project", row.auto_create_project))
    role_kind = row.role_kind if role is None else role.kind
    project_kind = row.project_role_kind if project_role is None else project_role.kind
    return _collect_errors(
        partial(
            invite_link_rules.check_public,
            is_public=stays_public or bool(changes.get("is_public")),
            # A link that is public already stays public. Only making it public is for staff.
            is_staff=actor.is_staff or stays_public,
            auto_create_project=creates_project,
            role_kind=role_kind,
        ),
        partial(
            invite_link_rules.check_roles,
            row.scope_kind,
            role_kind,
            project_kind,
            auto_create_project=creates_project,
        ),
        partial(invite_link_rules.check_template, changes.get("template") or ""),
        partial(invite_link_rules.check_patterns, changes.get("email_patterns", ())),
    )


def _collect_errors(*checks: Callable[[], None]) -> Iterator[Invalid]:
    for check in checks:
        try:
            check()
        except Invalid as refusal:
            yield refusal


def lock_to_change(
    tx: WriteTransaction, actor: Actor, uuid: str
) -> tuple[InviteLinkRow, ScopeAccess]:
    """Return an invite link, locked with its scope, that the actor may change now.

    Raises:
        NotFound: ``invite_link.unknown``.
        Forbidden: ``permission.missing``, ``role.above_ceiling``; ``invite_link.public`` if the
            link is public and the actor is not staff.
        Conflict: ``invite_link.closed``.
    """
    row, access = _lock(tx, actor, uuid, Action.CHANGE)
    invite_link_rules.check_may_change(is_public=row.is_public, is_staff=actor.is_staff)
    offer = offer_of(row)
    if row.project_role_id:
        offer = offer._replace(role_ids=(row.role_id, row.project_role_id))
    check_may_grant(tx, actor, access, offer)
    return row, access


def change(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    uuid: str,
    changes: Mapping[str, Any],
    role: RoleRow | None = None,
    project_role: RoleRow | None = None,
) -> None:
    """Change whom an invite link admits, and what it offers.

    The actor becomes the sponsor if the change admits more people or offers something else, or if
    the present sponsor may no longer grant what the link offers.

    Args:
        uuid: of the link, 32 hex digits.
        changes: columns, except those of roles.
        role: the new role; None for the present one.
        project_role: the new role in the projects that are created; None for the present one,
            unless ``changes`` has ``project_role_id``.

    Raises:
        NotFound, Forbidden: as ``lock_to_change``; ``role.above_ceiling`` also for what the link
            shall offer.
        Conflict: ``invite_link.closed``, ``organisation.unavailable``, ``role.inactive``;
            ``invite_link.has_pending`` if the link shall offer something else while requests wait,
            which ask for what it offers now.
        Invalid: as ``create``.
    """
    row, access = lock_to_change(tx, actor, uuid)
    check_open(row)
    for problem in problems_of_change(actor, row, changes, role, project_role):
        raise problem
    if role is not None:
        changes = {**changes, "role_id": role.id}
    if project_role is not None:
        changes = {**changes, "project_role_id": project_role.id}
    invite_link_rules.check_end(
        changes.get("expires_at"), tx.now, settings.group_invitation_lifetime
    )
    fields = {name for name, value in changes.items() if value != getattr(row, name)}
    if not fields.isdisjoint(invite_link_rules.OFFER_COLUMNS):
        _check_new_offer(tx, actor, row, access, changes, role, project_role)
    is_wider = invite_link_rules.is_wider(as_dict(row), changes)
    if is_wider or not ids_with_able_sponsor(tx, [row], offer_of):
        changes = {**changes, "sponsor_id": actor.id}
        if row.sponsor_id != actor.id:
            fields.add("sponsor")
    if not fields:
        return
    invite_link_queries.change(tx, row.id, changes)
    event = events.InviteLinkUpdated(scope=row.scope_id, invitation=row.uuid, fields=sorted(fields))
    event_queries.record(tx, actor, event)


def _check_new_offer(
    tx: WriteTransaction,
    actor: Actor,
    row: InviteLinkRow,
    access: ScopeAccess,
    changes: Mapping[str, Any],
    role: RoleRow | None,
    project_role: RoleRow | None,
) -> None:
    """Require that the actor may grant what a link shall offer, and that nobody waits for it."""
    if invite_link_queries.has_requests(tx, row.id, is_pending=True):
        raise Conflict("invite_link.has_pending")
    ids = {name: changes.get(name, getattr(row, name)) for name in invite_link_rules.OFFER_COLUMNS}
    project_role_id = ids["project_role_id"]
    stays = project_role is None and project_role_id == row.project_role_id
    is_active = (
        (row.role_is_active if role is None else role.is_active)
        and (project_role is None or project_role.is_active)
        and not (stays and row.project_role_is_active is False)
    )
    offer = Offer(
        (ids["role_id"], *([project_role_id] if project_role_id else [])),
        is_active,
        bool(ids["auto_create_project"]),
    )
    check_may_grant(tx, actor, access, offer)
    check_available(row, offer)


def delete(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Delete an invite link that was cancelled or has expired, and that nobody has used.

    Raises:
        NotFound: ``invite_link.unknown``.
        Forbidden: ``permission.missing`` without the permission to invite there.
        Conflict: ``invite_link.closed`` while it is active; ``invite_link.has_requests``.
    """
    row, _access = _lock(tx, actor, uuid, Action.DELETE)
    if invite_link_queries.has_requests(tx, row.id):
        raise Conflict("invite_link.has_requests")
    invite_link_queries.delete_row(tx, row.id)
    event_queries.record(tx, actor, events.InviteLinkDeleted.of(row))


def cancel(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Cancel an invite link; the join requests made with it remain to be decided.

    Raises:
        NotFound: ``invite_link.unknown``.
        Forbidden: ``permission.missing`` without the permission to invite there.
        Conflict: ``invite_link.closed``.
    """
    row, _access = _lock(tx, actor, uuid, Action.CANCEL)
    invite_link_queries.cancel(tx, row.id)
    event_queries.record(tx, actor, events.InviteLinkCanceled.of(row))


def _lock(
    tx: WriteTransaction, actor: Actor, uuid: str, action: Action
) -> tuple[InviteLinkRow, ScopeAccess]:
    row = invite_link_queries.by_uuid_locked(tx, uuid)
    access = access_queries.permissions_in_scope(tx, actor, row.scope_id)
    if access is None:
        raise NotFound("invite_link.unknown")
    require_permission(actor, access.permissions, KINDS[row.scope_kind].grant)
    action.after(effective_state(row.canceled_at, row.expires_at, tx.now))
    return row, access
