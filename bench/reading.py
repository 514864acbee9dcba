"""Compare reads of the service and the baseline, alternately, on the same database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from statistics import median
from typing import Any, Final

from sqlalchemy import bindparam, select

from bench import data, load_generator
from bench.baseline import Baseline, PostgreSQL, SQLite
from bench.load_generator import Round
from bench.machine import COMMAND, HERE, HOST, Program
from collegium.db.database import Database, ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.support.site import Site

UUID: Final = Statement(select(accounts.c.uuid).where(accounts.c.id == bindparam("id")))
SERVICE: Final = (*COMMAND, "serve", "--no-worker")


BASELINE_MODES: Final = ("loop", "threads")
"""Where the baseline can query its database."""


@dataclass(frozen=True)
class Case:
    """A GET request that is measured.

    Args:
        name: name in the results.
        who: id of the calling account.
        target: minimum ratio to the baseline; 0 for no target.
    """

    name: str
    who: int
    path: str
    target: float = 0.0

    @property
    def token(self) -> str:
        """The API token of the caller."""
        return data.token_of(self.who)


def cases(database: Database, size: int) -> list[Case]:
    """Return all read requests."""
    layout = data.Layout(size)
    with database.read() as tx:
        uuid = tx.scalar(UUID, id=layout.person)
    lists = {
        "users": "/api/users/",
        "invitations": "/api/user-invitations/",
        "requests": "/api/user-permission-requests/",
    }
    return [
        Case("me", layout.person, "/api/users/me/", 0.5),
        *(
            Case(f"{size} {name}", layout.staff, f"{path}?page_size={size}", 0.6)
            for name, path in lists.items()
            for size in (10, 100)
        ),
        Case("one user", layout.staff, f"/api/users/{uuid}/"),
        *(
            Case(f"{size} {name}, as a manager", layout.manager, f"{path}?page_size={size}")
            for name, path in lists.items()
            for size in (10, 100)
        ),
    ]


def measure(program: Program, run_load: Callable[[], Round]) -> Round:
    """Run a round; return it with the CPU time of the program."""
    before = program.cpu()
    round_ = run_load()
    return replace(round_, cpu=(program.cpu() - before) * 1e3 / round_.requests)


@contextmanager
def both(url: str) -> Iterator[tuple[Program, Program, str]]:
    """Start the service and the baseline; yield both and the mode of the baseline."""
    service = Program(*SERVICE, url=url)
    try:
        baseline, how = _faster(url)
        try:
            yield service, baseline, how
        finally:
            baseline.stop()
    finally:
        service.stop()


def _faster(url: str) -> tuple[Program, str]:
    """Start the baseline in its faster mode: queries on the event loop or in threads."""
    token = data.token_of(1)
    baselines = {
        how: Program("-m", "bench.baseline", f"--{how}", url=url) for how in BASELINE_MODES
    }
    rates = dict.fromkeys(BASELINE_MODES, 0.0)
    for path in ("/api/users/me/", "/api/users/?page_size=10") * 3:
        for how, baseline in baselines.items():
            rates[how] += load_generator.read(baseline.port, path, token, 1).rate
    faster = max(rates, key=rates.__getitem__)
    for how, baseline in baselines.items():
        if how != faster:
            baseline.stop()
    return baselines[faster], faster


def run(
    url: str, size: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure all read requests; return the rounds of both programs by case."""
    with closing(Database(url, size=1)) as database:
        wanted = cases(database, size)
        data.refresh(database, {case.who for case in wanted} | {1})
    results = {}
    with both(url) as (service, baseline, how):
        say(f"the baseline queries in mode {how}")
        for case in wanted:
            _compare(service, baseline, case)
            _pair(service, baseline, case, 1)  # warm up
            seen = [_pair(service, baseline, case, seconds) for _ in range(rounds)]
            results[case.name] = entry(case.target, seen, statements(url, case))
            say(line(case.name, results[case.name]))
        resident = service.resident()
    return {"baseline": how, "resident": resident, "cases": results}


