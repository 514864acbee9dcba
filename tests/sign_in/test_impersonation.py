"""Impersonation: rights and tokens of an impersonator, and the events that record it."""

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
from collegium.accounts import queries as account_queries
from collegium.api.request import RequestContext
from collegium.db.connections import UnavailableError
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.sign_in.tokens import queries as token_queries
from tests.sign_in.test_credentials import age_token, last_used
from tests.support.site import Site, record_statements
from tests.support.world import Person, World

ME = "/api/users/me/"
EVENTS = "/api/events/?event_type=account_impersonated"


@pytest.fixture
def bob(world: World) -> Person:
    return world.person("bob")


def impersonate(
    site: Site, person: Person, uuid: str, method: str = "GET", path: str = ME, **options: Any
) -> httpx.Response:
    headers = {"X-Impersonated-User-Uuid": uuid}
    return site.request(method, path, person, headers=headers, **options)


def events_of(database: Database) -> list[Any]:
    with database.read() as tx:
        return tx.fetch_all(Statement(select(events).order_by(events.c.id)))


def impersonations(database: Database) -> list[tuple[int | None, int | None]]:
    """Return who acted as whom, in order."""
    rows = events_of(database)
    return [(row.actor_id, row.account_id) for row in rows if row.kind == "account.impersonated"]


def audit_log_text(database: Database) -> str:
    return str([row._asdict() for row in events_of(database)]).lower()


@contextmanager
def requests_at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> Iterator[None]:
    """Set the time of requests."""
    init, write = RequestContext.__init__, Database.write

    def init_at(self: RequestContext, *args: Any) -> None:
        init(self, *args)
        self.now = moment

    with monkeypatch.context() as patch:
        patch.setattr(RequestContext, "__init__", init_at)
        patch.setattr(Database, "write", lambda self, _now=None: write(self, moment))
        yield


def test_staff_impersonate_an_account_without_seeing_its_token(
    site: Site, world: World, bob: Person
) -> None:
    assert site.get(ME, bob).json()["token"] == bob.token
    for uuid in (bob.uuid, bob.uuid.upper(), f"{{{bob.uuid}}}"):
        response = impersonate(site, world.staff, uuid)
        assert response.status_code == 200
        assert response.json()["username"] == "bob"
        assert response.headers["x-impersonator-uuid"] == world.staff.uuid
        assert "token" not in response.json()
        assert bob.token not in response.text
    assert (
        "token"
        not in impersonate(site, world.staff, bob.uuid, path=f"/api/users/{bob.uuid}/").json()
    )


def test_impersonation_extends_the_token_of_staff_only(
    site: Site, world: World, bob: Person
) -> None:
    impersonated_at = age_token(world, bob, used=200)
    staff_at = age_token(world, world.staff, used=200)
    assert impersonate(site, world.staff, bob.uuid).status_code == 200
    assert last_used(world, bob) == impersonated_at
    assert last_used(world, world.staff) > staff_at


def test_staff_impersonate_accounts_that_are_active_or_have_a_token(
    site: Site, world: World, bob: Person, ada: Person
) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, bob.id, {"is_active": False})
        token_queries.revoke(tx, ada.id)
    for person, name in ((bob, "bob"), (ada, "ada")):
        response = impersonate(site, world.staff, person.uuid)
        assert (response.status_code, response.json()["username"]) == (200, name)
    path, body = f"/api/users/{ada.uuid}/", {"job_title": "pilot"}
    changed = impersonate(site, world.staff, ada.uuid, "PATCH", path, json=body)
    assert changed.status_code == 200
    assert changed.json()["job_title"] == "pilot"
    with world.database.write() as tx:
        token_queries.revoke(tx, bob.id)
    refused = impersonate(site, world.staff, bob.uuid)
    assert refused.status_code == 403
    assert refused.json() == {
        "detail": "Unable to impersonate user that does not have an active session."
    }


