"""Build filters by field and operator, like Django's field lookups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, String, and_, bindparam, func, not_, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from collegium.db.statements import any_of
from collegium.lists.account_search import address_text, folded
from collegium.lists.listing import Filter
from collegium.text.email_addresses import comparable_address, lower_letters
from collegium.text.names import comparable_name

Filters = dict[str, ColumnElement[bool] | Filter]
"""Maps a field, or ``<field>__<operator>``, to its comparison."""


def integers(field: str, column: ColumnElement[Any]) -> Filters:
    """Return lookups of integers: equal, less, greater, in a list, null."""
    return {
        field: column == bindparam(field, type_=column.type),
        **_bounds(field, column, column.type),
        f"{field}__in": any_of(column, f"{field}__in"),
        f"{field}__isnull": _is_null(column),
    }


def _bounds(field: str, column: ColumnElement[Any], kind: Any) -> Filters:
    """Return lookups by order, with the operators ``gt``, ``gte``, ``lt`` and ``lte``."""

    def bound(operator: str) -> ColumnElement[Any]:
        return bindparam(f"{field}__{operator}", type_=kind)

    return {
        f"{field}__gt": column > bound("gt"),
        f"{field}__gte": column >= bound("gte"),
        f"{field}__lt": column < bound("lt"),
        f"{field}__lte": column <= bound("lte"),
    }


class code_points(FunctionElement[str]):  # noqa: N801 - used like a function
    """A text that is compared by code points, whatever collation the database has.

    SQLite does so by default. A PostgreSQL database may have been created with any collation.
    """

    inherit_cache = True
    type = String()


@compiles(code_points)
def _code_points(element: code_points, compiler: SQLCompiler, **kw: Any) -> str:
    text = compiler.process(element.clauses, **kw)
    return f'({text} COLLATE "C")' if compiler.dialect.name == "postgresql" else text


def keys(field: str, column: ColumnElement[Any]) -> Filters:
    """Return lookups of UUIDs: equal, in a list, null."""
    return {
        field: column == bindparam(field, type_=column.type),
        f"{field}__in": any_of(column, f"{field}__in"),
        f"{field}__isnull": _is_null(column),
    }


def booleans(field: str, predicate: ColumnElement[bool]) -> Filters:
    """Return the lookup of a Boolean."""
    return {
        field: Filter(
            lambda value: ("yes" if value else "no", {}),
            lambda variant, _sees_all: predicate if variant == "yes" else not_(predicate),
        )
    }


def texts(
    field: str,
    column: ColumnElement[Any],
    comparable: ColumnElement[Any],
    *,
    fold: Callable[[str], str] = folded,
    whole: Callable[[str], str] | None = None,
) -> Filters:
    """Return lookups of texts, exact and case-insensitive. Order is by code points.

    Args:
        comparable: the column with the same text in comparable form.
        fold: converts a part of a text to that form; by default ``account_search.folded``.
        whole: converts a whole text to that form, if this differs from ``fold``.
    """

    def ignoring_case(operator: str, compare: Callable[..., ColumnElement[bool]]) -> Filter:
        name = f"{field}__i{operator}"
        return _filter_by(name, fold, compare(comparable, bindparam(name, type_=String())))

    filters: Filters = {
        field: column == bindparam(field, type_=String()),
        f"{field}__in": any_of(column, f"{field}__in"),
        f"{field}__isnull": _is_null(column),
        **_bounds(field, code_points(column), String()),
    }
    for operator, compare in (
        ("contains", _contains),
        ("startswith", _starts_with),
        ("endswith", _ends_with),
    ):
        name = f"{field}__{operator}"
        filters[name] = compare(column, bindparam(name, type_=String()))
        filters[f"{field}__i{operator}"] = ignoring_case(operator, compare)
    filters[f"{field}__iexact"] = _equals(f"{field}__iexact", comparable, whole or fold)
    return filters


def names(field: str, column: ColumnElement[Any], comparable: ColumnElement[Any]) -> Filters:
    """Return lookups of names, exact and as ``collegium.text.names`` compares them.

    Args:
        comparable: the column with their comparable form.
    """
    return texts(field, column, comparable, fold=lower_letters, whole=comparable_name)


def addresses(
    field: str,
    column: ColumnElement[Any],
    comparable: ColumnElement[Any],
    spellings: ColumnElement[Any],
) -> Filters:
    """Return lookups of e-mail addresses, exact and as ``text.email_addresses`` compares them.

    Args:
        comparable: the column with their comparable form.
        spellings: the column with the result of ``account_search.addresses_of``.
    """
    filters = texts(field, column, comparable, fold=address_text, whole=comparable_address)
    for operator, fold, target, compare in (
        ("icontains", address_text, spellings, _contains),
        ("istartswith", _fold_start, comparable, _starts_with),
        ("iendswith", _fold_end, comparable, _ends_with),
    ):
        name = f"{field}__{operator}"
        filters[name] = _filter_by(name, fold, compare(target, bindparam(name, type_=String())))
    return filters


def _filter_by(name: str, fold: Callable[[str], str], predicate: ColumnElement[bool]) -> Filter:
    return Filter(lambda value: ("", {name: fold(value)}), lambda _variant, _sees_all: predicate)


def _fold_start(value: str) -> str:
    return comparable_address(value) if "@" in value else address_text(value)


def _fold_end(value: str) -> str:
    # An address ends with its domain, so the text is compared like a domain.
    return comparable_address(value) if "@" in value else comparable_address(f"@{value}")[1:]


def _equals(name: str, column: ColumnElement[Any], fold: Callable[[str], str]) -> Filter:
    return _filter_by(name, fold, column == bindparam(name, type_=String()))


def _is_null(column: ColumnElement[Any]) -> Filter:
    return Filter(
        lambda value: ("yes" if value else "no", {}),
        lambda variant, _sees_all: column.is_(None) if variant == "yes" else column.is_not(None),
    )


# These functions distinguish letter case on both databases. LIKE does so on only one of them.


def _contains(column: ColumnElement[Any], value: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(value == "", func.replace(column, value, "") != column)


def _starts_with(column: ColumnElement[Any], value: ColumnElement[str]) -> ColumnElement[bool]:
    return func.substr(column, 1, func.length(value)) == value


def _ends_with(column: ColumnElement[Any], value: ColumnElement[str]) -> ColumnElement[bool]:
    start = func.length(column) - func.length(value) + 1
    return and_(func.length(column) >= func.length(value), func.substr(column, start) == value)
