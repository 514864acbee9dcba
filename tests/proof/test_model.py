"""The service behaves like the model: actions, APIs, and the running server."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.conftest import KEY
from tests.proof.crashing import Victim
from tests.proof.machine import ApiModelMachine, ModelMachine
from tests.proof.record import LONG, record
from tests.proof.stage import Clock, KeptClock, Stage, Timed
from tests.support.serving import TLS
from tests.support.site import Site

EXAMPLES = int(os.environ.get("PROOF_EXAMPLES", "0"))


def run_machine(machine: type[ModelMachine], examples: int, what: str) -> int:
    """Run a state machine; return the number of steps."""
    machine.steps = 0
    started = time.monotonic()
    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=50,
            # The same steps each time, except in the long run, which records its seed.
            derandomize=not LONG,
            database=None,
            deadline=None,
            # Without shrinking, which takes too long.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    seconds = round(time.monotonic() - started)
    record(what, seconds=seconds, steps=machine.steps, examples=EXAMPLES or examples)
    return machine.steps


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("staff_decide", [False, True], ids=["free", "staff-decide"])
def test_actions_behave_like_the_model(
    make_settings: Callable[..., Settings], url: str, vault: Vault, staff_decide: bool
) -> None:
    settings = make_settings(only_staff_can_invite_users=str(staff_decide).lower())
    clock = Clock()
    database = Timed(url, clock)

    class Machine(ModelMachine):
        stage = Stage(database, settings, vault, clock)

    try:
        name = "staff decide" if staff_decide else "free"
        steps = run_machine(Machine, 16, f"model, actions, {database.dialect.name}, {name}")
    finally:
        database.close()
    assert steps > 300


@pytest.mark.timeout(0 if LONG else 300)
def test_apis_behave_like_the_model(settings: Settings, url: str, vault: Vault) -> None:
    clock = Clock()
    database = Timed(url, clock)
    site = Site(settings, database, vault)

    def send_request(method: str, path: str, headers: dict[str, str], **options: Any) -> Any:
        return site.request(method, path, None, headers=headers, **options)

    class Machine(ApiModelMachine):
        stage = Stage(database, settings, vault, clock)
        send = staticmethod(send_request)

    try:
        steps = run_machine(Machine, 8, f"model, APIs, {database.dialect.name}")
    finally:
        database.close()
    assert steps > 150


@pytest.mark.timeout(0 if LONG else 300)
def test_running_server_behaves_like_the_model(
    settings: Settings, url: str, vault: Vault, tmp_path: Path
) -> None:
    clock = KeptClock(tmp_path / "clock")
    database = Timed(url, clock)
    victim = Victim(tmp_path, {"database_url": url, "secret_key": KEY}, separate_worker=True)
    victim.start(post=False, clock=str(tmp_path / "clock"))

    class Machine(ApiModelMachine):
        stage = Stage(database, settings, vault, clock)

    try:
        with httpx.Client(base_url=victim.base, timeout=30, verify=TLS) as client:
            Machine.send = client.request
            steps = run_machine(Machine, 4, f"model, running server, {database.dialect.name}")
    finally:
        victim.kill()
        database.close()
    assert steps > 150
