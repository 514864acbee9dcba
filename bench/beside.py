"""What goes on beside reading: logins, grants that end, mails, more workers and nodes."""

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

from bench import data, drive
from bench.machine import COMMAND, HERE, LOAD_CORE, SERVER_CORE, Program, free_port
from bench.reading import SERVICE
from bench.shelf import Shelf
from collegium.db.database import Database
from collegium.db.statements import Statement, any_of
from collegium.db.tables import accounts

LOGINS: Final = 100
LOGINS_BAR: Final = 5.0
_CALLERS: Final = 2 * drive.CONNECTIONS
_RUSH: Final = 128
PATIENCE: Final = 600.0
"""So long is waited for what goes on beside the reading; what is left then is told."""
_BOTH: Final = (SERVER_CORE, LOAD_CORE)
_USERNAMES: Final = Statement(select(accounts.c.username).where(any_of(accounts.c.id, "ids")))
_LEFT: Final = (
    "SELECT count(*) FROM grants WHERE ended_at IS NULL AND valid_until <= '{now}'",
    "SELECT count(*) FROM outbox WHERE state = 'queued'",
)


def logins(
    shelf: Shelf, kind: str, size: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure how long ``me`` takes while many log in at once."""
    url = shelf.copy(shelf.url(kind, size), "logins")
    cast = data.Cast(size)
    numbers = [n for n in range(2 * cast.organisations, size) if n % 200 and n % 997][:LOGINS]
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [cast.person, 1])
        with database.read() as tx:
            names = [row.username for row in tx.fetch_all(_USERNAMES, ids=numbers)]
    bodies = [
        drive.request(
            "POST", "/api-auth/password/", "", {"username": name, "password": data.PASSWORD}
        )
        for name in names
    ]
    me = drive.request("GET", "/api/users/me/", data.token_of(cast.person))
    service = Program(*SERVICE, url=url)
    quiet, during, took = [], [], []
    try:
        drive.own(service.port, repeat(me), 1)
        for _ in range(rounds):
            quiet.append(drive.own(service.port, repeat(me), seconds))
            seen, login = drive.beside(service.port, me, bodies)
            during.append(seen)
            took.append(login.seconds)
    finally:
        service.stop()
        shelf.drop(url)
    found = {
        "bar": LOGINS_BAR,
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


class _Mails:
    """A real SMTP server that counts what it is given."""

    def __init__(self) -> None:
        self.count = 0
        port = free_port()
        self._controller = Controller(self, hostname=HERE, port=port)
        self.url = f"smtp://{HERE}:{port}"

    async def handle_DATA(self, *_given: Any) -> str:  # noqa: N802 - its name in the protocol
        self.count += 1
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._controller.stop()


def owing(
    shelf: Shelf, kind: str, size: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """End grants, a tenth of the accounts' number, and send mails, a hundredth, while reading."""
    url = shelf.copy(shelf.url(kind, size), "owing")
    cast = data.Cast(size)
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [cast.person, cast.staff, 1])
        due = _make_due(database, size)
    say(f"{due[0]:,} grants to end, {due[1]:,} mails to send")
    asks = ((cast.person, "/api/users/me/"), (cast.staff, "/api/users/?page_size=10"))
    with _Mails() as mails:
        more = {"COLLEGIUM_MAIL_URL": mails.url}
        quiet_service = Program(*SERVICE, url=url, more=more)
        quiet = [_reads(quiet_service, asks, seconds) for _ in range(2)][-1]
        quiet_service.stop()
        service = Program(*COMMAND, "serve", url=url, more=more)
        began = time.perf_counter()
        post = (
            None
            if kind == "sqlite"
            else Program(*COMMAND, "post", url=url, more=more, serves=False)
        )
        during, done = [], [0.0, 0.0]
        try:
            with closing(Database(url, size=1)) as database:
                while (took := time.perf_counter() - began) < PATIENCE:
                    left = _left(database)
                    done = [done[at] or (took if not left[at] else 0.0) for at in range(2)]
                    if not any(left):
                        break
                    during.append(_reads(service, asks, seconds))
                left = _left(database)
        finally:
            service.stop()
            if post is not None:
                post.stop()
    shelf.drop(url)
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
    """Read both by turns; a failed request ends everything."""
    sent = [drive.request("GET", path, data.token_of(who)) for who, path in asks]

    def turns() -> Iterator[bytes]:
        while True:
            yield from sent

    one = drive.own(service.port, turns(), seconds)
    return {"rate": one.rate, "p50": one.p50, "p99": one.p99, "requests": one.requests}


def scaling(
    shelf: Shelf, kind: str, size: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure one worker, two workers and, on PostgreSQL, two nodes; and one worker in a rush.

    All of it on both cores.
    """
    url = shelf.url(kind, size)
    cast = data.Cast(size)
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [cast.person, cast.staff, 1])
    asks = (("me", cast.person, "/api/users/me/"), ("10 users", cast.staff, "/api/users/"))
    forms = {"1 worker": [1], "2 workers": [2]} | ({"2 nodes": [1, 1]} if kind != "sqlite" else {})
    nodes = {
        name: [
            Program(*SERVICE, "--workers", str(workers), url=url, cores=_BOTH) for workers in counts
        ]
        for name, counts in forms.items()
    }
    callers = dict.fromkeys(nodes, _CALLERS)
    # As many as half of a worker's threads: what is fast for a few must not break down for them.
    rush = f"1 worker, {_RUSH} callers"
    nodes[rush], callers[rush] = nodes["1 worker"], _RUSH
    told: dict[str, dict[str, float]] = {}
    try:
        for what, who, path in asks:
            rates: dict[str, list[float]] = {name: [] for name in nodes}
            for number in range(rounds + 1):
                for name, programs in nodes.items():
                    token = data.token_of(who)
                    rate = _together(programs, path, token, seconds, callers[name])
                    if number:  # the first was to warm up
                        rates[name].append(rate)
            told[what] = {name: median(found) for name, found in rates.items()}
            say(f"{what}: " + ", ".join(f"{n} {r:.0f}/s" for n, r in told[what].items()))
    finally:
        for programs in nodes.values():
            for program in programs:
                program.stop()
    return told


def _together(
    programs: list[Program], path: str, token: str, seconds: float, callers: int
) -> float:
    """Give the requests that all of them answer in a second."""
    rates: list[float] = []

    def load(program: Program) -> None:
        share = callers // len(programs)
        rates.append(drive.read(program.port, path, token, seconds, share).rate)

    threads = [threading.Thread(target=load, args=(one,)) for one in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(rates) < len(programs):
        raise drive.Failed("one of the nodes failed")
    return sum(rates)
