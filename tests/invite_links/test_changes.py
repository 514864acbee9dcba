"""Changing and deleting invite links and join requests over the Waldur API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from collegium.access.rules import Permission, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.settings import Settings
from tests.access.test_visibility import add_role
from tests.support.site import Site
from tests.support.world import Person, Place, World

PATH = "/api/user-group-invitations/"
REQUESTS = "/api/user-permission-requests/"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


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
def link(world: World, owner: Person, project: Place) -> str:
    return world.create_link(owner, "PROJECT.MEMBER", project)


def send(site: Site, method: str, uuid: str, who: Person, **body: Any) -> httpx.Response:
    return site.request(method, f"{PATH}{uuid}/", who, json=body)


def submit(site: Site, uuid: str, who: Person, **body: Any) -> httpx.Response:
    return site.post(f"{PATH}{uuid}/submit_request/", who, json=body)


def test_every_setting_of_a_link_can_be_changed(
    world: World, site: Site, organisation: Place
) -> None:
    staff = world.staff
    # A project role in an organisation needs projects.
    body = {"scope": organisation.path, "role": world.role("PROJECT.MEMBER").uuid}
    created = site.post(PATH, staff, json={**body, "auto_create_project": True}).json()
    change = {
        "is_public": False,
        "role": world.role("PROJECT.ADMIN").uuid,
        "scope": f"http://collegium.test{organisation.path}",
        "auto_create_project": True,
        "auto_approve": True,
        "project_name_template": "{username} lab",
        "project_role": world.role("PROJECT.MANAGER").uuid,
        "user_affiliations": ["staff@example.org"],
        "user_email_patterns": [".*@example.org"],
        "user_identity_sources": ["campus"],
        "custom_text": "Welcome",
        "allow_multiple_requests": True,
        "allow_custom_project_details": True,
    }
    response = send(site, "PUT", created["uuid"], staff, **change)
    assert (response.status_code, response.json()) == (200, change)
    shown = site.get(f"{PATH}{created['uuid']}/", staff).json()
    assert shown.items() >= {name: change[name] for name in change if name != "scope"}.items()
    # What is left out stays.
    response = send(site, "PATCH", created["uuid"], staff, custom_text="Hello", project_role=None)
    assert response.json() == {**change, "custom_text": "Hello", "project_role": None}
    (event, *_) = site.get("/api/events/?event_type=invite_link_updated", world.staff).json()
    assert event["message"] == "A group invitation to Initech has been changed by Staff Lee."


def test_changes_are_checked_like_new_links(
    world: World, site: Site, owner: Person, organisation: Place, project: Place, link: str
) -> None:
    wrong = {
        "scope": organisation.path,
        "role": world.role("CUSTOMER.OWNER").uuid,
        "is_public": True,
        "project_name_template": "{nobody}",
        "user_email_patterns": ["("],
    }
    response = send(site, "PATCH", link, owner, **wrong)
    assert response.status_code == 400
    assert response.json().keys() == {
        *("scope", "is_public", "non_field_errors", "project_name_template"),
        "user_email_patterns",
    }
    assert response.json()["scope"] == ["The scope of an invitation cannot be changed."]
    assert send(site, "PATCH", link, owner, role=wrong["role"]).json() == {
        "non_field_errors": ["Role and scope should belong to the same content type."]
    }
    # Rights come before the errors of fields.
    member, manager = world.person(), world.person()
    world.give_role(member, "PROJECT.MEMBER", project)
    world.give_role(manager, "PROJECT.MANAGER", project)
    for who in (member, world.person(), world.person(is_support=True)):
        assert send(site, "PATCH", link, who, **wrong).status_code == 403
    assert site.request("PATCH", f"{PATH}{link}/", json=wrong).status_code == 401
    # A manager may not offer a project role with the right to create projects for everybody.
    assert send(site, "PATCH", link, manager, auto_create_project=True).status_code == 403
    role = world.role("PROJECT.ADMIN").uuid
    assert send(site, "PATCH", link, manager, role=role).json()["role"] == role


def test_managers_change_no_link_that_offers_more_than_they_may_give(
    world: World, site: Site, owner: Person, project: Place, link: str
) -> None:
    manager = world.person()
    world.give_role(manager, "PROJECT.MANAGER", project)
    with world.database.write() as tx:
        above = add_role(tx, "PROJECT.CURATOR", ScopeKind.PROJECT, [Permission.PROJECT_DELETE])
    higher = world.create_link(owner, above, project)
    for who, expected in ((manager, 403), (owner, 200)):
        assert send(site, "PATCH", higher, who, custom_text="Hello").status_code == expected
        role = world.role(above).uuid
        assert send(site, "PATCH", link, who, role=role).status_code == expected
    assert send(site, "PATCH", link, owner, role=world.role("PROJECT.MEMBER").uuid).is_success
    assert send(site, "PATCH", link, manager, custom_text="Hello").status_code == 200


def test_closed_link_cannot_be_changed_and_open_link_not_deleted(
    world: World, site: Site, owner: Person, link: str
) -> None:
    stranger = world.person()
    response = send(site, "DELETE", link, owner)
    assert (response.status_code, response.json()) == (
        400,
        ["Only canceled invitation can be deleted."],
    )
    assert site.post(f"{PATH}{link}/cancel/", owner).status_code == 200
    response = send(site, "PATCH", link, owner, custom_text="x")
    assert (response.status_code, response.json()) == (
        400,
        {"non_field_errors": ["Only active invitations can be edited."]},
    )
    assert send(site, "DELETE", link, stranger).status_code == 403
    response = send(site, "DELETE", link, owner)
    assert (response.status_code, response.content) == (204, b"")
    assert send(site, "DELETE", link, owner).status_code == 404
    assert site.get(f"{PATH}{link}/", world.staff).status_code == 404
    (event,) = site.get("/api/events/?event_type=invite_link_deleted", world.staff).json()
    assert event["context"]["invitation_uuid"] == link


def test_offer_is_fixed_while_requests_wait_and_link_kept_while_it_has_any(
    world: World, site: Site, owner: Person, link: str
) -> None:
    request = world.ask(world.person("ada"), link)
    role = world.role("PROJECT.ADMIN").uuid
    for change in ({"role": role}, {"auto_create_project": True}, {"project_role": role}):
        response = send(site, "PATCH", link, owner, **change)
        assert (response.status_code, response.json()) == (
            400,
            {
                "non_field_errors": [
                    "What this invitation offers cannot be changed while requests are pending."
                ]
            },
        )
    unchanged = {"role": world.role("PROJECT.MEMBER").uuid, "custom_text": "Soon"}
    assert send(site, "PATCH", link, owner, **unchanged).status_code == 200
    assert site.post(f"{REQUESTS}{request}/reject/", owner, json={}).status_code == 200
    assert send(site, "PATCH", link, owner, role=role).status_code == 200
    assert site.post(f"{PATH}{link}/cancel/", owner).status_code == 200
    response = send(site, "DELETE", link, owner)
    assert (response.status_code, response.json()) == (
        409,
        {"detail": "Cannot delete group invitation with existing permission requests"},
    )
    assert site.request("DELETE", f"{REQUESTS}{request}/", world.staff).status_code == 204
    assert send(site, "DELETE", link, owner).status_code == 204


def test_only_staff_delete_join_requests(
    world: World, site: Site, owner: Person, project: Place, link: str
) -> None:
    ada = world.person("ada")
    path = f"{REQUESTS}{world.ask(ada, link)}/"
    assert site.post(f"{path}approve/", owner, json={}).status_code == 200
    for who, status in (
        (world.person(), 404),
        (world.person(is_support=True), 403),
        (ada, 403),
        (owner, 403),
        (world.staff, 204),
        (world.staff, 404),
    ):
        assert site.request("DELETE", path, who).status_code == status
    # What was granted stays.
    assert [row.username for row in world.grants_in(project)] == ["ada"]
    (event,) = site.get("/api/events/?event_type=request_deleted", world.staff).json()
    assert event["message"].startswith("The request of user ada")
    # The mail about the decision has nothing to say any more, and the person may ask again.
    pending = world.ask(world.person("bob"), link)
    assert site.request("DELETE", f"{REQUESTS}{pending}/", world.staff).status_code == 204
    assert submit(site, link, world.person("bob2")).status_code == 200


@pytest.mark.parametrize(
    ("source", "restrictions", "admitted"),
    [
        ("campus", {"user_identity_sources": ["campus", "other"]}, True),
        ("Campus", {"user_identity_sources": ["campus"]}, False),
        ("", {"user_identity_sources": ["campus"]}, False),
        ("campus", {"user_identity_sources": ["campus"], "user_email_patterns": ["x"]}, True),
        ("other", {"user_identity_sources": ["campus"], "user_affiliations": ["a@b"]}, True),
    ],
)
def test_identity_source_admits_like_affiliation_and_address(
    world: World,
    site: Site,
    owner: Person,
    link: str,
    source: str,
    restrictions: dict[str, Any],
    admitted: bool,
) -> None:
    assert send(site, "PATCH", link, owner, **restrictions).status_code == 200
    ada = world.person("ada", affiliations=["a@b"] if source == "other" else [])
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"identity_source": source})
    response = submit(site, link, ada)
    assert response.status_code == (200 if admitted else 400), response.text


@pytest.mark.parametrize("allowed", [False, True])
def test_requester_names_the_project_where_the_link_allows_it(
    world: World, site: Site, organisation: Place, allowed: bool
) -> None:
    body = {
        "scope": organisation.path,
        "role": world.role("PROJECT.MEMBER").uuid,
        "auto_create_project": True,
        "allow_custom_project_details": allowed,
    }
    uuid = site.post(PATH, world.staff, json=body).json()["uuid"]
    ada = world.person("ada")
    wish = {"project_name": "Moon \u202etrip", "project_description": "To the moon"}
    wrong = submit(site, uuid, ada, project_name="x" * 501, project_description="x" * 2001)
    assert wrong.json().keys() == {"project_name", "project_description"}
    request = submit(site, uuid, ada, **wish).json()["uuid"]
    shown = site.get(f"{REQUESTS}{request}/", world.staff).json()
    name, description = ("Moon trip", "To the moon") if allowed else ("", "")
    assert (shown["project_name"], shown["project_description"]) == (name, description)
    assert site.post(f"{REQUESTS}{request}/approve/", world.staff, json={}).status_code == 200
    (project,) = site.get("/api/projects/", ada).json()
    assert project["name"] == (name or "ada_project")
    assert project["description"] == description
