"""Rules of invitations: states, transitions, and who may accept."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from collegium.access.rules import Actor, Permission, has_permission, may_grant, within_ceiling
from collegium.refusals import Conflict
from collegium.text.email_addresses import same_mailbox

REMIND_BEFORE: Final = timedelta(days=1)
"""How long before its end an invitee is reminded. Invitations with a shorter life get no reminder.
"""


class State(StrEnum):
    """The states of an invitation. ``EXPIRED`` is calculated from the clock and never stored.

    ``HELD`` is a scheduled invitation, which waits for the start of its project.
    ``REQUESTED`` waits for the approval of staff.
    """

    HELD = "held"
    REQUESTED = "requested"
    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CANCELED = "canceled"
    EXPIRED = "expired"


STORED: Final = tuple(state for state in State if state is not State.EXPIRED)


class Action(StrEnum):
    """The actions that change the state of an invitation."""

    ACCEPT = "accept"
    CANCEL = "cancel"
    SEND = "send"
    APPROVE = "approve"
    REJECT = "reject"
    RELEASE = "release"
    DECLINE = "decline"
    """The invitee declines."""


class DeliveryStatus(StrEnum):
    """The delivery status of an invitation's e-mail."""

    SCHEDULED = "Scheduled"
    PROCESSING = "Processing"
    OK = "OK"
    ERRED = "Erred"


def is_mailed(mailed_at: datetime | None, created_at: datetime) -> bool:
    """Return whether an invitation was mailed since it was created or last renewed."""
    return mailed_at is not None and mailed_at >= created_at


def mail_state(mail: str | None, mailed_at: datetime | None, created_at: datetime) -> str | None:
    """Return the state of an invitation's e-mail, even if its outbox row was purged.

    Args:
        mail: the state of the outbox row; None if there is no row.
    """
    return "sent" if mail is None and is_mailed(mailed_at, created_at) else mail


def delivery_status(
    mail: str | None, locked_until: datetime | None, error: str | None, now: datetime
) -> DeliveryStatus:
    """Return the delivery status of an e-mail by its outbox row.

    Args:
        mail: the state of the row; None if there is no row.
        locked_until: the end of a worker's lease on it, UTC; None if no worker has claimed it.
        error: the error of the latest attempt; None or empty if there was none.
    """
    if mail == "sent":
        return DeliveryStatus.OK
    if mail in {"failed", "obsolete"}:
        return DeliveryStatus.ERRED
    if mail == "queued":
        if locked_until is not None and locked_until > now:
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


def effective_state(stored_state: str, expires_at: datetime, now: datetime) -> State:
    """Return the state at ``now``: a pending invitation past its end has expired."""
    if stored_state == State.PENDING and expires_at <= now:
        return State.EXPIRED
    return _STATES[stored_state]


def transition(state: State, action: Action) -> State:
    """Return the state after an action.

    Raises:
        Conflict: ``invitation.wrong_state`` if the action is not allowed in this state.
    """
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        raise Conflict("invitation.wrong_state", act=action, state=state) from None


def initial_state(
    *, needs_approval: bool, approved: bool, start_date: date | None, today: date
) -> State:
    """Return the state in which an invitation begins, or begins again when it is renewed.

    Approval comes before the start date: an invitation that waits for the start of a project must
    not bypass the staff.

    Args:
        start_date: start date of the project; None if there is none.
    """
    if needs_approval and not approved:
        return State.REQUESTED
    if start_date is not None and start_date > today:
        return State.HELD
    return State.PENDING


def inviter_can_still_grant(
    permissions: Collection[str],
    grant: Permission,
    role_permissions: Collection[str],
    *,
    is_active: bool,
    is_staff: bool,
) -> bool:
    """Return whether the sponsor of an invitation could still grant its role today.

    Args:
        permissions: permissions that the sponsor has in the scope now, inherited ones included.
        grant: the permission to add members to this kind of scope.
        role_permissions: permissions of the offered role.
        is_active: whether the sponsor's account is active.
    """
    return is_active and (
        is_staff or (grant in permissions and within_ceiling(permissions, role_permissions))
    )


def is_known_by(actor: Actor, email: str, link_version: int, shown_version: int | None) -> bool:
    """Return whether the link or UUID that a caller shows still opens an invitation.

    A link opens the invitation while it has the link's version. The UUID alone opens an
    invitation that was never renewed. After a renewal the UUID is still readable in invalid links,
    so the caller must also have the invited address.

    Args:
        email: the invited address.
        link_version: the present one of the invitation.
        shown_version: the version of the caller's link; None for the UUID alone.
    """
    if shown_version is not None:
        return shown_version == link_version
    return link_version == FIRST_LINK_VERSION or same_mailbox(email, actor.email)


FIRST_LINK_VERSION: Final = 1


def may_accept(
    actor: Actor, email: str, civil_number: str, *, account: int | None, by_address: bool
) -> bool:
    """Return whether this actor could accept an invitation.

    Args:
        email: the invited address.
        civil_number: the civil number that the invitee must have; empty if none is required.
        account: id of the invited account, which may have any address; None if an address is
            invited.
        by_address: whether only an account with the invited address may accept.
    """
    if civil_number and civil_number != actor.civil_number:
        return False
    if account is not None:
        return actor.id == account
    return not by_address or same_mailbox(email, actor.email)


def can_read_but_not_grant(
    actor: Actor, permissions: Collection[str], grant: Permission, role_permissions: Collection[str]
) -> bool:
    """Return whether the actor may read an invitation but may not grant its role.

    The UUID is a capability of the invitee, and of actors who could grant the role anyway. It must
    not become one for actors who only read invitations, nor for actors who may invite here but not
    to a role above their own ceiling.

    Args:
        permissions: permissions of the actor in the scope.
        grant: the permission to add members to this kind of scope.
        role_permissions: permissions of the offered role.
    """
    can_read = actor.is_support or Permission.INVITATION_LIST in permissions or grant in permissions
    can_grant = has_permission(actor, permissions, grant) and may_grant(
        actor, permissions, role_permissions
    )
    return can_read and not can_grant
