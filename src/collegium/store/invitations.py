"""Invitations: the rows, who may see them, and how they move."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Integer,
    String,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    union,
    update,
)

from collegium.rules.access import TEAM, Permission
from collegium.rules.invitations import State
from collegium.rules.refusals import Conflict, NotFound
from collegium.store.access import holding, lock, organisation
from collegium.store.db import Prepared, Time
from collegium.store.listing import Listing
from collegium.store.tables import accounts, invitations, organisations, outbox, roles, scopes
from collegium.store.tables import projects as project_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement

    from collegium.rules.access import Actor
    from collegium.store.db import Read, Row, Write

_now = bindparam("now", type_=Time)

_rows = (
    select(
        *invitations.c,
        scopes.c.uuid.label("scope_uuid"),
        scopes.c.kind.label("scope_kind"),
        scopes.c.name.label("scope_name"),
        scopes.c.description.label("scope_description"),
        scopes.c.removed.label("scope_removed"),
        organisation.c.uuid.label("organisation_uuid"),
        organisation.c.name.label("organisation_name"),
        organisations.c.blocked,
        organisations.c.archived,
        project_rows.c.starts,
        roles.c.uuid.label("role_uuid"),
        roles.c.name.label("role_name"),
        roles.c.description.label("role_description"),
        roles.c.is_active.label("role_is_active"),
        accounts.c.username.label("creator_username"),
        accounts.c.first_name.label("creator_first_name"),
        accounts.c.last_name.label("creator_last_name"),
        accounts.c.picture.label("creator_picture"),
        outbox.c.state.label("mail_state"),
        outbox.c.leased.label("mail_leased"),
        outbox.c.error.label("mail_error"),
    )
    .join(scopes, scopes.c.id == invitations.c.scope_id)
    .join(organisation, organisation.c.id == func.coalesce(scopes.c.parent_id, scopes.c.id))
    .outerjoin(organisations, organisations.c.scope_id == organisation.c.id)
    .outerjoin(project_rows, project_rows.c.scope_id == scopes.c.id)
    .join(roles, roles.c.id == invitations.c.role_id)
    .outerjoin(accounts, accounts.c.id == invitations.c.created_by)
    .outerjoin(outbox, outbox.c.id == invitations.c.mail_id)
)

seen_state = case(
    (
        and_(invitations.c.state == State.PENDING.value, invitations.c.expires <= _now),
        State.EXPIRED.value,
    ),
    else_=invitations.c.state,
)
"""The state as it is now, as SQL: the twin of ``rules.invitations.seen``."""

READERS = (
    (None, Permission.INVITATION_LIST),
    *((kind, team.grant) for kind, team in TEAM.items()),
)
"""The permissions that let somebody read the invitations of a scope."""


def to_actor(table: Any = invitations) -> ColumnElement[bool]:
    """Say which invitations are addressed to the actor and not yet decided."""
    return and_(
        func.lower(table.c.email) == func.lower(bindparam("actor_email", type_=String())),
        or_(
            table.c.state == State.HELD.value,
            and_(table.c.state == State.PENDING.value, table.c.expires > _now),
        ),
    )


_mine = invitations.alias("mine")


def visible() -> ColumnElement[bool]:
    """Say which invitations an ordinary actor may see."""
    # As with accounts: two small sets, each found through an index, and not one OR.
    return invitations.c.id.in_(
        union(
            select(_mine.c.id).where(_mine.c.scope_id.in_(holding(*READERS))),
            select(_mine.c.id).where(to_actor(_mine)),
        )
    )


listing = Listing(
    _rows,
    visible=visible,
    key=invitations.c.id,
    counted=select(invitations.c.id),
    default="-created",
    orders={
        "created": (invitations.c.created,),
        "created_by": (invitations.c.created_by,),
        "email": (invitations.c.email,),
        "state": (seen_state,),
    },
)


@lru_cache(maxsize=2)
def _seen(*, sees_all: bool) -> Prepared:
    return Prepared(
        _rows.where(invitations.c.uuid == bindparam("uuid"), true() if sees_all else visible())
    )


_SCOPE_OF = Prepared(select(invitations.c.scope_id).where(invitations.c.uuid == bindparam("uuid")))
_BY_UUID = Prepared(_rows.where(invitations.c.uuid == bindparam("uuid")))
_BY_ID = Prepared(_rows.where(invitations.c.id == bindparam("id")))


@lru_cache(maxsize=16)
def _insert(columns: tuple[str, ...]) -> Prepared:
    return Prepared(
        insert(invitations)
        .values({name: bindparam(name) for name in columns})
        .returning(invitations.c.id)
    )


@lru_cache(maxsize=64)
def _step(columns: tuple[str, ...]) -> Prepared:
    return Prepared(
        update(invitations)
        .where(
            invitations.c.id == bindparam("invitation"),
            invitations.c.state == bindparam("was"),
            invitations.c.generation == bindparam("in_generation", type_=Integer),
        )
        .values({name: bindparam(name) for name in columns})
    )


_CLOSE_OTHERS = Prepared(
    update(invitations)
    .where(
        invitations.c.scope_id == bindparam("scope"),
        invitations.c.role_id == bindparam("role"),
        invitations.c.id != bindparam("besides"),
        or_(
            invitations.c.state == State.PENDING.value,
            invitations.c.state == State.HELD.value,
        ),
        or_(
            func.lower(invitations.c.email) == func.lower(bindparam("one", type_=String())),
            func.lower(invitations.c.email) == func.lower(bindparam("other", type_=String())),
        ),
    )
    .values(state=State.CANCELED.value)
    .returning(invitations.c.uuid)
)
_CLOSE_ALL = Prepared(
    update(invitations)
    .where(
        invitations.c.scope_id == bindparam("scope"),
        or_(
            invitations.c.state == State.PENDING.value,
            invitations.c.state == State.HELD.value,
            invitations.c.state == State.REQUESTED.value,
        ),
    )
    .values(state=State.CANCELED.value)
)
_DELETE = Prepared(delete(invitations).where(invitations.c.id == bindparam("invitation")))


def reach(tx: Read, actor: Actor, uuid: str) -> Row:
    """Load an invitation that the actor may see.

    Refuses: NotFound ``invitation.unknown`` when there is none or it is hidden.
    """
    seer = {} if actor.sees_all else {"actor": actor.id, "actor_email": actor.email, "now": tx.now}
    row = tx.one(_seen(sees_all=actor.sees_all), uuid=uuid, **seer)
    if row is None:
        raise NotFound("invitation.unknown")
    return row


def by_uuid(tx: Read, uuid: str) -> Row | None:
    """Find an invitation for somebody who holds its UUID as a capability."""
    return tx.one(_BY_UUID, uuid=uuid)


def by_uuid_locked(tx: Write, uuid: str) -> Row | None:
    """Find an invitation as ``by_uuid``, with its scope locked before its row is read."""
    scope = tx.value(_SCOPE_OF, uuid=uuid)
    if scope is None:
        return None
    lock(tx, scope)
    return by_uuid(tx, uuid)


def by_number(tx: Read, number: int) -> Row | None:
    """Find an invitation for ourselves."""
    return tx.one(_BY_ID, id=number)


def add(tx: Write, values: Mapping[str, Any]) -> int:
    """Insert an invitation and give its number."""
    return int(tx.value(_insert(tuple(sorted(values))), **values))


def step(tx: Write, invitation: Row, state: State, **changes: Any) -> None:
    """Move an invitation on, if it still stands where it was read.

    Refuses: Conflict ``invitation.wrong_state`` for the loser of a race.
    """
    values = {"state": state.value, **changes}
    moved = tx.run(
        _step(tuple(sorted(values))),
        invitation=invitation.id,
        was=invitation.state,
        in_generation=invitation.generation,
        **values,
    )
    if not moved:
        raise Conflict("invitation.wrong_state", state=invitation.state)


def close_others(tx: Write, invitation: Row, address: str) -> list[str]:
    """Cancel the other open invitations of a person to the same role and scope.

    Args:
        address: the account's own e-mail, beside the one that was invited.
    """
    rows = tx.all(
        _CLOSE_OTHERS,
        scope=invitation.scope_id,
        role=invitation.role_id,
        besides=invitation.id,
        one=invitation.email,
        other=address,
    )
    return [row.uuid for row in rows]


def close_all(tx: Write, scope: int) -> None:
    """Cancel every open invitation to a scope that goes."""
    tx.run(_CLOSE_ALL, scope=scope)


def delete_row(tx: Write, invitation: int) -> None:
    """Remove an invitation; its history stays."""
    tx.run(_DELETE, invitation=invitation)
