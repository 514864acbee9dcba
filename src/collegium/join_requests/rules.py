"""Rules of join requests: states, transitions, and when a person may ask again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum, unique
from typing import Final

from collegium.access.lifecycles import By, Lifecycle
from collegium.events import types as events
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


class Cancellation(StrEnum):
    """Who or what cancelled a request: in both APIs the state is the same."""

    WITHDRAWN = "withdrawn"
    BY_STAFF = "by staff"
    SCOPE_DELETED = "scope deleted"
    SCOPE_DELETED_OR_MOVED = "scope deleted or moved"


STORED: Final = tuple(state for state in State if state is not State.DRAFT)


@unique
class Action(Lifecycle, refusal="request.wrong_state"):
    """The actions on a join request."""

    SUBMIT = ({State.DRAFT: State.PENDING}, By.PERSON, events.JoinRequestSubmitted)
    APPROVE = ({State.PENDING: State.APPROVED}, By.GRANTER, events.JoinRequestApproved)
    REJECT = ({State.PENDING: State.REJECTED}, By.GRANTER, events.JoinRequestRejected)
    CANCEL = (
        dict.fromkeys((State.DRAFT, State.PENDING), State.CANCELED),
        By.PERSON,
        events.JoinRequestCanceled,
    )


def cancellation(
    requester: int,
    decided_by: int | None,
    decided_at: datetime | None,
    scope_deleted_at: datetime | None,
) -> Cancellation:
    """Return who or what cancelled a request.

    Only requests of a scope that is deleted, or moved without its members, are cancelled in
    nobody's name. Such a scope may have been restored, or deleted again, since.

    Args:
        requester: id of the account that asked.
        decided_by: id of the account that cancelled the request; None for none.
        decided_at: when the request was cancelled, UTC.
        scope_deleted_at: when the scope was deleted, UTC; None if it exists.
    """
    if decided_by is not None:
        return Cancellation.WITHDRAWN if decided_by == requester else Cancellation.BY_STAFF
    if scope_deleted_at is not None and scope_deleted_at == decided_at:
        return Cancellation.SCOPE_DELETED
    return Cancellation.SCOPE_DELETED_OR_MOVED


def is_fulfilled(
    requested_role: int,
    requested_permissions: Collection[str],
    granted_role: int,
    granted_permissions: Collection[str],
) -> bool:
    """Return whether a granted role fulfils the request for another role in the same scope.

    The same role does, and so does a role with all its permissions and more. An unrelated role
    does not: an auditor may still want to be a member.

    Args:
        requested_role: id of the requested role.
        granted_role: id of the granted role.
    """
    return requested_role == granted_role or set(requested_permissions) < set(granted_permissions)


def check_may_request(*, is_pending: bool, was_approved: bool, has_role: bool) -> None:
    """Require that the requester has no pending request and does not have the role.

    A request that was rejected or withdrawn, or whose role has ended since, is no obstacle.

    Args:
        is_pending: whether a request of this person is pending.
        was_approved: whether an earlier request of this person was approved.
        has_role: whether this person has the requested role.

    Raises:
        Conflict: ``request.exists``, ``grant.held``.
    """
    if is_pending or (was_approved and has_role):
        raise Conflict("request.exists")
    if has_role:
        raise Conflict("grant.held")
