"""Rules of invitations: states, transitions, and who may accept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum, unique
from typing import Any, Final

from collegium.access.lifecycles import By, Lifecycle
from collegium.access.rules import Actor
from collegium.events import types as events
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


@unique
class Action(Lifecycle, refusal="invitation.wrong_state"):
    """The actions on an invitation."""

    ACCEPT = ({State.PENDING: State.ACCEPTED}, By.PERSON, events.InvitationAccepted)
    DECLINE = ({State.PENDING: State.REJECTED}, By.PERSON, events.InvitationDeclined)
    CANCEL = (
        dict.fromkeys((State.PENDING, State.HELD), State.CANCELED),
        By.GRANTER,
        events.InvitationCanceled,
    )
    SEND = (
        dict.fromkeys((State.PENDING, State.CANCELED, State.EXPIRED), State.PENDING),
        By.GRANTER,
        events.InvitationSent,
    )
    """The invitation begins again if it was not pending: see ``initial_state``."""
    CHANGE = (
        {State.PENDING: State.PENDING, State.HELD: State.HELD},
        By.GRANTER,
        events.InvitationUpdated,
    )
    """The role or the address changes. The invitation begins again: see ``initial_state``."""
    EXTEND = ({State.PENDING: State.PENDING}, By.GRANTER, events.InvitationUpdated)
    """The end moves as far away as that of an invitation that is sent now. Links stay valid."""
    APPROVE = ({State.REQUESTED: State.PENDING}, By.STAFF, events.InvitationApproved)
    REJECT = ({State.REQUESTED: State.REJECTED}, By.STAFF, events.InvitationRejected)
    RELEASE = ({State.HELD: State.PENDING}, By.SERVICE, events.InvitationReleased)
    """The project of a scheduled invitation has started."""
    REMIND = ({State.PENDING: State.PENDING}, By.SERVICE)
    # An expired invitation is stored as pending.
    NOTIFY_EXPIRED = ({State.EXPIRED: State.PENDING}, By.SERVICE, events.InvitationExpired)
    """Notify the creator that the invitation has expired."""
    REQUEST_RENEWAL = (
        {State.EXPIRED: State.PENDING},
        By.PERSON,
        events.InvitationRenewalRequested,
    )
    REPORT_DEACTIVATED = (
        {State.PENDING: State.PENDING},
        By.PERSON,
        events.InvitationInviteeDeactivated,
    )
    """Notify the inviter that the invitee's account is deactivated."""
    CLOSE = (
        dict.fromkeys((State.PENDING, State.HELD, State.REQUESTED), State.CANCELED),
        By.SERVICE,
        events.InvitationCanceled,
    )
    """The scope was deleted, or the person has joined otherwise or has no account any more."""


OPEN: Final = tuple(Action.CLOSE.states)
"""The stored states of an invitation that is not decided."""


class DeliveryStatus(StrEnum):
    """The delivery status of an invitation's e-mail."""

    SCHEDULED = "Scheduled"
    PROCESSING = "Processing"
    OK = "OK"
    ERRED = "Erred"


def is_mailed(mailed_at: datetime | None, created_at: datetime) -> bool:
    """Return whether an invitation was mailed since it was created or last renewed."""
    return mailed_at is not None and mailed_at >= created_at


def is_current_mail(payload: Mapping[str, Any], link_version: int) -> bool:
    """Return whether a queued e-mail may be sent: the invitation was not renewed or changed since.

    The link is made when the e-mail is rendered. An earlier e-mail may go to an address that is no
    longer invited, so it must not get the present link.

    Args:
        payload: of the e-mail. One that an earlier release has queued has no version.
        link_version: the present one of the invitation.
    """
    return bool(payload.get("link_version", link_version) == link_version)


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


_STATES: Final = {state.value: state for state in State}


def effective_state(stored_state: str, expires_at: datetime, now: datetime) -> State:
    """Return the state at ``now``: a pending invitation past its end has expired."""
    if stored_state == State.PENDING and expires_at <= now:
        return State.EXPIRED
    return _STATES[stored_state]


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


def refusal_of_end(
    until: datetime | None, start_date: date | None, now: datetime
) -> Conflict | None:
    """Return why nobody could accept an invitation to a role with this end; None if they could.

    Args:
        until: end of the role, UTC; None for none.
        start_date: start date of the project, before which nobody can accept; None if there is
            none.

    Returns:
        ``invitation.role_ended``, ``invitation.ends_before_start``.
    """
    if until is None:
        return None
    if until <= now:
        return Conflict("invitation.role_ended")
    if start_date is not None and until <= datetime.combine(start_date, time(), UTC):
        return Conflict("invitation.ends_before_start", start=start_date.isoformat())
    return None


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
