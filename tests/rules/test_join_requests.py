"""The machine of requests, and when one may ask again; without a database."""

from __future__ import annotations

import pytest

from collegium.join_requests.rules import (
    STORED,
    TRANSITIONS,
    Action,
    State,
    check_may_request,
    check_pending_quota,
    is_repeated,
    transition,
)
from collegium.refusals import Conflict

# Written by hand from the table of the specification; a dash: the act is refused there.
MACHINE = """
            submit    approve   reject    cancel
draft       pending   -         -         canceled
pending     -         approved  rejected  canceled
approved    -         -         -         -
rejected    -         -         -         -
canceled    -         -         -         -
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


def test_the_table_speaks_of_every_state_and_every_act() -> None:
    assert set(EXPECTED) == {(state.value, act.value) for state in State for act in Action}


@pytest.mark.parametrize("act", Action)
@pytest.mark.parametrize("state", State)
def test_every_act_moves_as_specified_or_is_refused(state: State, act: Action) -> None:
    leads_to = EXPECTED[state.value, act.value]
    if leads_to == "-":
        with pytest.raises(Conflict) as refused:
            transition(state.value, act)
        assert refused.value.code == "request.wrong_state"
        assert refused.value.facts == {"act": act, "state": state}
    else:
        assert transition(state.value, act) is State(leads_to)


def test_no_move_leads_into_a_state_that_is_never_stored() -> None:
    assert set(STORED) == set(State) - {State.DRAFT}
    assert set(TRANSITIONS.values()) == set(STORED)


@pytest.mark.parametrize("state", STORED)
def test_whoever_says_the_same_twice_means_once(state: State) -> None:
    ends = {Action.APPROVE: "approved", Action.REJECT: "rejected", Action.CANCEL: "canceled"}
    assert [act for act in ends if is_repeated(state.value, act)] == [
        act for act, end in ends.items() if end == state.value
    ]


def test_the_states_are_in_the_order_in_which_lists_sort_them() -> None:
    assert [*State] == ["draft", "pending", "approved", "rejected", "canceled"]


@pytest.mark.parametrize(
    ("is_pending", "was_approved", "holds", "refused"),
    [
        (False, False, False, None),
        # Asked and decided, and the role has ended since.
        (False, True, False, None),
        (True, False, False, "request.exists"),
        (True, True, False, "request.exists"),
        (True, True, True, "request.exists"),
        (True, False, True, "request.exists"),
        (False, True, True, "request.exists"),
        # Never asked: the role came another way.
        (False, False, True, "grant.held"),
    ],
    ids=[
        "never_asked",
        "lost_it_since",
        "waits",
        "waits_again",
        "waits_and_has_it",
        "waits_and_got_it_elsewhere",
        "got_it_so",
        "got_it_elsewhere",
    ],
)
def test_who_may_ask_again(
    *, is_pending: bool, was_approved: bool, holds: bool, refused: str | None
) -> None:
    asked = {"is_pending": is_pending, "was_approved": was_approved, "has_role": holds}
    if refused is None:
        check_may_request(**asked)
    else:
        with pytest.raises(Conflict) as caught:
            check_may_request(**asked)
        assert caught.value.code == refused


def test_nobody_waits_at_too_many_doors() -> None:
    check_pending_quota(99, 100)
    with pytest.raises(Conflict) as refused:
        check_pending_quota(100, 100)
    assert refused.value.code == "request.too_many"
    assert refused.value.facts == {"most": 100}
