"""Compare writes of the service and of the baseline, each on its own copy of a database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import bindparam, select

from bench import data
from bench.databases import Part
from bench.load_generator import Case, compare
from bench.machine import HOST, Program
from bench.reading import BASELINE, SERVICE, entry, in_process
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import invitations, join_requests, roles, scopes
from tests.support import bulk_data
from tests.support.site import record_statements

TARGET: Final = 0.5
MAX_RATE: Final = 2000
"""Upper limit of operations per second, to prepare enough rows."""
ACTIONS: Final = ("create", "accept", "approve")
_SCOPE: Final = Statement[str](select(scopes.c.uuid).where(scopes.c.id == bindparam("id")))
_ROLE: Final = Statement(select(roles.c.id, roles.c.uuid).where(roles.c.name == bindparam("name")))


class Operations:
    """Write requests, with the pending invitations and join requests that they need.

    Args:
        number: how often a pending invitation can be accepted and a join request approved.
    """

    def __init__(self, database: Database, size: int, number: int) -> None:
        self._layout = layout = data.Layout(size)
        with database.read() as tx:
            self._scope = tx.fetch_only(_SCOPE, id=layout.project(layout.manager, 0))
            role: Any = tx.fetch_one(_ROLE, name="PROJECT.MEMBER")
            now = tx.now
        self._role_uuid = role.uuid
        chance = random.Random(number)  # noqa: S311 - reproducible
        people = range(layout.organisations + 1, size)
        active = [n for n in people if n % 997 and n % 200 and n != layout.staff]
        invited, asked = [], []
        self._pending: dict[str, list[Case]] = {"accept": [], "approve": []}
        for at in range(number):
            account = active[at % len(active)]
            # Another organisation in each round, never the account's own.
            away = 1 + at // len(active)
            home = (layout.home(account) - 1 + away) % layout.organisations + 1
            uuids = [UUID(int=chance.getrandbits(128), version=4).hex for _ in range(2)]
            common = {"role_id": role.id, "state": "pending", "created_at": now}
            invited.append(
                common
                | {
                    "uuid": uuids[0],
                    "scope_id": layout.project(home, at),
                    "email": f"guest{at}@example.net",
                    "expires_at": now + data.LONG,
                    "created_by": home,
                    "sponsor_id": home,
                }
            )
            project = layout.project(home, at + 1)
            asked.append(common | {"uuid": uuids[1], "scope_id": project, "account_id": account})
            for action, who, path in (
                ("accept", account, f"/api/user-invitations/{uuids[0]}/accept/"),
                ("approve", home, f"/api/user-permission-requests/{uuids[1]}/approve/"),
            ):
                self._pending[action].append(Case(action, who, path, TARGET, "POST"))
        bulk_data.write(database, ((invitations, invited), (join_requests, asked)))
        data.refresh(database)

    def all(self, action: str) -> Iterator[Case]:
        """Yield the requests of an action, each time the same."""
        yield from self._pending.get(action, ())
        for at in count() if action == "create" else ():
            body = {
                "scope": f"http://{HOST}/api/projects/{self._scope}/",
                "role": self._role_uuid,
                "email": f"somebody{at}@example.com",
                "full_name": f"Somebody {at}",
            }
            who, path = self._layout.manager, "/api/user-invitations/"
            yield Case(action, who, path, TARGET, "POST", body)


def run(part: Part) -> dict[str, Any]:
    """Measure all operations; return the rounds of both programs by operation."""
    url = part.copy(part.size, "writing")
    number = int((part.rounds * part.seconds + 3) * MAX_RATE)
    with closing(Database(url, size=1)) as database:
        operations = Operations(database, part.size, number)
    # Each program has its own copy, so both get the same requests.
    baseline_url = part.databases.copy(url, "writing_baseline")
    results = {}
    with Program(*SERVICE, url=url) as service, Program(*BASELINE, url=baseline_url) as baseline:
        for action in ACTIONS:
            ours, theirs = operations.all(action), operations.all(action)
            case = next(ours)
            statements = _statements(url, case, baseline_url, next(theirs))
            sides = (
                (service, (one.sent for one in ours)),
                (baseline, (one.sent for one in theirs)),
            )
            seen = compare(*sides, seconds=part.seconds, rounds=part.rounds)
            results[action] = entry(part, case, seen, statements)
        resident = service.resident()
    part.databases.drop(url, baseline_url)
    return {"resident": resident, "cases": results}


def _statements(url: str, ours: Case, baseline_url: str, theirs: Case) -> tuple[int, int]:
    """Count the SQL statements of an operation in the service and in the baseline."""
    with in_process(url) as (site, _, _), record_statements(pytest.MonkeyPatch()) as seen:
        headers = {"Host": HOST}
        site.post(ours.path, ours.token, json=ours.body, headers=headers).raise_for_status()
    with in_process(baseline_url) as (_, baseline, store):
        baseline.post(theirs.path, theirs.content, theirs.token, f"http://{HOST}", "127.0.0.1")
        return sum("SAVEPOINT" not in one for one in seen), store.statements
