"""A pending join request is approved when its account gets the role in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collegium.access.rules import Permission, ScopeKind
from tests.groups.scene import Groups
from tests.join_requests.test_api import REQUESTS, custom_role, decide, recipients, submit
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import Person, Place, World

MEMBER = "PROJECT.MEMBER"
SOON = (datetime.now(UTC) + timedelta(days=9)).isoformat()


@dataclass
class Scene:
    """A requester and the people who can give roles."""

    site: Site
    world: World
    owner: Person
    organisation: Place
    project: Place
    ada: Person

    def request(self, role: str, *, place: Place | None = None, by: Person | None = None) -> str:
        """Request a role by a link that somebody created; return the UUID."""
        link = self.world.create_link(by or self.owner, role, place or self.project)
        uuid = str(submit(self.site, link, self.ada).json()["uuid"])
        assert self.state(uuid) == "pending"
        return uuid

    def state(self, uuid: str) -> str:
        return str(self.site.get(f"{REQUESTS}{uuid}/", self.world.staff).json()["state"])

    def add(
        self,
        role: str,
        *,
        place: Place | None = None,
        by: Person | None = None,
        person: Person | None = None,
        until: str | None = None,
    ) -> None:
        """Assign a role over the API."""
        body = {"user": (person or self.ada).uuid, "role": role}
        body |= {"expiration_time": until} if until else {}
        path = f"{(place or self.project).path}add_user/"
        assert self.site.post(path, by or self.owner, json=body).status_code == 201

    def assert_approved(self, uuid: str, by: Person) -> None:
        body = self.site.get(f"{REQUESTS}{uuid}/", self.ada).json()
        assert (body["state"], body["reviewed_by_username"]) == ("approved", by.actor.username)
        assert body["reviewed_at"] is not None
        for action in ("reject", "approve"):
            response = decide(self.site, uuid, action, by)
            assert response.status_code == 409
            assert response.json() == {"detail": "Valid states for operation: pending."}
        assert decide(self.site, uuid, "cancel_request", self.ada).status_code == 400
        rows = self.site.get("/api/events/?page_size=100", by).json()
        kinds = [
            row["event_type"]
            for row in rows
            if row["context"].get("permission_request_uuid") == uuid
        ]
        assert sum("approved" in kind for kind in kinds) == 1, kinds


@pytest.fixture
def joining(
    site: Site, world: World, owner: Person, organisation: Place, project: Place, ada: Person
) -> Scene:
    return Scene(site, world, owner, organisation, project, ada)


def add_by_api(joining: Scene) -> None:
    joining.add(MEMBER)


def add_with_an_end(joining: Scene) -> None:
    joining.add(MEMBER, until=SOON)
    (grant,) = joining.world.grants_in(joining.project)
    assert grant.valid_until.isoformat() == SOON


def add_on_the_page(joining: Scene) -> None:
    world, ada = joining.world, joining.ada
    world.give_role(ada, MEMBER, world.project(joining.organisation))  # or the owner cannot see ada
    browser = Browser(joining.site).sign_in(world, joining.owner)
    path = f"/project/{joining.project.uuid}/add/"
    browser.open(f"{path}?q=ada")
    role = world.role(MEMBER).uuid
    assert browser.send(path, account=ada.uuid, role=role, until="").status_code == 303


def accept_invitation(joining: Scene) -> None:
    uuid = joining.world.invite(joining.owner, joining.ada.email, MEMBER, joining.project)
    path = f"/api/user-invitations/{uuid}/accept/"
    assert joining.site.post(path, joining.ada).status_code == 200


def approve_another_request(joining: Scene) -> None:
    uuid = joining.request(MEMBER)
    assert decide(joining.site, uuid, "approve", joining.owner).status_code == 200


@pytest.mark.parametrize(
    "give",
    [add_by_api, add_with_an_end, add_on_the_page, accept_invitation, approve_another_request],
)
def test_getting_the_role_in_another_way_approves_the_request(
    joining: Scene, give: Callable[[Scene], None]
) -> None:
    uuid = joining.request(MEMBER)
    give(joining)
    joining.assert_approved(uuid, joining.owner)
    (grant,) = joining.world.grants_in(joining.project)
    assert (grant.username, grant.role_name) == ("ada", MEMBER)
    # One e-mail, and none to the account that acted itself.
    expected = [] if give is accept_invitation else [joining.ada.email]
    assert recipients(joining.world, "structure_role_granted") == expected


def test_approval_replaces_a_grant_that_ends_by_a_lasting_one(joining: Scene) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    joining.world.give_role(joining.ada, MEMBER, joining.project, until)
    uuid = joining.request(MEMBER)
    assert decide(joining.site, uuid, "approve", joining.owner).status_code == 200
    (grant,) = joining.world.grants_in(joining.project)
    assert grant.valid_until is None


def test_staff_who_add_an_owner_approve_their_request(joining: Scene) -> None:
    staff, organisation = joining.world.staff, joining.organisation
    uuid = joining.request("CUSTOMER.OWNER", place=organisation, by=staff)
    joining.add("CUSTOMER.OWNER", place=organisation, by=staff)
    joining.assert_approved(uuid, staff)


def test_changing_to_the_requested_role_approves_the_request(joining: Scene) -> None:
    world, project = joining.world, joining.project
    requested = custom_role(world, ScopeKind.PROJECT, Permission.PROJECT_UPDATE)
    world.give_role(joining.ada, MEMBER, project)
    uuid = joining.request(requested)
    (grant,) = world.grants_in(project)
    path = f"/project/{project.uuid}/people/{grant.uuid}/"
    browser = Browser(joining.site).sign_in(world, world.staff)
    browser.open(path)
    role = world.role(requested).uuid
    assert browser.send(path, action="role", role=role).status_code == 303
    joining.assert_approved(uuid, world.staff)


def test_removing_the_end_of_a_role_approves_the_request(joining: Scene) -> None:
    joining.add(MEMBER, until=SOON)
    uuid = joining.request(MEMBER)
    body = {"user": joining.ada.uuid, "role": MEMBER}
    later = (datetime.now(UTC) + timedelta(days=20)).isoformat()
    for until, state in ((later, "pending"), (None, "approved")):
        path = f"{joining.project.path}update_user/"
        response = joining.site.post(path, joining.owner, json=body | {"expiration_time": until})
        assert response.status_code == 200
        assert joining.state(uuid) == state
    joining.assert_approved(uuid, joining.owner)


def test_auto_approving_link_approves_an_earlier_request(joining: Scene) -> None:
    uuid = joining.request(MEMBER)
    link = joining.world.create_link(joining.owner, MEMBER, joining.project, auto_approve=True)
    assert submit(joining.site, link, joining.ada).json()["auto_approved"] is True
    assert joining.state(uuid) == "approved"
    assert decide(joining.site, uuid, "reject", joining.owner).status_code == 409


def test_role_with_all_requested_permissions_approves_the_request(joining: Scene) -> None:
    uuid = joining.request(MEMBER)
    joining.add("PROJECT.MANAGER")
    joining.assert_approved(uuid, joining.owner)


def test_different_or_smaller_role_leaves_the_request_pending(joining: Scene) -> None:
    world = joining.world
    uuid = joining.request(custom_role(world, ScopeKind.PROJECT, Permission.PROJECT_UPDATE))
    permissions = (Permission.PROJECT_CREATE, Permission.INVITATION_LIST)
    for role in (MEMBER, custom_role(world, ScopeKind.PROJECT, *permissions)):
        joining.add(role, by=world.staff)
        assert joining.state(uuid) == "pending"
    assert decide(joining.site, uuid, "reject", world.staff).status_code == 200


def test_role_elsewhere_or_of_another_account_leaves_the_request_pending(joining: Scene) -> None:
    world, organisation = joining.world, joining.organisation
    uuid = joining.request(MEMBER)
    joining.add(MEMBER, person=world.person("bob"))
    joining.add(MEMBER, place=world.project(organisation))
    joining.add("CUSTOMER.OWNER", place=organisation, by=world.staff)
    assert joining.state(uuid) == "pending"
    assert decide(joining.site, uuid, "reject", joining.owner).status_code == 200


def test_request_for_a_new_project_needs_its_own_approval(joining: Scene) -> None:
    staff, organisation = joining.world.staff, joining.organisation
    link = joining.world.create_link(
        staff,
        "CUSTOMER.OWNER",
        organisation,
        project_role="PROJECT.MANAGER",
        auto_create_project=True,
        template="Lab of {username}",
    )
    uuid = submit(joining.site, link, joining.ada).json()["uuid"]
    joining.add("CUSTOMER.OWNER", place=organisation, by=staff)
    assert joining.state(uuid) == "pending"
    assert decide(joining.site, uuid, "approve", staff).status_code == 200


def test_accepting_a_group_invitation_approves_the_group_request(
    site: Site, world: World, owner: Person, ada: Person
) -> None:
    groups = Groups(world, site)
    group = groups.create(owner)
    response = groups.get(ada, "group", group, "join")
    assert response.status_code == 200, response.text
    uuid = response.json()["group_membership_request"]["id"]
    invitation = groups.invite(group, owner, ada, is_manager=True)
    assert groups.get(ada, "invitation", invitation, "accept").status_code == 200
    response = groups.get(owner, "request", uuid, "reject")
    assert response.status_code == 400
    assert "The request is already approved." in response.text
    response = groups.get(owner, "request", uuid, "accept")
    assert response.status_code == 200
    assert response.json()["group_membership_request"]["id"] == uuid
    audit_log = Browser(site).sign_in(world, owner).open(f"/group/{group}/team/history/").text
    assert "Olga Lee approved the join request of ada." in audit_log
    assert "withdrew" not in audit_log
    assert "cancelled" not in audit_log


def test_grants_are_written_only_where_requests_are_approved() -> None:
    source = Path(__file__).parents[2] / "src" / "collegium"
    writers = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "membership_queries.grant(" in path.read_text()
    }
    assert writers == {"scopes/actions.py"}
