"""A service that is killed again and again, and checks of its rows and e-mails."""

import os
import re
import subprocess
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
from tests.support import programs
from tests.support.programs import Program
from tests.support.serving import PATIENCE, TLS, bare_environment, free_port
from tests.worker.scene import Mailbox

_EVENTS = Statement[Any](select(tables.events.c.kind, tables.events.c.payload))
_DELETED = Statement[int](
    select(func.count().label("deleted"))
    .select_from(tables.accounts)
    .where(tables.accounts.c.deleted_at.is_not(None))
)
_OUTBOX = Statement[Any](select(tables.outbox).order_by(tables.outbox.c.id))
_QUEUED = Statement[int](
    select(func.count().label("queued"))
    .select_from(tables.outbox)
    .where(tables.outbox.c.state == "queued")
)
_EVENT_KINDS = {
    "invite": "invitation.created",
    "accept": "invitation.accepted",
    "cancel": "invitation.canceled",
    "send": "invitation.sent",
    "decline": "invitation.declined",
    "ask": "request.submitted",
    "withdraw": "request.canceled",
    "open": "invite_link.created",
    "close": "invite_link.canceled",
}


class Victim:
    """The service and its worker as processes that can be killed.

    Args:
        clock: the clock of both.
        separate_worker: whether the worker is a separate process, as on PostgreSQL.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        clock: LateClock | None = None,
        *,
        separate_worker: bool,
    ) -> None:
        self.folder = folder
        self.clock = clock or LateClock()
        self.separate_worker = separate_worker
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.settings = {"base_url": self.base, "rate_limits": "false", **settings}
        self.log = folder / "victim.log"
        self._running: dict[str, Program] = {}

    def wait(self, seconds: float) -> None:
        """Move the clock of the processes that are started from now on."""
        self.clock.later += seconds

    def _environment(self, proof: Mapping[str, str]) -> dict[str, str]:
        variables = {f"PROOF_{name.upper()}": value for name, value in proof.items()}
        variables["PROOF_LATER"] = str(self.clock.later)
        return bare_environment(self.settings) | variables

    def _start_process(self, *words: str, **proof: str) -> None:
        with self.log.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            self._running[words[0]] = Program(
                ["tests.proof.program", *words],
                self.folder,
                self._environment(proof),
                (nothing, log, log),
            )

    def start(self, *, server: str = "", worker: str = "", post: bool = True, **proof: str) -> None:
        """Start both.

        Args:
            server: where the service is killed, ``point:n``.
            worker: where the worker is killed.
            post: whether to start a worker.
            proof: further variables of ``program.py``.
        """
        options = ["--no-worker"] if self.separate_worker else []
        kill = server or ("" if self.separate_worker else worker)
        self._start_process("serve", "--port", str(self.port), *options, kill=kill, **proof)
        if self.separate_worker and post:
            self._start_process("worker", kill=worker)
        end = time.monotonic() + 6 * PATIENCE
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.base}/healthz", timeout=1, verify=TLS).is_success:
                    return
            except httpx.TransportError:
                if self._running["serve"].poll() is not None:
                    return  # killed before the first response
            time.sleep(0.05)
        raise AssertionError(self.log.read_text()[-2000:])

    def run(self, *words: str, **proof: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the program under the same settings."""
        words = ("tests.proof.program", *words)
        return programs.run(words, self.folder, self._environment(proof))

    def kill(self, *which: str) -> None:
        """Kill the running processes; the children of the service follow."""
        for name in which or tuple(self._running):
            process = self._running.pop(name, None)
            if process is not None:
                process.kill()
                process.wait(timeout=10)
        # The children end a moment later.
        time.sleep(0.1)

    def is_dead(self, which: str, seconds: float) -> bool:
        """Wait for a process to end by itself; return whether it did."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._running[which].poll() is not None:
                return True
            time.sleep(0.05)
        return False


class CrashRun:
    """Many runs of one service on one database, each killed."""

    def __init__(self, stage: Stage, victim: Victim, box: Mailbox, seed: int) -> None:
        self.stage = stage
        self.victim = victim
        self.box = box
        self.seed = seed
        self.calls = 0
        self.kills: Counter[str] = Counter()
        self._storms: list[Storm] = []

    def run_calls(
        self, seconds: float, actions: int = 40, meanwhile: Callable[[], None] = lambda: None
    ) -> Storm:
        """Run callers on new objects until the service ends or the time is over.

        Args:
            meanwhile: called when the callers start.
        """
        self.seed += 1
        storm = Storm(self.stage.begin(), [self.victim.base], self.seed)
        self._storms.append(storm)
        # Objects are missing if the service ended during the preparation.
        with suppress(LookupError):
            storm.prepare()
            meanwhile()
            self._run_storm(storm, seconds, actions)
        return storm

    def continue_calls(self, seconds: float, actions: int = 40) -> Storm:
        """Run callers on the latest objects."""
        storm = self._storms[-1]
        self._run_storm(storm, seconds, actions)
        return storm

    def _run_storm(self, storm: Storm, seconds: float, actions: int) -> None:
        before = len(storm.calls) + storm.lost
        storm.rage(actions, time.monotonic() + seconds)
        self.calls += len(storm.calls) + storm.lost - before

    def send_all_mails(self) -> None:
        """Send all queued e-mails while time passes and leases expire."""
        stage, victim = self.stage, self.victim
        settings = replace(stage.settings, mail_url=victim.settings["mail_url"])
        for _ in range(12):
            victim.wait(1_000)
            Worker(stage.database, settings, stage.vault, clock=victim.clock).once()
            with stage.database.read() as tx:
                if not tx.fetch_only(_QUEUED):
                    return

    def check(self) -> None:
        """Check that no action is half done and no confirmed action is lost."""
        assert broken(self.stage.database) == []
        with self.stage.database.read() as tx:
            rows = tx.fetch_all(_EVENTS)
        events = {
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
                    kind = _EVENT_KINDS.get(call.action)
                    if call.action == "decide":
                        kind = "request.approved" if call.more["good"] else "request.rejected"
                    assert kind is None or (kind, uuids[name]) in events, call
        self._storms.clear()

    def check_mails(self, extra: int) -> dict[str, int]:
        """Check that every e-mail was sent, and return the counts.

        Args:
            extra: maximum number of duplicates: how often a process or connection ended between
                sending an e-mail and recording it.
        """
        with self.stage.database.read() as tx:
            rows = {row.id: row for row in tx.fetch_all(_OUTBOX)}
            is_erased = bool(tx.fetch_only(_DELETED))
        received = Counter(numbers(self.box.envelopes))
        # Deleting an account deletes its mails, also those that were sent.
        assert is_erased or received.keys() <= rows.keys(), "a mail that nobody queued"
        for number, row in rows.items():
            assert row.state in {"sent", "obsolete"}, (number, row.kind, row.state, row.error)
            if row.state == "sent":
                assert received[number] >= 1, (number, row.kind)
            assert received[number] <= row.attempts, (number, row.kind)
        duplicates = sum(times - 1 for times in received.values())
        assert duplicates <= extra, received
        counts = {"queued": len(rows), "received": sum(received.values()), "duplicates": duplicates}
        return counts | Counter(row.state for row in rows.values())


def numbers(envelopes: Iterable[Any]) -> list[int]:
    """Return the ids of the outbox entries of these e-mails."""
    ids = []
    for envelope in envelopes:
        name = str(message_from_bytes(envelope.content)["Message-ID"])
        match = re.search(r"outbox\.(\d+)@", name)
        assert match is not None, name
        ids.append(int(match[1]))
    return ids
