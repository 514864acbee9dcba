"""Renewal requests: an invitee asks for a new link to an expired invitation."""

from __future__ import annotations

from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import queries as invitation_queries
from collegium.invitations.actions import creator_to_mail
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import State, effective_state
from collegium.join_requests import queries as join_request_queries
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import NotFound
from collegium.scopes.actions import check_open


def request_renewal(tx: WriteTransaction, uuid: str, link_version: int) -> None:
    """Notify the inviter, once per link, that the invitee asks for a new link.

    Args:
        uuid: of the invitation, 32 hex digits.
        link_version: of the link that was followed.

    Raises:
        NotFound: ``invitation.unknown`` unless the link leads to an expired invitation.
        Conflict: ``organisation.unavailable``.
    """
    invitation = invitation_queries.by_uuid_locked(tx, uuid)
    if (
        invitation is None
        or invitation.link_version != link_version
        or invitation.scope_deleted_at is not None
        or effective_state(invitation.state, invitation.expires_at, tx.now) is not State.EXPIRED
    ):
        raise NotFound("invitation.unknown")
    check_open(invitation)
    if invitation.renewal_requested_version == link_version:
        return
    invitation_queries.set_state(
        tx, invitation, State(invitation.state), renewal_requested_version=link_version
    )
    event_queries.record(tx, None, events.InvitationRenewalRequested.of(invitation))
    for account, email in recipients(tx, invitation):
        outbox_queries.enqueue(tx, mails.InvitationRenewalRequested(email, invitation.id, account))


def recipients(tx: WriteTransaction, invitation: InvitationRow) -> list[tuple[int, str]]:
    """Return who hears from an invitee: the inviter, or else the scope's managers.

    Returns:
        Tuples of account id and address.
    """
    if (creator := creator_to_mail(invitation)) is not None:
        return [creator]
    organisation_id = invitation.organisation_id
    parent_id = None if organisation_id == invitation.scope_id else organisation_id
    managers = join_request_queries.managers(
        tx, invitation.scope_id, parent_id, invitation.scope_kind
    )
    return [(account_id, email) for account_id, email, _permissions in managers]
