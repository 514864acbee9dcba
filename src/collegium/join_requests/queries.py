"""Queries of join requests: visibility, lists, state changes, and the recipients of notices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    bindparam,
    delete,
    func,
    not_,
    or_,
    select,
    true,
    union,
    update,
)

from collegium.access.queries import (
    add_to_account,
    in_organisations,
    is_active,
    scopes_with_permission,
    viewer_params,
)
from collegium.access.rules import GRANTING, KINDS, Actor, Kinds, ScopeKind
from collegium.accounts.queries import PersonName
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import (
    BigInt,
    account_texts,
    accounts,
    grants,
    groups,
    invite_links,
    join_requests,
    role_permissions,
    roles,
    scopes,
)
from collegium.db.writing import unique_or
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links.queries import OfferedRole
from collegium.join_requests.rules import State
from collegium.lists.listing import Listing, choice
from collegium.lists.row_counts import stored_count
from collegium.lists.sql_hints import in_subquery, no_index, no_index_on_join
from collegium.refusals import Conflict, NotFound, or_not_found
from collegium.scopes.queries import RoleInScope, with_scope_and_role


class GroupRequest:
    """A request to a group."""

    uuid: str
    scope_id: int
    account_id: int


class JoinRequestRow(OfferedRole, GroupRequest, PersonName):
    """A join request, with its scope, role, invite link, requester and decider."""

    state: str
    message: str
    created_at: datetime
    decided_at: datetime | None
    decided_by: int | None
    comment: str | None
    custom_project_name: str
    custom_project_description: str
    scope_name: str
    scope_deleted_at: datetime | None
    organisation_uuid: str
    organisation_name: str
    role_name: str
    role_kind: str
    role_description: str
    template: str | None
    username: str
    email: str
    account_is_active: bool
    notifications_enabled: bool
    project_name: str | None


class ListedRequest:
    """A join request in a list of the Waldur API."""

    uuid: str


class EarlierRequest:
    """An earlier request of the same account to the same scope."""

    state: str
    project_id: int | None
    uuid: str


class CanceledRequest:
    """A request that was cancelled."""

    uuid: str
    scope_id: int


class StaffAccount:
    """A staff account that receives e-mails."""

    id: int
    uuid: str
    email: str


class _Manager:
    id: int
    email: str
    permission: str


_inner = join_requests.alias("inner_requests")
_PENDING = join_requests.c.state == State.PENDING.value

_rows = with_scope_and_role(
    join_requests,
    JoinRequestRow,
    *("account_uuid", "invite_link_uuid", "project_uuid"),
    *("decider_username", "decider_first_name", "decider_last_name"),
    invite_link=Relation(
        invite_links, unprefixed=("auto_create_project", "template", "project_role_id")
    ),
    account=Relation(
        accounts,
        on=accounts.c.id == no_index(join_requests.c.account_id),
        unprefixed=("username", "first_name", "last_name", "email", "notifications_enabled"),
    ),
    decider=Relation(accounts.alias("decider"), join_requests.c.decided_by),
    project=scopes.alias("project"),
    project_role=Relation(roles.alias("project_role"), invite_links.c.project_role_id),
)


def visible() -> ColumnElement[bool]:
    """Return the condition for requests that an ordinary actor may see.

    They are the actor's own, those that the actor may decide, and those in organisations where the
    actor has a role.
    """
    return join_requests.c.id.in_(
        union(
            select(_inner.c.id).where(_inner.c.account_id == bindparam("actor", type_=BigInt)),
            select(_inner.c.id).where(_inner.c.scope_id.in_(scopes_with_permission(*GRANTING))),
            select(_inner.c.id).where(_inner.c.scope_id.in_(in_organisations())),
        )
    )


def _not_in_group() -> ColumnElement[bool]:
    """Return the condition for requests to organisations and projects, not groups."""
    return no_index_on_join(scopes.c.kind, join_requests.c.id) != ScopeKind.GROUP.value


_link_is_visible = invite_link_queries.is_visible().label("link_is_visible")

listing = Listing[ListedRequest](
    rows=_rows.where(_not_in_group()),
    visible=visible,
    restricted=(_link_is_visible,),
    stored_count=stored_count(join_requests),
    key=join_requests.c.id,
    # ``NOT IN`` instead of a join: with a join SQLite would read all the scopes first.
    count_query=select(join_requests.c.id).where(
        join_requests.c.scope_id.not_in(
            select(scopes.c.id).where(scopes.c.kind == ScopeKind.GROUP.value)
        )
    ),
    filters_fit_count_query=True,
    default="-created",
    orders={"created": (join_requests.c.created_at,)},
)


deciding = Listing[JoinRequestRow](
    # The requests that the actor may decide, in every kind of scope.
    rows=_rows.where(no_index_on_join(scopes.c.deleted_at, join_requests.c.id).is_(None)),
    visible=lambda: in_subquery(
        join_requests.c.scope_id,
        select(scopes_with_permission(*GRANTING).subquery().c.id),
    ),
    key=join_requests.c.id,
    count_query=select(join_requests.c.id)
    .join(scopes, scopes.c.id == join_requests.c.scope_id)
    .where(no_index_on_join(scopes.c.deleted_at, join_requests.c.id).is_(None)),
    filters_fit_count_query=True,
    default="created",
    orders={"created": (join_requests.c.created_at,)},
    filters={
        "waits": choice(_PENDING, not_(_PENDING)),
    },
)

_ALL_OF_ACCOUNT = Statement[JoinRequestRow](
    _rows.where(join_requests.c.account_id == bindparam("account", type_=BigInt))
    .order_by(join_requests.c.created_at.desc(), join_requests.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)
_ONE_OF_ACCOUNT = Statement[JoinRequestRow](
    _rows.where(
        join_requests.c.uuid == bindparam("uuid"),
        join_requests.c.account_id == bindparam("account", type_=BigInt),
    )
)
_LATEST = Statement[JoinRequestRow](
    _rows.where(
        join_requests.c.account_id == bindparam("account", type_=BigInt),
        join_requests.c.scope_id == bindparam("scope", type_=BigInt),
        func.coalesce(join_requests.c.invite_link_id, 0) == bindparam("invite_link", type_=BigInt),
    )
    .order_by(join_requests.c.created_at.desc(), join_requests.c.id.desc())
    .limit(1)
)


# These rows show little. With few joins PostgreSQL begins with the visible rows.
_group_rows = (
    Relations(join_requests)
    .select(GroupRequest, "id", "state", "created_at")
    .join(groups, groups.c.scope_id == join_requests.c.scope_id)
    .join(scopes, scopes.c.id == join_requests.c.scope_id)
    .join(accounts, accounts.c.id == join_requests.c.account_id)
    .join(account_texts, account_texts.c.account_id == accounts.c.id)
)


def visible_in_groups() -> ColumnElement[bool]:
    """Return the condition for requests to groups that an ordinary actor may see.

    It equals ``visible`` for groups, with fewer subqueries.
    """
    return join_requests.c.id.in_(
        union(
            select(_inner.c.id).where(_inner.c.account_id == bindparam("actor", type_=BigInt)),
            select(_inner.c.id).where(
                _inner.c.scope_id.in_(
                    scopes_with_permission((ScopeKind.GROUP, KINDS[ScopeKind.GROUP].grant))
                )
            ),
        )
    )


group_listing = Listing[GroupRequest](
    rows=_group_rows.where(_PENDING),
    visible=visible_in_groups,
    key=join_requests.c.id,
    default="created",
    orders={
        "created": (join_requests.c.created_at,),
        "id": (join_requests.c.uuid,),
        "authgroup": (join_requests.c.scope_id,),
        "user_account_request": (join_requests.c.account_id,),
    },
)
"""The pending requests to groups."""


@lru_cache(maxsize=2)
def _select_visible(*, sees_all: bool) -> Statement[JoinRequestRow]:
    return Statement[JoinRequestRow](
        (_rows if sees_all else _rows.add_columns(_link_is_visible)).where(
            join_requests.c.uuid == bindparam("uuid"),
            or_(scopes.c.kind != ScopeKind.GROUP.value, scopes.c.deleted_at.is_(None)),
            true() if sees_all else visible(),
        )
    )


_BY_ID = Statement[JoinRequestRow](_rows.where(join_requests.c.id == bindparam("id")))
_EARLIER = Statement[EarlierRequest](
    Relations(join_requests)
    .select(EarlierRequest)
    .where(
        join_requests.c.account_id == bindparam("account"),
        join_requests.c.scope_id == bindparam("scope"),
        func.coalesce(join_requests.c.invite_link_id, 0) == bindparam("invite_link", type_=BigInt),
        or_(
            join_requests.c.state == State.PENDING.value,
            join_requests.c.state == State.APPROVED.value,
        ),
    )
    .order_by(join_requests.c.id)
)
_INSERT = add_to_account(
    join_requests,
    (
        *("uuid", "invite_link_id", "scope_id", "role_id", "account_id"),
        *("state", "message", "created_at", "exclusive_key"),
        *("custom_project_name", "custom_project_description"),
    ),
)
_UPDATE_IF_UNCHANGED = Statement(
    update(join_requests)
    .where(
        join_requests.c.id == bindparam("request"),
        join_requests.c.state == bindparam("expected_state"),
    )
    .values(
        {
            name: bindparam(name)
            for name in (
                "state",
                "decided_at",
                "decided_by",
                "comment",
                "is_automatic",
                "project_id",
            )
        }
    )
)
_CANCEL_ALL = Statement(
    update(join_requests)
    .where(
        join_requests.c.scope_id == bindparam("scope"), join_requests.c.state == State.PENDING.value
    )
    .values(state=State.CANCELED.value, decided_at=bindparam("now", type_=UtcDateTime))
)
_DELETE = Statement(delete(join_requests).where(join_requests.c.id == bindparam("request")))
_PENDING_IN_SCOPE = Statement[int](
    select(join_requests.c.id)
    .where(
        join_requests.c.account_id == bindparam("account"),
        join_requests.c.scope_id == bindparam("scope"),
        join_requests.c.state == State.PENDING.value,
    )
    .order_by(join_requests.c.id)
)
_cancel = (
    update(join_requests)
    .where(
        join_requests.c.account_id == bindparam("account"),
        join_requests.c.state == State.PENDING.value,
    )
    .values(
        state=State.CANCELED.value,
        decided_at=bindparam("now", type_=UtcDateTime),
        decided_by=bindparam("by", type_=BigInt),
    )
    .returning(join_requests.c.uuid, join_requests.c.scope_id)
)
_CANCEL_OF_ACCOUNT = Statement[CanceledRequest](_cancel)
_COUNT_PENDING = Statement[int](
    select(func.count().label("count"))
    .select_from(join_requests)
    .where(
        join_requests.c.account_id == bindparam("account"),
        join_requests.c.state == State.PENDING.value,
    )
)

_receives_mail = and_(
    accounts.c.is_active, accounts.c.notifications_enabled, accounts.c.email != ""
)
# All permissions in the scope of the accounts that may grant roles there. There are few of them.
_role_permissions = role_permissions.alias("manager_permissions")
_account_ids_with_grant = (
    select(grants.c.account_id)
    .join(role_permissions, role_permissions.c.role_id == grants.c.role_id)
    .where(
        or_(
            grants.c.scope_id == bindparam("scope", type_=BigInt),
            grants.c.scope_id == bindparam("parent", type_=BigInt),
        ),
        is_active(),
        role_permissions.c.permission == bindparam("grant"),
    )
)
_MANAGERS = Statement[_Manager](
    select(accounts.c.id, accounts.c.email, _role_permissions.c.permission)
    .select_from(grants)
    .join(accounts, accounts.c.id == grants.c.account_id)
    .join(_role_permissions, _role_permissions.c.role_id == grants.c.role_id)
    .where(
        or_(
            grants.c.scope_id == bindparam("scope", type_=BigInt),
            grants.c.scope_id == bindparam("parent", type_=BigInt),
        ),
        is_active(),
        _receives_mail,
        accounts.c.id.in_(_account_ids_with_grant),
    )
    .order_by(accounts.c.id)
)
_STAFF = Statement[StaffAccount](
    Relations(accounts)
    .select(StaffAccount)
    .where(accounts.c.is_staff, _receives_mail)
    .order_by(accounts.c.id)
)


def get_visible(
    tx: ReadTransaction, actor: Actor, uuid: str, kinds: Kinds = KINDS
) -> JoinRequestRow:
    """Return a request that the actor may see.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``request.unknown``: it does not exist or the actor may not see it.
    """
    binds = {} if actor.sees_all else viewer_params(tx, actor)
    row = tx.fetch_one(_select_visible(sees_all=actor.sees_all), uuid=uuid, **binds)
    if row is None or row.scope_kind not in kinds:
        raise NotFound("request.unknown")
    return row


def own(tx: ReadTransaction, account: int, limit: int) -> list[JoinRequestRow]:
    """Return the latest requests of an account to every kind of scope, newest first."""
    return tx.fetch_all(_ALL_OF_ACCOUNT, account=account, limit=limit)


def get_own(tx: ReadTransaction, account: int, uuid: str) -> JoinRequestRow:
    """Return a request that an account has made, to any kind of scope.

    Raises:
        NotFound: ``request.unknown``, also for the request of another account.
    """
    row = tx.fetch_one(_ONE_OF_ACCOUNT, account=account, uuid=uuid)
    return or_not_found(row, "request.unknown")


def latest(
    tx: ReadTransaction, account: int, scope: int, invite_link: int | None
) -> JoinRequestRow | None:
    """Return the latest request of an account to a scope.

    Args:
        invite_link: id of the invite link; None for a request without one.
    """
    return tx.fetch_one(_LATEST, account=account, scope=scope, invite_link=invite_link or 0)


def by_id(tx: ReadTransaction, request_id: int) -> JoinRequestRow | None:
    """Return a request by id, without a visibility check."""
    return tx.fetch_one(_BY_ID, id=request_id)


def existing(tx: ReadTransaction, request_id: int) -> JoinRequestRow:
    """Return a request that exists, by its id, without a visibility check."""
    return tx.fetch_only(_BY_ID, id=request_id)


def earlier(
    tx: ReadTransaction, account: int, scope: int, invite_link: int | None
) -> list[EarlierRequest]:
    """Return the pending and approved requests of an account to a scope.

    Args:
        invite_link: id of the invite link; None for requests without one.
    """
    return tx.fetch_all(_EARLIER, account=account, scope=scope, invite_link=invite_link or 0)


def list_pending(tx: ReadTransaction, account: int, scope: int) -> list[JoinRequestRow]:
    """Return the pending requests of an account to a scope."""
    rows = (
        by_id(tx, request_id)
        for request_id in tx.fetch_all(_PENDING_IN_SCOPE, account=account, scope=scope)
    )
    return [row for row in rows if row is not None]


def count_pending(tx: ReadTransaction, account: int) -> int:
    """Return the number of pending requests of an account."""
    return tx.fetch_only(_COUNT_PENDING, account=account)


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert a request and return its id.

    Raises:
        Conflict: ``request.exists``, decided by the unique index, also for concurrent requests;
            ``account.inactive`` if the account was deactivated, even in the meantime.
    """
    with unique_or(tx, Conflict("request.exists")):
        request_id = tx.fetch_one(_INSERT, **values)
    if request_id is None:
        raise Conflict("account.inactive")
    return request_id


