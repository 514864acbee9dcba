"""Rules of join requests: states, transitions, and when a person may ask again."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from collegium.refusals import Conflict


class State(StrEnum):
    """The states of a request, in the order in which lists sort them.

    Every request begins as ``DRAFT`` and leaves it in the same transaction, so it is never stored.
    """

    DRAFT = "draft"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELED = "canceled"


STORED: Final = tuple(state for state in State if state is not State.DRAFT)


class Action(StrEnum):
    """The actions that change the state of a request."""

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
    """Return the state after an action.

    Raises:
        Conflict: ``request.wrong_state`` if the action is not allowed in this state.
    """
    try:
        return TRANSITIONS[State(state), act]
    except KeyError:
        raise Conflict("request.wrong_state", act=act, state=state) from None


def is_repeated(state: str, act: Action) -> bool:
    """Return whether an action has already led to its state, so repeating it changes nothing."""
    return state == TRANSITIONS[State.PENDING, act]


def is_fulfilled(
    asked: int, asked_permissions: Collection[str], given: int, given_permissions: Collection[str]
) -> bool:
    """Return whether a granted role fulfils the request for another role in the same scope.

    The same role does, and so does a role with all its permissions and more. An unrelated role
    does not: an auditor may still want to be a member.

    Args:
        asked: id of the requested role.
        given: id of the granted role.
    """
    return asked == given or set(asked_permissions) < set(given_permissions)


def check_may_ask(*, is_pending: bool, was_approved: bool, holds: bool) -> None:
    """Require that the requester has no pending request and does not have the role.

    A request that was rejected or withdrawn, or whose role has ended since, is no obstacle.

    Args:
        is_pending: whether a request of this person is pending.
        was_approved: whether an earlier request of this person was approved.
        holds: whether this person has the requested role.

    Raises:
        Conflict: ``request.exists``, ``grant.held``.
    """
    if is_pending or (was_approved and holds):
        raise Conflict("request.exists")
    if holds:
        raise Conflict("grant.held")
