"""What can be done to invitations: made, sent, taken, called back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from collegium.actions import mails
from collegium.actions.accounts import check_staff
from collegium.actions.tokens import actor_of
from collegium.rules import invitations as rules
from collegium.rules.access import TEAM, Kind, may, may_give
from collegium.rules.invitations import Act, State
from collegium.rules.refusals import Conflict, Forbidden, Invalid, NotFound
from collegium.store import access, accounts, events, invitations, memberships, outbox, roles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from collegium.rules.access import Actor
    from collegium.settings import Settings
    from collegium.store.access import Reached
    from collegium.store.db import Read, Row, Write


def create(
    tx: Write,
    actor: Actor,
    settings: Settings,
    reached: Reached,
    role: Row,
    details: Mapping[str, Any],
) -> str:
    """Invite an address to a role in a scope that the actor can see; give the UUID.

    Args:
        details: ``email`` and what is known of the person besides.

    Refuses: Invalid ``role.other_kind``, Forbidden ``permission.missing`` and
    ``role.above_ceiling``, Conflict ``organisation.unavailable`` and ``role.inactive``.
    """
    scope = reached.scope
    if role.kind != scope.kind:
        raise Invalid("role.other_kind")
    _check_may_invite(tx, actor, reached, role.id)
    if not role.is_active:
        raise Conflict("role.inactive")
    if scope.blocked or scope.archived:
        raise Conflict("organisation.unavailable")
    uuid = uuid4().hex
    state = _opening(tx, actor, settings, scope.starts, approved=False)
    number = invitations.add(
        tx,
        {
            **details,
            "uuid": uuid,
            "scope_id": scope.id,
            "role_id": role.id,
            "state": state.value,
            "created": tx.now,
            "expires": _expiry(tx.now, settings),
            "created_by": actor.id,
            "vouched_by": actor.id,
            "mail_id": None,
        },
    )
    _record(tx, "invitation.created", actor, scope.id, uuid, email=details["email"])
    if state is State.PENDING:
        invitation = invitations.by_number(tx, number)
        _mail(tx, invitation, state)
    return uuid


def accept(tx: Write, actor: Actor, settings: Settings, uuid: str) -> None:
    """Turn an invitation into a grant.

    Refuses: NotFound when it is not open to the actor: unknown, not pending any more, locked
    to somebody else, its role or organisation closed, or its inviter without the right now.
    Conflict ``invitation.other_address`` under the strict check, ``grant.elsewhere`` under the
    one-role rule, ``grant.exists``.
    """
    invitation = _open_to(tx, actor, settings, invitations.by_uuid_locked(tx, uuid))
    if not _still_vouched_for(tx, invitation):
        raise NotFound("invitation.unknown")
    held = memberships.held(tx, actor.id, invitation.role_id, invitation.scope_id)
    if held is not None and held.until is None:
        raise Conflict("grant.exists")
    if settings.enable_strict_check_accepting_invitation and not rules.same_address(
        invitation.email, actor.email
    ):
        raise Conflict("invitation.other_address")
    if settings.invitation_disable_multiple_roles:
        access.lock_account(tx, actor.id)
        if memberships.holds_any(tx, actor.id):
            raise Conflict("grant.elsewhere")
    if held is not None:
        # A grant with an end becomes one without: that is what was offered.
        memberships.set_end(tx, held.id, None)
    else:
        memberships.grant(
            tx,
            uuid4().hex,
            actor.id,
            invitation.role_id,
            invitation.scope_id,
            None,
            invitation.created_by,
        )
    invitations.step(tx, invitation, rules.move(State.PENDING, Act.ACCEPT), accepted_by=actor.id)
    _record(tx, "invitation.accepted", actor, invitation.scope_id, uuid, role=invitation.role_name)
    events.record(
        tx,
        "role.granted" if held is None else "role.updated",
        actor,
        scope=invitation.scope_id,
        account=actor.id,
        role=invitation.role_name,
        scope_name=invitation.scope_name,
        username=actor.username,
    )
    for other in invitations.close_others(tx, invitation, actor.email):
        _record(tx, "invitation.canceled", actor, invitation.scope_id, other, because=uuid)


def find_open(tx: Read, uuid: str) -> Row:
    """Give an invitation that is pending now to whoever holds its UUID.

    Refuses: NotFound ``invitation.unknown``, or ``invitation.closed`` for one that is not
    pending.
    """
    invitation = invitations.by_uuid(tx, uuid)
    if invitation is None or invitation.scope_removed is not None:
        raise NotFound("invitation.unknown")
    if rules.seen(invitation.state, invitation.expires, tx.now) is not State.PENDING:
        raise NotFound("invitation.closed")
    return invitation


def find_for_invitee(tx: Read, actor: Actor, settings: Settings, uuid: str) -> Row:
    """Give an invitation to somebody who may take it, is in its team, or sees everything.

    Refuses: NotFound ``invitation.unknown``.
    """
    invitation = invitations.by_uuid(tx, uuid)
    if invitation is not None and (
        actor.sees_all or memberships.is_member(tx, actor.id, invitation.scope_id)
    ):
        return invitation
    return _open_to(tx, actor, settings, invitation)


def cancel(tx: Write, actor: Actor, uuid: str) -> None:
    """Call an invitation back; its links are dead from now on.

    Refuses: NotFound when hidden, Forbidden without the right to invite,
    Conflict ``invitation.wrong_state``.
    """
    invitation = _managed(tx, actor, uuid)
    state = rules.move(_seen(tx, invitation), Act.CANCEL)
    invitations.step(tx, invitation, state)
    _record(tx, "invitation.canceled", actor, invitation.scope_id, uuid)


def send(tx: Write, actor: Actor, settings: Settings, uuid: str) -> None:
    """Mail an invitation again; one that was canceled or has expired comes to life anew.

    A pending one keeps its links and its end. A revived one gets new ones, and waits again
    for whatever it would have to wait for today.

    Refuses: NotFound when hidden, Forbidden without the right to invite,
    Conflict ``invitation.wrong_state``, ``organisation.unavailable`` and ``role.inactive``.
    """
    invitation = _managed(tx, actor, uuid)
    before = _seen(tx, invitation)
    rules.move(before, Act.SEND)
    if invitation.blocked or invitation.archived or invitation.scope_removed is not None:
        raise Conflict("organisation.unavailable")
    if not invitation.role_is_active:
        raise Conflict("role.inactive")
    changes: dict[str, Any] = {"vouched_by": actor.id}
    state = State.PENDING
    if before is not State.PENDING:
        approved = invitation.approved_by is not None
        state = _opening(tx, actor, settings, invitation.starts, approved=approved)
        changes |= {
            "created": tx.now,
            "expires": _expiry(tx.now, settings),
            "generation": invitation.generation + 1,
        }
    invitations.step(tx, invitation, state, **changes)
    _record(tx, "invitation.sent", actor, invitation.scope_id, uuid, email=invitation.email)
    if state is State.PENDING:
        _mail(tx, invitations.by_number(tx, invitation.id), state)


def delete(tx: Write, actor: Actor, uuid: str) -> None:
    """Remove an invitation in any state.

    Refuses: NotFound when hidden, Forbidden for anybody but staff.
    """
    invitation = invitations.reach(tx, actor, uuid)
    check_staff(actor)
    invitations.delete_row(tx, invitation.id)
    _record(tx, "invitation.deleted", actor, invitation.scope_id, uuid, email=invitation.email)


def _seen(tx: Read, invitation: Row) -> State:
    return rules.seen(invitation.state, invitation.expires, tx.now)


def _opening(tx: Write, actor: Actor, settings: Settings, starts: Any, *, approved: bool) -> State:
    return rules.opening(
        needs_approval=settings.only_staff_can_invite_users and not actor.is_staff,
        approved=approved,
        starts=starts,
        today=tx.now.date(),
    )


def _expiry(now: datetime, settings: Settings) -> datetime:
    return now + timedelta(seconds=settings.invitation_lifetime)


def _check_may_invite(tx: Read, actor: Actor, reached: Reached, role: int) -> None:
    if not may(actor, reached.held, TEAM[Kind(reached.scope.kind)].grant):
        raise Forbidden("permission.missing")
    if not may_give(actor, reached.held, roles.permissions_of(tx, [role]).get(role, [])):
        raise Forbidden("role.above_ceiling")


def _managed(tx: Write, actor: Actor, uuid: str) -> Row:
    invitation = invitations.reach(tx, actor, uuid)
    reached = access.held_by(tx, actor, invitation.scope_id)
    if reached is None:
        raise NotFound("invitation.unknown")
    _check_may_invite(tx, actor, reached, invitation.role_id)
    return invitation


def _open_to(tx: Read, actor: Actor, settings: Settings, invitation: Row | None) -> Row:
    """Give the invitation back when it is pending and this actor could take it."""
    if (
        invitation is None
        or invitation.scope_removed is not None
        or _seen(tx, invitation) is not State.PENDING
        or not invitation.role_is_active
        or invitation.blocked
        or invitation.archived
    ):
        raise NotFound("invitation.unknown")
    reached = access.held_by(tx, actor, invitation.scope_id)
    carried = roles.permissions_of(tx, [invitation.role_id]).get(invitation.role_id, [])
    by_address = settings.validate_invitation_email or rules.merely_reads(
        actor,
        reached.held if reached else (),
        TEAM[Kind(invitation.scope_kind)].grant,
        carried,
    )
    if not rules.may_take(actor, invitation.email, invitation.civil_number, by_address=by_address):
        raise NotFound("invitation.unknown")
    return invitation


def _still_vouched_for(tx: Read, invitation: Row) -> bool:
    """Tell whether whoever sent the invitation could still give the role today."""
    if invitation.vouched_by is None:
        return False
    account = accounts.by_number(tx, invitation.vouched_by)
    if account is None or not account.is_active:
        return False
    voucher = actor_of(account)
    reached = access.held_by(tx, voucher, invitation.scope_id)
    if reached is None:
        return False
    try:
        _check_may_invite(tx, voucher, reached, invitation.role_id)
    except Forbidden:
        return False
    return True


def _mail(tx: Write, invitation: Row, state: State) -> None:
    mail = outbox.post(
        tx, mails.InvitationCreated(recipient=invitation.email, invitation=invitation.id)
    )
    invitations.step(tx, invitation, state, mail_id=mail)


def _record(tx: Write, kind: str, actor: Actor, scope: int, uuid: str, **facts: Any) -> None:
    events.record(tx, kind, actor, scope=scope, invitation=uuid, **facts)
