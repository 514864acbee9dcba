"""Read and write transactions on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

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
    is_unusable,
)
from collegium.db.statements import CompiledStatement, Row, Statement

__all__ = ("StorageFullError", "UnavailableError")
from collections.abc import Iterator
from contextlib import AbstractContextManager

from sqlalchemy.engine import Dialect

_PIECES: Final = 8
"""Number of segments of a full-text index above which all of them are merged."""

_PAGES: Final = 64
_PARTS: Final = 400
"""Maximum merge passes per run; each merges 64 pages in a few milliseconds."""

_LOOK_SECONDS: Final = 60.0
"""Seconds for which a PostgreSQL server that had free disk space is not checked again."""

_WRITE_SQLITE: Final = ("PRAGMA user_version = 0",)
"""Rewrite the first page of the file. Nothing reads this number."""

_WRITE_POSTGRESQL: Final = (
    """
    SELECT lo_unlink(lo_from_bytea(0, convert_to(filling, 'UTF8')))
    FROM (SELECT string_agg(md5(n::text), '') AS filling FROM generate_series(1, 4000) AS n) AS made
    """,
)
"""Allocate some pages on the disk of the database, and free them again."""

_REREAD_SCHEMA: Final = ("CREATE TABLE read_anew (id INTEGER)", "DROP TABLE read_anew")
"""Change the schema, because other connections load new statistics only with the schema."""

_SIZE: Final = "SELECT " + " + ".join(
    f"(SELECT coalesce(max(id), 0) FROM {table})"
    for table in ("accounts", "scopes", "grants", "invitations")
)
_YOUNG: Final = 100
"""Rows that a database may grow by, beyond twice its size, before statistics are gathered again."""

_READER_SECONDS: Final = 0.005
"""How long a reader of SQLite waits for another one: one switch interval of the interpreter."""


class UniqueViolationError(Exception):
    """A unique constraint was violated. The caller knows which one its statement can violate."""


class ForeignKeyViolationError(UnavailableError):
    """A foreign key was violated: a row is still referenced, or a referenced row was just deleted.

    When the request is repeated, it sees the current rows.
    """


class ReadTransaction:
    """A connection for reading, and the time that counts as now.

    On SQLite all statements see the same snapshot. On PostgreSQL each statement sees the rows that
    were committed when it started.
    """

    __slots__ = ("_cursor", "_dialect", "cache", "now", "statements")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self.now = now
        self.statements = 0
        self.cache: dict[Any, Any] = {}
        """Results of earlier look-ups that stay valid for the whole transaction."""

    @property
    def backend(self) -> str:
        """Return ``sqlite`` or ``postgresql``, for the few statements that differ."""
        return self._dialect.name

    def _execute(self, statement: Statement, given: dict[str, Any]) -> CompiledStatement:
        compiled = statement.compiled(self._dialect)
        self.statements += 1
        try:
            if statement.replan and self.backend == "postgresql":
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

    def fetch_all(self, statement: Statement, **given: Any) -> list[Row]:
        """Return all rows."""
        compiled = self._execute(statement, given)
        return compiled.rows(self._cursor.fetchall())

    def fetch_one(self, statement: Statement, **given: Any) -> Row | None:
        """Return the first row, or None."""
        compiled = self._execute(statement, given)
        line = self._cursor.fetchone()
        return None if line is None else compiled.rows([line])[0]

    def scalar(self, statement: Statement, **given: Any) -> Any:
        """Return the first value of the first row, or None."""
        row = self.fetch_one(statement, **given)
        return None if row is None else row[0]


class WriteTransaction(ReadTransaction):
    """A write transaction. The code that opens it commits everything, or nothing after an error."""

    __slots__ = ("mail_enqueued", "request")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        super().__init__(cursor, dialect, now)
        self.mail_enqueued = False
        """Whether an e-mail was queued. If so, the worker must be woken after the commit."""
        self.request = ""
        """Id of the request that opened the transaction, or "".

        Queued e-mails carry it for tracing.
        """

    def execute(self, statement: Statement, **given: Any) -> int:
        """Execute a statement. Return the number of affected rows."""
        self._execute(statement, given)
        return int(self._cursor.rowcount)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Roll back only the block if it raises, so that the transaction can go on."""
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
    """A database with its pool of connections.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        size: connections that are kept open. Further ones are opened under load and closed when
            they have been idle for some time.
    """

    def __init__(self, url: str, size: int = 8) -> None:
        self._connections = Connections(url, size)
        self.engine = self._connections.engine
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # Both drivers use named parameters, so the same dictionary of parameters serves both.
        self.dialect: Dialect = (
            sqlite_dialect.dialect(paramstyle="named", json_deserializer=msgspec.json.decode)
            if self.is_sqlite
            else self.engine.dialect
        )
        self._begin = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"
        # SQLite's own busy handler sleeps and polls. With this lock the next writer of the same
        # process starts at once. Writers of other processes are still excluded by BEGIN IMMEDIATE.
        self._turn = threading.Lock() if self.is_sqlite else None
        self._was_full = False
        self._looked = time.monotonic()
        self._tended = 0
        # With each row SQLite releases the interpreter lock and takes it again. If other threads
        # want it, that costs more than reading the row. So readers wait for each other here, but
        # only briefly if one of them takes long.
        self._readers = threading.RLock() if self.is_sqlite else None
        # PostgreSQL works while we wait for it. So several threads may read at once, each with one
        # of the connections that are kept open.
        self._gate = self._readers or threading.BoundedSemaphore(size)

    def close(self) -> None:
        """Close all idle connections."""
        self._connections.close()

    def outage(self, error: Exception) -> UnavailableError:
        """Return the exception for an error of the driver."""
        return self._connections.outage(error)

    def read(self, now: datetime | None = None) -> AbstractContextManager[ReadTransaction]:
        """Open a block that reads. Nothing can be changed through it."""
        return _ReadContext(self._connections, self.dialect, now, self._readers)

    def read_slot(self) -> ReadSlot:
        """Return a read slot for one request."""
        return ReadSlot(self._gate)

    @contextmanager
    def write(self, now: datetime | None = None) -> Iterator[WriteTransaction]:
        """Open a write transaction.

        Commit at the end of the block, or roll back if the block raises.

        Raises:
            UnavailableError: another writer did not finish in time, or there is no connection.
            StorageFullError: the disk is full.
        """
        if self._turn is not None and not self._turn.acquire(timeout=BUSY_SECONDS):
            raise UnavailableError("the database is busy")
        try:
            with self._noting_full(), _BorrowedConnection(self._connections) as connection:
                cursor = connection.cursor()
                cursor.execute(self._begin)
                # Read the clock after the lock is held. With an earlier time, something that
                # expired while this writer waited would still count as valid.
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
        """Write a test value if the disk may be full, or if the last check was some time ago.

        Args:
            now: check in any case.

        Raises:
            StorageFullError: the disk has no free space.
            UnavailableError: writing fails for another reason.
        """
        if not self._connections.has_room():
            raise StorageFullError("the disk is full")
        is_due = not self.is_sqlite and time.monotonic() - self._looked > _LOOK_SECONDS
        if now or self._was_full or is_due:
            try:
                with self.write() as tx:
                    for line in _WRITE_SQLITE if self.is_sqlite else _WRITE_POSTGRESQL:
                        tx._cursor.execute(line)  # noqa: SLF001 - of this module
            except psycopg.InternalError as error:  # the server is read-only, for example a replica
                raise UnavailableError(first_line(error)) from error
            self._looked, self._was_full = time.monotonic(), False

    def check_writable(self) -> None:
        """Try an update that matches no row.

        Raises:
            UnavailableError: the database cannot be written.
        """
        try:
            with self.write() as tx:
                tx._cursor.execute("UPDATE outbox SET error = error WHERE id < 0")  # noqa: SLF001 - of this module
        except psycopg.InternalError as error:  # the server is read-only, for example a replica
            raise UnavailableError(first_line(error)) from error

    def optimize(self) -> None:
        """Do for SQLite what PostgreSQL does by itself.

        Gather statistics about how values are distributed (``statistics``). Merge the segments of
        the full-text indexes, because every search reads each segment. One run merges a bounded
        part, in short transactions, so that writers can run in between.
        """
        if not self.is_sqlite:
            return
        with self.write() as tx:
            statistics.gather(tx._cursor)  # noqa: SLF001 - of this module
            for line in _REREAD_SCHEMA:
                tx._cursor.execute(line)  # noqa: SLF001 - of this module
        self._tended = self._size()
        for index in ("account_search", "invitation_search"):
            if not self._merge(index, _PAGES) and self._pieces(index) > _PIECES:
                self._merge(index, -_PAGES)  # negative: merge segments of all levels
            for _ in range(_PARTS):
                if not self._merge(index, _PAGES):
                    break

    def has_grown(self) -> bool:
        """Return whether a SQLite database has grown so much that its query plans may be wrong.

        A plan that is right for ten thousand accounts may be wrong for a hundred thousand.
        """
        return self.is_sqlite and self._size() > 2 * self._tended + _YOUNG

    def _size(self) -> int:
        with self.read() as tx:
            tx._cursor.execute(_SIZE)  # noqa: SLF001 - constant SQL, of this module
            return int(tx._cursor.fetchone()[0])  # noqa: SLF001 - of this module

    def _pieces(self, index: str) -> int:
        with self.read() as tx:
            tx._cursor.execute(f"SELECT count(DISTINCT segid) FROM {index}_idx")  # noqa: SLF001 - constant SQL, of this module
            return int(tx._cursor.fetchone()[0])  # noqa: SLF001 - of this module

    def _merge(self, index: str, pages: int) -> bool:
        """Merge some pages of a full-text index. Return whether anything was merged."""
        with self.write() as tx:
            cursor = tx._cursor  # noqa: SLF001 - of this module
            before = cursor.connection.total_changes
            cursor.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', {pages})")
            # SQLite counts the inserted command row itself as one change.
            return bool(cursor.connection.total_changes - before > 1)


class _BorrowedConnection:
    """Borrow a connection for a block. A connection that failed is closed instead of reused."""

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
        if is_unusable(self.connection):
            self._connections.drop(self.connection)
        else:
            self._connections.give(self.connection)


class _ReadContext(_BorrowedConnection):
    """Borrow a connection for a block that reads."""

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
                # One snapshot and one file lock for all statements of the block.
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
