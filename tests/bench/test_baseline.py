"""The baseline program of the benchmark responds like the service and writes the same rows."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from bench import data
from bench.machine import HOST
from bench.reading import in_process
from bench.writing import ACTIONS, Operations
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, metadata

SIZE = 400
LAYOUT = data.Layout(SIZE)
_UUID = Statement[str](select(accounts.c.uuid).where(accounts.c.id == bindparam("id")))


def test_baseline_returns_the_same_bytes_as_the_service(database: Database, url: str) -> None:
    data.fill(database, SIZE)
    with database.read() as tx:
        uuid = tx.fetch_only(_UUID, id=LAYOUT.person)
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
    with in_process(url) as (service, baseline, _):
        for who, path, query in paths:
            token = data.token_of(who)
            response = service.get(f"{path}?{query.decode()}", token)
            total, body = baseline.get(path, query, token, "http://collegium.test", "127.0.0.1")
            assert response.status_code == 200, (path, response.text)
            assert body == response.content, (who, path)
            assert response.headers.get("x-result-count", "0") == str(total), (who, path)
            assert len(body) > 400, (who, path)


_RANDOM = re.compile(
    r"\b(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b"
)
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)?")


def _days(match: re.Match[str]) -> str:
    """Replace a time by the number of days until then."""
    time = datetime.fromisoformat(match[0].removesuffix("Z")).replace(tzinfo=UTC)
    return f"{round((time - datetime.now(UTC)) / timedelta(days=1))} days"


def _without_chance(text: str, known: set[str]) -> str:
    """Replace new times by days and new random strings by a word, so that two runs are equal."""
    text = _TIME.sub(lambda match: match[0] if match[0] in known else _days(match), text)
    return _RANDOM.sub(lambda match: match[0] if match[0] in known else "random", text)


def _rows(url: str) -> dict[str, list[str]]:
    """Return the rows of all tables as text."""
    with closing(Database(url, size=1)) as database, database.engine.connect() as connection:
        return {
            name: [
                " | ".join(map(str, row))
                for row in connection.exec_driver_sql(f"SELECT * FROM {name}")
            ]
            for name in metadata.tables
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database that can be copied: on PostgreSQL one that is not lent to tests."""
    if request.param == "sqlite":
        yield request.getfixturevalue("new_sqlite")
    else:
        postgresql = request.getfixturevalue("postgresql")
        own = postgresql.new()
        yield own
        postgresql.drop(own)


@pytest.fixture
def copied_url(request: pytest.FixtureRequest, url: str) -> Iterator[Callable[[], str]]:
    """Return a function that copies the database."""
    copies: list[str] = []

    def copy() -> str:
        if url.startswith("sqlite"):
            path = Path(url.removeprefix("sqlite:///"))
            data.checkpoint(path)
            return f"sqlite:///{data.copy(path, 'copy')}"
        copies.append(request.getfixturevalue("postgresql").copy(url))
        return copies[0]

    yield copy
    for one in copies:
        request.getfixturevalue("postgresql").drop(one)


def test_baseline_writes_the_same_rows_as_the_service(
    url: str, copied_url: Callable[[], str]
) -> None:
    with closing(Database(url, size=1)) as database:
        data.fill(database, SIZE)
        operations = Operations(database, SIZE, 3)
    baseline_url = copied_url()
    before = _rows(url)
    assert _rows(baseline_url) == before
    text = str(before)
    known = {*_TIME.findall(text), *_RANDOM.findall(text)}
    for action in ACTIONS:
        one = next(operations.all(action))
        with in_process(url) as (service, _, _):
            response = service.post(one.path, one.token, json=one.body, headers={"Host": HOST})
        with in_process(baseline_url) as (_, baseline, _):
            about = (one.content, one.token, f"http://{HOST}", "127.0.0.1")
            status, content = baseline.post(one.path, *about)
        assert status == response.status_code, (action, response.text)
        theirs = _without_chance(content.decode(), known)
        assert theirs == _without_chance(response.text, known), action
        ours, written = _rows(url), _rows(baseline_url)
        for name, rows in ours.items():
            expected = sorted(_without_chance(row, known) for row in rows)
            assert sorted(_without_chance(row, known) for row in written[name]) == expected, (
                action,
                name,
            )
        changed = [name for name, rows in ours.items() if rows != before[name]]
        assert {"events", "outbox"} < set(changed), action
        before = ours
