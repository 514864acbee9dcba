"""The states of an invitation, the acts that move it, and who may take it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from collegium.access.rules import Permission, has_permission, may_grant, within_ceiling
from collegium.refusals import Conflict
from collegium.text.email_addresses import same_mailbox

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date, datetime

    from collegium.access.rules import Actor


REMIND_BEFORE: Final = timedelta(days=1)
"""How long before its end an invitee is reminded, once, of an invitation that lives for longer."""


class State(StrEnum):
    """The states of an invitation. ``EXPIRED`` is read off the clock and never stored."""

    HELD = "held"
    REQUESTED = "requested"
    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CANCELED = "canceled"
    EXPIRED = "expired"


STORED: Final = tuple(state for state in State if state is not State.EXPIRED)


class Action(StrEnum):
    """What can happen to an invitation after it was made."""

    ACCEPT = "accept"
    CANCEL = "cancel"
    SEND = "send"
    APPROVE = "approve"
    REJECT = "reject"
    RELEASE = "release"
    DECLINE = "decline"
    """The invited person says no."""


class DeliveryStatus(StrEnum):
    """What became of the mail of an invitation."""

    SCHEDULED = "Scheduled"
    PROCESSING = "Processing"
    OK = "OK"
    ERRED = "Erred"


def is_mailed(mailed_at: datetime | None, created: datetime) -> bool:
    """Return whether an invitation was mailed since it was made, or came to life anew."""
    return mailed_at is not None and mailed_at >= created


def mail_state(mail: str | None, *, mailed: bool) -> str | None:
    """Return the state of an invitation's mail, also when its row was deleted after a while.

    Args:
        mail: the state of the row; None when there is none.
        mailed: as ``is_mailed``.
    """
    return "sent" if mail is None and mailed else mail


def delivery_status(
    mail: str | None, leased: datetime | None, error: str | None, now: datetime
) -> DeliveryStatus:
    """Tell what became of a mail by its row of the outbox.

    Args:
        mail: the state of the row; None when there is none.
        leased: until when somebody is at work on it.
        error: what went wrong so far.
    """
    if mail == "sent":
        return DeliveryStatus.OK
    if mail in {"abandoned", "void"}:
        return DeliveryStatus.ERRED
    if mail == "owed":
        if leased is not None and leased > now:
            return DeliveryStatus.PROCESSING
        if error:
            return DeliveryStatus.ERRED
    return DeliveryStatus.SCHEDULED


TRANSITIONS: Final = {
    (State.PENDING, Action.ACCEPT): State.ACCEPTED,
    (State.PENDING, Action.CANCEL): State.CANCELED,
    (State.PENDING, Action.SEND): State.PENDING,
    (State.PENDING, Action.DECLINE): State.REJECTED,
    (State.HELD, Action.CANCEL): State.CANCELED,
    (State.HELD, Action.RELEASE): State.PENDING,
    (State.CANCELED, Action.SEND): State.PENDING,
    (State.EXPIRED, Action.SEND): State.PENDING,
    (State.REQUESTED, Action.APPROVE): State.PENDING,
    (State.REQUESTED, Action.REJECT): State.REJECTED,
}


_STATES: Final = {state.value: state for state in State}


def effective_state(stored: str, expires: datetime, now: datetime) -> State:
    """Give the state as it is at ``now``: a pending invitation past its time has expired."""
    if stored == State.PENDING and expires <= now:
        return State.EXPIRED
    return _STATES[stored]


def transition(state: State, act: Action) -> State:
    """Give the state that an act leads to.

    Refuses: Conflict ``invitation.wrong_state`` when the act is not open in that state.
    """
    try:
        return TRANSITIONS[state, act]
    except KeyError:
        raise Conflict("invitation.wrong_state", act=act, state=state) from None


def initial_state(
    *, needs_approval: bool, approved: bool, starts: date | None, today: date
) -> State:
    """Give the state in which an invitation begins, or begins again when it is sent anew.

    Approval is asked before the start date is looked at:
    an invitation that waits for a project to start must not slip past the staff.
    """
    if needs_approval and not approved:
        return State.REQUESTED
    if starts is not None and starts > today:
        return State.HELD
    return State.PENDING


def inviter_can_still_grant(
    held: Collection[str],
    grant: Permission,
    role_permissions: Collection[str],
    *,
    is_active: bool,
    is_staff: bool,
) -> bool:
    """Tell whether whoever sent an invitation could still give its role today.

    Args:
        held: what they hold on the scope now, from above too.
        is_active: whether they still have an account to speak of.
    """
    return is_active and (is_staff or (grant in held and within_ceiling(held, role_permissions)))


def is_known_by(actor: Actor, email: str, generation: int, shown: int | None) -> bool:
    """Tell whether what a caller shows opens an invitation as it is now.

    A link opens the invitation of its own generation. The UUID alone opens one that was never
    renewed; afterwards it also stands in links that are dead, so it takes the invited address.

    Args:
        email: the invited address.
        generation: of the invitation.
        shown: the generation of the caller's link; None for the UUID alone.
    """
    if shown is not None:
        return shown == generation
    return generation == FIRST_GENERATION or same_mailbox(email, actor.email)


FIRST_GENERATION: Final = 1


def may_accept(
    actor: Actor, email: str, civil_number: str, *, account: int | None, by_address: bool
) -> bool:
    """Tell whether an invitation is one that this actor could take.

    Args:
        email: the invited address.
        civil_number: the number that it is locked to; empty: to none.
        account: the id of the invited account, whatever its address; None for an address.
        by_address: only somebody with the invited address may take it.
    """
    if civil_number and civil_number != actor.civil_number:
        return False
    if account is not None:
        return actor.id == account
    return not by_address or same_mailbox(email, actor.email)


def can_read_but_not_grant(
    actor: Actor, held: Collection[str], grant: Permission, role_permissions: Collection[str]
) -> bool:
    """Tell whether the actor knows the invitation from reading, without the right to give it.

    Its UUID is a capability for whoever was mailed it and for those who could grant the role
    anyway; it must not become one for those who only look, nor for those who may invite here,
    but not to a role above their own ceiling.
    """
    reads = actor.is_support or Permission.INVITATION_LIST in held or grant in held
    gives = has_permission(actor, held, grant) and may_grant(actor, held, role_permissions)
    return reads and not gives
