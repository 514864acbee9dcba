"""SQL of profiles: the data that people show to those with whom they share a scope."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, not_, select, true, union, update

from collegium.access.queries import (
    actor_grants,
    is_active,
    scopes_with_permission,
    viewer_params,
    visible_scopes,
)
from collegium.access.rules import KINDS, Actor, Permission, ScopeKind
from collegium.accounts.queries import Person
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import (
    BigInt,
    account_texts,
    accounts,
    grants,
    invitations,
    join_requests,
    scopes,
)
from collegium.invitations.rules import State
from collegium.join_requests.rules import State as RequestState
from collegium.lists.listing import Listing
from collegium.refusals import or_not_found


class ProfileRow(Person):
    """An account, with its profile."""

    profile: dict[str, Any]


_rows = (
    Relations(accounts)
    .select(ProfileRow)
    .join(account_texts, account_texts.c.account_id == accounts.c.id)
    .where(accounts.c.is_active, accounts.c.deleted_at.is_(None))
)


def in_groups() -> ColumnElement[bool]:
    """Return the condition that an account is a member of any group.

    For the public portal, which shows groups and their members.
    """
    return accounts.c.id.in_(
        select(grants.c.account_id)
        .join(scopes, scopes.c.id == grants.c.scope_id)
        .where(scopes.c.kind == ScopeKind.GROUP.value, is_active())
    )


_member = accounts.alias("member")


def visible() -> ColumnElement[bool]:
    """Return the condition that an ordinary actor may see a profile.

    True for the actor; for people of scopes that the actor sees, as in
    ``accounts.queries.visible``; for people in a group with the actor; for people whose join
    request or invitation the actor may decide about; and for the person who invites the actor, whom
    the e-mail names.
    """
    # One set of ids, so that the planner starts from it.
    return accounts.c.id.in_(
        union(
            select(bindparam("actor", type_=BigInt)),
            select(grants.c.account_id)
            .join(_member, _member.c.id == grants.c.account_id)
            .where(is_active(), grants.c.scope_id.in_(visible_scopes()), not_(_member.c.is_staff)),
            select(grants.c.account_id).where(is_active(), grants.c.scope_id.in_(_own_groups())),
            select(join_requests.c.account_id).where(
                join_requests.c.state == RequestState.PENDING.value,
                join_requests.c.scope_id.in_(
                    scopes_with_permission((ScopeKind.GROUP, KINDS[ScopeKind.GROUP].grant))
                ),
            ),
            select(invitations.c.created_by).where(
                invitations.c.account_id == bindparam("actor", type_=BigInt),
                invitations.c.created_by.is_not(None),
                invitations.c.state == State.PENDING.value,
                invitations.c.expires_at > bindparam("now", type_=UtcDateTime),
            ),
            select(invitations.c.account_id).where(
                invitations.c.account_id.is_not(None),
                invitations.c.state == State.PENDING.value,
                invitations.c.expires_at > bindparam("now", type_=UtcDateTime),
                invitations.c.scope_id.in_(
                    scopes_with_permission(
                        (ScopeKind.GROUP, KINDS[ScopeKind.GROUP].grant),
                        (ScopeKind.GROUP, Permission.INVITATION_LIST),
                    )
                ),
            ),
        )
    )


def _own_groups() -> Select[Any]:
    """Select the ids of the groups that the actor is in."""
    return (
        select(grants.c.scope_id)
        .join(scopes, scopes.c.id == grants.c.scope_id)
        .where(actor_grants(), scopes.c.kind == ScopeKind.GROUP.value)
    )


_ORDERS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "id": (accounts.c.id,),
    "first_name": (accounts.c.first_name_sort,),
    "last_name": (accounts.c.last_name_sort,),
}

listing = Listing[ProfileRow](
    rows=_rows,
    visible=visible,
    key=accounts.c.id,
    default="id",
    orders=_ORDERS | {"email": (accounts.c.email,)},
)

public = Listing[ProfileRow](
    rows=_rows,
    visible=in_groups,
    key=accounts.c.id,
    default="id",
    orders=_ORDERS,
)

_by_account_id = accounts.c.id == bindparam("id", type_=BigInt)
_VISIBLE = {
    (sees_all, is_public): Statement[ProfileRow](
        _rows.where(_by_account_id, in_groups() if is_public else true() if sees_all else visible())
    )
    for sees_all in (False, True)
    for is_public in (False, True)
}
_BY_IDS = Statement[ProfileRow](_rows.where(any_of(accounts.c.id, "ids")))
_UPDATE = Statement(
    update(accounts)
    .where(_by_account_id)
    .values(profile=bindparam("profile", type_=accounts.c.profile.type))
)


def get_visible(
    tx: ReadTransaction, actor: Actor, account_id: int, *, is_public: bool = False
) -> ProfileRow:
    """Load a profile that the actor may see.

    Args:
        account_id: id of the account.
        is_public: load it for the public portal, regardless of the actor.

    Raises:
        NotFound: ``account.unknown``: there is no such profile, or it is hidden.
    """
    row = tx.fetch_one(
        _VISIBLE[actor.sees_all, is_public], id=account_id, **viewer_params(tx, actor)
    )
    return or_not_found(row, "account.unknown")


def by_ids(tx: ReadTransaction, ids: Collection[int]) -> dict[int, ProfileRow]:
    """Return profiles by account id, without a visibility check."""
    return {row.id: row for row in tx.fetch_all(_BY_IDS, ids=list(ids))} if ids else {}


def change(tx: WriteTransaction, account_id: int, profile: Mapping[str, Any]) -> None:
    """Replace the profile of an account."""
    tx.execute(_UPDATE, id=account_id, profile=dict(profile))
