"""Response times during sign-ins, expiring grants and e-mails; scaling by workers and nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import repeat
from statistics import median
from typing import Any, Final, Self

from aiosmtpd.controller import Controller
from sqlalchemy import select

from bench import data, load_generator
from bench.databases import Databases
from bench.machine import COMMAND, HERE, LOAD_CORE, SERVER_CORE, Program, free_port
from bench.reading import SERVICE
from collegium.db.database import Database
from collegium.db.statements import Statement, any_of
from collegium.db.tables import accounts

LOGINS: Final = 100
LOGINS_TARGET: Final = 5.0
_CALLERS: Final = 2 * load_generator.CONNECTIONS
_MANY_CALLERS: Final = 128
TIMEOUT: Final = 600.0
"""Maximum seconds to wait until the worker has finished; what is left is reported."""
_BOTH: Final = (SERVER_CORE, LOAD_CORE)
_USERNAMES: Final = Statement(select(accounts.c.username).where(any_of(accounts.c.id, "ids")))
_LEFT: Final = (
    "SELECT count(*) FROM grants WHERE ended_at IS NULL AND valid_until <= '{now}'",
    "SELECT count(*) FROM outbox WHERE state = 'queued'",
)


def logins(
    databases: Databases,
    kind: str,
    size: int,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure ``me`` while many accounts sign in at the same time."""
    url = databases.copy(databases.url(kind, size), "logins")
    layout = data.Layout(size)
    numbers = [n for n in range(2 * layout.organisations, size) if n % 200 and n % 997][:LOGINS]
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [layout.person, 1])
        with database.read() as tx:
            names = [row.username for row in tx.fetch_all(_USERNAMES, ids=numbers)]
    bodies = [
        load_generator.request(
            "POST", "/api-auth/password/", "", {"username": name, "password": data.PASSWORD}
        )
        for name in names
    ]
    me = load_generator.request("GET", "/api/users/me/", data.token_of(layout.person))
    service = Program(*SERVICE, url=url)
    quiet, during, took = [], [], []
    try:
        load_generator.send(service.port, repeat(me), 1)
        for _ in range(rounds):
            quiet.append(load_generator.send(service.port, repeat(me), seconds))
            seen, login = load_generator.send_during(service.port, me, bodies)
            during.append(seen)
            took.append(login.seconds)
    finally:
        service.stop()
        databases.drop(url)
    found = {
        "bar": LOGINS_TARGET,
        "quiet": median(one.p99 for one in quiet),
        "during": median(one.p99 for one in during),
        "rate quiet": median(one.rate for one in quiet),
        "rate during": median(one.rate for one in during),
        "seconds": median(took),
    }
    found["times"] = found["during"] / found["quiet"]
    say(
        f"p99 of me: quiet {found['quiet']:.1f} ms, during {LOGINS} logins {found['during']:.1f} ms"
        f" ({found['times']:.1f} times); the logins took {found['seconds']:.1f} s"
    )
    return found


class _CountingServer:
    """A real SMTP server that counts messages."""

    def __init__(self) -> None:
        self.count = 0
        port = free_port()
        self._controller = Controller(self, hostname=HERE, port=port)
        self.url = f"smtp://{HERE}:{port}"

    async def handle_DATA(self, *_args: Any) -> str:  # noqa: N802 - name required by aiosmtpd
        self.count += 1
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._controller.stop()


