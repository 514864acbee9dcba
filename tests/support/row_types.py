"""Compare declared rows with the columns of their statements."""

from functools import lru_cache, partialmethod
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints
from weakref import WeakValueDictionary

from sqlalchemy import BinaryExpression, Column, CompoundSelect, Label, Null, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import FROM_LINTING, SQLCompiler
from sqlalchemy.sql.selectable import FromClause, Join
from sqlalchemy.types import JSON, NullType, TypeDecorator, TypeEngine

from collegium.db.statements import SCALARS, CompiledStatement, result_columns

_NULL_SAFE: Final = {operators.is_, operators.is_distinct_from, operators.is_not_distinct_from}


def check_all() -> None:
    """Check each statement of this process when it is compiled, and that it joins its tables."""
    # A table in a condition that is not joined makes a Cartesian product. SQLAlchemy warns of it.
    SQLCompiler.__init__ = partialmethod(SQLCompiler.__init__, linting=FROM_LINTING)  # type: ignore[method-assign,assignment]
    compile_statement = CompiledStatement.__init__
    # By identity. A statement is compiled once per database, and declares its rows once.
    checked: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def check_and_compile(self: Any, statement: Any, row: Any, dialect: Dialect) -> None:
        if checked.get(id(statement)) is not statement:
            check_row(statement, row)
            checked[id(statement)] = statement
        compile_statement(self, statement, row, dialect)

    CompiledStatement.__init__ = check_and_compile  # type: ignore[method-assign]


def check_row(statement: Any, row: Any) -> None:
    """Raise a ``TypeError`` if a statement does not return what its row declares.

    Computed columns whose type or nullability SQLAlchemy does not know are compared by name only.
    """
    # ``Any``: of a test. ``TypeVar``: of a ``Listing``, whose select is checked.
    if row is None or row is Any or isinstance(row, TypeVar):
        return
    columns = result_columns(statement)
    if row in SCALARS:
        if len(columns) != 1:
            raise TypeError(f"{len(columns)} columns, declared as {row.__name__}")
        _check_column(statement, columns[0].key, row)
        return
    if get_origin(row) is tuple:
        kinds = get_args(row)
        if kinds[-1] is ...:
            kinds = kinds[:1] * len(columns)
        for column, kind in zip(columns, kinds, strict=True):
            _check_column(statement, column.key, kind)
        return
    for name, declared in get_type_hints(row).items():
        if name not in {column.key for column in columns}:
            raise TypeError(f"{row.__name__}.{name}: no such column")
        try:
            _check_column(statement, name, declared)
        except TypeError as error:
            raise TypeError(f"{row.__name__}.{name}: {error}") from None


def _check_column(statement: Any, name: str, declared: Any) -> None:
    kinds = set(get_args(declared)) if isinstance(declared, UnionType) else {declared}
    for select in statement.selects if isinstance(statement, CompoundSelect) else [statement]:
        column = next(c for c in result_columns(select) if c.key == name)
        element = column.element if isinstance(column, Label) else column
        if type(None) not in kinds and _is_nullable(select, element):
            raise TypeError(f"may be null, declared as {declared}")
        kind = _python_type(column.type)
        if kind is not None and kind not in kinds and not isinstance(element, Null):
            raise TypeError(f"is {kind.__name__}, declared as {declared}")


def _python_type(kind: TypeEngine[Any]) -> type[Any] | None:
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return None if isinstance(kind, JSON | NullType) else kind.python_type


def _is_nullable(select: Any, element: Any) -> bool:
    if isinstance(element, Null):
        return True
    if not isinstance(element, Column):
        return False
    if not isinstance(select, Select):
        return bool(element.nullable)
    optional, conditions = _joins(select)
    if element in {column for each in conditions for column in _compared(each)}:
        return False
    return bool(element.nullable) or element.table in optional


@lru_cache(maxsize=8)  # to find the tables of a select takes as long as to compile it
def _joins(select: Any) -> tuple[set[FromClause], list[Any]]:
    """Return the tables of a select's outer joins, and the conditions that its rows fulfil."""
    optional: set[FromClause] = set()
    conditions = list(select._where_criteria)
    without_where = select._clone()
    without_where._where_criteria = ()  # may contain what compiles only for our databases
    for origin in without_where.get_final_froms():
        _walk(origin, optional, conditions)
    return optional, conditions


def _walk(origin: Any, optional: set[FromClause], conditions: list[Any]) -> None:
    """Collect the tables of outer joins, and the conditions of inner joins."""
    if not isinstance(origin, Join):
        return
    _walk(origin.left, optional, conditions)
    if origin.isouter:
        optional.update(origin.right._from_objects)
    else:
        _walk(origin.right, optional, conditions)
        conditions.append(origin.onclause)


def _compared(condition: Any) -> list[Any]:
    """Return the columns that are not null where a condition is true."""
    if getattr(condition, "operator", None) is operators.and_:
        return [column for each in condition.clauses for column in _compared(each)]
    if getattr(condition, "name", None) == "any_of":
        return list(condition.clauses)
    if not isinstance(condition, BinaryExpression) or condition.operator in _NULL_SAFE:
        return []
    return [condition.left, condition.right]
