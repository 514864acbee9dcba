"""Connections, transactions and prepared statements, on SQLite and on PostgreSQL.

The one place that knows which database is underneath.
Statements are built with SQLAlchemy Core once, compiled once a database,
and then run on the driver's own cursor: measured, that is two to four times
the throughput of executing through SQLAlchemy's result layer.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import namedtuple
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from sqlalchemy import (
    ARRAY,
    BindParameter,
    Boolean,
    ColumnElement,
    DateTime,
    String,
    Text,
    bindparam,
    literal_column,
)
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from collegium.store.connections import (
    BUSY_SECONDS,
    OUTAGES,
    Connections,
    Turn,
    Unavailable,
    first_line,
    is_done_for,
)

__all__ = ("Unavailable",)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

# The one type whose reader on PostgreSQL asks for the wire type of the column; ours are doubles.
_FLOAT8: Final = 701

_PIECES: Final = 8
"""So many pieces may an index of texts lie in."""

_PAGES: Final = 64
_PARTS: Final = 400
"""So many times are so many pages put together at most, each time in some milliseconds."""

Row = Any
"""A named tuple of one result row; its names are those of the statement's columns."""


_TURN_SECONDS: Final = 0.005
"""How long one reader of SQLite waits for another; as long as the interpreter lets one run."""


class Duplicate(Exception):  # noqa: N818 - says what is the case
    """A unique constraint said no; the caller knows which one its statement can meet."""


class Referenced(Unavailable):
    """A foreign key said no: a row is still named, or the one that it names has just gone.

    Asked again, the request meets the rows as they are.
    """


class Time(TypeDecorator[datetime]):
    """An instant in UTC with microseconds; text of fixed width on SQLite, so that it sorts."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(26))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write an aware instant."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(timespec="microseconds")[:26]

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read an aware instant."""
        if value is None or dialect.name != "sqlite":
            return value  # type: ignore[no-any-return]
        return datetime.fromisoformat(value).replace(tzinfo=UTC)


class Key(TypeDecorator[str]):
    """A UUID, outside and on SQLite as 32 lower-case hex digits, on PostgreSQL as its own type."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(PG_UUID(as_uuid=False))


class Many(TypeDecorator[Any]):
    """A list bound as one parameter: an array on PostgreSQL, a JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the parameter type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(ARRAY(self.item))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write the list."""
        return json.dumps(list(value)) if dialect.name == "sqlite" else list(value)


class _AnyOf(FunctionElement[bool]):
    inherit_cache = True
    name = "any_of"


@compiles(_AnyOf, "sqlite")
def _any_of_sqlite(element: _AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = element.clauses
    value = "(SELECT value FROM json_each(" + compiler.process(values, **kw) + "))"
    return compiler.process(column, **kw) + " IN " + value


@compiles(_AnyOf, "postgresql")
def _any_of_postgresql(element: _AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = element.clauses
    return compiler.process(column, **kw) + " = ANY(" + compiler.process(values, **kw) + ")"


def any_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Match a column against a list given as one parameter, whatever its length."""
    item: TypeEngine[Any] = column.type
    return _AnyOf(column, bindparam(name, type_=Many(item)))


class _Contains(FunctionElement[bool]):
    inherit_cache = True
    name = "contains"


@compiles(_Contains)
def _contains(element: _Contains, compiler: SQLCompiler, **kw: Any) -> str:
    column, pattern = element.clauses
    found, wanted = compiler.process(column, **kw), compiler.process(pattern, **kw)
    if compiler.dialect.name == "postgresql":
        return f"{found} ILIKE {wanted} ESCAPE '\\'"
    # For SQLite the letters end with ASCII.
    return f"casefold({found}) LIKE casefold({wanted}) ESCAPE '\\'"


