"""Predicates that find few among many, on both databases, without reading the many.

What is looked for by a part of it is narrowed by its trigrams first, which both databases index
(PostgreSQL by a function of ours, so that no extension is needed; SQLite by a full-text index).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, String, Text, bindparam, literal_column, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from collegium.db.statements import UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

TRIGRAM: Final = 3
_NARROWING: Final = 60
"""So many letters of what is looked for are enough to narrow a search."""

_ENOUGH: Final = 5
"""So many trigrams name hardly more than all of a text that has twice as many."""


class _Trigrams(TypeDecorator[str]):
    """A text bound as what the index of the database is asked for."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the parameter type of the database."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text()))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Write a phrase for the full-text index, or the trigrams themselves."""
        text = (value or "")[:_NARROWING]
        last = len(text) - TRIGRAM
        if last >= 2 * _ENOUGH:
            # Of each a list is read that grows with the accounts.
            places = [round(at * last / (_ENOUGH - 1)) for at in range(_ENOUGH)]
        elif dialect.name == "sqlite":
            return _quoted(text)  # neighbours, which of few trigrams name the fewest
        else:
            places = [*range(0, last, 2), last] if last > 0 else [0]
        some = sorted({text[at : at + TRIGRAM] for at in places})
        return " AND ".join(map(_quoted, some)) if dialect.name == "sqlite" else some


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


class _TrigramMatch(FunctionElement[bool]):
    inherit_cache = True
    name = "near"


@compiles(_TrigramMatch, "sqlite")
def _trigram_match_sqlite(element: _TrigramMatch, compiler: SQLCompiler, **kw: Any) -> str:
    key, _, index, phrase = (compiler.process(one, **kw) for one in element.clauses)
    return f"{key} IN (SELECT rowid FROM {index} WHERE {index} MATCH {phrase})"


@compiles(_TrigramMatch, "postgresql")
def _trigram_match_postgresql(element: _TrigramMatch, compiler: SQLCompiler, **kw: Any) -> str:
    _, text, _, trigrams = (compiler.process(one, **kw) for one in element.clauses)
    return f"collegium_trigrams({text}) @> {trigrams}"


def trigram_match(
    key: ColumnElement[Any], text: ColumnElement[str], index: str, *names: str
) -> ColumnElement[bool]:
    """Narrow to the rows that hold all the trigrams of one of the texts.

    Args:
        key: the number of the row.
        text: what PostgreSQL indexes the trigrams of.
        index: the full-text index of SQLite.
        names: the texts; each binds ``<name>_near``.
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
    name = "one_of"


@compiles(_InSubquery)
def _in_subquery_sql(element: _InSubquery, compiler: SQLCompiler, **kw: Any) -> str:
    column, subquery = (compiler.process(one, **kw) for one in element.clauses)
    is_sqlite = compiler.dialect.name == "sqlite"
    return f"{column} IN {subquery}" if is_sqlite else f"{column} = ANY(ARRAY{subquery})"


def in_subquery(column: ColumnElement[Any], found: Select[Any]) -> ColumnElement[bool]:
    """Say ``IN`` a subquery that stands for itself and is run first.

    PostgreSQL cannot foresee how few it will find, and would rather read the whole table.
    """
    return _InSubquery(column, found.correlate(None).scalar_subquery())


def correlated_exists(found: Select[Any]) -> ColumnElement[bool]:
    """Say ``EXISTS`` of a subquery that is asked again for every row.

    PostgreSQL would rather join, and read both tables whole before the first row of a page.
    """
    return found.offset(literal_column("0")).exists()


class _SqliteOnly(FunctionElement[Any]):
    """What SQLite alone is told: some words around what is said; to others the first is said.

    Args:
        words: a format with the place of each part.
    """

    inherit_cache = False
    name = "told"

    def __init__(self, words: str, *parts: ColumnElement[Any]) -> None:
        super().__init__(*parts)
        self.words = words
        if not isinstance(parts[0].type, Boolean):  # of those ``= 1`` would be asked
            self.type = parts[0].type


@compiles(_SqliteOnly)
def _sqlite_only(element: _SqliteOnly, compiler: SQLCompiler, **kw: Any) -> str:
    parts = [compiler.process(one, **kw) for one in element.clauses]
    return element.words.format(*parts) if compiler.dialect.name == "sqlite" else parts[0]


def unlikely(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Say that few rows meet a condition: SQLite counts no values."""
    return _SqliteOnly("likelihood({}, 0.001)", condition)


def no_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Compare a column when its row is read, and let no plan begin with it.

    SQLite believes what a sample of a thousand rows has told it. So it would find the rows of a
    page by the few roles that there are, and sort them all; or where it believes that there are
    fewer of the joined rows, read all of those first, to know which are missing (a Bloom filter).
    """
    return _SqliteOnly("+{}", column)


def no_index_on_join(column: ColumnElement[Any], key: ColumnElement[Any]) -> ColumnElement[Any]:
    """Compare a column of a joined row beside the row that it is joined to.

    From a condition on joined rows alone SQLite makes a filter of all of them, as with ``plain``.
    """
    # No key is less than nothing; but so the condition speaks of both rows.
    return _SqliteOnly("iif({1} < 0, NULL, {0})", column, key)


class _Sorted(FunctionElement[Any]):
    inherit_cache = True
    name = "sorted"


@compiles(_Sorted)
def _sorted(element: _Sorted, compiler: SQLCompiler, **kw: Any) -> str:
    (column,) = element.clauses
    said = compiler.process(column, **kw)
    is_text = compiler.dialect.name == "postgresql" and isinstance(column.type, String)
    return f"{said} || ''" if is_text else said


def sort_without_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Sort by a column without its index, where PostgreSQL would go through everybody in order.

    SQLite goes through them too, but asks of each in no time whether it is among those seen.
    """
    return _Sorted(column)


def key_of(text: str) -> str | None:
    """Read a UUID that may stand in a searched text; None when it is none."""
    try:
        return UUID(text).hex
    except ValueError:
        return None


def since(name: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Say that a moment is not before the one bound as ``name``."""
    return unlikely(column >= bindparam(name, type_=UtcDateTime))
