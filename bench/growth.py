"""Compare a large database with a small one: response time, memory, start time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import repeat
from statistics import median
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import bindparam, select

from bench import data
from bench.databases import Part
from bench.load_generator import Case, compare
from bench.machine import Program
from bench.reading import LISTS, SERVICE, UUID
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, scopes

TARGET: Final = 2.0
LATE_PAGE_TARGET: Final = 5.0
STARTS: Final = 5
_NAMES: Final = Statement(
    select(accounts.c.username, accounts.c.last_name).where(accounts.c.id == bindparam("id"))
)
_SCOPE: Final = Statement[str](select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))


def cases(database: Database, size: int) -> list[Case]:
    """Return the requests; the same at every size, for accounts that exist."""
    layout = data.Layout(size)
    with database.read() as tx:
        uuid = tx.fetch_only(UUID, id=layout.person)
        organisation = tx.fetch_only(_SCOPE, id=layout.manager)
        person: Any = tx.fetch_one(_NAMES, id=layout.person)
    staff, name = layout.staff, quote(person.last_name)
    users, sent, asked = LISTS.values()
    return [
        Case("me", layout.person, "/api/users/me/", TARGET),
        Case("one user", staff, f"{users}{uuid}/", TARGET),
        Case("users, first page of 10", staff, f"{users}?page_size=10", TARGET),
        Case("users, first page of 100", staff, f"{users}?page_size=100", TARGET),
        Case("invitations, first page of 10", staff, f"{sent}?page_size=10", TARGET),
        Case("requests, first page of 10", staff, f"{asked}?page_size=10", TARGET),
        Case("users, as a manager", layout.manager, f"{users}?page_size=10", TARGET),
        Case("users, query= of one", staff, f"{users}?query={person.username}", TARGET),
        Case("users of an organisation", staff, f"{users}?customer_uuid={organisation}", TARGET),
        # No target: PostgreSQL scans from the newest row until the page is full.
        Case("invitations of an organisation", staff, f"{sent}?customer_uuid={organisation}"),
        Case("requests to an organisation", staff, f"{asked}?customer_uuid={organisation}"),
        # No target: there are a hundred times as many, and the response contains their number.
        Case("users, query= of a name", staff, f"{users}?query={name}"),
        Case("pending invitations", staff, f"{sent}?state=pending"),
        Case("pending requests", staff, f"{asked}?state=pending"),
        Case("users, only the count", staff, users, TARGET, method="HEAD"),
    ]


def run(part: Part) -> dict[str, Any]:
    """Measure both sizes alternately, over one connection."""
    urls = [part.url(size) for size in part.sizes]
    asked = []
    for url, size in zip(urls, part.sizes, strict=True):
        with closing(Database(url, size=1)) as database:
            asked.append(cases(database, size))
            data.refresh(database, {one.who for one in asked[-1]} | {1})
    results = {}
    with Program(*SERVICE, url=urls[0]) as small, Program(*SERVICE, url=urls[1]) as big:
        for pair in zip(*asked, strict=True):
            results[pair[0].name] = _compare(part, (small, big), pair)
        staff, page = data.Layout(part.sizes[1]).staff, min(900, part.sizes[1] // 100)
        path = "/api/users/?page_size=100&page="
        pages = [
            Case(f"page {number} of 100", staff, f"{path}{number}", LATE_PAGE_TARGET)
            for number in (1, page)
        ]
        late_page = _compare(part, (big, big), pages) | {"page": page}
        resident = [service.resident() for service in (small, big)]
    starts = []
    for _ in range(STARTS):
        with Program(*SERVICE, url=urls[1]) as service:
            starts.append(service.took)
    part.say(f"{'start to first response':32} {median(starts):8.2f} s")
    return {"cases": results, "late page": late_page, "resident": resident, "first": starts}


def _compare(part: Part, services: tuple[Program, Program], pair: Sequence[Case]) -> dict[str, Any]:
    """Measure two requests alternately, over one connection; return their times."""
    sides = [(one, repeat(case.sent)) for one, case in zip(services, pair, strict=True)]
    seen = compare(*sides, seconds=part.seconds / 2, rounds=part.rounds, connections=1)
    p50, cpu = (
        [median(getattr(one, what) for one in side) for side in seen] for what in ("p50", "cpu")
    )
    times = p50[1] / p50[0]
    part.say(f"{pair[1].name:32} {p50[0]:8.2f} ms {p50[1]:8.2f} ms  {times:.2f}")
    return {"target": pair[0].target, "p50": p50, "times": times, "cpu": cpu}
