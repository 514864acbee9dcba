"""SQL statements, built with SQLAlchemy Core once and compiled once per database; column types.

Statements run on the cursor of the driver. In measurements this had two to four times the
throughput of SQLAlchemy's result layer.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, get_args, get_origin

import msgspec
from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Integer,
    Label,
    Select,
    String,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

SCALARS: Final = frozenset({bool, bytes, datetime, int, str})
"""Types of values of a statement with one column that are returned instead of rows."""

# PostgreSQL's type OID of double precision. Only SQLAlchemy's result processor for floats looks at
# the type of the column, and all our float columns have this type.
_FLOAT8: Final = 701

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    R = TypeVar("R", default=None)
else:
    from typing import TypeVar

    R = TypeVar("R")


def as_dict(row: object) -> dict[str, Any]:
    """Return all columns of a row, by name."""
    return msgspec.structs.asdict(row)  # type: ignore[arg-type]  # a struct


def replace(row: R, **values: Any) -> R:
    """Return a row with other values in some columns."""
    return msgspec.structs.replace(row, **values)  # type: ignore[type-var]  # a struct


def stored_time(value: datetime | None) -> str | None:
    """Return the form in which SQLite stores an aware ``datetime``: 26 characters, in UTC.

    Nearly every statement has the present time as a parameter, and ``isoformat`` takes ten times
    as long.
    """
    if value is None:
        return None
    text = _encode(value.astimezone(UTC)).decode()  # in quotes, without a fraction if it is zero
    return text[1:27] if value.microsecond else f"{text[1:20]}.000000"


_encode: Final = msgspec.json.Encoder().encode


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time in UTC with microseconds.

    On SQLite a text of fixed width, so that it sorts.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(26))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert an aware ``datetime`` to the stored form."""
        return stored_time(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert the stored form to an aware ``datetime`` in UTC."""
        if value is None or dialect.name != "sqlite":
            return value  # type: ignore[no-any-return]  # the driver converts it
        return datetime.fromisoformat(value).replace(tzinfo=UTC)


class UuidHex(TypeDecorator[str]):
    """A UUID as 32 lower-case hex digits. PostgreSQL stores it in its own UUID type."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(PG_UUID(as_uuid=False))


class ArrayParam(TypeDecorator[Any]):
    """A list bound as one parameter: an array on PostgreSQL, a JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the parameter type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(ARRAY(self.item))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Convert a list to the form of the database."""
        return _encode(list(value)).decode() if dialect.name == "sqlite" else list(value)


class _AnyOf(FunctionElement[bool]):
    inherit_cache = True
    name = "any_of"


class _AnyOfUnseen(_AnyOf):
    inherit_cache = True
    name = "any_of_unseen"


@compiles(_AnyOf, "sqlite")
def _any_of_sqlite(element: _AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = element.clauses
    value = "(SELECT value FROM json_each(" + compiler.process(values, **kw) + "))"
    return compiler.process(column, **kw) + " IN " + value


@compiles(_AnyOf, "postgresql")
def _any_of_postgresql(element: _AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = element.clauses
    return compiler.process(column, **kw) + " = ANY(" + compiler.process(values, **kw) + ")"


@compiles(_AnyOfUnseen, "postgresql")
def _any_of_unseen_postgresql(element: _AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = element.clauses
    column_sql, value = compiler.process(column, **kw), compiler.process(values, **kw)
    return f"{column_sql} = ANY(ARRAY(SELECT unnest({value})))"


def any_of(
    column: ColumnElement[Any], name: str, *, plan_once: bool = False
) -> ColumnElement[bool]:
    """Match a column against a list bound as one parameter.

    The length of the list does not matter.

    Args:
        plan_once: hide the list from PostgreSQL's planner, which then plans the statement once.
            Otherwise it plans the statement for each list while it expects that to be cheaper, and
            planning takes longer than the statement.
    """
    element = _AnyOfUnseen if plan_once else _AnyOf
    item: TypeEngine[Any] = column.type
    return element(column, bindparam(name, type_=ArrayParam(item)))


class _Contains(FunctionElement[bool]):
    inherit_cache = True
    name = "contains"


@compiles(_Contains)
def _contains(element: _Contains, compiler: SQLCompiler, **kw: Any) -> str:
    column, pattern = element.clauses
    column_sql, pattern_sql = compiler.process(column, **kw), compiler.process(pattern, **kw)
    if compiler.dialect.name == "postgresql":
        return f"{column_sql} ILIKE {pattern_sql} ESCAPE '\\'"
    # SQLite's LIKE ignores case for ASCII letters only; so both sides are case-folded.
    return f"casefold({column_sql}) LIKE casefold({pattern_sql}) ESCAPE '\\'"


def contains(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Match a part of a column, ignoring case. The parameter must be made by ``like_pattern``."""
    return _Contains(column, bindparam(name, type_=String()))


class Position(FunctionElement[int]):
    """The place of the second text in the first one, from 1; 0 if it is not there."""

    inherit_cache = True
    name = "position"


@compiles(Position)
def _position_sql(element: Position, compiler: SQLCompiler, **kw: Any) -> str:
    name = "strpos" if compiler.dialect.name == "postgresql" else "instr"
    return f"{name}({', '.join(compiler.process(clause, **kw) for clause in element.clauses)})"


def like_pattern(text: str) -> str:
    """Return the LIKE pattern that finds a text anywhere. Wildcards in it are escaped."""
    for wildcard in ("\\", "%", "_"):
        text = text.replace(wildcard, "\\" + wildcard)
    return f"%{text}%"


class Statement(Generic[R]):
    """A statement that is built once and compiled once per database, on first use.

    ``Statement[R](...)`` says what it returns: a class whose annotations are names and types of
    columns, which the tests compare with those of the statement; a tuple of the types of all
    columns; a scalar type such as ``int``, which makes it return the values of its only column; or
    nothing. Rows are structs with all columns, or tuples where that is declared.

    Args:
        statement: a Core ``select``, ``insert``, ``update`` or ``delete`` with named
            ``bindparam``s.
        replan: make PostgreSQL plan the statement on each execution, because the best plan
            depends on the parameters.
    """

    __slots__ = ("__orig_class__", "_compiled", "replan", "statement")

    def __init__(self, statement: Any, *, replan: bool = False) -> None:
        self.statement = statement
        self.replan = replan
        self._compiled: dict[str, CompiledStatement[R]] = {}

    @property
    def row(self) -> Any:
        """Return the declared type of the rows, or None."""
        # ``Generic`` keeps it here.
        return next(iter(get_args(getattr(self, "__orig_class__", None))), None)

    def compiled(self, dialect: Dialect) -> CompiledStatement[R]:
        """Return the statement compiled for a database."""
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = CompiledStatement(self.statement, self.row, dialect)
            self._compiled[dialect.name] = compiled
        return compiled


class CompiledStatement(Generic[R]):
    """SQL text with the converters for its parameters and its result rows."""

    __slots__ = ("converters", "defaults", "has_rows", "rows", "text")

    def __init__(self, statement: Any, row: Any, dialect: Dialect) -> None:
        columns = result_columns(statement)
        packed = _packed_columns(statement, row, dialect)
        single = [one for one in columns if not any(one is other for other in packed)]
        sent = _pack(statement, packed, single) if packed else statement
        compiled = _inline_constants(sent, dialect).compile(dialect=dialect)
        self.text: str = str(compiled)
        self.converters: dict[str, Callable[[Any], Any]] = {}
        self.defaults: dict[str, Any] = {}
        for name, bind in compiled.binds.items():
            convert = _converter(bind, dialect)
            if convert is not None:
                self.converters[name] = convert
            if not bind.required:
                value = bind.effective_value
                self.defaults[name] = value if convert is None else convert(value)
        self.has_rows = bool(columns)
        self.rows: Callable[[Sequence[Any]], list[R]] = _row_factory(packed, single, row, dialect)

    def parameters(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters in the form of the driver, with defaults filled in."""
        filled = {**self.defaults, **values}
        for name, convert in self.converters.items():
            if name in values:
                filled[name] = convert(values[name])
        return filled


def _inline_constants(statement: Any, dialect: Dialect) -> Any:
    """Write constant values into the SQL text instead of binding them.

    With a bound value neither database uses a partial index. A statement with parameters may be
    planned on each execution by PostgreSQL, which for joins of many tables takes longer than
    running it.
    """

    def inline(element: Any, **_: Any) -> Any:
        if not isinstance(element, BindParameter) or element.required:
            return None
        # A per cent sign would be escaped twice.
        if not isinstance(element.value, str | int) or "%" in str(element.value):
            return None
        if isinstance(element.type, NullType):
            return None
        text = element.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        return literal_column(str(text), element.type)

    return replacement_traverse(statement, {}, inline)


_MANY_COLUMNS: Final = 12
"""Number of columns from which on SQLite sends a row as one JSON array.

The driver takes 0.13 microseconds for each column, SQLite and msgspec together take half of that.
"""

_MAX_COLUMNS: Final = 100
"""Most columns of such an array. By default functions of SQLite have at most 127 arguments."""


def _packed_columns(statement: Any, row: Any, dialect: Dialect) -> list[Any]:
    """Return the columns that SQLite sends as one JSON array; none if there are few.

    Other columns, such as bytes, are no JSON.
    """
    if dialect.name != "sqlite" or not isinstance(statement, Select) or _is_tuple(row):
        return []
    if statement._distinct or statement._group_by_clauses:  # noqa: SLF001 - there is no public way
        return []
    known = String | Integer | Boolean | UtcDateTime | UuidHex | Date | JSON
    columns = [column for column in statement.selected_columns if isinstance(column.type, known)]
    return columns[:_MAX_COLUMNS] if len(columns) >= _MANY_COLUMNS else []


def _pack(statement: Any, packed: Sequence[Any], single: Sequence[Any]) -> Any:
    """Return the statement that selects columns as one JSON array, and then the others."""
    array = func.json_array(*map(_json_value, packed)).label("packed")
    return statement.with_only_columns(array, *single)


def _json_value(column: Any) -> ColumnElement[Any]:
    value = column.element if isinstance(column, Label) else column
    if isinstance(column.type, UtcDateTime):
        return type_coerce(value, String) + literal_column("'Z'", String)
    if not isinstance(column.type, JSON):
        return value
    # Most lists and objects are empty, and to read one takes longer than to compare it.
    default = getattr(getattr(value, "server_default", None), "arg", "")
    empty = {"[]": func.json_array(), "{}": func.json_object()}.get(default)
    if empty is None:
        return func.json(value)
    is_empty = type_coerce(value, String) == literal_column(f"'{default}'")
    return case((is_empty, empty), else_=func.json(value))


def _json_type(column: Any) -> Any:
    """Return the type of a column as msgspec reads it from JSON."""
    if isinstance(column.type, UtcDateTime):
        return datetime | None
    if isinstance(column.type, Date):
        return date | None
    return bool | None if isinstance(column.type, Boolean) else Any


def _row_factory(
    packed: Sequence[Any], single: Sequence[Any], row: Any, dialect: Dialect
) -> Callable[[Sequence[Any]], list[Any]]:
    """Return the function that turns rows of the driver into rows of Python values.

    Its source text is generated for each statement, as ``namedtuple`` does it. A loop over the
    converters of each row took longer than the database took to return the rows.

    Args:
        packed: the columns that come as one JSON array, before all others.
        single: the other columns.
        row: the declared type.
    """
    if not packed and not single:
        return list
    namespace: dict[str, Any] = {"iso": datetime.fromisoformat, "json": msgspec.json.decode}
    values = [_value(f"v{index}", one, dialect, namespace) for index, one in enumerate(single)]
    names = [f"v{index}" for index in range(len(single))]
    each = ", ".join([*(["packed"] if packed else []), *names]) + ","
    if row in SCALARS:
        made = values[0]
    elif _is_tuple(row):
        namespace |= {"new": tuple.__new__, "row": _named_tuple(*map(_name, single))}
        made = f"new(row, ({', '.join(values)},))"
    else:
        types = [*map(_json_type, packed), *(Any for _ in single)]
        namespace["row"] = _struct(*zip(map(_name, [*packed, *single]), types, strict=True))
        if packed:
            values_only = tuple.__class_getitem__(tuple(types[: len(packed)]))
            array = values_only if single else namespace["row"]
            # SQLite has no Booleans: 0 and 1 are read as such.
            namespace["decode"] = msgspec.json.Decoder(array, strict=False).decode
            made = f"row(*decode(packed), {', '.join(values)})" if single else "decode(packed)"
        elif values == names:
            each, made = "values", "row(*values)"
        else:
            made = f"row({', '.join(values)})"
    make_rows: Callable[[Sequence[Any]], list[Any]] = eval(  # noqa: S307 - generated from column names
        f"lambda raw: [{made} for {each} in raw]", namespace
    )
    return make_rows


def _value(name: str, column: Any, dialect: Dialect, namespace: dict[str, Any]) -> str:
    """Return the expression for a value of the driver, and add the names in it."""
    is_sqlite = dialect.name == "sqlite"
    if isinstance(column.type, UtcDateTime):
        return f"{name} and iso({name} + '+00:00')" if is_sqlite else name
    if isinstance(column.type, UuidHex):
        # PostgreSQL returns it with hyphens.
        return name if is_sqlite else f"{name} and {name}.replace('-', '')"
    if is_sqlite and isinstance(column.type, Boolean):
        return f"None if {name} is None else {name} == 1"
    if isinstance(column.type, JSON):
        # Most are empty. SQLite stores a number as such, and not as a text.
        text = f"[] if {name} == '[]' else {{}} if {name} == '{{}}' else json({name})"
        return f"({text}) if type({name}) is str else {name}"
    convert = column.type.dialect_impl(dialect).result_processor(dialect, _FLOAT8)
    if convert is None:
        return name
    namespace[f"convert_{name}"] = convert
    return f"convert_{name}({name})"


def _is_tuple(row: Any) -> bool:
    """Return whether rows are tuples: that is declared, or nothing is."""
    return row is None or row is Any or get_origin(row) is tuple


def _name(column: Any) -> str:
    return str(column.key)  # without the quoting of SQLAlchemy


# Statements with the same columns share the class of their rows.
@cache
def _named_tuple(*names: str) -> Any:
    return namedtuple("Row", names)  # noqa: PYI024 - its names are known at run time only


@cache
def _struct(*fields: tuple[str, Any]) -> Any:
    return msgspec.defstruct("Row", fields, frozen=True, gc=False, array_like=True)


def _converter(bind: BindParameter[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if dialect.name == "sqlite" and isinstance(bind.type, UtcDateTime):
        return stored_time
    return bind.type.dialect_impl(dialect).bind_processor(dialect)


def result_columns(statement: Any) -> list[Any]:
    """Return the columns of a select or of ``RETURNING``; none for other statements."""
    if statement.is_select:
        return list(statement.selected_columns)
    return list(statement.exported_columns) if getattr(statement, "_returning", ()) else []
