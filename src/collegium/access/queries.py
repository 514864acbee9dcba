"""The gate: the only way to get hold of something that somebody may not see.

``reach`` loads one scope or refuses; ``visible`` is the same rule as SQL, for lists.
A grant on an organisation reaches down to its projects, and a grant on a project lets
its organisation be seen: the tree has two levels, so no recursion is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    LargeBinary,
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
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import (
    BigInt,
    accounts,
    closed_ranges,
    grants,
    organisations,
    projects,
    role_permissions,
    scopes,
)
from collegium.refusals import Forbidden, NotFound
from collegium.text.email_addresses import comparable_address

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, CompoundSelect

    from collegium.db.database import ReadTransaction, WriteTransaction
    from collegium.db.statements import Row


@dataclass(frozen=True, slots=True)
class ScopeAccess:
    """A scope that the actor may see; only the gate makes one.

    Args:
        scope: the row: ``id uuid kind name slug description parent_id organisation_id
            organisation_uuid organisation_name blocked archived starts``.
        held: the permissions that the actor holds there, from above too.
        above: those of them that come from the organisation above.
    """

    scope: Row
    permissions: frozenset[str]
    parent_permissions: frozenset[str] = frozenset()


def is_active(table: Any = grants) -> ColumnElement[bool]:
    """Say that a grant counts at ``now``: judged when used, never left to a sweeper."""
    return and_(
        table.c.ended.is_(None),
        or_(table.c.until.is_(None), table.c.until > bindparam("now", type_=UtcDateTime)),
    )


_scope_row = scopes.alias("place")


def _is_not_deleted() -> ColumnElement[bool]:
    """Say that the organisation of a grant is not closed where the actor is: access subnets."""
    address = bindparam("actor_address", type_=LargeBinary)
    return not_(
        exists()
        .where(
            _scope_row.c.id == grants.c.scope_id,
            closed_ranges.c.scope_id == func.coalesce(_scope_row.c.parent_id, _scope_row.c.id),
            closed_ranges.c.low <= address,
            closed_ranges.c.high >= address,
        )
        .correlate(grants)
    )


def actor_grants() -> ColumnElement[bool]:
    """Say that a grant counts for the actor, now and here."""
    return and_(
        grants.c.account_id == bindparam("actor", type_=BigInt), is_active(), _is_not_deleted()
    )


_child = scopes.alias("child")
_parent_grants = scopes.alias("above")


def viewer_params(tx: ReadTransaction, actor: Actor) -> dict[str, Any]:
    """Give what every statement binds that asks what an actor may see."""
    return {
        "actor": actor.id,
        "actor_email": comparable_address(actor.email),
        # Nowhere is within no range, so whom we judge ourselves is shut out by none.
        "actor_address": None if actor.address is None else position(actor.address),
        "now": tx.now,
    }


def visible_scopes() -> CompoundSelect[Any]:
    """Select the ids of the scopes that the actor may see by grants."""
    return union_all(
        select(grants.c.scope_id).where(actor_grants()),
        select(scopes.c.parent_id)
        .join(grants, grants.c.scope_id == scopes.c.id)
        .where(actor_grants(), scopes.c.parent_id.is_not(None)),
        select(_child.c.id)
        .join(grants, grants.c.scope_id == _child.c.parent_id)
        .where(actor_grants()),
    )


def scopes_with_permission(*needs: tuple[ScopeKind | None, Permission]) -> CompoundSelect[Any]:
    """Select the ids of the scopes on which the actor holds one of the permissions.

    Args:
        needs: pairs of a kind of scope (None: any) and a permission that counts there.
    """
    wanted = or_(
        *(
            and_(
                role_permissions.c.permission == permission.value,
                *([] if kind is None else [scopes.c.kind == kind.value]),
            )
            for kind, permission in needs
        )
    )
    carried = (
        select(scopes.c.id)
        .select_from(grants)
        .join(role_permissions, role_permissions.c.role_id == grants.c.role_id)
    )
    return union_all(
        carried.join(scopes, scopes.c.id == grants.c.scope_id).where(actor_grants(), wanted),
        carried.join(scopes, scopes.c.parent_id == grants.c.scope_id).where(actor_grants(), wanted),
    )


def in_organisations() -> CompoundSelect[Any]:
    """Select the ids of the organisations in which the actor has a role, and of their projects."""
    above = (
        select(scopes.c.id)
        .select_from(grants)
        .join(_parent_grants, _parent_grants.c.id == grants.c.scope_id)
        .where(actor_grants(), _parent_grants.c.kind == ScopeKind.ORGANISATION.value)
    )
    return union_all(
        above.join(scopes, scopes.c.id == _parent_grants.c.id),
        above.join(scopes, scopes.c.parent_id == _parent_grants.c.id),
    )


organisation = scopes.alias("organisation")

SCOPE_COLUMNS = (
    scopes.c.id,
    scopes.c.uuid,
    scopes.c.kind,
    scopes.c.name,
    scopes.c.slug,
    scopes.c.description,
    scopes.c.parent_id,
    organisation.c.id.label("organisation_id"),
    organisation.c.uuid.label("organisation_uuid"),
    organisation.c.name.label("organisation_name"),
    organisations.c.blocked,
    organisations.c.archived,
    projects.c.starts,
)

_scope = (
    select(*SCOPE_COLUMNS)
    .join(organisation, organisation.c.id == func.coalesce(scopes.c.parent_id, scopes.c.id))
    .outerjoin(organisations, organisations.c.scope_id == organisation.c.id)
    .outerjoin(projects, projects.c.scope_id == scopes.c.id)
    .where(scopes.c.removed.is_(None))
)

_BY_UUID = Statement(
    _scope.where(scopes.c.uuid == bindparam("uuid"), scopes.c.kind == bindparam("kind"))
)
_BY_ID = Statement(_scope.where(scopes.c.id == bindparam("id")))

# One row a permission held on the scope, directly or from above; a row without a permission
# says that there is a grant at all, and so that the scope may be seen.
_RIGHTS = Statement(
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

# FOR NO KEY UPDATE: every row that names the scope takes a weak lock on it for its foreign key,
# and must not wait for, or deadlock with, a deed that has it locked.
_LOCK = Statement(
    select(literal(1).label("locked"))
    .select_from(scopes)
    .where(scopes.c.id == bindparam("id"))
    .with_for_update(of=scopes, key_share=True)
)


_LOCK_ACCOUNT = Statement(
    select(literal(1).label("locked"))
    .select_from(accounts)
    .where(accounts.c.id == bindparam("id"))
    .with_for_update(of=accounts, key_share=True)
)


# FOR SHARE: waits for whoever removes the scope, or switches the account off, and lets nobody
# do it before this transaction ends; others may say the same at the same time.
def _insert_if(holder: Any, key: str, holds: Any, table: Any, names: Collection[str]) -> Statement:
    values = [bindparam(name, type_=table.c[name].type) for name in names]
    row = select(*values).select_from(holder).where(holder.c.id == bindparam(key), holds)
    return Statement(
        insert(table)
        .from_select(list(names), row.with_for_update(of=holder, read=True), include_defaults=False)
        .returning(table.c.id)
    )


def add_to_scope(table: Any, names: Collection[str]) -> Statement:
    """Insert a row with a ``scope_id``; none is there when that scope has been removed."""
    return _insert_if(scopes, "scope_id", scopes.c.removed.is_(None), table, names)


def add_to_account(table: Any, names: Collection[str]) -> Statement:
    """Insert a row with an ``account_id``; none is there when that account cannot be used."""
    return _insert_if(accounts, "account_id", accounts.c.is_active, table, names)


def _rights(tx: ReadTransaction, actor: Actor, scope: Row) -> tuple[bool, ScopeAccess]:
    """Tell whether the actor may see the scope, and what is held there."""
    rows = tx.fetch_all(_RIGHTS, **viewer_params(tx, actor), scope=scope.id, parent=scope.parent_id)
    held = [row for row in rows if row.permission is not None]
    return actor.sees_all or bool(rows), ScopeAccess(
        scope,
        frozenset(row.permission for row in held),
        frozenset(row.permission for row in held if row.scope_id != scope.id),
    )


def get_visible(
    tx: ReadTransaction, actor: Actor, kind: ScopeKind, uuid: str, *needed: Permission
) -> ScopeAccess:
    """Load a scope that the actor may see.

    Args:
        uuid: 32 hex digits.
        needed: permissions one of which must be held there; none: seeing is enough.

    Refuses: NotFound ``<kind>.unknown`` when there is none or it is hidden from the actor,
    Forbidden when it is seen but none of the permissions is held.
    """
    scope = tx.fetch_one(_BY_UUID, uuid=uuid, kind=kind.value)
    if scope is None:
        raise NotFound(f"{kind}.unknown")
    return _check_visibility(tx, actor, scope, needed)


def lock_and_recheck(
    tx: WriteTransaction, actor: Actor, reached: ScopeAccess, *needed: Permission
) -> ScopeAccess:
    """Lock a scope that was reached, and judge it again as it is under the lock.

    Whatever was read before the lock may have changed while another deed had it: the
    scope removed, its organisation blocked, the actor's own right taken away.

    Refuses: as ``reach``.
    """
    lock_account_and_scope(tx, reached.scope.id, reached.scope.parent_id)
    return get_visible_by_id(tx, actor, reached.scope.id, *needed)


def get_visible_by_id(
    tx: ReadTransaction, actor: Actor, scope_id: int, *needed: Permission
) -> ScopeAccess:
    """Load a scope by its number; otherwise as ``reach``."""
    scope = tx.fetch_one(_BY_ID, id=scope_id)
    if scope is None:
        raise NotFound("scope.unknown")
    return _check_visibility(tx, actor, scope, needed)


def permissions_in_scope(
    tx: ReadTransaction, actor: Actor, scope_id: int, *, anywhere: bool = False
) -> ScopeAccess | None:
    """Give a scope with what an actor holds there, seen or not; None when it is gone.

    Args:
        anywhere: whether what is held counts also where its organisation is closed to the
            actor's address.
    """
    scope = tx.fetch_one(_BY_ID, id=scope_id)
    if anywhere:
        actor = replace(actor, address=None)
    return None if scope is None else _rights(tx, actor, scope)[1]


def _check_visibility(
    tx: ReadTransaction, actor: Actor, scope: Row, needed: tuple[Permission, ...]
) -> ScopeAccess:
    seen, reached = _rights(tx, actor, scope)
    if not seen:
        raise NotFound(f"{scope.kind}.unknown")
    if needed and not has_permission(actor, reached.permissions, *needed):
        raise Forbidden("permission.missing")
    return reached


def lock_account(tx: WriteTransaction, account: int) -> None:
    """Hold everybody else's deeds on the account back, where a rule speaks of all its grants."""
    tx.scalar(_LOCK_ACCOUNT, id=account)


def lock_account_and_scope(tx: WriteTransaction, scope_id: int, parent_id: int | None) -> None:
    """Lock a scope and what is above it, in the order in which everybody does."""
    if parent_id is not None:
        lock_scope(tx, parent_id)
    lock_scope(tx, scope_id)


def lock_scope(tx: WriteTransaction, scope_id: int) -> None:
    """Hold everybody else's deeds on the scope back until this transaction ends.

    Needed wherever a rule speaks of the scope as a whole. On SQLite the transaction
    itself already does it.
    """
    tx.scalar(_LOCK, id=scope_id)
