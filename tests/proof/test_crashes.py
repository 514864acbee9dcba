"""Killed at every point, nothing is done by halves, nothing lost, and no mail sent without end.

A mail goes out at least once. It comes twice only where the line broke after the mail server had
it, or the worker died between sending and noting.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.conftest import KEY
from tests.proof.crashing import Ordeal, Victim
from tests.proof.program import MAILS, WRITES
from tests.proof.record import LONG, record
from tests.proof.stage import LateClock, Stage, Timed
from tests.worker.scene import Mailbox, mail_server

ROUNDS = int(os.environ.get("PROOF_ROUNDS", "0"))
"""How often each point is gone through in the long run, and how often half of that at random."""
SECONDS = float(os.environ.get("PROOF_CRASH_SECONDS", "7200"))
SEED = int(os.environ.get("PROOF_SEED", "1"))
SHORT = {"sqlite": ("commit", "claimed", "accepted"), "postgresql": ("statement", "committed")}


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def ordeal(
    url: str, settings: Settings, vault: Vault, tmp_path: Path, box: Mailbox
) -> Iterator[Ordeal]:
    clock = LateClock()
    with mail_server(box) as port, closing(Timed(url, clock)) as database:
        given = {"database_url": url, "secret_key": KEY, "mail_url": f"smtp://127.0.0.1:{port}"}
        victim = Victim(tmp_path, given, clock, apart=not database.is_sqlite)
        # Whoever takes part lives as late as the victim, or their tokens have ended for it.
        yield Ordeal(Stage(database, settings, vault, clock), victim, box, SEED * 10_000)
        victim.kill()


@pytest.mark.timeout(0 if LONG else 300)
def test_nothing_is_done_by_halves_whoever_is_killed_where(ordeal: Ordeal) -> None:
    draw = random.Random(SEED)  # noqa: S311 - chooses when to kill
    name = ordeal.stage.database.dialect.name
    plan = [*SHORT[name], "random"]
    if ROUNDS:
        plan = [*(WRITES + MAILS) * ROUNDS, *("random",) * (ROUNDS * 4)]
        draw.shuffle(plan)
    began = time.monotonic()
    for point in plan:
        if LONG and time.monotonic() - began > SECONDS:
            break
        _one_life(ordeal, point, draw)
    # All that is owed goes out once nobody is killed any more.
    ordeal.pay_all()
    ordeal.check()
    after_data = ordeal.kills["accepted"] + ordeal.kills["random"]
    record(
        f"crashes, {name}",
        seconds=round(time.monotonic() - began),
        seed=SEED,
        calls=ordeal.calls,
        kills=dict(ordeal.kills),
        **ordeal.check_mails(after_data),
    )
    assert LONG or sum(ordeal.kills.values()) == len(plan)


def _one_life(ordeal: Ordeal, point: str, draw: random.Random) -> None:
    """Start it, load it, have it die, and look at what is left."""
    victim = ordeal.victim
    victim.wait(130)  # leases of the dead have run out
    if point == "random":
        victim.start()
        whom = draw.choice([("serve",), ("worker",), ()]) if victim.apart else ()
        timer = threading.Timer(draw.uniform(0.1, 1.5), victim.kill, whom)
        ordeal.live(2.5, actions=200, meanwhile=timer.start)
        if timer.is_alive():
            timer.join()
        victim.kill()
    elif point in MAILS:
        victim.start(worker=f"{point}:{draw.randint(1, 4)}")
        which = "worker" if victim.apart else "serve"
        for _ in _until(lambda: victim.is_dead(which, 0.2)):
            ordeal.live(5)
        victim.kill()
    else:
        # A preparation is some ten actions, each of them many statements.
        most = 300 if point == "statement" else 30
        victim.start(server=f"{point}:{draw.randint(1, most)}")
        for _ in _until(lambda: victim.is_dead("serve", 0.2)):
            ordeal.live(5)
        victim.kill()
    ordeal.kills[point] += 1
    ordeal.check()


def _until(is_over: object) -> Iterator[int]:
    for turn in count():
        if callable(is_over) and is_over():
            return
        assert turn < 10, "it would not die"
        yield turn
