"""Actions on invitations: create, send, accept, decline, cancel, remind and delete.

What differs between the kinds of scope is in ``access.rules.KINDS``: in a group an account has one
role, and invitations name the account that alone may accept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from msgspec import UNSET

from collegium.access import queries as access_queries
from collegium.access.lifecycles import By
from collegium.access.queries import ScopeAccess
from collegium.access.rules import KINDS, Actor, Kinds, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import SharedAccount
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import queries as invitation_queries
from collegium.invitations import rules as invitation_rules
from collegium.invitations.mail_budgets import actions as mail_budget_actions
from collegium.invitations.queries import InvitationRow, offer_of
from collegium.invitations.rules import Action, State, refusal_of_end
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import offers
from collegium.memberships import queries as membership_queries
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.offers import Offer
from collegium.memberships.rules import GrantSource
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound, Refusal
from collegium.roles.queries import RoleRow
from collegium.scopes.actions import (
    ScopeRef,
    check_open,
    close_invitations,
    finish_join,
    grant,
    notify_staff,
)
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
    """Invite a person to a role in a scope that the actor can see; return the UUID.

    Args:
        scope_access: the scope and the actor's permissions there.
        details: ``email`` and other known details of the person.
        account: the account to invite to a group; None for the first active account with the
            address.

    Returns:
        The invitation's UUID, 32 hex digits.

    Raises:
        Invalid: ``role.other_kind``: the role belongs to another kind of scope.
        NotFound: ``scope.unknown``, ``<kind>.unknown`` if the scope was deleted or hidden from the
            actor in the meantime.
        Forbidden: ``permission.missing`` without the permission to invite; ``role.above_ceiling``
            for a role with more permissions than the actor may grant.
        Conflict: ``role.inactive``; ``organisation.unavailable`` while the organisation is blocked
            or archived; ``invitation.role_ended`` and ``invitation.ends_before_start`` for a role
            that nobody could accept before it ends; in a group ``group.no_account``,
            ``grant.exists``, and ``invitation.exists`` if the account already has an open
            invitation to it.
        Limited: ``mail_budget.spent``.
    """
    kind = KINDS[scope_access.scope.kind]
    if not kind.invites_accounts:
        scope_access = access_queries.lock_scope_shared_and_recheck(tx, actor, scope_access)
        return _add(tx, actor, settings, scope_access, role, details)
    scope_access = access_queries.lock_scope_and_recheck(tx, actor, scope_access, kind.grant)
    if account is None:
        email = details["email"]
        account = account_queries.active_by_email(tx, [email]).get(comparable_address(email))
    if account is None:
        raise Conflict("group.no_account")
    account = _lock_invitee(tx, account.id)
    _check_uninvited(tx, scope_access.scope.id, account.id)
    return _add(tx, actor, settings, scope_access, role, {**details, **_invitee(account)})


class NewInvitation(NamedTuple):
    """An invitation to be created.

    Args:
        details: ``email`` and other known details of the person.
    """

    role: RoleRow
    details: Mapping[str, Any]


def create_all(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    planned: Sequence[NewInvitation],
) -> list[str | Refusal]:
    """Invite people to roles in an organisation or project, by the rules of ``create``.

    The number of round trips to the database does not depend on the number of invitations.

    Args:
        planned: a bounded number; their details have the same names.

    Returns:
        The UUID of each invitation, or why it was refused.

    Raises:
        NotFound: ``scope.unknown``, ``<kind>.unknown`` if the scope was deleted or hidden from the
            actor in the meantime.
    """
    scope_access = access_queries.lock_scope_shared_and_recheck(tx, actor, scope_access)
    return _add_all(tx, actor, settings, scope_access, planned)


def withdraw_all(tx: WriteTransaction, actor: Actor, scope: int, ids: Sequence[int]) -> None:
    """Cancel those of a bounded number of invitations to a locked scope that are not decided yet.

    The caller has checked that the actor may grant what they offer.

    Args:
        scope: id of the scope.
        ids: of the invitations.
    """
    uuids = invitation_queries.cancel_open(tx, ids)
    event_queries.record_all(
        tx, actor, (events.InvitationCanceled(scope=scope, invitation=uuid) for uuid in uuids)
    )


def refusal_to_invite(
    tx: ReadTransaction, actor: Actor, scope_access: ScopeAccess, role: RoleRow
) -> Refusal | None:
    """Return why the actor cannot invite anybody to a role in a scope now; None if they can."""
    if role.kind != scope_access.scope.kind:
        return Invalid("role.other_kind")
    offer = Offer((role.id,), role.is_active)
    try:
        offers.check_may_grant(tx, actor, scope_access, offer)
        offers.check_available(scope_access.scope, offer)
    except Refusal as refusal:
        return refusal
    return None


def _add(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    role: RoleRow,
    details: Mapping[str, Any],
) -> str:
    (result,) = _add_all(tx, actor, settings, scope_access, [NewInvitation(role, details)])
    if isinstance(result, Refusal):
        raise result
    return result


def _add_all(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    planned: Sequence[NewInvitation],
) -> list[str | Refusal]:
    scope = scope_access.scope
    refusals = {
        role.id: refusal_to_invite(tx, actor, scope_access, role)
        for role in {each.role.id: each.role for each in planned}.values()
    }
    results: list[str | Refusal] = [
        refusals[each.role.id]
        or refusal_of_end(each.details.get("grant_until"), scope.start_date, tx.now)
        or uuid4().hex
        for each in planned
    ]
    state = initial_state(tx, actor, settings, scope.start_date, approved=False)
    if state is State.PENDING:
        allowed = [index for index, result in enumerate(results) if isinstance(result, str)]
        spent = mail_budget_actions.spend_all(
            tx, settings, [planned[index].details["email"] for index in allowed], actor
        )
        for index, refusal in zip(allowed, spent, strict=True):
            results[index] = refusal or results[index]
    rows = [
        {
            **each.details,
            "uuid": result,
            "scope_id": scope.id,
            "role_id": each.role.id,
            "state": state.value,
            "created_at": tx.now,
            "expires_at": new_expiry(tx.now, settings, each.details.get("grant_until")),
            "created_by": actor.id,
            "sponsor_id": actor.id,
            "mail_id": None,
            "mailed_at": None,
        }
        for each, result in zip(planned, results, strict=True)
        if isinstance(result, str)
    ]
    mail_ids: list[int] = []
    if state is State.PENDING:
        # Before the invitations, which refer to them. Changing an invitation once it is inserted
        # costs as much as inserting it, because it has many indexes.
        mail_ids = outbox_queries.enqueue_all(tx, [_first_mail(row["email"], 0) for row in rows])
        for row, mail_id in zip(rows, mail_ids, strict=True):
            row |= {"mail_id": mail_id, "mailed_at": tx.now}
    ids = invitation_queries.add_all(tx, rows)
    event_queries.record_all(
        tx,
        actor,
        (
            events.InvitationCreated(scope=scope.id, invitation=row["uuid"], email=row["email"])
            for row in rows
        ),
    )
    if state is State.PENDING:
        first_mails = (_first_mail(row["email"], key) for key, row in zip(ids, rows, strict=True))
        outbox_queries.set_mails(tx, dict(zip(mail_ids, first_mails, strict=True)))
    elif state is State.REQUESTED:
        for key in ids:
            notify_staff(tx, key)
    return results


def _first_mail(email: str, invitation_id: int) -> mails.InvitationCreated:
    return mails.InvitationCreated(email, invitation_id, invitation_rules.FIRST_LINK_VERSION)


def invite_or_change(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    role: RoleRow,
    account: SharedAccount,
) -> bool:
    """Invite an account to a role in a locked group, or change its open invitation to that role.

    Another role renews the invitation: links that showed the earlier role become invalid, and
    staff are asked again where they must approve. An unchanged invitation is not mailed again.

    Returns:
        Whether an e-mail to the invitee was queued.

    Raises:
        Invalid, Limited: as ``create``.
        Conflict: as ``create``; ``group.no_account`` if the account was deactivated in the
            meantime.
        Forbidden: as ``create``; ``permission.missing`` and ``role.above_ceiling`` also for an
            actor who may not grant the role of the open invitation, such as a manager who would
            change what an owner has offered.
    """
    account = _lock_invitee(tx, account.id)
    before = invitation_queries.open_of_account(tx, scope_access.scope.id, account.id)
    if before is None:
        uuid = _add(tx, actor, settings, scope_access, role, _invitee(account))
        return invitation_queries.existing(tx, uuid).state == State.PENDING
    offers.check_may_grant(tx, actor, scope_access, offer_of(before))
    offers.check_may_grant(tx, actor, scope_access, Offer((role.id,), role.is_active))
    effective_state = state_now(tx, before)
    if effective_state is State.PENDING and before.role_id == role.id:
        invitation_queries.set_state(tx, before, State.PENDING, sponsor_id=actor.id)
        return False
    # The approval of staff was for the earlier role. It does not count for another one.
    approved_by = before.approved_by if before.role_id == role.id else None
    state = initial_state(tx, actor, settings, before.start_date, approved=approved_by is not None)
    if before.state == State.REQUESTED and actor.is_staff:
        approved_by = actor.id
    is_renewed = effective_state is State.EXPIRED or before.role_id != role.id
    changes: dict[str, Any] = {
        "role_id": role.id,
        "sponsor_id": actor.id,
        "approved_by": approved_by,
        "expires_at": new_expiry(tx.now, settings),
    }
    if is_renewed or state != before.state:
        changes |= {"created_at": tx.now, "reminded_at": None, "expiry_notified_at": None}
    if is_renewed:
        changes["link_version"] = before.link_version + 1
    move(tx, actor, before, Action.SEND, state, **changes)
    if state is State.PENDING or is_renewed or before.state != State.REQUESTED:
        _deliver(tx, settings, before.id, state, actor)
    return state is State.PENDING


def accept(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    uuid: str,
    kinds: Kinds = KINDS,
    link_version: int | None = None,
) -> None:
    """Accept an invitation whose UUID or link the actor has: write the grant that it offers.

    Args:
        uuid: of the invitation, 32 hex digits.
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
    row = invitation_queries.by_uuid_locked(tx, uuid)
    invitation = _require_open_to(tx, actor, settings, row, kinds, link_version)
    if not has_sponsor(tx, invitation):
        raise NotFound("invitation.unknown")
    _accept(tx, actor, settings, invitation)


