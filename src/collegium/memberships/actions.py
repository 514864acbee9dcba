"""Actions on the members of a scope: add, change and remove roles."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from msgspec import UNSET

from collegium.access.queries import ScopeAccess, get_visible, lock_scope_and_recheck
from collegium.access.rules import (
    KINDS,
    Actor,
    Permission,
    ScopeKind,
    refusal_to_grant,
    require_staff,
)
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.memberships.leaving import ensure_owner_remains
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.queries import GrantRow, PastGrant
from collegium.memberships.rules import GrantSource
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow
from collegium.scopes.actions import (
    ScopeRef,
    check_open,
    close_invitations,
    finish_join,
    grant,
)


class RoleAssignment(NamedTuple):
    """A role of an account in a scope; the scope is loaded with the actor's permissions there."""

    access: ScopeAccess
    role: RoleRow
    account: AccountRow


def assignment_of(
    tx: ReadTransaction, access: ScopeAccess, uuid: str
) -> tuple[GrantRow, RoleAssignment]:
    """Return an active grant in a scope, and what it assigns.

    Args:
        access: the scope, as loaded through ``get_visible``.
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``, also for a grant in another scope.
    """
    row = membership_queries.get_in_scope(tx, access.scope.id, uuid)
    role = role_queries.existing(tx, uuid=row.role_uuid)
    return row, RoleAssignment(access, role, account_queries.existing(tx, row.account_id))


def add(tx: WriteTransaction, actor: Actor, target: RoleAssignment, until: datetime | None) -> None:
    """Grant a role to an account in a scope.

    Args:
        target: the scope, as loaded through ``get_visible``, with the role and the account.
        until: end of the grant, UTC; None for no end.

    Raises:
        NotFound: ``<kind>.unknown``, ``scope.unknown``: the scope was deleted or hidden in the
            meantime.
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``organisation.unavailable``, ``role.other_kind``, ``role.inactive``,
            ``membership.own_role``, ``grant.exists``, ``account.inactive``.
        Invalid: ``grant.ends_in_the_past``.
    """
    permission = KINDS[target.access.scope.kind].grant
    target = _lock_and_authorise(tx, actor, target, permission)
    if target.role.kind != target.access.scope.kind:
        raise Conflict("role.other_kind")
    if not target.role.is_active:
        raise Conflict("role.inactive")
    membership_rules.check_end(until, tx.now)
    scope = target.access.scope
    one_role = KINDS[scope.kind].one_role
    if one_role and membership_queries.grant_in_scope(tx, target.account.id, scope.id):
        raise Conflict("grant.exists")
    grant(
        tx,
        actor,
        target.account.id,
        target.role.id,
        _scope_ref(target),
        by=actor.id,
        source=GrantSource.MANUAL,
        until=until,
    )
    _record(tx, events.RoleGranted, actor, target, until)
    if one_role:
        close_invitations(tx, actor, target.account.id, scope=scope.id)


