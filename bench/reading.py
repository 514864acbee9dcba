"""Compare reads of the service and the baseline, alternately, on the same database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from itertools import repeat
from statistics import median
from typing import Any, Final

import pytest
from sqlalchemy import bindparam, select

from bench import data
from bench.baseline import Baseline, Store, open_store
from bench.databases import Part
from bench.load_generator import Case, LoadError, Round, compare, ratio
from bench.machine import COMMAND, HERE, HOST, Program
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.support.site import Site, record_statements

UUID: Final = Statement[str](select(accounts.c.uuid).where(accounts.c.id == bindparam("id")))
SERVICE: Final = (*COMMAND, "serve", "--no-worker")
BASELINE: Final = ("-m", "bench.baseline")
LISTS: Final = {
    "users": "/api/users/",
    "invitations": "/api/user-invitations/",
    "requests": "/api/user-permission-requests/",
}


def cases(database: Database, size: int) -> list[Case]:
    """Return all read requests."""
    layout = data.Layout(size)
    with database.read() as tx:
        uuid = tx.fetch_only(UUID, id=layout.person)
    pages = [
        (f"{rows} {name}", f"{path}?page_size={rows}")
        for name, path in LISTS.items()
        for rows in (10, 100)
    ]
    return [
        Case("me", layout.person, "/api/users/me/", 0.5),
        *(Case(name, layout.staff, path, 0.6) for name, path in pages),
        Case("one user", layout.staff, f"/api/users/{uuid}/"),
        *(Case(f"{name}, as a manager", layout.manager, path) for name, path in pages),
    ]


def run(part: Part) -> dict[str, Any]:
    """Measure all read requests; return the rounds of both programs by case."""
    url = part.url(part.size)
    with closing(Database(url, size=1)) as database:
        wanted = cases(database, part.size)
        data.refresh(database, {case.who for case in wanted} | {1})
    results = {}
    with Program(*SERVICE, url=url) as service, Program(*BASELINE, url=url) as baseline:
        for case in wanted:
            _check_same_response(service, baseline, case)
            sides = [(program, repeat(case.sent)) for program in (service, baseline)]
            seen = compare(*sides, seconds=part.seconds, rounds=part.rounds)
            results[case.name] = entry(part, case, seen, _statements(url, case))
        return {"resident": service.resident(), "cases": results}


def entry(
    part: Part, case: Case, rounds: list[list[Round]], statements: tuple[int, int]
) -> dict[str, Any]:
    """Show a case in one line; return its stored results."""
    found: dict[str, Any] = {"ratio": ratio(*rounds)}
    text = f"{case.name:32}"
    for side, seen in zip(("service", "baseline"), rounds, strict=True):
        rate, cpu = median(one.rate for one in seen), median(one.cpu for one in seen)
        text += f"{side} {rate:8.0f}/s, CPU {cpu:.2f} ms  "
        found[side] = [one.rounded() for one in seen]
    part.say(f"{text}ratio {found['ratio']:.2f}")
    return found | {"target": case.target, "statements": statements}


def _check_same_response(service: Program, baseline: Program, case: Case) -> None:
    """Raise LoadError if the responses differ."""
    bodies = []
    for program in (service, baseline, service):
        with closing(HTTPConnection(HERE, program.port)) as connection:
            headers = {"Authorization": f"Token {case.token}", "Host": HOST}
            connection.request("GET", case.path, headers=headers)
            bodies.append(connection.getresponse().read())
    # The response contains the expiry of the token, which may have changed in between.
    if bodies[1] not in {bodies[0], bodies[2]}:
        raise LoadError(f"{case.name}: the baseline returns a different response")


def _statements(url: str, case: Case) -> tuple[int, int]:
    """Count the SQL statements of a request in the service and in the baseline."""
    path, _, query = case.path.partition("?")
    with in_process(url) as (site, baseline, store):
        data.refresh(site.database, [case.who])
        with record_statements(pytest.MonkeyPatch()) as ours:
            site.get(case.path, case.token)
        baseline.get(path, query.encode(), case.token, "http://localhost", "127.0.0.1")
        return len(ours), store.statements


@contextmanager
def in_process(url: str) -> Iterator[tuple[Site, Baseline, Store]]:
    """Yield the service and the baseline, both in this process, and the store of the baseline."""
    values = {"DATABASE_URL": url, "SECRET_KEY": data.SECRET_KEY, "RATE_LIMITS": "false"}
    settings = load({f"COLLEGIUM_{name}": value for name, value in values.items()})
    vault = Vault(data.SECRET_KEY)
    with closing(Database(url)) as database, closing(open_store(url)) as store:
        yield Site(settings, database, vault), Baseline(store, vault), store
