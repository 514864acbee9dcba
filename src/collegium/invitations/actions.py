"""Actions on invitations: create, send, accept, decline, cancel, remind and delete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import (
    MEMBERSHIP_PERMISSIONS,
    Actor,
    ScopeKind,
)
from collegium.accounts.actions import require_staff
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import queries as invitation_queries
from collegium.invitations import rules as invitation_rules
from collegium.invitations.mail_budgets import actions as mail_budget_actions
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import Action, State
from collegium.memberships import queries as membership_queries
from collegium.memberships.actions import check_may_grant
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow
from collegium.scopes.actions import (
    ScopeRef,
    check_open,
    close_pending_after_join,
    finish_join,
    grant,
    notify_staff,
)
from collegium.settings import Settings
from collegium.text.email_addresses import same_mailbox


def create(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    role: RoleRow,
    details: Mapping[str, Any],
) -> str:
    """Invite an e-mail address to a role in a scope that the actor can see; return the UUID.

    Args:
        scope_access: the scope and the actor's permissions there.
        details: ``email`` and other known details of the person; for a group also ``account_id``.

    Returns:
        The invitation's UUID, 32 hex digits.

    Raises:
        Invalid: ``role.other_kind``: the role belongs to another kind of scope.
        NotFound: ``scope.unknown``, ``<kind>.unknown`` if the scope was deleted or hidden from the
            actor in the meantime.
        Forbidden: ``permission.missing`` without the permission to invite; ``role.above_ceiling``
            for a role with more permissions than the actor may grant.
        Conflict: ``role.inactive``; ``organisation.unavailable`` while the organisation is blocked
            or archived.
        Limited: ``mail_budget.spent``.
    """
    if role.kind != scope_access.scope.kind:
        raise Invalid("role.other_kind")
    if role.kind != ScopeKind.GROUP:  # a group is locked already
        scope_access = access_queries.lock_scope_shared_and_recheck(tx, actor, scope_access)
    scope = scope_access.scope
    check_may_grant(tx, actor, scope_access, [role.id])
    if not role.is_active:
        raise Conflict("role.inactive")
    check_open(scope)
    uuid = uuid4().hex
    state = initial_state(tx, actor, settings, scope.start_date, approved=False)
    invitation_id = invitation_queries.add(
        tx,
        {
            **details,
            "uuid": uuid,
            "scope_id": scope.id,
            "role_id": role.id,
            "state": state.value,
            "created_at": tx.now,
            "expires_at": new_expiry(tx.now, settings),
            "created_by": actor.id,
            "sponsor_id": actor.id,
            "mail_id": None,
        },
    )
    event_queries.record(
        tx, actor, events.InvitationCreated(scope=scope.id, invitation=uuid, email=details["email"])
    )
    if state is State.PENDING:
        enqueue_mail(tx, settings, invitation_queries.existing(tx, invitation_id), state, actor)
    if state is State.REQUESTED:
        notify_staff(tx, invitation_id)
    return uuid


def accept(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    uuid: str,
    *,
    no_groups: bool = False,
    link_version: int | None = None,
) -> None:
    """Accept an invitation: write the grant that it offers.

    Args:
        uuid: of the invitation, 32 hex digits.
        no_groups: only accept an invitation to an organisation or a project, not to a group.
        link_version: of the link that was followed; None if the caller shows the UUID alone.

    Raises:
        NotFound: ``invitation.unknown``: no such invitation is open to the actor. It does not
            exist; is no longer pending; belongs to another civil number, account or address; its
            role is inactive; its organisation is blocked or archived; its sponsor may no longer
            grant the role; its link was replaced; or it was renewed and the actor shows only the
            UUID and has another address.
        Conflict: ``invitation.other_address`` under the strict address check; ``grant.elsewhere``
            under the one-role rule (``invitation_disable_multiple_roles``); ``grant.exists``.
    """
    row = _exclude_group(invitation_queries.by_uuid_locked(tx, uuid), no_groups=no_groups)
    invitation = _require_open_to(tx, actor, settings, row, link_version)
    if not has_sponsor(tx, invitation):
        raise NotFound("invitation.unknown")
    accept_with_account(tx, actor, settings, invitation)


def accept_with_account(
    tx: WriteTransaction, actor: Actor, settings: Settings, invitation: InvitationRow
) -> None:
    """Accept a pending invitation for the actor, without checking the invitation itself.

    The caller has locked the scope and checked the invitation and its sponsor.

    Raises:
        Conflict: as ``accept``.
    """
    uuid = invitation.uuid
    scope = ScopeRef(invitation.scope_id, invitation.scope_kind)
    in_group = invitation.scope_kind == ScopeKind.GROUP
    if in_group and membership_queries.grant_in_scope(tx, actor.id, invitation.scope_id):
        raise Conflict("grant.exists")
    current = membership_queries.active_grant(tx, actor.id, invitation.role_id, invitation.scope_id)
    if current is not None and current.valid_until is None:
        raise Conflict("grant.exists")
    _check_address(actor, settings, invitation)
    if settings.invitation_disable_multiple_roles:
        access_queries.lock_account(tx, actor.id)
        if membership_queries.has_any_grant(tx, actor.id):
            raise Conflict("grant.elsewhere")
    if current is not None:
        # A grant with an end becomes open-ended, because the invitation offers a role without an
        # end.
        membership_queries.set_end(tx, current.id, None)
        finish_join(tx, actor, actor.id, invitation.role_id, scope, by=invitation.created_by)
    else:
        grant(tx, actor, actor.id, invitation.role_id, scope, by=invitation.created_by)
    if same_mailbox(invitation.email, actor.email):
        # Accepting from the invited address shows that its owner wants these e-mails. Accepting
        # from another address shows nothing about it.
        mail_budget_actions.restore(tx, invitation.email)
    acceptance = {"accepted_at": tx.now, "accepted_by": actor.id}
    invitation_queries.set_state(
        tx, invitation, invitation_rules.transition(State.PENDING, Action.ACCEPT), **acceptance
    )
    event_queries.record(
        tx,
        actor,
        events.InvitationAccepted(
            scope=invitation.scope_id, invitation=uuid, role=invitation.role_name
        ),
    )
    event = events.RoleGranted if current is None else events.RoleUpdated
    event_queries.record(
        tx,
        actor,
        event(
            scope=invitation.scope_id,
            account=actor.id,
            role=invitation.role_name,
            scope_name=invitation.scope_name,
            username=actor.username,
        ),
    )
    creator = creator_to_mail(invitation)
    if creator is not None and creator[0] != actor.id:
        outbox_queries.enqueue(tx, mails.InvitationAccepted(creator[1], invitation.id))
    for other in invitation_queries.cancel_others(tx, invitation, actor.email):
        event_queries.record(
            tx,
            actor,
            events.InvitationCanceled(scope=invitation.scope_id, invitation=other, because=uuid),
        )
    if in_group:
        close_pending_after_join(tx, actor, actor.id, invitation.scope_id)


def decline(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, link_version: int
) -> None:
    """Decline an invitation for good, and notify its creator.

    Args:
        actor: may be anonymous: the mailed link has then proven the address.
        uuid: of the invitation, 32 hex digits.
        link_version: of the link that was followed.

    Raises:
        NotFound: ``invitation.unknown``: as ``accept``, but a blocked or archived organisation is
            no obstacle. A link that was replaced by a newer one is refused too.
        Conflict: ``invitation.other_address`` under the strict address check.
    """
    row = invitation_queries.by_uuid_locked(tx, uuid)
    invitation = _require_open_to(tx, actor, settings, row, link_version, allow_unavailable=True)
    if not has_sponsor(tx, invitation):
        raise NotFound("invitation.unknown")
    _check_address(actor, settings, invitation)
    decline_by_link(tx, actor, invitation)


def decline_by_link(tx: WriteTransaction, actor: Actor, invitation: InvitationRow) -> None:
    """Decline an invitation and notify its creator, without checking the actor.

    The caller has locked the scope.

    Raises:
        Conflict: ``invitation.wrong_state`` unless the invitation is pending.
    """
    invitation_queries.set_state(
        tx, invitation, invitation_rules.transition(_state_now(tx, invitation), Action.DECLINE)
    )
    event_queries.record(tx, actor, events.InvitationDeclined.of(invitation))
    creator = creator_to_mail(invitation)
    if creator is not None and creator[0] != actor.id:
        outbox_queries.enqueue(
            tx, mails.InvitationDeclined(creator[1], invitation.id, actor.id or None)
        )


def get_open(
    tx: ReadTransaction, actor: Actor, settings: Settings, uuid: str, *, no_groups: bool = False
) -> InvitationRow:
    """Return a pending invitation to a caller who knows its UUID.

    Args:
        actor: may be anonymous.
        uuid: of the invitation, 32 hex digits.
        no_groups: only return an invitation to an organisation or a project, not to a group.

    Raises:
        NotFound: ``invitation.unknown``; ``invitation.closed`` if it is not pending, or if it was
            renewed and is not addressed to the actor. With a separate front end (``homeport_url``)
            a new link contains the same UUID, so a renewed invitation is returned there too.
    """
    invitation = _exclude_group(invitation_queries.by_uuid(tx, uuid), no_groups=no_groups)
    if invitation is None or invitation.scope_deleted_at is not None:
        raise NotFound("invitation.unknown")
    if (
        invitation_rules.effective_state(invitation.state, invitation.expires_at, tx.now)
        is not State.PENDING
    ):
        raise NotFound("invitation.closed")
    if not settings.homeport_url and not invitation_rules.is_known_by(
        actor, invitation.email, invitation.link_version, None
    ):
        raise NotFound("invitation.closed")
    return invitation


def get_for_invitee(
    tx: ReadTransaction, actor: Actor, settings: Settings, uuid: str, *, no_groups: bool = False
) -> InvitationRow:
    """Return an invitation to an actor who may accept it, is in its team, or sees everything.

    Args:
        uuid: of the invitation, 32 hex digits.
        no_groups: only return an invitation to an organisation or a project, not to a group.

    Raises:
        NotFound: ``invitation.unknown``.
    """
    invitation = _exclude_group(invitation_queries.by_uuid(tx, uuid), no_groups=no_groups)
    if invitation is not None and (
        actor.sees_all or membership_queries.is_member(tx, actor, invitation.scope_id)
    ):
        return invitation
    return _require_open_to(tx, actor, settings, invitation)


def cancel(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Cancel an invitation; its links stop working.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor may not invite to this
            role.
        Conflict: ``invitation.wrong_state``.
    """
    invitation = _lock_managed(tx, actor, uuid)
    state = invitation_rules.transition(_state_now(tx, invitation), Action.CANCEL)
    invitation_queries.set_state(tx, invitation, state)
    event_queries.record(tx, actor, events.InvitationCanceled.of(invitation))


