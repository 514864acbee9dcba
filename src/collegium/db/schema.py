"""Check the version of the database schema, and migrate it."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from collegium.db import statistics
from collegium.db.database import Database, UnavailableError

if TYPE_CHECKING:
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


def _outage(database: Database, error: DBAPIError) -> UnavailableError:
    cause = error.orig if isinstance(error.orig, Exception) else error
    return database.outage(cause)
