"""Decisions of staff on invitations that wait for them, by the links in their mails."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from collegium.accounts import queries as account_queries
from collegium.events import queries as event_queries
from collegium.invitations import queries as invitation_queries
from collegium.invitations import rules as invitation_rules
from collegium.invitations.actions import creator_wants_mail, expiry, initial_state, mail
from collegium.invitations.rules import Action, State
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, Invalid
from collegium.scopes.actions import check_open
from collegium.sign_in.tokens.actions import actor_of

if TYPE_CHECKING:
    from datetime import datetime

    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction
    from collegium.db.statements import Row
    from collegium.security.crypto import Vault
    from collegium.settings import Settings

APPROVE = "invitation_approve"
REJECT = "invitation_reject"
"""What a link is signed for; also the segment of its path before the last."""


class Decision(NamedTuple):
    """What a link in a mail to staff says.

    Args:
        staff: UUID of the account that decides.
        invitation: UUID of what is decided.
        generation: of the invitation; the link dies with it.
    """

    staff: str
    invitation: str
    generation: int


def read_link(vault: Vault, settings: Settings, purpose: str, link: str, now: datetime) -> Decision:
    """Give what a link says that was signed for this purpose, and for no other.

    Refuses: Invalid ``decision.signature`` (also for one that is too old) and
    ``decision.payload``.
    """
    facts = vault.unsign(purpose, link)
    if facts is None:
        raise Invalid("decision.signature")
    match facts:
        case [str(staff), str(invitation), int(generation), int(signed)]:
            age = settings.invitation_max_age
            if age is not None and now.timestamp() > signed + age:
                raise Invalid("decision.signature")
            return Decision(staff, invitation, generation)
    raise Invalid("decision.payload")


def approve(
    tx: WriteTransaction, settings: Settings, link: Decision, address: str, request: str
) -> None:
    """Let an invitation go out that waited for a member of staff.

    Args:
        address: whence the link was followed; for history.
        request: in which request.

    Refuses: Invalid ``decision.no_staff``, ``decision.no_invitation``,
    Conflict ``organisation.unavailable`` and ``role.inactive``.
    """
    actor, invitation = _decided(tx, link, address, request)
    check_open(invitation)
    if not invitation.role_is_active:
        raise Conflict("role.inactive")
    invitation_rules.transition(State(invitation.state), Action.APPROVE)
    state = initial_state(tx, actor, settings, invitation.starts, approved=True)
    invitation_queries.step(
        tx,
        invitation,
        state,
        approved_by=actor.id,
        created=tx.now,
        expires=expiry(tx.now, settings),
    )
    _record(tx, "invitation.approved", actor, invitation)
    if state is State.PENDING:
        mail(tx, settings, invitation_queries.by_id(tx, invitation.id), state, actor)


def reject(tx: WriteTransaction, link: Decision, address: str, request: str) -> None:
    """Let an invitation go no further that waited for a member of staff, and tell who made it.

    Args:
        address: whence the link was followed; for history.
        request: in which request.

    Refuses: Invalid ``decision.no_staff`` and ``decision.no_invitation``.
    """
    actor, invitation = _decided(tx, link, address, request)
    invitation_queries.step(
        tx, invitation, invitation_rules.transition(State(invitation.state), Action.REJECT)
    )
    _record(tx, "invitation.rejected", actor, invitation)
    if creator_wants_mail(invitation):
        outbox_queries.enqueue(
            tx, mails.InvitationRejected(invitation.creator_email, invitation.id)
        )


def _decided(tx: WriteTransaction, link: Decision, address: str, request: str) -> tuple[Actor, Row]:
    account = account_queries.by_uuid(tx, link.staff)
    if account is None or not account.is_active or not account.is_staff:
        raise Invalid("decision.no_staff")
    invitation = invitation_queries.by_uuid_locked(tx, link.invitation)
    if (
        invitation is None
        or invitation.scope_removed is not None
        or invitation.generation != link.generation
        or invitation.state != State.REQUESTED
    ):
        raise Invalid("decision.no_invitation")
    return actor_of(account, address, request), invitation


def _record(tx: WriteTransaction, kind: str, actor: Actor, invitation: Row) -> None:
    event_queries.record(
        tx,
        kind,
        actor,
        scope=invitation.scope_id,
        invitation=invitation.uuid,
        email=invitation.email,
    )