def test_impersonation_is_recorded_once_an_hour_per_account_and_impersonator(
    site: Site, world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob, boss = world.person("ada"), world.person("bob"), world.person("boss", is_staff=True)
    staff = world.staff
    start = datetime.now(UTC).replace(minute=5, second=0, microsecond=0)
    with requests_at(monkeypatch, start):
        for path in (ME, f"/api/users/{ada.uuid}/", "/api/projects/"):
            for method in ("GET", "HEAD"):
                assert impersonate(site, staff, ada.uuid, method, path).status_code == 200
        assert impersonations(database) == [(staff.id, ada.id)]
        impersonate(site, staff, bob.uuid)
        impersonate(site, boss, ada.uuid)
    assert impersonations(database) == [(staff.id, ada.id), (staff.id, bob.id), (boss.id, ada.id)]
    with requests_at(monkeypatch, start + timedelta(minutes=50)):
        impersonate(site, staff, ada.uuid)
    assert len(impersonations(database)) == 3
    with requests_at(monkeypatch, start + timedelta(minutes=60)):
        impersonate(site, staff, ada.uuid)
        impersonate(site, staff, ada.uuid)
    assert impersonations(database)[3:] == [(staff.id, ada.id)]


def test_impersonator_has_only_the_rights_of_the_account_and_refusals_are_recorded(
    site: Site, world: World, database: Database, bob: Person
) -> None:
    for method, path, status in (
        ("GET", f"/api/users/{'1' * 32}/", 404),
        ("GET", f"/api/users/{world.person().uuid}/", 404),
        ("POST", "/api/users/", 403),
    ):
        response = impersonate(site, world.staff, bob.uuid, method, path, json={})
        assert response.status_code == status
        assert response.headers["x-impersonator-uuid"] == world.staff.uuid
        assert impersonations(database) == [(world.staff.id, bob.id)]


def test_header_of_others_or_of_an_unknown_account_is_ignored_and_not_recorded(
    site: Site, world: World, database: Database, bob: Person
) -> None:
    support, unknown = world.person("support", is_support=True), ("0" * 32, "not-a-uuid", "")
    for person, uuid in (
        *((person, world.staff.uuid) for person in (bob, support, world.staff)),
        (support, bob.uuid),
        *((world.staff, uuid) for uuid in unknown),
    ):
        response = impersonate(site, person, uuid)
        assert response.status_code == 200
        assert response.json()["uuid"] == person.uuid
        assert response.json()["token"] == person.token
        assert "x-impersonator-uuid" not in response.headers
    assert site.get(ME, world.staff).status_code == 200
    assert impersonations(database) == []


def test_impersonation_event_is_shown_to_its_account_and_staff_only(
    site: Site, world: World
) -> None:
    ada, other = world.person("ada"), world.person("other")
    world.give_role(ada, "CUSTOMER.OWNER", world.organisation(owner=other))
    impersonate(site, world.staff, ada.uuid)
    for person in (ada, world.staff, world.person(is_support=True)):
        (event,) = site.get(EVENTS, person).json()
        assert event["message"] == (
            "User ada has been read or acted for by Staff Lee with their rights."
        )
        assert event["context"]["user_uuid"] == world.staff.uuid
        assert ("ip_address" in event["context"]) is (person is not ada)
    assert site.get(EVENTS, other).json() == []


def test_concurrent_impersonations_record_one_event(world: World, database: Database) -> None:
    ada = world.person("ada")
    sites = [Site(world.settings, database, world.vault) for _ in range(4)]  # as four processes
    with ThreadPoolExecutor(8) as pool:
        responses = list(
            pool.map(lambda n: impersonate(sites[n % 4], world.staff, ada.uuid), range(16))
        )
    assert {response.status_code for response in responses} == {200}
    assert impersonations(database) == [(world.staff.id, ada.id)]


def test_second_impersonation_within_an_hour_writes_nothing(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    impersonate(site, world.staff, ada.uuid)
    with record_statements(monkeypatch) as statements:
        impersonate(site, world.staff, ada.uuid)
    assert not [text for text in statements if text.startswith(("INSERT", "UPDATE", "DELETE"))]


def test_impersonator_can_read_while_the_database_cannot_be_written(
    site: Site, world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    attempts = 0

    @contextmanager
    def full(_self: Any, _now: datetime | None = None) -> Iterator[None]:
        nonlocal attempts
        attempts += 1
        raise UnavailableError("database or disk is full")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(type(database), "write", full)
        for _ in range(3):
            response = impersonate(site, world.staff, ada.uuid)
            assert (response.status_code, response.json()["username"]) == (200, "ada")
    assert attempts == 1
    assert impersonations(database) == []
    with requests_at(monkeypatch, datetime.now(UTC) + timedelta(seconds=6)):
        impersonate(site, world.staff, ada.uuid)
    assert impersonations(database) == [(world.staff.id, ada.id)]


def test_deleted_impersonator_is_anonymised_in_the_audit_log(
    site: Site, world: World, database: Database
) -> None:
    ada, boss = world.person("ada"), world.person("xqboss", is_staff=True)
    boss_path, ada_path = f"/api/users/{boss.uuid}/", f"/api/users/{ada.uuid}/"
    for name in ("Xqmaiden", "Xqmarried"):
        changed = site.request("PATCH", boss_path, world.staff, json={"first_name": name})
        assert changed.status_code == 200, changed.text
        body = {"job_title": f"Archivist {name[2:]}", "agree_with_policy": True}
        changed = impersonate(site, boss, ada.uuid, "PATCH", ada_path, json=body)
        assert changed.status_code == 200, changed.text
    with database.write() as tx:
        account_actions.delete(tx, world.staff.actor, boss.uuid)
    assert "xq" not in audit_log_text(database)
    neutral, rows = f"Deleted account {boss.id}", events_of(database)
    assert neutral in {row.payload.get("impersonated_by") for row in rows}
    assert neutral in {row.actor_name for row in rows if row.kind == "account.impersonated"}


def test_account_deleted_by_the_impersonated_request_is_anonymised(
    site: Site, world: World, database: Database
) -> None:
    person = world.person("xqperson", is_staff=True)
    other, boss = world.person("other", is_staff=True), world.person("xqboss", is_staff=True)
    # First the impersonated account is deleted, then the impersonator.
    for impersonator, account, deleted in ((world.staff, person, person), (boss, other, boss)):
        path = f"/api/users/{deleted.uuid}/"
        assert impersonate(site, impersonator, account.uuid, "DELETE", path).status_code == 204
    assert impersonations(database) == [(world.staff.id, person.id), (boss.id, other.id)]
    assert "xq" not in audit_log_text(database)
