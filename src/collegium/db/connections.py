"""Pool of open database connections, reused by later requests.

This replaces SQLAlchemy's pool. Checking a connection out and in there took half as long as all
queries of ``users/me``, and its liveness check costs a round trip before each request.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Final

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

BUSY_SECONDS: Final = 10
"""Longest wait in seconds for a SQLite writer or a free connection before ``UnavailableError``."""

_MAX_CONNECTIONS: Final = 40
"""Maximum number of open connections of one process."""

_POLL_SECONDS: Final = 0.02
"""Polling interval in seconds while waiting for a free connection."""

_LIVENESS_SECONDS: Final = 1.0
"""A connection that was used so few seconds ago is reused without a liveness check."""

_SLOT_SECONDS: Final = 2.0
"""Longest wait in seconds for a read slot; longer than all threads of a process take together."""

_IDLE_SECONDS: Final = 10.0
"""Seconds after which an idle connection beyond the pool size is closed.

Opening a connection takes milliseconds, so it is kept a while for reuse.
"""

_MIN_FREE_BYTES: Final = 1024 * 1024
"""Bytes of free disk space below which the disk counts as full.

The next writes would use them up.
"""

_PRIMARY_CODE_MASK: Final = 0xFF

_DISK_FULL_CODE: Final = "53100"
"""SQLSTATE of a PostgreSQL server whose disk is full."""

_SHUTDOWN_CODES: Final = {"57P01", "57P02", "57P03"}
"""Codes of a PostgreSQL server that shuts down, has crashed, or is starting up."""

INSUFFICIENT_PRIVILEGE: Final = "42501"
"""SQLSTATE of a statement that the role of the service may not execute."""

CACHED_STATEMENTS: Final = 500
"""Prepared statements that a connection caches. By default both drivers cache about a hundred."""


class UnavailableError(Exception):
    """The database cannot be reached or is too busy. The same request may succeed later."""


class StorageFullError(UnavailableError):
    """The disk of the database is full. Writes fail until somebody frees space."""


class DisconnectedError(UnavailableError):
    """The database server does not run, is starting, or cannot be reached; or there is no file."""


class ReadSlot:
    """Permission to read from the database, for one request. It is acquired once at most.

    Threads that read at the same time take the interpreter lock from each other with each row. With
    thirty of them a process answered a third of the requests that it answers when they wait here.
    With a hundred it answered next to nothing.

    Args:
        semaphore: a lock or semaphore that admits as many readers as may run at once.
    """

    __slots__ = ("_is_taken", "_semaphore", "_was_requested")

    def __init__(self, semaphore: Any) -> None:
        self._semaphore = semaphore
        self._is_taken = False
        self._was_requested = False

    def acquire(self) -> None:
        """Wait for the slot, two seconds at most; one slow reader must not stop all others."""
        if not self._was_requested:
            self._was_requested = True
            self._is_taken = self._semaphore.acquire(timeout=_SLOT_SECONDS)

    def release(self) -> None:
        """Release the slot, so that the next request can read."""
        if self._is_taken:
            self._is_taken = False
            self._semaphore.release()


class Connections:
    """A connection pool.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        size: connections that are kept open. Further ones are opened under load and closed when
            they have been idle for some time.
    """

    def __init__(self, url: str, size: int) -> None:
        self.engine = _create_engine(url)
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._folder = Path(self.engine.url.database or "").parent if is_sqlite else None
        self._size = size
        # A stack: the connection used last is reused first. Connections that are not needed stay at
        # the bottom and can be closed.
        self._idle: list[tuple[Any, float]] = []
        # Counts all open connections, in use or idle.
        self._capacity = BoundedSemaphore(_MAX_CONNECTIONS)

    def acquire(self) -> Any:
        """Return a connection of the driver.

        The caller must hand it back with ``release`` or ``discard``.

        Raises:
            UnavailableError: no connection became free in time, or none can be opened.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection, released_at = self._idle.pop()
            except IndexError:
                if self._capacity.acquire(timeout=_POLL_SECONDS):
                    return self._open()
                if time.monotonic() > deadline:
                    raise UnavailableError("all connections are in use") from None
                continue
            if time.monotonic() - released_at < _LIVENESS_SECONDS or _is_alive(connection):
                return connection
            self._close(connection)

    def release(self, connection: Any) -> None:
        """Return a healthy connection without open transaction to the pool."""
        now = time.monotonic()
        self._idle.append((connection, now))
        if len(self._idle) > self._size:
            self._close_coldest(now)

    def discard(self, connection: Any) -> None:
        """Close a broken connection and all idle ones, which may be broken for the same reason."""
        self._close(connection)
        self.close()

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            try:
                connection, _ = self._idle.pop()
            except IndexError:
                break
            self._close(connection)

    def _close_coldest(self, now: float) -> None:
        """Close the connection that has been idle longest, if it exceeds ``_IDLE_SECONDS``."""
        try:
            coldest = self._idle.pop(0)
        except IndexError:
            return
        if now - coldest[1] < _IDLE_SECONDS:
            self._idle.insert(0, coldest)
        else:
            self._close(coldest[0])

    def _open(self) -> Any:
        try:
            proxied = self.engine.raw_connection()
            connection = proxied.dbapi_connection
            proxied.detach()
        except BaseException as error:
            self._capacity.release()
            cause = getattr(error, "orig", error)
            if isinstance(cause, driver_errors("OperationalError")):
                raise self.outage(cause) from error
            raise
        if self._folder is None:
            from collegium.db import postgresql  # noqa: PLC0415 - loads psycopg

            postgresql.leave_as_text(connection)
        return connection

    def _close(self, connection: Any) -> None:
        with suppress(*driver_errors()):
            connection.close()
        self._capacity.release()

    def outage(self, error: Exception) -> UnavailableError:
        """Return the exception for a driver's error: disk full, disconnected, or unavailable."""
        message = first_line(error)
        is_postgresql = hasattr(error, "sqlstate")
        sqlstate = getattr(error, "sqlstate", None)
        if sqlstate == _DISK_FULL_CODE:
            return StorageFullError(message)
        # A connection that fails or breaks has no error code: the server has sent no error.
        if is_postgresql and sqlstate in {None, *_SHUTDOWN_CODES}:
            return DisconnectedError(message)
        code = getattr(error, "sqlite_errorcode", 0)
        # On a full disk SQLite also fails to create the files that it keeps beside the database.
        # These errors look like I/O errors.
        is_io_error = code & _PRIMARY_CODE_MASK in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
        if code == sqlite3.SQLITE_FULL or (is_io_error and not self.has_free_space()):
            return StorageFullError(message)
        # Only a missing block is SQLITE_FULL. A quota or a limit of file size is a failed write.
        if code == sqlite3.SQLITE_IOERR_WRITE:
            return StorageFullError(f"{message} (a quota, a limit of file size, or a broken disk)")
        if code == sqlite3.SQLITE_CANTOPEN:
            return DisconnectedError(message)
        return UnavailableError(message)

    def has_free_space(self) -> bool:
        """Return whether the disk of a SQLite file has free space.

        For PostgreSQL the answer is always True, because the disk of the server is not visible
        here.
        """
        if self._folder is None:
            return True
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return True
        return disk.f_bavail * disk.f_frsize >= _MIN_FREE_BYTES


