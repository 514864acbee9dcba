"""Response times during sign-ins, expiring grants and e-mails; scaling by workers and nodes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import cycle, product, repeat
from statistics import median
from typing import Any, Final

from sqlalchemy import select

from bench import data
from bench.databases import Part
from bench.load_generator import CONNECTIONS, Case, send, send_during
from bench.machine import COMMAND, LOAD_CORE, SERVER_CORE, Program, free_port, run
from bench.reading import SERVICE
from collegium.db.database import Database
from collegium.db.statements import Statement, any_of
from collegium.db.tables import accounts
from tests.support.mailbox import Mailbox

LOGINS: Final = 100
LOGINS_TARGET: Final = 5.0
_CALLERS: Final = 2 * CONNECTIONS
_MANY_CALLERS: Final = 128
TIMEOUT: Final = 600.0
"""Maximum seconds to wait until the worker has finished; what is left is reported."""
_BOTH: Final = (SERVER_CORE, LOAD_CORE)
_USERNAMES: Final = Statement[Any](select(accounts.c.username).where(any_of(accounts.c.id, "ids")))
_LEFT: Final = (
    "SELECT count(*) FROM grants WHERE ended_at IS NULL AND valid_until <= '{now}'",
    "SELECT count(*) FROM outbox WHERE state = 'queued'",
)


def logins(part: Part) -> dict[str, Any]:
    """Measure ``me`` while many accounts sign in at the same time."""
    url = part.copy(part.size, "logins")
    layout = data.Layout(part.size)
    people = range(2 * layout.organisations, part.size)
    numbers = [n for n in people if n % 200 and n % 997][:LOGINS]
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [layout.person, 1])
        with database.read() as tx:
            names = [row.username for row in tx.fetch_all(_USERNAMES, ids=numbers)]
    bodies = [{"username": name, "password": data.PASSWORD} for name in names]
    logins = [Case("", 0, "/api-auth/password/", method="POST", body=body).sent for body in bodies]
    me = Case("me", layout.person, "/api/users/me/").sent
    quiet, during, took = [], [], []
    with Program(*SERVICE, url=url) as service:
        send(service, repeat(me), 1)
        for _ in range(part.rounds):
            quiet.append(send(service, repeat(me), part.seconds))
            seen, login = send_during(service, me, logins)
            during.append(seen)
            took.append(login.seconds)
    part.databases.drop(url)
    found = {
        "target": LOGINS_TARGET,
        "quiet": median(one.p99 for one in quiet),
        "during": median(one.p99 for one in during),
        "rate quiet": median(one.rate for one in quiet),
        "rate during": median(one.rate for one in during),
        "seconds": median(took),
    }
    found["times"] = found["during"] / found["quiet"]
    part.say(
        f"p99 of me: quiet {found['quiet']:.1f} ms, during {LOGINS} logins {found['during']:.1f} ms"
        f" ({found['times']:.1f} times); the logins took {found['seconds']:.1f} s"
    )
    return found


def worker(part: Part) -> dict[str, Any]:
    """Measure reads while the worker ends expired grants and sends e-mails.

    A tenth as many grants and a hundredth as many e-mails as accounts.
    """
    size = part.sizes[1]
    url = part.copy(size, "worker")
    layout = data.Layout(size)
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [layout.person, layout.staff, 1])
        due = _make_due(database, size)
    part.say(f"{due[0]:,} grants to end, {due[1]:,} mails to send")
    asked = [
        Case("me", layout.person, "/api/users/me/").sent,
        Case("10 users", layout.staff, "/api/users/?page_size=10").sent,
    ]

    def reads(service: Program) -> dict[str, float]:
        return send(service, cycle(asked), part.seconds).rounded()

    mailbox = Mailbox(free_port())
    more = {"COLLEGIUM_MAIL_URL": mailbox.url}
    with mailbox.listening(), ExitStack() as stack:
        with Program(*SERVICE, url=url, more=more) as service:
            quiet = [reads(service) for _ in range(2)][-1]
        service = stack.enter_context(Program(*COMMAND, "serve", url=url, more=more))
        began = time.perf_counter()
        if part.kind != "sqlite":
            separate = Program(*COMMAND, "worker", url=url, more=more, serves=False)
            stack.enter_context(separate)
        during, seconds, left = [], [0.0, 0.0], due
        while any(left) and time.perf_counter() - began < TIMEOUT:
            during.append(reads(service))
            took = time.perf_counter() - began
            seconds = [took if left[at] else seconds[at] for at in range(2)]
            left = [int(run(url, text.format(now=_now()))) for text in _LEFT]
    part.databases.drop(url)
    beside = {name: median(one[name] for one in during) for name in quiet}
    part.say(
        f"after {seconds[0]:.0f} s and {seconds[1]:.0f} s {left} are left; "
        f"p99 {quiet['p99']:.1f} ms quiet, {beside['p99']:.1f} ms during"
    )
    return {
        "due": due,
        "left": left,
        "seconds": seconds,
        "delivered": len(mailbox.messages),
        "quiet": quiet,
        "during": beside,
        "reads": int(sum(one["requests"] for one in during)),
    }


def _make_due(database: Database, size: int) -> list[int]:
    """Let some grants end now and queue some e-mails; return how many."""
    now = _now()
    payload = "'{\"invitation\": ' || id || ', \"reminder\": false}'"
    statements = (
        f"UPDATE grants SET valid_until = '{now}' WHERE id <= {size // 10}",
        f"""UPDATE outbox SET state = 'queued', next_attempt_at = '{now}', finished_at = NULL,
        attempts = 0, payload = {payload if database.is_sqlite else f"({payload})::jsonb"}
        WHERE id IN (SELECT mail_id FROM invitations WHERE state = 'pending'
            ORDER BY id LIMIT {size // 100})""",
    )
    with database.engine.connect() as connection:
        return [connection.exec_driver_sql(text).rowcount for text in statements]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime())


