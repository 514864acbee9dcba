"""What can be done to the team of a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from collegium.access.queries import lock_and_recheck
from collegium.access.rules import MEMBERSHIP_PERMISSIONS, ScopeKind, has_permission, may_grant
from collegium.events import queries as event_queries
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.scopes.actions import (
    ScopeRef,
    check_open,
    close_pending_after_join,
    finish_join,
    grant,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from collegium.access.queries import ScopeAccess
    from collegium.access.rules import Actor, Permission
    from collegium.db.database import WriteTransaction
    from collegium.db.statements import Row


class RoleAssignment(NamedTuple):
    """A place in a team: who, in which role, where."""

    access: ScopeAccess
    role: Row
    account: Row


def add(tx: WriteTransaction, actor: Actor, seat: RoleAssignment, until: datetime | None) -> None:
    """Give somebody a role in a scope that the actor reached with the right to.

    Refuses: Conflict ``organisation.unavailable``, ``role.other_kind``, ``role.inactive``,
    ``membership.own_role`` and ``grant.exists``, Forbidden ``role.above_ceiling``,
    Invalid ``grant.ends_in_the_past``.
    """
    right = MEMBERSHIP_PERMISSIONS[ScopeKind(seat.access.scope.kind)].grant
    seat = _check_grantable(tx, actor, seat, right)
    if seat.role.kind != seat.access.scope.kind:
        raise Conflict("role.other_kind")
    if not seat.role.is_active:
        raise Conflict("role.inactive")
    membership_rules.check_end(until, tx.now)
    scope = seat.access.scope
    in_group = scope.kind == ScopeKind.GROUP
    if in_group and membership_queries.grant_in_scope(tx, seat.account.id, scope.id):
        raise Conflict("grant.exists")
    grant(tx, actor, seat.account.id, seat.role.id, _place(seat), by=actor.id, until=until)
    _record(tx, "role.granted", actor, seat, until)
    if in_group:
        close_pending_after_join(tx, actor, seat.account.id, scope.id)


def update(
    tx: WriteTransaction, actor: Actor, seat: RoleAssignment, until: datetime | None
) -> bool:
    """Set the end of somebody's grant; None: without end. Tell whether it is another one.

    Refuses: as ``add``, and NotFound ``grant.unknown`` when there is no such grant now,
    Conflict ``scope.last_owner`` when the last owner would be given an end.
    """
    seat = _check_grantable(
        tx, actor, seat, MEMBERSHIP_PERMISSIONS[ScopeKind(seat.access.scope.kind)].regrant
    )
    membership_rules.check_end(until, tx.now)
    held = membership_queries.active_grant(tx, seat.account.id, seat.role.id, seat.access.scope.id)
    if held is None:
        raise NotFound("grant.unknown")
    if until == held.until:
        return False
    if until is not None:
        _ensure_owner_remains(tx, seat, held)
    membership_queries.set_end(tx, held.id, until)
    _record(tx, "role.updated", actor, seat, until)
    if until is None:
        # A role without end is what a request asks for.
        finish_join(tx, actor, seat.account.id, seat.role.id, _place(seat), by=actor.id)
    return True


def change_role(tx: WriteTransaction, actor: Actor, seat: RoleAssignment, role: Row) -> None:
    """Give somebody another role in place of the one they have, with the same end.

    Refuses: as ``remove`` for the one and as ``add`` for the other, and NotFound
    ``grant.unknown`` when the one is not held now.
    """
    kind = ScopeKind(seat.access.scope.kind)
    seat = _check_grantable(tx, actor, seat, MEMBERSHIP_PERMISSIONS[kind].revoke)
    given = _check_grantable(
        tx, actor, seat._replace(role=role), MEMBERSHIP_PERMISSIONS[kind].grant
    )
    if role.kind != kind:
        raise Conflict("role.other_kind")
    if not role.is_active:
        raise Conflict("role.inactive")
    scope, account = seat.access.scope.id, seat.account.id
    held = membership_queries.active_grant(tx, account, seat.role.id, scope)
    if held is None:
        raise NotFound("grant.unknown")
    if role.id == seat.role.id:
        raise Conflict("grant.exists")
    if not membership_rules.is_owner_role(kind, role.name):
        _ensure_owner_remains(tx, seat, held)
    membership_queries.end(tx, held.id, actor.id)
    grant(tx, actor, account, role.id, _place(seat), by=actor.id, until=held.until)
    _record(tx, "role.revoked", actor, seat, tx.now)
    _record(tx, "role.granted", actor, given, held.until)


def remove(tx: WriteTransaction, actor: Actor, seat: RoleAssignment) -> None:
    """Take a role away; nothing happens when it is not held.

    Refuses: Conflict ``membership.own_role`` and ``scope.last_owner``,
    Forbidden ``role.above_ceiling``.
    """
    seat = _check_grantable(
        tx, actor, seat, MEMBERSHIP_PERMISSIONS[ScopeKind(seat.access.scope.kind)].revoke
    )
    held = membership_queries.active_grant(tx, seat.account.id, seat.role.id, seat.access.scope.id)
    if held is None:
        return
    _ensure_owner_remains(tx, seat, held)
    membership_queries.end(tx, held.id, actor.id)
    _record(tx, "role.revoked", actor, seat, tx.now)


def record_expiry(tx: WriteTransaction, grant: int) -> bool:
    """Write down that the time of a grant is over; tell whether it was to be done."""
    ended = membership_queries.close_expired(tx, grant)
    if ended is None:
        return False
    event_queries.record(
        tx,
        "role.expired",
        None,
        scope=ended.scope_id,
        account=ended.account_id,
        role=ended.role_name,
        scope_name=ended.scope_name,
        username=ended.username,
        until=ended.until.isoformat(),
    )
    return True


def _place(seat: RoleAssignment) -> ScopeRef:
    return ScopeRef(seat.access.scope.id, seat.access.scope.kind)


def _check_grantable(
    tx: WriteTransaction, actor: Actor, seat: RoleAssignment, right: Permission
) -> RoleAssignment:
    # The rules below speak of the whole team; two managers at once must take turns.
    seat = seat._replace(access=lock_and_recheck(tx, actor, seat.access, right))
    carried = role_queries.permissions_of(tx, [seat.role.id]).get(seat.role.id, [])
    require_permission(actor, seat.access, right, seat.account.id, carried)
    return seat


def require_permission(
    actor: Actor, reached: ScopeAccess, right: Permission, account: int, carried: Collection[str]
) -> None:
    """Let somebody use a right of the team on somebody's role.

    Args:
        account: the number of whom it is about.
        carried: the permissions of the role.

    Refuses: Forbidden ``permission.missing`` and ``role.above_ceiling``,
    Conflict ``membership.own_role`` and, save for taking a role away,
    ``organisation.unavailable``.
    """
    scope = reached.scope
    if not has_permission(actor, reached.permissions, right):
        raise Forbidden("permission.missing")
    if right is not MEMBERSHIP_PERMISSIONS[ScopeKind(scope.kind)].revoke:
        check_open(scope)
    from_below = not actor.is_staff and right not in reached.parent_permissions
    if from_below and account == actor.id and scope.kind != ScopeKind.ORGANISATION:
        raise Conflict("membership.own_role")
    if not may_grant(actor, reached.permissions, carried):
        raise Forbidden("role.above_ceiling")


def _ensure_owner_remains(tx: WriteTransaction, seat: RoleAssignment, held: Row) -> None:
    scope = seat.access.scope
    if held.until is None and membership_rules.is_owner_role(scope.kind, seat.role.name):
        others = membership_queries.other_owners(tx, scope.id, held.id)
        membership_rules.ensure_owner_remains(scope.kind, seat.role.name, others)


def _record(
    tx: WriteTransaction, kind: str, actor: Actor, seat: RoleAssignment, until: datetime | None
) -> None:
    event_queries.record(
        tx,
        kind,
        actor,
        scope=seat.access.scope.id,
        account=seat.account.id,
        role=seat.role.name,
        scope_name=seat.access.scope.name,
        username=seat.account.username,
        until=until.isoformat() if until else None,
    )
