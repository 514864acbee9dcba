"""Reading: the service against the floor, by turns, on the same database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from statistics import median
from typing import Any, Final

from sqlalchemy import bindparam, select

from bench import data, drive
from bench.drive import Round
from bench.floor import Floor, PostgreSQL, SQLite
from bench.machine import COMMAND, HERE, HOST, Program
from collegium.db.database import Database, ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.support.site import Site

UUID: Final = Statement(select(accounts.c.uuid).where(accounts.c.id == bindparam("id")))
SERVICE: Final = (*COMMAND, "serve", "--no-worker")


FLOORS: Final = ("loop", "threads")
"""Where the floor can ask its database."""


@dataclass(frozen=True)
class Case:
    """Something that is asked.

    Args:
        name: how the results call it.
        who: the number of the account that asks.
        bar: the least ratio to the floor that is wanted; 0: none.
    """

    name: str
    who: int
    path: str
    bar: float = 0.0

    @property
    def token(self) -> str:
        """The token that is shown."""
        return data.token_of(self.who)


def cases(database: Database, size: int) -> list[Case]:
    """Give everything that is read."""
    cast = data.Cast(size)
    with database.read() as tx:
        uuid = tx.scalar(UUID, id=cast.person)
    lists = {
        "users": "/api/users/",
        "invitations": "/api/user-invitations/",
        "requests": "/api/user-permission-requests/",
    }
    return [
        Case("me", cast.person, "/api/users/me/", 0.5),
        *(
            Case(f"{size} {name}", cast.staff, f"{path}?page_size={size}", 0.6)
            for name, path in lists.items()
            for size in (10, 100)
        ),
        Case("one user", cast.staff, f"/api/users/{uuid}/"),
        *(
            Case(f"{size} {name}, as a manager", cast.manager, f"{path}?page_size={size}")
            for name, path in lists.items()
            for size in (10, 100)
        ),
    ]


def measured(program: Program, ask: Callable[[], Round]) -> Round:
    """Give a round with what it cost the program."""
    before = program.cpu()
    seen = ask()
    return replace(seen, cpu=(program.cpu() - before) * 1e3 / seen.requests)


@contextmanager
def both(url: str) -> Iterator[tuple[Program, Program, str]]:
    """Start the service and the floor, and tell how the floor asks its database."""
    service = Program(*SERVICE, url=url)
    try:
        floor, how = _faster(url)
        try:
            yield service, floor, how
        finally:
            floor.stop()
    finally:
        service.stop()


def _faster(url: str) -> tuple[Program, str]:
    """Give the floor as it is faster: asking on the event loop, or in threads."""
    token = data.token_of(1)
    floors = {how: Program("-m", "bench.floor", f"--{how}", url=url) for how in FLOORS}
    rates = dict.fromkeys(FLOORS, 0.0)
    for path in ("/api/users/me/", "/api/users/?page_size=10") * 3:
        for how, floor in floors.items():
            rates[how] += drive.read(floor.port, path, token, 1).rate
    faster = max(rates, key=rates.__getitem__)
    for how, floor in floors.items():
        if how != faster:
            floor.stop()
    return floors[faster], faster


def run(
    url: str, size: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure everything that is read; give the rounds of both, by case."""
    with closing(Database(url, size=1)) as database:
        wanted = cases(database, size)
        data.refresh(database, {case.who for case in wanted} | {1})
    told = {}
    with both(url) as (service, floor, how):
        say(f"the floor asks on its {how}")
        for case in wanted:
            _compare(service, floor, case)
            _pair(service, floor, case, 1)  # to warm up
            seen = [_pair(service, floor, case, seconds) for _ in range(rounds)]
            told[case.name] = entry(case.bar, seen, statements(url, case))
            say(line(case.name, told[case.name]))
        resident = service.resident()
    return {"floor": how, "resident": resident, "cases": told}


def _compare(service: Program, floor: Program, case: Case) -> None:
    """Refuse to measure two programs that are one, or do not answer the same."""
    first, theirs, second = (_answer(one, case) for one in (service, floor, service))
    # The lifetime of the token, which is told, may have moved on meanwhile.
    if theirs[1] not in {first[1], second[1]}:
        raise drive.Failed(f"{case.name}: the floor answers something else")
    if not first[0] or theirs[0]:
        raise drive.Failed(f"{case.name}: the floor is not the floor, but the service")


def _answer(program: Program, case: Case) -> tuple[bool, bytes]:
    """Tell whether the answer has what only the service gives, and its body."""
    with closing(HTTPConnection(HERE, program.port)) as connection:
        headers = {"Authorization": f"Token {case.token}", "Host": HOST}
        connection.request("GET", case.path, headers=headers)
        answer = connection.getresponse()
        return answer.getheader("x-request-id") is not None, answer.read()


def _pair(service: Program, floor: Program, case: Case, seconds: float) -> tuple[Round, Round]:
    def load(program: Program) -> Round:
        return measured(program, lambda: drive.read(program.port, case.path, case.token, seconds))

    return load(service), load(floor)


def entry(
    bar: float, seen: list[tuple[Round, Round]], statements: tuple[int, int]
) -> dict[str, Any]:
    """Give what is kept of the rounds of a case."""
    return {
        "bar": bar,
        "ratio": median(ours.rate / floor.rate for ours, floor in seen),
        "statements": statements,
        "service": [vars_of(ours) for ours, _ in seen],
        "floor": [vars_of(floor) for _, floor in seen],
    }


def vars_of(one: Round) -> dict[str, float]:
    """Give what a round has shown, by name."""
    return {
        "rate": round(one.rate, 1),
        "p50": round(one.p50, 3),
        "p99": round(one.p99, 3),
        "cpu": round(one.cpu, 4),
        "requests": one.requests,
    }


def line(name: str, found: dict[str, Any]) -> str:
    """Tell a case in a line."""
    rates = [median(one["rate"] for one in found[side]) for side in ("service", "floor")]
    cpu = [median(one["cpu"] for one in found[side]) for side in ("service", "floor")]
    return (
        f"{name:32} {rates[0]:8.0f}/s  floor {rates[1]:8.0f}/s  ratio {found['ratio']:.2f}"
        f"  CPU {cpu[0]:.2f} ms  floor {cpu[1]:.2f} ms"
    )


def statements(url: str, case: Case) -> tuple[int, int]:
    """Count the statements that a request runs, in the service and in the floor."""
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": data.SECRET_KEY})
    path, _, query = case.path.partition("?")
    with closing(Database(url)) as database, counted() as ours:
        data.refresh(database, [case.who])
        site = Site(settings, database, Vault(data.SECRET_KEY))
        site.get(case.path, case.token)
        site.close()
    asked = SQLite(url) if url.startswith("sqlite") else PostgreSQL(url)
    theirs = 0
    ask = asked.ask

    def noted(text: str, **binds: Any) -> list[Any]:
        nonlocal theirs
        theirs += 1
        return ask(text, **binds)

    asked.ask = noted  # type: ignore[method-assign]
    floor = Floor(asked, Vault(data.SECRET_KEY))
    floor.answer(path, query.encode(), case.token, "http://localhost", "127.0.0.1")
    asked.close()
    return len(ours), theirs


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the text of every statement that the service runs in this process."""
    seen: list[str] = []
    execute = ReadTransaction._execute

    def noted(self: ReadTransaction, statement: Any, parameters: dict[str, Any]) -> Any:
        seen.append(statement.compiled(self._dialect).text)
        return execute(self, statement, parameters)

    ReadTransaction._execute = noted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        ReadTransaction._execute = execute  # type: ignore[method-assign]
