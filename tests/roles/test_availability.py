"""Roles of a single organisation, roles that it does not use, and the report about roles."""

from typing import Any

import pytest

from collegium.access.rules import ScopeKind
from collegium.roles import queries as role_queries
from tests.access.test_visibility import add_role
from tests.support.site import Site
from tests.support.world import Person, Place, World

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Scene:
    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site, self.staff = world, site, world.staff
        self.owner, self.pilot = world.person("owner"), world.person("pilot")
        self.sea = world.organisation("Sea", owner=self.owner, slug="sea")
        self.air = world.organisation("Air", owner=self.pilot)
        self.survey = world.project(self.sea, "Survey")
        self.kites = world.project(self.air, "Kites")
        self.ada = world.person("ada")
        self.member = world.role("PROJECT.MEMBER").uuid

    def call(self, method: str, path: str, who: Person, body: Any = None, status: int = 200) -> Any:
        response = self.site.request(method, path, who, json=body)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def clone(self, uuid: str, status: int = 200, **more: Any) -> Any:
        body = {"customer": self.sea.uuid, **more}
        return self.call("POST", f"/api/roles/{uuid}/clone_to_customer/", self.staff, body, status)

    def conceal(self, uuid: str, place: Place, status: int = 201) -> Any:
        body = {"role": uuid, "customer": place.uuid}
        path = "/api/customer-role-concealments/"
        return self.call("POST", path, self.staff, body, status)

    def add(self, place: Place, role: str, who: Person, status: int = 201) -> Any:
        body = {"user": self.ada.uuid, "role": role}
        return self.call("POST", f"{place.path}add_user/", who, body, status)

    def names(self, who: Person, query: str) -> set[str]:
        rows = self.call("GET", f"/api/roles/?page_size=100&{query}", who)
        return {row["name"] for row in rows}


@pytest.fixture
def scene(world: World, site: Site) -> Scene:
    return Scene(world, site)


def test_copy_of_a_role_replaces_it_in_one_organisation(scene: Scene) -> None:
    copy = scene.clone(scene.member, description="Sailor")
    assert (copy["name"], copy["description"]) == ("PROJECT.sea.MEMBER", "Sailor")
    assert (copy["template_name"], copy["template_uuid"]) == ("PROJECT.MEMBER", scene.member)
    assert (copy["customer_uuid"], copy["customer_name"]) == (scene.sea.uuid, "Sea")
    assert copy["permissions"] == []
    message = {"non_field_errors": ["Role is concealed for this organization."]}
    assert scene.add(scene.survey, "PROJECT.MEMBER", scene.owner, 400) == message
    scene.add(scene.survey, copy["name"], scene.owner)
    # Elsewhere nothing changes, and the copy is unknown.
    unknown = {"role": ["Role is not found."]}
    assert scene.add(scene.kites, copy["uuid"], scene.pilot, 400) == unknown
    assert scene.add(scene.kites, copy["name"], scene.staff, 400) == unknown
    scene.add(scene.kites, "PROJECT.MEMBER", scene.pilot)
    assert scene.clone(scene.member, 400)["non_field_errors"]
    assert scene.clone(copy["uuid"], 400)["non_field_errors"]


def test_role_of_an_organisation_is_visible_only_to_those_who_see_it(scene: Scene) -> None:
    copy = scene.clone(scene.member)
    path = f"/api/roles/{copy['uuid']}/"
    for who, status in (
        (scene.owner, 200),
        (scene.staff, 200),
        (scene.pilot, 404),
        (scene.ada, 404),
    ):
        scene.call("GET", path, who, status=status)
        assert (copy["name"] in scene.names(who, "")) is (status == 200)
    assert scene.site.get(path).status_code == 404


def test_list_of_the_roles_that_an_organisation_uses(scene: Scene) -> None:
    copy = scene.clone(scene.member)["name"]
    query = f"available_for_customer={scene.sea.uuid}"
    for who in (scene.owner, scene.staff):
        found = scene.names(who, query)
        assert copy in found
        assert "PROJECT.MEMBER" not in found
        assert "PROJECT.ADMIN" in found
        assert {copy, "PROJECT.MEMBER"} <= scene.names(who, f"{query}&include_concealed=true")
    other = scene.names(scene.pilot, f"available_for_customer={scene.air.uuid}")
    assert copy not in other
    assert "PROJECT.MEMBER" in other
    # Nothing tells what an organisation conceals that the caller does not see.
    assert scene.names(scene.pilot, query) == set()
    assert scene.names(scene.staff, f"available_for_customer={'0' * 32}") == set()


