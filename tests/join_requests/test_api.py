"""Invite links and join requests: who decides, whom a link admits, what approval gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from collegium.access.rules import Permission, ScopeKind
from collegium.settings import Settings
from tests.access.test_visibility import add_role
from tests.invitations.test_lifecycle import mails
from tests.support.site import Site
from tests.support.world import Person, Place, World

LINKS = "/api/user-group-invitations/"
REQUESTS = "/api/user-permission-requests/"
ALREADY_REQUESTED = ["Request has been created already."]


def submit(site: Site, link: str, person: Person) -> httpx.Response:
    return site.post(f"{LINKS}{link}/submit_request/", person)


def decide(site: Site, uuid: str, action: str, person: Person, **body: Any) -> httpx.Response:
    return site.post(f"{REQUESTS}{uuid}/{action}/", person, json=body)


def recipients(world: World, kind: str) -> list[str]:
    return [mail.recipient for mail in mails(world, kind)]


def custom_role(world: World, kind: ScopeKind, *permissions: Permission) -> str:
    name = f"CUSTOM.{len(permissions)}{kind}"
    with world.database.write() as tx:
        add_role(tx, name, kind, permissions)
    return name


def test_deciders_are_notified_and_only_they_can_decide(
    site: Site, world: World, owner: Person, organisation: Place, project: Place, ada: Person
) -> None:
    manager, member, limited = (world.person(name) for name in ("manager", "member", "limited"))
    quiet = world.person("quiet", notifications_enabled=False)
    for person, role, place in (
        (manager, "PROJECT.MANAGER", project),
        (member, "PROJECT.MEMBER", project),
        (limited, custom_role(world, ScopeKind.PROJECT, Permission.PROJECT_GRANT), project),
        (quiet, "CUSTOMER.OWNER", organisation),
    ):
        world.give_role(person, role, place)
    for role, deciders in (
        ("PROJECT.MEMBER", {manager, owner, limited}),
        ("PROJECT.MANAGER", {manager, owner}),  # above the ceiling of the limited account
    ):
        before = len(recipients(world, "permission_request_submitted"))
        link = world.create_link(world.staff, role, project)
        uuid = submit(site, link, ada).json()["uuid"]
        notified = recipients(world, "permission_request_submitted")[before:]
        assert sorted(notified) == sorted(person.email for person in deciders)
        body = {"scope": project.path, "role": world.role(role).uuid}
        for person in (manager, owner, limited, member, ada):
            # Errors of the body are reported only to those who can decide.
            for action in ("approve", "reject"):
                status = decide(site, uuid, action, person, comment=[]).status_code
                assert status in ({400} if person in deciders else {403, 404}), (role, person)
            for path, key in ((REQUESTS, uuid), (LINKS, link)) if person in deciders else ():
                assert key in str(site.get(f"{path}?page_size=100", person).json())
            status = site.post(LINKS, person, json=body).status_code
            assert (status == 201) is (person in deciders), (role, person)
        assert decide(site, uuid, "reject", owner).status_code == 200


def test_staff_are_notified_if_nobody_else_can_decide(
    site: Site, world: World, organisation: Place, ada: Person
) -> None:
    # An owner cannot give roles of the organisation.
    submit(site, world.create_link(world.staff, "CUSTOMER.OWNER", organisation), ada)
    assert recipients(world, "permission_request_submitted") == [world.staff.email]


def test_requester_cannot_approve_their_own_request(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    manager = world.person("manager")
    world.give_role(manager, "PROJECT.MANAGER", project)
    uuid = submit(site, world.create_link(owner, "PROJECT.ADMIN", project), manager).json()["uuid"]
    assert decide(site, uuid, "approve", manager).status_code == 403
    assert manager.email not in recipients(world, "permission_request_submitted")
    assert decide(site, uuid, "approve", owner).status_code == 200


def test_several_requests_need_a_link_that_allows_them(
    site: Site, world: World, organisation: Place, ada: Person
) -> None:
    options = {"auto_create_project": True, "allow_multiple_requests": True}
    link = world.create_link(world.staff, "PROJECT.MANAGER", organisation, None, None, **options)
    for uuid in [submit(site, link, ada).json()["uuid"] for _ in range(2)]:
        assert decide(site, uuid, "approve", world.staff).status_code == 200
    projects = site.get("/api/projects/", ada).json()
    assert [row["name"] for row in projects] == ["ada_project"] * 2
    assert len({row["uuid"] for row in projects}) == 2


def test_each_approved_request_gets_its_own_project(
    site: Site, world: World, owner: Person, organisation: Place, ada: Person
) -> None:
    template = "Work of {full_name}"
    link = world.create_link(
        world.staff,
        "PROJECT.MEMBER",
        organisation,
        project_role="PROJECT.MANAGER",
        auto_create_project=True,
        template=template,
    )
    projects = set()
    for person in (ada, world.person("twin", first_name="Ada", last_name="Lee")):
        uuid = submit(site, link, person).json()["uuid"]
        body = site.get(f"{REQUESTS}{uuid}/", owner).json()
        assert body["project_name_template"] == template
        # The role is of the organisation, which owners cannot give.
        assert decide(site, uuid, "approve", owner).status_code == 403
        assert decide(site, uuid, "approve", world.staff).status_code == 200
        (grant,) = site.get("/api/users/me/", person).json()["permissions"]
        assert grant["role_name"] == "PROJECT.MANAGER"
        assert (grant["scope_name"], grant["customer_uuid"]) == (
            "Work of Ada Lee",
            organisation.uuid,
        )
        projects.add(grant["scope_uuid"])
        # As long as the project exists, they cannot ask for another.
        response = submit(site, link, person)
        assert (response.status_code, response.json()) == (400, ALREADY_REQUESTED)
        site.request("DELETE", f"/api/projects/{grant['scope_uuid']}/", world.staff)
        assert submit(site, link, person).status_code == 200
    assert len(projects) == 2
    assert [row.username for row in world.grants_in(organisation)] == ["olga"]


def test_link_that_creates_projects_needs_the_right_to_create_them(
    site: Site, world: World, organisation: Place, ada: Person
) -> None:
    granting = (Permission.ORGANISATION_GRANT, Permission.PROJECT_UPDATE)
    for more, created, approved in (((), 403, 403), ((Permission.PROJECT_CREATE,), 201, 200)):
        inviter = world.person()
        role = custom_role(world, ScopeKind.ORGANISATION, *granting, *more)
        world.give_role(inviter, role, organisation)
        body = {"scope": organisation.path, "role": world.role("PROJECT.MEMBER").uuid}
        response = site.post(LINKS, inviter, json=body | {"auto_create_project": True})
        assert response.status_code == created
        link = world.create_link(
            world.staff, "PROJECT.MEMBER", organisation, auto_create_project=True
        )
        uuid = submit(site, link, ada).json()["uuid"]
        assert decide(site, uuid, "approve", inviter).status_code == approved


def test_auto_approval_ends_when_the_sponsor_cannot_give_the_role(
    site: Site, world: World, owner: Person, organisation: Place, project: Place, ada: Person
) -> None:
    link = world.create_link(owner, "PROJECT.MEMBER", project, auto_approve=True)
    answer = submit(site, link, ada).json()
    assert answer["auto_approved"] is True
    assert [grant.username for grant in world.grants_in(project)] == ["ada"]
    body = site.get(f"{REQUESTS}{answer['uuid']}/", ada).json()
    assert (body["state"], body["reviewed_by_username"]) == ("approved", None)
    assert recipients(world, "permission_request_submitted") == []
    world.give_role(world.person("heir"), "CUSTOMER.OWNER", organisation)
    world.remove_role(owner, "CUSTOMER.OWNER", organisation)
    answer = submit(site, link, world.person("bob")).json()
    assert answer["auto_approved"] is False
    assert world.request(answer["uuid"]).state == "pending"
    assert [grant.username for grant in world.grants_in(project)] == ["ada"]
    assert recipients(world, "permission_request_submitted") == ["heir@example.org"]


def test_restrictions_of_a_link_admit_matching_accounts_only(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    body = {
        "scope": f"http://elsewhere.test{project.path}",
        "role": world.role("PROJECT.MEMBER").uuid,
        "user_email_patterns": [r".*@uni\.edu", r".*@lab\.example"],
        "user_affiliations": ["staff@uni.edu"],
    }
    link = site.post(LINKS, owner, json=body).json()["uuid"]
    for email, affiliations, status in (
        ("x@uni.edu", [], 200),
        ("X@UNI.EDU", [], 200),
        ("Ada@LAB.example", [], 200),
        ("x@uni.edu.evil.net", [], 400),
        ("x@uniXedu", [], 400),
        ("x@else.example", ["student@uni.edu", "staff@uni.edu"], 200),
        ("x@else.example", ["STAFF@uni.edu"], 400),
        ("x@else.example", ["student@uni.edu"], 400),
    ):
        person = world.person(email=email, affiliations=affiliations)
        response = submit(site, link, person)
        assert response.status_code == status, (email, affiliations)
        if status == 400:
            assert response.json() == [
                (
                    "You are not allowed to accept this invitation. "
                    "Your email or organization must match the invitation restrictions."
                )
            ]


@pytest.mark.parametrize(
    ("obstacle", "message"),
    [
        ("blocked", {"non_field_errors": ["Customer is not available."]}),
        ("archived", {"non_field_errors": ["Customer is not available."]}),
        ("role disabled", {"non_field_errors": ["Role is not active."]}),
        ("requester deactivated", ["User is not active."]),
    ],
)
def test_request_cannot_be_approved_when_scope_role_or_account_is_disabled(
    site: Site,
    world: World,
    owner: Person,
    organisation: Place,
    project: Place,
    ada: Person,
    obstacle: str,
    message: Any,
) -> None:
    link = world.create_link(owner, "PROJECT.MEMBER", project)
    uuid = submit(site, link, ada).json()["uuid"]
    if obstacle == "role disabled":
        role = world.role("PROJECT.MEMBER").uuid
        response = site.post(f"/api/roles/{role}/disable/", world.staff)
    elif obstacle == "requester deactivated":
        path = f"/api/users/{ada.uuid}/"
        response = site.request("PATCH", path, world.staff, json={"is_active": False})
    else:
        response = site.request("PATCH", organisation.path, world.staff, json={obstacle: True})
    assert response.status_code == 200
    response = decide(site, uuid, "approve", owner)
    assert (response.status_code, response.json()) == (400, message)
    if obstacle != "requester deactivated":
        assert submit(site, link, world.person()).json() == message
    assert world.grants_in(project) == []
    assert decide(site, uuid, "reject", owner).status_code == 200


def test_single_role_setting_applies_to_requests(
    make_settings: Callable[..., Settings],
    make_site: Callable[[Settings], Site],
    world: World,
    owner: Person,
    project: Place,
    ada: Person,
) -> None:
    site = make_site(make_settings(invitation_disable_multiple_roles="true"))
    uuid = submit(site, world.create_link(owner, "PROJECT.MEMBER", project), ada).json()["uuid"]
    world.give_role(ada, "PROJECT.MEMBER", world.project(world.organisation()))
    message = ["User already has role within another scope."]
    assert decide(site, uuid, "approve", owner).json() == message
    assert submit(site, world.create_link(owner, "PROJECT.ADMIN", project), ada).json() == message


def test_all_errors_of_an_invite_link_are_reported_at_once(
    site: Site, world: World, owner: Person, project: Place
) -> None:
    role = world.role("CUSTOMER.OWNER").uuid
    body = {
        "scope": project.path,
        "role": role,
        "is_public": True,
        "project_name_template": "{username} {password}",
        "user_email_patterns": ["(", ".*", "[a"],
        "project_role": role,
    }
    allowed = "Allowed placeholders are: email, full_name, username"
    public = ["Only staff users can create public invitations."]
    patterns = ["Invalid regex patterns: [(,[a]"]
    response = site.post(LINKS, owner, json=body)
    assert response.status_code == 400
    assert response.json() == {
        "project_role": [f"Object with uuid={role} does not exist."],
        "is_public": public,
        "non_field_errors": ["Role and scope should belong to the same content type."],
        "project_name_template": [f"Invalid placeholders in template: password. {allowed}"],
        "user_email_patterns": patterns,
    }
    body |= {
        "role": world.role("PROJECT.MEMBER").uuid,
        "project_name_template": "{user} {",
        "user_affiliations": "x",
        "project_role": "0" * 32,
    }
    errors = site.post(LINKS, owner, json=body).json()
    assert errors.pop("user_affiliations")
    assert errors == {
        "project_role": [f"Object with uuid={'0' * 32} does not exist."],
        "is_public": public,
        "project_name_template": [
            f"Invalid placeholders in template: user, {{user}} {{. {allowed}"
        ],
        "user_email_patterns": patterns,
    }


def test_join_requests_are_rate_limited(
    site: Site, world: World, owner: Person, project: Place, ada: Person
) -> None:
    for _ in range(40):
        response = submit(site, world.create_link(owner, "PROJECT.MEMBER", project), ada)
        if response.status_code == 429:
            break
        decide(site, response.json()["uuid"], "cancel_request", ada)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0


def test_account_with_a_pending_request_cannot_be_deleted(
    site: Site, world: World, owner: Person, project: Place, ada: Person
) -> None:
    uuid = submit(site, world.create_link(owner, "PROJECT.MEMBER", project), ada).json()["uuid"]
    path = f"/api/users/{ada.uuid}/"
    response = site.request("DELETE", path, world.staff)
    assert response.status_code == 409
    assert response.json() == {"detail": "Cannot delete user with existing permission requests"}
    decide(site, uuid, "reject", owner)
    assert site.request("DELETE", path, world.staff).status_code == 204
    name = site.get(f"{REQUESTS}{uuid}/", owner).json()["created_by_full_name"]
    assert name.startswith("Deleted account ")


def test_deleting_a_scope_closes_its_links_and_requests(
    site: Site, world: World, owner: Person, project: Place, ada: Person
) -> None:
    link = world.create_link(owner, "PROJECT.MEMBER", project)
    uuid = submit(site, link, ada).json()["uuid"]
    assert site.request("DELETE", project.path, owner).status_code == 204
    assert submit(site, link, world.person()).status_code == 404
    assert site.get(f"{REQUESTS}{uuid}/", ada).json()["state"] == "canceled"


def test_invitation_states_that_its_inviter_lost_the_right(
    site: Site, world: World, owner: Person, organisation: Place, project: Place, ada: Person
) -> None:
    uuid = world.invite(owner, ada.email, "PROJECT.MEMBER", project)
    path = f"/api/user-invitations/{uuid}/"
    assert site.get(path, world.staff).json()["error_message"] == ""
    heir = world.person("heir")
    world.give_role(heir, "CUSTOMER.OWNER", organisation)
    world.remove_role(owner, "CUSTOMER.OWNER", organisation)
    assert site.post(f"{path}accept/", ada).status_code == 404
    for body in (site.get(path, heir).json(), site.get("/api/user-invitations/", heir).json()[0]):
        assert "can no longer assign this role" in body["error_message"]
    assert site.post(f"{path}send/", heir).status_code == 200
    assert site.get(path, heir).json()["error_message"] == ""
    assert site.post(f"{path}accept/", ada).status_code == 200
