"""Conditions that make both databases find few rows among many without reading all of them.

Substring searches are narrowed with trigrams first. PostgreSQL indexes them with a function of
ours, so that no extension is needed. SQLite has a full-text index.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Select,
    String,
    Text,
    bindparam,
    literal_column,
    or_,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from collegium.db.statements import UtcDateTime

TRIGRAM: Final = 3
_LETTERS_MAX: Final = 60
"""Number of letters of a search text that are used to narrow the search."""

_TRIGRAMS_MAX: Final = 5
"""Number of trigrams to look up.

They find hardly more rows than all trigrams of a text that has at least twice as many.
"""


class _Trigrams(TypeDecorator[str]):
    """A search text, bound as the query for the trigram index of the database."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the parameter type of the database."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text()))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return a query for SQLite's full-text index, or a list of trigrams for PostgreSQL."""
        text = (value or "")[:_LETTERS_MAX]
        last = len(text) - TRIGRAM
        if last >= 2 * _TRIGRAMS_MAX:
            # For each trigram the database reads a list that grows with the number of accounts. So
            # only some trigrams are looked up, spread over the text.
            positions = [
                round(position * last / (_TRIGRAMS_MAX - 1)) for position in range(_TRIGRAMS_MAX)
            ]
        elif dialect.name == "sqlite":
            return _quoted(text)  # a phrase: with few trigrams, their order excludes most rows
        else:
            positions = [*range(0, last, 2), last] if last > 0 else [0]
        trigrams = sorted({text[position : position + TRIGRAM] for position in positions})
        return " AND ".join(map(_quoted, trigrams)) if dialect.name == "sqlite" else trigrams


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


class _TrigramMatch(FunctionElement[bool]):
    inherit_cache = True
    name = "trigram_match"


@compiles(_TrigramMatch, "sqlite")
def _trigram_match_sqlite(element: _TrigramMatch, compiler: SQLCompiler, **kw: Any) -> str:
    key, _, index, phrase = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{key} IN (SELECT rowid FROM {index} WHERE {index} MATCH {phrase})"


@compiles(_TrigramMatch, "postgresql")
def _trigram_match_postgresql(element: _TrigramMatch, compiler: SQLCompiler, **kw: Any) -> str:
    _, text, _, trigrams = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"collegium_trigrams({text}) @> {trigrams}"


def trigram_match(
    key: ColumnElement[Any], text: ColumnElement[str], index: str, *names: str
) -> ColumnElement[bool]:
    """Return the condition that a row contains all trigrams of one of the search texts.

    Args:
        key: the id of the row.
        text: the expression whose trigrams PostgreSQL indexes.
        index: the full-text index of SQLite.
        names: the search texts; each has a parameter ``<name>_near``.
    """
    return or_(
        *(
            _TrigramMatch(
                key, text, literal_column(index), bindparam(f"{name}_near", type_=_Trigrams())
            )
            for name in names
        )
    )


class _InSubquery(FunctionElement[bool]):
    inherit_cache = True
    name = "in_subquery"


@compiles(_InSubquery)
def _in_subquery_sql(element: _InSubquery, compiler: SQLCompiler, **kw: Any) -> str:
    column, subquery = (compiler.process(clause, **kw) for clause in element.clauses)
    is_sqlite = compiler.dialect.name == "sqlite"
    return f"{column} IN {subquery}" if is_sqlite else f"{column} = ANY(ARRAY{subquery})"


def in_subquery(column: ColumnElement[Any], subquery: Select[Any]) -> ColumnElement[bool]:
    """Return an ``IN`` condition with an independent subquery that runs first.

    PostgreSQL cannot estimate how few rows the subquery finds, and would otherwise read the whole
    table.
    """
    return _InSubquery(column, subquery.correlate(None).scalar_subquery())


def correlated_exists(subquery: Select[Any]) -> ColumnElement[bool]:
    """Return an ``EXISTS`` condition whose subquery runs for each row.

    Otherwise PostgreSQL would turn it into a join and read both tables completely before the first
    row of a page.
    """
    return subquery.offset(literal_column("0")).exists()


class _SqliteOnly(FunctionElement[Any]):
    """An SQL fragment for SQLite only. Other databases get the first part without it.

    Args:
        template: a format string with a placeholder for each part.
    """

    inherit_cache = False
    name = "sqlite_only"

    def __init__(self, template: str, *parts: ColumnElement[Any]) -> None:
        super().__init__(*parts)
        self.template = template
        if not isinstance(parts[0].type, Boolean):  # to a Boolean SQLAlchemy would add ``= 1``
            self.type = parts[0].type


@compiles(_SqliteOnly)
def _sqlite_only(element: _SqliteOnly, compiler: SQLCompiler, **kw: Any) -> str:
    parts = [compiler.process(clause, **kw) for clause in element.clauses]
    return element.template.format(*parts) if compiler.dialect.name == "sqlite" else parts[0]


def unlikely(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Tell the planner that few rows meet a condition. SQLite does not count values."""
    return _SqliteOnly("likelihood({}, 0.001)", condition)


def no_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column that is compared without an index, so that no plan starts from it.

    SQLite trusts a sample of a thousand rows. It would find the rows of a page by one of the few
    roles, and then sort all of them. If it expects few joined rows, it would read all of those
    first to build a Bloom filter.
    """
    return _SqliteOnly("+{}", column)


def no_index_on_join(column: ColumnElement[Any], key: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column of a joined row that is compared together with the row it belongs to.

    From a condition on joined rows alone SQLite builds a Bloom filter of all of them, as described
    at ``no_index``.
    """
    # Keys are never negative. The comparison only makes the condition depend on both rows.
    return _SqliteOnly("iif({1} < 0, NULL, {0})", column, key)


class _Sorted(FunctionElement[Any]):
    inherit_cache = True
    name = "sorted"


@compiles(_Sorted)
def _sorted(element: _Sorted, compiler: SQLCompiler, **kw: Any) -> str:
    (column,) = element.clauses
    column_sql = compiler.process(column, **kw)
    is_text = compiler.dialect.name == "postgresql" and isinstance(column.type, String)
    return f"{column_sql} || ''" if is_text else column_sql


def sort_without_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column to sort by without its index.

    With the index PostgreSQL would go through all rows in order. SQLite does so too, but checks the
    visibility of each row in almost no time.
    """
    return _Sorted(column)


def parse_uuid(text: str) -> str | None:
    """Return the hex digits of a UUID in a search text, or None if the text is no UUID."""
    try:
        return UUID(text).hex
    except ValueError:
        return None


def not_before(name: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a time is not before the parameter ``name``."""
    return unlikely(column >= bindparam(name, type_=UtcDateTime))


def earlier_than(name: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a time is before the parameter ``name``."""
    return unlikely(column < bindparam(name, type_=UtcDateTime))