def accept_own(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, kinds: Kinds = KINDS
) -> InvitationRow:
    """Accept an invitation of the actor's account; return it as it was before.

    An invitation that the actor has accepted already is returned unchanged.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``invitation.not_yours``.
        Conflict: ``invitation.wrong_state`` unless it is pending; ``invitation.not_vouched`` while
            its sponsor may not grant the role; otherwise as ``create`` and ``accept``.
    """
    invitation, is_repeated = _lock_and_authorise(tx, actor, uuid, Action.ACCEPT, kinds)
    if not is_repeated:
        Action.ACCEPT.after(state_now(tx, invitation))
        offers.check_available(invitation, offer_of(invitation))
        if not has_sponsor(tx, invitation):
            raise Conflict("invitation.not_vouched")
        _accept(tx, actor, settings, invitation)
    return invitation


def _accept(
    tx: WriteTransaction, actor: Actor, settings: Settings, invitation: InvitationRow
) -> None:
    one_role = KINDS[invitation.scope_kind].one_role
    if one_role and membership_queries.grant_in_scope(tx, actor.id, invitation.scope_id):
        raise Conflict("grant.exists")
    scope = ScopeRef(invitation.scope_id, invitation.scope_kind)
    current = membership_queries.active_grant(tx, actor.id, invitation.role_id, scope.id)
    until = invitation.grant_until
    if current is not None and (
        current.valid_until is None or (until is not None and current.valid_until >= until)
    ):
        raise Conflict("grant.exists")
    _check_address(actor, settings, invitation)
    if settings.invitation_disable_multiple_roles:
        access_queries.lock_account(tx, actor.id)
        if membership_queries.has_any_grant(tx, actor.id):
            raise Conflict("grant.elsewhere")
    if current is not None:
        # A grant with an end gets the later end that the invitation offers, or none.
        membership_queries.set_end(tx, current.id, until)
        finish_join(tx, actor, actor.id, invitation.role_id, scope, by=invitation.created_by)
        notice_actions.end_changed(tx, actor, current.id)
    else:
        grant(
            tx,
            actor,
            actor.id,
            invitation.role_id,
            scope,
            by=invitation.created_by,
            source=GrantSource.INVITATION,
            until=until,
        )
    if same_mailbox(invitation.email, actor.email):
        # Accepting from the invited address shows that its owner wants these e-mails. Accepting
        # from another address shows nothing about it.
        mail_budget_actions.restore(tx, invitation.email)
    move(tx, actor, invitation, Action.ACCEPT, accepted_at=tx.now, accepted_by=actor.id)
    role_event = events.RoleGranted if current is None else events.RoleUpdated
    event_queries.record(
        tx,
        actor,
        role_event(
            scope=scope.id,
            account=actor.id,
            role=invitation.role_name,
            scope_name=invitation.scope_name,
            username=actor.username,
            until=UNSET if until is None else until,
        ),
    )
    notify_creator(
        tx, actor, invitation, lambda email: mails.InvitationAccepted(email, invitation.id)
    )
    for other in invitation_queries.cancel_others(tx, invitation, actor.email):
        canceled = events.InvitationCanceled(
            scope=scope.id, invitation=other, because=invitation.uuid
        )
        event_queries.record(tx, actor, canceled)
    if one_role:
        close_invitations(tx, actor, actor.id, scope=scope.id)


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
    invitation = _require_open_to(
        tx, actor, settings, row, KINDS, link_version, allow_unavailable=True
    )
    if not has_sponsor(tx, invitation):
        raise NotFound("invitation.unknown")
    _check_address(actor, settings, invitation)
    _decline(tx, actor, invitation)


