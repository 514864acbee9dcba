"""An organisation with access subnets is there for whoever asks from inside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.access.rules import Permission, ScopeKind
from collegium.db.statements import Statement
from collegium.db.tables import denied_ranges
from collegium.settings import Settings
from tests.access.test_visibility import add_role
from tests.support.site import Site
from tests.support.world import Person, World

INSIDE, OUTSIDE = "10.1.2.3", "192.0.2.1"
INSIDE_6, OUTSIDE_6 = "2001:db8::7", "2001:db9::7"
SUBNETS = "10.0.0.0/8,2001:db8::/32"


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    """A site behind a proxy that says where callers come from."""
    return make_site(make_settings(trusted_proxies="127.0.0.1"))


class Scene:
    """An organisation that is open inside alone, and one that is open to all."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner, self.manager, self.member = map(world.person, ("owner", "manager", "member"))
        self.organisation = world.organisation("Walled", owner=self.owner, access_subnets=SUBNETS)
        self.project = world.project(self.organisation, "Within")
        self.elsewhere = world.organisation("Open", owner=self.owner)
        world.seat(self.manager, "PROJECT.MANAGER", self.project)
        world.seat(self.member, "PROJECT.MEMBER", self.project)
        self.invitation = world.invite(self.owner, "new@example.org", "PROJECT.ADMIN", self.project)

    def everything(self) -> dict[str, str]:
        """Path to what it must not show outside, for whoever holds a role within."""
        return {
            self.organisation.path: "Walled",
            f"{self.organisation.path}list_users/": "owner",
            f"{self.organisation.path}users/": "manager",
            self.project.path: "Within",
            f"{self.project.path}list_users/": "manager",
            f"/api/user-invitations/{self.invitation}/": "new@example.org",
            f"/api/users/{self.member.uuid}/": "member",
        }


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def ask(
    site: Site, path: str, who: Person | None, at: str, method: str = "GET", **options: Any
) -> httpx.Response:
    return site.request(method, path, who, {"X-Forwarded-For": at}, **options)


def listed(site: Site, path: str, who: Person, at: str) -> list[Any]:
    """A list, which must count what it shows."""
    answer = ask(site, f"{path}?page_size=300", who, at)
    assert answer.status_code == 200, answer.text
    head = ask(site, path, who, at, "HEAD")
    found: list[Any] = answer.json()
    assert int(answer.headers["X-Result-Count"]) == len(found)
    assert int(head.headers["X-Result-Count"]) == len(found)
    return found


@pytest.mark.parametrize("at", [INSIDE, INSIDE_6, f"::ffff:{INSIDE}"])
def test_inside_everything_is_there(site: Site, scene: Scene, at: str) -> None:
    for path, said in scene.everything().items():
        answer = ask(site, path, scene.owner, at)
        assert answer.status_code == 200, (path, answer.text)
        assert said in answer.text, path


@pytest.mark.parametrize("at", [OUTSIDE, OUTSIDE_6, f"::ffff:{OUTSIDE}", "11.0.0.0"])
def test_outside_nothing_is_there(site: Site, scene: Scene, at: str) -> None:
    for path in scene.everything():
        assert ask(site, path, scene.owner, at).status_code == 404, path
    # What is open stays open, and one is oneself everywhere.
    assert ask(site, scene.elsewhere.path, scene.owner, at).status_code == 200
    assert ask(site, "/api/users/me/", scene.owner, at).status_code == 200


def test_lists_and_counts_and_details_agree(site: Site, scene: Scene) -> None:
    inside = {"Walled": {"Within"}, "Open": set()}
    for at, expected in ((INSIDE, inside), (OUTSIDE, {"Open": set()})):
        shown = listed(site, "/api/customers/", scene.owner, at)
        found = {one["name"]: {p["name"] for p in one["projects"]} for one in shown}
        assert found == expected
        projects = listed(site, "/api/projects/", scene.owner, at)
        assert {one["name"] for one in projects} == expected.get("Walled", set())
        invitations = listed(site, "/api/user-invitations/", scene.owner, at)
        assert bool(invitations) is (at == INSIDE)
        people = {one["username"] for one in listed(site, "/api/users/", scene.owner, at)}
        assert people == ({"owner", "manager", "member"} if at == INSIDE else {"owner"})
        name = "Within" if at == INSIDE else "Nothing"
        for filters in (f"project_uuid={scene.project.uuid}", "project_roles=PROJECT.MEMBER"):
            found_by = ask(site, f"/api/users/?{filters}", scene.owner, at).json()
            assert bool(found_by) is (name == "Within"), filters


