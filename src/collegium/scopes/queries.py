"""Queries that organisations, projects and groups have in common: each is a row of ``scopes``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    Table,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)

from collegium.access.queries import SCOPE_RELATIONS, organisation_of, visible_scopes
from collegium.access.rules import ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, contains, like_pattern
from collegium.db.tables import BigInt, organisations, roles, scopes
from collegium.db.writing import insertion, unique_or, update_row
from collegium.lists.listing import Filter, Listing
from collegium.lists.sql_hints import no_index
from collegium.refusals import Conflict, Invalid
from collegium.text.names import sort_key

_INSERT_SCOPE = Statement[int](
    insert(scopes)
    .values(
        {
            name: bindparam(name)
            for name in (
                "uuid",
                "kind",
                "parent_id",
                "name",
                "name_sort",
                "slug",
                "description",
                "created_at",
            )
        }
    )
    .returning(scopes.c.id)
)
_MARK_REMOVED = Statement(
    update(scopes).where(scopes.c.id == bindparam("scope")).values(deleted_at=bindparam("moment"))
)
_RESTORE = Statement(
    update(scopes).where(scopes.c.id == bindparam("scope")).values(deleted_at=None)
)
_MOVE = Statement(
    update(scopes)
    .where(scopes.c.id == bindparam("scope"))
    .values(parent_id=bindparam("parent", type_=BigInt))
)
_COUNT_CHILDREN = Statement[int](
    select(func.count().label("count"))
    .select_from(scopes)
    .where(scopes.c.parent_id == bindparam("parent"), scopes.c.deleted_at.is_(None))
)


@lru_cache(maxsize=64)
def _insert(table: Table, columns: tuple[str, ...]) -> Statement:
    return Statement(insertion(table, columns))


class RoleInScope:
    """What ``with_scope_and_role`` selects: a row that refers to a role in a scope."""

    id: int
    scope_id: int
    role_id: int
    scope_kind: str
    organisation_id: int
    organisation_language: str | None
    role_is_active: bool


def with_scope_and_role(
    table: Table, *rows: type[Any] | str, **relations: FromClause | Relation
) -> Select[Any]:
    """Select rows that refer to a role in a scope, with columns of both.

    Args:
        table: has ``scope_id`` and ``role_id``.
        rows: as in ``Relations.select``.
        relations: further relations of the table.
    """
    return Relations(
        table,
        scope=Relation(scopes, on=scopes.c.id == no_index(table.c.scope_id)),
        **SCOPE_RELATIONS,
        role=Relation(roles, on=roles.c.id == no_index(table.c.role_id)),
        **relations,
    ).select(
        *(c.name for c in table.c if c.name not in {"email_comparable", "email_search"}),
        RoleInScope,
        *("scope_uuid", "scope_name", "scope_slug", "scope_description", "scope_deleted_at"),
        *("organisation_uuid", "organisation_name", "blocked", "archived", "start_date"),
        *("role_uuid", "role_name", "role_kind", "role_description"),
        *rows,
        organisation_language=organisations.c.language,
    )


class ListedScope:
    """A scope of any kind in a list."""


listing = Listing[ListedScope](
    rows=Relations(scopes, organisation=organisation_of())
    .select("id", "uuid", "kind", "name", "organisation_name")
    .where(scopes.c.deleted_at.is_(None)),
    visible=lambda: scopes.c.id.in_(visible_scopes()),
    key=scopes.c.id,
    count_query=select(scopes.c.id).where(scopes.c.deleted_at.is_(None)),
    filters_fit_count_query=True,
    default="name",
    orders={"name": (scopes.c.kind, scopes.c.name_sort)},  # matches the index
    filters={
        "kind": scopes.c.kind == bindparam("kind", type_=String()),
        "parent": scopes.c.parent_id == bindparam("parent", type_=BigInt),
        "name": Filter(
            lambda value: ("", {"name": like_pattern(value)}),
            lambda _form, _sees_all: contains(scopes.c.name, "name"),
        ),
    },
)
"""The visible scopes of every kind, including parents and children of the actor's scopes."""


def visible(kind: ScopeKind) -> ColumnElement[bool]:
    """Return the condition for scopes of a kind that an ordinary actor may see."""
    return and_(scopes.c.kind == kind.value, scopes.c.id.in_(visible_scopes()))


def add(
    tx: WriteTransaction,
    kind: ScopeKind,
    table: Table,
    common: Mapping[str, Any],
    own: Mapping[str, Any],
    parent: int | None = None,
) -> int:
    """Insert a scope and the row of its own table; return its id.

    Args:
        common: ``uuid name slug description``.
        own: columns of ``table``.
        parent: id of the organisation; None for an organisation or a group.

    Raises:
        Invalid: ``scope.slug_taken``.
    """
    with unique_or(tx, Invalid("scope.slug_taken", field="slug")):
        columns = {**common, "kind": kind.value, "parent_id": parent, "created_at": tx.now}
        scope = tx.fetch_only(_INSERT_SCOPE, name_sort=sort_key(common["name"]), **columns)
    values = {"scope_id": scope, **_with_sort_keys(table, own)}
    tx.execute(_insert(table, tuple(sorted(values))), **values)
    return scope


def _with_sort_keys(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    keys = {
        f"{name}_sort": sort_key(value)
        for name, value in values.items()
        if f"{name}_sort" in table.c
    }
    return {**values, **keys}


def change(tx: WriteTransaction, scope: int, table: Table, changes: Mapping[str, Any]) -> None:
    """Update the given columns of a scope and of its own table.

    Raises:
        Invalid: ``scope.slug_taken``.
    """
    for target in (scopes, table):
        changes = _with_sort_keys(target, changes)
        values = {
            name: value
            for name, value in changes.items()
            if name in target.c and (target is scopes or name not in scopes.c or name == "kind")
        }
        if target is scopes:
            values.pop("kind", None)
        if values:
            with unique_or(tx, Invalid("scope.slug_taken", field="slug")):
                update_row(tx, target, scope, values)


def remove(tx: WriteTransaction, scope: int) -> None:
    """Mark a scope as deleted; its events remain."""
    tx.execute(_MARK_REMOVED, scope=scope, moment=tx.now)


def restore(tx: WriteTransaction, scope: int) -> None:
    """Mark a deleted scope as not deleted."""
    tx.execute(_RESTORE, scope=scope)


def move(tx: WriteTransaction, project: int, organisation: int) -> None:
    """Set the organisation of a project; the caller has locked all three scopes."""
    tx.execute(_MOVE, scope=project, parent=organisation)


def count_children(tx: ReadTransaction, scope: int) -> int:
    """Return the number of projects of an organisation."""
    return tx.fetch_only(_COUNT_CHILDREN, parent=scope)


def check_childless(tx: ReadTransaction, scope: int) -> None:
    """Require that a scope has no children.

    Raises:
        Conflict: ``organisation.has_projects``.
    """
    if count_children(tx, scope):
        raise Conflict("organisation.has_projects")
