"""Approvals: staff approve or reject an invitation by the signed links in their e-mails."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.invitations import queries as invitation_queries
from collegium.invitations.actions import (
    check_not_ended,
    enqueue_mail,
    initial_state,
    move,
    new_expiry,
    notify_creator,
)
from collegium.invitations.queries import InvitationRow, offer_of
from collegium.invitations.rules import Action, State
from collegium.memberships.offers import check_available
from collegium.outbox import mails
from collegium.refusals import Invalid
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of

APPROVE = "invitation_approve"
REJECT = "invitation_reject"
"""The purposes for which the links are signed; also the path segment before the signed one."""


class Decision(NamedTuple):
    """The content of a signed link in an e-mail to staff.

    Args:
        staff: UUID of the account that decides, 32 hex digits.
        invitation: UUID of the invitation, 32 hex digits.
        link_version: of the invitation; the link is invalid once the invitation has another.
    """

    staff: str
    invitation: str
    link_version: int


def read_link(vault: Vault, settings: Settings, purpose: str, link: str, now: datetime) -> Decision:
    """Return the content of a link that was signed for this purpose.

    Args:
        purpose: ``APPROVE`` or ``REJECT``; a link for one is invalid for the other.
        link: the signed segment of the path.

    Raises:
        Invalid: ``decision.signature`` if the signature is wrong or older than
            ``invitation_max_age`` seconds; ``decision.payload`` if the content has another shape.
    """
    payload = vault.unsign(purpose, link)
    if payload is None:
        raise Invalid("decision.signature")
    match payload:
        case [str(staff), str(invitation), int(link_version), int(signed_at)]:
            age = settings.invitation_max_age
            if age is not None and now.timestamp() > signed_at + age:
                raise Invalid("decision.signature")
            return Decision(staff, invitation, link_version)
    raise Invalid("decision.payload")


def approve(
    tx: WriteTransaction, settings: Settings, link: Decision, ip_address: str, request_id: str
) -> None:
    """Approve an invitation that waits for a decision of staff, and send it.

    If its project has not started yet, it is scheduled instead.

    Args:
        ip_address: IP address from which the link was followed; for the audit log.
        request_id: id of the request; for the audit log.

    Raises:
        Invalid: ``decision.no_staff``, ``decision.no_invitation``.
        Conflict: ``organisation.unavailable``, ``role.inactive``; ``invitation.role_ended`` and
            ``invitation.ends_before_start`` if nobody could accept it before its role ends.
        Limited: ``mail_budget.spent``.
    """
    actor, invitation = _lock_for_decision(tx, link, ip_address, request_id)
    check_available(invitation, offer_of(invitation))
    check_not_ended(tx, invitation)
    state = initial_state(tx, actor, settings, invitation.start_date, approved=True)
    move(
        tx,
        actor,
        invitation,
        Action.APPROVE,
        state,
        approved_by=actor.id,
        created_at=tx.now,
        expires_at=new_expiry(tx.now, settings, invitation.grant_until),
    )
    if state is State.PENDING:
        enqueue_mail(tx, settings, invitation.id, actor)


def reject(tx: WriteTransaction, link: Decision, ip_address: str, request_id: str) -> None:
    """Reject an invitation that waits for a decision of staff, and notify its creator.

    Args:
        ip_address: IP address from which the link was followed; for the audit log.
        request_id: id of the request; for the audit log.

    Raises:
        Invalid: ``decision.no_staff``, ``decision.no_invitation``.
    """
    actor, invitation = _lock_for_decision(tx, link, ip_address, request_id)
    move(tx, actor, invitation, Action.REJECT)
    notify_creator(
        tx, None, invitation, lambda email: mails.InvitationRejected(email, invitation.id)
    )


def _lock_for_decision(
    tx: WriteTransaction, link: Decision, ip_address: str, request_id: str
) -> tuple[Actor, InvitationRow]:
    account = account_queries.by_uuid(tx, link.staff)
    if account is None or not account.is_active or not account.is_staff:
        raise Invalid("decision.no_staff")
    invitation = invitation_queries.by_uuid_locked(tx, link.invitation)
    if (
        invitation is None
        or invitation.scope_deleted_at is not None
        or invitation.link_version != link.link_version
        or invitation.state != State.REQUESTED
    ):
        raise Invalid("decision.no_invitation")
    return actor_of(account, ip_address, request_id), invitation
