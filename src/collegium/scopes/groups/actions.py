"""Actions on groups: create, change, join, leave and delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import (
    BRAINSTEM_KINDS,
    KINDS,
    Actor,
    Permission,
    ScopeKind,
    require_permission,
)
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import actions as invitation_actions
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests.queries import JoinRequestRow
from collegium.lists import slugs
from collegium.memberships import queries as membership_queries
from collegium.memberships.leaving import ensure_owner_remains
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.rules import GrantSource, is_owner_role
from collegium.refusals import Conflict, Invalid, check_quota, or_not_found
from collegium.roles import queries as role_queries
from collegium.scopes.actions import ScopeRef, delete_scope, grant
from collegium.scopes.groups import queries as group_queries
from collegium.scopes.groups import rules as group_rules
from collegium.scopes.groups.queries import Member
from collegium.settings import DEFAULTS, Settings
from collegium.text.email_addresses import comparable_address
from collegium.text.names import comparable_name


class MemberChange(NamedTuple):
    """A requested change of one person in a group.

    Args:
        email: an address of the person, in any letter case.
        removes: remove the person; the two flags then have no effect.
    """

    email: str
    is_manager: bool = False
    is_owner: bool = False
    removes: bool = False


def create(tx: WriteTransaction, actor: Actor, name: str, *, settings: Settings = DEFAULTS) -> int:
    """Create a group with the actor as its lead; return its id.

    Args:
        name: the display name, without spaces around it.

    Raises:
        Invalid: ``group.name_taken``.
        Conflict: ``group.too_many``, ``account.inactive``.
    """
    access_queries.lock_account(tx, actor.id)
    check_quota(group_queries.count_created(tx, actor.id), settings.max_groups, "group.too_many")
    slug = slugs.new(tx, "group", name)
    group_id = group_queries.add(tx, uuid4().hex, name, slug, comparable_name(name), actor.id)
    event_queries.record(tx, actor, events.GroupCreated(scope=group_id, name=name))
    _assign(tx, actor, group_id, name, actor.id, actor.username, group_rules.LEAD)
    return group_id


def check_name(tx: ReadTransaction, name: str, group: int = 0) -> None:
    """Check that a name is free. Two groups may still take it at once: the database decides.

    Args:
        name: the display name.
        group: id of the group that may have it; 0 for a new one.

    Raises:
        Invalid: ``group.name_taken``.
    """
    if group_queries.is_name_taken(tx, comparable_name(name), group):
        raise Invalid("group.name_taken", field="name")


def lock_group_and_authorise(tx: WriteTransaction, actor: Actor, group_id: int) -> ScopeAccess:
    """Lock a group for an actor who may change it.

    Args:
        group_id: id of the group.

    Raises:
        NotFound: ``group.unknown``.
        Forbidden: ``permission.missing`` unless the actor is a manager or owner.
    """
    access = _lock_group(tx, actor, group_id)
    require_permission(
        actor,
        access.permissions,
        KINDS[ScopeKind.GROUP].grant,
        Permission.GROUP_UPDATE,
    )
    return access


def check_change(
    tx: WriteTransaction,
    actor: Actor,
    scope_access: ScopeAccess,
    name: str | None,
    changes: Sequence[MemberChange],
) -> None:
    """Check a change of a group, of which nothing is stored because something else is wrong.

    Args:
        scope_access: the result of ``lock_group_and_authorise``.
        name: the new name; None to keep it.
        changes: the changes of members.

    Raises:
        Forbidden: ``permission.missing`` where a manager requests more than plain members.
        Invalid: ``group.name_taken``; ``group.last_owner``; ``group.people`` with ``problems``, a
            reason by address, and ``others``, those of the two codes that apply too.
    """
    _check_change(tx, actor, scope_access, name, changes)


def change(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    name: str | None,
    changes: Sequence[MemberChange],
) -> int:
    """Rename a group and change its members, all of it or nothing.

    A person who is not a member is invited to the requested role. An open invitation of that person
    is changed to that role.

    Args:
        scope_access: the result of ``lock_group_and_authorise``.
        name: the new name; None to keep it.
        changes: the changes of members.

    Returns:
        The number of invitations that are mailed.

    Raises:
        Forbidden: ``permission.missing`` where a manager requests more than plain members;
            otherwise as ``invitations.actions.invite_or_change``.
        Invalid: as ``check_change``.
        Conflict, Limited: as ``invitations.actions.invite_or_change``.
    """
    people = _check_change(tx, actor, scope_access, name, changes)
    if name is not None and name != scope_access.scope.name:
        group_queries.rename(tx, scope_access.scope.id, name, comparable_name(name))
        event_queries.record(
            tx,
            actor,
            events.GroupUpdated(
                scope=scope_access.scope.id, name=scope_access.scope.name, fields=["name"]
            ),
        )
    mailed = 0
    # In a fixed order, which prevents deadlocks of two transactions that invite the same people.
    for change in sorted(changes, key=lambda change: comparable_address(change.email)):
        member = people.members.get(comparable_address(change.email))
        if member is None:
            role: Any = role_queries.by_name_or_uuid(
                tx, _requested_role(change), None, BRAINSTEM_KINDS
            )
            account = people.others[comparable_address(change.email)]
            mailed += invitation_actions.invite_or_change(
                tx, actor, settings, scope_access, role, account
            )
            continue
        if change.removes:
            membership_queries.end(tx, member.grant_id, actor.id)
            notice_actions.removed(tx, actor, member.grant_id)
            _record_removed(tx, actor, scope_access, member)
        elif _requested_role(change) != member.role_name:
            membership_queries.end(tx, member.grant_id, actor.id)
            _record_removed(tx, actor, scope_access, member)
            _assign(
                tx,
                actor,
                scope_access.scope.id,
                scope_access.scope.name,
                member.account_id,
                member.username,
                _requested_role(change),
                former=member.grant_id,
            )
    return mailed


def join(
    tx: WriteTransaction,
    actor: Actor,
    group_id: int,
    message: str = "",
    *,
    settings: Settings = DEFAULTS,
) -> tuple[JoinRequestRow, bool]:
    """Request membership of a group; return the request, and whether it is a new one.

    If a request of the actor is pending already, that one is returned.

    Args:
        group_id: id of the group.
        message: from the requester to those who decide.

    Raises:
        NotFound: ``group.unknown``.
        Conflict: ``grant.held`` for members; ``request.too_many``; ``account.inactive``.
    """
    access = _lock_group(tx, actor, group_id)
    return join_request_actions.submit_without_link(
        tx, actor, settings, access.scope, group_rules.MEMBER, message
    )


def leave(tx: WriteTransaction, actor: Actor, group_id: int) -> None:
    """Leave a group.

    Args:
        group_id: id of the group.

    Raises:
        NotFound: ``group.unknown``.
        Conflict: ``group.not_member``, ``scope.last_owner``.
    """
    access = _lock_group(tx, actor, group_id)
    grant = membership_queries.grant_in_scope(tx, actor.id, group_id)
    if grant is None:
        raise Conflict("group.not_member")
    ensure_owner_remains(tx, ScopeKind.GROUP, grant.role_name, grant)
    membership_queries.end(tx, grant.id, actor.id)
    notice_actions.removed(tx, actor, grant.id)
    event_queries.record(
        tx,
        actor,
        events.RoleRevoked(
            scope=access.scope.id,
            account=actor.id,
            role=grant.role_name,
            scope_name=access.scope.name,
            username=actor.username,
        ),
    )


def delete(tx: WriteTransaction, actor: Actor, group_id: int) -> None:
    """Delete a group: end its memberships and cancel its requests and invitations.

    Args:
        group_id: id of the group.

    Raises:
        NotFound: ``group.unknown``.
        Forbidden: ``permission.missing``.
    """
    access = _lock_group(tx, actor, group_id)
    require_permission(actor, access.permissions, Permission.GROUP_DELETE)
    group_queries.release_name(tx, group_id)
    delete_scope(tx, actor, group_id)
    event_queries.record(tx, actor, events.GroupDeleted(scope=group_id, name=access.scope.name))


def _check_change(
    tx: WriteTransaction,
    actor: Actor,
    scope_access: ScopeAccess,
    name: str | None,
    changes: Sequence[MemberChange],
) -> _People:
    people = _People(tx, scope_access.scope.id, changes)
    if name is not None:
        require_permission(actor, scope_access.permissions, Permission.GROUP_UPDATE)
    for change in changes:
        _check_may_change(tx, actor, scope_access, change, people)
    problems = people.problems(changes)
    others = []
    if people.leaves_no_owner(changes):
        others.append(Invalid("group.last_owner", field="users"))
    try:
        if name is not None:
            check_name(tx, name, scope_access.scope.id)
    except Invalid as refusal:
        others.append(refusal)
    if problems or len(others) > 1:
        codes = [other.code for other in others]
        raise Invalid("group.people", field="users", problems=problems, others=codes)
    for other in others:
        raise other
    return people


class _People:
    """The people that the changes name: members of the group, and other accounts."""

    def __init__(self, tx: WriteTransaction, scope: int, changes: Sequence[MemberChange]) -> None:
        self._rows = group_queries.members(tx, [scope])[scope] if changes else []
        self.members: dict[str, Member] = {}
        for row in self._rows:
            self.members.setdefault(comparable_address(row.email), row)
        other_emails = [
            change.email
            for change in changes
            if comparable_address(change.email) not in self.members
        ]
        self.others: Mapping[str, AccountRow] = account_queries.active_by_email(tx, other_emails)

    def problems(self, changes: Sequence[MemberChange]) -> dict[str, str]:
        """Return, by address, the reasons why changes are impossible."""
        reasons: dict[str, str] = {}
        checked: set[str] = set()
        for change in changes:
            key = comparable_address(change.email)
            if key in checked:
                reasons[change.email] = "twice"
            elif key not in self.members and change.removes:
                reasons[change.email] = "not_member"
            elif key not in self.members and key not in self.others:
                reasons[change.email] = "unknown"
            checked.add(key)
        return reasons

    def leaves_no_owner(self, changes: Sequence[MemberChange]) -> bool:
        """Return whether changes take the role of the last owner who is active and stays.

        A group whose owners are all deactivated remains manageable: others can be changed there.
        """
        requested = {comparable_address(change.email): change for change in changes}
        loses_owner, remaining = False, 0
        for row in self._rows:
            key = comparable_address(row.email)
            change = requested.get(key) if self.members[key] is row else None
            role, valid_until = row.role_name, row.valid_until
            if change and (change.removes or _requested_role(change) != role):
                loses_owner |= is_owner_role(ScopeKind.GROUP, role)
                role, valid_until = "" if change.removes else _requested_role(change), None
            if is_owner_role(ScopeKind.GROUP, role) and row.is_active and valid_until is None:
                remaining += 1
        return loses_owner and not remaining


def _requested_role(change: MemberChange) -> str:
    return group_rules.role_of(is_manager=change.is_manager, is_owner=change.is_owner)


def _check_may_change(
    tx: WriteTransaction,
    actor: Actor,
    scope_access: ScopeAccess,
    change: MemberChange,
    people: _People,
) -> None:
    member = people.members.get(comparable_address(change.email))
    if member is None:
        is_plain = change.removes or _requested_role(change) == group_rules.MEMBER
        needed = Permission.GROUP_GRANT if is_plain else Permission.GROUP_UPDATE_ROLE
    elif change.removes:
        role_permissions = role_queries.permissions_of(tx, [member.role_id]).get(member.role_id, [])
        needed = group_rules.right_to_remove(role_permissions)
    else:
        needed = Permission.GROUP_UPDATE_ROLE
    require_permission(actor, scope_access.permissions, needed)


def _lock_group(tx: WriteTransaction, actor: Actor, group_id: int) -> ScopeAccess:
    group_queries.by_id(tx, group_id)
    access_queries.lock_scope(tx, group_id)
    return or_not_found(access_queries.permissions_in_scope(tx, actor, group_id), "group.unknown")


def _assign(
    tx: WriteTransaction,
    actor: Actor,
    scope: int,
    scope_name: str,
    account: int,
    username: str,
    role: str,
    *,
    former: int | None = None,
) -> None:
    row = role_queries.existing(tx, role)
    grant(
        tx,
        actor,
        account,
        row.id,
        ScopeRef(scope, ScopeKind.GROUP),
        by=actor.id,
        source=GrantSource.MANUAL,
        replaces=former is not None,
        former=former,
    )
    event_queries.record(
        tx,
        actor,
        events.RoleGranted(
            scope=scope, account=account, role=role, scope_name=scope_name, username=username
        ),
    )


def _record_removed(
    tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess, member: Member
) -> None:
    event_queries.record(
        tx,
        actor,
        events.RoleRevoked(
            scope=scope_access.scope.id,
            account=member.account_id,
            role=member.role_name,
            scope_name=scope_access.scope.name,
            username=member.username,
        ),
    )
