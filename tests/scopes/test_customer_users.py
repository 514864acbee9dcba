"""The list of all members of an organisation and its projects, and the list of countries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.roles import actions as role_actions
from collegium.settings import Settings
from tests.support.site import BASE, Site
from tests.support.world import Person, Place, World


class Team:
    """An organisation with members of every kind; one is also a member of another organisation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner = world.person("owner", first_name="Ola")
        self.helper = world.person("helper", first_name="Hal")
        details = {"job_title": "Smith", "phone_number": "+1 555"}
        self.member = world.person("member", first_name="Mia", **details)
        self.former = world.person("former")
        self.elsewhere = world.person("elsewhere", first_name="Elsa")
        self.until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        self.organisation = world.organisation("Acme", owner=self.owner)
        self.project = world.project(self.organisation, "Engine")
        self.second = world.project(self.organisation, "Wheel")
        other = world.organisation("Other", owner=self.elsewhere)
        world.give_role(self.member, "PROJECT.ADMIN", world.project(other, "Foreign"))
        with world.database.write() as tx:
            for name in ("CUSTOMER.SUPPORT", "CUSTOMER.MANAGER"):
                uuid = world.role(name).uuid
                role_actions.set_active(tx, world.staff.actor, uuid, active=True)
        world.give_role(self.helper, "CUSTOMER.SUPPORT", self.organisation, self.until)
        world.give_role(self.member, "PROJECT.MEMBER", self.project)
        world.give_role(self.member, "PROJECT.MANAGER", self.second, self.until)
        world.give_role(self.former, "CUSTOMER.OWNER", self.organisation)
        world.remove_role(self.former, "CUSTOMER.OWNER", self.organisation)
        self.path = f"{self.organisation.path}users/"


@pytest.fixture
def team(world: World) -> Team:
    return Team(world)


def names(site: Site, team: Team, query: str = "", viewer: Person | None = None) -> list[str]:
    response = site.get(f"{team.path}?{query}", viewer or team.owner)
    assert response.status_code == 200, response.text
    usernames = [row["username"] for row in response.json()]
    assert int(response.headers["X-Result-Count"]) == len(usernames)
    return usernames


def project_body(role: str, project: Place, until: str | None) -> dict[str, Any]:
    return {
        "url": f"{BASE}{project.path}",
        "uuid": project.uuid,
        "name": project.name,
        "role_name": role,
        "expiration_time": until,
    }


def test_list_shows_all_members_with_their_roles(site: Site, team: Team) -> None:
    until = team.until.isoformat().replace("+00:00", "Z")
    projects = [
        project_body("PROJECT.MEMBER", team.project, None),
        project_body("PROJECT.MANAGER", team.second, until),
    ]
    members: dict[str, tuple[Person, str | None, str | None, list[Any]]] = {
        "helper": (team.helper, "CUSTOMER.SUPPORT", until, []),
        "member": (team.member, None, None, projects),
        "owner": (team.owner, "CUSTOMER.OWNER", None, []),
    }
    expected = [
        {
            "url": f"{BASE}/api/users/{person.uuid}/",
            "uuid": person.uuid,
            "username": name,
            "full_name": person.actor.name,
            "email": person.email,
            "role_name": role,
            "projects": projects,
            "expiration_time": end,
            "image": None,
        }
        for name, (person, role, end, projects) in members.items()
    ]
    response = site.get(team.path, team.owner)
    assert response.json() == expected
    assert response.headers["X-Result-Count"] == "3"
    assert site.request("HEAD", team.path, team.owner).headers["X-Result-Count"] == "3"


