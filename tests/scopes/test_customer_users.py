"""The people of an organisation, for those in charge of it; and the countries there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.roles import actions as role_actions
from collegium.settings import Settings
from tests.support.site import BASE, Site
from tests.support.world import Person, Place, World


class Scene:
    """An organisation with people of every kind, and another one with one of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner = world.person("owner", first_name="Ola")
        self.helper = world.person("helper", first_name="Hal")
        self.member = world.person(
            "member", first_name="Mia", job_title="Smith", phone_number="+1 555"
        )
        self.former = world.person("former")
        self.elsewhere = world.person("elsewhere", first_name="Elsa")
        self.until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        self.organisation = world.organisation("Acme", owner=self.owner)
        self.project = world.project(self.organisation, "Engine")
        self.second = world.project(self.organisation, "Wheel")
        other = world.organisation("Other", owner=self.elsewhere)
        world.seat(self.member, "PROJECT.ADMIN", world.project(other, "Foreign"))
        self.enable("CUSTOMER.SUPPORT", "CUSTOMER.MANAGER")
        world.seat(self.helper, "CUSTOMER.SUPPORT", self.organisation, self.until)
        world.seat(self.member, "PROJECT.MEMBER", self.project)
        world.seat(self.member, "PROJECT.MANAGER", self.second, self.until)
        world.seat(self.former, "CUSTOMER.OWNER", self.organisation)
        world.unseat(self.former, "CUSTOMER.OWNER", self.organisation)
        self.path = f"{self.organisation.path}users/"

    def enable(self, *names: str) -> None:
        with self.world.database.write() as tx:
            for name in names:
                role_actions.set_active(
                    tx, self.world.staff.actor, self.world.role(name).uuid, active=True
                )


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def names(site: Site, scene: Scene, query: str = "", who: Person | None = None) -> list[str]:
    answer = site.get(f"{scene.path}?{query}", who or scene.owner)
    assert answer.status_code == 200, answer.text
    found = [one["username"] for one in answer.json()]
    assert int(answer.headers["X-Result-Count"]) == len(found)
    return found


def nested(role: str, place: Place, until: str | None) -> dict[str, Any]:
    return {
        "url": f"{BASE}{place.path}",
        "uuid": place.uuid,
        "name": place.name,
        "role_name": role,
        "expiration_time": until,
    }


def test_everybody_in_it_is_shown_with_what_they_hold_there(site: Site, scene: Scene) -> None:
    until = scene.until.isoformat().replace("+00:00", "Z")
    told: dict[str, tuple[Person, str | None, str | None, list[Any]]] = {
        "helper": (scene.helper, "CUSTOMER.SUPPORT", until, []),
        "member": (
            scene.member,
            None,
            None,
            [
                nested("PROJECT.MEMBER", scene.project, None),
                nested("PROJECT.MANAGER", scene.second, until),
            ],
        ),
        "owner": (scene.owner, "CUSTOMER.OWNER", None, []),
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
        for name, (person, role, end, projects) in told.items()
    ]
    answer = site.get(scene.path, scene.owner)
    assert answer.json() == expected
    assert answer.headers["X-Result-Count"] == "3"
    assert site.request("HEAD", scene.path, scene.owner).headers["X-Result-Count"] == "3"


def test_who_may_and_who_may_not(site: Site, scene: Scene) -> None:
    world = scene.world
    support, manager = world.person("support", is_support=True), world.person("manager")
    for who in (scene.owner, scene.helper, world.staff, support):
        assert len(names(site, scene, "", who)) == 3
    # Whoever sees the organisation and is not in charge of it is told nothing but no.
    world.seat(manager, "CUSTOMER.MANAGER", scene.organisation)
    for who in (scene.member, manager):
        assert site.get(scene.organisation.path, who).status_code == 200
        answer = site.get(scene.path, who)
        assert (answer.status_code, answer.content) == (403, b"")
    for who in (scene.former, scene.elsewhere, world.person()):
        assert site.get(scene.path, who).status_code == 404
    assert site.get(scene.path).status_code == 401
    unknown = scene.path.replace(scene.organisation.uuid, "0" * 32)
    assert site.get(unknown, world.staff).status_code == 404
    # An owner of another organisation is none here.
    assert site.get(f"/api/customers/{scene.project.uuid}/users/", world.staff).status_code == 404


