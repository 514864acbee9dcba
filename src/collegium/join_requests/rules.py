"""The states of a request to be let in, the acts that move it, and when one may ask again."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from collegium.refusals import Conflict

if TYPE_CHECKING:
    from collections.abc import Collection


class State(StrEnum):
    """The states of a request, in the order in which lists sort them.

    ``DRAFT`` is where every request begins and is left in the same transaction: never stored.
    """

    DRAFT = "draft"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELED = "canceled"


STORED: Final = tuple(state for state in State if state is not State.DRAFT)


class Action(StrEnum):
    """What can happen to a request after it was begun."""

    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"


TRANSITIONS: Final = {
    (State.DRAFT, Action.SUBMIT): State.PENDING,
    (State.DRAFT, Action.CANCEL): State.CANCELED,
    (State.PENDING, Action.APPROVE): State.APPROVED,
    (State.PENDING, Action.REJECT): State.REJECTED,
    (State.PENDING, Action.CANCEL): State.CANCELED,
}


def transition(state: str, act: Action) -> State:
    """Give the state that an act leads to.

    Refuses: Conflict ``request.wrong_state`` when the act is not open in that state.
    """
    try:
        return TRANSITIONS[State(state), act]
    except KeyError:
        raise Conflict("request.wrong_state", act=act, state=state) from None


def is_repeated(state: str, act: Action) -> bool:
    """Tell whether an act has already led to where it leads: whoever says it twice means once."""
    return state == TRANSITIONS[State.PENDING, act]


def is_fulfilled(
    asked: int, asked_permissions: Collection[str], given: int, given_permissions: Collection[str]
) -> bool:
    """Tell whether a role that was given fulfils the wish for another in the same scope.

    The same role does, and one with all its permissions and more. Another role beside it does
    not: an auditor may still want to be a member.

    Args:
        asked: id of the role that was asked for.
        given: id of the role that was given.
    """
    return asked == given or set(asked_permissions) < set(given_permissions)


def check_may_ask(*, is_pending: bool, was_approved: bool, holds: bool) -> None:
    """Let somebody ask who is not waiting for an answer and does not have the role.

    A request that was rejected, was canceled, or whose role has ended since stands in no way.

    Args:
        is_pending: a request of theirs waits to be decided.
        was_approved: an earlier request of theirs was approved.
        holds: they hold the role that they ask for.

    Refuses: Conflict ``request.exists`` and ``grant.held``.
    """
    if is_pending or (was_approved and holds):
        raise Conflict("request.exists")
    if holds:
        raise Conflict("grant.held")
