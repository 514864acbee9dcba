"""Grants: who holds which role in which scope, from when, until when, and who gave it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, func, insert, or_, select, true, update

from collegium.rules.access import Kind
from collegium.rules.refusals import Conflict, NotFound
from collegium.store.access import live, organisation, visible_scopes
from collegium.store.db import Duplicate, Prepared, Time, any_of
from collegium.store.listing import Listing
from collegium.store.tables import Number, accounts, grants, roles, scopes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from collegium.rules.access import Actor
    from collegium.store.db import Read, Row, Write

_giver = accounts.alias("giver")

_shown = (
    select(
        *(c for c in grants.c if c.name not in {"given_by", "ended_by"}),
        accounts.c.uuid.label("account_uuid"),
        accounts.c.username,
        accounts.c.email,
        accounts.c.picture,
        accounts.c.slug,
        accounts.c.first_name,
        accounts.c.last_name,
        roles.c.uuid.label("role_uuid"),
        roles.c.name.label("role_name"),
        roles.c.description.label("role_description"),
        scopes.c.kind.label("scope_kind"),
        scopes.c.uuid.label("scope_uuid"),
        scopes.c.name.label("scope_name"),
        organisation.c.uuid.label("organisation_uuid"),
        organisation.c.name.label("organisation_name"),
        _giver.c.uuid.label("giver_uuid"),
        _giver.c.username.label("giver_username"),
        _giver.c.first_name.label("giver_first_name"),
        _giver.c.last_name.label("giver_last_name"),
    )
    .join(accounts, accounts.c.id == grants.c.account_id)
    .join(roles, roles.c.id == grants.c.role_id)
    .join(scopes, scopes.c.id == grants.c.scope_id)
    .join(organisation, organisation.c.id == func.coalesce(scopes.c.parent_id, scopes.c.id))
    .outerjoin(_giver, _giver.c.id == grants.c.given_by)
)
_rows = _shown.where(live(), scopes.c.removed.is_(None))

_ORDERS = {
    "created": (grants.c.since,),
    "email": (accounts.c.email,),
    "expiration_time": (grants.c.until,),
    "full_name": (accounts.c.first_name, accounts.c.last_name),
    "native_name": (accounts.c.native_name,),
    "role": (roles.c.name,),
    "username": (accounts.c.username,),
}

listing = Listing(
    # Groups are spelled by another wire; whoever lists grants here lists the tree.
    _rows.where(scopes.c.kind != Kind.GROUP.value),
    visible=lambda: grants.c.account_id == bindparam("actor", type_=Number),
    key=grants.c.id,
    default="created",
    orders=_ORDERS,
    counted=select(grants.c.id)
    .join(scopes, scopes.c.id == grants.c.scope_id)
    .where(live(), scopes.c.removed.is_(None), scopes.c.kind != Kind.GROUP.value),
)

team = Listing(
    _rows.where(accounts.c.is_active),
    visible=true,  # whoever reached the scope sees its team
    key=grants.c.id,
    default="created",
    orders=_ORDERS,
    filters={"scope": grants.c.scope_id == bindparam("scope", type_=Number)},
)


@lru_cache(maxsize=2)
def _one(*, sees_all: bool) -> Prepared:
    return Prepared(
        _rows.where(
            grants.c.uuid == bindparam("uuid"),
            scopes.c.kind != Kind.GROUP.value,
            true() if sees_all else grants.c.account_id == bindparam("actor", type_=Number),
        )
    )


@lru_cache(maxsize=2)
def _of_accounts(*, sees_all: bool) -> Prepared:
    return Prepared(
        _rows.where(
            any_of(grants.c.account_id, "ids"),
            scopes.c.kind != Kind.GROUP.value,
            true()
            if sees_all
            else or_(
                grants.c.account_id == bindparam("actor", type_=Number),
                grants.c.scope_id.in_(visible_scopes()),
            ),
        ).order_by(grants.c.since, grants.c.id)
    )


# The past: what a grant's own row says of a moment, whatever happened to it later.
_HELD_AT = Prepared(
    _shown.where(
        grants.c.scope_id == bindparam("scope", type_=Number),
        grants.c.since <= bindparam("moment", type_=Time),
        or_(grants.c.ended.is_(None), grants.c.ended > bindparam("moment", type_=Time)),
        or_(grants.c.until.is_(None), grants.c.until > bindparam("moment", type_=Time)),
    ).order_by(grants.c.since, grants.c.id)
)

_same = and_(
    grants.c.account_id == bindparam("account", type_=Number),
    grants.c.role_id == bindparam("role", type_=Number),
    grants.c.scope_id == bindparam("scope", type_=Number),
    grants.c.ended.is_(None),
)
_HELD = Prepared(select(grants).where(_same, live()))
_ANY_OF_ACCOUNT = Prepared(
    select(grants.c.id)
    .join(scopes, scopes.c.id == grants.c.scope_id)
    .where(
        grants.c.account_id == bindparam("account", type_=Number),
        live(),
        scopes.c.removed.is_(None),
    )
    .limit(1)
)
_STANDING = Prepared(
    select(
        grants.c.id,
        grants.c.scope_id,
        grants.c.role_id,
        grants.c.until,
        roles.c.name.label("role_name"),
        scopes.c.kind.label("scope_kind"),
        scopes.c.name.label("scope_name"),
    )
    .join(roles, roles.c.id == grants.c.role_id)
    .join(scopes, scopes.c.id == grants.c.scope_id)
    .where(grants.c.account_id == bindparam("account", type_=Number), grants.c.ended.is_(None))
    # In the order of the scopes, as everybody locks them.
    .order_by(grants.c.scope_id, grants.c.id)
)
_IN_SCOPE = Prepared(
    select(grants.c.id)
    .where(
        grants.c.account_id == bindparam("account", type_=Number),
        grants.c.scope_id == bindparam("scope", type_=Number),
        live(),
    )
    .limit(1)
)
# A grant whose time is over still holds the place of the active one in the unique index:
# it is ended, as of the moment it ran out, before its successor is written.
_RETIRE = Prepared(
    update(grants).where(_same, grants.c.until <= bindparam("moment")).values(ended=grants.c.until)
)
_GRANT = Prepared(
    insert(grants)
    .values(
        {
            name: bindparam(name)
            for name in (
                "uuid",
                "account_id",
                "role_id",
                "scope_id",
                "since",
                "until",
                "given_by",
            )
        }
    )
    .returning(grants.c.id)
)
_SET_END = Prepared(
    update(grants).where(grants.c.id == bindparam("grant"), live()).values(until=bindparam("end"))
)
_END = Prepared(
    update(grants)
    .where(grants.c.id == bindparam("grant"), grants.c.ended.is_(None))
    .values(ended=bindparam("moment"), ended_by=bindparam("by"))
)
_END_ALL = Prepared(
    update(grants)
    .where(grants.c.scope_id == bindparam("scope"), grants.c.ended.is_(None))
    .values(
        # What ran out before keeps the moment at which it did.
        ended=case(
            (grants.c.until <= bindparam("moment"), grants.c.until),
            else_=bindparam("moment", type_=Time),
        ),
        ended_by=bindparam("by"),
    )
    .returning(grants.c.account_id)
)
_LASTING_OWNERS = Prepared(
    select(func.count().label("count"))
    .select_from(grants)
    .join(accounts, accounts.c.id == grants.c.account_id)
    .where(
        grants.c.scope_id == bindparam("scope"),
        grants.c.role_id == bindparam("role"),
        grants.c.id != bindparam("besides"),
        grants.c.ended.is_(None),
        grants.c.until.is_(None),
        accounts.c.is_active,
    )
)


def find(tx: Read, actor: Actor, uuid: str) -> Row:
    """Load a grant to show it.

    Refuses: NotFound ``grant.unknown`` when there is none or it is hidden.
    """
    seer = {} if actor.sees_all else {"actor": actor.id}
    row = tx.one(_one(sees_all=actor.sees_all), uuid=uuid, now=tx.now, **seer)
    if row is None:
        raise NotFound("grant.unknown")
    return row


def of_accounts(tx: Read, actor: Actor, ids: Iterable[int]) -> dict[int, list[Row]]:
    """Give the grants of accounts, in one statement; of others only where the actor sees."""
    seer = {} if actor.sees_all else {"actor": actor.id}
    found: dict[int, list[Row]] = {}
    statement = _of_accounts(sees_all=actor.sees_all)
    for row in tx.all(statement, ids=list(ids), now=tx.now, **seer):
        found.setdefault(row.account_id, []).append(row)
    return found


def held_at(tx: Read, scope: int, moment: datetime) -> list[Row]:
    """Give the grants that counted in a scope at a moment, in the past as well as now."""
    return tx.all(_HELD_AT, scope=scope, moment=moment)


def held(tx: Read, account: int, role: int, scope: int) -> Row | None:
    """Give the grant that an account has now."""
    return tx.one(_HELD, account=account, role=role, scope=scope, now=tx.now)


def holds_any(tx: Read, account: int) -> bool:
    """Tell whether an account has a role anywhere."""
    return tx.one(_ANY_OF_ACCOUNT, account=account, now=tx.now) is not None


def standing(tx: Read, account: int) -> list[Row]:
    """Give all grants of an account that were not ended, also in scopes that are gone."""
    return tx.all(_STANDING, account=account)


def is_member(tx: Read, account: int, scope: int) -> bool:
    """Tell whether an account has a role directly in a scope."""
    return tx.one(_IN_SCOPE, account=account, scope=scope, now=tx.now) is not None


def grant(
    tx: Write,
    uuid: str,
    account: int,
    role: int,
    scope: int,
    until: datetime | None,
    given_by: int | None,
) -> int:
    """Write a grant and give its number.

    Refuses: Conflict ``grant.exists``; the unique index decides, whoever else writes now.
    """
    tx.run(_RETIRE, account=account, role=role, scope=scope, moment=tx.now)
    try:
        with tx.point():
            return int(
                tx.value(
                    _GRANT,
                    uuid=uuid,
                    account_id=account,
                    role_id=role,
                    scope_id=scope,
                    since=tx.now,
                    until=until,
                    given_by=given_by,
                )
            )
    except Duplicate as error:
        raise Conflict("grant.exists") from error


def set_end(tx: Write, grant_id: int, until: datetime | None) -> bool:
    """Give a living grant another end; tell whether it was alive."""
    return tx.run(_SET_END, grant=grant_id, end=until, now=tx.now) > 0


def end(tx: Write, grant_id: int, by: int | None) -> bool:
    """End a grant now; tell whether it was still standing."""
    return tx.run(_END, grant=grant_id, moment=tx.now, by=by) > 0


def end_all(tx: Write, scope: int, by: int | None) -> list[int]:
    """End every grant in a scope; give the numbers of the accounts that lost one."""
    rows: list[Any] = tx.all(_END_ALL, scope=scope, moment=tx.now, by=by)
    return [row.account_id for row in rows]


def other_owners(tx: Read, scope: int, role: int, besides: int) -> int:
    """Count the lasting grants of the owner role that stand beside a given one."""
    return int(tx.value(_LASTING_OWNERS, scope=scope, role=role, besides=besides))
