"""Open invitations: the rows, and who may see them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, func, select, true, union, update

from collegium.access.queries import add_to_scope, holding, lock_both, seer
from collegium.access.rules import TEAM, Kind, Permission
from collegium.db.statements import Prepared, Time, any_of
from collegium.db.tables import accounts, open_invitations, roles, scopes
from collegium.invitations.queries import READERS, held_by
from collegium.invitations.rules import stands_by
from collegium.lists import filters as list_filters
from collegium.lists.listing import Filter, Listing
from collegium.lists.sql_hints import beside
from collegium.refusals import NotFound
from collegium.roles import queries as role_queries
from collegium.scopes.queries import placed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement

    from collegium.access.rules import Actor
    from collegium.db.database import Read, Write
    from collegium.db.statements import Row

_now = bindparam("now", type_=Time)
_project_role = roles.alias("project_role")
_one = open_invitations.alias("one")

_rows = (
    placed(
        open_invitations,
        accounts.c.username.label("creator_username"),
        accounts.c.first_name.label("creator_first_name"),
        accounts.c.last_name.label("creator_last_name"),
        accounts.c.picture.label("creator_picture"),
        _project_role.c.uuid.label("project_role_uuid"),
        _project_role.c.kind.label("project_role_kind"),
        _project_role.c.is_active.label("project_role_is_active"),
    )
    .outerjoin(accounts, accounts.c.id == open_invitations.c.created_by)
    .outerjoin(_project_role, _project_role.c.id == open_invitations.c.project_role_id)
    .where(beside(scopes.c.removed, open_invitations.c.id).is_(None))
)


def _active(table: Any) -> ColumnElement[bool]:
    """Say which can be followed now: the twin of ``rules.open_invitations.is_active``."""
    return and_(table.c.canceled.is_(None), table.c.expires > _now)


def _public(table: Any) -> ColumnElement[bool]:
    return and_(table.c.is_public, _active(table))


def visible() -> ColumnElement[bool]:
    """Say which open invitations anybody may see who does not see all: nobody as well."""
    return open_invitations.c.id.in_(
        union(
            select(_one.c.id).where(_one.c.scope_id.in_(holding(*READERS))),
            select(_one.c.id).where(_public(_one)),
        )
    )


listing = Listing(
    _rows.where(beside(scopes.c.kind, open_invitations.c.id) != Kind.GROUP.value),
    visible=visible,
    key=open_invitations.c.id,
    counted=select(open_invitations.c.id)
    .join(scopes, scopes.c.id == open_invitations.c.scope_id)
    .where(
        beside(scopes.c.removed, open_invitations.c.id).is_(None),
        beside(scopes.c.kind, open_invitations.c.id) != Kind.GROUP.value,
    ),
    lean=True,
    default="-created",
    orders={"created": (open_invitations.c.created,)},
    filters={
        **list_filters.OPEN_INVITATIONS,
        "is_active": Filter(
            lambda value: ("yes" if value else "no", {}),
            lambda form, _sees_all: (
                _active(open_invitations) if form == "yes" else ~_active(open_invitations)
            ),
        ),
        "is_public": Filter(
            lambda value: ("yes" if value else "no", {}),
            lambda form, _sees_all: (
                open_invitations.c.is_public if form == "yes" else ~open_invitations.c.is_public
            ),
        ),
    },
)


_OPEN_OF = Prepared(
    select(func.count().label("count"))
    .select_from(open_invitations)
    .where(open_invitations.c.scope_id == bindparam("scope"), _active(open_invitations))
)


@lru_cache(maxsize=2)
def _seen(*, public: bool) -> Prepared:
    return Prepared(
        _rows.where(
            open_invitations.c.uuid == bindparam("uuid"),
            _public(open_invitations) if public else true(),
        )
    )


_VISIBLE = Prepared(
    select(open_invitations.c.uuid).where(any_of(open_invitations.c.uuid, "uuids"), visible())
)
_SCOPE_OF = Prepared(
    select(scopes.c.id, scopes.c.parent_id)
    .join(open_invitations, open_invitations.c.scope_id == scopes.c.id)
    .where(open_invitations.c.uuid == bindparam("uuid"))
)
_ADD = add_to_scope(
    open_invitations,
    [c.name for c in open_invitations.c if c.name not in {"id", "canceled"}],
)


@lru_cache(maxsize=16)
def _change(columns: tuple[str, ...]) -> Prepared:
    return Prepared(
        update(open_invitations)
        .where(open_invitations.c.id == bindparam("number"))
        .values({name: bindparam(name) for name in columns})
    )


# Not joined to every row: the lists have no use for it.
_SPONSORS = Prepared(
    select(accounts.c.id, accounts.c.is_active, accounts.c.is_staff).where(
        any_of(accounts.c.id, "sponsors")
    )
)
_CANCEL = Prepared(
    update(open_invitations)
    .where(open_invitations.c.id == bindparam("number"), open_invitations.c.canceled.is_(None))
    .values(canceled=_now)
)
_CANCEL_ALL = Prepared(
    update(open_invitations)
    .where(open_invitations.c.scope_id == bindparam("scope"), open_invitations.c.canceled.is_(None))
    .values(canceled=_now)
)


def find(tx: Read, actor: Actor, uuid: str) -> Row:
    """Load an open invitation for somebody who has its link; nobody in particular: a public one.

    Refuses: NotFound ``open_invitation.unknown``.
    """
    row = tx.one(_seen(public=actor.id == 0), uuid=uuid, now=tx.now)
    if row is None:
        raise NotFound("open_invitation.unknown")
    return row


def visible_of(tx: Read, actor: Actor, uuids: Collection[str]) -> set[str]:
    """Give those of some invite links, by their UUIDs, that the actor may list."""
    if actor.sees_all or not uuids:
        return set(uuids)
    return {row.uuid for row in tx.all(_VISIBLE, uuids=list(uuids), **seer(tx, actor))}


def open_of(tx: Read, scope: int) -> int:
    """Count the invite links of a scope that can be followed now."""
    return int(tx.value(_OPEN_OF, scope=scope, now=tx.now))


def by_uuid_locked(tx: Write, uuid: str) -> Row:
    """Load an open invitation with its scope, and what is above, locked before it is read.

    Refuses: NotFound ``open_invitation.unknown``.
    """
    scope = tx.one(_SCOPE_OF, uuid=uuid)
    if scope is not None:
        lock_both(tx, scope.id, scope.parent_id)
    row = tx.one(_seen(public=False), uuid=uuid, now=tx.now)
    if row is None:
        raise NotFound("open_invitation.unknown")
    return row


def gives(row: Row) -> list[int]:
    """Give the ids of the roles that an invite link, or a request by one, leads to."""
    more = row.project_role_id if row.auto_create_project else None
    return [row.role_id] + ([more] if more else [])


def needed(tx: Read, row: Row) -> set[str]:
    """Give the permissions that somebody needs, besides that to let in, to give what a row offers.

    Args:
        row: an invite link, or a request by one.
    """
    return _needed(row, role_queries.permissions_of(tx, gives(row)))


def _needed(row: Row, carried: Mapping[int, Collection[str]]) -> set[str]:
    found = {one for role in gives(row) for one in carried.get(role, ())}
    return found | {Permission.PROJECT_CREATE.value} if row.auto_create_project else found


def sponsored(tx: Read, rows: Sequence[Row]) -> set[int]:
    """Give the ids of those invite links whose sponsors could still give what they offer now."""
    ids = {row.sponsor_id for row in rows if row.sponsor_id is not None}
    if not ids:
        return set()
    sponsors = {row.id: row for row in tx.all(_SPONSORS, sponsors=list(ids))}
    held = held_by(tx, rows, ids)
    carried = role_queries.permissions_of(tx, {role for row in rows for role in gives(row)})
    return {
        row.id
        for row in rows
        if row.sponsor_id in sponsors
        and stands_by(
            held(row.sponsor_id, row),
            TEAM[Kind(row.scope_kind)].grant,
            _needed(row, carried),
            is_active=sponsors[row.sponsor_id].is_active,
            is_staff=sponsors[row.sponsor_id].is_staff,
        )
    }


def add(tx: Write, values: Mapping[str, Any]) -> int:
    """Insert an open invitation and give its number.

    Refuses: NotFound ``scope.unknown`` when its scope has been removed just now.
    """
    number = tx.value(_ADD, **values)
    if number is None:
        raise NotFound("scope.unknown")
    return int(number)


def change(tx: Write, number: int, changes: Mapping[str, Any]) -> None:
    """Write the given columns."""
    tx.run(_change(tuple(sorted(changes))), number=number, **changes)


def cancel(tx: Write, number: int) -> bool:
    """Close an open invitation; tell whether it was open."""
    return tx.run(_CANCEL, number=number, now=tx.now) > 0


def cancel_all(tx: Write, scope: int) -> None:
    """Close every open invitation to a scope that goes."""
    tx.run(_CANCEL_ALL, scope=scope, now=tx.now)
