"""A join request ends as approved when its account gets the role in another way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from collegium.access import queries as access_queries
from collegium.access.rules import Permission, ScopeKind
from tests.groups.scene import PRIVATE, Groups
from tests.join_requests.test_api import REQUESTS, custom, decide, posted, submit
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import Person, Place, World

SOON = (datetime.now(UTC) + timedelta(days=9)).isoformat()


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def acme(world: World, owner: Person) -> Place:
    return world.organisation("Acme", owner=owner)


@pytest.fixture
def engine(world: World, acme: Place) -> Place:
    return world.project(acme, "Engine")


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


def add(
    site: Site, place: Place, giver: Person, person: Person, role: str, until: str | None = None
) -> httpx.Response:
    body = {"user": person.uuid, "role": role} | ({"expiration_time": until} if until else {})
    return site.post(f"{place.path}add_user/", giver, json=body)


def pending(site: Site, world: World, owner: Person, place: Place, who: Person, role: str) -> str:
    uuid = str(submit(site, world.open(owner, role, place), who).json()["uuid"])
    assert state(site, uuid, who) == "pending"
    return uuid


def state(site: Site, uuid: str, who: Person) -> str:
    return str(site.get(f"{REQUESTS}{uuid}/", who).json()["state"])


def assert_settled(site: Site, uuid: str, who: Person, by: Person, decider: Person) -> None:
    shown = site.get(f"{REQUESTS}{uuid}/", who).json()
    assert (shown["state"], shown["reviewed_by_username"]) == ("approved", by.actor.username)
    assert shown["reviewed_at"] is not None
    for action in ("reject", "approve"):
        answer = decide(site, uuid, action, decider)
        assert answer.status_code == 409
        assert answer.json() == {"detail": "Valid states for operation: pending."}
    again = site.post(f"{REQUESTS}{uuid}/cancel_request/", who)
    assert again.status_code == 400
    told = site.get("/api/events/?page_size=100", decider).json()
    kinds = [
        one["event_type"] for one in told if one["context"].get("permission_request_uuid") == uuid
    ]
    assert sum("approved" in kind for kind in kinds) == 1, told[:3]


def acme_of(world: World, project: Place) -> Place:
    with world.database.read() as tx:
        row = access_queries.get_visible(
            tx, world.staff.actor, ScopeKind.PROJECT, project.uuid
        ).scope
    return Place(ScopeKind.ORGANISATION, row.organisation_uuid, row.organisation_id, "Acme")


def added(site: Site, world: World, owner: Person, engine: Place, ada: Person) -> None:
    assert add(site, engine, owner, ada, "PROJECT.MEMBER").status_code == 201


def added_with_an_end(site: Site, world: World, owner: Person, engine: Place, ada: Person) -> None:
    assert add(site, engine, owner, ada, "PROJECT.MEMBER", SOON).status_code == 201


def added_on_a_page(site: Site, world: World, owner: Person, engine: Place, ada: Person) -> None:
    world.seat(ada, "PROJECT.MEMBER", world.project(acme_of(world, engine)))  # or owners see no ada
    browser = Browser(site).sign_in(world, owner)
    here = f"/project/{engine.uuid}/add/"
    browser.open(f"{here}?q=ada")
    role = world.role("PROJECT.MEMBER").uuid
    assert browser.send(here, account=ada.uuid, role=role, until="").status_code == 303


def invited(site: Site, world: World, owner: Person, engine: Place, ada: Person) -> None:
    uuid = world.invite(owner, ada.email, "PROJECT.MEMBER", engine)
    assert site.post(f"/api/user-invitations/{uuid}/accept/", ada).status_code == 200


def another_request(site: Site, world: World, owner: Person, engine: Place, ada: Person) -> None:
    other = pending(site, world, owner, engine, ada, "PROJECT.MEMBER")
    assert decide(site, other, "approve", owner).status_code == 200


@pytest.mark.parametrize(
    "way", [added, added_with_an_end, added_on_a_page, invited, another_request]
)
def test_a_request_is_approved_by_whoever_gives_the_role_in_another_way(
    site: Site,
    world: World,
    owner: Person,
    engine: Place,
    ada: Person,
    way: Callable[[Site, World, Person, Place, Person], None],
) -> None:
    uuid = pending(site, world, owner, engine, ada, "PROJECT.MEMBER")
    way(site, world, owner, engine, ada)
    assert_settled(site, uuid, ada, owner, owner)
    (grant,) = world.grants_in(engine)
    assert (grant.username, grant.role_name) == ("ada", "PROJECT.MEMBER")
    # Whoever acted for themselves is not mailed that they did; others are, once.
    told = posted(world, "structure_role_granted")
    assert told == ([] if way is invited else [ada.email])


def test_staff_who_add_somebody_approve_their_request(
    site: Site, world: World, owner: Person, acme: Place, ada: Person
) -> None:
    uuid = pending(site, world, world.staff, acme, ada, "CUSTOMER.OWNER")
    assert add(site, acme, world.staff, ada, "CUSTOMER.OWNER").status_code == 201
    assert_settled(site, uuid, ada, world.staff, world.staff)


def test_a_role_that_is_changed_to_the_one_asked_for_approves_the_request(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    asked, given = custom(world, ScopeKind.PROJECT, Permission.PROJECT_UPDATE), "PROJECT.MEMBER"
    world.seat(ada, given, engine)
    uuid = pending(site, world, owner, engine, ada, asked)
    browser = Browser(site).sign_in(world, world.staff)
    (grant,) = world.grants_in(engine)
    here = f"/project/{engine.uuid}/people/{grant.uuid}/"
    browser.open(here)
    assert browser.send(here, action="role", role=world.role(asked).uuid).status_code == 303
    assert_settled(site, uuid, ada, world.staff, world.staff)


def test_a_role_whose_end_is_taken_away_approves_the_request_for_a_lasting_one(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    assert add(site, engine, owner, ada, "PROJECT.MEMBER", SOON).status_code == 201
    uuid = pending(site, world, owner, engine, ada, "PROJECT.MEMBER")
    path = f"{engine.path}update_user/"
    later = (datetime.now(UTC) + timedelta(days=20)).isoformat()
    body = {"user": ada.uuid, "role": "PROJECT.MEMBER", "expiration_time": later}
    assert site.post(path, owner, json=body).status_code == 200
    assert state(site, uuid, ada) == "pending"
    assert site.post(path, owner, json=body | {"expiration_time": None}).status_code == 200
    assert_settled(site, uuid, ada, owner, owner)


def test_a_link_that_approves_by_itself_settles_what_was_asked_before(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    uuid = pending(site, world, owner, engine, ada, "PROJECT.MEMBER")
    quick = world.open(owner, "PROJECT.MEMBER", engine, auto_approve=True)
    assert submit(site, quick, ada).json()["auto_approved"] is True
    assert state(site, uuid, ada) == "approved"
    assert decide(site, uuid, "reject", owner).status_code == 409


def test_a_role_with_all_rights_of_the_one_asked_for_approves_the_request(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    uuid = pending(site, world, owner, engine, ada, "PROJECT.MEMBER")
    assert add(site, engine, owner, ada, "PROJECT.MANAGER").status_code == 201
    assert_settled(site, uuid, ada, owner, owner)


def test_another_or_a_smaller_role_leaves_the_request_to_be_decided(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    beside = custom(world, ScopeKind.PROJECT, Permission.PROJECT_UPDATE)
    uuid = pending(site, world, owner, engine, ada, beside)
    assert add(site, engine, world.staff, ada, "PROJECT.MEMBER").status_code == 201
    other = custom(world, ScopeKind.PROJECT, Permission.PROJECT_CREATE, Permission.INVITATION_LIST)
    assert add(site, engine, world.staff, ada, other).status_code == 201
    assert state(site, uuid, ada) == "pending"
    assert decide(site, uuid, "reject", world.staff).status_code == 200


def test_a_role_elsewhere_or_of_somebody_else_leaves_the_request_to_be_decided(
    site: Site, world: World, owner: Person, acme: Place, engine: Place, ada: Person
) -> None:
    uuid = pending(site, world, owner, engine, ada, "PROJECT.MEMBER")
    assert add(site, engine, owner, world.person("bob"), "PROJECT.MEMBER").status_code == 201
    assert add(site, world.project(acme), owner, ada, "PROJECT.MEMBER").status_code == 201
    assert add(site, acme, world.staff, ada, "CUSTOMER.OWNER").status_code == 201
    assert state(site, uuid, ada) == "pending"
    assert decide(site, uuid, "reject", owner).status_code == 200


def test_a_request_that_also_makes_a_project_is_fulfilled_by_its_approval_alone(
    site: Site, world: World, owner: Person, acme: Place, ada: Person
) -> None:
    link = world.open(
        world.staff,
        "CUSTOMER.OWNER",
        acme,
        project_role="PROJECT.MANAGER",
        auto_create_project=True,
        template="Lab of {username}",
    )
    uuid = submit(site, link, ada).json()["uuid"]
    assert add(site, acme, world.staff, ada, "CUSTOMER.OWNER").status_code == 201
    assert state(site, uuid, world.staff) == "pending"
    assert decide(site, uuid, "approve", world.staff).status_code == 200


def test_a_request_to_a_group_is_approved_when_an_invitation_is_accepted(
    site: Site, world: World, owner: Person, ada: Person
) -> None:
    groups = Groups(world, site)
    group = groups.found(owner)
    headers = {"Authorization": f"Bearer {ada.token}"}
    asked = site.get(f"{PRIVATE}/group/{group}/join/", headers=headers)
    assert asked.status_code == 200, asked.text
    uuid = asked.json()["group_membership_request"]["id"]
    invitation = groups.invite(group, owner, ada, is_manager=True)
    path = f"{PRIVATE}/groupmembershipinvitation/{invitation}/accept/"
    assert site.get(path, headers=headers).status_code == 200
    as_owner = {"Authorization": f"Bearer {owner.token}"}
    one = f"{PRIVATE}/groupmembershiprequest/{uuid}/"
    refused = site.get(f"{one}reject/", headers=as_owner)
    assert refused.status_code == 400
    assert "The request is already approved." in refused.text
    again = site.get(f"{one}accept/", headers=as_owner)
    assert again.status_code == 200
    assert again.json()["group_membership_request"]["id"] == uuid
    history = Browser(site).sign_in(world, owner).open(f"/group/{group}/team/history/")
    assert "Owner Lee approved the join request of ada." in history.text
    assert "withdrawn" not in history.text


def test_every_grant_is_written_where_requests_are_settled() -> None:
    source = Path(__file__).parents[2] / "src" / "collegium"
    writers = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "membership_queries.grant(" in path.read_text()
    }
    assert writers == {"scopes/actions.py"}
