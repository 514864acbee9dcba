"""Check what an actor may see and do in a scope, and lock scopes and accounts.

``get_visible`` loads one scope or refuses. ``visible_scopes`` states the same rule as SQL, for
lists. A grant on an organisation also counts for its projects. A grant on a project makes its
organisation visible. The tree has two levels, so the queries need no recursion.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    LargeBinary,
    Select,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal,
    not_,
    null,
    or_,
    select,
    union_all,
)

from collegium.access.rules import Actor, Permission, ScopeKind, has_permission
from collegium.access.subnets.rules import position
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    denied_ranges,
    grants,
    organisations,
    projects,
    role_permissions,
    roles,
    scopes,
)
from collegium.refusals import Forbidden, NotFound, or_not_found
from collegium.text.email_addresses import comparable_address


class OrganisationState:
    """Whether the organisation of a row is closed; None where there is no organisation."""

    blocked: bool | None
    archived: bool | None


class ScopeRow(OrganisationState):
    """A scope, with its organisation: its parent, or the scope itself."""

    id: int
    uuid: str
    kind: str
    name: str
    slug: str
    parent_id: int | None
    organisation_name: str
    start_date: date | None
    end_date: date | None


@dataclass(frozen=True, slots=True)
class ScopeAccess:
    """A scope with the actor's permissions there.

    Only this module creates one. The functions ``get_visible…`` have checked that the actor sees
    it.

    Args:
        scope: the row.
        permissions: names of all permissions that the actor holds in the scope, inherited ones
            included.
        parent_permissions: those of them that the actor inherits from the parent organisation.
    """

    scope: ScopeRow
    permissions: frozenset[str]
    parent_permissions: frozenset[str] = frozenset()


def is_active(table: Any = grants) -> ColumnElement[bool]:
    """Return the condition that a grant is active at the parameter ``now``.

    Expiry is evaluated whenever a grant is used; no clean-up job has to run first.
    """
    return and_(
        table.c.ended_at.is_(None),
        or_(
            table.c.valid_until.is_(None), table.c.valid_until > bindparam("now", type_=UtcDateTime)
        ),
    )


_grant_scope = scopes.alias("grant_scope")


def _not_hidden_by_subnets() -> ColumnElement[bool]:
    """Return the condition that access subnets do not hide the grant from the actor."""
    ip_address = bindparam("actor_ip_address", type_=LargeBinary)
    return not_(
        exists()
        .where(
            _grant_scope.c.id == grants.c.scope_id,
            denied_ranges.c.scope_id == func.coalesce(_grant_scope.c.parent_id, _grant_scope.c.id),
            denied_ranges.c.low <= ip_address,
            denied_ranges.c.high >= ip_address,
        )
        .correlate(grants)
    )


def actor_grants() -> ColumnElement[bool]:
    """Return the condition that a grant belongs to the actor and counts now, from this address."""
    return and_(
        grants.c.account_id == bindparam("actor", type_=BigInt),
        is_active(),
        _not_hidden_by_subnets(),
    )


# Lists name these grants several times in one statement. As a common table expression PostgreSQL
# plans and reads them, and looks up the subnets of each, only once. SQLite would join it without an
# index.
_actor_grants = (
    select(grants.c.scope_id, grants.c.role_id)
    .where(actor_grants())
    .cte("actor_grants")
    .prefix_with("NOT MATERIALIZED", dialect="sqlite")
)

_child = scopes.alias("child")
_parent = scopes.alias("parent")


def viewer_params(tx: ReadTransaction, actor: Actor) -> dict[str, Any]:
    """Return the parameters of every statement that depends on what an actor may see."""
    return {
        "actor": actor.id,
        "actor_email": comparable_address(actor.email),
        # Internal checks have no IP address. NULL lies in no closed range, so access subnets do not
        # restrict them.
        "actor_ip_address": None if actor.ip_address is None else position(actor.ip_address),
        "now": tx.now,
    }


def visible_scopes() -> CompoundSelect[Any]:
    """Select the ids of the scopes that are visible because of grants: ``get_visible`` as SQL.

    Actors who see all need neither.
    """
    return union_all(
        select(_actor_grants.c.scope_id),
        select(scopes.c.parent_id)
        .join(_actor_grants, _actor_grants.c.scope_id == scopes.c.id)
        .where(scopes.c.parent_id.is_not(None)),
        select(_child.c.id).join(_actor_grants, _actor_grants.c.scope_id == _child.c.parent_id),
    )


def scopes_with_permission(*needed: tuple[ScopeKind | None, Permission]) -> CompoundSelect[Any]:
    """Select the ids of the scopes in which the actor holds one of the permissions.

    Args:
        needed: pairs of a kind of scope (None: any kind) and a permission that counts there.
    """
    has_needed = or_(
        *(
            and_(
                role_permissions.c.permission == permission.value,
                *([] if kind is None else [scopes.c.kind == kind.value]),
            )
            for kind, permission in needed
        )
    )
    by_role = (
        select(scopes.c.id)
        .select_from(_actor_grants)
        .join(role_permissions, role_permissions.c.role_id == _actor_grants.c.role_id)
        .where(has_needed)
    )
    return union_all(
        by_role.join(scopes, scopes.c.id == _actor_grants.c.scope_id),
        by_role.join(scopes, scopes.c.parent_id == _actor_grants.c.scope_id),
    )


def in_organisations() -> CompoundSelect[Any]:
    """Select the ids of the organisations in which the actor has a role, and of their projects."""
    organisation_grants = (
        select(scopes.c.id)
        .select_from(_actor_grants)
        .join(_parent, _parent.c.id == _actor_grants.c.scope_id)
        .where(_parent.c.kind == ScopeKind.ORGANISATION.value)
    )
    return union_all(
        organisation_grants.join(scopes, scopes.c.id == _parent.c.id),
        organisation_grants.join(scopes, scopes.c.parent_id == _parent.c.id),
    )


organisation = scopes.alias("organisation")


def organisation_of(scope: FromClause = scopes, *, is_outer: bool = False) -> Relation:
    """Return the relation of a scope to its organisation: its parent, or the scope itself."""
    on = organisation.c.id == func.coalesce(scope.c.parent_id, scope.c.id)
    return Relation(organisation, on=on, is_outer=is_outer)


GRANTS = Relations(
    grants,
    account=Relation(
        accounts,
        unprefixed=(
            *("username", "first_name", "last_name", "email", "email_comparable", "picture"),
            *("slug", "affiliations", "identity_source"),
        ),
    ),
    role=roles,
    scope=scopes,
    organisation=organisation_of(),
    granted_by=accounts.alias("granter"),
    ended_by=accounts.alias("ender"),
)

SCOPE_RELATIONS: Final = {
    "organisation": organisation_of(),
    "organisations": Relation(
        organisations,
        on=organisations.c.scope_id == organisation.c.id,
        is_outer=True,
        unprefixed=("blocked", "archived"),
    ),
    "projects": Relation(
        projects,
        on=projects.c.scope_id == scopes.c.id,
        is_outer=True,
        unprefixed=("start_date", "end_date"),
    ),
}
"""What belongs to a scope: its organisation, and the rows of either in their own tables."""

_scope_rows = (
    Relations(scopes, **SCOPE_RELATIONS)
    .select(ScopeRow, "description", "organisation_id", "organisation_uuid")
    .where(scopes.c.deleted_at.is_(None))
)

_BY_UUID = Statement[ScopeRow](
    _scope_rows.where(scopes.c.uuid == bindparam("uuid"), scopes.c.kind == bindparam("kind"))
)
_BY_ID = Statement[ScopeRow](_scope_rows.where(scopes.c.id == bindparam("id")))


class _PermissionRow:
    permission: str | None
    scope_id: int


# One row for each permission that the actor holds in the scope, directly or inherited. A row
# without a permission shows that there is a grant, which makes the scope visible.
_PERMISSIONS = Statement[_PermissionRow](
    union_all(
        select(role_permissions.c.permission, grants.c.scope_id)
        .select_from(grants)
        .outerjoin(role_permissions, role_permissions.c.role_id == grants.c.role_id)
        .where(
            actor_grants(),
            or_(
                grants.c.scope_id == bindparam("scope", type_=BigInt),
                grants.c.scope_id == bindparam("parent", type_=BigInt),
            ),
        ),
        select(null().label("permission"), grants.c.scope_id)
        .select_from(grants)
        .join(scopes, scopes.c.id == grants.c.scope_id)
        .where(actor_grants(), scopes.c.parent_id == bindparam("scope", type_=BigInt)),
    )
)

# FOR NO KEY UPDATE: inserting a row that references the scope takes a weak lock on the scope for
# the foreign key. With a stronger lock here, such an insert would wait for the action that holds
# the lock, or deadlock with it.
_LOCK_SCOPE = Statement[int](
    select(literal(1).label("locked"))
    .select_from(scopes)
    .where(scopes.c.id == bindparam("id"))
    .with_for_update(of=scopes, key_share=True)
)


# The order in which all transactions lock scopes: parents first, then by id. A project that was
# moved may be older than its organisation.
LOCK_ORDER = (scopes.c.parent_id.is_not(None), scopes.c.id)
_LOCK_SCOPES_SHARED = Statement[int](
    select(scopes.c.id)
    .where(any_of(scopes.c.id, "ids"))
    .order_by(*LOCK_ORDER)
    .with_for_update(of=scopes, read=True)
)
_LOCK_SCOPES = Statement[int](
    select(scopes.c.id)
    .where(any_of(scopes.c.id, "ids"))
    .order_by(*LOCK_ORDER)
    .with_for_update(of=scopes, key_share=True)
)


_LOCK_ACCOUNT = Statement[int](
    select(literal(1).label("locked"))
    .select_from(accounts)
    .where(accounts.c.id == bindparam("id"))
    .with_for_update(of=accounts, key_share=True)
)


# FOR SHARE waits for a transaction that deletes the scope or deactivates the account, and prevents
# both until this transaction ends. Several transactions can hold this lock at the same time.
def _insert_while(
    parent: Any, key: str, condition: Any, table: Any, names: Collection[str]
) -> Statement[int]:
    values = [bindparam(name, type_=table.c[name].type) for name in names]
    row = select(*values).select_from(parent).where(parent.c.id == bindparam(key), condition)
    return Statement[int](
        insert(table)
        .from_select(list(names), row.with_for_update(of=parent, read=True), include_defaults=False)
        .returning(table.c.id)
    )


def add_to_scope(table: Any, names: Collection[str]) -> Statement[int]:
    """Return a statement that inserts a row with a ``scope_id``.

    It returns the new ``id``. It inserts nothing and returns no row if the scope has been deleted.
    """
    return _insert_while(scopes, "scope_id", scopes.c.deleted_at.is_(None), table, names)


def add_to_account(table: Any, names: Collection[str]) -> Statement[int]:
    """Return a statement that inserts a row with an ``account_id``.

    It returns the new ``id``. It inserts nothing and returns no row if the account is inactive.
    """
    return _insert_while(accounts, "account_id", accounts.c.is_active, table, names)


def _load_access(tx: ReadTransaction, actor: Actor, scope: ScopeRow) -> tuple[bool, ScopeAccess]:
    """Return whether the actor may see the scope, and the actor's permissions there."""
    rows = tx.fetch_all(
        _PERMISSIONS, **viewer_params(tx, actor), scope=scope.id, parent=scope.parent_id
    )
    return actor.sees_all or bool(rows), ScopeAccess(
        scope,
        frozenset(row.permission for row in rows if row.permission is not None),
        frozenset(
            row.permission
            for row in rows
            if row.permission is not None and row.scope_id != scope.id
        ),
    )


