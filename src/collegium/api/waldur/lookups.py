"""Filters of this API: the type of a query parameter together with the condition that it means.

A filter that may match few rows of many first selects their ids in a subquery. Otherwise PostgreSQL
would read all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, literal_column, or_, select

from collegium.access.queries import actor_grants
from collegium.access.rules import KINDS, ScopeKind
from collegium.api.resources import Lookup
from collegium.api.waldur import filters
from collegium.db.statements import any_of, contains, like_pattern
from collegium.db.tables import grants, roles, scopes
from collegium.lists import account_search
from collegium.lists.filters import is_equal
from collegium.lists.listing import Condition, Filter, simple
from collegium.lists.sql_hints import earlier_than, in_subquery, not_before, parse_uuid

_scope = scopes.alias("scope")
_parent = scopes.alias("parent")
_role = roles.alias("other_role")


def _part_of(name: str, *columns: ColumnElement[Any]) -> Filter:
    return simple(name, or_(*(contains(column, name) for column in columns)), like_pattern)


def fixed(kind: filters.FilterType, condition: Condition) -> Lookup:
    """Return a lookup whose condition does not depend on a column."""
    return Lookup(kind, lambda _name, _column: condition)


def part_of_any(*columns: ColumnElement[Any]) -> Lookup:
    """Return a lookup for a text in one of several columns, ignoring case."""
    return Lookup(filters.Exact(), lambda name, _column: _part_of(name, *columns))


CONTAINS: Final = Lookup(filters.Exact(), _part_of)
EXACT: Final = Lookup(filters.Exact(), is_equal)
UUID: Final = Lookup(filters.Uuid(), is_equal)
BOOLEAN: Final = Lookup(filters.BooleanFilter(), is_equal)
SINCE: Final = Lookup(filters.GreaterOrEqual(), not_before)
BEFORE: Final = Lookup(filters.Before(), earlier_than)
ANY_OF: Final = Lookup(filters.MultipleFilter(), lambda name, column: any_of(column, name))
PART: Final = Lookup(
    filters.Exact(), lambda name, column: account_search.part_of(column.key, name=name)
)
"""A text in a column of accounts that is in their search text."""

FLAG: Final = Lookup(filters.BooleanFilter(), account_search.flag)


def in_scope(column: ColumnElement[Any], kind: filters.FilterType, condition: Condition) -> Lookup:
    """Return a lookup by a condition on the scope that a column references."""

    def found(inner: ColumnElement[bool]) -> ColumnElement[bool]:
        return in_subquery(column, select(_scope.c.id).where(inner))

    if isinstance(condition, Filter):
        return fixed(
            kind,
            Filter(
                condition.read,
                lambda variant, sees_all: found(condition.predicate(variant, sees_all)),
            ),
        )
    return fixed(kind, found(condition))


def scope_lookups(column: ColumnElement[Any], *names: str) -> dict[str, Lookup]:
    """Return lookups by properties of the scope that a column references.

    Args:
        names: the filters to return.
    """
    organisation_id = (
        select(_parent.c.id)
        .where(
            is_equal("customer_uuid", _parent.c.uuid),
            _parent.c.kind == ScopeKind.ORGANISATION.value,
        )
        .scalar_subquery()
    )
    is_named = and_(is_equal("scope", _scope.c.uuid), is_equal("scope_kind", _scope.c.kind))
    lookups = {
        # The organisation and its projects.
        "customer_uuid": in_scope(
            column,
            filters.Uuid(),
            or_(_scope.c.id == organisation_id, _scope.c.parent_id == organisation_id),
        ),
        "scope": in_scope(
            column,
            filters.SCOPE,
            Filter(
                lambda value: ("", {"scope_kind": value[0], "scope": value[1]}),
                lambda _variant, _sees_all: is_named,
            ),
        ),
        "scope_description": in_scope(
            column, filters.Exact(), _part_of("scope_description", _scope.c.description)
        ),
        "scope_name": in_scope(column, filters.Exact(), _part_of("scope_name", _scope.c.name)),
        # Most rows match. Adding 0 prevents the use of an index, after which all matches would have
        # to be sorted.
        "scope_type": fixed(
            filters.SCOPE_TYPE,
            (column + literal_column("0")).in_(
                select(_scope.c.id).where(is_equal("scope_type", _scope.c.kind))
            ),
        ),
        "scope_uuid": in_scope(column, filters.Uuid(), is_equal("scope_uuid", _scope.c.uuid)),
    }
    return {name: lookups[name] for name in names}


def role_lookups(column: ColumnElement[Any]) -> dict[str, Lookup]:
    """Return lookups by the name and the UUID of the one role that a column references."""

    def has_role(name: str, role_column: ColumnElement[Any]) -> ColumnElement[bool]:
        return column == select(_role.c.id).where(is_equal(name, role_column)).scalar_subquery()

    return {
        "role_name": Lookup(filters.Exact(), has_role, _role.c.name),
        "role_uuid": Lookup(filters.Uuid(), has_role, _role.c.uuid),
    }


def named_roles(name: str, roles_table: Any) -> Filter:
    """Return a filter for rows of ``roles`` by several names or UUIDs.

    Args:
        name: the name of the filter.
        roles_table: the table of roles, or an alias of it.
    """
    uuids = f"{name}_uuids"
    condition = or_(any_of(roles_table.c.name, name), any_of(roles_table.c.uuid, uuids))

    def read(value: Sequence[str]) -> tuple[str, dict[str, Any]]:
        found = [uuid for uuid in map(parse_uuid, value) if uuid is not None]
        return "", {name: value, uuids: found}

    return Filter(read, lambda _variant, _sees_all: condition)


def actor_has_one_of(name: str, column: ColumnElement[Any]) -> Lookup:
    """Return a lookup by roles that the actor has in the scope of a column.

    Args:
        name: the name of the filter. Its value is a list of names or UUIDs of roles.
    """
    inner = named_roles(name, roles)
    scope_ids = (
        select(grants.c.scope_id)
        .join(roles, roles.c.id == grants.c.role_id)
        .where(actor_grants(), inner.predicate("", True))
    )
    condition = in_subquery(column, scope_ids)
    return fixed(
        filters.MultipleFilter(commas=False),
        Filter(inner.read, lambda _variant, _sees_all: condition),
    )


def actor_has_role(column: ColumnElement[Any], *names: str) -> ColumnElement[bool]:
    """Return the condition that the actor has one of the roles in the scope of a column."""
    scope_ids = (
        select(grants.c.scope_id)
        .join(roles, roles.c.id == grants.c.role_id)
        .where(actor_grants(), or_(*(roles.c.name == name for name in names)))
    )
    return in_subquery(column, scope_ids)


def actor_owns(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that the actor owns the organisation of a column."""
    return actor_has_role(column, *sorted(KINDS[ScopeKind.ORGANISATION].owner_roles))
