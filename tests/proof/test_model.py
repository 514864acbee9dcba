"""The service does what the model says: its actions, its wires, the running server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.conftest import KEY
from tests.proof.crashing import Victim
from tests.proof.machine import Both, BothWired
from tests.proof.record import LONG, record
from tests.proof.stage import Clock, KeptClock, Stage, Timed
from tests.support.site import Site

EXAMPLES = int(os.environ.get("PROOF_EXAMPLES", "0"))


def play(machine: type[Both], examples: int, what: str) -> int:
    """Run a machine, and give the number of steps that it took."""
    machine.steps = 0
    began = time.monotonic()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=50,
            # The same steps each time, but for the long run, whose seed is given and kept.
            derandomize=not LONG,
            database=None,
            deadline=None,
            # A failure is told as it was met: to shrink it takes longer than a run may.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    seconds = round(time.monotonic() - began)
    record(what, seconds=seconds, steps=machine.steps, examples=EXAMPLES or examples)
    return machine.steps


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("staff_decide", [False, True], ids=["free", "staff-decide"])
def test_the_actions_do_what_the_model_says(
    make_settings: Callable[..., Settings], url: str, vault: Vault, staff_decide: bool
) -> None:
    given = make_settings(only_staff_can_invite_users=str(staff_decide).lower())
    clock = Clock()
    database = Timed(url, clock)

    class Here(Both):
        stage = Stage(database, given, vault, clock)

    try:
        name = "staff decide" if staff_decide else "free"
        steps = play(Here, 30, f"model, actions, {database.dialect.name}, {name}")
    finally:
        database.close()
    assert steps > 500


@pytest.mark.timeout(0 if LONG else 300)
def test_the_wires_do_what_the_model_says(settings: Settings, url: str, vault: Vault) -> None:
    clock = Clock()
    database = Timed(url, clock)
    site = Site(settings, database, vault)

    def ask(method: str, path: str, headers: dict[str, str], **options: Any) -> Any:
        return site.request(method, path, None, headers=headers, **options)

    class Here(BothWired):
        stage = Stage(database, settings, vault, clock)
        send = staticmethod(ask)

    try:
        steps = play(Here, 12, f"model, APIs, {database.dialect.name}")
    finally:
        site.close()
        database.close()
    assert steps > 200


@pytest.mark.timeout(0 if LONG else 300)
def test_the_running_server_does_what_the_model_says(
    settings: Settings, url: str, vault: Vault, tmp_path: Path
) -> None:
    clock = KeptClock(tmp_path / "clock")
    database = Timed(url, clock)
    victim = Victim(tmp_path, {"database_url": url, "secret_key": KEY}, apart=True)
    victim.start(post=False, clock=str(tmp_path / "clock"))

    class Here(BothWired):
        stage = Stage(database, settings, vault, clock)

    try:
        with httpx.Client(base_url=victim.base, timeout=30) as client:
            Here.send = client.request
            steps = play(Here, 4, f"model, running server, {database.dialect.name}")
    finally:
        victim.kill()
        database.close()
    assert steps > 150
