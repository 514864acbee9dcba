"""Compare writes of the service and of the baseline, each on its own copy of a database."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, select

from bench import data, load_generator
from bench.baseline import RECORDED_OPERATIONS
from bench.databases import Databases
from bench.machine import HOST, Program
from bench.reading import BASELINE_MODES, SERVICE, entry, line, measure
from bench.replay import RecordedOperation, Sample, learn, recorded_steps
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import invitations, join_requests, roles, scopes
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.support import bulk_data
from tests.support.site import Site

TARGET: Final = 0.5
SAMPLES: Final = 3
MAX_RATE: Final = 2000
"""Upper limit of operations per second, to prepare enough rows."""
_SCOPE: Final = Statement(select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))
_ROLE: Final = Statement(select(roles.c.uuid).where(roles.c.name == bindparam("name")))


@dataclass(frozen=True)
class Pending:
    """A pending invitation or join request.

    Args:
        who: id of the account that may accept or approve it.
    """

    uuid: str
    who: int


def add_pending(database: Database, size: int, count: int) -> tuple[list[Pending], list[Pending]]:
    """Insert pending invitations and join requests of accounts of other organisations."""
    layout, chance = data.Layout(size), random.Random(count)  # noqa: S311 - reproducible
    with database.read() as tx:
        role = {row.name: row.id for row in tx.fetch_all(Statement(select(roles)))}[
            "PROJECT.MEMBER"
        ]
        now = tx.now
    people = range(layout.organisations + 1, size)
    candidates = [n for n in people if n % 997 and n % 200 and n != layout.staff]
    invited, asked = [], []
    for number in range(count):
        account = candidates[number % len(candidates)]
        # Another organisation in each round, never the account's own.
        away = 1 + number // len(candidates)
        home = (layout.home(account) - 1 + away) % layout.organisations + 1
        common = {"role_id": role, "state": "pending", "created_at": now}
        invited.append(
            common
            | {
                "uuid": UUID(int=chance.getrandbits(128), version=4).hex,
                "scope_id": layout.project(home, number),
                "email": f"guest{number}@example.net",
                "expires_at": now + data.LONG,
                "created_by": home,
                "sponsor_id": home,
            }
        )
        asked.append(
            common
            | {
                "uuid": UUID(int=chance.getrandbits(128), version=4).hex,
                "scope_id": layout.project(home, number + 1),
                "account_id": account,
            }
        )
    bulk_data.write(database, ((invitations, invited), (join_requests, asked)))
    owners = {
        layout.project(home, which): home
        for home in range(1, layout.organisations + 1)
        for which in range(data.PROJECTS_PER_ORGANISATION)
    }
    return (
        [Pending(row["uuid"], candidates[at % len(candidates)]) for at, row in enumerate(invited)],
        [Pending(row["uuid"], owners[row["scope_id"]]) for row in asked],
    )


class Operations:
    """Write requests; each can be sent once.

    Args:
        count: number of each operation.
    """

    def __init__(self, database: Database, size: int, count: int) -> None:
        self._layout = data.Layout(size)
        with database.read() as tx:
            self._scope = tx.scalar(_SCOPE, id=self._layout.project(self._layout.manager, 0))
            self._role = tx.scalar(_ROLE, name="PROJECT.MEMBER")
        self._invitations, self._requests = add_pending(database, size, count)
        data.refresh(database)

    def all(self, action: str) -> Iterator[tuple[str, int, Any]]:
        """Yield path, id of the caller and body."""
        if action == "create":
            for number in count():
                yield (
                    "/api/user-invitations/",
                    self._layout.manager,
                    {
                        "scope": f"http://{HOST}/api/projects/{self._scope}/",
                        "role": self._role,
                        "email": f"somebody{number}@example.com",
                        "full_name": f"Somebody {number}",
                    },
                )
        noun, waiting = {
            "accept": ("user-invitations", self._invitations),
            "approve": ("user-permission-requests", self._requests),
        }[action]
        for one in waiting:
            yield f"/api/{noun}/{one.uuid}/{action}/", one.who, None


def recorded_operations(url: str, actions: Operations) -> dict[str, RecordedOperation]:
    """Record the operations of the service."""
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": data.SECRET_KEY})
    vault = Vault(data.SECRET_KEY)
    operations = {}
    with closing(Database(url)) as database:
        site = Site(settings, database, vault)
        for action in ("create", "accept", "approve"):
            samples = []
            for _, (path, who, body) in zip(range(SAMPLES), actions.all(action), strict=False):
                token = data.token_of(who)
                with recorded_steps() as steps:
                    response = site.post(path, token, json=body, headers={"Host": HOST})
                if not response.is_success:
                    raise load_generator.LoadError(f"{action}: {response.text}")
                inputs = {"digest": vault.keyed_hash(token)} | (
                    body or {"uuid": path.split("/")[-3]}
                )
                samples.append(Sample(inputs, steps, response.status_code, response.content))
            operations[action] = learn(samples)
        site.close()
    return operations


def run(
    databases: Databases,
    kind: str,
    size: int,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure all operations; return the rounds of both programs by operation."""
    first = databases.copy(databases.url(kind, size), "writing")
    with closing(Database(first, size=1)) as database:
        actions = Operations(database, size, int((rounds * seconds + 3) * MAX_RATE))
    urls = [
        databases.copy(first, f"writing_{name}") for name in ("learning", "service", "baseline")
    ]
    known = recorded_operations(urls[0], actions)
    file = data.FOLDER / "recorded_operations"
    file.write_bytes(pickle.dumps(known))
    results = {}
    service = Program(*SERVICE, url=urls[1])
    baselines = {
        how: Program(
            "-m", "bench.baseline", f"--{how}", url=urls[2], more={RECORDED_OPERATIONS: str(file)}
        )
        for how in BASELINE_MODES
    }
    try:
        for action, recorded in known.items():
            results[action] = _measure(actions, action, service, baselines, seconds, rounds)
            number = sum(not text.endswith("SAVEPOINT point") for text, *_ in recorded.steps)
            results[action]["statements"] = (number, number)
            say(line(action, results[action]))
        resident = service.resident()
    finally:
        for one in (service, *baselines.values()):
            one.stop()
        databases.drop(first, *urls)
    return {"resident": resident, "cases": results}


def _measure(
    actions: Operations,
    action: str,
    service: Program,
    baselines: dict[str, Program],
    seconds: float,
    rounds: int,
) -> dict[str, Any]:
    # Each program has its own copy, so both get the same requests.
    ours, theirs = _sent(actions, action), _sent(actions, action)
    trial = {
        how: load_generator.send(baseline.port, theirs, 1).rate
        for how, baseline in baselines.items()
    }
    how = max(trial, key=trial.__getitem__)
    load_generator.send(service.port, ours, 1)
    seen = [
        (
            measure(service, lambda: load_generator.send(service.port, ours, seconds)),
            measure(
                baselines[how], lambda: load_generator.send(baselines[how].port, theirs, seconds)
            ),
        )
        for _ in range(rounds)
    ]
    return entry(TARGET, seen, (0, 0)) | {"asks": how}


def _sent(actions: Operations, action: str) -> Iterator[bytes]:
    for path, who, body in actions.all(action):
        yield load_generator.request("POST", path, data.token_of(who), body)
