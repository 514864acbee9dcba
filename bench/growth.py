"""Compare a large database with a small one: response time, memory, start time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import product, repeat
from statistics import median
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import bindparam, select

from bench import data, load_generator
from bench.databases import Databases
from bench.load_generator import Round
from bench.machine import Program
from bench.reading import SERVICE, UUID, measure
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, scopes

TARGET: Final = 2.0
LATE_PAGE_TARGET: Final = 5.0
STARTS: Final = 5
_NAMES: Final = Statement(
    select(accounts.c.username, accounts.c.last_name).where(accounts.c.id == bindparam("id"))
)
_SCOPE: Final = Statement(select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))


@dataclass(frozen=True)
class Case:
    """A request that is measured at both sizes.

    Args:
        who: id of the calling account.
        target: maximum ratio of the times; 0 for no target.
    """

    name: str
    who: int
    path: str
    target: float = TARGET
    method: str = "GET"


def cases(database: Database, size: int) -> list[Case]:
    """Return the requests; the same at every size, for accounts that exist."""
    layout = data.Layout(size)
    with database.read() as tx:
        uuid = tx.scalar(UUID, id=layout.person)
        organisation = tx.scalar(_SCOPE, id=layout.manager)
        person: Any = tx.fetch_one(_NAMES, id=layout.person)
    staff, name = layout.staff, quote(person.last_name)
    users, ours = "/api/users/", "/api/user-invitations/"
    asked = "/api/user-permission-requests/"
    return [
        Case("me", layout.person, "/api/users/me/"),
        Case("one user", staff, f"{users}{uuid}/"),
        Case("users, first page of 10", staff, f"{users}?page_size=10"),
        Case("users, first page of 100", staff, f"{users}?page_size=100"),
        Case("invitations, first page of 10", staff, f"{ours}?page_size=10"),
        Case("requests, first page of 10", staff, f"{asked}?page_size=10"),
        Case("users, as a manager", layout.manager, f"{users}?page_size=10"),
        Case("users, query= of one", staff, f"{users}?query={person.username}"),
        Case("users of an organisation", staff, f"{users}?customer_uuid={organisation}"),
        # No target: PostgreSQL scans from the newest row until the page is full.
        Case(
            "invitations of an organisation",
            staff,
            f"{ours}?customer_uuid={organisation}",
            target=0,
        ),
        Case(
            "requests to an organisation", staff, f"{asked}?customer_uuid={organisation}", target=0
        ),
        # No target: there are a hundred times as many, and the response contains their number.
        Case("users, query= of a name", staff, f"{users}?query={name}", target=0),
        Case("pending invitations", staff, f"{ours}?state=pending", target=0),
        Case("pending requests", staff, f"{asked}?state=pending", target=0),
        Case("users, only the count", staff, users, method="HEAD"),
    ]


def run(
    databases: Databases,
    kind: str,
    sizes: tuple[int, int],
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure both sizes alternately, over one connection."""
    urls = [databases.url(kind, size) for size in sizes]
    asked = []
    for url, size in zip(urls, sizes, strict=True):
        with closing(Database(url, size=1)) as database:
            asked.append(cases(database, size))
            data.refresh(database, {one.who for one in asked[-1]} | {1})
    services = [Program(*SERVICE, url=url) for url in urls]
    results = {}
    try:
        for pair in zip(*asked, strict=True):
            seen: tuple[list[Round], list[Round]] = ([], [])
            for service, case in zip(services, pair, strict=True):
                _measure(service, case, 0.5)  # warm up
            for _, (service, case, found) in product(
                range(rounds), zip(services, pair, seen, strict=True)
            ):
                found.append(_measure(service, case, seconds / 2))
            name, one = pair[0].name, _compared(pair[0].target, seen)
            results[name] = one
            say(f"{name:32} {one['p50'][0]:8.2f} ms {one['p50'][1]:8.2f} ms  {one['times']:.2f}")
        late = _late_page(services[1], sizes[1], seconds, rounds)
        say(f"{'page 900 of 100':32} {late['p50'][0]:8.2f} ms {late['p50'][1]:8.2f} ms")
        resident = [service.resident() for service in services]
    finally:
        for service in services:
            service.stop()
    return {
        "cases": results,
        "late page": late,
        "resident": resident,
        "first": _starts(urls[1], say),
    }


def _measure(service: Program, case: Case, seconds: float) -> Round:
    token = data.token_of(case.who)
    sent = load_generator.request(case.method, case.path, token)
    return measure(
        service, lambda: load_generator.send(service.port, repeat(sent), seconds, connections=1)
    )


def _late_page(service: Program, size: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Compare a late page with the first one."""
    staff = data.Layout(size).staff
    last = min(900, size // 100)
    seen: tuple[list[Round], list[Round]] = ([], [])
    for _, (page, found) in product(range(rounds), zip((1, last), seen, strict=True)):
        path = f"/api/users/?page_size=100&page={page}"
        found.append(_measure(service, Case("", staff, path), seconds / 2))
    return {"page": last, **_compared(LATE_PAGE_TARGET, seen)}


def _compared(target: float, seen: tuple[list[Round], list[Round]]) -> dict[str, Any]:
    few, many = (median(one.p50 for one in found) for found in seen)
    cpu = [median(one.cpu for one in found) for found in seen]
    return {"target": target, "p50": [few, many], "times": many / few, "cpu": cpu}


def _starts(url: str, say: Callable[[str], None]) -> list[float]:
    took = []
    for _ in range(STARTS):
        service = Program(*SERVICE, url=url)
        took.append(service.took)
        service.stop()
    say(f"{'start to first answer':32} {median(took):8.2f} s")
    return took
