"""Queries of organisations."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Select, Table, and_, bindparam, false, func, select, true, union_all

from collegium.access.queries import is_active, viewer_params, visible_scopes
from collegium.access.rules import Actor, ScopeKind
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement, any_of
from collegium.db.tables import BigInt, accounts, grants, organisations, projects, scopes
from collegium.lists import filters as list_filters
from collegium.lists.listing import Listing
from collegium.refusals import or_not_found
from collegium.scopes.queries import visible


class OrganisationRow:
    """An organisation."""

    id: int
    created_at: datetime
    blocked: bool
    archived: bool
    language: str


class ChildProject:
    """A project of an organisation."""

    parent_id: int
    uuid: str


_rows = (
    select(
        *(c for c in scopes.c if c.name not in {"kind", "deleted_at", "parent_id", "name_sort"}),
        *(c for c in organisations.c if c.name != "scope_id" and not c.name.endswith("_sort")),
    )
    .join(organisations, organisations.c.scope_id == scopes.c.id)
    .where(scopes.c.kind == ScopeKind.ORGANISATION.value, scopes.c.deleted_at.is_(None))
)

listing = Listing[OrganisationRow](
    rows=_rows,
    visible=lambda: visible(ScopeKind.ORGANISATION),
    key=scopes.c.id,
    default="name",
    orders={"name": (scopes.c.name_sort,), "created": (scopes.c.created_at,)},
    filters={
        "query": list_filters.text_filter(
            (
                scopes.c.name,
                organisations.c.native_name,
                organisations.c.abbreviation,
                organisations.c.domain,
                organisations.c.registration_code,
                organisations.c.agreement_number,
            )
        )
    },
)


@lru_cache(maxsize=2)
def _by_uuid(*, sees_all: bool) -> Statement[OrganisationRow]:
    return Statement[OrganisationRow](
        _rows.where(
            scopes.c.uuid == bindparam("uuid"),
            true() if sees_all else visible(ScopeKind.ORGANISATION),
        )
    )


_BY_ID = Statement[OrganisationRow](_rows.where(scopes.c.id == bindparam("id")))

_child = scopes.alias("child")
_team_scope = scopes.alias("team_scope")

# Through the indexes of the scopes: a function of two columns has none, and all grants were read.
_in_teams = grants.c.scope_id.in_(
    union_all(
        select(scopes.c.id).where(any_of(scopes.c.id, "ids")),
        select(scopes.c.id).where(any_of(scopes.c.parent_id, "ids")),
    )
)

_COUNT_PEOPLE = Statement[tuple[int, int]](
    select(
        func.coalesce(_team_scope.c.parent_id, _team_scope.c.id).label("organisation_id"),
        func.count(grants.c.account_id.distinct()).label("people"),
    )
    .select_from(grants)
    .join(_team_scope, _team_scope.c.id == grants.c.scope_id)
    # In this form SQLite does not begin with all active accounts.
    .join(
        accounts,
        and_(accounts.c.id == grants.c.account_id, accounts.c.is_active.is_not(false())),
    )
    .where(is_active(), _in_teams)
    .group_by(func.coalesce(_team_scope.c.parent_id, _team_scope.c.id))
)


@lru_cache(maxsize=2)
def _select_projects(*, sees_all: bool) -> Statement[ChildProject]:
    return Statement[ChildProject](
        select(_child.c.parent_id, _child.c.uuid, _child.c.name, projects.c.end_date)
        .join(projects, projects.c.scope_id == _child.c.id)
        .where(
            any_of(_child.c.parent_id, "ids"),
            _child.c.deleted_at.is_(None),
            true() if sees_all else _child.c.id.in_(visible_scopes()),
        )
        .order_by(_child.c.name_sort, _child.c.id)
    )


def language_of(table: Table) -> Select[tuple[str]]:
    """Select the language of the organisation that the row ``row`` refers to.

    Args:
        table: has ``scope_id``, of an organisation, of one of its projects, or of a group.
    """
    return (
        select(organisations.c.language)
        .select_from(table)
        .join(scopes, scopes.c.id == table.c.scope_id)
        .join(
            organisations,
            organisations.c.scope_id == func.coalesce(scopes.c.parent_id, scopes.c.id),
        )
        .where(table.c.id == bindparam("row", type_=BigInt))
    )


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> OrganisationRow:
    """Return an organisation that the actor may see.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``organisation.unknown``: it does not exist or the actor may not see it.
    """
    row = tx.fetch_one(_by_uuid(sees_all=actor.sees_all), uuid=uuid, **viewer_params(tx, actor))
    return or_not_found(row, "organisation.unknown")


def existing(tx: ReadTransaction, organisation: int) -> OrganisationRow:
    """Return an organisation that exists, without a visibility check, by its id."""
    return tx.fetch_only(_BY_ID, id=organisation)


def projects_of(tx: ReadTransaction, actor: Actor, ids: Iterable[int]) -> list[ChildProject]:
    """Return the visible projects of organisations."""
    return tx.fetch_all(
        _select_projects(sees_all=actor.sees_all), ids=list(ids), **viewer_params(tx, actor)
    )


def count_people(tx: ReadTransaction, ids: Iterable[int]) -> dict[int, int]:
    """Return, by id, the number of people with a grant in an organisation or in its projects."""
    return dict(tx.fetch_all(_COUNT_PEOPLE, ids=list(ids), now=tx.now))