def decline_own(
    tx: WriteTransaction, actor: Actor, uuid: str, kinds: Kinds = KINDS
) -> InvitationRow:
    """Decline an invitation of the actor's account; return it as it was before.

    An invitation that was rejected already is returned unchanged.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``invitation.not_yours``.
        Conflict: ``invitation.wrong_state`` unless it is pending.
    """
    invitation, is_repeated = _lock_and_authorise(tx, actor, uuid, Action.DECLINE, kinds)
    if not is_repeated:
        _decline(tx, actor, invitation)
    return invitation


def _decline(tx: WriteTransaction, actor: Actor, invitation: InvitationRow) -> None:
    move(tx, actor, invitation, Action.DECLINE)
    by = actor.id or None
    notify_creator(
        tx, actor, invitation, lambda email: mails.InvitationDeclined(email, invitation.id, by)
    )


def notify_creator(
    tx: WriteTransaction,
    actor: Actor | None,
    invitation: InvitationRow,
    mail: Callable[[str], mails.Mail],
) -> None:
    """Queue an e-mail to the creator of an invitation, unless it is about their own action.

    Args:
        mail: makes the e-mail to an address.
    """
    creator = creator_to_mail(invitation)
    if creator is not None and (actor is None or creator[0] != actor.id):
        outbox_queries.enqueue(tx, mail(creator[1]))