@pytest.mark.parametrize(
    ("query", "found"),
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
def test_filters_and_orders(site: Site, scene: Scene, query: str, found: list[str]) -> None:
    assert names(site, scene, query) == found


def test_a_role_is_looked_for_by_its_uuid_too(site: Site, scene: Scene) -> None:
    role = scene.world.role("PROJECT.MANAGER").uuid
    dashed = f"{role[:8]}-{role[8:12]}-{role[12:16]}-{role[16:20]}-{role[20:]}"
    assert names(site, scene, f"project_role={dashed}") == ["member"]
    assert names(site, scene, f"project_role={role},nonsense") == ["member"]
    assert names(site, scene, f"organization_role={dashed}") == []


def test_an_owner_finds_nobody_by_what_they_may_not_see(
    site: Site, scene: Scene, world: World
) -> None:
    person = world.person("citizen", civil_number="38001085718", description="Remark")
    world.seat(person, "PROJECT.MEMBER", scene.project)
    for query in ("civil_number=38001085718", "description=Remark"):
        assert names(site, scene, query) == []
        assert names(site, scene, query, world.staff) == ["citizen"]


@pytest.mark.parametrize("query", ["o=username", "date_joined=x"])
def test_what_cannot_be_read_is_told(site: Site, scene: Scene, query: str) -> None:
    assert site.get(f"{scene.path}?{query}", scene.owner).status_code == 400


def test_pages_and_fields(site: Site, scene: Scene) -> None:
    first = site.get(f"{scene.path}?page_size=2&field=username&field=projects", scene.owner)
    assert [set(one) for one in first.json()] == [{"username", "projects"}] * 2
    assert first.headers["X-Result-Count"] == "3"
    second = site.get(f"{scene.path}?page_size=2&page=2", scene.owner)
    assert [one["username"] for one in second.json()] == ["owner"]
    assert site.get(f"{scene.path}?page=3&page_size=2", scene.owner).status_code == 404


def test_who_is_switched_off_and_what_is_gone_is_not_shown(
    site: Site, scene: Scene, world: World
) -> None:
    for place in (scene.project, scene.second):
        assert site.request("DELETE", place.path, world.staff).status_code == 204
    assert names(site, scene) == ["helper", "owner"]
    off = site.request(
        "PATCH", f"/api/users/{scene.helper.uuid}/", world.staff, json={"is_active": False}
    )
    assert off.status_code == 200
    assert names(site, scene) == ["owner"]


def test_countries_are_those_of_the_settings_by_their_names(site: Site, world: World) -> None:
    ada = world.person()
    answer = site.get("/api/customers/countries/", ada)
    assert answer.status_code == 200
    found = {one["value"]: one["label"] for one in answer.json()}
    assert found["EE"] == "Estonia"
    assert found["EU"] == "European Union"
    assert list(found) == list(world.settings.countries)
    head = site.request("HEAD", "/api/customers/countries/", ada)
    assert head.headers["X-Result-Count"] == str(len(found))
    # Each of them is taken.
    for code in ("EE", "EU"):
        sent = {"name": "New", "country": code}
        assert site.post("/api/customers/", world.staff, json=sent).status_code == 201
    assert site.get("/api/customers/countries/").status_code == 401


def test_countries_of_the_operators_own_choice(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(countries="BR,XK"))
    found = site.get("/api/customers/countries/", world.person()).json()
    assert found == [{"label": "Brazil", "value": "BR"}, {"label": "XK", "value": "XK"}]
