"""Leaving: an account ends its own grant, which needs no permission."""

from __future__ import annotations

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.memberships import queries as membership_queries
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.queries import ActiveGrant, GrantRow, UnendedGrant
from collegium.memberships.rules import is_owner_role
from collegium.refusals import Conflict, NotFound


def can_leave(tx: ReadTransaction, actor: Actor, uuid: str) -> tuple[GrantRow, bool]:
    """Return a grant of the actor, and whether the actor could leave now.

    Args:
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``.
    """
    grant = membership_queries.get_of_account(tx, actor.id, uuid)
    return grant, not is_last_owner(tx, grant.scope_kind, grant.role_name, grant)


def leave(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """End a grant of the actor.

    Args:
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``.
        Conflict: ``scope.last_owner``.
    """
    grant = membership_queries.get_of_account(tx, actor.id, uuid)
    access_queries.lock_scope(tx, grant.scope_id)
    # Loaded again under the lock: in the meantime the grant may have lost its end, and so have
    # become the last owner's grant without one.
    grant = membership_queries.get_of_account(tx, actor.id, uuid)
    ensure_owner_remains(tx, grant.scope_kind, grant.role_name, grant)
    if not membership_queries.end(tx, grant.id, actor.id):
        raise NotFound("grant.unknown")
    notice_actions.removed(tx, actor, grant.id)
    event_queries.record(
        tx,
        actor,
        events.RoleRevoked(
            scope=grant.scope_id,
            account=actor.id,
            role=grant.role_name,
            scope_name=grant.scope_name,
            username=actor.username,
            until=tx.now,
        ),
    )


def is_last_owner(
    tx: ReadTransaction, kind: str, role_name: str, grant: ActiveGrant | UnendedGrant
) -> bool:
    """Return whether no other owner without an end remains if a grant ends or gets an end.

    Args:
        kind: of the scope, which is locked unless the answer is only shown.
        role_name: name of the granted role.
    """
    return (
        grant.valid_until is None
        and is_owner_role(kind, role_name)
        and membership_queries.count_other_owners(tx, grant.scope_id, grant.id) == 0
    )


def ensure_owner_remains(
    tx: ReadTransaction, kind: str, role_name: str, grant: ActiveGrant
) -> None:
    """Require that another owner remains. The arguments are those of ``is_last_owner``.

    Raises:
        Conflict: ``scope.last_owner``.
    """
    if is_last_owner(tx, kind, role_name, grant):
        raise Conflict("scope.last_owner")