def get_pending(
    tx: ReadTransaction, actor: Actor, settings: Settings, uuid: str, kinds: Kinds = KINDS
) -> InvitationRow:
    """Return a pending invitation to a caller who knows its UUID.

    Args:
        actor: may be anonymous.
        uuid: of the invitation, 32 hex digits.

    Raises:
        NotFound: ``invitation.unknown``; ``invitation.closed`` if it is not pending, or if it was
            renewed and is not addressed to the actor. With a separate front end (``homeport_url``)
            a new link contains the same UUID, so a renewed invitation is returned there too.
    """
    invitation = invitation_queries.by_uuid(tx, uuid)
    if (
        invitation is None
        or invitation.scope_deleted_at is not None
        or invitation.scope_kind not in kinds
    ):
        raise NotFound("invitation.unknown")
    if state_now(tx, invitation) is not State.PENDING:
        raise NotFound("invitation.closed")
    if not settings.homeport_url and not invitation_rules.is_known_by(
        actor, invitation.email, invitation.link_version, None
    ):
        raise NotFound("invitation.closed")
    return invitation


def get_for_invitee(
    tx: ReadTransaction, actor: Actor, settings: Settings, uuid: str, kinds: Kinds = KINDS
) -> InvitationRow:
    """Return an invitation to an actor who may accept it, is in its team, or sees everything.

    Raises:
        NotFound: ``invitation.unknown``.
    """
    invitation = invitation_queries.by_uuid(tx, uuid)
    if (
        invitation is not None
        and invitation.scope_kind in kinds
        and (actor.sees_all or membership_queries.is_member(tx, actor, invitation.scope_id))
    ):
        return invitation
    return _require_open_to(tx, actor, settings, invitation, kinds)


def cancel(tx: WriteTransaction, actor: Actor, uuid: str, kinds: Kinds = KINDS) -> InvitationRow:
    """Cancel an invitation, whose links stop working; return it as it was before.

    An invitation to a group that was cancelled already is returned unchanged.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor may not invite to this
            role.
        Conflict: ``invitation.wrong_state``.
    """
    invitation, is_repeated = _lock_and_authorise(tx, actor, uuid, Action.CANCEL, kinds)
    if not is_repeated:
        move(tx, actor, invitation, Action.CANCEL)
    return invitation


def send(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, kinds: Kinds = KINDS
) -> None:
    """Resend a pending invitation, or renew one that was cancelled or has expired.

    A pending invitation keeps its links and its end. A renewed one gets a new link and a new end,
    and waits for everything that a new invitation would wait for today: approval by staff, the
    start of the project.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor may not invite to this
            role.
        Conflict: ``invitation.wrong_state``; ``invitation.role_ended``;
            ``invitation.ends_before_start``; ``invitation.no_address`` if the address was deleted
            with its account; ``organisation.unavailable``; ``role.inactive``; in a group
            ``group.no_account``, ``grant.exists``, and ``invitation.exists`` if the account has
            another open invitation to it.
        Limited: ``mail_budget.spent``.
    """
    invitation, _ = _lock_and_authorise(tx, actor, uuid, Action.SEND, kinds)
    changes: dict[str, Any] = {"sponsor_id": actor.id, "invitee_deactivated_at": None}
    email, approved_by = invitation.email, invitation.approved_by
    if KINDS[invitation.scope_kind].invites_accounts:
        email = _lock_uninvited(tx, invitation).email
    if email != invitation.email:
        # A cancelled invitation does not follow when its account changes its address, so the
        # address is updated here. The approval of staff was for the earlier address. It only counts
        # if both addresses are the same mailbox.
        approved_by = approved_by if same_mailbox(invitation.email, email) else None
        changes |= {"email": email, "approved_by": approved_by}
    state_before = state_now(tx, invitation)
    state = Action.SEND.after(state_before)
    if not email:
        raise Conflict("invitation.no_address")
    offers.check_available(invitation, offer_of(invitation))
    if state_before is not State.PENDING:
        check_not_ended(tx, invitation)
        state = initial_state(
            tx, actor, settings, invitation.start_date, approved=approved_by is not None
        )
        changes |= {
            "created_at": tx.now,
            "expires_at": new_expiry(tx.now, settings, invitation.grant_until),
            "link_version": invitation.link_version + 1,
            "reminded_at": None,
            "expiry_notified_at": None,
        }
    move(tx, actor, invitation, Action.SEND, state, **changes)
    _deliver(tx, settings, invitation.id, state, actor)


