"""Staff who read as somebody else leave a trace, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.accounts import actions as account_actions
from collegium.api.request import RequestContext
from collegium.db.connections import UnavailableError
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import events
from tests.support.site import Site, counted_statements
from tests.support.world import Person, World

ME = "/api/users/me/"


def act(
    site: Site, who: Person, as_whom: str, method: str = "GET", path: str = ME
) -> httpx.Response:
    return site.request(method, path, who, headers={"X-Impersonated-User-Uuid": as_whom})


def traces(database: Database) -> list[tuple[int | None, int | None]]:
    """Who has acted as whom, in order."""
    with database.read() as tx:
        query = select(events).where(events.c.kind == "account.impersonated")
        rows = tx.fetch_all(Statement(query.order_by(events.c.id)))
    return [(row.actor_id, row.account_id) for row in rows]


@contextmanager
def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> Iterator[None]:
    """Let requests come at a moment."""
    begin, write = RequestContext.__init__, Database.write

    def beginning(self: RequestContext, *given: Any) -> None:
        begin(self, *given)
        self.now = moment

    def writing(self: Database, _now: datetime | None = None) -> Any:
        return write(self, moment)

    with monkeypatch.context() as patch:
        patch.setattr(RequestContext, "__init__", beginning)
        patch.setattr(Database, "write", writing)
        yield


def test_reading_as_somebody_leaves_one_event_for_each_person_and_hour(
    site: Site, world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob, boss = world.person("ada"), world.person("bob"), world.person("boss", is_staff=True)
    staff = world.staff
    nine = datetime.now(UTC).replace(minute=5, second=0, microsecond=0)
    with at(monkeypatch, nine):
        for path in (ME, f"/api/users/{ada.uuid}/", "/api/projects/"):
            for method in ("GET", "HEAD"):
                assert act(site, staff, ada.uuid, method, path).status_code == 200
        assert traces(database) == [(staff.id, ada.id)]
        act(site, staff, bob.uuid)
        act(site, boss, ada.uuid)
    assert traces(database) == [(staff.id, ada.id), (staff.id, bob.id), (boss.id, ada.id)]
    with at(monkeypatch, nine + timedelta(minutes=50)):
        act(site, staff, ada.uuid)
    assert len(traces(database)) == 3
    with at(monkeypatch, nine + timedelta(minutes=60)):
        act(site, staff, ada.uuid)
        act(site, staff, ada.uuid)
    assert traces(database)[3:] == [(staff.id, ada.id)]


def test_what_is_refused_to_somebody_leaves_a_trace_as_well(
    site: Site, world: World, database: Database
) -> None:
    ada = world.person("ada")
    assert act(site, world.staff, ada.uuid, path=f"/api/users/{'1' * 32}/").status_code == 404
    assert traces(database) == [(world.staff.id, ada.id)]


def test_nobody_who_acts_for_themselves_leaves_a_trace(
    site: Site, world: World, database: Database
) -> None:
    ada, support = world.person("ada"), world.person("support", is_support=True)
    for who in (ada, support):
        assert act(site, who, world.staff.uuid).status_code == 200
    for uuid in (world.staff.uuid, "0" * 32, "not-a-uuid"):
        assert act(site, world.staff, uuid).status_code == 200
    assert site.get(ME, world.staff).status_code == 200
    assert traces(database) == []


def test_the_person_and_staff_are_shown_it_and_nobody_else(site: Site, world: World) -> None:
    ada, other = world.person("ada"), world.person("other")
    place = world.organisation(owner=other)
    world.seat(ada, "CUSTOMER.OWNER", place)
    act(site, world.staff, ada.uuid)
    for who in (ada, world.staff, world.person(is_support=True)):
        (told,) = site.get("/api/events/?event_type=account_impersonated", who).json()
        assert told["message"] == (
            "User ada has been read or acted for by Staff Lee with their rights."
        )
        assert told["context"]["user_uuid"] == world.staff.uuid
        assert ("ip_address" in told["context"]) is (who is not ada)
    assert site.get("/api/events/?event_type=account_impersonated", other).json() == []


def test_many_at_once_leave_one_event(world: World, database: Database, site: Site) -> None:
    ada = world.person("ada")
    # As many processes as there are sites.
    sites = [Site(world.settings, database, world.vault) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: act(sites[n % 4], world.staff, ada.uuid), range(16)))
    for one in sites:
        one.close()
    assert {answer.status_code for answer in answers} == {200}
    assert traces(database) == [(world.staff.id, ada.id)]


def test_the_second_request_of_an_hour_writes_nothing(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    act(site, world.staff, ada.uuid)
    with counted_statements(monkeypatch) as acting:
        act(site, world.staff, ada.uuid)
    assert not [one for one in acting if one.startswith(("INSERT", "UPDATE", "DELETE"))]


def test_reading_goes_on_where_nothing_can_be_written(
    site: Site, world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    tried = 0

    @contextmanager
    def full(_self: Any, _now: datetime | None = None) -> Iterator[None]:
        nonlocal tried
        tried += 1
        raise UnavailableError("database or disk is full")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(type(database), "write", full)
        for _ in range(3):
            answer = act(site, world.staff, ada.uuid)
            assert (answer.status_code, answer.json()["username"]) == (200, "ada")
    assert tried == 1
    assert traces(database) == []
    late = datetime.now(UTC) + timedelta(seconds=6)
    with at(monkeypatch, late):
        act(site, world.staff, ada.uuid)
    assert traces(database) == [(world.staff.id, ada.id)]


def test_what_a_deleted_member_of_staff_did_as_somebody_names_them_neutrally(
    site: Site, world: World, database: Database
) -> None:
    ada = world.person("ada")
    boss = world.person("boss", is_staff=True, first_name="Xqboss", last_name="Lee")
    body = {"job_title": "Archivist", "agree_with_policy": True}
    path = f"/api/users/{ada.uuid}/"
    headers = {"X-Impersonated-User-Uuid": ada.uuid}
    answer = site.request("PATCH", path, boss, headers=headers, json=body)
    assert answer.status_code == 200, answer.text
    with database.write() as tx:
        account_actions.delete(tx, world.staff.actor, boss.uuid)
    with database.read() as tx:
        rows = tx.fetch_all(Statement(select(events)))
    assert "Xqboss" not in str([row._asdict() for row in rows])
    neutral = f"Deleted account {boss.id}"
    assert neutral in {row.payload.get("impersonated_by") for row in rows}
    assert neutral in {row.actor_name for row in rows if row.kind == "account.impersonated"}


def test_every_name_that_a_deleted_member_of_staff_had_goes(
    site: Site, world: World, database: Database
) -> None:
    ada, boss = world.person("ada"), world.person("xqboss", is_staff=True)
    headers = {"X-Impersonated-User-Uuid": ada.uuid}
    body = {"job_title": "Archivist", "agree_with_policy": True}
    for name in ("Xqmaiden", "Xqmarried"):
        changed = site.request(
            "PATCH", f"/api/users/{boss.uuid}/", world.staff, json={"first_name": name}
        )
        assert changed.status_code == 200, changed.text
        done = site.request("PATCH", f"/api/users/{ada.uuid}/", boss, headers=headers, json=body)
        assert done.status_code == 200, done.text
        body["job_title"] = name[2:]
    with database.write() as tx:
        account_actions.delete(tx, world.staff.actor, boss.uuid)
    assert "xq" not in told(database)


def test_the_account_that_is_deleted_by_the_request_is_named_by_no_event(
    site: Site, world: World, database: Database
) -> None:
    person = world.person("xqperson", is_staff=True)
    other, boss = world.person("other", is_staff=True), world.person("xqboss", is_staff=True)
    # As the person whose account is deleted, and by the account that is deleted.
    assert (
        act(site, world.staff, person.uuid, "DELETE", f"/api/users/{person.uuid}/").status_code
        == 204
    )
    assert act(site, boss, other.uuid, "DELETE", f"/api/users/{boss.uuid}/").status_code == 204
    assert traces(database) == [(world.staff.id, person.id), (boss.id, other.id)]
    assert "xq" not in told(database)


def told(database: Database) -> str:
    """All that the audit log says, in lower case."""
    with database.read() as tx:
        return str([row._asdict() for row in tx.fetch_all(Statement(select(events)))]).lower()
