"""Actions on join requests: submit, approve, reject and cancel."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeRow
from collegium.access.rules import MEMBERSHIP_PERMISSIONS, Actor, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations.rules import can_read_but_not_grant
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links import rules as invite_link_rules
from collegium.invite_links.queries import InviteLinkRow, OfferedRole
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests import rules as join_request_rules
from collegium.join_requests.queries import JoinRequestRow
from collegium.join_requests.rules import Action, State
from collegium.memberships import queries as membership_queries
from collegium.memberships.actions import check_may_grant
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.roles.queries import RoleRow
from collegium.scopes.actions import (
    ScopeRef,
    check_open,
    close_pending_after_join,
    finish_join,
    grant,
    notifications_enabled,
)
from collegium.scopes.projects import actions as project_actions
from collegium.settings import Settings


class SubmitResult(NamedTuple):
    """The result of ``submit``: the request as it is now, and whether it was auto-approved."""

    request: JoinRequestRow
    is_approved: bool


def submit(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, message: str = ""
) -> SubmitResult:
    """Request what an invite link offers, and notify those who may decide.

    With auto-approval the request is approved at once, unless the sponsor may no longer grant what
    the link offers, or the actor may read the link but not grant what it offers.

    Args:
        uuid: of the invite link, 32 hex digits.
        message: from the requester to those who decide.

    Raises:
        NotFound: ``invite_link.unknown``.
        Conflict: ``invite_link.inactive``; ``invite_link.not_for_you`` if the link's
            restrictions do not admit the actor; ``request.exists``; ``grant.held``;
            ``grant.elsewhere`` under the one-role rule; ``organisation.unavailable``;
            ``role.inactive``; ``account.inactive``; ``request.too_many``.
    """
    link = invite_link_queries.by_uuid_locked(tx, uuid)
    invite_link_rules.check_active(
        link.canceled_at, link.expires_at, tx.now, "invite_link.inactive"
    )
    _check_role_available(link)
    if not link.allow_multiple_requests:
        _check_may_request(tx, actor, link, link.id)
    if settings.invitation_disable_multiple_roles and membership_queries.has_any_grant(
        tx, actor.id
    ):
        raise Conflict("grant.elsewhere")
    affiliations = account_queries.own(tx, actor).affiliations
    if not invite_link_rules.matches_restrictions(
        link.affiliations, link.email_patterns, of_account=affiliations, email=actor.email
    ):
        raise Conflict("invite_link.not_for_you")
    exclusive_key = None if link.allow_multiple_requests else link.id
    request = _create(tx, actor, link, link.id, exclusive_key, message)
    if is_approved_automatically(tx, actor, link):
        _add_member(tx, None, settings, request, None)
        return SubmitResult(_reload(tx, request.id), is_approved=True)
    # Counted only here, because an automatically approved request is not pending. The new request
    # is already among the counted ones, hence the ``- 1``.
    access_queries.lock_account(tx, actor.id)
    join_request_rules.check_pending_quota(
        join_request_queries.count_pending(tx, actor.id) - 1, settings.max_join_requests
    )
    _notify_deciders(tx, request)
    return SubmitResult(request, is_approved=False)


def request_group_membership(
    tx: WriteTransaction, actor: Actor, scope: ScopeRow, role: RoleRow, message: str = ""
) -> JoinRequestRow:
    """Request a role in a group without an invite link, and notify those who may decide.

    Args:
        scope: row of the group as ``access.queries.get_visible`` loads it, locked.
        role: row of ``roles``.
        message: from the requester to those who decide.

    Raises:
        Conflict: ``request.exists``, ``grant.held``, ``account.inactive``.
    """
    offer: Any = _RoleOffer(scope.id, scope.kind, role.id, False, None)
    _check_may_request(tx, actor, offer, None)
    request = _create(tx, actor, offer, None, 0, message)
    _notify_deciders(tx, request)
    return request


class _RoleOffer(NamedTuple):
    scope_id: int
    scope_kind: str
    role_id: int
    auto_create_project: bool
    project_role_id: int | None


def approve(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    uuid: str,
    comment: str | None,
    *,
    groups: bool = False,
) -> JoinRequestRow:
    """Approve a join request; return it as it is afterwards.

    It does not matter whether the invite link has ended since: the request was made in time.

    Args:
        uuid: of the request, 32 hex digits.
        groups: the request is to a group. Approving it again then returns it unchanged.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``; ``request.own`` for the actor's
            own request, unless the actor is staff or their permission is inherited.
        Conflict: ``request.wrong_state`` unless it is pending; ``organisation.unavailable``;
            ``role.inactive``; ``account.inactive``; ``grant.elsewhere`` under the one-role rule;
            ``grant.held`` in a group.
    """
    request = _lock_for_decision(tx, actor, uuid, Action.APPROVE, groups=groups)
    if request.state != State.PENDING:
        return request
    _check_role_available(request)
    _add_member(tx, actor, settings, request, comment)
    return _reload(tx, request.id)


def reject(
    tx: WriteTransaction, actor: Actor, uuid: str, comment: str | None, *, groups: bool = False
) -> JoinRequestRow:
    """Reject a join request, and notify the requester; return it as it is afterwards.

    Args:
        uuid: of the request, 32 hex digits.
        groups: the request is to a group. Rejecting it again then returns it unchanged.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``; ``request.own`` as ``approve``.
        Conflict: ``request.wrong_state`` unless it is pending.
    """
    request = _lock_for_decision(tx, actor, uuid, Action.REJECT, groups=groups)
    if request.state != State.PENDING:
        return request
    join_request_queries.set_state(tx, request, State.REJECTED, actor.id, comment)
    event_queries.record(tx, actor, events.JoinRequestRejected.of(request))
    if notifications_enabled(request):
        outbox_queries.enqueue(tx, mails.JoinRequestRejected(request.email, request.id))
    return _reload(tx, request.id)


def cancel(
    tx: WriteTransaction, actor: Actor, uuid: str, *, groups: bool = False
) -> JoinRequestRow:
    """Withdraw a join request; return it as it is afterwards.

    Args:
        uuid: of the request, 32 hex digits.
        groups: the request is to a group. Withdrawing it again then returns it unchanged.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``request.not_own`` unless it is the actor's own; outside groups staff may, too.
        Conflict: ``request.wrong_state``.
    """
    request = join_request_queries.get_visible(tx, actor, uuid, groups=groups)
    if request.account_id != actor.id and (groups or not actor.is_staff):
        raise Forbidden("request.not_own")
    access_queries.lock_scope(tx, request.scope_id)
    request = _reload(tx, request.id)
    if groups and join_request_rules.is_repeated(request.state, Action.CANCEL):
        return request
    join_request_queries.set_state(
        tx, request, join_request_rules.transition(request.state, Action.CANCEL), actor.id
    )
    event_queries.record(tx, actor, events.JoinRequestCanceled.of(request))
    return _reload(tx, request.id)


def check_may_decide(tx: WriteTransaction, actor: Actor, uuid: str, action: Action) -> None:
    """Require that the actor may decide a request in this way now.

    Raises:
        NotFound, Forbidden, Conflict: as ``approve`` and ``reject`` before they check what would be
        granted.
    """
    _lock_for_decision(tx, actor, uuid, action, groups=False)


def _check_role_available(row: OfferedRole) -> None:
    """Refuse a role that nobody could grant today.

    Raises:
        NotFound: ``request.unknown`` if the scope was deleted.
        Conflict: ``role.inactive``, ``organisation.unavailable``.
    """
    if row.scope_deleted_at is not None:
        raise NotFound("request.unknown")
    if not row.role_is_active or row.project_role_is_active is False:
        raise Conflict("role.inactive")
    check_open(row)


def _check_may_request(
    tx: WriteTransaction, actor: Actor, offer: Any, invite_link: int | None
) -> None:
    earlier = join_request_queries.earlier(tx, actor.id, offer.scope_id, invite_link)
    approved = [row for row in earlier if row.state == State.APPROVED]
    if offer.scope_kind == ScopeKind.GROUP and membership_queries.grant_in_scope(
        tx, actor.id, offer.scope_id
    ):
        raise Conflict("grant.held")
    if offer.auto_create_project:
        # The role is granted in the project that was created, so that is where it may still be
        # held.
        role = offer.project_role_id or offer.role_id
        has_role = any(
            row.project_id is not None
            and membership_queries.active_grant(tx, actor.id, role, row.project_id) is not None
            for row in approved[-1:]
        )
    else:
        current = membership_queries.active_grant(tx, actor.id, offer.role_id, offer.scope_id)
        has_role = current is not None and (current.valid_until is None or bool(approved))
    join_request_rules.check_may_request(
        is_pending=any(row.state == State.PENDING for row in earlier),
        was_approved=bool(approved),
        has_role=has_role,
    )


def _create(
    tx: WriteTransaction,
    actor: Actor,
    offer: Any,
    invite_link: int | None,
    exclusive_key: int | None,
    message: str,
) -> JoinRequestRow:
    request_id = join_request_queries.add(
        tx,
        {
            "uuid": uuid4().hex,
            "invite_link_id": invite_link,
            "scope_id": offer.scope_id,
            "role_id": offer.role_id,
            "account_id": actor.id,
            "state": join_request_rules.transition(State.DRAFT, Action.SUBMIT).value,
            "message": message,
            "created_at": tx.now,
            "exclusive_key": exclusive_key,
        },
    )
    request = _reload(tx, request_id)
    event_queries.record(tx, actor, events.JoinRequestSubmitted.of(request))
    return request


def _lock_for_decision(
    tx: WriteTransaction, actor: Actor, uuid: str, action: Action, *, groups: bool
) -> JoinRequestRow:
    """Return a request that the actor may decide, with its scope locked.

    Its state allows the action.

    In groups the permission is checked before the state, and repeating the same decision is
    allowed: the request is returned as it is.
    """
    request = join_request_queries.get_visible(tx, actor, uuid, groups=groups)
    access_queries.lock_scope_and_parent(tx, request.scope_id, _parent(request))
    request = _reload(tx, request.id)
    if not groups:
        join_request_rules.transition(request.state, action)
    access = access_queries.permissions_in_scope(tx, actor, request.scope_id)
    if access is None:
        raise NotFound("request.unknown")
    role_ids = invite_link_queries.granted_roles(request)
    check_may_grant(tx, actor, access, role_ids, creates_projects=bool(request.auto_create_project))
    is_inherited = (
        MEMBERSHIP_PERMISSIONS[ScopeKind(request.scope_kind)].grant in access.parent_permissions
    )
    if request.account_id == actor.id and not actor.is_staff and not is_inherited:
        raise Forbidden("request.own")
    if groups and not join_request_rules.is_repeated(request.state, action):
        join_request_rules.transition(request.state, action)
    return request


def is_approved_automatically(tx: ReadTransaction, actor: Actor, link: InviteLinkRow) -> bool:
    """Return whether a request with this link needs no decision.

    The sponsor must be able to grant what the link offers now. An actor who may read the link but
    not grant what it offers always needs a decision.

    Args:
        actor: the requester, whom the link admits.
    """
    if not link.auto_approve or not invite_link_queries.with_sponsor(tx, [link]):
        return False
    # ``ignore_subnets``: an actor who may read the link needs a decision. Calling from a network
    # outside the access subnets, where the actor may read nothing, must not avoid that rule.
    access = access_queries.permissions_in_scope(tx, actor, link.scope_id, ignore_subnets=True)
    return not can_read_but_not_grant(
        actor,
        access.permissions if access else (),
        MEMBERSHIP_PERMISSIONS[ScopeKind(link.scope_kind)].grant,
        invite_link_queries.permissions_to_grant(tx, link),
    )


def _add_member(
    tx: WriteTransaction,
    actor: Actor | None,
    settings: Settings,
    request: JoinRequestRow,
    comment: str | None,
) -> None:
    """Grant what a request asks for.

    Args:
        actor: who approves; None for auto-approval.
    """
    if not request.account_is_active:
        raise Conflict("account.inactive")
    if settings.invitation_disable_multiple_roles:
        _check_one_role(tx, request)
    is_granted = False
    if request.scope_kind == ScopeKind.GROUP and membership_queries.grant_in_scope(
        tx, request.account_id, request.scope_id
    ):
        raise Conflict("grant.held")
    if request.role_kind == request.scope_kind:
        scope = ScopeRef(request.scope_id, request.scope_kind)
        is_granted = _grant(tx, actor, request, request.role_id, scope)
    project = None
    if request.auto_create_project:
        project = _create_project(tx, actor, settings, request)
        role = request.project_role_id or request.role_id
        is_granted = _grant(tx, actor, request, role, ScopeRef(project, ScopeKind.PROJECT))
    join_request_queries.set_state(
        tx,
        request,
        State.APPROVED,
        actor.id if actor else None,
        comment,
        is_automatic=actor is None,
        project=project,
    )
    event_queries.record(tx, actor, events.JoinRequestApproved.of(request))
    if request.scope_kind == ScopeKind.GROUP:
        close_pending_after_join(tx, actor, request.account_id, request.scope_id)
    if is_granted and notifications_enabled(request):
        outbox_queries.enqueue(tx, mails.JoinRequestApproved(request.email, request.id))


def _check_one_role(tx: WriteTransaction, request: JoinRequestRow) -> None:
    """Apply the one-role rule; a grant of the requested role itself does not break it."""
    access_queries.lock_account(tx, request.account_id)
    requested = membership_queries.active_grant(
        tx, request.account_id, request.role_id, request.scope_id
    )
    if (requested is None or request.auto_create_project) and membership_queries.has_any_grant(
        tx, request.account_id
    ):
        raise Conflict("grant.elsewhere")


def _grant(
    tx: WriteTransaction, actor: Actor | None, request: JoinRequestRow, role: int, scope: ScopeRef
) -> bool:
    """Write an open-ended grant unless it exists already; return whether anything was written."""
    account, granted_by = request.account_id, actor.id if actor else None
    current = membership_queries.active_grant(tx, account, role, scope.id)
    if current is not None and current.valid_until is None:
        return False
    if current is not None:
        membership_queries.set_end(tx, current.id, None)
        finish_join(tx, actor, account, role, scope, by=granted_by, excluded_request=request.id)
    else:
        grant(tx, actor, account, role, scope, by=granted_by, excluded_request=request.id)
    event = events.RoleGranted if current is None else events.RoleUpdated
    event_queries.record(
        tx,
        actor,
        event(
            scope=scope.id,
            account=account,
            role=request.role_name,
            scope_name=request.scope_name,
            username=request.username,
            request_uuid=request.uuid,
        ),
    )
    return True


def _create_project(
    tx: WriteTransaction, actor: Actor | None, settings: Settings, request: JoinRequestRow
) -> int:
    """Create a project for the requester: always a new one, never an existing one of that name."""
    name = invite_link_rules.project_name(
        request.template or "",
        username=request.username,
        email=request.email,
        full_name=account_queries.full_name(request),
    )
    organisation_id = request.organisation_id
    return project_actions.add(tx, actor, organisation_id, {"name": name}, settings=settings)[0]


def _notify_deciders(tx: WriteTransaction, request: JoinRequestRow) -> None:
    """Notify those who may decide, or staff if there is nobody else."""
    needed = invite_link_queries.permissions_to_grant(tx, request)
    deciders = [
        (account_id, email)
        for account_id, email, permissions in join_request_queries.managers(
            tx, request.scope_id, _parent(request), request.scope_kind
        )
        if needed <= permissions and account_id != request.account_id
    ] or [(row.id, row.email) for row in join_request_queries.staff(tx)]
    for account_id, email in deciders:
        outbox_queries.enqueue(tx, mails.JoinRequestSubmitted(email, request.id, account_id))


def _parent(request: JoinRequestRow) -> int | None:
    return None if request.organisation_id == request.scope_id else request.organisation_id


def _reload(tx: WriteTransaction, request_id: int) -> JoinRequestRow:
    return join_request_queries.existing(tx, request_id)
