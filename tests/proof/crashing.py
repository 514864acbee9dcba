"""A service that is killed again and again, and a mail server that counts what it gets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from collegium.db import tables
from collegium.db.statements import Statement
from collegium.worker.worker import Worker
from tests.proof.invariants import broken
from tests.proof.stage import LateClock, Stage
from tests.proof.storm import Storm
from tests.support.serving import PATIENCE, bare_environment, free_port
from tests.worker.scene import Mailbox

ROOT = Path(__file__).parents[2]
_EVENTS = Statement(select(tables.events.c.kind, tables.events.c.payload))
_DELETED = Statement(
    select(func.count().label("deleted"))
    .select_from(tables.accounts)
    .where(tables.accounts.c.deleted_at.is_not(None))
)
_OUTBOX = Statement(select(tables.outbox).order_by(tables.outbox.c.id))
_OWED = Statement(
    select(func.count().label("queued"))
    .select_from(tables.outbox)
    .where(tables.outbox.c.state == "queued")
)
_TOLD = {
    "invite": "invitation.created",
    "accept": "invitation.accepted",
    "cancel": "invitation.canceled",
    "send": "invitation.sent",
    "decline": "invitation.declined",
    "ask": "request.submitted",
    "withdraw": "request.canceled",
    "open": "open_invitation.created",
    "close": "open_invitation.canceled",
}


class Victim:
    """The service and its worker, each a process that can be killed.

    Args:
        clock: how late it is for both.
        apart: the worker is a process of its own, as on PostgreSQL.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        clock: LateClock | None = None,
        *,
        apart: bool,
    ) -> None:
        self.folder = folder
        self.clock = clock or LateClock()
        self.apart = apart
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.settings = {"base_url": self.base, "rate_limits": "false", **settings}
        self.log = folder / "victim.log"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def wait(self, seconds: float) -> None:
        """Let time pass, for those that are started from now on."""
        self.clock.later += seconds

    def _environment(self, proof: Mapping[str, str]) -> dict[str, str]:
        given = {f"PROOF_{name.upper()}": value for name, value in proof.items()}
        given["PROOF_LATER"] = str(self.clock.later)
        path = os.pathsep.join([str(ROOT), *sys.path])
        return bare_environment(self.settings) | given | {"PYTHONPATH": path}

    def _begin(self, *words: str, **proof: str) -> None:
        with self.log.open("ab") as log:
            self._running[words[0]] = subprocess.Popen(
                [sys.executable, "-m", "tests.proof.program", *words],
                cwd=self.folder,
                env=self._environment(proof),
                stdout=log,
                stderr=log,
            )

    def start(self, *, server: str = "", worker: str = "", post: bool = True, **proof: str) -> None:
        """Start both.

        Args:
            server: where it is to be killed, ``point:n``.
            worker: where the worker is to be killed.
            post: whether the mails are paid at all.
            proof: what else the program is told, by the names that it knows.
        """
        options = ["--no-worker"] if self.apart else []
        kill = server or ("" if self.apart else worker)
        self._begin("serve", "--port", str(self.port), *options, kill=kill, **proof)
        if self.apart and post:
            self._begin("worker", kill=worker)
        end = time.monotonic() + 6 * PATIENCE
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.base}/healthz", timeout=1).is_success:
                    return
            except httpx.TransportError:
                if self._running["serve"].poll() is not None:
                    return  # it was killed before it could answer
            time.sleep(0.05)
        raise AssertionError(self.log.read_text()[-2000:])

    def kill(self, *which: str) -> None:
        """Kill what still runs; the children of the service follow."""
        for name in which or tuple(self._running):
            process = self._running.pop(name, None)
            if process is not None:
                process.kill()
                process.wait(timeout=10)
        # The workers of the service die with it, but not in the same moment.
        time.sleep(0.1)

    def is_dead(self, which: str, seconds: float) -> bool:
        """Wait for a process to die by itself; tell whether it did."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._running[which].poll() is not None:
                return True
            time.sleep(0.05)
        return False


class Ordeal:
    """Many lives of one service on one database."""

    def __init__(self, stage: Stage, victim: Victim, box: Mailbox, seed: int) -> None:
        self.stage = stage
        self.victim = victim
        self.box = box
        self.seed = seed
        self.calls = 0
        self.kills: Counter[str] = Counter()
        self._storms: list[Storm] = []

    def live(
        self, seconds: float, actions: int = 40, meanwhile: Callable[[], None] = lambda: None
    ) -> Storm:
        """Let callers loose on it, in a new piece, until it dies or the time is up.

        Args:
            meanwhile: what is begun as they are.
        """
        self.seed += 1
        storm = Storm(self.stage.begin(), [self.victim.base], self.seed)
        self._storms.append(storm)
        # What the preparation was to make may be missing, if it died before.
        with suppress(LookupError):
            storm.prepare()
            meanwhile()
            self._rage(storm, seconds, actions)
        return storm

    def live_on(self, seconds: float, actions: int = 40) -> Storm:
        """Go on with the latest piece."""
        storm = self._storms[-1]
        self._rage(storm, seconds, actions)
        return storm

    def _rage(self, storm: Storm, seconds: float, actions: int) -> None:
        before = len(storm.calls) + storm.lost
        storm.rage(actions, time.monotonic() + seconds)
        self.calls += len(storm.calls) + storm.lost - before

    def pay_all(self) -> None:
        """Have everything sent that is owed, as time passes and leases run out."""
        stage, victim = self.stage, self.victim
        settings = replace(stage.settings, mail_url=victim.settings["mail_url"])
        for _ in range(12):
            victim.wait(1_000)
            Worker(stage.database, settings, stage.vault, clock=victim.clock).once()
            with stage.database.read() as tx:
                if not tx.scalar(_OWED):
                    return

    def check(self) -> None:
        """See that no action is there by halves, and that none is lost that was answered."""
        assert broken(self.stage.database) == []
        with self.stage.database.read() as tx:
            rows = tx.fetch_all(_EVENTS)
        told = {
            (row.kind, row.payload[key])
            for row in rows
            for key in ("invitation", "request_uuid")
            if key in row.payload
        }
        for storm in self._storms:
            names = storm.piece.names
            uuids = {**names.invitations, **names.links, **names.requests}
            for call in storm.calls:
                assert not call.answer.startswith("5") or call.answer == "503", call
                name = call.given[1] if len(call.given) > 1 else None
                if call.answer == "200" and name in uuids:
                    kind = _TOLD.get(call.action)
                    if call.action == "decide":
                        kind = "request.approved" if call.more["good"] else "request.rejected"
                    assert kind is None or (kind, uuids[name]) in told, call
        self._storms.clear()

    def check_mails(self, extra: int) -> dict[str, int]:
        """See that every mail went out, and none more often than it may.

        Args:
            extra: how many may have come twice: so often somebody was killed, or a line cut,
                after a mail was sent and before that was noted.
        """
        with self.stage.database.read() as tx:
            rows = {row.id: row for row in tx.fetch_all(_OUTBOX)}
            is_erased = bool(tx.scalar(_DELETED))
        came = Counter(numbers(self.box.envelopes))
        # Deleting an account deletes its mails, also those that were sent.
        assert is_erased or came.keys() <= rows.keys(), "a mail that nobody queued"
        for number, row in rows.items():
            assert row.state in {"sent", "obsolete"}, (number, row.kind, row.state, row.error)
            if row.state == "sent":
                assert came[number] >= 1, (number, row.kind)
            assert came[number] <= row.attempts, (number, row.kind)
        twice = sum(many - 1 for many in came.values())
        assert twice <= extra, came
        states = Counter(row.state for row in rows.values())
        return {
            "queued": len(rows),
            "received": sum(came.values()),
            "duplicates": twice,
            **states,
        }


def numbers(envelopes: Iterable[Any]) -> list[int]:
    """Give the rows of the outbox that these mails are."""
    found = []
    for envelope in envelopes:
        name = str(message_from_bytes(envelope.content)["Message-ID"])
        match = re.search(r"outbox\.(\d+)@", name)
        assert match is not None, name
        found.append(int(match[1]))
    return found
