"""Access subnets: an organisation is visible only from inside them."""

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
    """Return a site behind a proxy that sends the address of the client."""
    return make_site(make_settings(trusted_proxies="127.0.0.1"))


class Team:
    """An organisation with access subnets, and one without."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner, self.manager, self.member = map(world.person, ("owner", "manager", "member"))
        self.organisation = world.organisation(
            "Restricted", owner=self.owner, access_subnets=SUBNETS
        )
        self.project = world.project(self.organisation, "Inner")
        self.elsewhere = world.organisation("Open", owner=self.owner)
        world.give_role(self.manager, "PROJECT.MANAGER", self.project)
        world.give_role(self.member, "PROJECT.MEMBER", self.project)
        self.invitation = world.invite(self.owner, "new@example.org", "PROJECT.ADMIN", self.project)

    def pages(self) -> dict[str, str]:
        """Return the paths that need an address inside, each with a text of its response."""
        return {
            self.organisation.path: "Restricted",
            f"{self.organisation.path}list_users/": "owner",
            f"{self.organisation.path}users/": "manager",
            self.project.path: "Inner",
            f"{self.project.path}list_users/": "manager",
            f"/api/user-invitations/{self.invitation}/": "new@example.org",
            f"/api/users/{self.member.uuid}/": "member",
        }


@pytest.fixture
def team(world: World) -> Team:
    return Team(world)


def send(
    site: Site, path: str, actor: Person | None, address: str, method: str = "GET", **options: Any
) -> httpx.Response:
    return site.request(method, path, actor, {"X-Forwarded-For": address}, **options)


def listed(site: Site, path: str, actor: Person, address: str) -> list[Any]:
    """Return the rows of a list; its counts are right."""
    response = send(site, f"{path}?page_size=300", actor, address)
    assert response.status_code == 200, response.text
    rows: list[Any] = response.json()
    for counted in (response, send(site, path, actor, address, "HEAD")):
        assert int(counted.headers["X-Result-Count"]) == len(rows)
    return rows


@pytest.mark.parametrize("address", [INSIDE, INSIDE_6, f"::ffff:{INSIDE}"])
def test_organisation_is_visible_inside_its_subnets(site: Site, team: Team, address: str) -> None:
    for path, text in team.pages().items():
        response = send(site, path, team.owner, address)
        assert response.status_code == 200, (path, response.text)
        assert text in response.text, path


@pytest.mark.parametrize("address", [OUTSIDE, OUTSIDE_6, f"::ffff:{OUTSIDE}", "11.0.0.0"])
def test_organisation_is_hidden_outside_its_subnets(site: Site, team: Team, address: str) -> None:
    for path in team.pages():
        assert send(site, path, team.owner, address).status_code == 404, path
    assert send(site, team.elsewhere.path, team.owner, address).status_code == 200
    assert send(site, "/api/users/me/", team.owner, address).status_code == 200


def test_lists_and_counts_depend_on_the_address(site: Site, team: Team) -> None:
    for address in (INSIDE, OUTSIDE):
        is_inside = address == INSIDE
        rows = listed(site, "/api/customers/", team.owner, address)
        projects = {row["name"]: [project["name"] for project in row["projects"]] for row in rows}
        assert projects == ({"Restricted": ["Inner"]} if is_inside else {}) | {"Open": []}
        rows = listed(site, "/api/projects/", team.owner, address)
        assert [row["name"] for row in rows] == (["Inner"] if is_inside else [])
        assert bool(listed(site, "/api/user-invitations/", team.owner, address)) is is_inside
        accounts = {row["username"] for row in listed(site, "/api/users/", team.owner, address)}
        assert accounts == ({"owner", "manager", "member"} if is_inside else {"owner"})
        for filters in (f"project_uuid={team.project.uuid}", "project_roles=PROJECT.MEMBER"):
            rows = send(site, f"/api/users/?{filters}", team.owner, address).json()
            assert bool(rows) is is_inside, filters


@pytest.mark.parametrize("role", ["owner", "manager", "member"])
def test_subnets_apply_to_every_role(site: Site, team: Team, role: str) -> None:
    person: Person = getattr(team, role)
    for scope in (team.organisation, team.project):
        assert send(site, scope.path, person, INSIDE).status_code == 200
        assert send(site, scope.path, person, OUTSIDE).status_code == 404


def test_every_action_is_refused_outside_the_subnets(site: Site, team: Team, world: World) -> None:
    role = world.role("PROJECT.MEMBER").uuid
    grant = {"user": world.person("new").uuid, "role": "PROJECT.MEMBER"}
    invitation = {"scope": team.project.path, "email": "two@example.org", "role": role}
    actions: tuple[tuple[str, str, dict[str, Any], int], ...] = (
        ("PATCH", team.organisation.path, {"abbreviation": "W"}, 404),
        ("PATCH", team.project.path, {"description": "W"}, 404),
        ("POST", f"{team.project.path}add_user/", grant, 404),
        ("POST", f"/api/user-invitations/{team.invitation}/send/", {}, 404),
        ("POST", f"/api/user-invitations/{team.invitation}/cancel/", {}, 404),
        ("POST", "/api/user-invitations/", invitation, 400),
        ("POST", "/api/projects/", {"name": "P", "customer": team.organisation.path}, 400),
    )
    for method, path, body, status in actions:
        response = send(site, path, team.owner, OUTSIDE, method, json=body)
        assert response.status_code == status, (method, path, response.text)
    for method, path, body, _ in actions:
        response = send(site, path, team.owner, INSIDE, method, json=body)
        assert response.is_success, (method, path, response.text)


def test_subnets_do_not_apply_to_staff_and_support(site: Site, team: Team, world: World) -> None:
    support = world.person("support", is_support=True)
    for person in (world.staff, support):
        for path, text in team.pages().items():
            response = send(site, path, person, OUTSIDE)
            assert response.status_code == 200, path
            assert text in response.text
    # Staff, but not support, can remove the subnets from any address.
    path = team.organisation.path
    for person, status, status_of_owner in ((support, 403, 404), (world.staff, 200, 200)):
        response = send(site, path, person, OUTSIDE, "PATCH", json={"access_subnets": ""})
        assert response.status_code == status
        assert send(site, path, team.owner, OUTSIDE).status_code == status_of_owner


def test_subnets_apply_to_roles_of_support(site: Site, team: Team, world: World) -> None:
    support, path = world.person("support", is_support=True), team.organisation.path
    world.give_role(support, "CUSTOMER.OWNER", team.organisation)
    for address, status in ((INSIDE, 200), (OUTSIDE, 403)):
        response = send(site, path, support, address, "PATCH", json={"abbreviation": "W"})
        assert response.status_code == status


def test_change_of_the_subnets_applies_at_once(site: Site, team: Team, world: World) -> None:
    path = team.organisation.path
    for subnets, inside, outside in (
        ("192.0.2.0/24", 404, 200),
        ("0.0.0.0/0", 200, 200),
        ("2001:db8::/32", 404, 404),
        ("10.1.2.3", 200, 404),
        ("", 200, 200),
    ):
        body = {"access_subnets": subnets}
        response = send(site, path, world.staff, OUTSIDE, "PATCH", json=body)
        assert response.status_code == 200, response.text
        assert send(site, path, team.owner, INSIDE).status_code == inside, subnets
        assert send(site, path, team.owner, OUTSIDE).status_code == outside, subnets
    with world.database.read() as tx:
        assert tx.fetch_all(Statement(select(denied_ranges))) == []


def test_owner_cannot_change_the_subnets(site: Site, team: Team) -> None:
    body = {"access_subnets": "0.0.0.0/0", "abbreviation": "W"}
    response = send(site, team.organisation.path, team.owner, INSIDE, "PATCH", json=body)
    assert (response.status_code, response.json()["access_subnets"]) == (200, SUBNETS)
    assert send(site, team.organisation.path, team.owner, OUTSIDE).status_code == 404


def test_new_organisation_has_its_subnets_at_once(site: Site, team: Team, world: World) -> None:
    body = {"name": "New", "access_subnets": " 10.1.2.3/8 , 2001:db8::1/32 "}
    created = send(site, "/api/customers/", world.staff, OUTSIDE, "POST", json=body).json()
    assert created["access_subnets"] == SUBNETS
    grant = {"user": team.owner.uuid, "role": "CUSTOMER.OWNER"}
    path = f"/api/customers/{created['uuid']}/"
    assert send(site, f"{path}add_user/", world.staff, OUTSIDE, "POST", json=grant).is_success
    assert send(site, path, team.owner, INSIDE).status_code == 200
    assert send(site, path, team.owner, OUTSIDE).status_code == 404


def test_normalised_subnets_have_a_maximum_length(site: Site, world: World) -> None:
    subnets = ",".join(f"{number}.1.1.1" for number in range(1, 16))
    assert len(subnets) <= 140
    body = {"name": "New", "access_subnets": subnets}
    response = send(site, "/api/customers/", world.staff, OUTSIDE, "POST", json=body)
    expected = {"access_subnets": ["Ensure this field has no more than 140 characters."]}
    assert (response.status_code, response.json()) == (400, expected)


def test_invitation_can_be_accepted_from_any_address(site: Site, team: Team, world: World) -> None:
    new = world.person("new")
    path = f"/api/user-invitations/{team.invitation}/"
    assert send(site, f"{path}check/", None, OUTSIDE, "POST").status_code == 200
    assert send(site, f"{path}details/", new, OUTSIDE).status_code == 200
    assert send(site, path, new, OUTSIDE).status_code == 200
    assert send(site, f"{path}accept/", new, OUTSIDE, "POST").status_code == 200
    # The subnets apply to the new member.
    assert send(site, team.project.path, new, OUTSIDE).status_code == 404
    assert send(site, team.project.path, new, INSIDE).status_code == 200
    assert send(site, f"{path}details/", new, OUTSIDE).status_code == 404


def test_account_that_only_lists_invitations_cannot_accept_from_outside(
    site: Site, team: Team, world: World
) -> None:
    reader = world.person("reader")
    with world.database.write() as tx:
        add_role(tx, "PROJECT.READER", ScopeKind.PROJECT, [Permission.INVITATION_LIST])
    world.give_role(reader, "PROJECT.READER", team.project)
    path = f"/api/user-invitations/{team.invitation}/"
    assert send(site, path, reader, INSIDE).status_code == 200
    for address in (INSIDE, OUTSIDE):
        assert send(site, f"{path}accept/", reader, address, "POST").status_code == 404


def test_address_header_is_ignored_without_a_trusted_proxy(
    make_site: Callable[[Settings], Site], settings: Settings, team: Team, world: World
) -> None:
    direct, path = make_site(settings), team.organisation.path
    assert send(direct, path, team.owner, INSIDE).status_code == 404
    # The address of the socket.
    direct.request("PATCH", path, world.staff, json={"access_subnets": "127.0.0.1"})
    assert send(direct, path, team.owner, OUTSIDE).status_code == 200


def test_subnets_apply_to_an_impersonated_account(site: Site, team: Team, world: World) -> None:
    for address, status in ((INSIDE, 200), (OUTSIDE, 404)):
        headers = {"X-Forwarded-For": address, "X-Impersonated-User-Uuid": team.owner.uuid}
        response = site.request("GET", team.organisation.path, world.staff, headers)
        assert response.status_code == status
