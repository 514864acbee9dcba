"""Roles: named bundles of permissions, each for one kind of scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, func, or_, select, true

from collegium.rules.refusals import NotFound
from collegium.store.access import live
from collegium.store.db import Prepared, any_of
from collegium.store.listing import Listing
from collegium.store.tables import accounts, grants, role_permissions, roles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collegium.store.db import Read, Row

listing = Listing(
    select(roles),
    visible=true,
    key=roles.c.id,
    default="name",
    orders={"name": (roles.c.name,)},
)

_BY_UUID = Prepared(select(roles).where(roles.c.uuid == bindparam("uuid")))
_BY_NAME_OR_UUID = Prepared(
    select(roles).where(
        or_(
            roles.c.name == bindparam("name"),
            roles.c.uuid == bindparam("uuid"),
        )
    )
)
_PERMISSIONS = Prepared(
    select(role_permissions)
    .where(any_of(role_permissions.c.role_id, "ids"))
    .order_by(role_permissions.c.role_id, role_permissions.c.permission)
)
_PEOPLE = Prepared(
    select(grants.c.role_id, func.count(grants.c.account_id.distinct()).label("people"))
    .join(accounts, and_(accounts.c.id == grants.c.account_id, accounts.c.is_active))
    .where(any_of(grants.c.role_id, "ids"), live())
    .group_by(grants.c.role_id)
)


def find(tx: Read, uuid: str) -> Row:
    """Load a role.

    Refuses: NotFound ``role.unknown``.
    """
    row = tx.one(_BY_UUID, uuid=uuid)
    if row is None:
        raise NotFound("role.unknown")
    return row


def named(tx: Read, name: str, uuid: str | None) -> Row | None:
    """Find a role by its name or its UUID, whichever was given."""
    return tx.one(_BY_NAME_OR_UUID, name=name, uuid=uuid)


def permissions_of(tx: Read, ids: Iterable[int]) -> dict[int, list[str]]:
    """Give the permissions of roles, in alphabetical order."""
    found: dict[int, list[str]] = {}
    for row in tx.all(_PERMISSIONS, ids=list(ids)):
        found.setdefault(row.role_id, []).append(row.permission)
    return found


def people_in(tx: Read, ids: Iterable[int]) -> dict[int, int]:
    """Count the active accounts that hold each role somewhere."""
    return {row.role_id: row.people for row in tx.all(_PEOPLE, ids=list(ids), now=tx.now)}
