"""Both generations of the BrainSTEM client tell the story of a group, over a socket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from collegium.db.database import Database
from collegium.scopes.groups import actions as group_actions
from collegium.security.crypto import Vault, hash_password
from collegium.settings import load
from collegium.sign_in.devices import actions as device_actions
from tests.groups.scene import ask_many
from tests.support.serving import Service
from tests.support.world import Person, World

ROOT = Path(__file__).parents[2]
KEY = "a key for tests, long enough to pass for one"
PASSWORD = "green-lamps-hum-7"


@pytest.fixture
def world(url: str) -> Iterator[World]:
    database = Database(url)
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    yield World(database, settings, Vault(KEY))
    database.close()


def tell(
    version: str, story: str, service: Service, facts: dict[str, Any], hear: Callable[[str], None]
) -> None:
    """Run a story with the interpreter of a client's version.

    Args:
        hear: is given every line that the story says meanwhile.
    """
    interpreter = ROOT / f".venv-brainstem-{version}" / "bin" / "python"
    assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
    script = Path(__file__).parent / "stories" / "brainstem" / story
    # The client keeps its token at home; here that is a folder of the test's own.
    environment = {**os.environ, "HOME": str(service.folder)}
    said: list[str] = []
    with subprocess.Popen(
        [interpreter, script, service.base, json.dumps(facts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        watch = threading.Timer(90, process.kill)
        watch.start()
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            hear(line)
        watch.cancel()
    assert process.returncode == 0, "".join(said)[-3000:] + service.log.read_text()[-3000:]


@pytest.mark.parametrize(("version", "story"), [("0.2.0", "old.py"), ("2.0.0", "new.py")], ids=str)
def test_a_laboratory_runs_its_scripts(
    world: World, url: str, tmp_path: Path, version: str, story: str
) -> None:
    hashed = hash_password(PASSWORD)
    people = {name: world.person(name, password=hashed) for name in ("olga", "mia", "alice", "zoe")}
    with world.database.write() as tx:
        crowded = group_actions.create(tx, people["zoe"].actor, "Crowded")
    ask_many(world, crowded, 250)
    facts = {name: told(person) for name, person in people.items()}

    def approve(line: str) -> None:
        if line.startswith("code "):
            with world.database.write() as tx:
                device = device_actions.find(tx, world.vault, line.split()[1])
                device_actions.approve(tx, people["olga"].actor, device.uuid)

    service = Service(
        tmp_path, {"database_url": url, "secret_key": KEY, "brainstem_public_portal": "true"}
    )
    service.start("--no-worker")
    try:
        tell(version, story, service, facts, approve)
    finally:
        service.stop()


def test_the_readme_runs_as_printed(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (transcript,) = re.findall(r"```py\n(.*?)```", readme, re.DOTALL)
    service = Service(tmp_path, {})
    token = service.staff()
    service.start("--no-worker")
    try:
        given = transcript.replace("http://127.0.0.1:8000", service.base)
        assert "YOUR-TOKEN" in given
        done = subprocess.run(
            [ROOT / ".venv-brainstem-2.0.0" / "bin" / "python", "-"],
            input=given.replace("YOUR-TOKEN", token),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        bearer = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{service.base}/api/private/users/group/", headers=bearer)
        listed = answer.json()["groups"]
        assert [one["name"] for one in listed] == ["Place cells"]
    finally:
        service.stop()


def told(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "email": person.email,
        "password": PASSWORD,
        "token": person.token,
    }