def contains(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Match a text inside a column, letter case aside; give the value through ``part()``."""
    return _Contains(column, bindparam(name, type_=String()))


def part(text: str) -> str:
    """Turn a text into the pattern that finds it anywhere, itself taken literally."""
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, "\\" + sign)
    return f"%{text}%"


class Prepared:
    """A statement, built once; compiled when a database first meets it.

    Args:
        statement: a Core ``select``, ``insert``, ``update`` or ``delete`` with named
            ``bindparam``s. Column names of the result become the names of the rows.
        anew: whether PostgreSQL plans it each time, since the best plan depends on its values.
    """

    __slots__ = ("_compiled", "anew", "statement")

    def __init__(self, statement: Any, *, anew: bool = False) -> None:
        self.statement = statement
        self.anew = anew
        self._compiled: dict[str, _Compiled] = {}

    def compiled(self, dialect: Dialect) -> _Compiled:
        """Give the text and the converters for a database."""
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _Compiled(self.statement, dialect)
        return found


class _Compiled:
    """SQL text with what must be done to parameters on the way in and to rows on the way out."""

    __slots__ = ("defaults", "inward", "rows", "text")

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = _spelled(statement, dialect).compile(dialect=dialect)
        self.text: str = str(compiled)
        self.inward: dict[str, Callable[[Any], Any]] = {}
        self.defaults: dict[str, Any] = {}
        for name, bind in compiled.binds.items():
            convert = _converter(bind, dialect)
            if convert is not None:
                self.inward[name] = convert
            if not bind.required:
                value = bind.effective_value
                self.defaults[name] = value if convert is None else convert(value)
        self.rows = _rows_of(_result_columns(statement), dialect)

    def parameters(self, given: dict[str, Any]) -> dict[str, Any]:
        """Give what the driver takes."""
        filled = {**self.defaults, **given}
        for name, convert in self.inward.items():
            if name in given:
                filled[name] = convert(given[name])
        return filled


def _spelled(statement: Any, dialect: Dialect) -> Any:
    """Write what is the same each time into the text.

    Against a bound value no partial index is used, and with parameters PostgreSQL may plan a
    statement each time, which for many tables takes longer than to run it.
    """

    def spell(element: Any, **_: Any) -> Any:
        if not isinstance(element, BindParameter) or element.required:
            return None
        # A per cent sign would be escaped twice.
        if not isinstance(element.value, str | int) or "%" in str(element.value):
            return None
        if isinstance(element.type, NullType):
            return None
        text = element.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        return literal_column(str(text), element.type)

    return replacement_traverse(statement, {}, spell)


def _rows_of(columns: Sequence[Any], dialect: Dialect) -> Callable[[Sequence[Any]], list[Row]]:
    """Make the function that turns what the driver gives into named tuples of Python values.

    Written out for each statement, as ``namedtuple`` does it: a loop over the converters of each
    row took longer than the database for the rows themselves.
    """
    row: Any = namedtuple("Row", [c.key for c in columns])  # type: ignore[misc]  # noqa: PYI024 - its names are known at run time only
    known: dict[str, Any] = {"row": row, "new": tuple.__new__, "iso": datetime.fromisoformat}
    values = []
    for at, column in enumerate(columns):
        convert = column.type.dialect_impl(dialect).result_processor(dialect, _FLOAT8)
        value = f"v{at}"
        if convert is None:
            values.append(value)
        elif dialect.name == "sqlite" and isinstance(column.type, Time):
            values.append(f"{value} and iso({value} + '+00:00')")
        elif dialect.name == "sqlite" and isinstance(column.type, Boolean):
            values.append(f"None if {value} is None else {value} == 1")
        else:
            known[f"c{at}"] = convert
            values.append(f"c{at}({value})")
    if not values:
        return list
    names = ", ".join(f"v{at}" for at in range(len(values)))
    text = f"lambda raw: [new(row, ({', '.join(values)},)) for {names}, in raw]"
    made: Callable[[Sequence[Any]], list[Row]] = eval(text, known)  # noqa: S307 - our own words
    return made


def _converter(bind: BindParameter[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return bind.type.dialect_impl(dialect).bind_processor(dialect)


def _result_columns(statement: Any) -> list[Any]:
    if statement.is_select:
        return list(statement.selected_columns)
    return list(statement.exported_columns) if getattr(statement, "_returning", ()) else []


class Read:
    """Questions at one moment: a connection and the time that counts as now.

    On SQLite all of them see the same rows, on PostgreSQL each the latest that were committed.
    """

    __slots__ = ("_cursor", "_dialect", "known", "now", "statements")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self.now = now
        self.statements = 0
        self.known: dict[Any, Any] = {}
        """What was found out once, and is true as long as this lasts."""

    @property
    def dialect_name(self) -> str:
        """Give ``sqlite`` or ``postgresql``, for the few statements that differ."""
        return self._dialect.name

    def _execute(self, prepared: Prepared, given: dict[str, Any]) -> _Compiled:
        compiled = prepared.compiled(self._dialect)
        self.statements += 1
        try:
            if prepared.anew and self.dialect_name == "postgresql":
                self._cursor.execute(compiled.text, compiled.parameters(given), prepare=False)
            else:
                self._cursor.execute(compiled.text, compiled.parameters(given))
        except (sqlite3.IntegrityError, psycopg.IntegrityError) as error:
            if _is_duplicate(error):
                raise Duplicate(str(error)) from error
            if _is_referenced(error):
                raise Referenced("rows that belong together are changing") from error
            raise
        return compiled

    def all(self, prepared: Prepared, **given: Any) -> list[Row]:
        """Give all rows."""
        compiled = self._execute(prepared, given)
        return compiled.rows(self._cursor.fetchall())

    def one(self, prepared: Prepared, **given: Any) -> Row | None:
        """Give the first row, or None."""
        compiled = self._execute(prepared, given)
        line = self._cursor.fetchone()
        return None if line is None else compiled.rows([line])[0]

    def value(self, prepared: Prepared, **given: Any) -> Any:
        """Give the first value of the first row, or None."""
        row = self.one(prepared, **given)
        return None if row is None else row[0]


class Write(Read):
    """A transaction: all of it is committed by whoever opened it, or none of it."""

    __slots__ = ("owes", "request")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        super().__init__(cursor, dialect, now)
        self.owes = False
        """Whether a mail was posted: somebody should wake the worker after the commit."""
        self.request = ""
        """The id of the request whose transaction this is, if any; a mail is followed by it."""

    def run(self, prepared: Prepared, **given: Any) -> int:
        """Run a statement and give the number of rows it touched."""
        self._execute(prepared, given)
        return int(self._cursor.rowcount)

    @contextmanager
    def point(self) -> Iterator[None]:
        """Let what happens inside fail alone, so that the transaction can go on."""
        self._cursor.execute("SAVEPOINT point")
        try:
            yield
        except BaseException:
            self._cursor.execute("ROLLBACK TO SAVEPOINT point")
            raise
        finally:
            self._cursor.execute("RELEASE SAVEPOINT point")


def _is_duplicate(error: Exception) -> bool:
    if isinstance(error, sqlite3.IntegrityError):
        return error.sqlite_errorcode in {
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        }
    return isinstance(error, psycopg.errors.UniqueViolation)


def _is_referenced(error: Exception) -> bool:
    if isinstance(error, sqlite3.IntegrityError):
        return error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    return isinstance(error, psycopg.errors.ForeignKeyViolation)


class Database:
    """A pool of connections to one database.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        size: connections kept open; further ones are made under load, and closed some time after.
    """

    def __init__(self, url: str, size: int = 8) -> None:
        self._connections = Connections(url, size)
        self.engine = self._connections.engine
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # Named parameters on both, so that one dictionary serves either driver.
        self.dialect: Dialect = (
            sqlite_dialect.dialect(paramstyle="named", json_deserializer=msgspec.json.decode)
            if self.is_sqlite
            else self.engine.dialect
        )
        self._begin = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"
        # SQLite's own busy handler sleeps and polls; queueing the writers of one process
        # here lets the next one start at once. Other processes still meet BEGIN IMMEDIATE.
        self._turn = threading.Lock() if self.is_sqlite else None
        # With each row SQLite lets go of the interpreter and takes it again. Where others wait
        # for it, that costs more than the row; so they wait here, and for a long reader not long.
        self._readers = threading.RLock() if self.is_sqlite else None
        # PostgreSQL works while we wait for it; so several may ask it, a kept connection each.
        self._gate = self._readers or threading.BoundedSemaphore(size)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._connections.close()

    def read(self, now: datetime | None = None) -> AbstractContextManager[Read]:
        """Ask; nothing can be changed through it."""
        return _Reading(self._connections, self.dialect, now, self._readers)

    def turn(self) -> Turn:
        """Give a place in the queue of those that only ask."""
        return Turn(self._gate)

    @contextmanager
    def write(self, now: datetime | None = None) -> Iterator[Write]:
        """Change: committed when the block ends, undone when it raises."""
        if self._turn is not None and not self._turn.acquire(timeout=BUSY_SECONDS):
            raise Unavailable("the database is busy")
        try:
            with _Borrowed(self._connections) as connection:
                cursor = connection.cursor()
                cursor.execute(self._begin)
                # The clock is read once the turn has come: judged earlier, something that
                # expired while this writer waited would still count as alive.
                tx = Write(cursor, self.dialect, now or datetime.now(UTC))
                try:
                    yield tx
                    cursor.execute("COMMIT")
                except BaseException:
                    _undo(cursor, connection)
                    raise
        finally:
            if self._turn is not None:
                self._turn.release()

    def check_writable(self) -> None:
        """Go as far as one can towards writing without doing it.

        Raises Unavailable when nothing can be written.
        """
        try:
            with self.write() as tx:
                tx._cursor.execute("UPDATE outbox SET error = error WHERE id < 0")  # noqa: SLF001 - of this module
        except psycopg.InternalError as error:  # a server that only reads, as a copy does
            raise Unavailable(first_line(error)) from error

    def tend(self) -> None:
        """Let SQLite do for itself what PostgreSQL does unasked.

        It learns how its rows are spread, from samples and in milliseconds; a plan chosen blindly
        reads far too many. And it puts the pieces of the indexes of texts together, a bounded part
        of them each time and with room for writers in between: of each piece every search reads.
        """
        if not self.is_sqlite:
            return
        with self.write() as tx:
            for line in ("PRAGMA analysis_limit = 1000", "ANALYZE"):
                tx._cursor.execute(line)  # noqa: SLF001 - of this module
        for index in ("account_search", "invitation_search"):
            if not self._merge(index, _PAGES) and self._pieces(index) > _PIECES:
                self._merge(index, -_PAGES)  # less than none: all of them, not only those alike
            for _ in range(_PARTS):
                if not self._merge(index, _PAGES):
                    break

    def _pieces(self, index: str) -> int:
        with self.read() as tx:
            tx._cursor.execute(f"SELECT count(DISTINCT segid) FROM {index}_idx")  # noqa: SLF001 - our own words, of this module
            return int(tx._cursor.fetchone()[0])  # noqa: SLF001 - of this module

    def _merge(self, index: str, pages: int) -> bool:
        """Put some pages of an index together; tell whether there were any."""
        with self.write() as tx:
            cursor = tx._cursor  # noqa: SLF001 - of this module
            before = cursor.connection.total_changes
            cursor.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', {pages})")
            # The row that asks counts as one.
            return bool(cursor.connection.total_changes - before > 1)


class _Borrowed:
    """A connection for the time of a block; one that failed is not used again."""

    __slots__ = ("_connections", "connection")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __enter__(self) -> Any:
        self.connection = self._connections.take()
        return self.connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OUTAGES):
            self._connections.drop(self.connection)
            raise Unavailable(first_line(error)) from error
        if is_done_for(self.connection):
            self._connections.drop(self.connection)
        else:
            self._connections.give(self.connection)


class _Reading(_Borrowed):
    """A block that asks."""

    __slots__ = ("_cursor", "_dialect", "_in_turn", "_now", "_turn")

    def __init__(
        self,
        connections: Connections,
        dialect: Dialect,
        now: datetime | None,
        turn: Any,
    ) -> None:
        super().__init__(connections)
        self._dialect = dialect
        self._now = now
        self._turn = turn
        self._in_turn = False

    def __enter__(self) -> Read:
        self._cursor = super().__enter__().cursor()
        if self._turn is not None:
            self._in_turn = self._turn.acquire(timeout=_TURN_SECONDS)
            try:
                # One moment, and one lock of the file, for all that is asked.
                self._cursor.execute("BEGIN")
            except BaseException as error:
                self.__exit__(type(error), error, None)
                raise
        return Read(self._cursor, self._dialect, self._now or datetime.now(UTC))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._turn is not None:
                _undo(self._cursor, self.connection)
            self._cursor.close()
            super().__exit__(kind, error, trace)
        finally:
            if self._in_turn and self._turn is not None:
                self._turn.release()


def _undo(cursor: Any, connection: Any) -> None:
    try:
        cursor.execute("ROLLBACK")
    except (sqlite3.Error, psycopg.Error):
        connection.close()
