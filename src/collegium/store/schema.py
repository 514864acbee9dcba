"""Where the schema stands, and how it is brought up to date."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from collegium.store.db import Unavailable

if TYPE_CHECKING:
    from collegium.store.db import Database


class Standing(StrEnum):
    """How the schema of a database relates to this program."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


@cache
def _revisions() -> tuple[str, ...]:
    """Give the known revisions, newest first."""
    return tuple(
        script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()
    )


def standing(database: Database) -> Standing:
    """Tell where the schema stands.

    Raises Unavailable when the database cannot be asked.
    """
    try:
        with database.engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    except DBAPIError as error:
        raise _outage(database, error) from error
    if found is None:
        return Standing.EMPTY
    if found == _revisions()[0]:
        return Standing.CURRENT
    return Standing.BEHIND if found in _revisions() else Standing.AHEAD


def migrate(database: Database) -> None:
    """Bring the schema up to date, in one transaction.

    Several programs may start at once; the lock lets one of them do it.
    """
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
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        raise _outage(database, error) from error


def _outage(database: Database, error: DBAPIError) -> Unavailable:
    told = error.orig if isinstance(error.orig, Exception) else error
    return database.outage(told)