def set_state(
    tx: WriteTransaction,
    request: JoinRequestRow,
    state: State,
    by: int | None,
    comment: str | None = None,
    *,
    is_automatic: bool = False,
    project: int | None = None,
) -> None:
    """Change a request by compare-and-set: only in the state that was read.

    Raises:
        Conflict: ``request.wrong_state`` if another transaction has changed it first.
    """
    updated = tx.execute(
        _UPDATE_IF_UNCHANGED,
        request=request.id,
        expected_state=request.state,
        state=state.value,
        decided_at=tx.now,
        decided_by=by,
        comment=comment,
        is_automatic=is_automatic,
        project_id=project,
    )
    if not updated:
        raise Conflict("request.wrong_state", state=request.state)


def cancel_of_account(tx: WriteTransaction, account: int, by: int | None) -> list[CanceledRequest]:
    """Cancel all pending requests of an account; return them."""
    return tx.fetch_all(_CANCEL_OF_ACCOUNT, account=account, now=tx.now, by=by)


def cancel_all(tx: WriteTransaction, scope: int) -> None:
    """Cancel all pending requests to a scope that is being deleted."""
    tx.execute(_CANCEL_ALL, scope=scope, now=tx.now)


def delete_row(tx: WriteTransaction, request_id: int) -> None:
    """Delete the row of a request; its events remain."""
    tx.execute(_DELETE, request=request_id)


def parent_id(row: RoleInScope) -> int | None:
    """Return the id of the organisation above the scope of a row; None if it has none."""
    return None if row.organisation_id == row.scope_id else row.organisation_id


def managers(tx: ReadTransaction, row: RoleInScope) -> list[tuple[int, str, set[str]]]:
    """Return the accounts that may grant roles in a scope and receive e-mails.

    Args:
        row: loaded with its scope: ``scope_id scope_kind organisation_id``.

    Returns:
        Tuples of account id, address and permissions.
    """
    managers_by_id: dict[int, tuple[int, str, set[str]]] = {}
    grant = KINDS[row.scope_kind].grant.value
    for held in tx.fetch_all(
        _MANAGERS, scope=row.scope_id, parent=parent_id(row), grant=grant, now=tx.now
    ):
        managers_by_id.setdefault(held.id, (held.id, held.email, set()))[2].add(held.permission)
    return list(managers_by_id.values())


def staff(tx: ReadTransaction) -> list[StaffAccount]:
    """Return the staff accounts that receive e-mails."""
    return tx.fetch_all(_STAFF)