def get_visible(
    tx: ReadTransaction, actor: Actor, kind: ScopeKind, uuid: str, *needed: Permission
) -> ScopeAccess:
    """Load a scope that the actor may see; the twin of ``visible_scopes`` for one scope.

    Args:
        uuid: 32 hex digits.
        needed: permissions, one of which the actor must hold in the scope. Without any, visibility
            is enough.

    Raises:
        NotFound: ``<kind>.unknown``: there is no such scope, or it is hidden from the actor.
        Forbidden: ``permission.missing``: the actor sees the scope but holds none of the
            permissions.
    """
    scope = or_not_found(tx.fetch_one(_BY_UUID, uuid=uuid, kind=kind.value), f"{kind}.unknown")
    return _check_visibility(tx, actor, scope, needed)


def lock_scope_and_recheck(
    tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess, *needed: Permission
) -> ScopeAccess:
    """Lock a scope that was loaded before, and repeat the checks under the lock.

    While another action held the lock, anything read before may have changed: the scope may be
    deleted, its organisation blocked, the actor's permission revoked.

    Raises:
        NotFound: ``scope.unknown`` or ``<kind>.unknown``: the scope is gone or no longer visible.
        Forbidden: ``permission.missing``: the actor no longer holds one of the permissions.
    """
    lock_scope_and_parent(tx, scope_access.scope.id, scope_access.scope.parent_id)
    return get_visible_by_id(tx, actor, scope_access.scope.id, *needed)


