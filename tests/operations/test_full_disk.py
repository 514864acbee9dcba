"""A full disk is reported, with the errors of a full disk but without one: no mount is needed."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection

from collegium import doctor
from collegium.db.database import Database
from tests.conftest import KEY, PostgreSQL
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

CAUSE = "the disk of its database is full"
# 53100 is the code of PostgreSQL for a disk without space. The probe allocates a large object.
FILL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE 'No space left on device' USING ERRCODE = '53100'; END$$;
CREATE TRIGGER fail BEFORE INSERT ON scopes EXECUTE FUNCTION fail();
CREATE FUNCTION lo_from_bytea(integer, bytea) RETURNS oid LANGUAGE plpgsql AS
    $$BEGIN RAISE 'No space left on device' USING ERRCODE = '53100'; END$$;
"""
FREE = "DROP FUNCTION fail CASCADE; DROP FUNCTION public.lo_from_bytea"


@pytest.fixture
def url(request: pytest.FixtureRequest, new_sqlite: str, postgresql: PostgreSQL) -> Iterator[str]:
    """Return a database whose schema may change."""
    if request.param == "sqlite":
        yield new_sqlite
        return
    url = postgresql.new()
    yield url
    postgresql.drop(url)


def run(database: Database, statement: str) -> None:
    with database.engine.connect() as connection:
        connection.exec_driver_sql(statement)


def fill(database: Database) -> None:
    """Let writes fail as on a full disk."""
    if not database.is_sqlite:
        run(database, FILL)
        return

    def limit(connection: DBAPIConnection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # means: no more than there are

    database.close()
    event.listen(database.engine, "connect", limit)


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_write_on_a_full_disk_names_the_cause(site: Site, browser: Browser, world: World) -> None:
    browser.sign_in(world, world.staff).open("/staff/organisations/new/")
    bearer = {"Authorization": f"Bearer {world.staff.token}"}
    writes: dict[str, Callable[[str], httpx.Response]] = {
        "page": lambda name: browser.send("/staff/organisations/new/", name=name, email="a@x.org"),
        "waldur": lambda name: site.post("/api/customers/", world.staff, json={"name": name}),
        "brainstem": lambda name: site.post(
            "/api/private/users/group/", headers=bearer, json={"name": name}
        ),
    }
    fill(world.database)
    for kind, write in writes.items():
        for number in range(300):
            answer = write(f"{number} {'x' * 100}")
            if answer.status_code == 503:
                break
        assert answer.status_code == 503, kind
        assert CAUSE in answer.text, kind
        assert answer.headers["retry-after"] == "60", kind
    assert site.get("/api/users/me/", world.staff).status_code == 200


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Return a function that limits the size in bytes of files that this process writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    limit(before[0])


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_readiness_and_doctor_report_a_full_disk(
    site: Site, world: World, url: str, limit_files: Callable[[int], None]
) -> None:
    environ = {"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY}

    def findings() -> dict[str, str]:
        return {each.what: each.text for each in doctor.examine(environ) if not each.well}

    def create() -> int:
        response = site.post("/api/customers/", world.staff, json={"name": "Acme"})
        assert response.status_code == 201 or CAUSE in response.text
        return response.status_code

    assert (create(), site.get("/readyz").status_code, findings()) == (201, 200, {})
    if world.database.is_sqlite:
        log = Path(f"{world.database.engine.url.database}-wal")
        limit_files(log.stat().st_size)
    else:
        fill(world.database)
    assert create() == 503
    ready = site.get("/readyz")
    assert (ready.status_code, ready.text) == (503, "the disk of the database is full\n")
    assert site.get("/healthz").status_code == 200
    cause = "disk I/O error (a quota" if world.database.is_sqlite else "No space left on device"
    assert findings()["database"].startswith(f"the disk is full: {cause}")
    if world.database.is_sqlite:
        limit_files(resource.RLIM_INFINITY)
    else:
        run(world.database, FREE)
    assert (site.get("/readyz").status_code, create(), findings()) == (200, 201, {})