def send(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, *, in_groups: bool = False
) -> None:
    """Resend a pending invitation, or renew one that was cancelled or has expired.

    A pending invitation keeps its links and its end. A renewed one gets a new link and a new end,
    and waits for everything that a new invitation would wait for today: approval by staff, the
    start of the project.

    Args:
        uuid: of the invitation, 32 hex digits.
        in_groups: the invitation is to a group. ``group_actions.send`` has then locked the group
            and made its own checks.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor may not invite to this
            role.
        Conflict: ``invitation.wrong_state``; ``invitation.no_address`` if the address was deleted
            with its account; ``organisation.unavailable``; ``role.inactive``.
        Limited: ``mail_budget.spent``.
    """
    invitation = _lock_managed(tx, actor, uuid, in_groups=in_groups)
    state_before = _state_now(tx, invitation)
    invitation_rules.transition(state_before, Action.SEND)
    if not invitation.email:
        raise Conflict("invitation.no_address")
    check_open(invitation)
    if invitation.scope_deleted_at is not None:
        raise Conflict("organisation.unavailable")
    if not invitation.role_is_active:
        raise Conflict("role.inactive")
    changes: dict[str, Any] = {"sponsor_id": actor.id, "invitee_deactivated_at": None}
    state = State.PENDING
    if state_before is not State.PENDING:
        approved = invitation.approved_by is not None
        state = initial_state(tx, actor, settings, invitation.start_date, approved=approved)
        changes |= {
            "created_at": tx.now,
            "expires_at": new_expiry(tx.now, settings),
            "link_version": invitation.link_version + 1,
            "reminded_at": None,
            "expiry_notified_at": None,
        }
    invitation_queries.set_state(tx, invitation, state, **changes)
    event_queries.record(tx, actor, events.InvitationSent.of(invitation))
    if state is State.PENDING:
        enqueue_mail(tx, settings, invitation_queries.existing(tx, invitation.id), state, actor)
    if state is State.REQUESTED:
        notify_staff(tx, invitation.id)


