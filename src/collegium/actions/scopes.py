"""What organisations, projects and groups have in common: when somebody joins, when they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.store import events, invitations, memberships, open_invitations, requests, scopes

if TYPE_CHECKING:
    from collegium.rules.access import Actor
    from collegium.store.db import Write


def joined(tx: Write, actor: Actor | None, account: int, email: str, scope: int) -> None:
    """Close what else would lead somebody into a group that they have just joined.

    There is one role a person in a group, so nothing that is still open could be answered.

    Args:
        scope: number of the group, which is locked.
    """
    by = actor.id if actor else None
    for uuid in requests.close_of(tx, account, scope, by):
        events.record(
            tx, "request.canceled", actor, scope=scope, account=account, request_uuid=uuid
        )
    for uuid in invitations.close_of(tx, scope, email):
        events.record(tx, "invitation.canceled", actor, scope=scope, invitation=uuid)


def close(tx: Write, actor: Actor, scope: int) -> None:
    """End everything that leads into a scope or out of it, and hide it; its history stays.

    Args:
        scope: number of a scope that is locked, and whose end was judged before.
    """
    invitations.close_all(tx, scope)
    open_invitations.cancel_all(tx, scope)
    requests.close_all(tx, scope)
    memberships.end_all(tx, scope, actor.id)
    scopes.remove(tx, scope)