def scaling(part: Part) -> dict[str, Any]:
    """Measure one worker, two workers and, on PostgreSQL, two nodes; and one with many callers.

    All of it on both cores.
    """
    url = part.url(part.size)
    layout = data.Layout(part.size)
    with closing(Database(url, size=1)) as database:
        data.refresh(database, [layout.person, layout.staff, 1])
    forms = {"1 worker": [1], "2 workers": [2]}
    if part.kind != "sqlite":
        forms["2 nodes"] = [1, 1]
    # Half as many as a worker has threads: throughput must not collapse.
    many = f"1 worker, {_MANY_CALLERS} callers"
    cases = (
        Case("me", layout.person, "/api/users/me/"),
        Case("10 users", layout.staff, "/api/users/"),
    )
    results: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        nodes = {
            form: [
                stack.enter_context(
                    Program(*SERVICE, "--workers", str(workers), url=url, cores=_BOTH)
                )
                for workers in counts
            ]
            for form, counts in forms.items()
        }
        nodes[many] = nodes["1 worker"]
        for case in cases:
            rates: dict[str, list[float]] = {form: [] for form in nodes}
            for number, (form, programs) in product(range(part.rounds + 1), nodes.items()):
                callers = _MANY_CALLERS if form == many else _CALLERS
                rate = _total_rate(programs, case, part.seconds, callers)
                if number:  # the first round warms up
                    rates[form].append(rate)
            results[case.name] = {form: median(found) for form, found in rates.items()}
            found = (f"{form} {rate:.0f}/s" for form, rate in results[case.name].items())
            part.say(f"{case.name}: {', '.join(found)}")
    return results


def _total_rate(programs: list[Program], case: Case, seconds: float, callers: int) -> float:
    """Return the requests that all of them answer in a second."""
    with ThreadPoolExecutor(len(programs)) as threads:
        share = callers // len(programs)
        loads = [
            threads.submit(send, program, repeat(case.sent), seconds, share) for program in programs
        ]
        return sum(load.result().rate for load in loads)