def release(tx: WriteTransaction, settings: Settings, invitation_id: int) -> bool:
    """Send an invitation that was scheduled for the start of its project.

    Its lifetime begins only now.

    Args:
        invitation_id: id of the invitation.

    Returns:
        Whether it was sent; False if there was nothing to do, for example because another worker
        was first.
    """
    invitation = _lock_by_id(tx, invitation_id)
    if invitation is None or invitation.state != State.HELD:
        return False
    if invitation.start_date is not None and invitation.start_date > tx.now.date():
        return False
    if invitation.blocked or invitation.archived:
        return False
    state = invitation_rules.transition(State.HELD, Action.RELEASE)
    invitation_queries.set_state(
        tx, invitation, state, created_at=tx.now, expires_at=new_expiry(tx.now, settings)
    )
    event_queries.record(tx, None, events.InvitationReleased.of(invitation))
    enqueue_mail(tx, settings, invitation_queries.existing(tx, invitation_id), state, None)
    return True


def remind(tx: WriteTransaction, settings: Settings, invitation_id: int) -> bool:
    """Remind an invitee, once, that an invitation ends soon.

    Args:
        invitation_id: id of the invitation.

    Returns:
        Whether the reminder was due; False if there was nothing to do.
    """
    invitation = _lock_by_id(tx, invitation_id)
    if (
        invitation is None
        or invitation.reminded_at is not None
        or _state_now(tx, invitation) is not State.PENDING
        or invitation.blocked
        or invitation.archived
    ):
        return False
    invitation_queries.set_state(tx, invitation, State.PENDING, reminded_at=tx.now)
    if can_be_accepted(tx, invitation):
        send_at = mail_budget_actions.plan(tx, settings, invitation.email, invitation.expires_at)
        reminder = mails.InvitationCreated(invitation.email, invitation_id, reminder=True)
        outbox_queries.enqueue(tx, reminder, send_at)
    return True


