"""Actions on join requests: submit, approve, reject and cancel."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.lifecycles import By
from collegium.access.queries import ScopeRow
from collegium.access.rules import (
    BRAINSTEM_KINDS,
    KINDS,
    Actor,
    Kinds,
    ScopeKind,
    may_grant,
    require_staff,
)
from collegium.accounts import queries as account_queries
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links import rules as invite_link_rules
from collegium.invite_links.queries import InviteLinkRow, offer_of
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests import rules as join_request_rules
from collegium.join_requests.queries import JoinRequestRow
from collegium.join_requests.rules import Action, State
from collegium.join_requests.transitions import move
from collegium.memberships import offers
from collegium.memberships import queries as membership_queries
from collegium.memberships.admission import check_may_have
from collegium.memberships.rules import GrantSource
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, Forbidden, NotFound, check_quota
from collegium.roles import queries as role_queries
from collegium.scopes.actions import (
    ScopeRef,
    close_invitations,
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


class ProjectDetails(NamedTuple):
    """What a requester wants the project to be that is created for them; empty for no wish."""

    name: str = ""
    description: str = ""


def submit(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    uuid: str,
    message: str = "",
    project: ProjectDetails = ProjectDetails(),  # noqa: B008 - it cannot change
) -> SubmitResult:
    """Request what an invite link offers, and notify those who may decide.

    With auto-approval the request is approved at once, unless the sponsor may no longer grant what
    the link offers, or the actor may read the link but not grant what it offers.

    Args:
        uuid: of the invite link, 32 hex digits.
        message: from the requester to those who decide.
        project: ignored unless the link allows it.

    Raises:
        NotFound: ``invite_link.unknown``.
        Conflict: ``invite_link.inactive``; ``invite_link.not_for_you`` if the link's
            restrictions do not admit the actor; ``invite_link.claims`` if no provider states
            what the link asks for; ``scope.not_admitted``;
            ``request.exists``; ``grant.held``;
            ``grant.elsewhere`` under the one-role rule; ``organisation.unavailable``;
            ``role.inactive``; ``account.inactive``; ``request.too_many``.
    """
    link = invite_link_queries.by_uuid_locked(tx, uuid)
    state = invite_link_rules.effective_state(link.canceled_at, link.expires_at, tx.now)
    if state not in invite_link_rules.Action.USE.states:
        raise Conflict("invite_link.inactive")
    offers.check_available(link, offer_of(link))
    target = _Target(
        link.scope_id,
        link.scope_kind,
        link.role_id,
        link.id,
        link.project_role_id or link.role_id if link.auto_create_project else None,
    )
    if not link.allow_multiple_requests:
        _check_may_request(tx, actor, target)
    if settings.invitation_disable_multiple_roles and membership_queries.has_any_grant(
        tx, actor.id
    ):
        raise Conflict("grant.elsewhere")
    _check_requirements(tx, actor, link)
    if link.scope_kind != ScopeKind.GROUP:
        check_may_have(tx, actor.id, link.role_id, link.scope_id)
    is_automatic = is_approved_automatically(tx, actor, link)
    if not is_automatic:
        _check_pending_quota(tx, actor, settings)
    exclusive_key = None if link.allow_multiple_requests else link.id
    if not link.allow_custom_project_details or not link.auto_create_project:
        project = ProjectDetails()
    request = _add(tx, actor, target, exclusive_key, message, project)
    if not is_automatic:
        _notify_deciders(tx, request)
        return SubmitResult(request, is_approved=False)
    _add_member(tx, None, settings, request, None)
    return SubmitResult(_reload(tx, request.id), is_approved=True)


def _check_requirements(
    tx: ReadTransaction,
    actor: Actor,
    link: InviteLinkRow,
) -> None:
    """Require that an invite link admits the actor.

    Raises:
        Conflict: ``invite_link.not_for_you``, ``invite_link.claims``.
    """
    account = account_queries.own(tx, actor)
    if not invite_link_rules.matches_restrictions(
        link.affiliations,
        link.email_patterns,
        link.identity_sources,
        of_account=account.affiliations,
        email=actor.email,
        source=account.identity_source,
    ):
        raise Conflict("invite_link.not_for_you")
    if link.claims:
        known = claim_rule_queries.stored_claims(tx, actor.id)
        if not claim_rule_rules.meets_claims(link.claims, known.values()):
            raise Conflict("invite_link.claims")


def submit_without_link(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope: ScopeRow,
    role_name: str,
    message: str = "",
) -> tuple[JoinRequestRow, bool]:
    """Request a role in a group, and notify those who may decide.

    If a request of the actor is pending already, that one is returned.

    Args:
        scope: row of the group as ``access.queries.get_visible`` loads it, locked.
        role_name: name of the role.
        message: from the requester to those who decide.

    Returns:
        The request, and whether it is a new one.

    Raises:
        Conflict: ``request.exists``, ``grant.held``, ``account.inactive``, ``request.too_many``.
    """
    if membership_queries.grant_in_scope(tx, actor.id, scope.id) is None:
        for pending in join_request_queries.list_pending(tx, actor.id, scope.id):
            return pending, False
        # Requests to other groups count too, and their transactions hold the locks of other scopes.
        _check_pending_quota(tx, actor, settings)
    role: Any = role_queries.by_name_or_uuid(tx, role_name, None, BRAINSTEM_KINDS)
    target = _Target(scope.id, scope.kind, role.id)
    _check_may_request(tx, actor, target)
    request = _add(tx, actor, target, 0, message)
    _notify_deciders(tx, request)
    return request, True


class _Target(NamedTuple):
    """What is requested.

    Args:
        invite_link_id: id of the invite link; None for a request without one.
        project_role_id: id of the role in the project that is created for the requester; None if
            there is none.
    """

    scope_id: int
    scope_kind: str
    role_id: int
    invite_link_id: int | None = None
    project_role_id: int | None = None


def approve(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    uuid: str,
    comment: str | None,
    kinds: Kinds = KINDS,
) -> JoinRequestRow:
    """Approve a join request; return it as it was before.

    It does not matter whether the invite link has ended since: the request was made in time. A
    request to a group that was approved already is returned unchanged.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``; ``request.own`` for the actor's
            own request, unless the actor is staff or their permission is inherited.
        Conflict: ``request.wrong_state`` unless it is pending; ``organisation.unavailable``;
            ``role.inactive``; ``account.inactive``; ``grant.elsewhere`` under the one-role rule;
            ``grant.held`` in a group.
    """
    request, is_repeated = _lock_and_authorise(tx, actor, uuid, Action.APPROVE, kinds)
    if not is_repeated:
        offers.check_available(request, offer_of(request))
        _add_member(tx, actor, settings, request, comment)
    return request


def reject(
    tx: WriteTransaction, actor: Actor, uuid: str, comment: str | None, kinds: Kinds = KINDS
) -> JoinRequestRow:
    """Reject a join request, and notify the requester; return it as it was before.

    A request to a group that was rejected already is returned unchanged.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``; ``request.own`` as ``approve``.
        Conflict: ``request.wrong_state`` unless it is pending.
    """
    request, is_repeated = _lock_and_authorise(tx, actor, uuid, Action.REJECT, kinds)
    if not is_repeated:
        move(tx, actor, request, Action.REJECT, actor.id, comment)
        if notifications_enabled(request):
            outbox_queries.enqueue(tx, mails.JoinRequestRejected(request.email, request.id))
    return request


def cancel(tx: WriteTransaction, actor: Actor, uuid: str, kinds: Kinds = KINDS) -> JoinRequestRow:
    """Withdraw a join request; return it as it was before.

    A request to a group that was withdrawn already is returned unchanged.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``request.not_own`` unless it is the actor's own; outside groups staff may, too.
        Conflict: ``request.wrong_state``.
    """
    request, is_repeated = _lock_and_authorise(tx, actor, uuid, Action.CANCEL, kinds)
    if not is_repeated:
        move(tx, actor, request, Action.CANCEL, actor.id)
    return request


def delete(tx: WriteTransaction, actor: Actor, uuid: str, kinds: Kinds = KINDS) -> None:
    """Delete a join request in any state; what was granted stays.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``: the actor is not staff.
    """
    request = join_request_queries.get_visible(tx, actor, uuid, kinds)
    require_staff(actor)
    access_queries.lock_scope(tx, request.scope_id)
    # Somebody else may have deleted or decided it while this waited.
    request = join_request_queries.get_visible(tx, actor, uuid)
    join_request_queries.delete_row(tx, request.id)
    event_queries.record(tx, actor, events.JoinRequestDeleted.of(request))


def check_may_decide(
    tx: WriteTransaction, actor: Actor, uuid: str, action: Action, kinds: Kinds = KINDS
) -> None:
    """Require that the actor may decide a request in this way now.

    Raises:
        NotFound, Forbidden, Conflict: as ``approve`` and ``reject`` before they check what would be
        granted.
    """
    _lock_and_authorise(tx, actor, uuid, action, kinds)


def _check_may_request(tx: WriteTransaction, actor: Actor, target: _Target) -> None:
    earlier = join_request_queries.earlier(tx, actor.id, target.scope_id, target.invite_link_id)
    approved = [row for row in earlier if row.state == State.APPROVED]
    if KINDS[target.scope_kind].one_role and membership_queries.grant_in_scope(
        tx, actor.id, target.scope_id
    ):
        raise Conflict("grant.held")
    if target.project_role_id is not None:
        # The role is granted in the project that was created, so that is where it may still be
        # held.
        has_role = any(
            row.project_id is not None
            and membership_queries.active_grant(
                tx, actor.id, target.project_role_id, row.project_id
            )
            is not None
            for row in approved[-1:]
        )
    else:
        current = membership_queries.active_grant(tx, actor.id, target.role_id, target.scope_id)
        has_role = current is not None and (current.valid_until is None or bool(approved))
    join_request_rules.check_may_request(
        is_pending=any(row.state == State.PENDING for row in earlier),
        was_approved=bool(approved),
        has_role=has_role,
    )


def _check_pending_quota(tx: WriteTransaction, actor: Actor, settings: Settings) -> None:
    access_queries.lock_account(tx, actor.id)
    count = join_request_queries.count_pending(tx, actor.id)
    check_quota(count, settings.max_join_requests, "request.too_many")


def _add(
    tx: WriteTransaction,
    actor: Actor,
    target: _Target,
    exclusive_key: int | None,
    message: str,
    project: ProjectDetails = ProjectDetails(),  # noqa: B008 - it cannot change
) -> JoinRequestRow:
    request_id = join_request_queries.add(
        tx,
        {
            "uuid": uuid4().hex,
            "invite_link_id": target.invite_link_id,
            "scope_id": target.scope_id,
            "role_id": target.role_id,
            "account_id": actor.id,
            "state": Action.SUBMIT.after(State.DRAFT).value,
            "message": message,
            "custom_project_name": project.name,
            "custom_project_description": project.description,
            "created_at": tx.now,
            "exclusive_key": exclusive_key,
        },
    )
    request = _reload(tx, request_id)
    event_queries.record(tx, actor, Action.SUBMIT.event.of(request))
    return request


def _lock_and_authorise(
    tx: WriteTransaction, actor: Actor, uuid: str, action: Action, kinds: Kinds
) -> tuple[JoinRequestRow, bool]:
    """Return a request, with its scope locked, on which the actor may take an action now.

    Where decisions are repeatable, the permission is checked before the state.

    Returns:
        The request, and whether the action was taken already and may be repeated.
    """
    request = join_request_queries.get_visible(tx, actor, uuid, kinds)
    kind = KINDS[request.scope_kind]
    by = action.by
    is_own = request.account_id == actor.id
    if by is By.PERSON and not is_own and not (actor.is_staff and kind.staff_may_withdraw):
        raise Forbidden("request.not_own")
    parent = join_request_queries.parent_id(request) if by is By.GRANTER else None
    access_queries.lock_scope_and_parent(tx, request.scope_id, parent)
    request = _reload(tx, request.id)
    is_repeated = kind.repeatable and action.is_repeated(State(request.state))
    if not kind.repeatable:
        action.after(State(request.state))
    if by is By.GRANTER:
        _check_may_grant(tx, actor, request)
    if not is_repeated:
        action.after(State(request.state))
    return request, is_repeated


def _check_may_grant(tx: WriteTransaction, actor: Actor, request: JoinRequestRow) -> None:
    access = access_queries.permissions_in_scope(tx, actor, request.scope_id)
    if access is None:
        raise NotFound("request.unknown")
    offers.check_may_grant(tx, actor, access, offer_of(request))
    is_inherited = KINDS[request.scope_kind].grant in access.parent_permissions
    if request.account_id == actor.id and not actor.is_staff and not is_inherited:
        raise Forbidden("request.own")


def is_approved_automatically(tx: ReadTransaction, actor: Actor, link: InviteLinkRow) -> bool:
    """Return whether a request with this link needs no decision.

    The sponsor must be able to grant what the link offers now. An actor who may read the link but
    not grant what it offers always needs a decision.

    Args:
        actor: the requester, whom the link admits.
    """
    return bool(
        link.auto_approve
        and offers.ids_with_able_sponsor(tx, [link], offer_of)
        and not offers.can_read_but_not_grant(tx, actor, link, offer_of(link))
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
        _check_no_other_role(tx, request)
    is_granted = False
    one_role = KINDS[request.scope_kind].one_role
    if one_role and membership_queries.grant_in_scope(tx, request.account_id, request.scope_id):
        raise Conflict("grant.held")
    if request.role_kind == request.scope_kind:
        scope = ScopeRef(request.scope_id, request.scope_kind)
        is_granted = _grant(tx, actor, request, request.role_id, scope)
    project = None
    if request.auto_create_project:
        project = _create_project(tx, actor, settings, request)
        role = request.project_role_id or request.role_id
        is_granted = _grant(tx, actor, request, role, ScopeRef(project, ScopeKind.PROJECT))
    by = actor.id if actor else None
    move(tx, actor, request, Action.APPROVE, by, comment, project=project)
    if one_role:
        close_invitations(tx, actor, request.account_id, scope=request.scope_id)
    if is_granted and notifications_enabled(request):
        outbox_queries.enqueue(tx, mails.JoinRequestApproved(request.email, request.id))


def _check_no_other_role(tx: WriteTransaction, request: JoinRequestRow) -> None:
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
        grant(
            tx,
            actor,
            account,
            role,
            scope,
            by=granted_by,
            source=GrantSource.JOIN_REQUEST,
            excluded_request=request.id,
        )
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
    name = request.custom_project_name or invite_link_rules.project_name(
        request.template or "",
        username=request.username,
        email=request.email,
        full_name=account_queries.full_name(request),
    )
    details = {"name": name, "description": request.custom_project_description}
    return project_actions.add(tx, actor, request.organisation_id, details, settings=settings)[0]


def _notify_deciders(tx: WriteTransaction, request: JoinRequestRow) -> None:
    """Notify those who may decide, or staff if there is nobody else."""
    needed = offers.permissions_to_grant(tx, offer_of(request))
    deciders = [
        (account_id, email)
        for account_id, email, permissions in join_request_queries.managers(tx, request)
        if account_id != request.account_id
        and may_grant(request.scope_kind, permissions, needed, is_staff=False)
    ] or [(row.id, row.email) for row in join_request_queries.staff(tx)]
    for account_id, email in deciders:
        outbox_queries.enqueue(tx, mails.JoinRequestSubmitted(email, request.id, account_id))


def _reload(tx: WriteTransaction, request_id: int) -> JoinRequestRow:
    return join_request_queries.existing(tx, request_id)
