"""Queries of projects."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from sqlalchemy import Boolean, and_, bindparam, or_, select, true

from collegium.access.queries import organisation, scopes_with_permission, viewer_params
from collegium.access.rules import Actor, Permission, ScopeKind
from collegium.db.database import ReadTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement
from collegium.db.tables import BigInt, accounts, organisations, projects, scopes
from collegium.lists.listing import Listing
from collegium.refusals import or_not_found
from collegium.scopes.queries import visible


class ProjectRow:
    """A project, with its organisation."""

    id: int
    uuid: str


class AnyProject:
    """A project, which may be deleted."""

    id: int
    name: str
    organisation_id: int
    deleted_at: datetime | None


_all_rows = (
    select(
        *(c for c in scopes.c if c.name not in {"kind", "parent_id", "name_sort"}),
        *(c for c in projects.c if c.name not in {"scope_id", "end_date_requested_by"}),
        accounts.c.uuid.label("end_date_requested_by"),
        organisation.c.uuid.label("organisation_uuid"),
        organisation.c.name.label("organisation_name"),
        organisation.c.slug.label("organisation_slug"),
        organisations.c.native_name.label("organisation_native_name"),
        organisations.c.abbreviation.label("organisation_abbreviation"),
        organisations.c.display_billing_info_in_projects,
        organisations.c.grace_period_days.label("organisation_grace_period_days"),
    )
    .join(projects, projects.c.scope_id == scopes.c.id)
    .join(organisation, organisation.c.id == scopes.c.parent_id)
    .join(organisations, organisations.c.scope_id == organisation.c.id)
    .outerjoin(accounts, accounts.c.id == projects.c.end_date_requested_by)
    # The join implies the kind. The condition is needed because the index for the order begins with
    # the kind.
    .where(scopes.c.kind == ScopeKind.PROJECT.value)
)
_not_deleted = scopes.c.deleted_at.is_(None)
_rows = _all_rows.where(_not_deleted)
listing = Listing[ProjectRow](
    rows=_rows,
    visible=lambda: visible(ScopeKind.PROJECT),
    key=scopes.c.id,
    count_query=select(scopes.c.id).where(scopes.c.kind == ScopeKind.PROJECT.value, _not_deleted),
    default="name",
    orders={"name": (scopes.c.name_sort,)},
)

history = Listing[ProjectRow](
    rows=_all_rows,
    # Deletion ends all memberships. Therefore a deleted project is visible to those who could
    # delete it.
    visible=lambda: or_(
        and_(_not_deleted, visible(ScopeKind.PROJECT)),
        and_(
            scopes.c.deleted_at.is_not(None),
            scopes.c.id.in_(scopes_with_permission((ScopeKind.PROJECT, Permission.PROJECT_DELETE))),
        ),
    ),
    key=scopes.c.id,
    default="name",
    orders={"name": (scopes.c.name_sort,)},
    filters={
        "organisation": scopes.c.parent_id == bindparam("organisation", type_=BigInt),
        "is_removed": scopes.c.deleted_at.is_not(None) == bindparam("is_removed", type_=Boolean()),
    },
)
"""The list of projects, deleted ones included."""


_BY_ID = Statement[ProjectRow](_rows.where(scopes.c.id == bindparam("scope", type_=BigInt)))


@lru_cache(maxsize=2)
def _by_uuid(*, sees_all: bool) -> Statement[ProjectRow]:
    return Statement[ProjectRow](
        _rows.where(
            scopes.c.uuid == bindparam("uuid"), true() if sees_all else visible(ScopeKind.PROJECT)
        )
    )


@lru_cache(maxsize=2)
def _any_by_uuid(*, sees_all: bool) -> Statement[AnyProject]:
    return Statement[AnyProject](
        Relations(
            scopes, organisation=Relation(organisation, on=organisation.c.id == scopes.c.parent_id)
        )
        .select(AnyProject)
        .where(
            scopes.c.uuid == bindparam("uuid"),
            scopes.c.kind == ScopeKind.PROJECT.value,
            true() if sees_all else history.visible(),
        )
    )


def get_visible_any(tx: ReadTransaction, actor: Actor, uuid: str) -> AnyProject:
    """Return a project that the actor may see; a deleted one is visible as in ``history``.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``project.unknown``: it does not exist or the actor may not see it.
    """
    row = tx.fetch_one(_any_by_uuid(sees_all=actor.sees_all), uuid=uuid, **viewer_params(tx, actor))
    return or_not_found(row, "project.unknown")


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> ProjectRow:
    """Return a project that the actor may see.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``project.unknown``: it does not exist or the actor may not see it.
    """
    row = tx.fetch_one(_by_uuid(sees_all=actor.sees_all), uuid=uuid, **viewer_params(tx, actor))
    return or_not_found(row, "project.unknown")


def existing(tx: ReadTransaction, scope: int) -> ProjectRow:
    """Return a project that exists, without a visibility check.

    Args:
        scope: id of the project, which is not deleted.
    """
    return tx.fetch_only(_BY_ID, scope=scope)
