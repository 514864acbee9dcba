"""The baseline program of the benchmark returns the same bytes as the service."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import bindparam, select

from bench import data
from bench.baseline import Baseline, PostgreSQL, SQLite
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.support.site import Site

SIZE = 400
LAYOUT = data.Layout(SIZE)
_UUID = Statement(select(accounts.c.uuid).where(accounts.c.id == bindparam("id")))


@pytest.fixture
def baseline(url: str) -> Iterator[Baseline]:
    with closing(SQLite(url) if url.startswith("sqlite") else PostgreSQL(url)) as database:
        yield Baseline(database, Vault(data.SECRET_KEY))


@pytest.fixture
def filled(database: Database) -> Database:
    data.fill(database, SIZE)
    return database


@pytest.fixture
def service(filled: Database, make_settings: Callable[..., Settings]) -> Iterator[Site]:
    settings = make_settings(secret_key=data.SECRET_KEY)
    with closing(Site(settings, filled, Vault(data.SECRET_KEY))) as site:
        yield site


def test_baseline_returns_the_same_bytes_as_the_service(
    service: Site, filled: Database, baseline: Baseline
) -> None:
    with filled.read() as tx:
        uuid = tx.scalar(_UUID, id=LAYOUT.person)
    lists = ("users", "user-invitations", "user-permission-requests")
    paths = [
        (LAYOUT.person, "/api/users/me/", b""),
        (LAYOUT.staff, f"/api/users/{uuid}/", b""),
        *(
            (who, f"/api/{name}/", query)
            for who in (LAYOUT.staff, LAYOUT.manager)
            for name in lists
            for query in (b"page_size=10", b"page_size=100", b"page_size=10&page=2")
        ),
    ]
    for who, path, query in paths:
        token = data.token_of(who)
        response = service.get(f"{path}?{query.decode()}", token)
        total, body = baseline.answer(path, query, token, "http://collegium.test", "127.0.0.1")
        assert response.status_code == 200, (path, response.text)
        assert body == response.content, (who, path)
        assert response.headers.get("x-result-count", "0") == str(total), (who, path)
        assert len(body) > 400, (who, path)
