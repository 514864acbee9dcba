"""Processes are killed at every point: no action is half done, nothing is lost.

Every e-mail is sent at least once. It is sent twice only if the connection broke after the mail
server had it, or the worker died before it recorded the batch.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.worker.worker import BATCH
from tests.conftest import KEY
from tests.proof.crashing import CrashRun, Victim
from tests.proof.program import MAILS, WRITES
from tests.proof.record import LONG, record
from tests.proof.stage import LateClock, Stage, Timed
from tests.worker.scene import Mailbox, mail_server

ROUNDS = int(os.environ.get("PROOF_ROUNDS", "0"))
"""Kills at each point in the long run; there are four times as many at random moments."""
SECONDS = float(os.environ.get("PROOF_CRASH_SECONDS", "7200"))
SEED = int(os.environ.get("PROOF_SEED", "1"))
SHORT = {
    "sqlite": ("commit", "claimed", "sending", "accepted"),
    "postgresql": ("statement", "committed"),
}


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def run(
    url: str, settings: Settings, vault: Vault, tmp_path: Path, box: Mailbox
) -> Iterator[CrashRun]:
    clock = LateClock()
    with mail_server(box) as port, closing(Timed(url, clock)) as database:
        values = {"database_url": url, "secret_key": KEY, "mail_url": f"smtp://127.0.0.1:{port}"}
        victim = Victim(tmp_path, values, clock, separate_worker=not database.is_sqlite)
        # The test uses the clock of the service: otherwise its tokens would have expired.
        yield CrashRun(Stage(database, settings, vault, clock), victim, box, SEED * 10_000)
        victim.kill()


@pytest.mark.timeout(0 if LONG else 300)
def test_killed_processes_lose_nothing_and_leave_no_half_done_action(run: CrashRun) -> None:
    rng = random.Random(SEED)  # noqa: S311 - chooses when to kill
    name = run.stage.database.dialect.name
    plan = [*SHORT[name], "random"]
    if ROUNDS:
        plan = [*(WRITES + MAILS) * ROUNDS, *("random",) * (ROUNDS * 4)]
        rng.shuffle(plan)
    started = time.monotonic()
    for point in plan:
        if LONG and time.monotonic() - started > SECONDS:
            break
        _run_and_kill(run, point, rng)
    run.send_all_mails()
    run.check()
    # A worker that dies has not recorded the batch that it was sending.
    unrecorded = run.kills.total() * BATCH
    record(
        f"crashes, {name}",
        seconds=round(time.monotonic() - started),
        seed=SEED,
        calls=run.calls,
        kills=dict(run.kills),
        **run.check_mails(unrecorded),
    )
    assert LONG or sum(run.kills.values()) == len(plan)


def _run_and_kill(run: CrashRun, point: str, rng: random.Random) -> None:
    """Start the service, run calls, kill it, and check the rows."""
    victim = run.victim
    victim.wait(130)  # leases of killed workers have expired
    if point == "random":
        victim.start()
        processes = rng.choice([("serve",), ("worker",), ()]) if victim.separate_worker else ()
        timer = threading.Timer(rng.uniform(0.1, 1.5), victim.kill, processes)
        run.run_calls(2.5, actions=200, meanwhile=timer.start)
        if timer.is_alive():
            timer.join()
        victim.kill()
    elif point in MAILS:
        victim.start(worker=f"{point}:{rng.randint(1, 4)}")
        _run_until_killed(run, "worker" if victim.separate_worker else "serve")
    else:
        # The preparation has about ten actions with many statements each.
        most = 300 if point == "statement" else 30
        victim.start(server=f"{point}:{rng.randint(1, most)}")
        _run_until_killed(run, "serve")
    run.kills[point] += 1
    run.check()


def _run_until_killed(run: CrashRun, process: str) -> None:
    for _ in range(11):
        if run.victim.is_dead(process, 0.2):
            break
        run.run_calls(5)
    else:
        raise AssertionError("the process was not killed")
    run.victim.kill()