def worker(
    databases: Databases, kind: str, size: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure reads while the worker ends expired grants and sends e-mails.

    A tenth as many grants and a hundredth as many e-mails as accounts.
    """
    url = databases.copy(databases.url(kind, size), "worker")
    layout = data.Layout(size)
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [layout.person, layout.staff, 1])
        due = _make_due(database, size)
    say(f"{due[0]:,} grants to end, {due[1]:,} mails to send")
    asks = ((layout.person, "/api/users/me/"), (layout.staff, "/api/users/?page_size=10"))
    with _CountingServer() as mails:
        more = {"COLLEGIUM_MAIL_URL": mails.url}
        quiet_service = Program(*SERVICE, url=url, more=more)
        quiet = [_reads(quiet_service, asks, seconds) for _ in range(2)][-1]
        quiet_service.stop()
        service = Program(*COMMAND, "serve", url=url, more=more)
        began = time.perf_counter()
        separate_worker = (
            None
            if kind == "sqlite"
            else Program(*COMMAND, "worker", url=url, more=more, serves=False)
        )
        during, done = [], [0.0, 0.0]
        try:
            with closing(Database(url, size=1)) as database:
                while (took := time.perf_counter() - began) < TIMEOUT:
                    left = _left(database)
                    done = [done[at] or (took if not left[at] else 0.0) for at in range(2)]
                    if not any(left):
                        break
                    during.append(_reads(service, asks, seconds))
                left = _left(database)
        finally:
            service.stop()
            if separate_worker is not None:
                separate_worker.stop()
    databases.drop(url)
    took = time.perf_counter() - began
    seconds_taken = [one or took for one in done]
    beside = {name: median(one[name] for one in during) for name in quiet} if during else quiet
    say(
        f"after {seconds_taken[0]:.0f} s and {seconds_taken[1]:.0f} s {left} are left; "
        f"p99 {quiet['p99']:.1f} ms quiet, {beside['p99']:.1f} ms during"
    )
    return {
        "due": due,
        "left": left,
        "seconds": seconds_taken,
        "delivered": mails.count,
        "quiet": quiet,
        "during": beside,
        "reads": int(sum(one["requests"] for one in during)),
    }


def _make_due(database: Database, size: int) -> list[int]:
    grants, mails = size // 10, size // 100
    json = "'{\"invitation\": ' || id || ', \"reminder\": false}'"
    connection = database.engine.raw_connection()
    cursor: Any = connection.cursor()
    now = _now()
    cursor.execute(f"UPDATE grants SET valid_until = '{now}' WHERE id <= {grants}")
    found = [cursor.rowcount]
    cursor.execute(
        f"UPDATE outbox SET state = 'queued', next_attempt_at = '{now}', finished_at = NULL,"
        f" attempts = 0, payload = {json if database.is_sqlite else f'({json})::jsonb'}"
        " WHERE id IN (SELECT mail_id FROM invitations WHERE state = 'pending'"
        f" ORDER BY id LIMIT {mails})"
    )
    found.append(cursor.rowcount)
    connection.close()
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime())


def _left(database: Database) -> list[int]:
    connection = database.engine.raw_connection()
    cursor: Any = connection.cursor()
    found = []
    for text in _LEFT:
        cursor.execute(text.format(now=_now()))
        found.append(int(cursor.fetchone()[0]))
    connection.close()
    return found


def _reads(service: Program, asks: tuple[tuple[int, str], ...], seconds: float) -> dict[str, float]:
    """Measure alternating requests; a failed request raises."""
    sent = [load_generator.request("GET", path, data.token_of(who)) for who, path in asks]

    def alternating() -> Iterator[bytes]:
        while True:
            yield from sent

    one = load_generator.send(service.port, alternating(), seconds)
    return {"rate": one.rate, "p50": one.p50, "p99": one.p99, "requests": one.requests}


def scaling(
    databases: Databases,
    kind: str,
    size: int,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure one worker, two workers and, on PostgreSQL, two nodes; and one worker in a many.

    All of it on both cores.
    """
    url = databases.url(kind, size)
    layout = data.Layout(size)
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [layout.person, layout.staff, 1])
    asks = (("me", layout.person, "/api/users/me/"), ("10 users", layout.staff, "/api/users/"))
    forms = {"1 worker": [1], "2 workers": [2]} | ({"2 nodes": [1, 1]} if kind != "sqlite" else {})
    nodes = {
        name: [
            Program(*SERVICE, "--workers", str(workers), url=url, cores=_BOTH) for workers in counts
        ]
        for name, counts in forms.items()
    }
    callers = dict.fromkeys(nodes, _CALLERS)
    # Half as many as a worker has threads: throughput must not collapse.
    many = f"1 worker, {_MANY_CALLERS} callers"
    nodes[many], callers[many] = nodes["1 worker"], _MANY_CALLERS
    results: dict[str, dict[str, float]] = {}
    try:
        for what, who, path in asks:
            rates: dict[str, list[float]] = {name: [] for name in nodes}
            for number in range(rounds + 1):
                for name, programs in nodes.items():
                    token = data.token_of(who)
                    rate = _total_rate(programs, path, token, seconds, callers[name])
                    if number:  # the first round warms up
                        rates[name].append(rate)
            results[what] = {name: median(found) for name, found in rates.items()}
            say(f"{what}: " + ", ".join(f"{n} {r:.0f}/s" for n, r in results[what].items()))
    finally:
        for programs in nodes.values():
            for program in programs:
                program.stop()
    return results


def _total_rate(
    programs: list[Program], path: str, token: str, seconds: float, callers: int
) -> float:
    """Return the requests that all of them answer in a second."""
    rates: list[float] = []

    def load(program: Program) -> None:
        share = callers // len(programs)
        rates.append(load_generator.read(program.port, path, token, seconds, share).rate)

    threads = [threading.Thread(target=load, args=(one,)) for one in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(rates) < len(programs):
        raise load_generator.LoadError("one of the nodes failed")
    return sum(rates)
