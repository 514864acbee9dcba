"""Queries of invite links: visibility, lists and changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, select, true, union, update

from collegium.access.queries import (
    add_to_scope,
    lock_scope_and_parent,
    scopes_with_permission,
)
from collegium.access.rules import MEMBERSHIP_PERMISSIONS, Actor, Permission, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row, Statement, UtcDateTime, any_of
from collegium.db.tables import accounts, invite_links, roles, scopes
from collegium.invitations.queries import READERS, permissions_of_sponsors
from collegium.invitations.rules import inviter_can_still_grant
from collegium.lists import filters as list_filters
from collegium.lists.listing import Filter, Listing
from collegium.lists.sql_hints import no_index_on_join
from collegium.refusals import NotFound
from collegium.roles import queries as role_queries
from collegium.scopes.queries import with_scope_and_role

_now = bindparam("now", type_=UtcDateTime)
_project_role = roles.alias("project_role")
_one = invite_links.alias("one")

_rows = (
    with_scope_and_role(
        invite_links,
        accounts.c.username.label("creator_username"),
        accounts.c.first_name.label("creator_first_name"),
        accounts.c.last_name.label("creator_last_name"),
        accounts.c.picture.label("creator_picture"),
        _project_role.c.uuid.label("project_role_uuid"),
        _project_role.c.kind.label("project_role_kind"),
        _project_role.c.is_active.label("project_role_is_active"),
    )
    .outerjoin(accounts, accounts.c.id == invite_links.c.created_by)
    .outerjoin(_project_role, _project_role.c.id == invite_links.c.project_role_id)
    .where(no_index_on_join(scopes.c.removed_at, invite_links.c.id).is_(None))
)


def _active(table: Any) -> ColumnElement[bool]:
    """Return the condition for usable links: the twin of ``invite_links.rules.is_active``."""
    return and_(table.c.canceled_at.is_(None), table.c.expires_at > _now)


def _public(table: Any) -> ColumnElement[bool]:
    return and_(table.c.is_public, _active(table))


def visible() -> ColumnElement[bool]:
    """Return the condition for links that an ordinary or anonymous actor may see."""
    return invite_links.c.id.in_(
        union(
            select(_one.c.id).where(_one.c.scope_id.in_(scopes_with_permission(*READERS))),
            select(_one.c.id).where(_public(_one)),
        )
    )


def is_visible() -> ColumnElement[bool]:
    """Return a column that tells whether an ordinary actor may see the link of a row.

    It is true for the links that match ``visible``. ``CASE`` looks for the permissions of the actor
    only if a link is not public.
    """
    return case(
        (_public(invite_links), true()),
        else_=invite_links.c.scope_id.in_(scopes_with_permission(*READERS)),
    )


listing = Listing(
    _rows.where(no_index_on_join(scopes.c.kind, invite_links.c.id) != ScopeKind.GROUP.value),
    visible=visible,
    key=invite_links.c.id,
    counted=select(invite_links.c.id)
    .join(scopes, scopes.c.id == invite_links.c.scope_id)
    .where(
        no_index_on_join(scopes.c.removed_at, invite_links.c.id).is_(None),
        no_index_on_join(scopes.c.kind, invite_links.c.id) != ScopeKind.GROUP.value,
    ),
    lean=True,
    default="-created",
    orders={"created": (invite_links.c.created_at,)},
    filters={
        **list_filters.OPEN_INVITATIONS,
        "is_active": Filter(
            lambda value: ("yes" if value else "no", {}),
            lambda form, _sees_all: (
                _active(invite_links) if form == "yes" else ~_active(invite_links)
            ),
        ),
        "is_public": Filter(
            lambda value: ("yes" if value else "no", {}),
            lambda form, _sees_all: (
                invite_links.c.is_public if form == "yes" else ~invite_links.c.is_public
            ),
        ),
    },
)


_OPEN_OF = Statement(
    select(func.count().label("count"))
    .select_from(invite_links)
    .where(invite_links.c.scope_id == bindparam("scope"), _active(invite_links))
)


@lru_cache(maxsize=2)
def _seen(*, public: bool) -> Statement:
    return Statement(
        _rows.where(
            invite_links.c.uuid == bindparam("uuid"),
            _public(invite_links) if public else true(),
        )
    )


_SCOPE_OF = Statement(
    select(scopes.c.id, scopes.c.parent_id)
    .join(invite_links, invite_links.c.scope_id == scopes.c.id)
    .where(invite_links.c.uuid == bindparam("uuid"))
)
_ADD = add_to_scope(
    invite_links,
    [c.name for c in invite_links.c if c.name not in {"id", "canceled_at"}],
)


@lru_cache(maxsize=16)
def _change(columns: tuple[str, ...]) -> Statement:
    return Statement(
        update(invite_links)
        .where(invite_links.c.id == bindparam("number"))
        .values({name: bindparam(name) for name in columns})
    )


# A separate query, because the lists do not need these columns.
_SPONSORS = Statement(
    select(accounts.c.id, accounts.c.is_active, accounts.c.is_staff).where(
        any_of(accounts.c.id, "sponsors")
    )
)
_CANCEL = Statement(
    update(invite_links)
    .where(invite_links.c.id == bindparam("number"), invite_links.c.canceled_at.is_(None))
    .values(canceled_at=_now)
)
_CANCEL_ALL = Statement(
    update(invite_links)
    .where(invite_links.c.scope_id == bindparam("scope"), invite_links.c.canceled_at.is_(None))
    .values(canceled_at=_now)
)


def find(tx: ReadTransaction, actor: Actor, uuid: str) -> Row:
    """Return an invite link to a caller who knows its UUID.

    An anonymous caller gets public links only.

    Raises:
        NotFound: ``open_invitation.unknown``.
    """
    row = tx.fetch_one(_seen(public=actor.id == 0), uuid=uuid, now=tx.now)
    if row is None:
        raise NotFound("open_invitation.unknown")
    return row


def open_of(tx: ReadTransaction, scope: int) -> int:
    """Return the number of usable invite links of a scope."""
    return int(tx.scalar(_OPEN_OF, scope=scope, now=tx.now))


def by_uuid_locked(tx: WriteTransaction, uuid: str) -> Row:
    """Return an invite link; lock its scope and the parent scope before its row is read.

    Raises:
        NotFound: ``open_invitation.unknown``.
    """
    scope = tx.fetch_one(_SCOPE_OF, uuid=uuid)
    if scope is not None:
        lock_scope_and_parent(tx, scope.id, scope.parent_id)
    row = tx.fetch_one(_seen(public=False), uuid=uuid, now=tx.now)
    if row is None:
        raise NotFound("open_invitation.unknown")
    return row


def granted_roles(row: Row) -> list[int]:
    """Return the ids of the roles that an invite link, or a join request made with it, offers."""
    more = row.project_role_id if row.auto_create_project else None
    return [row.role_id] + ([more] if more else [])


def needed(tx: ReadTransaction, row: Row) -> set[str]:
    """Return the permissions that are needed to grant what a row offers, besides adding members.

    Args:
        row: an invite link, or a join request made with one.
    """
    return _needed(row, role_queries.permissions_of(tx, granted_roles(row)))


def _needed(row: Row, carried: Mapping[int, Collection[str]]) -> set[str]:
    found = {one for role in granted_roles(row) for one in carried.get(role, ())}
    return found | {Permission.PROJECT_CREATE.value} if row.auto_create_project else found


def with_sponsor(tx: ReadTransaction, rows: Sequence[Row]) -> set[int]:
    """Return the ids of the invite links whose sponsors may still grant what they offer."""
    ids = {row.sponsor_id for row in rows if row.sponsor_id is not None}
    if not ids:
        return set()
    sponsors = {row.id: row for row in tx.fetch_all(_SPONSORS, sponsors=list(ids))}
    held = permissions_of_sponsors(tx, rows, ids)
    carried = role_queries.permissions_of(tx, {role for row in rows for role in granted_roles(row)})
    return {
        row.id
        for row in rows
        if row.sponsor_id in sponsors
        and inviter_can_still_grant(
            held(row.sponsor_id, row),
            MEMBERSHIP_PERMISSIONS[ScopeKind(row.scope_kind)].grant,
            _needed(row, carried),
            is_active=sponsors[row.sponsor_id].is_active,
            is_staff=sponsors[row.sponsor_id].is_staff,
        )
    }


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert an invite link and return its id.

    Raises:
        NotFound: ``scope.unknown`` if the scope was deleted in the meantime.
    """
    number = tx.scalar(_ADD, **values)
    if number is None:
        raise NotFound("scope.unknown")
    return int(number)


def change(tx: WriteTransaction, number: int, changes: Mapping[str, Any]) -> None:
    """Update the given columns."""
    tx.execute(_change(tuple(sorted(changes))), number=number, **changes)


def cancel(tx: WriteTransaction, number: int) -> bool:
    """Cancel an invite link; return whether this call cancelled it."""
    return tx.execute(_CANCEL, number=number, now=tx.now) > 0


def cancel_all(tx: WriteTransaction, scope: int) -> None:
    """Cancel all invite links to a scope that is being deleted."""
    tx.execute(_CANCEL_ALL, scope=scope, now=tx.now)
