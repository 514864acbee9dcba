"""Invitations: state transitions, expiry, acceptance, inviters and delivery status."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from collegium.access.rules import Actor
from collegium.invitations.rules import (
    OPEN,
    REMIND_BEFORE,
    STORED,
    Action,
    DeliveryStatus,
    State,
    delivery_status,
    effective_state,
    initial_state,
    is_current_mail,
    is_known_by,
    mail_state,
    may_accept,
    refusal_of_end,
)
from collegium.refusals import Conflict
from tests.rules.refusing import described, read_descriptions, read_table, refused

NOW = datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC)
TODAY = NOW.date()
TICK = timedelta(microseconds=1)

# From the specification; a dash means that the action is refused.
TABLE = """
            accept    cancel    send     change   extend   approve  reject    release  decline
held        -         canceled  -        held     -        -        -         pending  -
requested   -         -         -        -        -        pending  rejected  -        -
pending     accepted  canceled  pending  pending  pending  -        -         -        rejected
accepted    -         -         -        -        -        -        -         -        -
rejected    -         -         -        -        -        -        -         -        -
canceled    -         -         pending  -        -        -        -         -        -
expired     -         -         pending  -        -        -        -         -        -
"""

# Of the service itself. An expired invitation is stored as pending.
NOTICES = """
            remind   notify_expired  request_renewal  report_deactivated  close
