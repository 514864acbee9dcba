"""The baseline program of the benchmark writes the same rows as the service."""

import json
from collections.abc import Callable
from contextlib import closing
from itertools import islice

from bench import data, writing
from bench.baseline import Baseline, PostgreSQL, SQLite
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


def _scopes_of(site: Site, who: int) -> set[str]:
    response = site.get("/api/users/me/", data.token_of(who))
    return {grant["scope_uuid"] for grant in response.json()["permissions"]}


def test_baseline_writes_the_same_rows_as_the_service(
    database: Database, url: str, make_settings: Callable[..., Settings]
) -> None:
    data.fill(database, SIZE)
    actions = writing.Operations(database, SIZE, 10)
    recorded_operations = writing.recorded_operations(url, actions)
    vault = Vault(data.SECRET_KEY)
    sqlite = url.startswith("sqlite")
    with (
        closing(SQLite(url) if sqlite else PostgreSQL(url)) as own_database,
        closing(Site(make_settings(secret_key=data.SECRET_KEY), database, vault)) as site,
    ):
        baseline = Baseline(own_database, vault, recorded_operations)
        for action in ("create", "accept", "approve"):
            for_service, for_baseline = islice(actions.all(action), 3, 5)
            before = _counts(database)
            path, who, body = for_service
            response = site.post(path, data.token_of(who), json=body, headers={"Host": HOST})
            between = _counts(database)
            added = {name: between[name] - before[name] for name in between}
            path, who, body = for_baseline
            scopes = _scopes_of(site, who)
            content = b"" if body is None else json.dumps(body).encode()
            status, text = baseline.write(path, content, data.token_of(who))
            assert (status, len(text)) == (response.status_code, len(response.content)), action
            after = _counts(database)
            assert {name: after[name] - between[name] for name in after} == added, action
            assert sum(added.values()) >= 3, action
            assert len(_scopes_of(site, who) - scopes) == (action == "accept"), action
