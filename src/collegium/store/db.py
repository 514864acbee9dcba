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

import psycopg
from psycopg.adapt import Loader
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    DateTime,
    Engine,
    String,
    Text,
    bindparam,
    create_engine,
    event,
)
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.engine import make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import Dialect
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import PoolProxiedConnection
    from sqlalchemy.sql.compiler import SQLCompiler

# The one type whose reader on PostgreSQL asks for the wire type of the column; ours are doubles.
_FLOAT8: Final = 701

Row = Any
"""A named tuple of one result row; its names are those of the statement's columns."""

BUSY_SECONDS: Final = 10
"""How long a SQLite writer waits for another one before the request is told to come back."""


class Unavailable(Exception):  # noqa: N818 - says what is the case
    """The database cannot be reached or is too busy; the same request may succeed later."""


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
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")

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


class _HexLoader(Loader):
    """Reads a PostgreSQL UUID as the 32 hex digits that we speak everywhere."""

    def load(self, data: Any) -> str:
        return bytes(data).decode().replace("-", "")


class Prepared:
    """A statement, built once; compiled when a database first meets it.

    Args:
        statement: a Core ``select``, ``insert``, ``update`` or ``delete`` with named
            ``bindparam``s. Column names of the result become the names of the rows.
    """

    __slots__ = ("_compiled", "statement")

    def __init__(self, statement: Any) -> None:
        self.statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def compiled(self, dialect: Dialect) -> _Compiled:
        """Give the text and the converters for a database."""
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _Compiled(self.statement, dialect)
        return found


class _Compiled:
    """SQL text with what must be done to parameters on the way in and to rows on the way out."""

    __slots__ = ("defaults", "inward", "make", "outward", "text")

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
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
        columns = _result_columns(statement)
        row: Any = namedtuple("Row", [c.key for c in columns])  # type: ignore[misc]  # noqa: PYI024 - its names are known at run time only
        self.make: Callable[[Sequence[Any]], Row] = row._make
        self.outward = [
            (at, convert)
            for at, column in enumerate(columns)
            if (convert := column.type.dialect_impl(dialect).result_processor(dialect, _FLOAT8))
        ]

    def parameters(self, given: dict[str, Any]) -> dict[str, Any]:
        """Give what the driver takes."""
        filled = {**self.defaults, **given}
        for name, convert in self.inward.items():
            if name in given:
                filled[name] = convert(given[name])
        return filled

    def rows(self, raw: Sequence[Any]) -> list[Row]:
        """Give named tuples of Python values."""
        make = self.make
        outward = self.outward
        if not outward:
            return [make(line) for line in raw]
        made = []
        for line in raw:
            values = list(line)
            for at, convert in outward:
                values[at] = convert(values[at])
            made.append(make(values))
        return made


def _converter(bind: BindParameter[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return bind.type.dialect_impl(dialect).bind_processor(dialect)


def _result_columns(statement: Any) -> list[Any]:
    if statement.is_select:
        return list(statement.selected_columns)
    return list(statement.exported_columns) if getattr(statement, "_returning", ()) else []


class Read:
    """Questions at one moment: a connection and the time that counts as now.

    On both databases each statement sees the latest committed rows.
    """

    __slots__ = ("_cursor", "_dialect", "now", "statements")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self.now = now
        self.statements = 0

    @property
    def dialect_name(self) -> str:
        """Give ``sqlite`` or ``postgresql``, for the few statements that differ."""
        return self._dialect.name

    def _execute(self, prepared: Prepared, given: dict[str, Any]) -> _Compiled:
        compiled = prepared.compiled(self._dialect)
        self.statements += 1
        try:
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

    __slots__ = ("owes",)

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        super().__init__(cursor, dialect, now)
        self.owes = False
        """Whether a mail was posted: somebody should wake the worker after the commit."""

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
        size: connections kept open; further ones are made under load and closed again.
    """

    def __init__(self, url: str, size: int = 8) -> None:
        self.engine = _engine(url, size)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # Named parameters on both, so that one dictionary serves either driver.
        self.dialect: Dialect = (
            sqlite_dialect.dialect(paramstyle="named") if self.is_sqlite else self.engine.dialect
        )
        self._begin = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"
        # SQLite's own busy handler sleeps and polls; queueing the writers of one process
        # here lets the next one start at once. Other processes still meet BEGIN IMMEDIATE.
        self._turn = threading.Lock() if self.is_sqlite else None

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @contextmanager
    def read(self, now: datetime | None = None) -> Iterator[Read]:
        """Ask; nothing can be changed through it."""
        with self._borrowed() as connection:
            yield Read(connection.cursor(), self.dialect, now or datetime.now(UTC))

    @contextmanager
    def write(self, now: datetime | None = None) -> Iterator[Write]:
        """Change: committed when the block ends, undone when it raises."""
        if self._turn is not None and not self._turn.acquire(timeout=BUSY_SECONDS):
            raise Unavailable("the database is busy")
        try:
            with self._borrowed() as connection:
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

    def tend(self) -> None:
        """Let SQLite learn how its rows are spread; a plan chosen blindly reads far too many.

        Takes milliseconds, since only samples are counted. PostgreSQL does it by itself.
        """
        if self.is_sqlite:
            with self.write() as tx:
                for line in ("PRAGMA analysis_limit = 1000", "ANALYZE"):
                    tx._cursor.execute(line)  # noqa: SLF001 - of this module

    @contextmanager
    def _borrowed(self) -> Iterator[PoolProxiedConnection]:
        try:
            connection = self.engine.raw_connection()
        except Exception as error:
            if _is_outage(error):
                raise Unavailable(_first_line(error)) from error
            raise
        try:
            yield connection
        except (sqlite3.OperationalError, psycopg.OperationalError) as error:
            _discard(connection)
            raise Unavailable(_first_line(error)) from error
        finally:
            connection.close()


def _undo(cursor: Any, connection: PoolProxiedConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except (sqlite3.Error, psycopg.Error):
        _discard(connection)


def _discard(connection: PoolProxiedConnection) -> None:
    # What could not be undone was discarded there already.
    if connection.is_valid:
        connection.invalidate()


def _is_outage(error: Exception) -> bool:
    original = getattr(error, "orig", error)
    return isinstance(original, (sqlite3.OperationalError, psycopg.OperationalError)) or (
        type(error).__name__ == "TimeoutError"
    )


def _first_line(error: Exception) -> str:
    return (str(getattr(error, "orig", error)).splitlines() or ["no reason given"])[0]


def _engine(url: str, size: int) -> Engine:
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        engine = create_engine(
            address,
            pool_size=size,
            max_overflow=32,
            pool_reset_on_return=None,
            connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
        )
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        pool_size=size,
        max_overflow=32,
        pool_pre_ping=True,
        pool_reset_on_return=None,
        connect_args={"autocommit": True, "connect_timeout": 5},
    )
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    raw = connection
    raw.isolation_level = None
    raw.create_function("casefold", 1, _casefold, deterministic=True)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "cache_size=-16000",
        "temp_store=MEMORY",
    ):
        raw.execute(f"PRAGMA {pragma}")


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _prepare_postgresql(connection: DBAPIConnection, _record: object) -> None:
    raw = connection
    raw.adapters.register_loader("uuid", _HexLoader)
    raw.execute("SET TIME ZONE 'UTC'")
    # Compiling a statement takes longer than any of ours should run.
    raw.execute("SET jit = off")
    raw.execute("SET lock_timeout = '10s'")
    raw.execute("SET idle_in_transaction_session_timeout = '60s'")
