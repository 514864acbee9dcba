"""The invitation machine and the questions around it, without a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from collegium.access.rules import Actor, Permission
from collegium.invitations.rules import (
    STORED,
    TRANSITIONS,
    Action,
    DeliveryStatus,
    State,
    can_read_but_not_grant,
    delivery_status,
    effective_state,
    initial_state,
    inviter_can_still_grant,
    may_accept,
    transition,
)
from collegium.refusals import Conflict

NOW = datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC)
TODAY = NOW.date()
TICK = timedelta(microseconds=1)
GRANT = Permission.PROJECT_GRANT
LIST = Permission.INVITATION_LIST

# Written by hand from the table of the specification; a dash: the act is refused there.
MACHINE = """
            accept    cancel    send     approve  reject    release  decline
held        -         canceled  -        -        -         pending  -
requested   -         -         -        pending  rejected  -        -
pending     accepted  canceled  pending  -        -         -        rejected
accepted    -         -         -        -        -         -        -
rejected    -         -         -        -        -         -        -
canceled    -         -         pending  -        -         -        -
expired     -         -         pending  -        -         -        -
"""


def _machine() -> dict[tuple[str, str], str]:
    head, *lines = MACHINE.strip().splitlines()
    acts = head.split()
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        state, *leads_to = line.split()
        found |= {(state, act): end for act, end in zip(acts, leads_to, strict=True)}
    return found


EXPECTED = _machine()


def person(*, staff: bool = False, support: bool = False, civil: str | None = None) -> Actor:
    return Actor(
        id=1,
        uuid="1" * 32,
        username="ada",
        name="Ada Lovelace",
        email="Ada@Example.org",
        is_staff=staff,
        is_support=support,
        civil_number=civil,
    )


def test_the_table_speaks_of_every_state_and_every_act() -> None:
    assert set(EXPECTED) == {(state.value, act.value) for state in State for act in Action}


@pytest.mark.parametrize("act", Action)
@pytest.mark.parametrize("state", State)
def test_every_act_moves_as_specified_or_is_refused(state: State, act: Action) -> None:
    leads_to = EXPECTED[state.value, act.value]
    if leads_to == "-":
        with pytest.raises(Conflict) as refused:
            transition(state, act)
        assert refused.value.code == "invitation.wrong_state"
        assert refused.value.facts == {"act": act, "state": state}
    else:
        assert transition(state, act) is State(leads_to)


def test_no_move_leads_into_a_state_that_is_never_stored() -> None:
    assert State.EXPIRED not in STORED
    assert set(TRANSITIONS.values()) <= set(STORED)


@pytest.mark.parametrize(
    ("expires", "state"),
    [(NOW - TICK, State.EXPIRED), (NOW, State.EXPIRED), (NOW + TICK, State.PENDING)],
    ids=["a_moment_ago", "this_very_instant", "in_a_moment"],
)
def test_a_pending_invitation_expires_at_the_very_instant(expires: datetime, state: State) -> None:
    assert effective_state("pending", expires, NOW) is state


@pytest.mark.parametrize("stored", [state for state in STORED if state is not State.PENDING])
def test_only_a_pending_invitation_expires(stored: State) -> None:
    assert effective_state(stored.value, NOW - timedelta(days=900), NOW) is stored


@pytest.mark.parametrize(
    ("starts", "state"),
    [
        (None, State.PENDING),
        (TODAY - timedelta(days=1), State.PENDING),
        (TODAY, State.PENDING),
        (TODAY + timedelta(days=1), State.HELD),
    ],
    ids=["no_start", "yesterday", "today", "tomorrow"],
)
def test_an_invitation_waits_for_a_start_in_the_future(starts: date | None, state: State) -> None:
    def opened(*, needs: bool, approved: bool) -> State:
        return initial_state(
            needs_approval=needs, approved=approved, start_date=starts, today=TODAY
        )

    assert opened(needs=False, approved=False) is state
    assert opened(needs=True, approved=True) is state
    # The staff are asked first, whatever the project waits for.
    assert opened(needs=True, approved=False) is State.REQUESTED


@pytest.mark.parametrize(
    ("email", "locked_to", "civil", "anybody", "by_address"),
    [
        ("ada@example.org", "", None, True, True),
        ("bob@example.org", "", None, True, False),
        ("ada@example.org", "EE1", "EE1", True, True),
        ("bob@example.org", "EE1", "EE1", True, False),
        ("ada@example.org", "EE1", "EE2", False, False),
        ("ada@example.org", "EE1", None, False, False),
    ],
    ids=["own", "another", "own_number", "own_number_only", "foreign_number", "no_number"],
)
def test_who_may_take_it(
    email: str, locked_to: str, civil: str | None, *, anybody: bool, by_address: bool
) -> None:
    ada = person(civil=civil)

    def takes(*, by_address: bool, account: int | None = None) -> bool:
        return may_accept(ada, email, locked_to, account=account, by_address=by_address)

    assert takes(by_address=False) is anybody
    assert takes(by_address=True) is by_address
    # Whatever its address, an account's own invitation is open to it alone.
    for strict in (False, True):
        assert takes(account=ada.id, by_address=strict) is anybody
        assert not takes(account=ada.id + 1, by_address=strict)


@pytest.mark.parametrize(
    ("who", "held", "reads"),
    [
        (person, (), False),
        (person, (LIST,), True),
        (person, (LIST, GRANT, Permission.PROJECT_UPDATE), False),
        (person, (GRANT, Permission.PROJECT_UPDATE), False),
        # May invite here, but not to this role: sees it in the list, must not help themselves.
        (person, (GRANT,), True),
        (person, (LIST, GRANT), True),
        (person, (Permission.PROJECT_UPDATE,), False),
        (lambda: person(support=True), (), True),
        (lambda: person(support=True), (GRANT, Permission.PROJECT_UPDATE), False),
        (lambda: person(staff=True), (), False),
        (lambda: person(staff=True, support=True), (), False),
    ],
    ids=[
        "outsider",
        "reader",
        "reader_who_gives",
        "giver",
        "giver_below_the_role",
        "reader_and_giver_below_the_role",
        "neither",
        "support",
        "support_who_gives",
        "staff",
        "staff_and_support",
    ],
)
def test_who_knows_an_invitation_from_reading_only(
    who: Callable[[], Actor], held: tuple[Permission, ...], reads: bool
) -> None:
    carried = {Permission.PROJECT_UPDATE}
    assert can_read_but_not_grant(who(), held, GRANT, carried) is reads


UPDATE = Permission.PROJECT_UPDATE


@pytest.mark.parametrize(
    ("held", "active", "staff", "stands"),
    [
        ({GRANT, UPDATE}, True, False, True),
        ({GRANT, UPDATE}, False, False, False),
        ({GRANT}, True, False, False),
        ({UPDATE}, True, False, False),
        (set(), True, True, True),
        (set(), False, True, False),
        (set(), True, False, False),
    ],
    ids=[
        "as_then",
        "gone",
        "role_above_them_now",
        "may_not_invite_any_more",
        "staff",
        "staff_gone",
        "nothing_left",
    ],
)
def test_an_invitation_counts_while_whoever_sent_it_could_still_give_its_role(
    held: set[Permission], *, active: bool, staff: bool, stands: bool
) -> None:
    assert (
        inviter_can_still_grant(held, GRANT, {UPDATE}, is_active=active, is_staff=staff) is stands
    )


@pytest.mark.parametrize(
    ("mail", "leased", "error", "told"),
    [
        (None, None, None, "Scheduled"),
        (None, NOW + TICK, "no route", "Scheduled"),
        ("queued", None, None, "Scheduled"),
        ("queued", None, "", "Scheduled"),
        ("queued", None, "no route", "Erred"),
        ("queued", NOW, None, "Scheduled"),
        ("queued", NOW, "no route", "Erred"),
        ("queued", NOW + TICK, None, "Processing"),
        # At work again: what went wrong before is not the last word.
        ("queued", NOW + TICK, "no route", "Processing"),
        ("sent", None, None, "OK"),
        ("sent", NOW + TICK, "no route", "OK"),
        ("failed", None, "no route", "Erred"),
        ("failed", NOW + TICK, None, "Erred"),
        ("obsolete", None, None, "Erred"),
    ],
    ids=[
        "none",
        "none_whatever_else",
        "waits",
        "waits_without_fault",
        "failed_so_far",
        "lease_over",
        "lease_over_and_failed",
        "at_work",
        "at_work_again",
        "sent",
        "sent_at_last",
        "given_up",
        "given_up_whatever_else",
        "nothing_to_send",
    ],
)
def test_what_became_of_the_mail(
    mail: str | None, leased: datetime | None, error: str | None, told: str
) -> None:
    assert delivery_status(mail, leased, error, NOW) is DeliveryStatus(told)
