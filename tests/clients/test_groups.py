"""Both versions of the BrainSTEM client use a group, over a socket."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collegium.db.database import Database
from collegium.scopes.groups import actions as group_actions
from collegium.security.crypto import Vault, hash_password
from collegium.settings import load
from collegium.sign_in.devices import actions as device_actions
from tests.conftest import KEY
from tests.groups.scene import ask_many
from tests.support.serving import Service
from tests.support.world import World

ROOT = Path(__file__).parents[2]
PASSWORD = "green-lamps-hum-7"


@pytest.fixture
def world(url: str) -> Iterator[World]:
    database = Database(url)
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    yield World(database, settings, Vault(KEY))
    database.close()


def run_script(
    version: str, service: Service, accounts: dict[str, Any], on_line: Callable[[str], None]
) -> None:
    """Run the script of a client's version with its interpreter.

    Args:
        on_line: called with every line that the script writes to standard error.
    """
    interpreter = ROOT / f".venv-brainstem-{version}" / "bin" / "python"
    assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
    name = f"client_{version.replace('.', '_')}.py"
    script = Path(__file__).parent / "scripts" / "brainstem" / name
    # The client stores its token in the home folder.
    environment = {**os.environ, "HOME": str(service.folder)}
    lines: list[str] = []
    with subprocess.Popen(
        [interpreter, script, service.base, json.dumps(accounts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        timer = threading.Timer(90, process.kill)
        timer.start()
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            on_line(line)
        timer.cancel()
    assert process.returncode == 0, "".join(lines)[-3000:] + service.log.read_text()[-3000:]


@pytest.mark.parametrize("version", ["0.2.0", "2.0.0"])
def test_brainstem_client_manages_a_group(
    world: World, url: str, tmp_path: Path, version: str
) -> None:
    hashed = hash_password(PASSWORD)
    people = {name: world.person(name, password=hashed) for name in ("olga", "mia", "alice", "zoe")}
    with world.database.write() as tx:
        crowded_group = group_actions.create(tx, people["zoe"].actor, "Crowded")
    ask_many(world, crowded_group, 250)
    accounts = {
        name: {"id": person.id, "email": person.email, "password": PASSWORD, "token": person.token}
        for name, person in people.items()
    }

    def approve(line: str) -> None:
        if line.startswith("code "):
            with world.database.write() as tx:
                device = device_actions.get_pending_by_code(tx, world.vault, line.split()[1])
                device_actions.approve(tx, people["olga"].actor, device.uuid)

    settings = {"database_url": url, "secret_key": KEY, "brainstem_public_portal": "true"}
    service = Service(tmp_path, settings)
    service.start("--no-worker")
    try:
        run_script(version, service, accounts, approve)
    finally:
        service.stop()
