"""Actions that bring a deleted project back, or move a project to another organisation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from typing import Final, NamedTuple

from collegium.access.queries import (
    ScopeAccess,
    get_visible_by_id,
    lock_scope,
    lock_scope_and_recheck,
    lock_scopes,
)
from collegium.access.rules import Actor, Permission, require_permission, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import join_names
from collegium.db.database import WriteTransaction
from collegium.db.statements import replace
from collegium.db.tables import projects
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import actions as invitation_actions
from collegium.memberships import admission
from collegium.memberships import queries as membership_queries
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.queries import FormerMember, MemberFacts
from collegium.refusals import (
    Conflict,
    Forbidden,
    Invalid,
    Limited,
    NotFound,
    Unauthenticated,
    check_quota,
)
from collegium.roles import queries as role_queries
from collegium.scopes import queries as scope_queries
from collegium.scopes.actions import check_open, close_offers
from collegium.scopes.projects import queries as project_queries
from collegium.scopes.projects.actions import check_dates
from collegium.settings import Settings


class Wishes(NamedTuple):
    """What else to do when a project is brought back.

    Args:
        restores_members: give everybody the role back who lost it with the deletion.
        invites_members: invite them instead.
        end: the new last day of the project; None to leave the old one.
    """

    restores_members: bool = False
    invites_members: bool = False
    end: date | None = None


class Recovered(NamedTuple):
    """Whom the recovery of a project concerns.

    Args:
        project: id of the project.
        restored: members with their role again.
        to_invite: members for ``invite``.
    """

    project: int
    restored: list[FormerMember]
    to_invite: list[FormerMember]


INVITED_MAX: Final = 500
"""The most former members whom one request invites."""


def recover(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, wishes: Wishes
) -> Recovered:
    """Bring a deleted project back, with its name, dates and slug, but without its members.

    Roles that cannot be given now are left out: the account or the role is deactivated, the role
    has expired, or the organisation does not admit the person any more. The number of statements
    does not depend on the number of members. Invitations are sent afterwards (``invite_all``).

    Args:
        uuid: of a deleted project that the actor may see, 32 hex digits.

    Raises:
        NotFound: ``project.unknown``.
        Forbidden: ``permission.missing`` without the permission to create projects; for an end,
            without that to delete them; to restore members, unless the actor is staff.
        Conflict: ``project.not_deleted``, ``project.moved``, ``organisation.unavailable``,
            ``organisation.too_many_projects``, ``project.too_many_to_invite`` with more former
            members than ``INVITED_MAX``.
        Invalid: ``project.date_in_the_past``, ``project.restore_or_invite``.
    """
    row = project_queries.get_visible_any(tx, actor, uuid)
    parent = get_visible_by_id(tx, actor, row.organisation_id, Permission.PROJECT_CREATE)
    parent = lock_scope_and_recheck(tx, actor, parent, Permission.PROJECT_CREATE)
    lock_scope(tx, row.id)
    row = project_queries.get_visible_any(tx, actor, uuid)
    _check_wishes(actor, parent, wishes)
    if row.deleted_at is None:
        raise Conflict("project.not_deleted")
    if row.organisation_id != parent.scope.id:
        # Somebody else has recovered, moved and deleted it. Its present organisation is not locked.
        raise Conflict("project.moved")
    check_dates(tx.now, {"end_date": wishes.end})
    check_open(parent.scope)
    if not actor.is_staff:
        count = scope_queries.count_children(tx, parent.scope.id)
        check_quota(count, settings.max_projects, "organisation.too_many_projects")
    former = membership_queries.ended_with_scope(tx, row.id, locks_accounts=wishes.restores_members)
    if wishes.invites_members and len(former) > INVITED_MAX:
        raise Conflict("project.too_many_to_invite", most=INVITED_MAX)
    scope_queries.restore(tx, row.id)
    if wishes.end is not None:
        changes = {
            "end_date": wishes.end,
            "end_date_requested_by": actor.id,
            "end_date_changed_at": tx.now,
        }
        scope_queries.change(tx, row.id, projects, changes)
    event_queries.record(tx, actor, events.ProjectRecovered(scope=row.id, name=row.name))
    restored = _restore(tx, actor, row.id, former) if wishes.restores_members else []
    return Recovered(row.id, restored, former if wishes.invites_members else [])


def _check_wishes(actor: Actor, parent: ScopeAccess, wishes: Wishes) -> None:
    if wishes.restores_members:
        require_staff(actor)
    if wishes.end is not None:
        require_permission(actor, parent.permissions, Permission.PROJECT_DELETE)
    if wishes.restores_members and wishes.invites_members:
        raise Invalid("project.restore_or_invite")


def _restore(
    tx: WriteTransaction, actor: Actor, project: int, former: list[FormerMember]
) -> list[FormerMember]:
    # A deleted project has no grants and no pending join requests. So no role exists already, and
    # none fulfils a request.
    restored = admission.select_admitted(tx, former, project)
    membership_queries.grant_again(tx, restored, project, actor.id)
    if restored:
        notice_actions.granted_all(tx, actor, project)
    event_queries.record_all(
        tx,
        actor,
        (
            events.RoleGranted(
                scope=project,
                account=member.account_id,
                role=member.role_name,
                scope_name=member.scope_name,
                username=member.username,
                until=member.valid_until,
            )
            for member in restored
        ),
    )
    return restored


def invite_all(
    write: Callable[[], AbstractContextManager[WriteTransaction]],
    actor: Actor,
    settings: Settings,
    recovered: Recovered,
) -> list[tuple[str, FormerMember]]:
    """Invite the former members of a project, each in a transaction of its own.

    So nobody else waits for more than one invitation. Who cannot be invited now is left out, also
    because their role has ended meanwhile, or would end before the project starts. The rest are
    left out if the project is deleted or the actor signed out meanwhile.

    Args:
        write: opens a write transaction.

    Returns:
        The UUID of each new invitation, and the member with the present address.
    """
    invited = []
    for member in recovered.to_invite:
        try:
            with write() as tx:
                sent = _invite(tx, actor, settings, recovered.project, member)
        except (Conflict, Forbidden, Limited):
            continue
        except (NotFound, Unauthenticated):
            break
        if sent is not None:
            invited.append(sent)
    return invited


def _invite(
    tx: WriteTransaction, actor: Actor, settings: Settings, project: int, member: FormerMember
) -> tuple[str, FormerMember] | None:
    access = get_visible_by_id(tx, actor, project)
    role = role_queries.existing(tx, member.role_name)
    # The account as it is now: it may have got another address, or been deleted, meanwhile.
    account = account_queries.by_id(tx, member.account_id)
    if account is None or account.deleted_at is not None:
        return None
    details = {
        "email": account.email,
        "full_name": join_names(account.first_name, account.last_name)[:100],
        "grant_until": member.valid_until,
    }
    uuid = invitation_actions.create(tx, actor, settings, access, role, details)
    return uuid, replace(member, email=account.email)


def move(
    tx: WriteTransaction,
    actor: Actor,
    scope_access: ScopeAccess,
    target: ScopeAccess,
    *,
    keeps_members: bool,
) -> list[MemberFacts]:
    """Move a project to another organisation.

    The number of statements does not depend on the number of members.

    Args:
        scope_access: the project.
        target: the other organisation.
        keeps_members: whether members keep their roles in the project, as far as the other
            organisation would give them; the rest are removed, each with an event and a notice.
            Otherwise all roles end, with all invitations, invite links and join requests.

    Returns:
        The roles that members lost although ``keeps_members``.

    Raises:
        NotFound: ``project.unknown``, ``organisation.unknown``, ``scope.unknown`` if one of them
            was deleted in the meantime.
        Forbidden: ``permission.missing`` unless the actor is staff.
        Conflict: ``organisation.unavailable`` if one of the organisations is blocked or archived.
        Invalid: ``project.same_organisation``.
    """
    require_staff(actor)
    project = scope_access.scope
    before = [project.parent_id] if project.parent_id is not None else []
    lock_scopes(tx, [*before, target.scope.id, project.id])
    project = get_visible_by_id(tx, actor, project.id).scope
    target = get_visible_by_id(tx, actor, target.scope.id)
    if [project.parent_id] != before:
        # Somebody else has moved it. Its present organisation is not locked.
        raise Conflict("project.moved")
    if project.parent_id == target.scope.id:
        raise Invalid("project.same_organisation", field="customer")
    check_open(project)
    check_open(target.scope)
    if not keeps_members:
        close_offers(tx, project.id)
        notice_actions.removing_all(tx, actor, project.id)
        membership_queries.end_all(tx, project.id, actor.id)
    scope_queries.move(tx, project.id, target.scope.id)
    event_queries.record(
        tx,
        actor,
        events.ProjectMoved(
            scope=project.id,
            name=project.name,
            organisation=target.scope.name,
            former_organisation=project.organisation_name,
            keeps_members=keeps_members,
        ),
    )
    return _remove_unadmitted(tx, actor, project.id) if keeps_members else []


def _remove_unadmitted(tx: WriteTransaction, actor: Actor, project: int) -> list[MemberFacts]:
    """End the roles in a project that its organisation would not give now; return them.

    These are the roles of people whom it does not admit, and roles that it does not use: concealed
    ones, and those that exist only in another organisation.
    """
    members = membership_queries.members(tx, project)
    admitted = {one.id for one in admission.select_admitted(tx, members, project)}
    ended = membership_queries.end_many(
        tx, [one.id for one in members if one.id not in admitted], actor.id
    )
    lost = [one for one in members if one.id in ended]
    notice_actions.removed_all(tx, actor, ended)
    event_queries.record_all(
        tx,
        actor,
        (
            events.RoleRevoked(
                scope=project,
                account=one.account_id,
                role=one.role_name,
                scope_name=one.scope_name,
                username=one.username,
                until=tx.now,
            )
            for one in lost
        ),
    )
    return lost