def _compare(service: Program, baseline: Program, case: Case) -> None:
    """Raise LoadError if the responses differ, or both programs are the same one."""
    first, theirs, second = (_answer(one, case) for one in (service, baseline, service))
    # The response contains the expiry of the token, which may have changed in between.
    if theirs[1] not in {first[1], second[1]}:
        raise load_generator.LoadError(f"{case.name}: the baseline returns a different response")
    if not first[0] or theirs[0]:
        raise load_generator.LoadError(f"{case.name}: both programs are the service")


def _answer(program: Program, case: Case) -> tuple[bool, bytes]:
    """Return whether the response is from the service, by its request id, and the body."""
    with closing(HTTPConnection(HERE, program.port)) as connection:
        headers = {"Authorization": f"Token {case.token}", "Host": HOST}
        connection.request("GET", case.path, headers=headers)
        response = connection.getresponse()
        return response.getheader("x-request-id") is not None, response.read()


def _pair(service: Program, baseline: Program, case: Case, seconds: float) -> tuple[Round, Round]:
    def load(program: Program) -> Round:
        return measure(
            program, lambda: load_generator.read(program.port, case.path, case.token, seconds)
        )

    return load(service), load(baseline)


def entry(
    target: float, seen: list[tuple[Round, Round]], statements: tuple[int, int]
) -> dict[str, Any]:
    """Return the stored results of a case."""
    return {
        "target": target,
        "ratio": median(ours.rate / baseline.rate for ours, baseline in seen),
        "statements": statements,
        "service": [vars_of(ours) for ours, _ in seen],
        "baseline": [vars_of(baseline) for _, baseline in seen],
    }


def vars_of(one: Round) -> dict[str, float]:
    """Return the stored results of a round."""
    return {
        "rate": round(one.rate, 1),
        "p50": round(one.p50, 3),
        "p99": round(one.p99, 3),
        "cpu": round(one.cpu, 4),
        "requests": one.requests,
    }


def line(name: str, found: dict[str, Any]) -> str:
    """Return the results of a case in one line."""
    rates = [median(one["rate"] for one in found[side]) for side in ("service", "baseline")]
    cpu = [median(one["cpu"] for one in found[side]) for side in ("service", "baseline")]
    return (
        f"{name:32} {rates[0]:8.0f}/s  baseline {rates[1]:8.0f}/s  ratio {found['ratio']:.2f}"
        f"  CPU {cpu[0]:.2f} ms  baseline {cpu[1]:.2f} ms"
    )


def statements(url: str, case: Case) -> tuple[int, int]:
    """Count the SQL statements of a request in the service and in the baseline."""
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": data.SECRET_KEY})
    path, _, query = case.path.partition("?")
    with closing(Database(url)) as database, recorded_statements() as ours:
        data.refresh(database, [case.who])
        site = Site(settings, database, Vault(data.SECRET_KEY))
        site.get(case.path, case.token)
        site.close()
    direct = SQLite(url) if url.startswith("sqlite") else PostgreSQL(url)
    theirs = 0
    ask = direct.ask

    def counting(text: str, **binds: Any) -> list[Any]:
        nonlocal theirs
        theirs += 1
        return ask(text, **binds)

    direct.ask = counting  # type: ignore[method-assign]
    baseline = Baseline(direct, Vault(data.SECRET_KEY))
    baseline.answer(path, query.encode(), case.token, "http://localhost", "127.0.0.1")
    direct.close()
    return len(ours), theirs


@contextmanager
def recorded_statements() -> Iterator[list[str]]:
    """Collect the SQL of the statements that the service runs in this process."""
    seen: list[str] = []
    execute = ReadTransaction._execute

    def recording(self: ReadTransaction, statement: Any, parameters: dict[str, Any]) -> Any:
        seen.append(statement.compiled(self._dialect).text)
        return execute(self, statement, parameters)

    ReadTransaction._execute = recording  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        ReadTransaction._execute = execute  # type: ignore[method-assign]
