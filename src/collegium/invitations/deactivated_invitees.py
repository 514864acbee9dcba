"""Invitees with a deactivated account: they get no second one, and the inviter is notified."""

from __future__ import annotations

from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import queries as invitation_queries
from collegium.invitations.renewals import recipients
from collegium.invitations.rules import State, effective_state
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import NotFound


def notify_inviter(tx: WriteTransaction, uuid: str, link_version: int) -> None:
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
    invitation = invitation_queries.by_uuid_locked(tx, uuid)
    if (
        invitation is None
        or invitation.link_version != link_version
        or invitation.scope_deleted_at is not None
        or effective_state(invitation.state, invitation.expires_at, tx.now) is not State.PENDING
    ):
        raise NotFound("invitation.unknown")
    if invitation.invitee_deactivated_at is not None:
        return
    invitation_queries.set_state(tx, invitation, State.PENDING, invitee_deactivated_at=tx.now)
    event_queries.record(tx, None, events.InvitationInviteeDeactivated.of(invitation))
    for account, email in recipients(tx, invitation):
        outbox_queries.enqueue(
            tx, mails.InvitationInviteeDeactivated(email, invitation.id, account)
        )
