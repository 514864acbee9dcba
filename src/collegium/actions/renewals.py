"""Wishing for a new link to an invitation that has expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.actions import mails
from collegium.actions.invitations import creator_wants_mail
from collegium.actions.scopes import check_open
from collegium.rules.invitations import State, seen
from collegium.rules.refusals import NotFound
from collegium.store import events, invitations, outbox, requests

if TYPE_CHECKING:
    from collegium.store.db import Write
    from collegium.store.statements import Row


def wish(tx: Write, uuid: str, generation: int) -> None:
    """Tell whoever invited that a new link is wished for, once a link.

    Args:
        generation: of the link that was followed.

    Refuses: NotFound ``invitation.unknown`` unless that link has just expired,
    Conflict ``organisation.unavailable``.
    """
    invitation = invitations.by_uuid_locked(tx, uuid)
    if (
        invitation is None
        or invitation.generation != generation
        or invitation.scope_removed is not None
        or seen(invitation.state, invitation.expires, tx.now) is not State.EXPIRED
    ):
        raise NotFound("invitation.unknown")
    check_open(invitation)
    if invitation.wished == generation:
        return
    invitations.step(tx, invitation, State(invitation.state), wished=generation)
    events.record(tx, "invitation.renewal_wished", None, scope=invitation.scope_id, invitation=uuid)
    for recipient in recipients(tx, invitation):
        outbox.post(tx, mails.InvitationRenewalWished(recipient, invitation.id))


def recipients(tx: Write, invitation: Row) -> list[str]:
    """Return who is told what an invitee has to say: the inviter, else those in charge there."""
    if creator_wants_mail(invitation):
        return [invitation.creator_email]
    parent = invitation.organisation_id
    above = None if parent == invitation.scope_id else parent
    managers = requests.managers(tx, invitation.scope_id, above, invitation.scope_kind)
    return [address for _number, address, _held in managers]