def extend(tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str) -> bool:
    """Extend a pending invitation to the end of one that is sent now, without an e-mail.

    Return whether its end has changed. It does not if the role that it offers ends before.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor may not invite to this
            role.
        Conflict: ``invitation.wrong_state`` unless it is pending; ``organisation.unavailable``;
            ``role.inactive``.
    """
    invitation, _ = _lock_and_authorise(tx, actor, uuid, Action.EXTEND, KINDS)
    state = Action.EXTEND.after(state_now(tx, invitation))
    offers.check_available(invitation, offer_of(invitation))
    expires_at = new_expiry(tx.now, settings, invitation.grant_until)
    if expires_at <= invitation.expires_at:
        return False
    # The invitee is reminded again before the new end.
    changes = {"expires_at": expires_at, "reminded_at": None, "sponsor_id": actor.id}
    invitation_queries.set_state(tx, invitation, state, **changes)
    event_queries.record(
        tx,
        actor,
        events.InvitationUpdated(
            scope=invitation.scope_id,
            invitation=invitation.uuid,
            email=invitation.email,
            fields=["end"],
        ),
    )
    return True


def lock_to_change(
    tx: WriteTransaction, actor: Actor, uuid: str, kinds: Kinds = KINDS
) -> InvitationRow:
    """Return an invitation, locked with its scope, whose role and address the actor may change now.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor may not invite to its
            present role.
        Conflict: ``invitation.wrong_state`` unless it is pending or scheduled.
    """
    invitation, _ = _lock_and_authorise(tx, actor, uuid, Action.CHANGE, kinds)
    Action.CHANGE.after(state_now(tx, invitation))
    return invitation


def change(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    invitation: InvitationRow,
    email: str,
    role: RoleRow | None,
) -> bool:
    """Change whom an invitation to an organisation or project invites, and to which role.

    Each is another decision, so the invitation begins again: earlier links, those for staff
    included, become invalid, staff are asked again where they must approve, and the address gets
    an e-mail.

    Args:
        invitation: as ``lock_to_change`` returns it.
        email: the new or the present address.
        role: the new role; None for the present one.

    Returns:
        Whether anything has changed.

    Raises:
        Invalid: ``role.other_kind``.
        Forbidden: ``role.above_ceiling`` for a role with more permissions than the actor may grant.
        Conflict: ``role.inactive``, ``organisation.unavailable``; ``invitation.ends_before_start``
            if the project has been given a later start since.
        Limited: ``mail_budget.spent``.
    """
    if role is not None and role.kind != invitation.scope_kind:
        raise Invalid("role.other_kind")
    role_id = invitation.role_id if role is None else role.id
    fields = [
        name
        for name, is_changed in (
            ("email", email != invitation.email),
            ("role", role_id != invitation.role_id),
        )
        if is_changed
    ]
    if not fields:
        return False
    offer = offer_of(invitation) if role is None else Offer((role.id,), role.is_active)
    _check_may_grant(tx, actor, invitation, offer)
    offers.check_available(invitation, offer)
    check_not_ended(tx, invitation)
    # The approval of staff was for the earlier role and mailbox. It does not count for others.
    is_approved = "role" not in fields and same_mailbox(email, invitation.email)
    approved_by = invitation.approved_by if is_approved else None
    state = initial_state(
        tx, actor, settings, invitation.start_date, approved=approved_by is not None
    )
    invitation_queries.set_state(
        tx,
        invitation,
        state,
        email=email,
        role_id=role_id,
        sponsor_id=actor.id,
        approved_by=approved_by,
        created_at=tx.now,
        expires_at=new_expiry(tx.now, settings, invitation.grant_until),
        link_version=invitation.link_version + 1,
        reminded_at=None,
        expiry_notified_at=None,
        invitee_deactivated_at=None,
    )
    event_queries.record(
        tx,
        actor,
        events.InvitationUpdated(
            scope=invitation.scope_id,
            invitation=invitation.uuid,
            email=email,
            fields=fields,
            former_email=invitation.email if "email" in fields else UNSET,
        ),
    )
    _deliver(tx, settings, invitation.id, state, actor)
    return True


