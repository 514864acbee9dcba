"""Changes of many rows, and the states of a bulk change and of its rows."""

from __future__ import annotations

from collegium.bulk_changes.rules import (
    BATCH,
    BUSY,
    FOLLOWING,
    OF_INVITATIONS,
    OF_MEMBERS,
    ROWS_MAX,
    STOPPABLE,
    WORK,
    Change,
    RowState,
    State,
)


def test_names_of_changes_and_states_are_stored() -> None:
    assert " ".join(Change) == "send cancel extend end remove"
    assert " ".join(State) == "judging judged running done canceled"
    assert " ".join(RowState) == "chosen ready unchanged refused done"


def test_invitations_and_members_have_their_own_changes() -> None:
    assert OF_INVITATIONS == ("send", "extend", "cancel")
    assert OF_MEMBERS == ("end", "remove")


def test_worker_judges_chosen_rows_and_changes_ready_ones() -> None:
    assert WORK == {"judging": "chosen", "running": "ready"}
    assert FOLLOWING == {"judging": "judged", "running": "done"}
    assert {"judging", "running"} == BUSY


def test_bulk_change_can_be_stopped_until_it_is_done() -> None:
    assert {"judging", "judged", "running"} == STOPPABLE


def test_number_of_rows_is_limited() -> None:
    assert (ROWS_MAX, BATCH) == (20_000, 25)
