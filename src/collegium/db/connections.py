"""Open connections to one database, kept for the next request.

Few lines of our own instead of SQLAlchemy's pool: borrowing and giving back through that one took
half as long as everything that is asked for ``users/me``, and its question whether a connection
still lives is a round trip before each request.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from psycopg.adapt import Loader
from psycopg.types.json import set_json_loads
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

BUSY_SECONDS: Final = 10
"""How long one waits for a SQLite writer, or a free connection, before being told to come back."""

_MOST: Final = 40
"""Connections that one process has open at most."""

_LOOK_SECONDS: Final = 0.02
"""How often whoever waits looks whether somebody gave one back."""

_TRUST_SECONDS: Final = 1.0
"""A connection that was in use so short a time ago is not asked whether it still lives."""

_TURN_SECONDS: Final = 2.0
"""How long a request waits for others that ask; longer than all threads of a process take."""

_IDLE_SECONDS: Final = 10.0
"""So long one beyond those that are kept waits to be used again: to open one takes milliseconds."""

_ROOM: Final = 1024 * 1024
"""Bytes that a disk must have left, lest it count as full: less is gone with the next writes."""

_FIRST_BYTE: Final = 0xFF

_STATEMENTS: Final = 500
"""Prepared statements that a connection keeps; both drivers keep about a hundred by themselves."""


class UnavailableError(Exception):
    """The database cannot be reached or is too busy; the same request may succeed later."""


class StorageFullError(UnavailableError):
    """The disk of the database is full; nothing is stored until somebody makes room."""


class ReadSlot:
    """The place of one request among those that ask at once; it is taken once at most.

    Threads that run at once take the interpreter from each other with each row. With thirty of
    them a process answered a third of what it answers when they wait here, with a hundred next to
    nothing.

    Args:
        gate: a lock or a semaphore, which lets as many through as may ask at once.
    """

    __slots__ = ("_gate", "_is_taken", "_was_wanted")

    def __init__(self, gate: Any) -> None:
        self._gate = gate
        self._is_taken = False
        self._was_wanted = False

    def acquire(self) -> None:
        """Wait until it is one's turn; or two seconds, lest all wait for one that takes long."""
        if not self._was_wanted:
            self._was_wanted = True
            self._is_taken = self._gate.acquire(timeout=_TURN_SECONDS)

    def release(self) -> None:
        """Let the next one ask."""
        if self._is_taken:
            self._is_taken = False
            self._gate.release()


class Connections:
    """A pool.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        size: connections kept open; further ones are made under load, and closed some time after.
    """

    def __init__(self, url: str, size: int) -> None:
        self.engine = _engine(url)
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._folder = Path(self.engine.url.database or "").parent if is_sqlite else None
        self._size = size
        # Used last, taken first: what is not needed cools down at the bottom.
        self._idle: list[tuple[Any, float]] = []
        # One place for each that is open, whether it is in use or not.
        self._room = BoundedSemaphore(_MOST)

    def take(self) -> Any:
        """Give a connection of the driver to whoever will ``give`` or ``drop`` it.

        Raises: Unavailable when there is none to be had.
        """
        ends = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                if self._room.acquire(timeout=_LOOK_SECONDS):
                    return self._open()
                if time.monotonic() > ends:
                    raise UnavailableError("all connections are in use") from None
                continue
            if time.monotonic() - since < _TRUST_SECONDS or _is_alive(connection):
                return connection
            self._close(connection)

    def give(self, connection: Any) -> None:
        """Take back a connection that is in order, and in no transaction."""
        now = time.monotonic()
        self._idle.append((connection, now))
        if len(self._idle) > self._size:
            self._cool(now)

    def drop(self, connection: Any) -> None:
        """Take back a connection that went wrong. Those that wait may have gone the same way."""
        self._close(connection)
        self.close()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            try:
                connection, _ = self._idle.pop()
            except IndexError:
                break
            self._close(connection)

    def _cool(self, now: float) -> None:
        """Close the one at the bottom when nobody has needed it for long."""
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
            self._room.release()
            told = getattr(error, "orig", error)
            if isinstance(told, OUTAGES):
                raise self.outage(told) from error
            raise
        return connection

    def _close(self, connection: Any) -> None:
        with suppress(sqlite3.Error, psycopg.Error):
            connection.close()
        self._room.release()

    def outage(self, error: Exception) -> UnavailableError:
        """Say what a driver's error means: the disk is full, or anything else."""
        said = first_line(error)
        if isinstance(error, psycopg.errors.DiskFull):
            return StorageFullError(said)
        code = getattr(error, "sqlite_errorcode", 0)
        # What SQLite keeps beside the database cannot be made on a full disk either.
        is_odd = code & _FIRST_BYTE in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
        if code == sqlite3.SQLITE_FULL or (is_odd and not self.has_room()):
            return StorageFullError(said)
        return UnavailableError(said)

    def has_room(self) -> bool:
        """Tell whether the disk of a SQLite file has room; of a server nobody here knows."""
        if self._folder is None:
            return True
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return True
        return disk.f_bavail * disk.f_frsize >= _ROOM


OUTAGES: Final = (sqlite3.OperationalError, psycopg.OperationalError)


def first_line(error: Exception) -> str:
    """Give what a driver's error says first; the rest is for its developers."""
    return (str(getattr(error, "orig", error)).splitlines() or ["no reason given"])[0]


def _is_alive(connection: Any) -> bool:
    if isinstance(connection, sqlite3.Connection):
        return True
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def is_closed_by_server(connection: Any) -> bool:
    """Tell whether a connection is closed, or still in a transaction that nobody could end."""
    if not isinstance(connection, sqlite3.Connection):
        return bool(connection.closed)
    try:
        return connection.in_transaction
    except sqlite3.ProgrammingError:
        return True


def _engine(url: str) -> Engine:
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        engine = create_engine(
            address,
            poolclass=NullPool,
            connect_args={
                "check_same_thread": False,
                "timeout": BUSY_SECONDS,
                "cached_statements": _STATEMENTS,
            },
        )
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={"autocommit": True, "connect_timeout": 5},
    )
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


class _HexLoader(Loader):
    """Reads a PostgreSQL UUID as the 32 hex digits that we speak everywhere."""

    def load(self, data: Any) -> str:
        return bytes(data).decode().replace("-", "")


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    raw = connection
    raw.isolation_level = None
    raw.create_function("casefold", 1, _casefold, deterministic=True)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "cache_size=-8000",  # kB; a worker is to need no more of it for more accounts
        "temp_store=MEMORY",
    ):
        raw.execute(f"PRAGMA {pragma}")


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _prepare_postgresql(connection: DBAPIConnection, _record: object) -> None:
    raw: Any = connection
    raw.adapters.register_loader("uuid", _HexLoader)
    raw.prepared_max = _STATEMENTS
    set_json_loads(msgspec.json.decode, raw)
    raw.execute("SET TIME ZONE 'UTC'")
    # Compiling a statement takes longer than any of ours should run.
    raw.execute("SET jit = off")
    # What is asked often is in memory, where the next row costs hardly more than the one beside it.
    raw.execute("SET random_page_cost = 1.1")
    raw.execute("SET lock_timeout = '10s'")
    raw.execute("SET idle_in_transaction_session_timeout = '60s'")