def release(tx: WriteTransaction, settings: Settings, invitation_id: int) -> bool:
    """Send an invitation that was scheduled for the start of its project.

    Its lifetime begins only now.

    Args:
        invitation_id: id of the invitation.

    Returns:
        Whether it was sent; False if there was nothing to do, for example because another worker
        was first.
    """
    invitation = _lock_due(tx, invitation_id, Action.RELEASE)
    if invitation is None or invitation.blocked or invitation.archived:
        return False
    if invitation.start_date is not None and invitation.start_date > tx.now.date():
        return False
    expires_at = new_expiry(tx.now, settings, invitation.grant_until)
    state = move(tx, None, invitation, Action.RELEASE, created_at=tx.now, expires_at=expires_at)
    _deliver(tx, settings, invitation_id, state, None)
    return True


def remind(tx: WriteTransaction, settings: Settings, invitation_id: int) -> bool:
    """Remind an invitee, once, that an invitation ends soon.

    Args:
        invitation_id: id of the invitation.

    Returns:
        Whether the reminder was due; False if there was nothing to do.
    """
    invitation = _lock_due(tx, invitation_id, Action.REMIND)
    if (
        invitation is None
        or invitation.reminded_at is not None
        or invitation.blocked
        or invitation.archived
    ):
        return False
    move(tx, None, invitation, Action.REMIND, reminded_at=tx.now)
    if can_be_accepted(tx, invitation):
        send_at = mail_budget_actions.plan(tx, settings, invitation.email, invitation.expires_at)
        reminder = mails.InvitationCreated(
            invitation.email, invitation_id, invitation.link_version, reminder=True
        )
        outbox_queries.enqueue(tx, reminder, send_at)
    return True


def notify_expired(tx: WriteTransaction, invitation_id: int) -> bool:
    """Notify the creator of an invitation, once, that it has expired without an answer.

    Args:
        invitation_id: id of the invitation.

    Returns:
        Whether the notice was due; False if there was nothing to do.
    """
    invitation = _lock_due(tx, invitation_id, Action.NOTIFY_EXPIRED)
    if invitation is None or invitation.expiry_notified_at is not None:
        return False
    move(tx, None, invitation, Action.NOTIFY_EXPIRED, expiry_notified_at=tx.now)
    notify_creator(
        tx, None, invitation, lambda email: mails.InvitationExpired(email, invitation_id)
    )
    return True


def _lock_due(tx: WriteTransaction, invitation_id: int, action: Action) -> InvitationRow | None:
    """Return an invitation with its scope locked; None if its state does not allow the action."""
    invitation = invitation_queries.by_id(tx, invitation_id)
    invitation = invitation and invitation_queries.by_uuid_locked(tx, invitation.uuid)
    is_due = invitation is not None and state_now(tx, invitation) in action.states
    return invitation if is_due else None


def request_renewal(tx: WriteTransaction, uuid: str, link_version: int) -> None:
    """Notify the inviter, once per link, that the invitee asks for a new link.

    Args:
        uuid: of the invitation, 32 hex digits.
        link_version: of the link that was followed.

    Raises:
        NotFound: ``invitation.unknown`` unless the link leads to an expired invitation.
        Conflict: ``organisation.unavailable``.
    """
    invitation = _lock_linked(tx, uuid, link_version, Action.REQUEST_RENEWAL)
    check_open(invitation)
    if invitation.renewal_requested_version != link_version:
        move(tx, None, invitation, Action.REQUEST_RENEWAL, renewal_requested_version=link_version)
        _notify_creator(tx, invitation, mails.InvitationRenewalRequested)


def report_deactivated(tx: WriteTransaction, uuid: str, link_version: int) -> None:
    """Notify the inviter, once per link, that the invitee's account is deactivated.

    The e-mail reveals that an account is deactivated. Therefore only a link that proves the
    address triggers it: inviters learn this when the invited person tries to accept, and cannot
    probe arbitrary addresses.

    Args:
        uuid: of the invitation, 32 hex digits.
        link_version: of the link that was followed.

    Raises:
        NotFound: ``invitation.unknown`` unless the link leads to a pending invitation.
    """
    invitation = _lock_linked(tx, uuid, link_version, Action.REPORT_DEACTIVATED)
    if invitation.invitee_deactivated_at is None:
        move(tx, None, invitation, Action.REPORT_DEACTIVATED, invitee_deactivated_at=tx.now)
        _notify_creator(tx, invitation, mails.InvitationInviteeDeactivated)