held        -        -              -                -                   canceled
requested   -        -              -                -                   canceled
pending     pending  -              -                pending             canceled
accepted    -        -              -                -                   -
rejected    -        -              -                -                   -
canceled    -        -              -                -                   -
expired     -        pending        pending          -                   -
"""


EXPECTED = read_table(TABLE) | read_table(NOTICES)

# Who may take an action, and what the audit log says.
BY = """
accept             person   invitation.accepted
decline            person   invitation.declined
cancel             granter  invitation.canceled
send               granter  invitation.sent
change             granter  invitation.updated
extend             granter  invitation.updated
approve            staff    invitation.approved
reject             staff    invitation.rejected
release            service  invitation.released
remind             service  -
notify_expired     service  invitation.expired
request_renewal    person   invitation.renewal_requested
report_deactivated person   invitation.invitee_deactivated
close              service  invitation.canceled
"""


def person(**flags: Any) -> Actor:
    flags = {"is_staff": False, "is_support": False} | flags
    return Actor(1, "1" * 32, "ada", "Ada Lovelace", "Ada@Example.org", **flags)


def test_table_has_every_state_and_action() -> None:
    assert set(EXPECTED) == {(state.value, str(action)) for state in State for action in Action}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("state", State)
def test_transitions_are_those_of_the_specification(state: State, action: Action) -> None:
    new_state = EXPECTED[state.value, str(action)]
    if new_state == "-":
        with refused(Conflict, "invitation.wrong_state", {"act": action.name, "state": state}):
            action.after(state)
    else:
        assert action.after(state) is State(new_state)


def test_actions_are_taken_by_those_who_may_and_recorded() -> None:
    assert described(Action) == read_descriptions(BY)


def test_transitions_lead_only_to_stored_states() -> None:
    assert State.EXPIRED not in STORED
    for action in Action:
        assert {action.after(state) for state in action.states} <= set(STORED)


def test_undecided_invitations_are_closed() -> None:
    assert set(OPEN) == {State.HELD, State.REQUESTED, State.PENDING}


@pytest.mark.parametrize(
    ("expires", "state"),
    [(NOW - TICK, State.EXPIRED), (NOW, State.EXPIRED), (NOW + TICK, State.PENDING)],
)
def test_pending_invitation_expires_at_the_exact_instant(expires: datetime, state: State) -> None:
    assert effective_state("pending", expires, NOW) is state


@pytest.mark.parametrize(
    ("until", "start", "code"),
    [
        (None, None, None),
        (None, date(2999, 1, 1), None),
        (NOW - TICK, None, "role_ended"),
        (NOW, None, "role_ended"),
        (NOW + TICK, None, None),
        # A project that has started, or starts today.
        (NOW + TICK, NOW.date(), None),
        (NOW, date(2999, 1, 1), "role_ended"),
        (datetime(2998, 12, 31, 23, 59, 59, tzinfo=UTC), date(2999, 1, 1), "ends_before_start"),
        (datetime(2999, 1, 1, tzinfo=UTC), date(2999, 1, 1), "ends_before_start"),
        (datetime(2999, 1, 1, tzinfo=UTC) + TICK, date(2999, 1, 1), None),
    ],
)
def test_role_must_not_end_before_somebody_can_accept_it(
    until: datetime | None, start: date | None, code: str | None
) -> None:
    refusal = refusal_of_end(until, start, NOW)
    assert (refusal and refusal.code) == (code and f"invitation.{code}")
    if code == "ends_before_start":
        assert refusal is not None
        assert refusal.facts == {"start": "2999-01-01"}


@pytest.mark.parametrize("stored", [state for state in STORED if state is not State.PENDING])
def test_only_pending_invitations_expire(stored: State) -> None:
    assert effective_state(stored.value, NOW - timedelta(days=900), NOW) is stored


@pytest.mark.parametrize(
    ("starts", "state"),
    [
        (None, State.PENDING),
        (TODAY - timedelta(days=1), State.PENDING),
        (TODAY, State.PENDING),
        (TODAY + timedelta(days=1), State.HELD),
    ],
)
def test_invitation_is_scheduled_until_the_start_of_the_project(
    starts: date | None, state: State
) -> None:
    for needs_approval, approved, expected in (
        (False, False, state),
        (True, True, state),
        # Approval comes before the start of the project.
        (True, False, State.REQUESTED),
    ):
        assert expected is initial_state(
            needs_approval=needs_approval, approved=approved, start_date=starts, today=TODAY
        )


@pytest.mark.parametrize(
    ("email", "required_number", "civil_number", "anybody", "by_address"),
    [
        ("ada@example.org", "", None, True, True),
        ("bob@example.org", "", None, True, False),
        ("ada@example.org", "EE1", "EE1", True, True),
        ("bob@example.org", "EE1", "EE1", True, False),
        ("ada@example.org", "EE1", "EE2", False, False),
        ("ada@example.org", "EE1", None, False, False),
    ],
)
def test_who_may_accept_an_invitation(
    email: str, required_number: str, civil_number: str | None, *, anybody: bool, by_address: bool
) -> None:
    ada = person(civil_number=civil_number)

    def accepts(*, by_address: bool, account: int | None = None) -> bool:
        return may_accept(ada, email, required_number, account=account, by_address=by_address)

    assert accepts(by_address=False) is anybody
    assert accepts(by_address=True) is by_address
    # An invitation of an account is for this account only, whatever the address.
    for strict in (False, True):
        assert accepts(account=ada.id, by_address=strict) is anybody
        assert not accepts(account=ada.id + 1, by_address=strict)


@pytest.mark.parametrize(
    ("mail", "leased", "error", "status"),
    [
        (None, None, None, "Scheduled"),
        (None, NOW + TICK, "no route", "Scheduled"),
        ("queued", None, None, "Scheduled"),
        ("queued", None, "", "Scheduled"),
        ("queued", None, "no route", "Erred"),
        ("queued", NOW, None, "Scheduled"),
        ("queued", NOW, "no route", "Erred"),
        ("queued", NOW + TICK, None, "Processing"),
        # A running attempt hides earlier errors.
        ("queued", NOW + TICK, "no route", "Processing"),
        ("sent", None, None, "OK"),
        ("sent", NOW + TICK, "no route", "OK"),
        ("failed", None, "no route", "Erred"),
        ("failed", NOW + TICK, None, "Erred"),
        ("obsolete", None, None, "Erred"),
    ],
)
def test_delivery_status_of_an_invitation(
    mail: str | None, leased: datetime | None, error: str | None, status: str
) -> None:
    assert delivery_status(mail, leased, error, NOW) is DeliveryStatus(status)


@pytest.mark.parametrize(
    ("row", "mailed_at", "state"),
    [
        ("queued", None, "queued"),
        ("failed", NOW, "failed"),
        (None, None, None),
        (None, NOW, "sent"),
        (None, NOW + TICK, "sent"),
        (None, NOW - TICK, None),  # it was renewed since
    ],
)
def test_mail_was_sent_if_its_row_is_gone_since(
    row: str | None, mailed_at: datetime | None, state: str | None
) -> None:
    assert mail_state(row, mailed_at, NOW) == state


@pytest.mark.parametrize(
    ("version", "shown", "invited", "known"),
    [
        (1, 1, "bob@example.org", True),
        (2, 1, "ada@example.org", False),
        (2, 2, "bob@example.org", True),
        (1, 2, "ada@example.org", False),
        (1, None, "bob@example.org", True),
        (2, None, "bob@example.org", False),
        (2, None, "ada@example.org", True),
    ],
)
def test_renewed_invitation_is_known_by_its_new_link_or_the_invited_address(
    version: int, shown: int | None, invited: str, *, known: bool
) -> None:
    assert is_known_by(person(), invited, version, shown) == known


def test_invitee_is_reminded_one_day_before_the_end() -> None:
    assert timedelta(days=1) == REMIND_BEFORE


def test_mail_of_an_earlier_version_is_not_sent() -> None:
    """An earlier release has queued e-mails without a version."""
    assert is_current_mail({"link_version": 2}, 2) is True
    assert is_current_mail({"link_version": 1}, 2) is False
    assert is_current_mail({}, 2) is True
