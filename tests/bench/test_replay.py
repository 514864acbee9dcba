"""What the floor of the bench writes is what the service writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

from bench import data, writing
from bench.floor import Floor, PostgreSQL, SQLite
from bench.machine import HOST
from collegium.db.database import Database
from collegium.db.tables import metadata
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.support.site import Site

SIZE = 400


def _counts(database: Database) -> dict[str, int]:
    with database.engine.connect() as connection:
        return {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in metadata.tables
        }


def _held(site: Site, who: int) -> set[str]:
    """Where somebody has a role."""
    answer = site.get("/api/users/me/", data.token_of(who))
    return {one["scope_uuid"] for one in answer.json()["permissions"]}


def test_the_floor_leaves_the_rows_that_the_service_leaves(
    database: Database, url: str, make_settings: Callable[..., Settings]
) -> None:
    data.fill(database, SIZE)
    actions = writing.Deeds(database, SIZE, 10)
    recipes = writing.recipes(url, actions)
    vault = Vault(data.SECRET_KEY)
    sqlite = url.startswith("sqlite")
    with (
        closing(SQLite(url) if sqlite else PostgreSQL(url)) as asked,
        closing(Site(make_settings(secret_key=data.SECRET_KEY), database, vault)) as site,
    ):
        floor = Floor(asked, vault, recipes)
        for action in ("create", "accept", "approve"):
            _, _, _, ours, theirs = (
                one for one, _ in zip(actions.all(action), range(5), strict=False)
            )
            before = _counts(database)
            path, who, body = ours
            headers = {"Host": HOST}
            answer = site.post(path, data.token_of(who), json=body, headers=headers)
            after = _counts(database)
            added = {name: after[name] - before[name] for name in after}
            path, who, body = theirs
            held = _held(site, who)
            sent = b"" if body is None else json.dumps(body).encode()
            status, text = floor.write(path, sent, data.token_of(who))
            assert (status, len(text)) == (answer.status_code, len(answer.content)), action
            again = _counts(database)
            assert {name: again[name] - after[name] for name in again} == added, action
            assert sum(added.values()) >= 3, action
            assert len(_held(site, who) - held) == (action == "accept"), action