def _lock_linked(
    tx: WriteTransaction, uuid: str, link_version: int, action: Action
) -> InvitationRow:
    invitation = invitation_queries.by_uuid_locked(tx, uuid)
    if (
        invitation is None
        or invitation.link_version != link_version
        or invitation.scope_deleted_at is not None
        or state_now(tx, invitation) not in action.states
    ):
        raise NotFound("invitation.unknown")
    return invitation


def _notify_creator(
    tx: WriteTransaction,
    invitation: InvitationRow,
    mail: type[mails.InvitationRenewalRequested | mails.InvitationInviteeDeactivated],
) -> None:
    """Queue an e-mail to the inviter, or else to the scope's managers."""
    creator = creator_to_mail(invitation)
    recipients = [creator] if creator is not None else []
    if not recipients:
        managers = join_request_queries.managers(tx, invitation)
        recipients = [(account_id, email) for account_id, email, _permissions in managers]
    for account, email in recipients:
        outbox_queries.enqueue(tx, mail(email, invitation.id, account))


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


def delete(
    tx: WriteTransaction,
    actor: Actor,
    uuid: str,
    kinds: Kinds = KINDS,
    *,
    by: By = By.STAFF,
) -> None:
    """Delete an invitation in any state.

    Args:
        by: who may: staff alone, or everybody who may grant the offered role now.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``: the actor is not staff, or may not invite there;
            ``role.above_ceiling``.
        Conflict: ``organisation.unavailable``.
    """
    invitation = invitation_queries.get_visible(tx, actor, uuid, kinds)
    if by is By.STAFF:
        require_staff(actor)
    access_queries.lock_scope(tx, invitation.scope_id)
    # Somebody else may have deleted it while this waited.
    invitation = invitation_queries.get_visible(tx, actor, uuid)
    if by is By.GRANTER:
        _check_may_grant(tx, actor, invitation)
    check_open(invitation)
    invitation_queries.delete_row(tx, invitation.id)
    event_queries.record(tx, actor, events.InvitationDeleted.of(invitation))


def state_now(tx: ReadTransaction, invitation: InvitationRow) -> State:
    """Return the state of an invitation at the time of the transaction."""
    return invitation_rules.effective_state(invitation.state, invitation.expires_at, tx.now)


