"""Leaving: an account ends its own grant, which needs no permission."""

from __future__ import annotations

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row
from collegium.events import queries as event_queries
from collegium.memberships import queries as membership_queries
from collegium.memberships.rules import ensure_owner_remains, is_owner_role
from collegium.refusals import Conflict, NotFound


def can_leave(tx: ReadTransaction, actor: Actor, uuid: str) -> tuple[Row, bool]:
    """Return a grant of the actor, and whether the actor could leave now.

    Args:
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``.
    """
    grant = membership_queries.get_own(tx, actor.id, uuid)
    try:
        _ensure_owner_remains(tx, grant)
    except Conflict:
        return grant, False
    return grant, True


def leave(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """End a grant of the actor.

    Args:
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``.
        Conflict: ``scope.last_owner``.
    """
    grant = membership_queries.get_own(tx, actor.id, uuid)
    access_queries.lock_scope(tx, grant.scope_id)
    # Loaded again under the lock: in the meantime the grant may have lost its end, and so have
    # become the last owner's grant without one.
    grant = membership_queries.get_own(tx, actor.id, uuid)
    _ensure_owner_remains(tx, grant)
    if not membership_queries.end(tx, grant.id, actor.id):
        raise NotFound("grant.unknown")
    event_queries.record(
        tx,
        "role.revoked",
        actor,
        scope=grant.scope_id,
        account=actor.id,
        role=grant.role_name,
        scope_name=grant.scope_name,
        username=actor.username,
        until=tx.now.isoformat(),
    )


def _ensure_owner_remains(tx: ReadTransaction, grant: Row) -> None:
    if grant.valid_until is None and is_owner_role(grant.scope_kind, grant.role_name):
        others = membership_queries.count_other_owners(tx, grant.scope_id, grant.id)
        ensure_owner_remains(grant.scope_kind, grant.role_name, others)