def notify_expired(tx: WriteTransaction, invitation_id: int) -> bool:
    """Notify the creator of an invitation, once, that it has expired without an answer.

    Args:
        invitation_id: id of the invitation.

    Returns:
        Whether the notice was due; False if there was nothing to do.
    """
    invitation = _lock_by_id(tx, invitation_id)
    if (
        invitation is None
        or invitation.expiry_notified_at is not None
        or _state_now(tx, invitation) is not State.EXPIRED
    ):
        return False
    invitation_queries.set_state(tx, invitation, State.PENDING, expiry_notified_at=tx.now)
    event_queries.record(tx, None, events.InvitationExpired.of(invitation))
    if (creator := creator_to_mail(invitation)) is not None:
        outbox_queries.enqueue(tx, mails.InvitationExpired(creator[1], invitation_id))
    return True


def _lock_by_id(tx: WriteTransaction, invitation_id: int) -> InvitationRow | None:
    invitation = invitation_queries.by_id(tx, invitation_id)
    return invitation and invitation_queries.by_uuid_locked(tx, invitation.uuid)


def creator_to_mail(invitation: InvitationRow) -> tuple[int, str] | None:
    """Return id and address of the creator, who can and wants to be e-mailed about an invitation.

    Return None otherwise.
    """
    if (
        invitation.created_by is not None
        and invitation.creator_is_active
        and invitation.creator_notifications_enabled
        and invitation.creator_email
    ):
        return invitation.created_by, invitation.creator_email
    return None