def update(
    tx: WriteTransaction, actor: Actor, target: RoleAssignment, until: datetime | None
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
    target = _lock_and_authorise(tx, actor, target, KINDS[target.access.scope.kind].update_role)
    membership_rules.check_end(until, tx.now)
    current = membership_queries.active_grant(
        tx, target.account.id, target.role.id, target.access.scope.id
    )
    if current is None:
        raise NotFound("grant.unknown")
    if until == current.valid_until:
        return False
    if until is not None:
        ensure_owner_remains(tx, target.access.scope.kind, target.role.name, current)
    membership_queries.set_end(tx, current.id, until)
    _record(tx, events.RoleUpdated, actor, target, until)
    # A join request asks for a role without an end, so only such a grant fulfils it.
    is_notified = until is None and finish_join(
        tx, actor, target.account.id, target.role.id, _scope_ref(target), by=actor.id
    )
    if not is_notified:
        notice_actions.end_changed(tx, actor, current.id)
    return True


def change_role(tx: WriteTransaction, actor: Actor, target: RoleAssignment, role: RoleRow) -> None:
    """Replace a role of an account by another one, with the same end.

    Args:
        target: the present role.
        role: the new role.

    Raises:
        NotFound: ``grant.unknown`` if the present role is not held; otherwise as ``add``.
        Forbidden: ``permission.missing``, ``role.above_ceiling``: the actor must be allowed to
            remove the present role and to grant the new one.
        Conflict: ``organisation.unavailable``, ``membership.own_role``, ``role.other_kind``,
            ``role.inactive``, ``grant.exists``, ``account.inactive``; ``scope.last_owner`` if the
            last owner would get a role that is not an owner's.
    """
    kind = target.access.scope.kind
    target = _lock_and_authorise(tx, actor, target, KINDS[kind].revoke)
    new_target = _lock_and_authorise(tx, actor, target._replace(role=role), KINDS[kind].grant)
    if role.kind != kind:
        raise Conflict("role.other_kind")
    if not role.is_active:
        raise Conflict("role.inactive")
    scope, account = target.access.scope.id, target.account.id
    current = membership_queries.active_grant(tx, account, target.role.id, scope)
    if current is None:
        raise NotFound("grant.unknown")
    if role.id == target.role.id:
        raise Conflict("grant.exists")
    if not membership_rules.is_owner_role(kind, role.name):
        ensure_owner_remains(tx, target.access.scope.kind, target.role.name, current)
    membership_queries.end(tx, current.id, actor.id)
    grant(
        tx,
        actor,
        account,
        role.id,
        _scope_ref(target),
        by=actor.id,
        source=GrantSource.MANUAL,
        until=current.valid_until,
        former=current.id,
    )
    _record(tx, events.RoleRevoked, actor, target, tx.now)
    _record(tx, events.RoleGranted, actor, new_target, current.valid_until)


def remove(tx: WriteTransaction, actor: Actor, target: RoleAssignment) -> None:
    """Remove a role from an account; do nothing if it is not held.

    Raises:
        NotFound: as ``add``.
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``membership.own_role``, ``scope.last_owner``.
    """
    target = _lock_and_authorise(tx, actor, target, KINDS[target.access.scope.kind].revoke)
    current = membership_queries.active_grant(
        tx, target.account.id, target.role.id, target.access.scope.id
    )
    if current is None:
        return
    ensure_owner_remains(tx, target.access.scope.kind, target.role.name, current)
    membership_queries.end(tx, current.id, actor.id)
    notice_actions.removed(tx, actor, current.id)
    _record(tx, events.RoleRevoked, actor, target, tx.now)


def revoke(tx: WriteTransaction, actor: Actor, uuid: str, reason: str) -> None:
    """End a grant, named by its UUID, and record why.

    Args:
        uuid: of the grant, 32 hex digits.
        reason: in the actor's words; may be empty.

    Raises:
        NotFound: ``grant.unknown``: it does not exist or the actor may not see it.
        Forbidden, Conflict: as ``remove``; ``grant.ended`` if it has ended.
    """
    _past, target = _load_grant(tx, actor, uuid, "grant.ended")
    target = _lock_and_authorise(tx, actor, target, KINDS[target.access.scope.kind].revoke)
    past = membership_queries.get_visible(tx, actor, uuid)
    if not membership_rules.is_active(past.ended_at, past.valid_until, tx.now):
        raise Conflict("grant.ended")
    ensure_owner_remains(tx, target.access.scope.kind, target.role.name, past)
    membership_queries.end(tx, past.id, actor.id, reason)
    notice_actions.removed(tx, actor, past.id)
    _record(tx, events.RoleRevoked, actor, target, tx.now, reason)


def restore(tx: WriteTransaction, actor: Actor, uuid: str, reason: str) -> None:
    """Grant a role again that was revoked, with the end that it had.

    The grant that has ended stays in the history of the scope, with its times. The new one gets its
    UUID, so that clients find the same grant active again.

    Args:
        uuid: of the grant that has ended, 32 hex digits.
        reason: in the actor's words; may be empty.

    Raises:
        NotFound: ``grant.unknown``: it does not exist or the actor may not see it.
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``grant.active`` if it has not ended; ``grant.replaced`` if the account has the
            role again; ``grant.expired`` if its end has passed; ``grant.scope_deleted``; otherwise
            as ``add``.
    """
    _past, target = _load_grant(tx, actor, uuid, "grant.scope_deleted")
    target = _lock_and_authorise(tx, actor, target, KINDS[target.access.scope.kind].grant)
    _grant_again(tx, actor, target, membership_queries.get_visible(tx, actor, uuid), reason)


def undo_removal(tx: WriteTransaction, actor: Actor, access: ScopeAccess, uuid: str) -> PastGrant:
    """Grant a role again that the actor has just removed, as ``restore`` does; return the old one.

    Args:
        access: the scope, as loaded through ``get_visible``.
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``: the actor did not remove such a role from an active account
            within ``UNDO``. In groups always: people join them by invitation only.
        Forbidden, Conflict: as ``restore``.
    """
    permission = KINDS[access.scope.kind].grant
    past = membership_queries.get_removed(tx, actor, access.scope.id, uuid)
    role = role_queries.existing(tx, uuid=past.role_uuid)
    account = account_queries.existing(tx, past.account_id)
    target = _lock_and_authorise(tx, actor, RoleAssignment(access, role, account), permission)
    past = membership_queries.get_removed(tx, actor, access.scope.id, uuid)
    _grant_again(tx, actor, target, past, "")
    return past


def _grant_again(
    tx: WriteTransaction, actor: Actor, target: RoleAssignment, past: PastGrant, reason: str
) -> None:
    """Grant a role with the UUID and the end of a grant that has ended; the scope is locked."""
    scope, account, uuid = target.access.scope, target.account, past.uuid
    if membership_rules.is_active(past.ended_at, past.valid_until, tx.now):
        raise Conflict("grant.active")
    if not target.role.is_active:
        raise Conflict("role.inactive")
    if membership_queries.active_grant(tx, account.id, target.role.id, scope.id) is not None:
        raise Conflict("grant.replaced")
    if past.valid_until is not None and past.valid_until <= tx.now:
        raise Conflict("grant.expired")
    membership_queries.set_uuid(tx, past.id, uuid4().hex)
    grant(
        tx,
        actor,
        account.id,
        target.role.id,
        _scope_ref(target),
        by=actor.id,
        source=GrantSource(past.source or GrantSource.MANUAL),
        until=past.valid_until,
        uuid=uuid,
    )
    _record(tx, events.RoleRestored, actor, target, past.valid_until, reason)


def _load_grant(
    tx: WriteTransaction, actor: Actor, uuid: str, refusal: str
) -> tuple[PastGrant, RoleAssignment]:
    """Return a grant that the actor may see, with what it assigns.

    Args:
        refusal: code of the conflict if its scope was deleted.
    """
    past = membership_queries.get_visible(tx, actor, uuid)
    if past.scope_deleted_at is not None:
        require_staff(actor)
        raise Conflict(refusal)
    access = get_visible(tx, actor, ScopeKind(past.scope_kind), past.scope_uuid)
    role = role_queries.get_by_uuid(tx, past.role_uuid)
    account = account_queries.by_uuid(tx, past.account_uuid)
    if account is None:
        require_staff(actor)
        raise Conflict("account.inactive")
    return past, RoleAssignment(access, role, account)


def end_expired(tx: WriteTransaction, grant_id: int) -> bool:
    """End a grant that has expired, record it, and note that its holder is told.

    Return False if there was nothing to do.

    Args:
        grant_id: id of the grant.
    """
    expired = membership_queries.close_expired(tx, grant_id)
    if expired is None or expired.valid_until is None:
        return False
    notice_actions.ended(tx, expired)
    event_queries.record(
        tx,
        None,
        events.RoleExpired(
            scope=expired.scope_id,
            account=expired.account_id,
            role=expired.role_name,
            scope_name=expired.scope_name,
            username=expired.username,
            until=expired.valid_until,
        ),
    )
    return True


def _scope_ref(target: RoleAssignment) -> ScopeRef:
    return ScopeRef(target.access.scope.id, target.access.scope.kind)


def _lock_and_authorise(
    tx: WriteTransaction, actor: Actor, target: RoleAssignment, permission: Permission
) -> RoleAssignment:
    # The rules below concern all members of the scope, so concurrent changes run one after another.
    target = target._replace(access=lock_scope_and_recheck(tx, actor, target.access, permission))
    role_permissions = role_queries.permissions_of(tx, [target.role.id]).get(target.role.id, [])
    check_may_manage_role(actor, target.access, permission, target.account.id, role_permissions)
    return target


def check_may_manage_role(
    actor: Actor,
    scope_access: ScopeAccess,
    permission: Permission,
    account: int,
    role_permissions: Collection[str],
) -> None:
    """Require that the actor may use a permission on a role of an account.

    Args:
        permission: the permission to grant, change or revoke roles.
        account: id of the account whose role it is.
        role_permissions: permissions of the role.

    Raises:
        Forbidden: ``permission.missing``, ``role.above_ceiling``.
        Conflict: ``membership.own_role`` for the actor's own role in a project or group, unless the
            actor is staff or the permission is inherited; ``organisation.unavailable`` unless a
            role is revoked.
    """
    scope = scope_access.scope
    refusal = refusal_to_grant(
        (permission,), scope_access.permissions, role_permissions, is_staff=actor.is_staff
    )
    if refusal == "permission.missing":
        raise Forbidden(refusal)
    if permission is not KINDS[scope.kind].revoke:
        check_open(scope)
    is_direct = not actor.is_staff and permission not in scope_access.parent_permissions
    if is_direct and account == actor.id and scope.kind != ScopeKind.ORGANISATION:
        raise Conflict("membership.own_role")
    if refusal:
        raise Forbidden(refusal)


def _record(
    tx: WriteTransaction,
    event: type[events.GrantEvent],
    actor: Actor,
    target: RoleAssignment,
    until: datetime | None,
    reason: str = "",
) -> None:
    event_queries.record(
        tx,
        actor,
        event(
            scope=target.access.scope.id,
            account=target.account.id,
            role=target.role.name,
            scope_name=target.access.scope.name,
            username=target.account.username,
            until=until,
            remark=reason or UNSET,
        ),
    )