@pytest.mark.parametrize("who", ["owner", "manager", "member"])
def test_the_wall_stands_for_every_role(site: Site, scene: Scene, who: str) -> None:
    person: Person = getattr(scene, who)
    for place in (scene.organisation, scene.project):
        assert ask(site, place.path, person, INSIDE).status_code == 200
        assert ask(site, place.path, person, OUTSIDE).status_code == 404


def test_outside_nothing_can_be_done(site: Site, scene: Scene, world: World) -> None:
    seat = {"user": world.person("new").uuid, "role": "PROJECT.MEMBER"}
    invited = {"scope": scene.project.path, "email": "two@example.org"}
    invited["role"] = world.role("PROJECT.MEMBER").uuid
    actions: tuple[tuple[str, str, dict[str, Any], int], ...] = (
        ("PATCH", scene.organisation.path, {"abbreviation": "W"}, 404),
        ("PATCH", scene.project.path, {"description": "W"}, 404),
        ("POST", f"{scene.project.path}add_user/", seat, 404),
        ("POST", f"/api/user-invitations/{scene.invitation}/send/", {}, 404),
        ("POST", f"/api/user-invitations/{scene.invitation}/cancel/", {}, 404),
        ("POST", "/api/user-invitations/", invited, 400),
        ("POST", "/api/projects/", {"name": "P", "customer": scene.organisation.path}, 400),
    )
    for method, path, sent, status in actions:
        answer = ask(site, path, scene.owner, OUTSIDE, method, json=sent)
        assert answer.status_code == status, (method, path, answer.text)
    for method, path, sent, _ in actions:
        answer = ask(site, path, scene.owner, INSIDE, method, json=sent)
        assert answer.is_success, (method, path, answer.text)


def test_staff_and_support_stand_above_the_wall(site: Site, scene: Scene, world: World) -> None:
    support = world.person("support", is_support=True)
    for who in (world.staff, support):
        for path, said in scene.everything().items():
            answer = ask(site, path, who, OUTSIDE)
            assert answer.status_code == 200, path
            assert said in answer.text
    # Staff take the wall away again, from wherever they are.
    opened = {"access_subnets": ""}
    assert (
        ask(site, scene.organisation.path, support, OUTSIDE, "PATCH", json=opened).status_code
        == 403
    )
    assert ask(site, scene.organisation.path, scene.owner, OUTSIDE).status_code == 404
    done = ask(site, scene.organisation.path, world.staff, OUTSIDE, "PATCH", json=opened)
    assert done.status_code == 200
    assert ask(site, scene.organisation.path, scene.owner, OUTSIDE).status_code == 200


def test_what_support_holds_counts_inside_alone(site: Site, scene: Scene, world: World) -> None:
    support = world.person("support", is_support=True)
    world.seat(support, "CUSTOMER.OWNER", scene.organisation)
    for at, status in ((INSIDE, 200), (OUTSIDE, 403)):
        answer = ask(
            site, scene.organisation.path, support, at, "PATCH", json={"abbreviation": "W"}
        )
        assert answer.status_code == status


def test_another_text_counts_at_once(site: Site, scene: Scene, world: World) -> None:
    path = scene.organisation.path
    for subnets, inside, outside in (
        ("192.0.2.0/24", 404, 200),
        ("0.0.0.0/0", 200, 200),
        ("2001:db8::/32", 404, 404),
        ("10.1.2.3", 200, 404),
        ("", 200, 200),
    ):
        sent = {"access_subnets": subnets}
        answer = ask(site, path, world.staff, OUTSIDE, "PATCH", json=sent)
        assert answer.status_code == 200, answer.text
        assert ask(site, path, scene.owner, INSIDE).status_code == inside, subnets
        assert ask(site, path, scene.owner, OUTSIDE).status_code == outside, subnets
    with world.database.read() as tx:
        assert tx.fetch_all(Statement(select(denied_ranges))) == []