def delete(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Delete an invitation in any state.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``: the actor is not staff.
        Conflict: ``organisation.unavailable``.
    """
    invitation = invitation_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    access_queries.lock_scope(tx, invitation.scope_id)
    # Somebody else may have deleted it while this waited.
    invitation = invitation_queries.get_visible(tx, actor, uuid)
    check_open(invitation)
    invitation_queries.delete_row(tx, invitation.id)
    event_queries.record(tx, actor, events.InvitationDeleted.of(invitation))


def _exclude_group(invitation: InvitationRow | None, *, no_groups: bool) -> InvitationRow | None:
    in_group = invitation is not None and invitation.scope_kind == ScopeKind.GROUP
    return None if no_groups and in_group else invitation


def _state_now(tx: ReadTransaction, invitation: InvitationRow) -> State:
    return invitation_rules.effective_state(invitation.state, invitation.expires_at, tx.now)


def initial_state(
    tx: WriteTransaction, actor: Actor, settings: Settings, start_date: Any, *, approved: bool
) -> State:
    """Return the state in which an invitation of this actor begins, or begins again, today.

    Args:
        start_date: start date of the project; None if there is none.
        approved: whether staff have already approved it.
    """
    return invitation_rules.initial_state(
        needs_approval=settings.only_staff_can_invite_users and not actor.is_staff,
        approved=approved,
        start_date=start_date,
        today=tx.now.date(),
    )


def new_expiry(now: datetime, settings: Settings) -> datetime:
    """Return the end of an invitation that begins now, UTC."""
    return now + timedelta(seconds=settings.invitation_lifetime)


def _lock_managed(
    tx: WriteTransaction, actor: Actor, uuid: str, *, in_groups: bool = False
) -> InvitationRow:
    invitation = invitation_queries.get_visible(tx, actor, uuid, in_groups=in_groups)
    if not in_groups:
        # Under the lock, sending and cancelling cannot happen at the same time. Loading again
        # notices that the scope was deleted in the meantime, together with its invitations.
        access_queries.lock_scope(tx, invitation.scope_id)
        invitation = invitation_queries.get_visible(tx, actor, uuid)
    access = access_queries.permissions_in_scope(tx, actor, invitation.scope_id)
    if access is None:
        raise NotFound("invitation.unknown")
    check_may_grant(tx, actor, access, [invitation.role_id])
    return invitation


def _require_open_to(
    tx: ReadTransaction,
    actor: Actor,
    settings: Settings,
    invitation: InvitationRow | None,
    link_version: int | None = None,
    *,
    allow_unavailable: bool = False,
) -> InvitationRow:
    """Return the invitation if it is pending and this actor could accept it.

    Args:
        link_version: of the link that was followed; None if the caller shows the UUID alone.
        allow_unavailable: also return it while its organisation is blocked or archived.

    Raises:
        NotFound: ``invitation.unknown``.
    """
    if (
        invitation is None
        or not _is_open(tx, invitation, allow_unavailable=allow_unavailable)
        or not invitation_rules.is_known_by(
            actor, invitation.email, invitation.link_version, link_version
        )
    ):
        raise NotFound("invitation.unknown")
    # ``ignore_subnets``: an actor who may read invitations must have the invited address. That rule
    # must not be avoided by calling from a network outside the access subnets, where the actor may
    # read nothing.
    access = access_queries.permissions_in_scope(
        tx, actor, invitation.scope_id, ignore_subnets=True
    )
    permissions = role_queries.permissions_of(tx, [invitation.role_id]).get(invitation.role_id, [])
    by_address = settings.validate_invitation_email or invitation_rules.can_read_but_not_grant(
        actor,
        access.permissions if access else (),
        MEMBERSHIP_PERMISSIONS[ScopeKind(invitation.scope_kind)].grant,
        permissions,
    )
    if not invitation_rules.may_accept(
        actor,
        invitation.email,
        invitation.civil_number,
        account=invitation.account_id,
        by_address=by_address,
    ):
        raise NotFound("invitation.unknown")
    return invitation


def _check_address(actor: Actor, settings: Settings, invitation: InvitationRow) -> None:
    if invitation.account_id is not None:
        return
    if settings.enable_strict_check_accepting_invitation and not same_mailbox(
        invitation.email, actor.email
    ):
        raise Conflict("invitation.other_address")


def _is_open(
    tx: ReadTransaction, invitation: InvitationRow, *, allow_unavailable: bool = False
) -> bool:
    return (
        _state_now(tx, invitation) is State.PENDING
        and invitation.scope_deleted_at is None
        and invitation.role_is_active
        and (allow_unavailable or not (invitation.blocked or invitation.archived))
    )


def can_be_accepted(tx: ReadTransaction, invitation: InvitationRow) -> bool:
    """Return whether an invitation could be accepted now, by some account."""
    return _is_open(tx, invitation) and has_sponsor(tx, invitation)


def has_sponsor(tx: ReadTransaction, invitation: InvitationRow) -> bool:
    """Return whether the sponsor of an invitation may still grant its role."""
    return bool(invitation_queries.with_sponsor(tx, [invitation]))


def enqueue_mail(
    tx: WriteTransaction,
    settings: Settings,
    invitation: InvitationRow,
    state: State,
    actor: Actor | None,
) -> None:
    """Queue the invitation e-mail and store its outbox id with the invitation.

    Args:
        state: the state to write.
        actor: the sender; None if the service sends it itself, as soon as the mail budget of the
            address allows it.

    Raises:
        Limited: ``mail_budget.spent``: only if an actor sends it.
    """
    send_at = None
    if actor is None:
        send_at = mail_budget_actions.plan(tx, settings, invitation.email, invitation.expires_at)
    else:
        mail_budget_actions.spend(tx, settings, invitation.email, actor)
    mail_id = outbox_queries.enqueue(
        tx, mails.InvitationCreated(invitation.email, invitation.id), send_at
    )
    invitation_queries.set_state(tx, invitation, state, mail_id=mail_id, mailed_at=tx.now)
