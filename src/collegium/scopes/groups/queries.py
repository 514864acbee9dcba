"""Groups: the scopes that stand alone, and who is what in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, or_, select, true, update

from collegium.access.queries import live, mine, seer
from collegium.access.rules import OWNER_ROLES, Kind
from collegium.db.database import Duplicate
from collegium.db.statements import Prepared, any_of
from collegium.db.tables import Number, accounts, grants, groups, roles
from collegium.db.tables import scopes as scope_rows
from collegium.lists import lookups
from collegium.lists.listing import Listing
from collegium.refusals import Invalid, NotFound
from collegium.scopes import queries as scope_queries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from collegium.access.rules import Actor
    from collegium.db.database import Read, Write
    from collegium.db.statements import Row

_rows = (
    select(
        *(c for c in scope_rows.c if c.name not in {"kind", "removed", "parent_id", "name_sort"}),
    )
    .join(groups, groups.c.scope_id == scope_rows.c.id)
    .where(scope_rows.c.removed.is_(None))
)

listing = Listing(
    _rows,
    visible=true,  # that there is a group is no secret; who may know its people, dialects say
    key=scope_rows.c.id,
    default="id",
    orders={"id": (scope_rows.c.id,), "name": (scope_rows.c.name_sort,)},
    filters={
        **lookups.numbers("id", scope_rows.c.id),
        **lookups.names("name", scope_rows.c.name, groups.c.folded),
    },
)

_BY_NUMBER = Prepared(_rows.where(scope_rows.c.id == bindparam("id")))
_SOME = Prepared(_rows.where(any_of(scope_rows.c.id, "ids")))
_MEMBERS = Prepared(
    select(
        grants.c.id.label("grant_id"),
        grants.c.scope_id,
        grants.c.account_id,
        grants.c.role_id,
        grants.c.until,
        roles.c.name.label("role_name"),
        accounts.c.username,
        accounts.c.email,
        accounts.c.is_active,
    )
    .join(accounts, accounts.c.id == grants.c.account_id)
    .join(roles, roles.c.id == grants.c.role_id)
    .where(any_of(grants.c.scope_id, "ids"), live())
    .order_by(grants.c.scope_id, grants.c.since, grants.c.id)
)
_OWNED = Prepared(
    select(grants.c.account_id, scope_rows.c.id, scope_rows.c.name)
    .select_from(grants)
    .join(roles, roles.c.id == grants.c.role_id)
    .join(scope_rows, scope_rows.c.id == grants.c.scope_id)
    .where(
        any_of(grants.c.account_id, "ids"),
        or_(*(roles.c.name == name for name in sorted(OWNER_ROLES[Kind.GROUP]))),
        scope_rows.c.removed.is_(None),
        live(),
    )
    .order_by(scope_rows.c.id)
)
_FOUNDED = Prepared(
    select(func.count().label("count"))
    .select_from(groups)
    .join(scope_rows, scope_rows.c.id == groups.c.scope_id)
    .where(groups.c.founder_id == bindparam("account"), scope_rows.c.removed.is_(None))
)
_FREE = Prepared(update(groups).where(groups.c.scope_id == bindparam("scope")).values(folded=None))

_SHARED = Prepared(select(grants.c.scope_id).where(mine(), any_of(grants.c.scope_id, "ids")))
_TAKEN = Prepared(
    select(groups.c.scope_id).where(
        groups.c.folded == bindparam("folded"),
        groups.c.scope_id != bindparam("besides", type_=Number),
    )
)


def by_number(tx: Read, number: int) -> Row:
    """Load a group.

    Refuses: NotFound ``group.unknown``.
    """
    row = tx.one(_BY_NUMBER, id=number)
    if row is None:
        raise NotFound("group.unknown")
    return row


def is_taken(tx: Read, folded: str, besides: int) -> bool:
    """Return whether a group other than the one with that id has a name."""
    return tx.one(_TAKEN, folded=folded, besides=besides) is not None


def some(tx: Read, numbers: Collection[int]) -> dict[int, Row]:
    """Give the groups with some numbers, in one statement."""
    return {row.id: row for row in tx.all(_SOME, ids=list(numbers))} if numbers else {}


def shared(tx: Read, actor: Actor, numbers: Collection[int]) -> list[int]:
    """Return those of some groups that the actor is in, in one statement."""
    rows = tx.all(_SHARED, ids=list(numbers), **seer(tx, actor)) if numbers else []
    return [row.scope_id for row in rows]


def members(tx: Read, numbers: Collection[int]) -> dict[int, list[Row]]:
    """Give who is what in some groups, longest members first, in one statement."""
    found: dict[int, list[Row]] = {number: [] for number in numbers}
    for row in tx.all(_MEMBERS, ids=list(numbers), now=tx.now) if numbers else ():
        found[row.scope_id].append(row)
    return found


def owned(tx: Read, people: Collection[int]) -> dict[int, list[Row]]:
    """Give the groups, ``id name``, that some accounts own, in one statement."""
    found: dict[int, list[Row]] = {number: [] for number in people}
    for row in tx.all(_OWNED, ids=list(people), now=tx.now) if people else ():
        found[row.account_id].append(row)
    return found


def founded(tx: Read, account: int) -> int:
    """Count the groups that an account has founded and that still exist."""
    return int(tx.value(_FOUNDED, account=account))


def add(tx: Write, uuid: str, name: str, slug: str, folded: str, founder: int) -> int:
    """Insert a group and give its number.

    Args:
        founder: id of the account that founds it.

    Refuses: Invalid ``group.name_taken``; the constraint decides, whoever else writes now.
    """
    common = {"uuid": uuid, "name": name, "slug": slug, "description": ""}
    try:
        with tx.point():
            return scope_queries.add(
                tx, Kind.GROUP, groups, common, {"folded": folded, "founder_id": founder}
            )
    except Duplicate as error:
        raise Invalid("group.name_taken", field="name") from error


def rename(tx: Write, scope: int, name: str, folded: str) -> None:
    """Give a group another name.

    Refuses: Invalid ``group.name_taken``.
    """
    changes: Mapping[str, Any] = {"name": name, "folded": folded}
    try:
        scope_queries.change(tx, scope, groups, changes)
    except Invalid as error:
        # Nothing else that is unique is changed here.
        raise Invalid("group.name_taken", field="name") from error


def free_name(tx: Write, scope: int) -> None:
    """Let another group have the name of one that goes."""
    tx.run(_FREE, scope=scope)