def test_members_are_listed_for_owners_and_staff_only(site: Site, team: Team) -> None:
    world = team.world
    support, manager = world.person("support", is_support=True), world.person("manager")
    for person in (team.owner, team.helper, world.staff, support):
        assert len(names(site, team, "", person)) == 3
    world.give_role(manager, "CUSTOMER.MANAGER", team.organisation)
    for person in (team.member, manager):
        assert site.get(team.organisation.path, person).status_code == 200
        response = site.get(team.path, person)
        assert (response.status_code, response.content) == (403, b"")
    for person in (team.former, team.elsewhere, world.person()):
        assert site.get(team.path, person).status_code == 404
    assert site.get(team.path).status_code == 401
    for uuid in ("0" * 32, team.project.uuid):
        assert site.get(f"/api/customers/{uuid}/users/", world.staff).status_code == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("organization_role=CUSTOMER.OWNER", ["owner"]),
        (
            "organization_role=CUSTOMER.OWNER&organization_role=CUSTOMER.SUPPORT",
            ["helper", "owner"],
        ),
        ("organization_role=PROJECT.MEMBER", []),
        ("project_role=PROJECT.MEMBER", ["member"]),
        ("project_role=PROJECT.ADMIN", []),
        ("project_role=PROJECT.MANAGER,PROJECT.ADMIN", ["member"]),
        ("organization_role=nonsense", []),
        ("user_keyword=ola", ["owner"]),
        ("full_name=Mia", ["member"]),
        ("job_title=Smith", ["member"]),
        ("phone_number=%2B1 555", ["member"]),
        ("username=helper", ["helper"]),
        ("email=helper@", ["helper"]),
        ("is_active=false", []),
        ("is_active=true", ["helper", "member", "owner"]),
        ("date_joined=2999-01-01T00:00:00Z", []),
        ("o=-concatenated_name", ["owner", "member", "helper"]),
        ("o=concatenated_name", ["helper", "member", "owner"]),
        ("username=elsewhere", []),
    ],
)
def test_customer_users_are_filtered_and_ordered(
    site: Site, team: Team, query: str, expected: list[str]
) -> None:
    assert names(site, team, query) == expected


def test_role_filter_accepts_a_uuid(site: Site, team: Team) -> None:
    role = team.world.role("PROJECT.MANAGER").uuid
    dashed = f"{role[:8]}-{role[8:12]}-{role[12:16]}-{role[16:20]}-{role[20:]}"
    assert names(site, team, f"project_role={dashed}") == ["member"]
    assert names(site, team, f"project_role={role},nonsense") == ["member"]
    assert names(site, team, f"organization_role={dashed}") == []


def test_owner_cannot_filter_by_hidden_fields(site: Site, team: Team, world: World) -> None:
    person = world.person("citizen", civil_number="38001085718", description="Remark")
    world.give_role(person, "PROJECT.MEMBER", team.project)
    for query in ("civil_number=38001085718", "description=Remark"):
        assert names(site, team, query) == []
        assert names(site, team, query, world.staff) == ["citizen"]


@pytest.mark.parametrize("query", ["o=username", "date_joined=x"])
def test_invalid_filter_or_order_is_refused(site: Site, team: Team, query: str) -> None:
    assert site.get(f"{team.path}?{query}", team.owner).status_code == 400


def test_list_has_pages_and_sparse_fields(site: Site, team: Team) -> None:
    first = site.get(f"{team.path}?page_size=2&field=username&field=projects", team.owner)
    assert [set(row) for row in first.json()] == [{"username", "projects"}] * 2
    assert first.headers["X-Result-Count"] == "3"
    second = site.get(f"{team.path}?page_size=2&page=2", team.owner)
    assert [row["username"] for row in second.json()] == ["owner"]
    assert site.get(f"{team.path}?page=3&page_size=2", team.owner).status_code == 404


def test_deactivated_accounts_and_deleted_projects_are_not_shown(
    site: Site, team: Team, world: World
) -> None:
    for project in (team.project, team.second):
        assert site.request("DELETE", project.path, world.staff).status_code == 204
    assert names(site, team) == ["helper", "owner"]
    path = f"/api/users/{team.helper.uuid}/"
    response = site.request("PATCH", path, world.staff, json={"is_active": False})
    assert response.status_code == 200
    assert names(site, team) == ["owner"]


def test_countries_are_listed_by_name(site: Site, world: World) -> None:
    person = world.person()
    response = site.get("/api/customers/countries/", person)
    assert response.status_code == 200
    countries = {row["value"]: row["label"] for row in response.json()}
    assert countries["EE"] == "Estonia"
    assert countries["EU"] == "European Union"
    assert list(countries) == list(world.settings.countries)
    head = site.request("HEAD", "/api/customers/countries/", person)
    assert head.headers["X-Result-Count"] == str(len(countries))
    for code in ("EE", "EU"):
        body = {"name": "New", "country": code}
        assert site.post("/api/customers/", world.staff, json=body).status_code == 201
    assert site.get("/api/customers/countries/").status_code == 401


def test_countries_can_be_configured(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(countries="BR,XK,QQ"))
    countries = site.get("/api/customers/countries/", world.person()).json()
    assert countries == [
        {"label": "Brazil", "value": "BR"},
        {"label": "Kosovo", "value": "XK"},
        {"label": "QQ", "value": "QQ"},
    ]
