"""Read and write transactions on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy.dialects import sqlite as sqlite_dialect

from collegium import tracing
from collegium.db import statistics
from collegium.db.connections import (
    BUSY_SECONDS,
    INSUFFICIENT_PRIVILEGE,
    Connections,
    DisconnectedError,
    ReadSlot,
    StorageFullError,
    UnavailableError,
    driver_errors,
    first_line,
    is_unusable,
)
from collegium.db.statements import CompiledStatement, R, Statement

__all__ = ("DisconnectedError", "StorageFullError", "UnavailableError")
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from sqlalchemy.engine import Dialect

_SEGMENTS_MAX: Final = 8
"""Number of segments of a full-text index above which all of them are merged."""

_MERGE_PAGES: Final = 64
_MERGES_MAX: Final = 400
"""Maximum merge passes per run; each merges 64 pages in a few milliseconds."""

_UNIQUE_VIOLATION: Final = "23505"
_FOREIGN_KEY_VIOLATION: Final = "23503"
"""SQLSTATE of PostgreSQL, as the one above."""

_DISK_SECONDS: Final = 60.0
"""Seconds for which a PostgreSQL server that had free disk space is not checked again."""

_PROBE_SQLITE: Final = ("PRAGMA user_version = 0",)
"""Rewrite the first page of the file. Nothing reads this number."""

_PROBE_POSTGRESQL: Final = (
    """
    SELECT lo_unlink(lo_from_bytea(0, convert_to(filling, 'UTF8')))
    FROM (SELECT string_agg(md5(n::text), '') AS filling FROM generate_series(1, 4000) AS n) AS made
    """,
)
"""Allocate some pages on the disk of the database, and free them again."""

_CHANGE_SCHEMA: Final = ("CREATE TABLE read_anew (id INTEGER)", "DROP TABLE read_anew")
"""Change the schema, because other connections load new statistics only with the schema."""

_SUM_OF_LAST_IDS: Final = "SELECT " + " + ".join(
    f"(SELECT coalesce(max(id), 0) FROM {table})"
    for table in ("accounts", "scopes", "grants", "invitations")
)
_MIN_GROWTH: Final = 100
"""Rows that a database may grow by, beyond twice its size, before statistics are gathered again."""

_READER_WAIT_SECONDS: Final = 0.005
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

    def _execute(self, statement: Statement[R], parameters: dict[str, Any]) -> CompiledStatement[R]:
        compiled = statement.compiled(self._dialect)
        self.statements += 1
        values = compiled.parameters(parameters)
        execute = self._cursor.execute
        if statement.replan and self.backend == "postgresql":
            execute = partial(execute, prepare=False)
        try:
            if tracing.is_on():
                with tracing.statement_span(self.backend, compiled.text):
                    execute(compiled.text, values)
            else:
                execute(compiled.text, values)
        except driver_errors("IntegrityError") as error:
            raise _violation(error) from error
        return compiled

    def fetch_all(self, statement: Statement[R], **parameters: Any) -> list[R]:
        """Return all rows."""
        compiled = self._execute(statement, parameters)
        return compiled.rows(self._cursor.fetchall())

    def fetch_one(self, statement: Statement[R], **parameters: Any) -> R | None:
        """Return the first row, or None."""
        compiled = self._execute(statement, parameters)
        values = self._cursor.fetchone()
        return None if values is None else compiled.rows([values])[0]

    def fetch_only(self, statement: Statement[R], **parameters: Any) -> R:
        """Return the first row of a statement that always returns one, such as a count."""
        compiled = self._execute(statement, parameters)
        return compiled.rows([self._cursor.fetchone()])[0]


class WriteTransaction(ReadTransaction):
    """A write transaction. The code that opens it commits everything, or nothing after an error."""

    __slots__ = ("is_bulk", "mail_enqueued", "request")

    def __init__(self, cursor: Any, dialect: Dialect, now: datetime) -> None:
        super().__init__(cursor, dialect, now)
        self.mail_enqueued = False
        """Whether an e-mail was queued. If so, the worker must be woken after the commit."""
        self.is_bulk = False
        """Whether nobody waits for its e-mails: those of all other transactions are sent first."""
        self.request = ""
        """Id of the request that opened the transaction, or "".

        Queued e-mails carry it for tracing.
        """

    def execute(self, statement: Statement[Any], **parameters: Any) -> int:
        """Execute a statement. Return the number of affected rows."""
        self._execute(statement, parameters)
        return int(self._cursor.rowcount)

    def execute_many(self, statement: Statement[R], rows: Iterable[dict[str, Any]]) -> list[R]:
        """Execute a statement once for each row of parameters, without waiting in between.

        The driver of PostgreSQL sends all rows together. Return what the statements return, in
        order.
        """
        compiled = statement.compiled(self._dialect)
        parameters = [compiled.parameters(row) for row in rows]
        if not parameters:
            return []
        self.statements += 1
        returned: list[Any] = []
        has_rows = compiled.has_rows
        try:
            # SQLite returns the rows of single statements alone. There is nobody to wait for.
            if has_rows and (len(parameters) == 1 or self.backend == "sqlite"):
                for values in parameters:
                    self._cursor.execute(compiled.text, values)
                    returned += self._cursor.fetchall()
            elif has_rows:
                self._cursor.executemany(compiled.text, parameters, returning=True)
                returned += self._cursor.fetchall()
                while self._cursor.nextset():
                    returned += self._cursor.fetchall()
            else:
                self._cursor.executemany(compiled.text, parameters)
        except driver_errors("IntegrityError") as error:
            raise _violation(error) from error
        return compiled.rows(returned)

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


def _violation(error: Exception) -> Exception:
    """Return what an error of the driver about a constraint means to callers."""
    if _is_unique_violation(error):
        return UniqueViolationError(str(error))
    if _is_foreign_key_violation(error):
        return ForeignKeyViolationError("rows that belong together are changing")
    return error


def _is_unique_violation(error: Exception) -> bool:
    if isinstance(error, sqlite3.IntegrityError):
        return error.sqlite_errorcode in {
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        }
    return getattr(error, "sqlstate", "") == _UNIQUE_VIOLATION


def _is_foreign_key_violation(error: Exception) -> bool:
    if isinstance(error, sqlite3.IntegrityError):
        return error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    return getattr(error, "sqlstate", "") == _FOREIGN_KEY_VIOLATION


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
        self._writer_lock = threading.Lock() if self.is_sqlite else None
        self._was_full = False
        self._disk_checked_at = time.monotonic()
        self._optimized_rows = 0
        # With each row SQLite releases the interpreter lock and takes it again. If other threads
        # want it, that costs more than reading the row. So readers wait for each other here, but
        # only briefly if one of them takes long.
        self._reader_lock = threading.RLock() if self.is_sqlite else None
        # PostgreSQL works while we wait for it. So several threads may read at once, each with one
        # of the connections that are kept open.
        self._read_semaphore = self._reader_lock or threading.BoundedSemaphore(size)

    def close(self) -> None:
        """Close all idle connections."""
        self._connections.close()

    def outage(self, error: Exception) -> UnavailableError:
        """Return the exception for an error of the driver."""
        return self._connections.outage(error)

    def read(self, now: datetime | None = None) -> AbstractContextManager[ReadTransaction]:
        """Open a block that reads. Nothing can be changed through it."""
        return _ReadContext(self._connections, self.dialect, now, self._reader_lock)

    def read_slot(self) -> ReadSlot:
        """Return a read slot for one request."""
        return ReadSlot(self._read_semaphore)

    @contextmanager
    def write(self, now: datetime | None = None) -> Iterator[WriteTransaction]:
        """Open a write transaction.

        Commit at the end of the block, or roll back if the block raises.

        Raises:
            UnavailableError: another writer did not finish in time, or there is no connection.
            StorageFullError: the disk is full.
        """
        if self._writer_lock is not None and not self._writer_lock.acquire(timeout=BUSY_SECONDS):
            raise UnavailableError("the database is busy")
        try:
            with self._record_full_disk(), _BorrowedConnection(self._connections) as connection:
                cursor = connection.cursor()
                cursor.execute(self._begin)
                # Read the clock after the lock is held. With an earlier time, something that
                # expired while this writer waited would still count as valid.
                tx = WriteTransaction(cursor, self.dialect, now or datetime.now(UTC))
                try:
                    yield tx
                    cursor.execute("COMMIT")
                except BaseException:
                    _roll_back(cursor, connection)
                    raise
        finally:
            if self._writer_lock is not None:
                self._writer_lock.release()

    @contextmanager
    def _record_full_disk(self) -> Iterator[None]:
        try:
            yield
        except StorageFullError:
            self._was_full = True
            raise

    def check_free_space(self, *, now: bool = False) -> None:
        """Write a test value if the disk may be full, or if the last check was some time ago.

        Args:
            now: check in any case.

        Raises:
            StorageFullError: the disk has no free space.
            UnavailableError: writing fails for another reason.
        """
        if not self._connections.has_free_space():
            raise StorageFullError("the disk is full")
        is_due = not self.is_sqlite and time.monotonic() - self._disk_checked_at > _DISK_SECONDS
        if now or self._was_full or is_due:
            try:
                with self.write() as tx:
                    for statement in _PROBE_SQLITE if self.is_sqlite else _PROBE_POSTGRESQL:
                        tx._cursor.execute(statement)  # noqa: SLF001 - of this module
            except driver_errors("InternalError") as error:
                # The server is read-only, for example a replica.
                raise UnavailableError(first_line(error)) from error
            self._disk_checked_at, self._was_full = time.monotonic(), False

    def check_writable(self) -> None:
        """Try an update that matches no row.

        Raises:
            UnavailableError: the database cannot be written.
        """
        try:
            with self.write() as tx:
                tx._cursor.execute("UPDATE outbox SET error = error WHERE id < 0")  # noqa: SLF001 - of this module
        except driver_errors("InternalError") as error:
            # The server is read-only, for example a replica.
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
            for statement in _CHANGE_SCHEMA:
                tx._cursor.execute(statement)  # noqa: SLF001 - of this module
        self._optimized_rows = self._estimate_rows()
        for index in ("account_search", "invitation_search"):
            if not self._merge(index, _MERGE_PAGES) and self._count_segments(index) > _SEGMENTS_MAX:
                self._merge(index, -_MERGE_PAGES)  # negative: merge segments of all levels
            for _ in range(_MERGES_MAX):
                if not self._merge(index, _MERGE_PAGES):
                    break

    def has_grown(self) -> bool:
        """Return whether a SQLite database has grown so much that its query plans may be wrong.

        A plan that is right for ten thousand accounts may be wrong for a hundred thousand.
        """
        return self.is_sqlite and self._estimate_rows() > 2 * self._optimized_rows + _MIN_GROWTH

    def _estimate_rows(self) -> int:
        with self.read() as tx:
            tx._cursor.execute(_SUM_OF_LAST_IDS)  # noqa: SLF001 - constant SQL, of this module
            return int(tx._cursor.fetchone()[0])  # noqa: SLF001 - of this module

    def _count_segments(self, index: str) -> int:
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
        self.connection = self._connections.acquire()
        return self.connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and isinstance(error, driver_errors("OperationalError")):
            self._connections.discard(self.connection)
            raise self._connections.outage(error) from error
        if is_unusable(self.connection):
            self._connections.discard(self.connection)
        else:
            self._connections.release(self.connection)
        if (
            error is not None
            and isinstance(error, driver_errors("ProgrammingError"))
            and getattr(error, "sqlstate", None) == INSUFFICIENT_PRIVILEGE
        ):
            # A fault of the operator, as a wrong password is.
            raise UnavailableError(first_line(error)) from error


class _ReadContext(_BorrowedConnection):
    """Borrow a connection for a block that reads."""

    __slots__ = ("_cursor", "_dialect", "_holds_lock", "_now", "_reader_lock")

    def __init__(
        self,
        connections: Connections,
        dialect: Dialect,
        now: datetime | None,
        reader_lock: Any,
    ) -> None:
        super().__init__(connections)
        self._dialect = dialect
        self._now = now
        self._reader_lock = reader_lock
        self._holds_lock = False

    def __enter__(self) -> ReadTransaction:
        self._cursor = super().__enter__().cursor()
        if self._reader_lock is not None:
            self._holds_lock = self._reader_lock.acquire(timeout=_READER_WAIT_SECONDS)
            try:
                # One snapshot and one file lock for all statements of the block.
                self._cursor.execute("BEGIN")
            except BaseException as error:
                self.__exit__(type(error), error, None)
                raise
        return ReadTransaction(self._cursor, self._dialect, self._now or datetime.now(UTC))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._reader_lock is not None:
                _roll_back(self._cursor, self.connection)
            self._cursor.close()
            super().__exit__(kind, error, trace)
        finally:
            if self._holds_lock and self._reader_lock is not None:
                self._reader_lock.release()


def _roll_back(cursor: Any, connection: Any) -> None:
    try:
        cursor.execute("ROLLBACK")
    except driver_errors():
        connection.close()
