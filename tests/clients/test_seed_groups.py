"""Every printed example of the membership requests API runs as printed, with client 0.2.0."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, update

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import join_requests
from collegium.scopes.groups import actions as group_actions
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.clients.seeds import SEEDS
from tests.conftest import KEY
from tests.support.serving import Service
from tests.support.world import Person, World

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / ".venv-brainstem-0.2.0" / "bin" / "python"
FOUND = sorted(SEEDS.glob("002_*.txt"))
BLOCKS = re.findall(r"```\n(.*?)```", FOUND[0].read_text(), re.DOTALL) if FOUND else []
CALLS = [block.strip() for block in BLOCKS if "client." in block]
SHOWN = [ast.literal_eval(block.strip()) for block in BLOCKS if "client." not in block]
_NAME = Statement(
    update(join_requests)
    .where(join_requests.c.uuid == bindparam("was"))
    .values(uuid=bindparam("becomes"))
)
PRELUDE = """
import json, sys
from brainstem_api_tools import BrainstemClient
client = BrainstemClient(token=sys.argv[1])
client._address = sys.argv[2]
"""

pytestmark = pytest.mark.skipif(not FOUND, reason="the document is not at hand")


@pytest.fixture
def world(url: str) -> Iterator[World]:
    database = Database(url)
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    yield World(database, settings, Vault(KEY))
    database.close()


def run(service: Service, who: Person, calls: list[str]) -> list[dict[str, Any]]:
    """Run examples in one program; give what each was answered."""
    told = [PRELUDE]
    for call in calls:
        told += [call, "assert resp.status_code == 200, resp.text", "print(resp.text)"]
    done = subprocess.run(
        [CLIENT, "-", who.token, f"{service.base}/api/"],
        input="\n".join(told),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:] + service.log.read_text()[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(world: World, group: int, person: Person, uuid: str) -> None:
    """Ask to be let in; the request is called what the document calls it."""
    with world.database.write() as tx:
        row, _ = group_actions.join(tx, person.actor, group)
        tx.execute(_NAME, was=row.uuid, becomes=uuid.replace("-", ""))


def test_the_examples_run_as_printed(world: World, url: str, tmp_path: Path) -> None:
    mia, alice = world.person("mia"), world.person("alice")
    with world.database.write() as tx:
        numbers = [group_actions.create(tx, mia.actor, f"Group {at}") for at in range(1, 10)]
    listed, one = SHOWN
    # The document's own numbers: somebody asks at the ninth group, and at the first.
    for row in listed["group_membership_requests"]:
        assert (row["user_account_request"], row["authgroup"] in numbers) == (alice.id, True)
        ask(world, row["authgroup"], alice, row["id"])
    assert len(CALLS) == 5
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    service.start("--no-worker")
    try:
        told = run(service, mia, CALLS[:4])
        assert told[0]["group_membership_requests"] == listed["group_membership_requests"]
        assert told[0]["meta"]["total_results"] == 2
        assert told[1] == told[2] == one
        (last,) = re.findall(r'id="([0-9a-f-]{36})"', CALLS[4])
        ask(world, numbers[1], alice, last)
        (canceled,) = run(service, alice, CALLS[4:])
        assert canceled["group_membership_request"]["id"] == last
        assert run(service, mia, CALLS[:1])[0]["count"] == 0
    finally:
        service.stop()
