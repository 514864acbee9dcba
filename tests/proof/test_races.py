"""Eight callers over two servers: whatever they are told makes sense, and so do the rows."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.conftest import KEY
from tests.proof.crashing import Victim
from tests.proof.history import makes_sense
from tests.proof.invariants import broken
from tests.proof.model import Roll
from tests.proof.record import LONG, record
from tests.proof.stage import Stage
from tests.proof.storm import Storm

SECONDS = float(os.environ.get("PROOF_SECONDS", "8"))
SEED = int(os.environ.get("PROOF_SEED", "1"))
ACTIONS = 6


@pytest.fixture
def servers(tmp_path: Path, url: str) -> Iterator[list[str]]:
    """Two of them over one database."""
    settings = {"database_url": url, "secret_key": KEY}
    both = [Victim(tmp_path, settings, separate_worker=True) for _ in range(2)]
    for one in both:
        one.start(post=False)
    yield [one.base for one in both]
    for one in both:
        one.kill()


@pytest.mark.timeout(0 if LONG else 300)
def test_what_eight_callers_of_two_servers_are_told_makes_sense(
    servers: list[str], database: Database, settings: Settings, vault: Vault
) -> None:
    stage = Stage(database, settings, vault)
    answers: Counter[str] = Counter()
    began, rooms, stale_refusals = time.monotonic(), 0, 0
    while rooms < 2 or time.monotonic() - began < SECONDS:
        piece = stage.begin()
        storm = Storm(piece, servers, SEED * 1_000_000 + rooms)
        storm.prepare()
        storm.rage(ACTIONS)
        rooms += 1
        answers.update(call.answer for call in storm.calls)
        assert not storm.lost
        found = piece.current_state()

        def is_end(model: Roll, found: dict[str, Any] = found, piece: Any = piece) -> bool:
            return untimed(piece.told(model)) == untimed(found)

        if not makes_sense(piece.model, storm.calls, is_end):
            # Writers of SQLite take turns, so there each action sees one moment.
            assert not database.is_sqlite, told(storm)
            assert makes_sense(piece.model, storm.calls, is_end, strict=False), told(storm)
            stale_refusals += 1
    assert broken(database) == []
    record(
        f"races, {database.dialect.name}",
        seconds=round(time.monotonic() - began),
        seed=SEED,
        runs=rooms,
        stale_refusals=stale_refusals,
        calls=sum(answers.values()),
        responses=dict(answers),
    )
    assert answers["200"] > rooms
    assert answers.keys() <= {"200", "400", "401", "403", "404", "409"}


def untimed(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the moments, which a model without a clock does not know."""
    rows = {name: (row[0], row[1], row[2], row[3]) for name, row in found["invitations"].items()}
    tokens = set(found["tokens"]) - {"staff"}
    return {**found, "invitations": rows, "grants": set(found["grants"]), "tokens": tokens}


def told(storm: Storm) -> str:
    """Write a history to a file, for analysis."""
    first = storm.calls[0].start
    return "\n".join(
        f"{call.start - first:8.4f} {call.end - first:8.4f} {call.answer} {call.action} "
        f"{call.given} {call.more} {(call.shown or '')[:6]}"
        for call in sorted(storm.calls, key=lambda call: call.start)
    )
