"""Writing: the service against a floor that runs the same statements, each on its own copy."""

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

from bench import data, drive
from bench.floor import RECIPES
from bench.machine import HOST, Program
from bench.reading import FLOORS, SERVICE, entry, line, measured
from bench.replay import Recipe, Sample, learn, watched
from bench.shelf import Shelf
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import invitations, join_requests, roles, scopes
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.support import big
from tests.support.site import Site

BAR: Final = 0.5
SAMPLES: Final = 3
MOST: Final = 2000
"""No machine does more of one action in a second."""
_SCOPE: Final = Statement(select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))
_ROLE: Final = Statement(select(roles.c.uuid).where(roles.c.name == bindparam("name")))


@dataclass(frozen=True)
class Pending:
    """What waits to be taken or decided, and by whom.

    Args:
        who: the number of the account that may.
    """

    uuid: str
    who: int


def add_pending(database: Database, size: int, count: int) -> tuple[list[Pending], list[Pending]]:
    """Write invitations and requests that wait; whoever gets in comes from somewhere else."""
    cast, chance = data.Cast(size), random.Random(count)  # noqa: S311 - to be the same every time
    with database.read() as tx:
        role = {row.name: row.id for row in tx.fetch_all(Statement(select(roles)))}[
            "PROJECT.MEMBER"
        ]
        now = tx.now
    people = range(cast.organisations + 1, size)
    there = [n for n in people if n % 997 and n % 200 and n != cast.staff]
    invited, asked = [], []
    for number in range(count):
        account = there[number % len(there)]
        # Another place each time round, and never one of the person's own.
        away = 1 + number // len(there)
        home = (cast.home(account) - 1 + away) % cast.organisations + 1
        common = {"role_id": role, "state": "pending", "created_at": now}
        invited.append(
            common
            | {
                "uuid": UUID(int=chance.getrandbits(128), version=4).hex,
                "scope_id": cast.project(home, number),
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
                "scope_id": cast.project(home, number + 1),
                "account_id": account,
            }
        )
    big.write(database, ((invitations, invited), (join_requests, asked)))
    owners = {
        cast.project(home, which): home
        for home in range(1, cast.organisations + 1)
        for which in range(data.PROJECTS_OF_ONE)
    }
    return (
        [Pending(row["uuid"], there[at % len(there)]) for at, row in enumerate(invited)],
        [Pending(row["uuid"], owners[row["scope_id"]]) for row in asked],
    )


class Deeds:
    """Requests that change something; each can be sent once.

    Args:
        count: of each kind.
    """

    def __init__(self, database: Database, size: int, count: int) -> None:
        self._cast = data.Cast(size)
        with database.read() as tx:
            self._scope = tx.scalar(_SCOPE, id=self._cast.project(self._cast.manager, 0))
            self._role = tx.scalar(_ROLE, name="PROJECT.MEMBER")
        self._invitations, self._requests = add_pending(database, size, count)
        data.refresh(database)

    def all(self, action: str) -> Iterator[tuple[str, int, Any]]:
        """Give path, who asks and body of one after the other."""
        if action == "create":
            for number in count():
                yield (
                    "/api/user-invitations/",
                    self._cast.manager,
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


def recipes(url: str, actions: Deeds) -> dict[str, Recipe]:
    """Watch the service do each action a few times, and learn it."""
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": data.SECRET_KEY})
    vault = Vault(data.SECRET_KEY)
    found = {}
    with closing(Database(url)) as database:
        site = Site(settings, database, vault)
        for action in ("create", "accept", "approve"):
            samples = []
            for _, (path, who, body) in zip(range(SAMPLES), actions.all(action), strict=False):
                token = data.token_of(who)
                with watched() as steps:
                    answer = site.post(path, token, json=body, headers={"Host": HOST})
                if not answer.is_success:
                    raise drive.Failed(f"{action}: {answer.text}")
                inputs = {"digest": vault.digest(token)} | (body or {"uuid": path.split("/")[-3]})
                samples.append(Sample(inputs, steps, answer.status_code, answer.content))
            found[action] = learn(samples)
        site.close()
    return found


def run(
    shelf: Shelf, kind: str, size: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure everything that is written; give the rounds of both, by action."""
    first = shelf.copy(shelf.url(kind, size), "writing")
    with closing(Database(first, size=1)) as database:
        actions = Deeds(database, size, int((rounds * seconds + 3) * MOST))
    urls = [shelf.copy(first, f"writing_{name}") for name in ("learning", "service", "floor")]
    known = recipes(urls[0], actions)
    file = data.FOLDER / "recipes"
    file.write_bytes(pickle.dumps(known))
    told = {}
    service = Program(*SERVICE, url=urls[1])
    floors = {
        how: Program("-m", "bench.floor", f"--{how}", url=urls[2], more={RECIPES: str(file)})
        for how in FLOORS
    }
    try:
        for action, recipe in known.items():
            told[action] = _measured(actions, action, service, floors, seconds, rounds)
            number = sum(not text.endswith("SAVEPOINT point") for text, *_ in recipe.steps)
            told[action]["statements"] = (number, number)
            say(line(action, told[action]))
        resident = service.resident()
    finally:
        for one in (service, *floors.values()):
            one.stop()
        shelf.drop(first, *urls)
    return {"resident": resident, "cases": told}


def _measured(
    actions: Deeds,
    action: str,
    service: Program,
    floors: dict[str, Program],
    seconds: float,
    rounds: int,
) -> dict[str, Any]:
    # Each program has its own copy, so both are sent the same.
    ours, theirs = _sent(actions, action), _sent(actions, action)
    trial = {how: drive.own(floor.port, theirs, 1).rate for how, floor in floors.items()}
    how = max(trial, key=trial.__getitem__)
    drive.own(service.port, ours, 1)
    seen = [
        (
            measured(service, lambda: drive.own(service.port, ours, seconds)),
            measured(floors[how], lambda: drive.own(floors[how].port, theirs, seconds)),
        )
        for _ in range(rounds)
    ]
    return entry(BAR, seen, (0, 0)) | {"asks": how}


def _sent(actions: Deeds, action: str) -> Iterator[bytes]:
    for path, who, body in actions.all(action):
        yield drive.request("POST", path, data.token_of(who), body)
