"""Filters of this API: the type of a query parameter together with the condition that it means."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, or_

from collegium.api.resources import Lookup
from collegium.api.waldur import filters
from collegium.db.statements import contains, like_pattern
from collegium.lists.listing import Condition, Filter, simple
from collegium.lists.sql_hints import not_before


def is_equal(name: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a column equals the parameter of a filter."""
    return column == bindparam(name, type_=column.type)


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
