"""Questions and transactions, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from sqlalchemy.dialects import sqlite as sqlite_dialect

from collegium.db import statistics
from collegium.db.connections import (
    BUSY_SECONDS,
    OUTAGES,
    Connections,
    ReadSlot,
    StorageFullError,
    UnavailableError,
    first_line,
    is_closed_by_server,
)
from collegium.db.statements import CompiledStatement, Row, Statement

__all__ = ("StorageFullError", "UnavailableError")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy.engine import Dialect

_PIECES: Final = 8
"""So many pieces may an index of texts lie in."""

_PAGES: Final = 64
_PARTS: Final = 400
"""So many times are so many pages put together at most, each time in some milliseconds."""

_LOOK_SECONDS: Final = 60.0
"""How long a PostgreSQL that had room is believed to have some."""

_WRITE_SQLITE: Final = ("PRAGMA user_version = 0",)
"""Write the first page anew; nobody uses the number."""

_WRITE_POSTGRESQL: Final = (
    """
    SELECT lo_unlink(lo_from_bytea(0, convert_to(filling, 'UTF8')))
    FROM (SELECT string_agg(md5(n::text), '') AS filling FROM generate_series(1, 4000) AS n) AS made
    """,
)
"""Take some pages on the disk of the database, and give them back."""

_READ_ANEW: Final = ("CREATE TABLE read_anew (id INTEGER)", "DROP TABLE read_anew")
"""Other connections read new statistics only when they read the schema, which this has them do."""

_SIZE: Final = "SELECT " + " + ".join(
    f"(SELECT coalesce(max(id), 0) FROM {table})"
    for table in ("accounts", "scopes", "grants", "invitations")
)
_YOUNG: Final = 100
"""So many rows may a database grow by without a look at how they are spread."""

_READER_SECONDS: Final = 0.005
"""How long one reader of SQLite waits for another; as long as the interpreter lets one run."""


class UniqueViolationError(Exception):
    """A unique constraint said no; the caller knows which one its statement can meet."""


class ForeignKeyViolationError(UnavailableError):
    """A foreign key said no: a row is still named, or the one that it names has just gone.

    Asked again, the request meets the rows as they are.
    """


class ReadTransaction:
    """Questions at one moment: a connection and the time that counts as now.

    On SQLite all of them see the same rows, on PostgreSQL each the latest that were committed.
    """

    __slots__ = ("_cursor", "_dialect", "cache", "now", "statements")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self.now = now
        self.statements = 0
        self.cache: dict[Any, Any] = {}
        """What was found out once, and is true as long as this lasts."""

    @property
    def backend(self) -> str:
        """Give ``sqlite`` or ``postgresql``, for the few statements that differ."""
        return self._dialect.name

    def _execute(self, prepared: Statement, given: dict[str, Any]) -> CompiledStatement:
        compiled = prepared.compiled(self._dialect)
        self.statements += 1
        try:
            if prepared.replan and self.backend == "postgresql":
                self._cursor.execute(compiled.text, compiled.parameters(given), prepare=False)
            else:
                self._cursor.execute(compiled.text, compiled.parameters(given))
        except (sqlite3.IntegrityError, psycopg.IntegrityError) as error:
            if _is_unique_violation(error):
                raise UniqueViolationError(str(error)) from error
            if _is_foreign_key_violation(error):
                raise ForeignKeyViolationError("rows that belong together are changing") from error
            raise
        return compiled

    def fetch_all(self, prepared: Statement, **given: Any) -> list[Row]:
        """Give all rows."""
        compiled = self._execute(prepared, given)
        return compiled.rows(self._cursor.fetchall())

    def fetch_one(self, prepared: Statement, **given: Any) -> Row | None:
        """Give the first row, or None."""
        compiled = self._execute(prepared, given)
        line = self._cursor.fetchone()
        return None if line is None else compiled.rows([line])[0]

    def scalar(self, prepared: Statement, **given: Any) -> Any:
        """Give the first value of the first row, or None."""
        row = self.fetch_one(prepared, **given)
        return None if row is None else row[0]


class WriteTransaction(ReadTransaction):
    """A transaction: all of it is committed by whoever opened it, or none of it."""

    __slots__ = ("mail_enqueued", "request")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        super().__init__(cursor, dialect, now)
        self.mail_enqueued = False
        """Whether a mail was posted: somebody should wake the worker after the commit."""
        self.request = ""
        """The id of the request whose transaction this is, if any; a mail is followed by it."""

    def execute(self, prepared: Statement, **given: Any) -> int:
        """Run a statement and give the number of rows it touched."""
        self._execute(prepared, given)
        return int(self._cursor.rowcount)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Let what happens inside fail alone, so that the transaction can go on."""
        self._cursor.execute("SAVEPOINT point")
        try:
            yield
        except BaseException:
            self._cursor.execute("ROLLBACK TO SAVEPOINT point")
            raise
        finally:
            self._cursor.execute("RELEASE SAVEPOINT point")


def _is_unique_violation(error: Exception) -> bool:
    if isinstance(error, sqlite3.IntegrityError):
        return error.sqlite_errorcode in {
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        }
    return isinstance(error, psycopg.errors.UniqueViolation)


