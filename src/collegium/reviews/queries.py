"""SQL of reviews, and who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    bindparam,
    case,
    exists,
    insert,
    or_,
    select,
    true,
    update,
)

from collegium.access.queries import (
    GRANTS,
    add_to_scope,
    is_active,
    organisation_of,
    scopes_with_permission,
    viewer_params,
)
from collegium.access.rules import KINDS, Actor, Kinds, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    grants,
    reviewed_grants,
    reviews,
    role_permissions,
    scopes,
)
from collegium.lists.listing import Listing
from collegium.lists.sql_hints import no_index
from collegium.refusals import or_not_found
from collegium.reviews.rules import CLOSERS, READERS


class ReviewRow:
    """A review, with its scope and the person who closed it."""

    id: int
    uuid: str
    scope_id: int
    created_at: datetime
    closed_at: datetime | None
    is_pending: bool
    scope_uuid: str
    scope_kind: str
    scope_name: str
    organisation_uuid: str
    organisation_name: str
    reviewer_uuid: str | None
    reviewer_username: str | None
    reviewer_first_name: str | None
    reviewer_last_name: str | None


class ReviewedRole:
    """A grant in a review."""

    id: int
    valid_until: datetime | None


class ReviewedMember(ReviewedRole):
    """A grant in a review, with its account and role."""

    uuid: str
    account_id: int
    username: str
    first_name: str
    last_name: str
    email: str
    role_name: str
    role_description: str
    valid_from: datetime


class FormerMember(ReviewedMember):
    """A grant that was looked at. Its holder may have left since."""

    is_member: bool
    deleted_at: datetime | None


class _Reviewer:
    id: int
    email: str


reviewer = accounts.alias("reviewer")
_now = bindparam("now", type_=UtcDateTime)
_scope = bindparam("scope", type_=BigInt)
_review = bindparam("review", type_=BigInt)
is_pending = case((reviews.c.closed_at.is_(None), 1), else_=0)

_rows = (
    Relations(
        reviews,
        scope=scopes,
        organisation=organisation_of(),
        reviewer=Relation(reviewer, reviews.c.closed_by),
    )
    .select(ReviewRow, is_pending=reviews.c.closed_at.is_(None))
    .where(scopes.c.deleted_at.is_(None))
)


def visible() -> ColumnElement[bool]:
    """Return the condition for reviews that an ordinary actor may see."""
    return reviews.c.scope_id.in_(scopes_with_permission(*READERS))


def _closable() -> ColumnElement[bool]:
    """Return the condition for reviews that an ordinary actor may close."""
    return reviews.c.scope_id.in_(scopes_with_permission(*CLOSERS))


_ORDERS: Final = {"created": (reviews.c.created_at,), "closed": (reviews.c.closed_at,)}


def listing_of(kind: ScopeKind) -> Listing[ReviewRow]:
    """Return the list of the reviews of one kind of scope."""
    return Listing[ReviewRow](
        # The few kinds select nothing; the index of the order is used.
        rows=_rows.where(no_index(scopes.c.kind) == kind.value),
        visible=visible,
        key=reviews.c.id,
        default="-created",
        orders=_ORDERS,
    )


of_scope = Listing[ReviewRow](
    rows=_rows,
    visible=true,  # access to the scope was checked before
    key=reviews.c.id,
    count_query=select(reviews.c.id),
    filters_fit_count_query=True,
    default="-created",
    orders=_ORDERS,
    filters={"scope": reviews.c.scope_id == _scope},
)

pending = Listing[ReviewRow](
    rows=_rows.where(reviews.c.closed_at.is_(None)),
    visible=_closable,
    key=reviews.c.id,
    default="created",
    orders=_ORDERS,
)
"""The pending reviews that the actor may close."""

_BY_NAME: Final = {"name": (accounts.c.first_name_sort, accounts.c.last_name_sort)}
_is_current = and_(grants.c.scope_id == _scope, is_active(), accounts.c.is_active)

current_members = Listing[ReviewedMember](
    rows=GRANTS.select(ReviewedMember).where(is_active(), accounts.c.is_active),
    visible=true,  # access to the scope was checked before
    key=grants.c.id,
    default="name",
    orders=_BY_NAME,
    filters={"scope": grants.c.scope_id == _scope},
)
"""What a reviewer of a scope looks at now."""

_other_grant = grants.alias("other_grant")
_is_member = exists().where(
    _other_grant.c.account_id == grants.c.account_id,
    _other_grant.c.scope_id == grants.c.scope_id,
    is_active(_other_grant),
)
reviewed_members = Listing[FormerMember](
    rows=GRANTS.select(
        FormerMember,
        valid_until=reviewed_grants.c.valid_until,
        deleted_at=accounts.c.deleted_at,
        is_member=_is_member,
    ).join(reviewed_grants, reviewed_grants.c.grant_id == grants.c.id),
    visible=true,  # access to the review was checked before
    key=grants.c.id,
    count_query=select(grants.c.id).join(
        reviewed_grants, reviewed_grants.c.grant_id == grants.c.id
    ),
    filters_fit_count_query=True,
    # The name of somebody who has left may have changed since; its order would reveal it.
    default="username",
    orders={"username": (accounts.c.username,)},
    filters={"review": reviewed_grants.c.review_id == _review},
)
"""What the reviewer has looked at, as it was then. Deleted accounts have neutral names."""

_CURRENT = Statement[ReviewedRole](
    GRANTS.select(ReviewedRole, join=["account"]).where(_is_current).order_by(grants.c.id)
)
_RECORD = Statement(
    insert(reviewed_grants).from_select(
        ["review_id", "grant_id", "valid_until"],
        select(_review, grants.c.id, grants.c.valid_until)
        .join(accounts, accounts.c.id == grants.c.account_id)
        .where(_is_current),
        include_defaults=False,
    )
)
_before = bindparam("before", type_=UtcDateTime)
# A scope is due if nobody reviewed it, and it was not created, within the interval. A scope in
# which nobody has a role has nothing to review.
_is_due = and_(
    scopes.c.deleted_at.is_(None),
    scopes.c.created_at <= _before,
    ~exists(
        select(reviews.c.id).where(
            reviews.c.scope_id == scopes.c.id,
            or_(reviews.c.closed_at.is_(None), reviews.c.closed_at > _before),
        )
    ),
    exists(select(grants.c.id).where(grants.c.scope_id == scopes.c.id, is_active())),
)
_DUE = Statement[int](
    select(scopes.c.id)
    .where(_is_due)
    .order_by(scopes.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_ONE_DUE = Statement[int](select(scopes.c.id).where(scopes.c.id == _scope, _is_due))
_COLUMNS: Final = ("uuid", "scope_id", "created_at", "reminded_at")
_INSERT = add_to_scope(reviews, _COLUMNS)
_FORGOTTEN = Statement[int](
    select(reviews.c.id)
    .join(scopes, scopes.c.id == reviews.c.scope_id)
    .where(
        reviews.c.closed_at.is_(None),
        reviews.c.reminded_at <= _before,
        scopes.c.deleted_at.is_(None),
    )
    .order_by(reviews.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_REMIND = Statement[int](
    update(reviews)
    .where(reviews.c.id == _review, reviews.c.closed_at.is_(None), reviews.c.reminded_at <= _before)
    .values(reminded_at=_now)
    .returning(reviews.c.scope_id)
)
_CLOSE = Statement[int](
    update(reviews)
    .where(reviews.c.id == _review, reviews.c.closed_at.is_(None))
    .values(closed_at=_now, closed_by=bindparam("by", type_=BigInt))
    .returning(reviews.c.id)
)
_needed = or_(
    *(
        and_(
            scopes.c.kind == kind.value,
            role_permissions.c.permission == permission.value,
        )
        for kind, permission in CLOSERS
    )
)
_REVIEWERS = Statement[_Reviewer](
    select(accounts.c.id, accounts.c.email)
    .distinct()
    .select_from(scopes)
    .join(grants, or_(grants.c.scope_id == scopes.c.id, grants.c.scope_id == scopes.c.parent_id))
    .join(accounts, accounts.c.id == grants.c.account_id)
    .join(role_permissions, role_permissions.c.role_id == grants.c.role_id)
    .where(
        scopes.c.id == _scope,
        is_active(),
        accounts.c.is_active,
        accounts.c.notifications_enabled,
        accounts.c.email != "",
        _needed,
    )
    .order_by(accounts.c.id)
)
_MARK_MAILED = Statement[int](
    update(accounts)
    .where(
        accounts.c.id == bindparam("account", type_=BigInt),
        or_(accounts.c.reviews_mailed_at.is_(None), accounts.c.reviews_mailed_at <= _before),
    )
    .values(reviews_mailed_at=_now)
    .returning(accounts.c.id)
)


@lru_cache(maxsize=2)
def _by_uuid(*, sees_all: bool) -> Statement[ReviewRow]:
    return Statement[ReviewRow](
        _rows.where(
            reviews.c.uuid == bindparam("uuid"),
            any_of(scopes.c.kind, "kinds"),
            true() if sees_all else visible(),
        )
    )


def get_visible(
    tx: ReadTransaction, actor: Actor, uuid: str, kinds: Kinds = frozenset(KINDS)
) -> ReviewRow:
    """Return a review that the actor may see.

    Args:
        uuid: 32 hex digits.
        kinds: the kinds of scope that the protocol shows here.

    Raises:
        NotFound: ``review.unknown``.
    """
    parameters = {} if actor.sees_all else viewer_params(tx, actor)
    row = tx.fetch_one(
        _by_uuid(sees_all=actor.sees_all), uuid=uuid, kinds=sorted(kinds), **parameters
    )
    return or_not_found(row, "review.unknown")


def current_roles(tx: ReadTransaction, scope: int) -> list[ReviewedRole]:
    """Return the grants in a scope that a reviewer looks at now, by id."""
    return tx.fetch_all(_CURRENT, scope=scope, now=tx.now)


def record_roles(tx: WriteTransaction, review: int, scope: int) -> int:
    """Record the present grants in a scope as reviewed. Return their number."""
    return tx.execute(_RECORD, review=review, scope=scope, now=tx.now)


def due(tx: ReadTransaction, interval: timedelta, limit: int) -> list[int]:
    """Return the ids of scopes whose roles nobody has reviewed for an interval."""
    return tx.fetch_all(_DUE, before=tx.now - interval, now=tx.now, limit=limit)


def is_due(tx: ReadTransaction, scope: int, interval: timedelta) -> bool:
    """Return whether a scope is among those of ``due``."""
    before = tx.now - interval
    return tx.fetch_one(_ONE_DUE, scope=scope, before=before, now=tx.now) is not None


def add(tx: WriteTransaction, scope: int) -> str | None:
    """Insert a pending review of a locked scope. Return its UUID; None if the scope is deleted."""
    uuid = uuid4().hex
    values = {"uuid": uuid, "scope_id": scope, "created_at": tx.now, "reminded_at": tx.now}
    return None if tx.fetch_one(_INSERT, **values) is None else uuid


def forgotten(tx: ReadTransaction, every: timedelta, limit: int) -> list[int]:
    """Return the ids of pending reviews whose reviewers were not reminded for a time."""
    return tx.fetch_all(_FORGOTTEN, before=tx.now - every, limit=limit)


def mark_reminded(tx: WriteTransaction, review: int, every: timedelta) -> int | None:
    """Record a reminder. Return the scope; None if another transaction was faster."""
    return tx.fetch_one(_REMIND, review=review, before=tx.now - every, now=tx.now)


def close(tx: WriteTransaction, review: int, by: int) -> bool:
    """Close a pending review. Return False if it was closed before."""
    return tx.fetch_one(_CLOSE, review=review, now=tx.now, by=by) is not None


def reviewers(tx: ReadTransaction, scope: int) -> Sequence[_Reviewer]:
    """Return the accounts that may close the review of a scope and receive e-mails, by id."""
    return tx.fetch_all(_REVIEWERS, scope=scope, now=tx.now)


def mark_mailed(tx: WriteTransaction, account: int, every: timedelta) -> bool:
    """Record an e-mail about reviews to an account. Return False if it got one a moment ago."""
    before = tx.now - every
    return tx.fetch_one(_MARK_MAILED, account=account, before=before, now=tx.now) is not None
