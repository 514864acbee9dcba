"""Import ten thousand people with the real programs: upload, invite, and read beside it."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from statistics import quantiles
from typing import Any, Final

from sqlalchemy import bindparam, select

from bench import data
from bench.databases import Part
from bench.machine import COMMAND, HERE, HOST, Program
from bench.reading import SERVICE
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import scopes

ROWS: Final = 10_000
JUDGED_TARGET: Final = 5.0
CREATED_TARGET: Final = 20.0
BESIDE_TARGET: Final = 3.0
_QUIET_READS: Final = 1000
_POLL_INTERVAL: Final = 0.2
_TIMEOUT: Final = 300.0
_SCOPE: Final = Statement[str](select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))


def run(part: Part) -> dict[str, Any]:
    """Return the seconds to judge and to create, the p99 of ``me`` without and beside it, memory.

    The worker also sends the e-mails, to a folder, in turn with the import, as it always does.
    """
    layout = data.Layout(part.size)
    url = part.copy(part.size, "people")
    folder = (data.FOLDER / "people-mail").absolute()
    # Budgets of addresses are counted, as in production.
    more = {"COLLEGIUM_MAIL_URL": f"file:{folder}", "COLLEGIUM_RATE_LIMITS": "true"}
    with closing(Database(url, size=1)) as database:
        data.refresh(database, {layout.person, layout.staff, 1})
        with database.read() as tx:
            uuid = tx.fetch_only(_SCOPE, id=layout.manager)
    with ExitStack() as stack:
        if part.kind == "sqlite":
            # Its worker is a thread of the service.
            service = stack.enter_context(Program(*COMMAND, "serve", url=url, more=more))
            programs = {"service": service}
        else:
            service = stack.enter_context(Program(*SERVICE, url=url, more=more))
            worker = Program(*COMMAND, "worker", url=url, more=more, serves=False)
            programs = {"service": service, "worker": stack.enter_context(worker)}
        caller = _Caller(service.port, layout.staff)
        quiet: list[float] = []
        _watch(service.port, layout.person, lambda: len(quiet) < _QUIET_READS, quiet)
        began = time.perf_counter()
        body = {"scope": f"/api/customers/{uuid}/", "text": _file()}
        found = caller.call("POST", "/api/imports/", body)
        judged_seconds = time.perf_counter() - began
        if found["rows"] != {"ready": ROWS}:
            raise RuntimeError(f"not all rows are ready: {found['rows']}")
        one = f"/api/imports/{found['uuid']}/"
        beside: list[float] = []
        working = threading.Event()
        working.set()
        watcher = threading.Thread(
            target=_watch, args=(service.port, layout.person, working.is_set, beside)
        )
        began = time.perf_counter()
        caller.call("POST", f"{one}start/", {})
        watcher.start()
        try:
            while caller.call("GET", one)["state"] != "done":
                if time.perf_counter() - began > _TIMEOUT:
                    raise RuntimeError("the import takes too long")
                time.sleep(_POLL_INTERVAL)
            created_seconds = time.perf_counter() - began
        finally:
            working.clear()
            watcher.join()
        memory = {name: program.memory() for name, program in programs.items()}
    part.databases.drop(url)
    shutil.rmtree(folder, ignore_errors=True)
    part.say(
        f"judged in {judged_seconds:.1f} s, created in {created_seconds:.1f} s; p99 of me "
        f"{_p99(quiet):.1f} ms quiet, {_p99(beside):.1f} ms beside; memory {memory}"
    )
    return {
        "rows": ROWS,
        "judged": judged_seconds,
        "created": created_seconds,
        "quiet": _p99(quiet),
        "beside": _p99(beside),
        "reads": len(beside),
        "memory": memory,
        "busy": round(os.getloadavg()[0], 1),
    }


def _file() -> str:
    header = "Vorname;Nachname;E-Mail;Rolle;Bis;Nachricht;Sprache\r\n"
    return header + "\r\n".join(
        f"Jürgen;Müller {n};person{n}@uni-{n % 50}.example;Organisation owner;31.12.2999;Hallo;de"
        for n in range(ROWS)
    )


class _Caller:
    """Sends requests of one account, each over a connection of its own."""

    def __init__(self, port: int, who: int) -> None:
        self._port = port
        self._headers = {
            "Host": HOST,
            "Authorization": f"Token {data.token_of(who)}",
            "Content-Type": "application/json",
        }

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, and return the JSON of its response.

        Raises:
            RuntimeError: the response is an error.
        """
        sent = None if body is None else json.dumps(body)
        with closing(HTTPConnection(HERE, self._port, timeout=_TIMEOUT)) as connection:
            connection.request(method, path, sent, self._headers)
            response = connection.getresponse()
            content = response.read()
        if response.status >= 300:  # noqa: PLR2004 - the first class of statuses that is none of success
            raise RuntimeError(f"{method} {path}: {response.status} {content[:500]!r}")
        return json.loads(content)


def _watch(port: int, who: int, goes_on: Callable[[], bool], times: list[float]) -> None:
    """Request ``me`` one after the other, and add the milliseconds of each."""
    headers = {"Host": HOST, "Authorization": f"Token {data.token_of(who)}"}
    with closing(HTTPConnection(HERE, port, timeout=20)) as connection:
        while goes_on():
            began = time.perf_counter()
            connection.request("GET", "/api/users/me/", headers=headers)
            connection.getresponse().read()
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.002)


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[-1]
