"""State transitions of join requests, and conditions for another request."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from collegium.join_requests.rules import (
    STORED,
    Action,
    State,
    cancellation,
    check_may_request,
    is_fulfilled,
)
from collegium.refusals import Conflict
from tests.rules.refusing import described, read_descriptions, read_table, refused

# From the specification; a dash means that the action is refused.
TABLE = """
            submit    approve   reject    cancel
draft       pending   -         -         canceled
pending     -         approved  rejected  canceled
approved    -         -         -         -
rejected    -         -         -         -
canceled    -         -         -         -
"""


EXPECTED = read_table(TABLE)

# Who may take an action, and what the audit log says.
BY = """
submit   person   request.submitted
approve  granter  request.approved
reject   granter  request.rejected
cancel   person   request.canceled
"""


THEN = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_table_has_every_state_and_action() -> None:
    assert set(EXPECTED) == {(state.value, str(action)) for state in State for action in Action}


def test_actions_are_taken_by_those_who_may_and_recorded() -> None:
    assert described(Action) == read_descriptions(BY)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("state", State)
def test_transitions_are_those_of_the_specification(state: State, action: Action) -> None:
    new_state = EXPECTED[state.value, str(action)]
    if new_state == "-":
        with refused(Conflict, "request.wrong_state", {"act": action.name, "state": state}):
            action.after(state)
    else:
        assert action.after(state) is State(new_state)


def test_transitions_lead_only_to_stored_states() -> None:
    assert set(STORED) == set(State) - {State.DRAFT}
    reached = {action.after(state) for action in Action for state in action.states}
    assert reached == set(STORED)


@pytest.mark.parametrize("state", STORED)
def test_repeated_decision_is_recognised(state: State) -> None:
    states = {Action.APPROVE: "approved", Action.REJECT: "rejected", Action.CANCEL: "canceled"}
    for action, new_state in states.items():
        assert action.is_repeated(state) is (new_state == state.value)


def test_order_of_the_states() -> None:
    assert [*State] == ["draft", "pending", "approved", "rejected", "canceled"]


@pytest.mark.parametrize(
    ("is_pending", "was_approved", "has_role", "code"),
    [
        (False, False, False, None),
        # The role has ended since.
        (False, True, False, None),
        (True, False, False, "request.exists"),
        (True, True, False, "request.exists"),
        (True, True, True, "request.exists"),
        (True, False, True, "request.exists"),
        (False, True, True, "request.exists"),
        # The role was granted without a request.
        (False, False, True, "grant.held"),
    ],
)
def test_conditions_for_another_join_request(
    *, is_pending: bool, was_approved: bool, has_role: bool, code: str | None
) -> None:
    with refused(Conflict, code) if code else nullcontext():
        check_may_request(is_pending=is_pending, was_approved=was_approved, has_role=has_role)


@pytest.mark.parametrize(
    ("requested", "granted", "fulfils"),
    [
        ((1, ["a"]), (1, ["a"]), True),
        ((1, ["a"]), (1, []), True),
        ((1, ["a"]), (2, ["a", "b"]), True),
        ((1, ["a"]), (2, ["a"]), False),
        ((1, ["a", "b"]), (2, ["a"]), False),
        ((1, ["a"]), (2, ["b", "c"]), False),
    ],
)
def test_request_is_fulfilled_by_the_role_itself_or_by_more_permissions(
    requested: tuple[int, list[str]], granted: tuple[int, list[str]], *, fulfils: bool
) -> None:
    assert is_fulfilled(*requested, *granted) == fulfils


@pytest.mark.parametrize(
    ("decided_by", "deleted_at", "how"),
    [
        (1, None, "withdrawn"),
        (1, THEN, "withdrawn"),
        (2, None, "by staff"),
        (2, THEN, "by staff"),
        (None, THEN, "scope deleted"),
        (None, THEN + timedelta(days=1), "scope deleted or moved"),
        (None, None, "scope deleted or moved"),
    ],
)
def test_cancelled_request_says_who_or_what_cancelled_it(
    decided_by: int | None, deleted_at: datetime | None, how: str
) -> None:
    assert cancellation(1, decided_by, THEN, deleted_at) == how
    assert decided_by or cancellation(1, None, None, None) == "scope deleted or moved"