def driver_errors(name: str = "Error") -> tuple[type[Exception], ...]:
    """Return an exception class of the database drivers that are loaded.

    A process that uses SQLite does not load psycopg, which takes 10 MB of memory. So nothing can
    raise its errors there.

    Args:
        name: Name of the class in DB-API 2.0 (PEP 249), for example ``OperationalError``.
    """
    psycopg = sys.modules.get("psycopg")
    drivers = (sqlite3,) if psycopg is None else (sqlite3, psycopg)
    return tuple(getattr(driver, name) for driver in drivers)


def first_line(error: Exception) -> str:
    """Return the first line of a driver's error. The other lines only help developers."""
    return (str(getattr(error, "orig", error)).splitlines() or ["no reason given"])[0]


def _is_alive(connection: Any) -> bool:
    if isinstance(connection, sqlite3.Connection):
        return True
    try:
        connection.execute("SELECT 1")
    except driver_errors():
        return False
    return True


def is_unusable(connection: Any) -> bool:
    """Return whether a connection must not be reused.

    True if a PostgreSQL connection is closed, or if a SQLite connection is closed or still in a
    transaction that could not be rolled back.
    """
    if not isinstance(connection, sqlite3.Connection):
        return bool(connection.closed)
    try:
        return connection.in_transaction
    except sqlite3.ProgrammingError:
        return True


def _create_engine(url: str) -> Engine:
    parsed_url = make_url(url)
    if parsed_url.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed_url,
            poolclass=NullPool,
            connect_args={
                "check_same_thread": False,
                "timeout": BUSY_SECONDS,
                "cached_statements": CACHED_STATEMENTS,
            },
        )
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    from collegium.db import postgresql  # noqa: PLC0415 - loads psycopg

    engine = create_engine(
        parsed_url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={"autocommit": True, "connect_timeout": 5},
    )
    event.listen(engine, "connect", postgresql.prepare)
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
        "cache_size=-8000",  # kB, so that the memory of a process does not grow with the database
        "temp_store=MEMORY",
    ):
        raw.execute(f"PRAGMA {pragma}")


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()