def lock_scope_shared_and_recheck(
    tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess
) -> ScopeAccess:
    """Take a shared lock of a scope that was loaded before, and repeat the checks under it.

    Like ``lock_scope_and_recheck``, but several transactions can hold the lock at the same time. It
    is for actions that only add what must not outlive the scope or the rights of the actor.

    Raises:
        NotFound: ``scope.unknown`` or ``<kind>.unknown``: the scope is gone or no longer visible.
    """
    scope = scope_access.scope
    ids = [scope.id] if scope.parent_id is None else [scope.parent_id, scope.id]
    tx.fetch_all(_LOCK_SCOPES_SHARED, ids=ids)
    return get_visible_by_id(tx, actor, scope.id)


def lock_scope_alone_and_recheck(
    tx: WriteTransaction, actor: Actor, scope_access: ScopeAccess
) -> ScopeAccess:
    """Lock a scope that was loaded before, its parent with a shared lock, and repeat the checks.

    Like ``lock_scope_and_recheck``, but actions in other scopes of the organisation go on.

    Raises:
        NotFound: ``scope.unknown`` or ``<kind>.unknown``: the scope is gone or no longer visible.
    """
    scope = scope_access.scope
    if scope.parent_id is not None:
        tx.fetch_all(_LOCK_SCOPES_SHARED, ids=[scope.parent_id])
    lock_scope(tx, scope.id)
    return get_visible_by_id(tx, actor, scope.id)


