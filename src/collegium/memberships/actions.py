"""Actions on the members of a scope: add, change and remove roles."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from collegium.access.queries import ScopeAccess, lock_and_recheck
from collegium.access.rules import (
    MEMBERSHIP_PERMISSIONS,
    Actor,
    Permission,
    ScopeKind,
    has_permission,
    may_grant,
)
from collegium.db.database import WriteTransaction
from collegium.db.statements import Row
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


class RoleAssignment(NamedTuple):
    """A role of an account in a scope; the scope is loaded with the actor's permissions there."""

    access: ScopeAccess
    role: Row
    account: Row


def add(tx: WriteTransaction, actor: Actor, seat: RoleAssignment, until: datetime | None) -> None:
    """Grant a role to an account in a scope.

    Args:
        seat: the scope, as loaded through ``get_visible``, with the role and the account.
        until: end of the grant, UTC; None for no end.

    Raises:
        NotFound: ``<kind>.unknown``, ``scope.unknown``: the scope was deleted or hidden in the
            meantime.
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``organisation.unavailable``, ``role.other_kind``, ``role.inactive``,
            ``membership.own_role``, ``grant.exists``, ``account.inactive``.
        Invalid: ``grant.ends_in_the_past``.
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
    """Set the end of a grant; return whether it has changed.

    Args:
        until: UTC; None for no end.

    Raises:
        NotFound: ``grant.unknown`` if there is no such active grant; otherwise as ``add``.
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``organisation.unavailable``, ``membership.own_role``; ``scope.last_owner`` if the
            last owner would get an end.
        Invalid: ``grant.ends_in_the_past``.
    """
    seat = _check_grantable(
        tx, actor, seat, MEMBERSHIP_PERMISSIONS[ScopeKind(seat.access.scope.kind)].update_role
    )
    membership_rules.check_end(until, tx.now)
    held = membership_queries.active_grant(tx, seat.account.id, seat.role.id, seat.access.scope.id)
    if held is None:
        raise NotFound("grant.unknown")
    if until == held.valid_until:
        return False
    if until is not None:
        _ensure_owner_remains(tx, seat, held)
    membership_queries.set_end(tx, held.id, until)
    _record(tx, "role.updated", actor, seat, until)
    if until is None:
        # A join request asks for a role without an end, so only such a grant fulfils it.
        finish_join(tx, actor, seat.account.id, seat.role.id, _place(seat), by=actor.id)
    return True


def change_role(tx: WriteTransaction, actor: Actor, seat: RoleAssignment, role: Row) -> None:
    """Replace a role of an account by another one, with the same end.

    Args:
        seat: the present role.
        role: the new role.

    Raises:
        NotFound: ``grant.unknown`` if the present role is not held; otherwise as ``add``.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor must be allowed to
            remove the present role and to grant the new one.
        Conflict: ``organisation.unavailable``, ``membership.own_role``, ``role.other_kind``,
            ``role.inactive``, ``grant.exists``, ``account.inactive``; ``scope.last_owner`` if the
            last owner would get a role that is not an owner's.
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
    grant(tx, actor, account, role.id, _place(seat), by=actor.id, until=held.valid_until)
    _record(tx, "role.revoked", actor, seat, tx.now)
    _record(tx, "role.granted", actor, given, held.valid_until)


def remove(tx: WriteTransaction, actor: Actor, seat: RoleAssignment) -> None:
    """Remove a role from an account; do nothing if it is not held.

    Raises:
        NotFound: as ``add``.
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``membership.own_role``, ``scope.last_owner``.
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
    """End a grant that has expired, and record it; return False if there was nothing to do.

    Args:
        grant: id of the grant.
    """
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
        until=ended.valid_until.isoformat(),
    )
    return True


def _place(seat: RoleAssignment) -> ScopeRef:
    return ScopeRef(seat.access.scope.id, seat.access.scope.kind)


def _check_grantable(
    tx: WriteTransaction, actor: Actor, seat: RoleAssignment, right: Permission
) -> RoleAssignment:
    # The rules below concern all members of the scope, so concurrent changes run one after another.
    seat = seat._replace(access=lock_and_recheck(tx, actor, seat.access, right))
    carried = role_queries.permissions_of(tx, [seat.role.id]).get(seat.role.id, [])
    require_permission(actor, seat.access, right, seat.account.id, carried)
    return seat


def require_permission(
    actor: Actor,
    scope_access: ScopeAccess,
    right: Permission,
    account: int,
    carried: Collection[str],
) -> None:
    """Require that the actor may use a permission on a role of an account.

    Args:
        right: the permission to grant, change or revoke roles.
        account: id of the account whose role it is.
        carried: permissions of the role.

    Raises:
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``membership.own_role`` for the actor's own role in a project or group, unless the
            actor is staff or the permission is inherited; ``organisation.unavailable`` unless a
            role is revoked.
    """
    scope = scope_access.scope
    if not has_permission(actor, scope_access.permissions, right):
        raise Forbidden("permission.missing")
    if right is not MEMBERSHIP_PERMISSIONS[ScopeKind(scope.kind)].revoke:
        check_open(scope)
    from_below = not actor.is_staff and right not in scope_access.parent_permissions
    if from_below and account == actor.id and scope.kind != ScopeKind.ORGANISATION:
        raise Conflict("membership.own_role")
    if not may_grant(actor, scope_access.permissions, carried):
        raise Forbidden("role.above_ceiling")


def _ensure_owner_remains(tx: WriteTransaction, seat: RoleAssignment, held: Row) -> None:
    scope = seat.access.scope
    if held.valid_until is None and membership_rules.is_owner_role(scope.kind, seat.role.name):
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
