"""The printed examples of the membership requests API, with client 0.2.0."""

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
FILES = sorted(SEEDS.glob("002_*.txt"))
BLOCKS = re.findall(r"```\n(.*?)```", FILES[0].read_text(), re.DOTALL) if FILES else []
CALLS = [block.strip() for block in BLOCKS if "client." in block]
BODIES = [ast.literal_eval(block.strip()) for block in BLOCKS if "client." not in block]
_RENAME = Statement(
    update(join_requests)
    .where(join_requests.c.uuid == bindparam("old"))
    .values(uuid=bindparam("new"))
)
PRELUDE = """
import json, sys
from brainstem_api_tools import BrainstemClient
client = BrainstemClient(token=sys.argv[1])
client._address = sys.argv[2]
"""

pytestmark = pytest.mark.skipif(not FILES, reason="the document is not at hand")


@pytest.fixture
def world(url: str) -> Iterator[World]:
    database = Database(url)
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    yield World(database, settings, Vault(KEY))
    database.close()


def run(service: Service, who: Person, calls: list[str]) -> list[dict[str, Any]]:
    """Run examples in one program; return the body of each response."""
    lines = [PRELUDE]
    for call in calls:
        lines += [call, "assert resp.status_code == 200, resp.text", "print(resp.text)"]
    done = subprocess.run(
        [CLIENT, "-", who.token, f"{service.base}/api/"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:] + service.log.read_text()[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(world: World, group: int, person: Person, uuid: str) -> None:
    """Ask to join a group; the request gets the UUID of the document."""
    with world.database.write() as tx:
        row, _ = group_actions.join(tx, person.actor, group)
        tx.execute(_RENAME, old=row.uuid, new=uuid.replace("-", ""))


def test_request_examples_run_as_printed(world: World, url: str, tmp_path: Path) -> None:
    mia, alice = world.person("mia"), world.person("alice")
    with world.database.write() as tx:
        numbers = [group_actions.create(tx, mia.actor, f"Group {at}") for at in range(1, 10)]
    listed, single = BODIES
    # The document uses the ids of the ninth and the first group.
    for row in listed["group_membership_requests"]:
        assert (row["user_account_request"], row["authgroup"] in numbers) == (alice.id, True)
        ask(world, row["authgroup"], alice, row["id"])
    assert len(CALLS) == 5
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    service.start("--no-worker")
    try:
        bodies = run(service, mia, CALLS[:4])
        assert bodies[0]["group_membership_requests"] == listed["group_membership_requests"]
        assert bodies[0]["meta"]["total_results"] == 2
        assert bodies[1] == bodies[2] == single
        (last,) = re.findall(r'id="([0-9a-f-]{36})"', CALLS[4])
        ask(world, numbers[1], alice, last)
        (canceled,) = run(service, alice, CALLS[4:])
        assert canceled["group_membership_request"]["id"] == last
        assert run(service, mia, CALLS[:1])[0]["count"] == 0
    finally:
        service.stop()