def test_an_owner_cannot_move_the_wall(site: Site, scene: Scene) -> None:
    sent = {"access_subnets": "0.0.0.0/0", "abbreviation": "W"}
    answer = ask(site, scene.organisation.path, scene.owner, INSIDE, "PATCH", json=sent)
    assert (answer.status_code, answer.json()["access_subnets"]) == (200, SUBNETS)
    assert ask(site, scene.organisation.path, scene.owner, OUTSIDE).status_code == 404


def test_a_new_organisation_is_walled_from_the_start(
    site: Site, scene: Scene, world: World
) -> None:
    made = ask(
        site,
        "/api/customers/",
        world.staff,
        OUTSIDE,
        "POST",
        json={"name": "New", "access_subnets": " 10.1.2.3/8 , 2001:db8::1/32 "},
    ).json()
    assert made["access_subnets"] == SUBNETS
    seat = {"user": scene.owner.uuid, "role": "CUSTOMER.OWNER"}
    path = f"/api/customers/{made['uuid']}/"
    assert ask(site, f"{path}add_user/", world.staff, OUTSIDE, "POST", json=seat).is_success
    assert ask(site, path, scene.owner, INSIDE).status_code == 200
    assert ask(site, path, scene.owner, OUTSIDE).status_code == 404


def test_networks_that_do_not_fit_when_written_out_are_an_error(site: Site, world: World) -> None:
    subnets = ",".join(f"{number}.1.1.1" for number in range(1, 16))
    assert len(subnets) <= 140
    answer = ask(
        site,
        "/api/customers/",
        world.staff,
        OUTSIDE,
        "POST",
        json={"name": "New", "access_subnets": subnets},
    )
    said = {"access_subnets": ["Ensure this field has no more than 140 characters."]}
    assert (answer.status_code, answer.json()) == (400, said)


def test_whoever_is_invited_comes_in_from_wherever_they_are(
    site: Site, scene: Scene, world: World
) -> None:
    new = world.person("new")
    path = f"/api/user-invitations/{scene.invitation}/"
    assert ask(site, f"{path}check/", None, OUTSIDE, "POST").status_code == 200
    assert ask(site, f"{path}details/", new, OUTSIDE).status_code == 200
    assert ask(site, path, new, OUTSIDE).status_code == 200
    # The owner, who vouches for it, asks nothing now: where they may be does not matter.
    assert ask(site, f"{path}accept/", new, OUTSIDE, "POST").status_code == 200
    # Now they are in, and the wall stands before them as before everybody.
    assert ask(site, scene.project.path, new, OUTSIDE).status_code == 404
    assert ask(site, scene.project.path, new, INSIDE).status_code == 200
    assert ask(site, f"{path}details/", new, OUTSIDE).status_code == 404


def test_who_merely_lists_invitations_takes_none_from_outside_either(
    site: Site, scene: Scene, world: World
) -> None:
    reader = world.person("reader")
    with world.database.write() as tx:
        add_role(tx, "PROJECT.READER", ScopeKind.PROJECT, [Permission.INVITATION_LIST])
    world.seat(reader, "PROJECT.READER", scene.project)
    path = f"/api/user-invitations/{scene.invitation}/"
    assert ask(site, path, reader, INSIDE).status_code == 200
    for at in (INSIDE, OUTSIDE):
        assert ask(site, f"{path}accept/", reader, at, "POST").status_code == 404


def test_a_header_of_a_stranger_is_not_believed(
    make_site: Callable[[Settings], Site], settings: Settings, scene: Scene, world: World
) -> None:
    """Without a trusted proxy the address is the socket's: here 127.0.0.1."""
    direct = make_site(settings)
    assert ask(direct, scene.organisation.path, scene.owner, INSIDE).status_code == 404
    sent = {"access_subnets": "127.0.0.1"}
    direct.request("PATCH", scene.organisation.path, world.staff, json=sent)
    assert ask(direct, scene.organisation.path, scene.owner, OUTSIDE).status_code == 200


def test_who_acts_as_another_stands_where_they_stand(
    site: Site, scene: Scene, world: World
) -> None:
    for at, status in ((INSIDE, 200), (OUTSIDE, 404)):
        headers = {"X-Forwarded-For": at, "X-Impersonated-User-Uuid": scene.owner.uuid}
        answer = site.request("GET", scene.organisation.path, world.staff, headers)
        assert answer.status_code == status