def test_concealed_role_is_neither_given_nor_offered_but_kept(scene: Scene) -> None:
    world = scene.world
    invited = world.invite(scene.owner, "ada@example.org", "PROJECT.MEMBER", scene.survey)
    bob = world.person("bob")
    world.give_role(bob, "PROJECT.MEMBER", scene.survey)
    row = scene.conceal(scene.member, scene.sea)
    assert row == {
        "uuid": row["uuid"],
        "role": scene.member,
        "role_name": "PROJECT.MEMBER",
        "customer_uuid": scene.sea.uuid,
        "customer_name": "Sea",
    }
    scene.conceal(scene.member, scene.sea, 400)
    assert {row.account_uuid for row in world.grants_in(scene.survey)} == {bob.uuid}
    accept = f"/api/user-invitations/{invited}/accept/"
    scene.call("POST", accept, scene.ada, status=400)
    body = {"scope": scene.survey.path, "role": scene.member}
    invite = {**body, "email": "new@example.org"}
    scene.call("POST", "/api/user-invitations/", scene.owner, invite, 400)
    scene.call("POST", "/api/user-group-invitations/", scene.owner, body, 400)
    path = f"/api/customer-role-concealments/{row['uuid']}/"
    assert scene.call("GET", path, scene.staff) == row
    for query, expected in (
        (f"role_uuid={scene.member}", [row]),
        (f"scope_uuid={scene.sea.uuid}", [row]),
        (f"scope_uuid={scene.air.uuid}", []),
    ):
        listed = scene.call("GET", f"/api/customer-role-concealments/?{query}", scene.staff)
        assert listed == expected
    scene.call("DELETE", path, scene.staff, status=204)
    scene.call("POST", accept, scene.ada)


@sqlite_only
def test_last_role_that_can_add_members_cannot_be_concealed(scene: Scene) -> None:
    manager = scene.world.role("PROJECT.MANAGER").uuid
    text = "It is the last role of this organization that can add members."
    assert scene.conceal(manager, scene.sea, 400) == {"non_field_errors": [text]}
    assert scene.clone(manager)["permissions"]
    listed = scene.call("GET", "/api/customer-role-concealments/", scene.staff)
    assert [row["role_name"] for row in listed] == ["PROJECT.MANAGER"]
    errors = scene.call("POST", "/api/customer-role-concealments/", scene.staff, {}, 400)
    assert errors.keys() == {"role", "customer"}
    unknown = {"role": "0" * 32, "customer": "0" * 32}
    path = "/api/customer-role-concealments/"
    assert scene.call("POST", path, scene.staff, unknown, 400).keys() == {"role", "customer"}


def test_role_can_be_released_from_its_organisation(scene: Scene) -> None:
    copy = scene.clone(scene.member)
    (row,) = scene.call("GET", "/api/role-availabilities/?scope_type=customer", scene.staff)
    assert (row["role_uuid"], row["scope_uuid"]) == (copy["uuid"], scene.sea.uuid)
    assert scene.call("GET", "/api/role-availabilities/?scope_type=project", scene.staff) == []
    path = f"/api/role-availabilities/{row['uuid']}/"
    assert scene.call("GET", path, scene.staff) == row
    scene.call("DELETE", path, scene.staff, status=204)
    scene.call("DELETE", path, scene.staff, status=404)
    scene.add(scene.kites, copy["uuid"], scene.pilot)


@sqlite_only
def test_project_that_moves_loses_the_roles_of_its_former_organisation(scene: Scene) -> None:
    copy = scene.clone(scene.member)
    scene.add(scene.survey, copy["uuid"], scene.owner)
    bob = scene.world.person("bob")
    scene.world.give_role(bob, "PROJECT.ADMIN", scene.survey)
    scene.world.give_role(bob, "PROJECT.MANAGER", scene.survey)
    scene.conceal(scene.world.role("PROJECT.ADMIN").uuid, scene.air)
    body = {"customer": scene.air.path, "preserve_permissions": True}
    scene.call("POST", f"{scene.survey.path}move_project/", scene.staff, body)
    left = {(row.username, row.role_name) for row in scene.world.grants_in(scene.survey)}
    assert left == {("bob", "PROJECT.MANAGER")}


@sqlite_only
def test_report_names_what_is_odd_about_roles(scene: Scene) -> None:
    with scene.world.database.write() as tx:
        add_role(tx, "CUSTOM.UNUSED", ScopeKind.PROJECT, ())
        role = role_queries.existing(tx, "CUSTOM.UNUSED")
        role_queries.set_permissions(tx, role.id, ["PROJECT.OLD"])
    scene.world.give_role(scene.ada, "PROJECT.ADMIN", scene.survey)
    scene.call("POST", f"/api/roles/{scene.world.role('PROJECT.ADMIN').uuid}/disable/", scene.staff)
    scene.clone(scene.world.role("PROJECT.MANAGER").uuid, conceal_template=False)
    report = scene.call("GET", "/api/roles/hygiene_report/", scene.staff)
    found = {(row["check"], row["role_name"]) for row in report["findings"]}
    assert found >= {
        ("unknown_permissions", "CUSTOM.UNUSED"),
        ("unused", "CUSTOM.UNUSED"),
        ("disabled_but_held", "PROJECT.ADMIN"),
        ("unused", "PROJECT.sea.MANAGER"),
    }
    assert (report["error_count"], report["warning_count"]) == (1, 1)
    assert report["roles_checked"] == 8
    assert report["roles_with_findings"] == len({name for _check, name in found})
    for who, status in ((scene.owner, 403), (scene.world.person("x", is_support=True), 200)):
        scene.call("GET", "/api/roles/hygiene_report/", who, status=status)
