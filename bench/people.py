"""Import ten thousand people: judge them, invite them, and read beside it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from statistics import quantiles
from typing import Any, Final

from sqlalchemy import bindparam, select

from bench import data
from bench.databases import Part
from bench.machine import HERE, HOST, Program
from bench.reading import SERVICE
from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import scopes
from collegium.imports import actions as import_actions
from collegium.settings import load
from collegium.sign_in.tokens.actions import actor_of

ROWS: Final = 10_000
JUDGED_TARGET: Final = 5.0
CREATED_TARGET: Final = 20.0
BESIDE_TARGET: Final = 3.0
_SCOPE: Final = Statement[str](select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))


def run(part: Part) -> dict[str, Any]:
    """Return the seconds to judge and to create, and the p99 of ``me`` without and beside it."""
    layout = data.Layout(data.SMALL)
    url = part.databases.copy(part.databases.url(part.kind, data.SMALL), "people")
    settings = load(
        {
            "COLLEGIUM_DATABASE_URL": url,
            "COLLEGIUM_SECRET_KEY": data.SECRET_KEY,
            "COLLEGIUM_BASE_URL": f"http://{HOST}",
        }
    )
    header = "Vorname;Nachname;E-Mail;Rolle;Bis;Nachricht;Sprache\r\n"
    rows = (
        f"Jürgen;Müller {n};person{n}@uni-{n % 50}.example;Organisation owner;31.12.2999;Hallo;de"
        for n in range(ROWS)
    )
    content = (header + "\r\n".join(rows)).encode()
    with closing(Database(url)) as database:
        data.refresh(database, {layout.person, 1})
        with database.read() as tx:
            account = account_queries.by_id(tx, layout.staff)
            assert account is not None  # noqa: S101 - in every data set
            actor = actor_of(account)
            uuid = tx.fetch_only(_SCOPE, id=layout.manager)
            access = access_queries.get_visible(tx, actor, ScopeKind.ORGANISATION, uuid)
        with Program(*SERVICE, url=url) as service:
            quiet: list[float] = []
            _watch(service.port, layout.person, lambda: len(quiet) < 1000, quiet)  # noqa: PLR2004 - enough for a p99
            began = time.perf_counter()
            judged = import_actions.judge_file(database.read, actor, settings, access, content)
            with database.write() as tx:
                stored, _ = import_actions.store(tx, actor, judged)
                judged_seconds = time.perf_counter() - began
                import_actions.start(tx, actor, stored, None)
            beside: list[float] = []
            working = threading.Event()
            working.set()
            watcher = threading.Thread(
                target=_watch, args=(service.port, layout.person, working.is_set, beside)
            )
            watcher.start()
            began = time.perf_counter()
            while True:
                with database.write() as tx:
                    if not import_actions.run_next(tx, settings):
                        break
                time.sleep(0.001)
            created_seconds = time.perf_counter() - began
            working.clear()
            watcher.join()
    part.databases.drop(url)
    part.say(f"judged in {judged_seconds:.1f} s, created in {created_seconds:.1f} s")
    return {
        "rows": ROWS,
        "judged": judged_seconds,
        "created": created_seconds,
        "quiet": _p99(quiet),
        "beside": _p99(beside),
        "reads": len(beside),
        "busy": round(os.getloadavg()[0], 1),
    }


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
