"""Queries of groups and their members."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select, true, update

from collegium.access.queries import GRANTS, actor_grants, is_active, viewer_params
from collegium.access.rules import KINDS, Actor, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, any_of
from collegium.db.tables import BigInt, accounts, grants, groups, roles
from collegium.db.tables import scopes as scope_rows
from collegium.db.writing import unique_or
from collegium.lists.listing import Listing
from collegium.refusals import Invalid, or_not_found
from collegium.scopes import queries as scope_queries


class GroupRow:
    """A group."""

    id: int
    name: str


class Member:
    """A member of a group, with the role."""

    grant_id: int
    scope_id: int
    account_id: int
    role_id: int
    valid_until: datetime | None
    role_name: str
    username: str
    email: str
    is_active: bool


class OwnedGroup:
    """A group that an account owns."""

    account_id: int
    id: int
    name: str


_rows = (
    select(
        *(
            c
            for c in scope_rows.c
            if c.name not in {"kind", "deleted_at", "parent_id", "name_sort"}
        ),
    )
    .join(groups, groups.c.scope_id == scope_rows.c.id)
    .where(scope_rows.c.deleted_at.is_(None))
)

listing = Listing[GroupRow](
    rows=_rows,
    visible=true,  # groups are public; the protocols decide who may see their members
    key=scope_rows.c.id,
    default="id",
    orders={"id": (scope_rows.c.id,), "name": (scope_rows.c.name_sort,)},
)

_BY_ID = Statement[GroupRow](_rows.where(scope_rows.c.id == bindparam("id")))
_BY_IDS = Statement[GroupRow](_rows.where(any_of(scope_rows.c.id, "ids")))
_MEMBERS = Statement[Member](
    GRANTS.select(Member, grant_id=grants.c.id, is_active=accounts.c.is_active)
    .where(any_of(grants.c.scope_id, "ids"), is_active())
    .order_by(grants.c.scope_id, grants.c.valid_from, grants.c.id)
)
_OWNED = Statement[OwnedGroup](
    GRANTS.select(OwnedGroup, join=["role"], id=scope_rows.c.id, name=scope_rows.c.name)
    .where(
        any_of(grants.c.account_id, "ids"),
        or_(*(roles.c.name == name for name in sorted(KINDS[ScopeKind.GROUP].owner_roles))),
        scope_rows.c.deleted_at.is_(None),
        is_active(),
    )
    .order_by(scope_rows.c.id)
)
_COUNT_CREATED = Statement[int](
    select(func.count().label("count"))
    .select_from(groups)
    .join(scope_rows, scope_rows.c.id == groups.c.scope_id)
    .where(groups.c.founder_id == bindparam("account"), scope_rows.c.deleted_at.is_(None))
)
_RELEASE_NAME = Statement(
    update(groups).where(groups.c.scope_id == bindparam("scope")).values(name_casefolded=None)
)

_JOINED_BY_ACTOR = Statement[int](
    select(grants.c.scope_id).where(actor_grants(), any_of(grants.c.scope_id, "ids"))
)
_NAME_TAKEN = Statement[int](
    select(groups.c.scope_id).where(
        groups.c.name_casefolded == bindparam("name_casefolded"),
        groups.c.scope_id != bindparam("excluded_group", type_=BigInt),
    )
)


def by_id(tx: ReadTransaction, group_id: int) -> GroupRow:
    """Return a group.

    Args:
        group_id: id of the group.

    Raises:
        NotFound: ``group.unknown``.
    """
    return or_not_found(tx.fetch_one(_BY_ID, id=group_id), "group.unknown")


def is_name_taken(tx: ReadTransaction, name_casefolded: str, excluded_group: int) -> bool:
    """Return whether a group other than the one with that id has this name.

    Args:
        name_casefolded: the comparable form of the name.
        excluded_group: id of the group that does not count.
    """
    return (
        tx.fetch_one(_NAME_TAKEN, name_casefolded=name_casefolded, excluded_group=excluded_group)
        is not None
    )


def by_ids(tx: ReadTransaction, ids: Collection[int]) -> dict[int, GroupRow]:
    """Return the groups with these ids by id, with one query."""
    return {row.id: row for row in tx.fetch_all(_BY_IDS, ids=list(ids))} if ids else {}


def joined_by_actor(tx: ReadTransaction, actor: Actor, ids: Collection[int]) -> list[int]:
    """Return the ids among these of groups that the actor is a member of, with one query."""
    return tx.fetch_all(_JOINED_BY_ACTOR, ids=list(ids), **viewer_params(tx, actor)) if ids else []


def members(tx: ReadTransaction, ids: Collection[int]) -> dict[int, list[Member]]:
    """Return the members of groups by group id with their roles, longest first, with one query."""
    members_by_group: dict[int, list[Member]] = {group_id: [] for group_id in ids}
    for row in tx.fetch_all(_MEMBERS, ids=list(ids), now=tx.now) if ids else ():
        members_by_group[row.scope_id].append(row)
    return members_by_group


def owned(tx: ReadTransaction, ids: Collection[int]) -> dict[int, list[OwnedGroup]]:
    """Return the groups that accounts own, by account id, with one query."""
    groups_by_account: dict[int, list[OwnedGroup]] = {account_id: [] for account_id in ids}
    for row in tx.fetch_all(_OWNED, ids=list(ids), now=tx.now) if ids else ():
        groups_by_account[row.account_id].append(row)
    return groups_by_account


def count_created(tx: ReadTransaction, account: int) -> int:
    """Return the number of groups that an account has created and that still exist."""
    return tx.fetch_only(_COUNT_CREATED, account=account)


def add(
    tx: WriteTransaction, uuid: str, name: str, slug: str, name_casefolded: str, creator: int
) -> int:
    """Insert a group and return its id.

    Args:
        name_casefolded: the comparable form of the name.
        creator: id of the account that creates it.

    Raises:
        Invalid: ``group.name_taken``, decided by the unique constraint, also for concurrent
            transactions.
    """
    common = {"uuid": uuid, "name": name, "slug": slug, "description": ""}
    with unique_or(tx, Invalid("group.name_taken", field="name")):
        return scope_queries.add(
            tx,
            ScopeKind.GROUP,
            groups,
            common,
            {"name_casefolded": name_casefolded, "founder_id": creator},
        )


def rename(tx: WriteTransaction, scope: int, name: str, name_casefolded: str) -> None:
    """Rename a group.

    Args:
        name_casefolded: the comparable form of the name.

    Raises:
        Invalid: ``group.name_taken``.
    """
    changes: Mapping[str, Any] = {"name": name, "name_casefolded": name_casefolded}
    try:
        scope_queries.change(tx, scope, groups, changes)
    except Invalid as error:
        # The name is the only unique column that changes here.
        raise Invalid("group.name_taken", field="name") from error


def release_name(tx: WriteTransaction, scope: int) -> None:
    """Release the name of a group that is being deleted, so that another group can use it."""
    tx.execute(_RELEASE_NAME, scope=scope)
