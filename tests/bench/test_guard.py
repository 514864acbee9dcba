"""Budgets for the cost of a request, counted instead of timed.

Three counts are the same on every machine: statements, steps of SQLite's virtual machine, and calls
of Python functions. Raise a budget only with a reason in the commit.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import pytest
from sqlalchemy import bindparam, select

import collegium
from bench import data
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.support.site import Site, record_statements

SIZE = 2400
LAYOUT = data.Layout(SIZE)
SLACK = 1.1
PACKAGE = str(Path(collegium.__file__).parent)
UUID = Statement[str](select(accounts.c.uuid).where(accounts.c.id == bindparam("id")))
FEW = Statement(select(accounts.c.uuid).limit(bindparam("limit")))

# Statements, steps of SQLite, calls of Python functions.
BUDGETS: dict[str, tuple[int, int, int]] = {
    "me": (2, 287, 125),
    "one user": (3, 309, 135),
    "10 users": (4, 2279, 279),
    "100 users": (4, 19849, 1269),
    "10 invitations": (3, 873, 242),
    "100 invitations": (5, 8405, 1201),
    "10 requests": (3, 593, 165),
    "100 requests": (3, 5246, 435),
    "10 users, as a manager": (4, 13365, 278),
    "10 invitations, as a manager": (3, 5684, 248),
    "10 requests, as a manager": (3, 6197, 177),
}
LISTS = {
    "users": "/api/users/",
    "invitations": "/api/user-invitations/",
    "requests": "/api/user-permission-requests/",
}


@pytest.fixture(scope="module")
def site(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    url = f"sqlite:///{tmp_path_factory.mktemp('guard') / 'guard.db'}"
    shutil.copy(sqlite_template, url.removeprefix("sqlite:///"))
    with closing(Database(url)) as database:
        data.fill(database, SIZE)
        settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": data.SECRET_KEY})
        site = Site(settings, database, Vault(data.SECRET_KEY))
        yield site


def request_of(name: str, database: Database) -> tuple[str, str]:
    """Return path and token of a request."""
    label, _, who = name.partition(", as a ")
    if label == "me":
        return "/api/users/me/", data.token_of(LAYOUT.person)
    token = data.token_of(LAYOUT.manager if who else LAYOUT.staff)
    if label == "one user":
        with database.read() as tx:
            return f"/api/users/{tx.fetch_only(UUID, id=LAYOUT.person)}/", token
    size, noun = label.split()
    return f"{LISTS[noun]}?page_size={size}", token


class Meter:
    """Counts statements, steps and calls."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = self.calls = 0
        self.statements: list[str] = []
        self._database = database
        self._patch = monkeypatch

    @contextmanager
    def counting(self) -> Iterator[None]:
        connection = self._database._connections.acquire()
        self._database._connections.release(connection)  # the next request gets it
        connection.set_progress_handler(self._step, 1)
        with record_statements(self._patch) as self.statements:
            sys.setprofile(self._call)
            try:
                yield
            finally:
                sys.setprofile(None)
                connection.set_progress_handler(None, 1)

    def _step(self) -> None:
        self.steps += 1

    def _call(self, frame: FrameType, event: str, _what: object) -> None:
        # Without the client of the test and the meter itself.
        if event == "call" and PACKAGE in frame.f_code.co_filename:
            self.calls += 1


@pytest.mark.parametrize("name", BUDGETS)
def test_request_stays_within_its_budget(
    name: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = site.database
    path, token = request_of(name, database)
    for _ in range(3):  # without what is cached
        assert site.get(path, token).status_code == 200
    meter = Meter(database, monkeypatch)
    with meter.counting():
        response = site.get(path, token)
    assert response.status_code == 200
    costs = (len(meter.statements), meter.steps, meter.calls)
    budgets = BUDGETS[name]
    assert all(costs), costs
    assert costs[0] <= budgets[0], (costs, budgets)
    exceeded = [cost > budget * SLACK for cost, budget in zip(costs, budgets, strict=True)]
    assert not any(exceeded), (costs, budgets)


def test_meter_counts_additional_rows(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    database = site.database
    meters = []
    for rows in (5, 50):
        with database.read() as tx:
            tx.fetch_all(FEW, limit=rows)
        meter = Meter(database, monkeypatch)
        with meter.counting(), database.read() as tx:
            tx.fetch_all(FEW, limit=rows)
        meters.append(meter)
    few, many = meters
    assert len(few.statements) == len(many.statements) == 1
    assert many.steps > 5 * few.steps