def initial_state(
    tx: ReadTransaction, actor: Actor, settings: Settings, start_date: Any, *, approved: bool
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


def new_expiry(now: datetime, settings: Settings, until: datetime | None = None) -> datetime:
    """Return the end of an invitation that begins now, UTC.

    Args:
        until: the end of the role that it offers, after which nobody can accept it; None for none.
    """
    end = now + timedelta(seconds=settings.invitation_lifetime)
    return end if until is None else min(end, until)


def check_not_ended(tx: WriteTransaction, invitation: InvitationRow) -> None:
    """Require that somebody could accept an invitation before the role that it offers ends.

    Raises:
        Conflict: ``invitation.role_ended``, ``invitation.ends_before_start``.
    """
    refusal = refusal_of_end(invitation.grant_until, invitation.start_date, tx.now)
    if refusal is not None:
        raise refusal


def move(
    tx: WriteTransaction,
    actor: Actor | None,
    invitation: InvitationRow,
    action: Action,
    state: State | None = None,
    **changes: Any,
) -> State:
    """Take an action on a locked invitation: change its state and record the event.

    Args:
        actor: None for the service.
        state: the new state, if it is not that of the table.
        changes: further columns.

    Raises:
        Conflict: ``invitation.wrong_state`` if the table or a concurrent change forbids it.
    """
    state = state or action.after(state_now(tx, invitation))
    invitation_queries.set_state(tx, invitation, state, **changes)
    if action.event is not None:
        event = action.event.of(invitation)
        if "email" in changes:
            # A group invitation that is sent again follows the address of its account.
            event = replace(event, email=changes["email"])
        event_queries.record(tx, actor, event)
    return state


def _lock_and_authorise(
    tx: WriteTransaction, actor: Actor, uuid: str, action: Action, kinds: Kinds
) -> tuple[InvitationRow, bool]:
    """Return an invitation, locked with its scope, on which the actor may take an action.

    Under the lock, two actions cannot happen at the same time. Loading again notices that the scope
    was deleted in the meantime, together with its invitations. The invited account is locked too:
    its deactivation cancels the invitation, and a new address changes it.

    Returns:
        The invitation, and whether the action was taken already and may be repeated.
    """
    invitation = invitation_queries.get_visible(tx, actor, uuid, kinds)
    access_queries.lock_scope(tx, invitation.scope_id)
    if invitation.account_id is not None:
        access_queries.lock_account(tx, invitation.account_id)
    invitation = invitation_queries.get_visible(tx, actor, uuid)
    if action.by is By.GRANTER:
        _check_may_grant(tx, actor, invitation)
    elif invitation.account_id != actor.id:
        raise Forbidden("invitation.not_yours")
    is_repeated = action.is_repeated(State(invitation.state))
    return invitation, is_repeated and KINDS[invitation.scope_kind].repeatable


def _check_may_grant(
    tx: WriteTransaction, actor: Actor, invitation: InvitationRow, offer: Offer | None = None
) -> None:
    """Require that the actor may grant an offer in the scope of an invitation.

    Args:
        offer: None for what the invitation offers.
    """
    access = access_queries.permissions_in_scope(tx, actor, invitation.scope_id)
    if access is None:
        raise NotFound("invitation.unknown")
    offers.check_may_grant(tx, actor, access, offer or offer_of(invitation))


def _require_open_to(
    tx: ReadTransaction,
    actor: Actor,
    settings: Settings,
    invitation: InvitationRow | None,
    kinds: Kinds,
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
        or invitation.scope_kind not in kinds
        or not _can_be_accepted(tx, invitation, allow_unavailable=allow_unavailable)
        or not invitation_rules.is_known_by(
            actor, invitation.email, invitation.link_version, link_version
        )
    ):
        raise NotFound("invitation.unknown")
    by_address = settings.validate_invitation_email or offers.can_read_but_not_grant(
        tx, actor, invitation, offer_of(invitation)
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


def _lock_invitee(tx: WriteTransaction, account_id: int) -> SharedAccount:
    """Return ``id email`` of an account that is invited, which does not change any more.

    Raises:
        Conflict: ``group.no_account`` unless it is active.
    """
    account = account_queries.by_id_shared(tx, account_id)
    if account is None or not account.is_active:
        raise Conflict("group.no_account")
    return account


def _invitee(account: SharedAccount) -> dict[str, Any]:
    return {"email": account.email, "account_id": account.id}


def _lock_uninvited(tx: WriteTransaction, invitation: InvitationRow) -> SharedAccount:
    """Return the invited account, which could still accept this invitation and has no other one."""
    account = _lock_invitee(tx, invitation.account_id or 0)
    _check_uninvited(tx, invitation.scope_id, account.id, excluded_id=invitation.id)
    return account


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
    if other is not None and other.id != excluded_id and state_now(tx, other) is not State.EXPIRED:
        raise Conflict("invitation.exists")


def _check_address(actor: Actor, settings: Settings, invitation: InvitationRow) -> None:
    if invitation.account_id is not None:
        return
    if settings.enable_strict_check_accepting_invitation and not same_mailbox(
        invitation.email, actor.email
    ):
        raise Conflict("invitation.other_address")


def _can_be_accepted(
    tx: ReadTransaction, invitation: InvitationRow, *, allow_unavailable: bool = False
) -> bool:
    obstacle = offers.obstacle(invitation, offer_of(invitation))
    return (
        state_now(tx, invitation) in Action.ACCEPT.states
        and invitation.scope_deleted_at is None
        and (not obstacle or (allow_unavailable and obstacle == "organisation.unavailable"))
    )


def can_be_accepted(tx: ReadTransaction, invitation: InvitationRow) -> bool:
    """Return whether an invitation could be accepted now, by some account."""
    return _can_be_accepted(tx, invitation) and has_sponsor(tx, invitation)


def has_sponsor(tx: ReadTransaction, invitation: InvitationRow) -> bool:
    """Return whether the sponsor of an invitation may still grant its role."""
    return bool(offers.ids_with_able_sponsor(tx, [invitation], offer_of))


def _deliver(
    tx: WriteTransaction, settings: Settings, invitation_id: int, state: State, actor: Actor | None
) -> None:
    """Queue what an invitation needs when it begins: its e-mail, or the question to staff."""
    if state is State.PENDING:
        enqueue_mail(tx, settings, invitation_id, actor)
    elif state is State.REQUESTED:
        notify_staff(tx, invitation_id)


def enqueue_mail(
    tx: WriteTransaction, settings: Settings, invitation_id: int, actor: Actor | None
) -> None:
    """Queue the e-mail of a pending invitation and store its outbox id with the invitation.

    Args:
        actor: the sender; None if the service sends it itself, as soon as the mail budget of the
            address allows it.

    Raises:
        Limited: ``mail_budget.spent``: only if an actor sends it.
    """
    invitation = invitation_queries.existing(tx, invitation_id)
    send_at = None
    if actor is None:
        send_at = mail_budget_actions.plan(tx, settings, invitation.email, invitation.expires_at)
    else:
        mail_budget_actions.spend(tx, settings, invitation.email, actor)
    mail_id = outbox_queries.enqueue(
        tx,
        mails.InvitationCreated(invitation.email, invitation.id, invitation.link_version),
        send_at,
    )
    invitation_queries.set_state(tx, invitation, State.PENDING, mail_id=mail_id, mailed_at=tx.now)