def _is_foreign_key_violation(error: Exception) -> bool:
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
        self._was_full = False
        self._looked = time.monotonic()
        self._tended = 0
        # With each row SQLite lets go of the interpreter and takes it again. Where others wait
        # for it, that costs more than the row; so they wait here, and for a long reader not long.
        self._readers = threading.RLock() if self.is_sqlite else None
        # PostgreSQL works while we wait for it; so several may ask it, a kept connection each.
        self._gate = self._readers or threading.BoundedSemaphore(size)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._connections.close()

    def outage(self, error: Exception) -> UnavailableError:
        """Say what an error of the driver means."""
        return self._connections.outage(error)

    def read(self, now: datetime | None = None) -> AbstractContextManager[ReadTransaction]:
        """Ask; nothing can be changed through it."""
        return _ReadContext(self._connections, self.dialect, now, self._readers)

    def read_slot(self) -> ReadSlot:
        """Give a place in the queue of those that only ask."""
        return ReadSlot(self._gate)

    @contextmanager
    def write(self, now: datetime | None = None) -> Iterator[WriteTransaction]:
        """Change: committed when the block ends, undone when it raises."""
        if self._turn is not None and not self._turn.acquire(timeout=BUSY_SECONDS):
            raise UnavailableError("the database is busy")
        try:
            with self._noting_full(), _BorrowedConnection(self._connections) as connection:
                cursor = connection.cursor()
                cursor.execute(self._begin)
                # The clock is read once the turn has come: judged earlier, something that
                # expired while this writer waited would still count as alive.
                tx = WriteTransaction(cursor, self.dialect, now or datetime.now(UTC))
                try:
                    yield tx
                    cursor.execute("COMMIT")
                except BaseException:
                    _undo(cursor, connection)
                    raise
        finally:
            if self._turn is not None:
                self._turn.release()

    @contextmanager
    def _noting_full(self) -> Iterator[None]:
        try:
            yield
        except StorageFullError:
            self._was_full = True
            raise

    def check_room(self, *, now: bool = False) -> None:
        """Write something, if anything hints at a full disk or nobody has looked for a while.

        Args:
            now: look, whatever is known.

        Raises:
            Full: there is no room left.
            Unavailable: nothing can be written for another reason.
        """
        if not self._connections.has_room():
            raise StorageFullError("the disk has no room left")
        is_due = not self.is_sqlite and time.monotonic() - self._looked > _LOOK_SECONDS
        if now or self._was_full or is_due:
            try:
                with self.write() as tx:
                    for line in _WRITE_SQLITE if self.is_sqlite else _WRITE_POSTGRESQL:
                        tx._cursor.execute(line)  # noqa: SLF001 - of this module
            except psycopg.InternalError as error:  # a server that only reads, as a copy does
                raise UnavailableError(first_line(error)) from error
            self._looked, self._was_full = time.monotonic(), False

    def check_writable(self) -> None:
        """Go as far as one can towards writing without doing it.

        Raises Unavailable when nothing can be written.
        """
        try:
            with self.write() as tx:
                tx._cursor.execute("UPDATE outbox SET error = error WHERE id < 0")  # noqa: SLF001 - of this module
        except psycopg.InternalError as error:  # a server that only reads, as a copy does
            raise UnavailableError(first_line(error)) from error

    def optimize(self) -> None:
        """Let SQLite do for itself what PostgreSQL does unasked.

        It learns how its rows are spread (``statistics``). And it puts the pieces of the indexes of
        texts together, a bounded part of them each time and with room for writers in between: of
        each piece every search reads.
        """
        if not self.is_sqlite:
            return
        with self.write() as tx:
            statistics.gather(tx._cursor)  # noqa: SLF001 - of this module
            for line in _READ_ANEW:
                tx._cursor.execute(line)  # noqa: SLF001 - of this module
        self._tended = self._size()
        for index in ("account_search", "invitation_search"):
            if not self._merge(index, _PAGES) and self._pieces(index) > _PIECES:
                self._merge(index, -_PAGES)  # less than none: all of them, not only those alike
            for _ in range(_PARTS):
                if not self._merge(index, _PAGES):
                    break

    def has_grown(self) -> bool:
        """Tell whether a SQLite database has become so much larger that plans may be wrong now.

        What was true of ten thousand accounts need not be of a hundred thousand.
        """
        return self.is_sqlite and self._size() > 2 * self._tended + _YOUNG

    def _size(self) -> int:
        with self.read() as tx:
            tx._cursor.execute(_SIZE)  # noqa: SLF001 - our own words, of this module
            return int(tx._cursor.fetchone()[0])  # noqa: SLF001 - of this module

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


class _BorrowedConnection:
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
            raise self._connections.outage(error) from error
        if is_closed_by_server(self.connection):
            self._connections.drop(self.connection)
        else:
            self._connections.give(self.connection)


class _ReadContext(_BorrowedConnection):
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

    def __enter__(self) -> ReadTransaction:
        self._cursor = super().__enter__().cursor()
        if self._turn is not None:
            self._in_turn = self._turn.acquire(timeout=_READER_SECONDS)
            try:
                # One moment, and one lock of the file, for all that is asked.
                self._cursor.execute("BEGIN")
            except BaseException as error:
                self.__exit__(type(error), error, None)
                raise
        return ReadTransaction(self._cursor, self._dialect, self._now or datetime.now(UTC))

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