def get_visible_by_id(
    tx: ReadTransaction, actor: Actor, scope_id: int, *needed: Permission
) -> ScopeAccess:
    """Load a scope by its id. Otherwise like ``get_visible``.

    Raises:
        NotFound: ``scope.unknown``: there is no such scope. ``<kind>.unknown``: it is hidden from
            the actor.
        Forbidden: ``permission.missing``: the actor sees the scope but holds none of the
            permissions.
    """
    scope = or_not_found(tx.fetch_one(_BY_ID, id=scope_id), "scope.unknown")
    return _check_visibility(tx, actor, scope, needed)


def permissions_in_scope(
    tx: ReadTransaction, actor: Actor, scope_id: int, *, ignore_subnets: bool = False
) -> ScopeAccess | None:
    """Return a scope and the permissions of an actor in it, without a visibility check.

    Return None if the scope is deleted.

    Args:
        ignore_subnets: ignore access subnets, so that permissions count from every address.
    """
    scope = tx.fetch_one(_BY_ID, id=scope_id)
    if ignore_subnets:
        actor = replace(actor, ip_address=None)
    return None if scope is None else _load_access(tx, actor, scope)[1]


def _check_visibility(
    tx: ReadTransaction, actor: Actor, scope: ScopeRow, needed: tuple[Permission, ...]
) -> ScopeAccess:
    is_visible, access = _load_access(tx, actor, scope)
    if not is_visible:
        raise NotFound(f"{scope.kind}.unknown")
    if needed and not has_permission(actor, access.permissions, *needed):
        raise Forbidden("permission.missing")
    return access


def lock_accounts_where(ids: Select[Any]) -> Statement[int]:
    """Return the statement that locks several accounts as ``lock_account`` does, by their ids.

    Args:
        ids: selects the ids.
    """
    return Statement[int](
        select(accounts.c.id)
        .where(accounts.c.id.in_(ids))
        .order_by(accounts.c.id)
        .with_for_update(of=accounts, key_share=True)
    )


def lock_account(tx: WriteTransaction, account: int) -> None:
    """Lock an account until this transaction ends.

    Needed wherever a rule concerns all grants of the account. Other actions that lock it wait.
    """
    tx.fetch_one(_LOCK_ACCOUNT, id=account)


def lock_scope_and_parent(tx: WriteTransaction, scope_id: int, parent_id: int | None) -> None:
    """Lock a scope and its parent. The parent comes first everywhere, which prevents deadlocks."""
    if parent_id is not None:
        lock_scope(tx, parent_id)
    lock_scope(tx, scope_id)


def lock_scopes(tx: WriteTransaction, scope_ids: Collection[int]) -> None:
    """Lock several scopes as ``lock_scope`` does, parents first."""
    tx.fetch_all(_LOCK_SCOPES, ids=list(scope_ids))


def lock_scope(tx: WriteTransaction, scope_id: int) -> None:
    """Lock a scope until this transaction ends. Other actions that lock it wait.

    Needed wherever a rule concerns the scope as a whole. On SQLite the write transaction itself
    already excludes all others.
    """
    tx.fetch_one(_LOCK_SCOPE, id=scope_id)
