"""Grants that have ended: revoking, restoring and listing them over the Waldur API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import grants
from tests.access.test_visibility import add_role
from tests.support.site import Site
from tests.support.world import Person, Place, World

PATH = "/api/user-permissions/"


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def organisation(world: World, owner: Person) -> Place:
    return world.organisation("Initech", owner=owner)


@pytest.fixture
def project(world: World, organisation: Place) -> Place:
    return world.project(organisation, "Atlas")


@pytest.fixture
def ada(world: World, project: Place) -> Person:
    person = world.person("ada")
    world.give_role(person, "PROJECT.MEMBER", project)
    return person


def of(site: Site, who: Person, person: Person, **parameters: Any) -> list[dict[str, Any]]:
    """Return the grants of a person that somebody sees."""
    response = site.get(PATH, who, params={"user": person.uuid, **parameters})
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()
    head = site.request("HEAD", PATH, who, params={"user": person.uuid, **parameters})
    assert head.headers["X-Result-Count"] == str(len(rows))
    return rows


def act(site: Site, who: Person, uuid: str, action: str, **body: Any) -> httpx.Response:
    return site.post(f"{PATH}{uuid}/{action}/", who, json=body)


def rows_of(world: World, person: Person) -> list[Any]:
    statement = select(grants).where(grants.c.account_id == person.id).order_by(grants.c.id)
    with world.database.read() as tx:
        return tx.fetch_all(Statement[Any](statement))


def expired_member(world: World, project: Place) -> Person:
    """Return a person whose grant has reached its end, before a worker records it."""
    bob, now = world.person("bob"), datetime.now(UTC)
    began, ended = now - timedelta(hours=2), now - timedelta(hours=1)
    world.give_role(bob, "PROJECT.ADMIN", project, until=ended, now=began)
    return bob


def test_grant_shows_who_has_it_and_where_it_comes_from(
    world: World, site: Site, owner: Person, project: Place, ada: Person
) -> None:
    (row,) = of(site, ada, ada)
    assert site.get(f"{PATH}{row['uuid']}/", ada).json() == row
    shown = {
        "user_username": "ada",
        "user_email": ada.email,
        "is_active": True,
        "expiration_time": None,
        "revoked_by_full_name": None,
        "revoked_by_username": None,
        "revoke_reason": "",
        "source": "manual",
        "scope_is_removed": False,
        "project_uuid": project.uuid,
        "resource_uuid": None,
    }
    assert row.items() >= shown.items()
    bob, eve = world.person("bob"), world.person("eve")
    invitation = world.invite(owner, bob.email, "PROJECT.ADMIN", project)
    assert site.post(f"/api/user-invitations/{invitation}/accept/", bob).status_code == 200
    request = world.ask(eve, world.create_link(owner, "PROJECT.ADMIN", project))
    path = f"/api/user-permission-requests/{request}/approve/"
    assert site.post(path, owner, json={}).status_code == 200
    sources = [of(site, world.staff, person)[0]["source"] for person in (bob, eve)]
    assert sources == ["invitation", "permission_request"]


def test_representation_within_users_is_as_before(world: World, site: Site, ada: Person) -> None:
    user = site.get("/api/users/me/?field=permissions", ada).json()
    (permission,) = user["permissions"]
    assert list(permission) == [
        *("user_uuid", "user_name", "user_slug", "created", "expiration_time", "role_name"),
        *("role_description", "role_uuid", "scope_type", "scope_uuid", "scope_name"),
        *("customer_uuid", "customer_name", "created_by_full_name", "created_by_username"),
    ]


def test_revoked_grant_is_seen_by_staff_and_support_who_ask_for_it(
    world: World, site: Site, ada: Person
) -> None:
    (row,) = of(site, ada, ada)
    assert of(site, ada, ada, show_inactive=True) == [row]
    response = act(site, world.staff, row["uuid"], "revoke", reason="left the team")
    assert (response.status_code, response.content) == (200, b"")
    support = world.person(is_support=True)
    for who in (world.staff, support):
        assert of(site, who, ada) == of(site, who, ada, is_active=True) == []
        (ended,) = of(site, who, ada, show_inactive=True)
        assert of(site, who, ada, is_active=False) == [ended]
        assert of(site, who, ada, show_inactive=True, is_active=True) == []
        assert site.get(f"{PATH}{row['uuid']}/", who).json() == ended
        assert ended["uuid"] == row["uuid"]
        assert ended["is_active"] is False
        assert ended["revoked_by_username"] == world.staff.actor.username
        assert ended["revoke_reason"] == "left the team"
        assert ended["expiration_time"] > ended["created"]
    # Others see their active grants only.
    for parameters in ({}, {"show_inactive": True}, {"is_active": False}):
        assert of(site, ada, ada, **parameters) == []
    assert site.get(f"{PATH}{row['uuid']}/", ada).status_code == 404
    (event,) = site.get("/api/events/?event_type=role_revoked", world.staff).json()
    assert event["message"].endswith(": left the team.")


def test_history_has_grants_that_ended_in_other_ways(
    world: World, site: Site, owner: Person, project: Place, ada: Person
) -> None:
    bob = expired_member(world, project)
    (expired,) = of(site, world.staff, bob, show_inactive=True)
    assert (expired["is_active"], expired["revoked_by_username"]) == (False, None)
    assert of(site, world.staff, bob) == []
    assert site.request("DELETE", project.path, owner).status_code == 204
    (removed,) = of(site, world.staff, ada, show_inactive=True, scope_uuid=project.uuid)
    assert (removed["scope_is_removed"], removed["is_active"]) == (True, False)
    assert removed["revoked_by_username"] == "olga"
    response = act(site, world.staff, removed["uuid"], "restore")
    assert (response.status_code, response.json()) == (
        400,
        ["The scope of this role was removed."],
    )


def test_restored_grant_keeps_its_uuid_and_the_history_its_times(
    world: World, site: Site, project: Place, ada: Person
) -> None:
    (row,) = of(site, ada, ada)
    assert act(site, world.staff, row["uuid"], "revoke", reason="by mistake").status_code == 200
    response = act(site, world.staff, row["uuid"], "restore", reason="was a mistake")
    assert (response.status_code, response.content) == (200, b"")
    (again,) = of(site, ada, ada)
    assert (again["uuid"], again["is_active"], again["revoke_reason"]) == (row["uuid"], True, "")
    assert again["created_by_username"] == world.staff.actor.username
    former, current = rows_of(world, ada)
    assert former.ended_at is not None
    assert former.end_reason == "by mistake"
    assert current.valid_from >= former.ended_at
    assert len(of(site, world.staff, ada, show_inactive=True)) == 2
    (event,) = site.get("/api/events/?event_type=role_restored", world.staff).json()
    assert event["message"].endswith(": was a mistake.")
    # The end that it had stays.
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    body = {"user": ada.uuid, "role": "PROJECT.MEMBER", "expiration_time": until.isoformat()}
    path = f"{project.path}update_user/"
    assert site.post(path, world.staff, json=body).status_code == 200
    for action in ("revoke", "restore"):
        assert act(site, world.staff, row["uuid"], action).status_code == 200
    (again,) = of(site, ada, ada)
    assert datetime.fromisoformat(again["expiration_time"]) == until


def test_only_what_was_taken_can_be_given_again(
    world: World, site: Site, owner: Person, project: Place, ada: Person
) -> None:
    def refusal(uuid: str, action: str) -> Any:
        response = act(site, world.staff, uuid, action)
        assert response.status_code == 400, response.text
        return response.json()

    uuid = of(site, ada, ada)[0]["uuid"]
    assert refusal(uuid, "restore") == ["Role is already active."]
    world.remove_role(ada, "PROJECT.MEMBER", project)
    assert refusal(uuid, "revoke") == ["Role is already revoked."]
    world.give_role(ada, "PROJECT.MEMBER", project)
    assert refusal(uuid, "restore") == ["An active grant for this role already exists."]
    world.remove_role(ada, "PROJECT.MEMBER", project)
    bob = expired_member(world, project)
    expired = of(site, world.staff, bob, show_inactive=True)[0]["uuid"]
    assert "The end of this role has passed" in refusal(expired, "restore")[0]
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"is_active": False})
    assert refusal(uuid, "restore") == ["User is not active."]
    (owned,) = of(site, owner, owner)
    assert refusal(owned["uuid"], "revoke") == {
        "non_field_errors": ["The last owner cannot be removed."]
    }


def test_revoking_follows_visibility_and_rights(
    world: World, site: Site, owner: Person, project: Place, ada: Person
) -> None:
    uuid = of(site, ada, ada)[0]["uuid"]
    manager, support = world.person(), world.person(is_support=True)
    world.give_role(manager, "PROJECT.MANAGER", project)
    for action in ("revoke", "restore"):
        # The list shows others their own grants only.
        for who in (world.person(), manager, owner):
            assert act(site, who, uuid, action, reason=[]).status_code == 404
        for who in (ada, support):
            assert act(site, who, uuid, action).status_code == 403
    assert act(site, world.staff, uuid, "revoke", reason="x" * 2001).json() == {
        "reason": ["Ensure this field has no more than 2000 characters."]
    }
    assert of(site, ada, ada)[0]["uuid"] == uuid
    # An owner may end own roles in projects, a manager may not.
    (own,) = of(site, manager, manager)
    response = act(site, manager, own["uuid"], "revoke")
    refusal = {"non_field_errors": ["User can not manage own role."]}
    assert (response.status_code, response.json()) == (400, refusal)
    world.give_role(owner, "PROJECT.ADMIN", project)
    (own,) = of(site, owner, owner, scope_uuid=project.uuid)
    assert act(site, owner, own["uuid"], "revoke").status_code == 200
    assert of(site, owner, owner, scope_uuid=project.uuid) == []


def test_history_is_searched_by_time(world: World, site: Site, project: Place) -> None:
    now = datetime.now(UTC)
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.OTHER", ScopeKind.PROJECT, ())
    ada = world.person("ada")
    hours = {"PROJECT.MEMBER": 3, "PROJECT.ADMIN": 2, "CUSTOM.OTHER": 1}
    for role, hour in hours.items():
        world.give_role(ada, role, project, now=now - timedelta(hours=hour))
    world.remove_role(ada, "PROJECT.MEMBER", project)

    def found(hour: float, name: str, **parameters: Any) -> list[str]:
        moment = (now - timedelta(hours=hour)).isoformat()
        rows = of(site, world.staff, ada, **{name: moment}, **parameters)
        return [row["role_name"] for row in rows]

    assert found(2.5, "created", show_inactive=True) == ["PROJECT.ADMIN", "CUSTOM.OTHER"]
    assert found(2.5, "created_before", show_inactive=True) == ["PROJECT.MEMBER"]
    assert found(1.5, "created_before") == ["PROJECT.ADMIN"]
    # Its end was a change.
    assert found(1.5, "modified", show_inactive=True) == ["PROJECT.MEMBER", "CUSTOM.OTHER"]
    assert found(1.5, "modified_before", show_inactive=True) == ["PROJECT.ADMIN"]
    assert found(1.5, "modified") == ["CUSTOM.OTHER"]
    assert found(1.5, "modified_before") == ["PROJECT.ADMIN"]
    for name in ("created_before", "modified_before"):
        response = site.get(PATH, world.staff, params={name: "yesterday"})
        assert (response.status_code, response.json()) == (
            400,
            {name: ["Enter a valid date/time."]},
        )
