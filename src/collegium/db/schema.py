"""Check the version of the database schema, and migrate it."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from collegium.db import statistics
from collegium.db.database import Database, UnavailableError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from alembic.config import Config

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_REVISIONS: Final = "alembic_version"
# The revisions before the first release.
_UNRELEASED: Final = frozenset(f"{number:04}" for number in range(1, 23))


class SchemaStatus(StrEnum):
    """How the schema of a database relates to this program."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"
    UNRELEASED = "unreleased"
    """It was created by a development version, whose revisions no longer exist."""


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - as in migrate

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s")
    return config


@cache
def revisions() -> tuple[str, ...]:
    """Return the known revisions, newest first.

    They come from the file names. Asking Alembic would import it and every migration, which takes a
    fifth of the start-up time of the command line.
    """
    files = (_MIGRATIONS / "versions").glob("[0-9]*_*.py")
    return tuple(sorted((file.stem for file in files), reverse=True))


def _load_revision(connection: Connection) -> str | None:
    """Return the revision of a database, or None for an empty database."""
    if not inspect(connection).has_table(_REVISIONS):
        return None
    revision = connection.exec_driver_sql(
        f"SELECT version_num FROM {_REVISIONS}"
    ).scalar_one_or_none()
    return None if revision is None else str(revision)


def status(database: Database) -> SchemaStatus:
    """Return how the schema of a database relates to this program.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    try:
        with database.engine.connect() as connection:
            revision = _load_revision(connection)
    except DBAPIError as error:
        raise _outage(database, error) from error
    if revision is None:
        return SchemaStatus.EMPTY
    if revision == revisions()[0]:
        return SchemaStatus.CURRENT
    if revision in _UNRELEASED:
        return SchemaStatus.UNRELEASED
    return SchemaStatus.BEHIND if revision in revisions() else SchemaStatus.AHEAD


def encoding(database: Database) -> str:
    """Return the encoding in which a database keeps text; the service needs ``UTF8``.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    if database.is_sqlite:
        return "UTF8"
    try:
        with database.engine.connect() as connection:
            return str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())
    except DBAPIError as error:
        raise _outage(database, error) from error


def migrate(database: Database) -> None:
    """Migrate the schema and set the expected statistics, in one transaction.

    Several processes may start at once. A lock lets one of them migrate while the others wait.

    Raises:
        UnavailableError: the database cannot be reached.
        StorageFullError: the disk is full.
    """
    from alembic import command  # noqa: PLC0415 - slow to import, and few starts migrate

    config = _config()
    try:
        with database.engine.connect() as connection:
            if database.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql("BEGIN")
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(628411)")
            try:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                cursor = connection.connection.cursor()
                (statistics.gather if database.is_sqlite else statistics.apply_expected)(cursor)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        raise _outage(database, error) from error


def migrate_in_child(database: Database) -> None:
    """Migrate as ``migrate`` does, in a child process where the system can fork.

    Alembic and the migrations take 8 MB. The processes of a server are forks of the one that
    migrates, and would keep them for ever. For SQLite only.

    Raises:
        UnavailableError: the database cannot be reached, or the child was killed.
        StorageFullError: the disk is full.
    """
    if "fork" not in get_all_start_methods():
        migrate(database)
        return
    # A connection of SQLite must not be carried across a fork.
    database.engine.dispose()
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_migrate_and_report, args=(database, sender))
    child.start()
    sender.close()
    try:
        error = receiver.recv()
    except EOFError:
        error = UnavailableError("the migration was interrupted")
    finally:
        receiver.close()
        child.join()
    if error is not None:
        raise error


def _migrate_and_report(database: Database, sender: Pipe) -> None:
    """Migrate, and send the exception or None."""
    try:
        migrate(database)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        sender.send(error)
    else:
        sender.send(None)


def _outage(database: Database, error: DBAPIError) -> UnavailableError:
    cause = error.orig if isinstance(error.orig, Exception) else error
    return database.outage(cause)
