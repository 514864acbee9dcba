"""The one way to change the state of a join request."""

from __future__ import annotations

from collegium.access.rules import Actor
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.queries import JoinRequestRow
from collegium.join_requests.rules import Action, State


def move(
    tx: WriteTransaction,
    actor: Actor | None,
    request: JoinRequestRow,
    action: Action,
    by: int | None,
    comment: str | None = None,
    *,
    project: int | None = None,
) -> None:
    """Take an action on a request whose scope is locked: change its state and record the event.

    Args:
        actor: who acts, for the event; None for auto-approval.
        by: id of the account that decides; None for auto-approval.
        project: id of the project that was created for the requester.

    Raises:
        Conflict: ``request.wrong_state`` if the table or a concurrent change forbids it.
    """
    state = action.after(State(request.state))
    is_automatic = action is Action.APPROVE and by is None
    join_request_queries.set_state(
        tx, request, state, by, comment, is_automatic=is_automatic, project=project
    )
    event_queries.record(tx, actor, action.event.of(request))
