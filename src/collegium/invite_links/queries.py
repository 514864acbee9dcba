"""Queries of invite links: visibility, lists and changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    select,
    true,
    union,
    update,
)

from collegium.access.queries import (
    OrganisationState,
    add_to_scope,
    lock_scope_and_parent,
    scopes_with_permission,
)
from collegium.access.rules import Actor, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import BigInt, accounts, invite_links, join_requests, roles, scopes
from collegium.db.writing import update_row
from collegium.invitations.queries import READERS
from collegium.join_requests.rules import State as RequestState
from collegium.lists.listing import Listing
from collegium.lists.sql_hints import no_index_on_join
from collegium.memberships.offers import Offer, Sponsored
from collegium.refusals import or_not_found
from collegium.scopes.queries import RoleInScope, with_scope_and_role


class OfferedRole(RoleInScope, OrganisationState):
    """What an invite link offers: a role in its scope, or in a new project as well."""

    scope_deleted_at: datetime | None
    auto_create_project: bool | None
    project_role_id: int | None
    project_role_is_active: bool | None


class InviteLinkRow(OfferedRole, Sponsored):
    """An invite link, with its scope, roles, creator and sponsor."""

    uuid: str
    expires_at: datetime
    canceled_at: datetime | None
    is_public: bool
    auto_approve: bool
    auto_create_project: bool
    template: str | None
    allow_multiple_requests: bool
    custom_text: str
    affiliations: list[str]
    email_patterns: list[str]
    identity_sources: list[str]
    claims: dict[str, list[str]]
    allow_custom_project_details: bool
    role_kind: str
    project_role_kind: str | None


class _ScopeIds:
    id: int
    parent_id: int | None


_now = bindparam("now", type_=UtcDateTime)
_inner = invite_links.alias("inner_links")

_rows = with_scope_and_role(
    invite_links,
    InviteLinkRow,
    *("creator_username", "creator_first_name", "creator_last_name", "creator_picture"),
    "project_role_uuid",
    creator=Relation(accounts, invite_links.c.created_by),
    sponsor=accounts.alias("sponsor"),
    project_role=roles.alias("project_role"),
).where(no_index_on_join(scopes.c.deleted_at, invite_links.c.id).is_(None))


def is_active(table: Any = invite_links) -> ColumnElement[bool]:
    """Return the condition for usable links: the twin of ``invite_links.rules.is_active``."""
    return and_(table.c.canceled_at.is_(None), table.c.expires_at > _now)


def _is_public(table: Any) -> ColumnElement[bool]:
    return and_(table.c.is_public, is_active(table))


def visible() -> ColumnElement[bool]:
    """Return the condition for links that an ordinary or anonymous actor may see."""
    return invite_links.c.id.in_(
        union(
            select(_inner.c.id).where(_inner.c.scope_id.in_(scopes_with_permission(*READERS))),
            select(_inner.c.id).where(_is_public(_inner)),
        )
    )


def is_visible() -> ColumnElement[bool]:
    """Return a column that tells whether an ordinary actor may see the link of a row.

    It is true for the links that match ``visible``. ``CASE`` looks for the permissions of the actor
    only if a link is not public.
    """
    return case(
        (_is_public(invite_links), true()),
        else_=invite_links.c.scope_id.in_(scopes_with_permission(*READERS)),
    )


listing = Listing[InviteLinkRow](
    rows=_rows.where(no_index_on_join(scopes.c.kind, invite_links.c.id) != ScopeKind.GROUP.value),
    visible=visible,
    key=invite_links.c.id,
    count_query=select(invite_links.c.id)
    .join(scopes, scopes.c.id == invite_links.c.scope_id)
    .where(
        no_index_on_join(scopes.c.deleted_at, invite_links.c.id).is_(None),
        no_index_on_join(scopes.c.kind, invite_links.c.id) != ScopeKind.GROUP.value,
    ),
    filters_fit_count_query=True,
    default="-created",
    orders={"created": (invite_links.c.created_at,)},
    filters={"scope_id": invite_links.c.scope_id == bindparam("scope_id", type_=BigInt)},
)


_COUNT_ACTIVE = Statement[int](
    select(func.count().label("count"))
    .select_from(invite_links)
    .where(invite_links.c.scope_id == bindparam("scope"), is_active(invite_links))
)


@lru_cache(maxsize=2)
def _select_by_uuid(*, public: bool) -> Statement[InviteLinkRow]:
    return Statement[InviteLinkRow](
        _rows.where(
            invite_links.c.uuid == bindparam("uuid"),
            _is_public(invite_links) if public else true(),
        )
    )


_SCOPE_OF = Statement[_ScopeIds](
    select(scopes.c.id, scopes.c.parent_id)
    .join(invite_links, invite_links.c.scope_id == scopes.c.id)
    .where(invite_links.c.uuid == bindparam("uuid"))
)
_ADD = add_to_scope(
    invite_links,
    [c.name for c in invite_links.c if c.name not in {"id", "canceled_at"}],
)


_HAS_REQUESTS = {
    is_pending: Statement[bool](
        select(
            exists(
                select(join_requests.c.id).where(
                    join_requests.c.invite_link_id == bindparam("invite_link"),
                    join_requests.c.state == RequestState.PENDING.value if is_pending else true(),
                )
            ).label("has_requests")
        )
    )
    for is_pending in (False, True)
}
_DELETE = Statement(delete(invite_links).where(invite_links.c.id == bindparam("invite_link")))
_CANCEL = Statement(
    update(invite_links)
    .where(invite_links.c.id == bindparam("invite_link"), invite_links.c.canceled_at.is_(None))
    .values(canceled_at=_now)
)
_CANCEL_ALL = Statement(
    update(invite_links)
    .where(invite_links.c.scope_id == bindparam("scope"), invite_links.c.canceled_at.is_(None))
    .values(canceled_at=_now)
)


def get_by_uuid(tx: ReadTransaction, actor: Actor, uuid: str) -> InviteLinkRow:
    """Return an invite link to a caller who knows its UUID.

    An anonymous caller gets public links only.

    Raises:
        NotFound: ``invite_link.unknown``.
    """
    row = tx.fetch_one(_select_by_uuid(public=actor.id == 0), uuid=uuid, now=tx.now)
    return or_not_found(row, "invite_link.unknown")


def count_active(tx: ReadTransaction, scope: int) -> int:
    """Return the number of usable invite links of a scope."""
    return tx.fetch_only(_COUNT_ACTIVE, scope=scope, now=tx.now)


def scope_and_parent(tx: ReadTransaction, uuid: str) -> tuple[int, ...]:
    """Return the ids of the scope of an invite link and of its parent; none without a link."""
    scope = tx.fetch_one(_SCOPE_OF, uuid=uuid)
    return () if scope is None else tuple(filter(None, (scope.parent_id, scope.id)))


def by_uuid_locked(tx: WriteTransaction, uuid: str) -> InviteLinkRow:
    """Return an invite link; lock its scope and the parent scope before its row is read.

    Raises:
        NotFound: ``invite_link.unknown``.
    """
    scope = tx.fetch_one(_SCOPE_OF, uuid=uuid)
    if scope is not None:
        lock_scope_and_parent(tx, scope.id, scope.parent_id)
    row = tx.fetch_one(_select_by_uuid(public=False), uuid=uuid, now=tx.now)
    return or_not_found(row, "invite_link.unknown")


def offer_of(row: OfferedRole) -> Offer:
    """Return what an invite link, or a join request made with one, offers."""
    roles_active = row.role_is_active and row.project_role_is_active is not False
    role_ids: tuple[int, ...] = (row.role_id,)
    if row.auto_create_project and row.project_role_id:
        role_ids += (row.project_role_id,)
    return Offer(role_ids, roles_active, bool(row.auto_create_project))


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert an invite link and return its id.

    Raises:
        NotFound: ``scope.unknown`` if the scope was deleted in the meantime.
    """
    return or_not_found(tx.fetch_one(_ADD, **values), "scope.unknown")


def change(tx: WriteTransaction, invite_link_id: int, changes: Mapping[str, Any]) -> None:
    """Update the given columns."""
    update_row(tx, invite_links, invite_link_id, changes)


def has_requests(tx: ReadTransaction, invite_link_id: int, *, is_pending: bool = False) -> bool:
    """Return whether an invite link has join requests, or pending ones.

    The caller has locked the scope, so that no request is made in the meantime.
    """
    return tx.fetch_only(_HAS_REQUESTS[is_pending], invite_link=invite_link_id)


def delete_row(tx: WriteTransaction, invite_link_id: int) -> None:
    """Delete the row of an invite link without join requests; its events remain."""
    tx.execute(_DELETE, invite_link=invite_link_id)


def cancel(tx: WriteTransaction, invite_link_id: int) -> bool:
    """Cancel an invite link; return whether this call cancelled it."""
    return tx.execute(_CANCEL, invite_link=invite_link_id, now=tx.now) > 0


def cancel_all(tx: WriteTransaction, scope: int) -> None:
    """Cancel all invite links to a scope that is being deleted."""
    tx.execute(_CANCEL_ALL, scope=scope, now=tx.now)
