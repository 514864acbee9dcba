"""A database of an earlier release, with people in it, is brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from alembic import command
from sqlalchemy import text

from collegium.store import schema
from collegium.store.db import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'old.db'}")
        yield database
        database.close()
        return
    server = request.getfixturevalue("postgresql")
    url = server.new(migrated=False)
    database = Database(url)
    yield database
    database.close()
    server.drop(url)


def test_the_accounts_of_the_first_schema_can_be_found_after_the_upgrade(empty: Database) -> None:
    config = schema._config()
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO accounts (uuid, username, slug, email, first_name, last_name,"
                " affiliations, joined, modified) VALUES ('12345678123456781234567812345678',"
                " 'ada', 'ada', 'ada@example.org', 'Ada', 'Jürimäe', '[]',"
                " '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000')"
            )
        )
        connection.exec_driver_sql("COMMIT")
    assert schema.standing(empty) is schema.Standing.BEHIND
    schema.migrate(empty)
    assert schema.standing(empty) is schema.Standing.CURRENT
    found = (
        "SELECT username FROM accounts WHERE id IN"
        " (SELECT rowid FROM account_search WHERE account_search MATCH '\"jürimäe\"')"
        if empty.is_sqlite
        else "SELECT username FROM accounts"
        " WHERE collegium_trigrams(search) @> collegium_trigrams('jürimäe')"
    )
    with empty.engine.connect() as connection:
        assert connection.execute(text(found)).scalars().all() == ["ada"]


def test_an_upgrade_that_fails_half_way_leaves_the_old_schema(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_values: object) -> str:
        raise RuntimeError("the disk is full")

    config = schema._config()
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO accounts (uuid, username, slug, email, affiliations, joined, modified)"
                " VALUES ('12345678123456781234567812345678', 'ada', 'ada', 'a@example.org', '[]',"
                " '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000')"
            )
        )
        connection.exec_driver_sql("COMMIT")
    with monkeypatch.context() as patch:
        patch.setattr("collegium.store.search.text_of", broken)
        with pytest.raises(RuntimeError):
            schema.migrate(empty)
    assert schema.standing(empty) is schema.Standing.BEHIND
    schema.migrate(empty)
    assert schema.standing(empty) is schema.Standing.CURRENT
