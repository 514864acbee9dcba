"""Actions on invitations to groups: they invite an account, and only that account may accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import (
    MEMBERSHIP_PERMISSIONS,
    Actor,
    ScopeKind,
)
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import SharedAccount
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations import rules as invitation_rules
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import Action, State
from collegium.memberships import queries as membership_queries
from collegium.memberships.actions import check_may_grant
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.roles.queries import RoleRow
from collegium.scopes.actions import notify_staff
from collegium.settings import Settings
from collegium.text.email_addresses import comparable_address, same_mailbox


def create(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    role: RoleRow,
    details: Mapping[str, Any],
    account: SharedAccount | None = None,
) -> str:
    """Invite an account to a group that the actor can see; return the UUID.

    Args:
        scope_access: the group and the actor's permissions there.
        details: ``email`` and other known details of the person.
        account: the invited account; None for the first active account with that address.

    Raises:
        NotFound: ``group.unknown``, ``scope.unknown`` if the group was deleted in the meantime.
        Invalid, Forbidden, Limited: as ``invitations.actions.create``.
        Conflict: as ``invitations.actions.create``; ``group.no_account``; ``grant.exists``;
            ``invitation.exists`` if the account already has an open invitation to the group.
    """
    scope_access = access_queries.lock_scope_and_recheck(
        tx, actor, scope_access, MEMBERSHIP_PERMISSIONS[ScopeKind.GROUP].grant
    )
    if account is None:
        email = details["email"]
        account = account_queries.active_by_email(tx, [email]).get(comparable_address(email))
    if account is None:
        raise Conflict("group.no_account")
    account = _lock_invitee(tx, account.id)
    _check_uninvited(tx, scope_access.scope.id, account.id)
    return invitation_actions.create(
        tx, actor, settings, scope_access, role, {**details, **_invitee(account)}
    )


def send(tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str) -> None:
    """Resend or renew an invitation to a group, as ``invitations.actions.send`` does.

    Raises:
        NotFound, Forbidden, Limited: as ``invitations.actions.send``.
        Conflict: as ``invitations.actions.send``; ``group.no_account``; ``grant.exists``;
            ``invitation.exists`` if the account has another open invitation to the group.
    """
    invitation = _lock_visible(tx, actor, uuid)
    access = access_queries.permissions_in_scope(tx, actor, invitation.scope_id)
    if access is None:
        raise NotFound("invitation.unknown")
    check_may_grant(tx, actor, access, [invitation.role_id])
    account = _lock_invitee(tx, invitation.account_id or 0)
    _check_uninvited(tx, invitation.scope_id, account.id, excluded_id=invitation.id)
    if invitation.email != account.email:
        # A cancelled invitation does not follow when its account changes its address, so the
        # address is updated here. The approval of staff was for the earlier address. It only counts
        # if both addresses are the same mailbox.
        approval = invitation.approved_by if same_mailbox(invitation.email, account.email) else None
        state = State(invitation.state)
        invitation_queries.set_state(
            tx, invitation, state, email=account.email, approved_by=approval
        )
    invitation_actions.send(tx, actor, settings, uuid, in_groups=True)


def invite(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    role: RoleRow,
    account: SharedAccount,
) -> bool:
    """Invite an account to a role in a group, or change its open invitation to that role.

    Another role renews the invitation: links that showed the earlier role become invalid, and
    staff are asked again where they must approve. An unchanged invitation is not mailed again.

    Returns:
        Whether an e-mail to the invitee was queued.

    Raises:
        Invalid, Limited: as ``invitations.actions.create``.
        Conflict: as ``invitations.actions.create``; ``group.no_account`` if the account was
            deactivated in the meantime.
        Forbidden: as ``invitations.actions.create``; ``permission.missing`` and
            ``role.above_ceiling`` also for an actor who may not grant the role of the open
            invitation, such as a manager who would change what an owner has offered.
    """
    account = _lock_invitee(tx, account.id)
    before = invitation_queries.open_of_account(tx, scope_access.scope.id, account.id)
    if before is None:
        uuid = invitation_actions.create(tx, actor, settings, scope_access, role, _invitee(account))
        invitation: Any = invitation_queries.by_uuid(tx, uuid)
        return bool(invitation.state == State.PENDING)
    check_may_grant(tx, actor, scope_access, [before.role_id])
    check_may_grant(tx, actor, scope_access, [role.id])
    effective_state = invitation_rules.effective_state(before.state, before.expires_at, tx.now)
    if effective_state is State.PENDING and before.role_id == role.id:
        invitation_queries.set_state(tx, before, State.PENDING, sponsor_id=actor.id)
        return False
    # The approval of staff was for the earlier role. It does not count for another one.
    approved_by = before.approved_by if before.role_id == role.id else None
    state = invitation_actions.initial_state(
        tx, actor, settings, before.start_date, approved=approved_by is not None
    )
    if before.state == State.REQUESTED and actor.is_staff:
        approved_by = actor.id
    is_renewed = effective_state is State.EXPIRED or before.role_id != role.id
    changes: dict[str, Any] = {
        "role_id": role.id,
        "sponsor_id": actor.id,
        "approved_by": approved_by,
        "expires_at": invitation_actions.new_expiry(tx.now, settings),
    }
    if is_renewed or state != before.state:
        changes |= {"created_at": tx.now, "reminded_at": None, "expiry_notified_at": None}
    if is_renewed:
        changes["link_version"] = before.link_version + 1
    invitation_queries.set_state(tx, before, state, **changes)
    event_queries.record(tx, actor, events.InvitationSent.of(before))
    if state is State.REQUESTED and (is_renewed or before.state != State.REQUESTED):
        notify_staff(tx, before.id)
    if state is not State.PENDING:
        return False
    invitation_actions.enqueue_mail(
        tx, settings, invitation_queries.existing(tx, before.id), state, actor
    )
    return True


def accept(tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str) -> InvitationRow:
    """Accept an invitation to a group; return the invitation as it is afterwards.

    An invitation that the actor has accepted already is returned unchanged.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``invitation.not_yours``.
        Conflict: ``invitation.wrong_state`` unless it is pending; ``invitation.not_vouched`` while
            its sponsor may not grant the role; ``role.inactive``; ``grant.exists``,
            ``grant.elsewhere`` as ``invitations.actions.accept``.
    """
    invitation = _lock_own(tx, actor, uuid)
    if invitation.state == State.ACCEPTED:
        return invitation
    _next_state(tx, invitation, Action.ACCEPT)
    if not invitation.role_is_active:
        raise Conflict("role.inactive")
    if not invitation_actions.has_sponsor(tx, invitation):
        raise Conflict("invitation.not_vouched")
    invitation_actions.accept_with_account(tx, actor, settings, invitation)
    return _reload(tx, actor, uuid)


def decline(tx: WriteTransaction, actor: Actor, uuid: str) -> InvitationRow:
    """Decline an invitation, and notify its creator; return the invitation as it is afterwards.

    An invitation that was rejected already is returned unchanged.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``invitation.not_yours``.
        Conflict: ``invitation.wrong_state`` unless it is pending.
    """
    invitation = _lock_own(tx, actor, uuid)
    if invitation.state == State.REJECTED:
        return invitation
    invitation_actions.decline_by_link(tx, actor, invitation)
    return _reload(tx, actor, uuid)


def cancel(tx: WriteTransaction, actor: Actor, uuid: str) -> InvitationRow:
    """Cancel an invitation; return it as it is afterwards.

    An invitation that was cancelled already is returned unchanged.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling`` if the actor may not grant the
            role.
        Conflict: ``invitation.wrong_state`` unless it is pending.
    """
    invitation = _lock_visible(tx, actor, uuid)
    access = access_queries.permissions_in_scope(tx, actor, invitation.scope_id)
    if access is None:
        raise NotFound("invitation.unknown")
    check_may_grant(tx, actor, access, [invitation.role_id])
    if invitation.state == State.CANCELED:
        return invitation
    state = _next_state(tx, invitation, Action.CANCEL)
    invitation_queries.set_state(tx, invitation, state)
    event_queries.record(tx, actor, events.InvitationCanceled.of(invitation))
    return _reload(tx, actor, uuid)


def _lock_visible(tx: WriteTransaction, actor: Actor, uuid: str) -> InvitationRow:
    """Return an invitation that the actor may see, with its group and account locked.

    Deactivating the account cancels the invitation, and a new address changes it. Both lock only
    the account.
    """
    invitation = invitation_queries.get_visible(tx, actor, uuid, in_groups=True)
    access_queries.lock_scope(tx, invitation.scope_id)
    access_queries.lock_account(tx, invitation.account_id or 0)
    return _reload(tx, actor, uuid)


def _lock_invitee(tx: WriteTransaction, account_id: int) -> SharedAccount:
    """Return an account that is invited, which does not change any more.

    Raises:
        Conflict: ``group.no_account`` unless it is active.
    """
    account = account_queries.by_id_shared(tx, account_id)
    if account is None or not account.is_active:
        raise Conflict("group.no_account")
    return account


def _invitee(account: SharedAccount) -> dict[str, Any]:
    return {"email": account.email, "account_id": account.id}


def _check_uninvited(tx: WriteTransaction, scope: int, account: int, excluded_id: int = 0) -> None:
    """Refuse an account that is a member of the group or has an open invitation to it.

    Args:
        scope: id of the group, which is locked.
        account: id of the account.
        excluded_id: id of an invitation that does not count.

    Raises:
        Conflict: ``grant.exists``, ``invitation.exists``.
    """
    if membership_queries.grant_in_scope(tx, account, scope) is not None:
        raise Conflict("grant.exists")
    other = invitation_queries.open_of_account(tx, scope, account)
    if (
        other is not None
        and other.id != excluded_id
        and invitation_rules.effective_state(other.state, other.expires_at, tx.now)
        is not State.EXPIRED
    ):
        raise Conflict("invitation.exists")


def _lock_own(tx: WriteTransaction, actor: Actor, uuid: str) -> InvitationRow:
    invitation = _lock_visible(tx, actor, uuid)
    if invitation.account_id != actor.id:
        raise Forbidden("invitation.not_yours")
    return invitation


def _reload(tx: WriteTransaction, actor: Actor, uuid: str) -> InvitationRow:
    return invitation_queries.get_visible(tx, actor, uuid, in_groups=True)


def _next_state(tx: WriteTransaction, invitation: InvitationRow, action: Action) -> State:
    return invitation_rules.transition(
        invitation_rules.effective_state(invitation.state, invitation.expires_at, tx.now), action
    )
