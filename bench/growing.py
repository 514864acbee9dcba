"""A million accounts against ten thousand: time a request, memory of a worker, first answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import product, repeat
from statistics import median
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import bindparam, select

from bench import data, drive
from bench.drive import Round
from bench.machine import Program
from bench.reading import SERVICE, UUID, measured
from bench.shelf import Shelf
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, scopes

BAR: Final = 2.0
DEEP_BAR: Final = 5.0
STARTS: Final = 5
_NAMES: Final = Statement(
    select(accounts.c.username, accounts.c.last_name).where(accounts.c.id == bindparam("id"))
)
_SCOPE: Final = Statement(select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))


@dataclass(frozen=True)
class Question:
    """Something that is asked at both sizes.

    Args:
        bar: how many times longer it may take with more accounts; 0: no bar.
    """

    name: str
    who: int
    path: str
    bar: float = BAR
    method: str = "GET"


def questions(database: Database, size: int) -> list[Question]:
    """Give what is asked; the same at every size, of people who are there."""
    cast = data.Cast(size)
    with database.read() as tx:
        uuid = tx.scalar(UUID, id=cast.person)
        place = tx.scalar(_SCOPE, id=cast.manager)
        person: Any = tx.fetch_one(_NAMES, id=cast.person)
    staff, name = cast.staff, quote(person.last_name)
    users, ours = "/api/users/", "/api/user-invitations/"
    asked = "/api/user-permission-requests/"
    return [
        Question("me", cast.person, "/api/users/me/"),
        Question("one user", staff, f"{users}{uuid}/"),
        Question("users, first page of 10", staff, f"{users}?page_size=10"),
        Question("users, first page of 100", staff, f"{users}?page_size=100"),
        Question("invitations, first page of 10", staff, f"{ours}?page_size=10"),
        Question("requests, first page of 10", staff, f"{asked}?page_size=10"),
        Question("users, as a manager", cast.manager, f"{users}?page_size=10"),
        Question("users, query= of one", staff, f"{users}?query={person.username}"),
        Question("users of an organisation", staff, f"{users}?customer_uuid={place}"),
        # PostgreSQL goes through the newest until the page is full, and here it is full late.
        Question("invitations of an organisation", staff, f"{ours}?customer_uuid={place}", bar=0),
        Question("requests to an organisation", staff, f"{asked}?customer_uuid={place}", bar=0),
        # Of these there are a hundred times as many, and the answer says how many.
        Question("users, query= of a name", staff, f"{users}?query={name}", bar=0),
        Question("invitations that wait", staff, f"{ours}?state=pending", bar=0),
        Question("requests that wait", staff, f"{asked}?state=pending", bar=0),
        Question("users, the count alone", staff, users, method="HEAD"),
    ]


def run(
    shelf: Shelf,
    kind: str,
    sizes: tuple[int, int],
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure both sizes by turns, over one connection."""
    urls = [shelf.url(kind, size) for size in sizes]
    asked = []
    for url, size in zip(urls, sizes, strict=True):
        with closing(Database(url, size=1)) as database:
            asked.append(questions(database, size))
            data.refresh(database, {one.who for one in asked[-1]} | {1})
    services = [Program(*SERVICE, url=url) for url in urls]
    told = {}
    try:
        for pair in zip(*asked, strict=True):
            seen: tuple[list[Round], list[Round]] = ([], [])
            for service, question in zip(services, pair, strict=True):
                _asked(service, question, 0.5)  # to warm up
            for _, (service, question, found) in product(
                range(rounds), zip(services, pair, seen, strict=True)
            ):
                found.append(_asked(service, question, seconds / 2))
            name, one = pair[0].name, _compared(pair[0].bar, seen)
            told[name] = one
            say(f"{name:32} {one['p50'][0]:8.2f} ms {one['p50'][1]:8.2f} ms  {one['times']:.2f}")
        deep = _deep(services[1], sizes[1], seconds, rounds)
        say(f"{'page 900 of 100':32} {deep['p50'][0]:8.2f} ms {deep['p50'][1]:8.2f} ms")
        resident = [service.resident() for service in services]
    finally:
        for service in services:
            service.stop()
    return {"questions": told, "deep": deep, "resident": resident, "first": _starts(urls[1], say)}


def _asked(service: Program, question: Question, seconds: float) -> Round:
    token = data.token_of(question.who)
    sent = drive.request(question.method, question.path, token)
    return measured(service, lambda: drive.own(service.port, repeat(sent), seconds, connections=1))


def _deep(service: Program, size: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Compare a page far back with the first one."""
    staff = data.Cast(size).staff
    last = min(900, size // 100)
    seen: tuple[list[Round], list[Round]] = ([], [])
    for _, (page, found) in product(range(rounds), zip((1, last), seen, strict=True)):
        path = f"/api/users/?page_size=100&page={page}"
        found.append(_asked(service, Question("", staff, path), seconds / 2))
    return {"page": last, **_compared(DEEP_BAR, seen)}


def _compared(bar: float, seen: tuple[list[Round], list[Round]]) -> dict[str, Any]:
    few, many = (median(one.p50 for one in found) for found in seen)
    cpu = [median(one.cpu for one in found) for found in seen]
    return {"bar": bar, "p50": [few, many], "times": many / few, "cpu": cpu}


def _starts(url: str, say: Callable[[str], None]) -> list[float]:
    took = []
    for _ in range(STARTS):
        service = Program(*SERVICE, url=url)
        took.append(service.took)
        service.stop()
    say(f"{'start to first answer':32} {median(took):8.2f} s")
    return took
