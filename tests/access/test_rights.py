"""Every right with its denied twin: the same set-up, and a table that says who may what.

The tables hold the statuses of the specification with the default roles. The people:

* owner of the organisation; manager and member of its project;
* lapsed: was owner and manager until a moment ago; former: both roles were taken away;
* stranger: has an account and nothing else; nobody: has not even that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import bindparam, insert, select, update

from collegium.access import queries as access_queries
from collegium.access.rules import MEMBERSHIP_PERMISSIONS, Permission, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import role_permissions, roles
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import actions as membership_actions
from collegium.refusals import NotFound
from collegium.roles import queries as role_queries
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens.actions import actor_of
from tests.access.test_visibility import add_role
from tests.conftest import KEY, PostgreSQL
from tests.support.site import Site
from tests.support.world import Person, Place, World

PEOPLE = "staff support owner manager member lapsed former stranger nobody".split()  # noqa: SIM905
PASSWORD = "purple-tram-lifts-9"
TICK = timedelta(microseconds=1)

USERS = """
                            staff support owner manager member lapsed former stranger nobody
create_user                 201   403     403   403     403    403    403    403      401
see_colleague               200   200     200   200     200    404    404    404      401
set_password_of_colleague   200   403     403   403     403    404    404    404      401
set_password_of_outsider    200   403     404   404     404    404    404    404      401
set_own_password            200   403     403   403     403    403    403    403      401
"""
ORGANISATIONS = """
                            staff support owner manager member lapsed former stranger nobody
create_organisation         201   403     403   403     403    403    403    403      401
see_organisation            200   200     200   200     200    404    404    404      401
change_organisation         200   403     200   403     403    404    404    404      401
replace_organisation        200   403     200   403     403    404    404    404      401
delete_organisation         409   403     409   403     403    404    404    404      401
delete_empty_organisation   204   403     204   404     404    404    404    404      401
list_organisation_team      200   200     200   200     200    404    404    404      401
list_people                 200   200     200   403     403    404    404    404      401
add_owner                   201   403     403   403     403    404    404    404      401
end_owner                   200   403     403   403     403    404    404    404      401
remove_owner                200   403     403   403     403    404    404    404      401
"""
PROJECTS = """
                            staff support owner manager member lapsed former stranger nobody
create_project              201   403     201   403     403    400    400    400      401
see_project                 200   200     200   200     200    404    404    404      401
change_project              200   403     200   200     403    404    404    404      401
replace_project             200   403     200   200     403    404    404    404      401
give_project_an_end         200   403     200   403     403    404    404    404      401
delete_project              204   403     204   403     403    404    404    404      401
list_project_team           200   200     200   200     200    404    404    404      401
add_member                  201   403     201   201     403    404    404    404      401
add_manager                 201   403     201   201     403    404    404    404      401
end_member                  200   403     200   200     403    404    404    404      401
remove_member               200   403     200   200     403    404    404    404      401
"""
INVITATIONS = """
                            staff support owner manager member lapsed former stranger nobody
invite_to_project           201   403     201   201     403    400    400    400      401
invite_to_organisation      201   403     403   403     403    400    400    400      401
see_invitation              200   200     200   200     404    404    404    404      401
see_owner_invitation        200   200     200   404     404    404    404    404      401
send                        200   403     200   200     404    404    404    404      401
send_to_owner               200   403     403   404     404    404    404    404      401
revive                      200   403     200   200     404    404    404    404      401
cancel                      200   403     200   200     404    404    404    404      401
cancel_to_owner             200   403     403   404     404    404    404    404      401
delete                      200   403     403   403     404    404    404    404      401
"""
OPEN_INVITATIONS = """
                            staff support owner manager member lapsed former stranger nobody
open_project                201   403     201   201     403    400    400    400      401
open_organisation           201   403     403   403     403    400    400    400      401
open_to_public              201   400     400   400     400    400    400    400      401
see_link                    200   200     200   200     200    200    200    200      404
see_public_link             200   200     200   200     200    200    200    200      200
close_link                  200   403     200   200     403    403    403    403      401
submit                      200   200     200   200     200    200    200    200      401
submit_closed               400   400     400   400     400    400    400    400      401
"""
REQUESTS = """
                            staff support owner manager member lapsed former stranger nobody
see_request                 200   200     200   200     404    404    404    404      401
approve_request             200   403     200   200     404    404    404    404      401
reject_request              200   403     200   200     404    404    404    404      401
approve_decided             409   409     409   409     404    404    404    404      401
cancel_request              200   403     403   403     404    404    404    404      401
see_organisation_request    200   200     200   404     404    404    404    404      401
approve_organisation        200   403     403   404     404    404    404    404      401
"""
# The UUID is a capability for whoever was given it; not for those who came by it in reading.
CAPABILITIES = """
                            staff support owner manager member lapsed former stranger nobody
accept                      200   404     200   200     200    200    200    200      401
accept_ownership            200   404     404   200     200    200    200    200      401
accept_canceled             404   404     404   404     404    404    404    404      401
details                     200   200     200   200     200    200    200    200      401
details_canceled            200   200     404   200     200    404    404    404      401
check                       200   200     200   200     200    200    200    200      200
check_canceled              404   404     404   404     404    404    404    404      404
"""
ROLES = """
                            staff support owner manager member lapsed former stranger nobody
see_role                    200   200     200   200     200    200    200    200      404
create_role                 201   403     403   403     403    403    403    403      401
replace_role                200   403     403   403     403    403    403    403      401
change_role                 200   403     403   403     403    403    403    403      401
describe_role               200   403     403   403     403    403    403    403      401
disable_role                200   403     403   403     403    403    403    403      401
enable_role                 200   403     403   403     403    403    403    403      401
delete_role                 204   403     403   403     403    403    403    403      401
"""


def lines(table: str) -> Iterator[Any]:
    """The lines of a table: the name of the action, the status for each of the people."""
    head, *rest = table.strip().splitlines()
    assert head.split() == PEOPLE
    for line in rest:
        action, *statuses = line.split()
        expected = dict(zip(PEOPLE, map(int, statuses), strict=True))
        yield pytest.param(action, expected, id=action)


# All lines invite the same few people to one database.
MANY_MAILS = {"COLLEGIUM_RECIPIENT_MAIL_LIMIT": "100000"}


class Hall:
    """One database and its site for all lines of the tables; each line builds its own scene."""

    def __init__(self, url: str) -> None:
        given = {"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY, **MANY_MAILS}
        self.database = Database(url)
        self.vault = Vault(KEY)
        self.settings = load(given)
        self.world = World(self.database, self.settings, self.vault)
        self.site = Site(self.settings, self.database, self.vault)
        self.roles = {
            name: self.world.role(name)
            for name in ("CUSTOMER.OWNER", "PROJECT.MANAGER", "PROJECT.ADMIN", "PROJECT.MEMBER")
        }

    def close(self) -> None:
        self.site.close()
        self.database.close()


@pytest.fixture(scope="module")
def halls(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, postgresql: PostgreSQL
) -> Iterator[dict[str, Hall]]:
    path = tmp_path_factory.mktemp("rights") / "collegium.db"
    path.write_bytes(sqlite_template.read_bytes())
    with ExitStack() as stack:
        url = postgresql.new()
        stack.callback(postgresql.drop, url)
        found = {"sqlite": Hall(f"sqlite:///{path}"), "postgresql": Hall(url)}
        for hall in found.values():
            stack.callback(hall.close)
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def hall(request: pytest.FixtureRequest, halls: dict[str, Hall]) -> Hall:
    return halls[request.param]


_numbers = count(1)


class Scene:
    """An organisation with a project, all the people in their places, and two invitations."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self._number = next(_numbers)
        self._boss = hall.world.staff.actor
        now = datetime.now(UTC)
        with hall.database.write() as tx:
            self.people: dict[str, Person | None] = {
                name: self._person(tx, name, is_staff=name == "staff", is_support=name == "support")
                for name in PEOPLE
                if name != "nobody"
            }
            self.people["nobody"] = None
            self.colleague = self._person(tx, "colleague")
            self.outsider = self._person(tx, "outsider")
            unused: Any = role_queries.named(
                tx, add_role(tx, f"CUSTOM.{uuid4().hex}", ScopeKind.PROJECT, ()), None
            )
            self.unused = str(unused.uuid)
        # A while ago, so that something can have ended since.
        with hall.database.write(now - timedelta(days=1)) as tx:
            name = f"Acme {self._number}"
            uuid = organisation_actions.create(tx, self._boss, hall.settings, {"name": name})
            above = access_queries.get_visible(tx, self._boss, ScopeKind.ORGANISATION, uuid)
            self.organisation = Place(ScopeKind.ORGANISATION, uuid, above.scope.id, name)
            uuid = project_actions.create(tx, self._boss, above, {"name": "Engine"})
            below = access_queries.get_visible(tx, self._boss, ScopeKind.PROJECT, uuid)
            self.project = Place(ScopeKind.PROJECT, uuid, below.scope.id, "Engine")
            for who, role, until in (
                (self.person("owner"), "CUSTOMER.OWNER", None),
                (self.person("manager"), "PROJECT.MANAGER", None),
                (self.person("member"), "PROJECT.MEMBER", None),
                (self.person("lapsed"), "CUSTOMER.OWNER", now - TICK),
                (self.person("lapsed"), "PROJECT.MANAGER", now - TICK),
                (self.person("former"), "CUSTOMER.OWNER", None),
                (self.person("former"), "PROJECT.MANAGER", None),
                (self.colleague, "PROJECT.MEMBER", None),
                (self.colleague, "CUSTOMER.OWNER", None),
            ):
                row = hall.roles[role]
                reached = above if row.kind == ScopeKind.ORGANISATION else below
                seat = membership_actions.RoleAssignment(
                    reached, row, account_queries.by_uuid(tx, who.uuid)
                )
                membership_actions.add(tx, self._boss, seat, until)
        self.invitation = hall.world.invite(
            self.person("owner"), "invited@example.org", "PROJECT.ADMIN", self.project
        )
        self.ownership = hall.world.invite(
            hall.world.staff, "invited@example.org", "CUSTOMER.OWNER", self.organisation
        )
        hall.world.unseat(self.person("former"), "CUSTOMER.OWNER", self.organisation)
        hall.world.unseat(self.person("former"), "PROJECT.MANAGER", self.project)

    def _person(self, tx: WriteTransaction, name: str, **flags: bool) -> Person:
        username = f"{name}{self._number}"
        number = account_actions.create(
            tx,
            None,
            self.hall.settings,
            self.hall.vault,
            {"username": username, "email": f"{username}@example.org", **flags},
        )
        row: Any = account_queries.by_id(tx, number)
        return Person(
            actor_of(row), token_actions.renew(tx, self.hall.vault, self.hall.settings, None, row)
        )

    def person(self, name: str) -> Person:
        found = self.people[name]
        assert found is not None
        return found

    def link(self, role: str = "PROJECT.ADMIN", place: Place | None = None, **more: Any) -> str:
        """An open invitation of staff's."""
        return self.hall.world.open(self.hall.world.staff, role, place or self.project, **more)

    def closed(self, uuid: str) -> str:
        with self.hall.database.write() as tx:
            invite_link_actions.cancel(tx, self._boss, uuid)
        return uuid

    def asked(self, role: str = "PROJECT.ADMIN", place: Place | None = None) -> str:
        """A request of the outsider's."""
        return self.hall.world.ask(self.outsider, self.link(role, place))

    def decided(self, uuid: str) -> str:
        with self.hall.database.write() as tx:
            join_request_actions.reject(tx, self._boss, uuid, None)
        return uuid

    def opened(self, role: str, place: Place, **more: Any) -> dict[str, Any]:
        return {"scope": place.path, "role": self.hall.roles[role].uuid, **more}

    def canceled(self, uuid: str) -> str:
        with self.hall.database.write() as tx:
            invitation_actions.cancel(tx, self._boss, uuid)
        return uuid

    def without_project(self) -> Place:
        with self.hall.database.write() as tx:
            reached = access_queries.get_visible(
                tx, self._boss, ScopeKind.PROJECT, self.project.uuid
            )
            project_actions.delete(tx, self._boss, reached)
        return self.organisation

    def seat(self, person: Person, role: str, **more: Any) -> dict[str, Any]:
        return {"user": person.uuid, "role": self.hall.roles[role].uuid, **more}

    def invited(self, role: str, place: Place) -> dict[str, Any]:
        return {
            "scope": f"http://anywhere.test{place.path}",
            "role": self.hall.roles[role].uuid,
            "email": "new@example.org",
        }


def invitation_path(uuid: str, action: str = "") -> str:
    return f"/api/user-invitations/{uuid}/" + (f"{action}/" if action else "")


def link_path(uuid: str, action: str = "") -> str:
    return f"/api/user-group-invitations/{uuid}/" + (f"{action}/" if action else "")


def request_path(uuid: str, action: str = "") -> str:
    return f"/api/user-permission-requests/{uuid}/" + (f"{action}/" if action else "")


def role_path(uuid: str, action: str = "") -> str:
    return f"/api/roles/{uuid}/" + (f"{action}/" if action else "")


def role_body() -> dict[str, Any]:
    name = f"CUSTOM.{uuid4().hex}"
    return {"name": name, "permissions": ["PROJECT.UPDATE"], "content_type": "project"}


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


def next_year() -> str:
    return (datetime.now(UTC) + timedelta(days=365)).date().isoformat()


Request = tuple[str, str, dict[str, Any]]

# Each action as a request: method, path, body; made for a scene and for whoever asks.
ACTIONS: dict[str, Callable[[Scene, Person], Request]] = {
    "create_user": lambda _s, _w: (
        "POST",
        "/api/users/",
        {"username": f"new{uuid4().hex}", "email": "new@example.org"},
    ),
    "see_colleague": lambda s, _w: ("GET", f"/api/users/{s.colleague.uuid}/", {}),
    "set_password_of_colleague": lambda s, _w: (
        "POST",
        f"/api/users/{s.colleague.uuid}/change_password/",
        {"new_password": PASSWORD},
    ),
    "set_password_of_outsider": lambda s, _w: (
        "POST",
        f"/api/users/{s.outsider.uuid}/change_password/",
        {"new_password": PASSWORD},
    ),
    "set_own_password": lambda _s, w: (
        "POST",
        f"/api/users/{w.uuid}/change_password/",
        {"new_password": PASSWORD},
    ),
    "create_organisation": lambda _s, _w: ("POST", "/api/customers/", {"name": "New"}),
    "see_organisation": lambda s, _w: ("GET", s.organisation.path, {}),
    "change_organisation": lambda s, _w: ("PATCH", s.organisation.path, {"abbreviation": "A"}),
    "replace_organisation": lambda s, _w: ("PUT", s.organisation.path, {"name": "Acme B"}),
    "delete_organisation": lambda s, _w: ("DELETE", s.organisation.path, {}),
    "delete_empty_organisation": lambda s, _w: ("DELETE", s.without_project().path, {}),
    "list_organisation_team": lambda s, _w: ("GET", f"{s.organisation.path}list_users/", {}),
    "list_people": lambda s, _w: ("GET", f"{s.organisation.path}users/", {}),
    "add_owner": lambda s, _w: (
        "POST",
        f"{s.organisation.path}add_user/",
        s.seat(s.outsider, "CUSTOMER.OWNER"),
    ),
    "end_owner": lambda s, _w: (
        "POST",
        f"{s.organisation.path}update_user/",
        s.seat(s.colleague, "CUSTOMER.OWNER", expiration_time=tomorrow()),
    ),
    "remove_owner": lambda s, _w: (
        "POST",
        f"{s.organisation.path}delete_user/",
        s.seat(s.colleague, "CUSTOMER.OWNER"),
    ),
    "create_project": lambda s, _w: (
        "POST",
        "/api/projects/",
        {"name": "New", "customer": f"http://anywhere.test{s.organisation.path}"},
    ),
    "see_project": lambda s, _w: ("GET", s.project.path, {}),
    "change_project": lambda s, _w: ("PATCH", s.project.path, {"description": "D"}),
    "replace_project": lambda s, _w: ("PUT", s.project.path, {"name": "Engine B"}),
    "give_project_an_end": lambda s, _w: ("PATCH", s.project.path, {"end_date": next_year()}),
    "delete_project": lambda s, _w: ("DELETE", s.project.path, {}),
    "list_project_team": lambda s, _w: ("GET", f"{s.project.path}list_users/", {}),
    "add_member": lambda s, _w: (
        "POST",
        f"{s.project.path}add_user/",
        s.seat(s.outsider, "PROJECT.MEMBER"),
    ),
    "add_manager": lambda s, _w: (
        "POST",
        f"{s.project.path}add_user/",
        s.seat(s.outsider, "PROJECT.MANAGER"),
    ),
    "end_member": lambda s, _w: (
        "POST",
        f"{s.project.path}update_user/",
        s.seat(s.colleague, "PROJECT.MEMBER", expiration_time=tomorrow()),
    ),
    "remove_member": lambda s, _w: (
        "POST",
        f"{s.project.path}delete_user/",
        s.seat(s.colleague, "PROJECT.MEMBER"),
    ),
    "invite_to_project": lambda s, _w: (
        "POST",
        "/api/user-invitations/",
        s.invited("PROJECT.MANAGER", s.project),
    ),
    "invite_to_organisation": lambda s, _w: (
        "POST",
        "/api/user-invitations/",
        s.invited("CUSTOMER.OWNER", s.organisation),
    ),
    "see_invitation": lambda s, _w: ("GET", invitation_path(s.invitation), {}),
    "see_owner_invitation": lambda s, _w: ("GET", invitation_path(s.ownership), {}),
    "send": lambda s, _w: ("POST", invitation_path(s.invitation, "send"), {}),
    "send_to_owner": lambda s, _w: ("POST", invitation_path(s.ownership, "send"), {}),
    "revive": lambda s, _w: ("POST", invitation_path(s.canceled(s.invitation), "send"), {}),
    "cancel": lambda s, _w: ("POST", invitation_path(s.invitation, "cancel"), {}),
    "cancel_to_owner": lambda s, _w: ("POST", invitation_path(s.ownership, "cancel"), {}),
    "delete": lambda s, _w: ("POST", invitation_path(s.invitation, "delete"), {}),
    "open_project": lambda s, _w: (
        "POST",
        "/api/user-group-invitations/",
        s.opened("PROJECT.MANAGER", s.project),
    ),
    "open_organisation": lambda s, _w: (
        "POST",
        "/api/user-group-invitations/",
        s.opened("CUSTOMER.OWNER", s.organisation),
    ),
    "open_to_public": lambda s, _w: (
        "POST",
        "/api/user-group-invitations/",
        s.opened("PROJECT.ADMIN", s.organisation, is_public=True, auto_create_project=True),
    ),
    "see_link": lambda s, _w: ("GET", link_path(s.link()), {}),
    "see_public_link": lambda s, _w: (
        "GET",
        link_path(s.link(place=s.organisation, is_public=True, auto_create_project=True)),
        {},
    ),
    "close_link": lambda s, _w: ("POST", link_path(s.link(), "cancel"), {}),
    "submit": lambda s, _w: ("POST", link_path(s.link(), "submit_request"), {}),
    "submit_closed": lambda s, _w: ("POST", link_path(s.closed(s.link()), "submit_request"), {}),
    "see_request": lambda s, _w: ("GET", request_path(s.asked()), {}),
    "approve_request": lambda s, _w: ("POST", request_path(s.asked(), "approve"), {}),
    "reject_request": lambda s, _w: ("POST", request_path(s.asked(), "reject"), {}),
    "approve_decided": lambda s, _w: ("POST", request_path(s.decided(s.asked()), "approve"), {}),
    "cancel_request": lambda s, _w: ("POST", request_path(s.asked(), "cancel_request"), {}),
    "see_organisation_request": lambda s, _w: (
        "GET",
        request_path(s.asked("CUSTOMER.OWNER", s.organisation)),
        {},
    ),
    "approve_organisation": lambda s, _w: (
        "POST",
        request_path(s.asked("CUSTOMER.OWNER", s.organisation), "approve"),
        {},
    ),
    "accept": lambda s, _w: ("POST", invitation_path(s.invitation, "accept"), {}),
    "accept_ownership": lambda s, _w: ("POST", invitation_path(s.ownership, "accept"), {}),
    "accept_canceled": lambda s, _w: (
        "POST",
        invitation_path(s.canceled(s.invitation), "accept"),
        {},
    ),
    "details": lambda s, _w: ("GET", invitation_path(s.invitation, "details"), {}),
    "details_canceled": lambda s, _w: (
        "GET",
        invitation_path(s.canceled(s.invitation), "details"),
        {},
    ),
    "check": lambda s, _w: ("POST", invitation_path(s.invitation, "check"), {}),
    "see_role": lambda s, _w: ("GET", role_path(s.unused), {}),
    "create_role": lambda _s, _w: ("POST", "/api/roles/", role_body()),
    "replace_role": lambda s, _w: ("PUT", role_path(s.unused), role_body()),
    "change_role": lambda s, _w: ("PATCH", role_path(s.unused), {"description": "D"}),
    "describe_role": lambda s, _w: (
        "PUT",
        role_path(s.unused, "update_descriptions"),
        {"description": "D"},
    ),
    "disable_role": lambda s, _w: ("POST", role_path(s.unused, "disable"), {}),
    "enable_role": lambda s, _w: ("POST", role_path(s.unused, "enable"), {}),
    "delete_role": lambda s, _w: ("DELETE", role_path(s.unused), {}),
    "check_canceled": lambda s, _w: (
        "POST",
        invitation_path(s.canceled(s.invitation), "check"),
        {},
    ),
}


TABLES = (
    USERS,
    ORGANISATIONS,
    PROJECTS,
    INVITATIONS,
    OPEN_INVITATIONS,
    REQUESTS,
    CAPABILITIES,
    ROLES,
)
ONCE = {"revive", "delete_empty_organisation", "submit_closed", "approve_decided"}
"""Deeds whose request changes the scene while it is made; so do those on what was canceled."""


@pytest.mark.parametrize(
    ("action", "expected"), [line for table in TABLES for line in lines(table)]
)
def test_the_table(hall: Hall, action: str, expected: dict[str, int]) -> None:
    found = {}
    scene = None
    for name in PEOPLE:
        # Whoever is refused leaves the scene as it was for the next.
        if scene is None or action in ONCE or action.endswith("_canceled"):
            scene = Scene(hall)
        person = scene.people[name]
        method, path, body = ACTIONS[action](scene, person or scene.outsider)
        given = {"json": body} if body else {}
        found[name] = hall.site.request(method, path, person, **given).status_code
        if found[name] < HTTPStatus.BAD_REQUEST and method != "GET":
            scene = None
    assert found == expected


def test_every_deed_has_a_line() -> None:
    named = [line.id for table in TABLES for line in lines(table)]
    assert sorted(named) == sorted(ACTIONS)


@pytest.fixture
def scene(hall: Hall) -> Scene:
    return Scene(hall)


@pytest.fixture
def site_under(hall: Hall) -> Iterator[Callable[..., Site]]:
    """Give the same house under other settings, by their names."""
    sites: list[Site] = []

    def make(**given: str) -> Site:
        environ = {f"COLLEGIUM_{name.upper()}": value for name, value in given.items()}
        environ |= {
            "COLLEGIUM_DATABASE_URL": hall.settings.database_url,
            "COLLEGIUM_SECRET_KEY": KEY,
            **MANY_MAILS,
        }
        sites.append(Site(load(environ), hall.database, hall.vault))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


def whole(text: str) -> dict[str, list[str]]:
    return {"non_field_errors": [text]}


def accept(scene: Scene, who: Person, uuid: str = "", site: Site | None = None) -> httpx.Response:
    return (site or scene.hall.site).post(invitation_path(uuid or scene.invitation, "accept"), who)


def invite(scene: Scene, email: str, role: str = "PROJECT.ADMIN", **more: Any) -> str:
    """An invitation of the owner's to the project."""
    owner = scene.person("owner")
    return scene.hall.world.invite(owner, email, role, scene.project, **more)


def change_role(scene: Scene, name: str, **values: Any) -> None:
    with scene.hall.database.write() as tx:
        tx.execute(
            Statement(update(roles).where(roles.c.name == bindparam("which")).values(**values)),
            which=name,
        )


def change_organisation(scene: Scene, **values: Any) -> None:
    staff = scene.hall.world.staff.actor
    with scene.hall.database.write() as tx:
        reached = access_queries.get_visible(
            tx, staff, ScopeKind.ORGANISATION, scene.organisation.uuid
        )
        organisation_actions.update(tx, staff, reached, values)


def custom_role(scene: Scene, kind: ScopeKind, *carried: Permission) -> str:
    name = f"CUSTOM.{next(_numbers)}"
    with scene.hall.database.write() as tx:
        add_role(tx, name, kind, carried)
    scene.hall.roles[name] = scene.hall.world.role(name)
    return name


@pytest.fixture
def doorkeeper(scene: Scene) -> Person:
    """Somebody who may bring people into the project, and nothing else."""
    role = custom_role(scene, ScopeKind.PROJECT, Permission.PROJECT_GRANT)
    scene.hall.world.seat(scene.outsider, role, scene.project)
    return scene.outsider


@pytest.mark.parametrize(
    ("role", "status"), [("PROJECT.MEMBER", 201), ("PROJECT.MANAGER", 403)], ids=["below", "above"]
)
def test_nobody_hands_out_more_than_they_hold(
    scene: Scene, doorkeeper: Person, role: str, status: int
) -> None:
    site, stranger = scene.hall.site, scene.person("stranger")
    add = f"{scene.project.path}add_user/"
    assert site.post(add, doorkeeper, json=scene.seat(stranger, role)).status_code == status
    body = scene.invited(role, scene.project)
    assert site.post("/api/user-invitations/", doorkeeper, json=body).status_code == status


@pytest.mark.parametrize(
    ("role", "status"), [("PROJECT.MEMBER", 200), ("PROJECT.MANAGER", 403)], ids=["below", "above"]
)
@pytest.mark.parametrize("action", ["send", "cancel"])
def test_nobody_manages_invitations_to_more_than_they_hold(
    scene: Scene, doorkeeper: Person, action: str, role: str, status: int
) -> None:
    uuid = invite(scene, "new@example.org", role)
    answer = scene.hall.site.post(invitation_path(uuid, action), doorkeeper)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("role", "status"), [("PROJECT.MEMBER", 200), ("PROJECT.MANAGER", 403)], ids=["below", "above"]
)
@pytest.mark.parametrize("action", ["update_user", "delete_user"])
def test_nobody_touches_a_role_above_their_own(
    scene: Scene, action: str, role: str, status: int
) -> None:
    usher = custom_role(scene, ScopeKind.PROJECT, *MEMBERSHIP_PERMISSIONS[ScopeKind.PROJECT])
    scene.hall.world.seat(scene.outsider, usher, scene.project)
    holder = scene.person("member" if role == "PROJECT.MEMBER" else "manager")
    answer = scene.hall.site.post(
        f"{scene.project.path}{action}/", scene.outsider, json=scene.seat(holder, role)
    )
    assert answer.status_code == status


def test_who_sees_an_invitation_above_their_ceiling_cannot_help_themselves(
    scene: Scene, doorkeeper: Person
) -> None:
    foreign = invite(scene, "new@example.org", "PROJECT.MANAGER")
    own = invite(scene, doorkeeper.email.upper(), "PROJECT.MANAGER")
    below = invite(scene, "new@example.org", "PROJECT.MEMBER")
    shown = scene.hall.site.get("/api/user-invitations/", doorkeeper).json()
    assert {foreign, own, below} <= {one["uuid"] for one in shown}
    assert accept(scene, doorkeeper, foreign).status_code == 404
    assert accept(scene, doorkeeper, below).status_code == 200
    assert accept(scene, doorkeeper, own).status_code == 200


def test_who_merely_lists_invitations_cannot_take_them(scene: Scene) -> None:
    role = custom_role(scene, ScopeKind.PROJECT, Permission.INVITATION_LIST)
    scene.hall.world.seat(scene.outsider, role, scene.project)
    own = invite(scene, scene.outsider.email.upper())
    shown = scene.hall.site.get("/api/user-invitations/", scene.outsider).json()
    assert {scene.invitation, own} <= {one["uuid"] for one in shown}
    assert accept(scene, scene.outsider).status_code == 404
    assert accept(scene, scene.outsider, own).status_code == 200


def test_support_takes_only_what_is_addressed_to_them(scene: Scene) -> None:
    support = scene.person("support")
    assert accept(scene, support).status_code == 404
    assert accept(scene, support, invite(scene, support.email.upper())).status_code == 200


def lose_role(scene: Scene) -> None:
    # Somebody has to stay.
    scene.hall.world.unseat(scene.person("owner"), "CUSTOMER.OWNER", scene.organisation)


def lose_account(scene: Scene) -> None:
    with scene.hall.database.write() as tx:
        account_queries.change(tx, scene.person("owner").id, {"is_active": False})


@pytest.mark.parametrize("lose", [lose_role, lose_account])
def test_an_invitation_dies_with_the_right_of_its_inviter(
    scene: Scene, lose: Callable[[Scene], None]
) -> None:
    twin = invite(scene, "new@example.org", "PROJECT.MEMBER")
    assert accept(scene, scene.person("stranger"), twin).status_code == 200
    lose(scene)
    assert accept(scene, scene.person("stranger")).status_code == 404
    # Its managers still see it, and whoever sends it anew answers for it.
    manager = scene.person("manager")
    sent = scene.hall.site.post(invitation_path(scene.invitation, "send"), manager)
    assert sent.status_code == 200
    assert accept(scene, scene.person("stranger")).status_code == 200


def test_an_invitation_dies_with_the_ceiling_of_its_inviter(scene: Scene) -> None:
    giver = custom_role(
        scene, ScopeKind.PROJECT, Permission.PROJECT_GRANT, Permission.PROJECT_UPDATE
    )
    given = custom_role(scene, ScopeKind.PROJECT, Permission.PROJECT_UPDATE)
    world = scene.hall.world
    world.seat(scene.outsider, giver, scene.project)
    uuid = world.invite(scene.outsider, "new@example.org", given, scene.project)
    with scene.hall.database.write() as tx:
        add_permission(tx, given, Permission.PROJECT_DELETE)
    assert accept(scene, scene.person("stranger"), uuid).status_code == 404
    with scene.hall.database.write() as tx:
        add_permission(tx, giver, Permission.PROJECT_DELETE)
    assert accept(scene, scene.person("stranger"), uuid).status_code == 200


def add_permission(tx: WriteTransaction, role: str, permission: Permission) -> None:
    number = select(roles.c.id).where(roles.c.name == bindparam("role")).scalar_subquery()
    tx.execute(
        Statement(
            insert(role_permissions).values(role_id=number, permission=bindparam("permission"))
        ),
        role=role,
        permission=permission.value,
    )


def test_a_disabled_role_is_given_to_nobody(scene: Scene) -> None:
    role = custom_role(scene, ScopeKind.PROJECT)
    uuid = invite(scene, "new@example.org", role)
    site, owner = scene.hall.site, scene.person("owner")
    add, stranger = f"{scene.project.path}add_user/", scene.person("stranger")

    change_role(scene, role, is_active=False)
    assert accept(scene, stranger, uuid).status_code == 404
    answer = site.post("/api/user-invitations/", owner, json=scene.invited(role, scene.project))
    assert answer.status_code == 400
    assert set(answer.json()) == {"role"}
    answer = site.post(add, owner, json=scene.seat(stranger, role))
    assert (answer.status_code, answer.json()) == (400, whole("Role is not active."))

    change_role(scene, role, is_active=True)
    assert accept(scene, stranger, uuid).status_code == 200
    body = scene.invited(role, scene.project)
    assert site.post("/api/user-invitations/", owner, json=body).status_code == 201
    assert site.post(add, owner, json=scene.seat(scene.outsider, role)).status_code == 201


@pytest.mark.parametrize("closed", ["blocked", "archived"])
def test_a_closed_organisation_takes_nobody_in(scene: Scene, closed: str) -> None:
    site, owner, stranger = scene.hall.site, scene.person("owner"), scene.person("stranger")
    invited, seat = (
        scene.invited("PROJECT.ADMIN", scene.project),
        scene.seat(scene.outsider, "PROJECT.MEMBER"),
    )
    unavailable = (400, whole("Customer is not available."))

    change_organisation(scene, **{closed: True})
    assert accept(scene, stranger).status_code == 404
    for path, body in (
        ("/api/user-invitations/", invited),
        (f"{scene.project.path}add_user/", seat),
        (f"{scene.project.path}update_user/", scene.seat(scene.colleague, "PROJECT.MEMBER")),
    ):
        answer = site.post(path, owner, json=body)
        assert (answer.status_code, answer.json()) == unavailable
    answer = site.request("DELETE", scene.project.path, owner)
    assert (answer.status_code, answer.json()) == unavailable
    # Members can be removed.
    gone = scene.seat(scene.colleague, "PROJECT.MEMBER")
    assert site.post(f"{scene.project.path}delete_user/", owner, json=gone).status_code == 200
    answer = site.request("PATCH", scene.organisation.path, owner, json={"abbreviation": "A"})
    said = [f"{closed.title()} organization is not available."]
    assert (answer.status_code, answer.json()) == (400, said)
    for body in ({"name": "New"}, {"name": "New", closed: True}, {"domain": "d"}):
        answer = site.request("PATCH", scene.organisation.path, scene.person("staff"), json=body)
        assert (answer.status_code, answer.json()) == (400, said)

    # The owner cannot open it again, not even by the way; staff can.
    assert (
        site.request(
            "PATCH", scene.organisation.path, scene.person("staff"), json={closed: False}
        ).status_code
        == 200
    )
    assert accept(scene, stranger).status_code == 200
    assert site.post("/api/user-invitations/", owner, json=invited).status_code == 201
    assert site.post(f"{scene.project.path}add_user/", owner, json=seat).status_code == 201


def test_an_invitation_dies_with_its_project(scene: Scene) -> None:
    invitee = scene.person("stranger")
    uuid = invite(scene, invitee.email)
    scene.without_project()
    site = scene.hall.site
    assert accept(scene, invitee, uuid).status_code == 404
    assert site.post(invitation_path(uuid, "check")).status_code == 404
    assert site.get(invitation_path(uuid, "details"), invitee).status_code == 404
    for person in ("staff", "owner"):
        sent = site.post(invitation_path(uuid, "send"), scene.person(person))
        assert sent.status_code == 404


@pytest.mark.parametrize(
    ("moment", "taken"), [(-TICK, True), (0 * TICK, False)], ids=["just_before", "at_the_instant"]
)
def test_an_invitation_is_open_until_it_expires(
    scene: Scene, moment: timedelta, *, taken: bool
) -> None:
    hall, actor = scene.hall, scene.person("stranger").actor
    expires = hall.world.invitation(scene.invitation).expires_at
    with hall.database.write(expires + moment) as tx:
        if taken:
            invitation_actions.accept(tx, actor, hall.settings, scene.invitation)
        else:
            with pytest.raises(NotFound):
                invitation_actions.accept(tx, actor, hall.settings, scene.invitation)
            with pytest.raises(NotFound):
                invitation_actions.get_open(tx, actor, hall.settings, scene.invitation)


def test_an_expired_invitation_says_so_and_opens_nothing(scene: Scene) -> None:
    lifetime = timedelta(seconds=scene.hall.settings.invitation_lifetime)
    invitee, owner = scene.person("stranger"), scene.person("owner")
    with scene.hall.database.write(datetime.now(UTC) - lifetime) as tx:
        # The owner's role is younger than that; staff invited.
        staff = scene.hall.world.staff.actor
        reached = access_queries.get_visible(tx, staff, ScopeKind.PROJECT, scene.project.uuid)
        role = scene.hall.roles["PROJECT.ADMIN"]
        details = {"email": invitee.email}
        uuid = invitation_actions.create(tx, staff, scene.hall.settings, reached, role, details)
    site = scene.hall.site
    assert site.get(invitation_path(uuid), owner).json()["state"] == "expired"
    assert site.get(invitation_path(uuid), invitee).status_code == 404
    assert site.get(invitation_path(uuid, "details"), invitee).status_code == 404
    checked = site.post(invitation_path(uuid, "check"))
    assert (checked.status_code, checked.content) == (404, b"")
    assert accept(scene, invitee, uuid).status_code == 404
    assert site.post(invitation_path(uuid, "send"), owner).status_code == 200
    assert accept(scene, invitee, uuid).status_code == 200


def test_a_grant_gives_nothing_from_the_instant_at_which_it_ends(scene: Scene) -> None:
    hall, actor = scene.hall, scene.outsider.actor
    until = datetime.now(UTC) + timedelta(days=1)
    hall.world.seat(scene.outsider, "PROJECT.MANAGER", scene.project, until)
    needed = Permission.PROJECT_GRANT
    with hall.database.read(until - TICK) as tx:
        assert access_queries.get_visible(
            tx, actor, ScopeKind.PROJECT, scene.project.uuid, needed
        ).permissions
        assert account_queries.get_visible(tx, actor, scene.colleague.uuid)
        assert invitation_queries.get_visible(tx, actor, scene.invitation)
    with hall.database.read(until) as tx:
        with pytest.raises(NotFound):
            access_queries.get_visible(tx, actor, ScopeKind.PROJECT, scene.project.uuid)
        with pytest.raises(NotFound):
            account_queries.get_visible(tx, actor, scene.colleague.uuid)
        with pytest.raises(NotFound):
            invitation_queries.get_visible(tx, actor, scene.invitation)


@pytest.mark.parametrize("name", ["lapsed", "former", "stranger"])
def test_who_has_no_living_grant_finds_nothing_in_any_list(scene: Scene, name: str) -> None:
    who, site = scene.person(name), scene.hall.site
    for path in ("customers", "projects", "user-invitations", "user-permissions"):
        assert site.get(f"/api/{path}/", who).json() == [], path
    assert [one["uuid"] for one in site.get("/api/users/", who).json()] == [who.uuid]
    assert site.get("/api/users/me/", who).json()["permissions"] == []
    team = site.get(f"{scene.project.path}list_users/?page_size=50", scene.person("owner")).json()
    assert who.uuid not in {one["user_uuid"] for one in team}


def test_a_civil_number_locks_an_invitation(scene: Scene) -> None:
    number = uuid4().hex[:12]
    citizen = scene.hall.world.person(f"citizen{number}", civil_number=number)
    uuid = invite(scene, "new@example.org", civil_number=number)
    site = scene.hall.site
    checked = site.post(invitation_path(uuid, "check")).json()
    assert checked == {"email": "new@example.org", "civil_number_required": True}
    for name in ("stranger", "staff", "owner"):
        assert accept(scene, scene.person(name), uuid).status_code == 404, name
    assert site.get(invitation_path(uuid, "details"), scene.person("stranger")).status_code == 404
    assert site.get(invitation_path(uuid, "details"), citizen).status_code == 200
    assert accept(scene, citizen, uuid).status_code == 200


def test_validate_invitation_email_hides_what_is_addressed_to_others(
    scene: Scene, site_under: Callable[..., Site]
) -> None:
    site, stranger = site_under(validate_invitation_email="true"), scene.person("stranger")
    own = invite(scene, stranger.email.upper())
    # The owner could give the role, and still it is not theirs to take.
    for name in ("stranger", "owner"):
        assert accept(scene, scene.person(name), site=site).status_code == 404, name
    assert site.get(invitation_path(scene.invitation, "details"), stranger).status_code == 404
    assert site.get(invitation_path(own, "details"), stranger).status_code == 200
    assert accept(scene, stranger, own, site).status_code == 200


def test_the_strict_check_says_why(scene: Scene, site_under: Callable[..., Site]) -> None:
    site = site_under(enable_strict_check_accepting_invitation="true")
    stranger = scene.person("stranger")
    answer = accept(scene, stranger, site=site)
    said = ["User\N{RIGHT SINGLE QUOTATION MARK}s email and email of the invitation are not equal."]
    assert (answer.status_code, answer.json()) == (400, said)
    own = invite(scene, stranger.email.upper())
    assert accept(scene, stranger, own, site).status_code == 200


def test_the_one_role_rule(scene: Scene, site_under: Callable[..., Site]) -> None:
    site = site_under(invitation_disable_multiple_roles="true")
    elsewhere = scene.hall.world.organisation(f"Elsewhere {next(_numbers)}")
    world = scene.hall.world
    world.seat(scene.outsider, "CUSTOMER.OWNER", elsewhere)
    answer = accept(scene, scene.outsider, site=site)
    said = ["User already has role within another scope."]
    assert (answer.status_code, answer.json()) == (400, said)
    # What has ended is no role.
    for name in ("lapsed", "former", "stranger"):
        uuid = invite(scene, "new@example.org")
        assert accept(scene, scene.person(name), uuid, site).status_code == 200, name
    # Without the rule a second role is nothing special.
    assert accept(scene, scene.outsider).status_code == 200


def test_the_same_role_is_not_given_twice(scene: Scene) -> None:
    said = "User has already the same role in this scope."
    stranger, owner = scene.person("stranger"), scene.person("owner")
    assert accept(scene, stranger).status_code == 200
    answer = accept(scene, stranger, invite(scene, "again@example.org"))
    assert (answer.status_code, answer.json()) == (400, [said])
    answer = scene.hall.site.post(
        f"{scene.project.path}add_user/", owner, json=scene.seat(stranger, "PROJECT.ADMIN")
    )
    assert (answer.status_code, answer.json()) == (400, whole(said))


@pytest.mark.parametrize("starts", [None, date.max], ids=["running", "not_started"])
def test_where_only_staff_invite_others_ask(
    scene: Scene, site_under: Callable[..., Site], starts: date | None
) -> None:
    site = site_under(only_staff_can_invite_users="true")
    world = scene.hall.world
    project = world.project(scene.organisation, start_date=starts)
    body = scene.invited("PROJECT.ADMIN", project)

    asked = site.post("/api/user-invitations/", scene.person("owner"), json=body).json()
    assert asked["state"] == "requested"
    uuid = asked["uuid"]
    assert accept(scene, scene.person("stranger"), uuid, site).status_code == 404
    assert site.post(invitation_path(uuid, "check")).status_code == 404
    for action in ("send", "cancel"):
        done = site.post(invitation_path(uuid, action), scene.person("owner"))
        assert done.status_code == 400, action

    made = site.post("/api/user-invitations/", scene.person("staff"), json=body).json()
    assert made["state"] == ("pending" if starts is None else "project")


def test_a_manager_manages_not_their_own_role(scene: Scene) -> None:
    site, manager, owner = scene.hall.site, scene.person("manager"), scene.person("owner")
    own = scene.seat(manager, "PROJECT.MANAGER")
    for action, role in (
        ("add_user", "PROJECT.ADMIN"),
        ("update_user", "PROJECT.MANAGER"),
        ("delete_user", "PROJECT.MANAGER"),
    ):
        body = scene.seat(manager, role)
        answer = site.post(f"{scene.project.path}{action}/", manager, json=body)
        assert (answer.status_code, answer.json()) == (400, whole("User can not manage own role."))
    # The owner's right comes from above: it reaches also their own role, and the manager's.
    scene.hall.world.seat(owner, "PROJECT.MEMBER", scene.project)
    body = scene.seat(owner, "PROJECT.MEMBER")
    assert site.post(f"{scene.project.path}delete_user/", owner, json=body).status_code == 200
    assert site.post(f"{scene.project.path}delete_user/", owner, json=own).status_code == 200


def test_in_an_organisation_one_may_leave_by_oneself(scene: Scene) -> None:
    role = custom_role(scene, ScopeKind.ORGANISATION, Permission.ORGANISATION_REVOKE)
    scene.hall.world.seat(scene.outsider, role, scene.organisation)
    leave = f"{scene.organisation.path}delete_user/"
    body = scene.seat(scene.outsider, role)
    assert scene.hall.site.post(leave, scene.outsider, json=body).status_code == 200
    assert scene.hall.site.post(leave, scene.outsider, json=body).status_code == 404


@pytest.mark.parametrize(
    ("action", "more"),
    [("delete_user", {}), ("update_user", {"expiration_time": "2999-01-01"})],
    ids=["removed", "given_an_end"],
)
def test_the_last_owner_stays(scene: Scene, action: str, more: dict[str, str]) -> None:
    world, site, staff = scene.hall.world, scene.hall.site, scene.person("staff")
    world.unseat(scene.colleague, "CUSTOMER.OWNER", scene.organisation)
    path = f"{scene.organisation.path}{action}/"
    body = scene.seat(scene.person("owner"), "CUSTOMER.OWNER", **more)
    refused = (400, whole("The last owner cannot be removed."))

    def tried() -> tuple[int, Any]:
        answer = site.post(path, staff, json=body)
        return answer.status_code, answer.json() if answer.content else None

    assert tried() == refused
    # Neither an owner for a while nor one who cannot log in is somebody in charge.
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    world.seat(scene.outsider, "CUSTOMER.OWNER", scene.organisation, tomorrow)
    gone = world.person(f"gone{next(_numbers)}")
    world.seat(gone, "CUSTOMER.OWNER", scene.organisation)
    with scene.hall.database.write() as tx:
        account_queries.change(tx, gone.id, {"is_active": False})
    assert tried() == refused
    world.seat(scene.person("stranger"), "CUSTOMER.OWNER", scene.organisation)
    assert tried()[0] == 200


def test_what_only_staff_may_write_is_passed_over_when_an_owner_sends_it(scene: Scene) -> None:
    site, owner, staff = scene.hall.site, scene.person("owner"), scene.person("staff")
    before = site.get(scene.organisation.path, staff).json()
    sent = {"domain": "d", "agreement_number": "1", "blocked": True, "slug": f"s-{uuid4().hex}"}
    answer = site.request("PATCH", scene.organisation.path, owner, json=sent | {"vat_code": "V"})
    assert answer.status_code == 200
    after = site.get(scene.organisation.path, staff).json()
    assert after == before | {"vat_code": "V"}

    notes = {"slug": f"s-{uuid4().hex}", "staff_notes": "N"}
    body = {"name": "New", "customer": scene.organisation.path, **notes}
    made = site.post("/api/projects/", owner, json=body).json()
    shown = site.get(f"/api/projects/{made['uuid']}/", staff).json()
    assert shown["slug"] != notes["slug"]
    assert shown["staff_notes"] == ""
    assert "staff_notes" not in made
    site.request("PATCH", f"/api/projects/{made['uuid']}/", owner, json=notes)
    assert site.get(f"/api/projects/{made['uuid']}/", staff).json() == shown
    site.request("PATCH", f"/api/projects/{made['uuid']}/", staff, json=notes)
    assert site.get(f"/api/projects/{made['uuid']}/", staff).json() == shown | notes


@pytest.mark.parametrize("path", ["/api/customers/", "/api/projects/"])
def test_a_slug_that_is_taken_is_an_error_of_its_field(scene: Scene, path: str) -> None:
    body = {"name": "New", "customer": scene.organisation.path, "slug": f"s-{uuid4().hex}"}
    staff = scene.person("staff")
    assert scene.hall.site.post(path, staff, json=body).status_code == 201
    answer = scene.hall.site.post(path, staff, json=body)
    assert (answer.status_code, answer.json()) == (400, {"slug": ["This field must be unique."]})


SECRET = {"token", "token_lifetime"}
PRIVILEGED = {"is_staff", "is_active", "is_support", "description", "has_active_session"}
PERSONAL = {"civil_number", "birth_date", "requested_email"}


@pytest.fixture
def colleague_elsewhere(scene: Scene) -> str:
    """The colleague also has a role where only staff and support can see it; its UUID."""
    world = scene.hall.world
    elsewhere = world.organisation(f"Elsewhere {next(_numbers)}")
    world.seat(scene.colleague, "CUSTOMER.OWNER", elsewhere)
    return elsewhere.uuid


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("staff", SECRET),
        ("support", SECRET),
        ("owner", SECRET | PRIVILEGED | PERSONAL),
        ("member", SECRET | PRIVILEGED | PERSONAL),
    ],
)
def test_what_one_sees_of_a_colleague(
    scene: Scene, colleague_elsewhere: str, name: str, hidden: set[str]
) -> None:
    site, who, uuid = scene.hall.site, scene.person(name), scene.colleague.uuid
    shown = site.get(f"/api/users/{uuid}/", who).json()
    listed: list[Any] = []
    pages = 1
    while len(listed) < pages:
        page = site.get(f"/api/users/?page_size=300&page={len(listed) + 1}", who)
        pages = -(-int(page.headers["X-Result-Count"]) // 300)
        listed.append(page.json())
    assert shown in [one for page in listed for one in page]
    assert (SECRET | PRIVILEGED | PERSONAL) - set(shown) == hidden
    assert shown["ip_address"] is None
    assert (shown["token_expires_at"] is None) is (name in {"owner", "member"})
    scopes = {one["scope_uuid"] for one in shown["permissions"]}
    known = {scene.project.uuid, scene.organisation.uuid}
    assert scopes == (known | {colleague_elsewhere} if name in {"staff", "support"} else known)
    # Asking for a hidden field by name does not bring it out.
    asked = site.get(f"/api/users/{uuid}/?field=uuid&field=token&field=birth_date", who).json()
    assert set(asked) == {"uuid"} | ({"birth_date"} - hidden)


@pytest.mark.parametrize("path", ["me", "own"])
@pytest.mark.parametrize("name", ["staff", "support", "owner", "member", "stranger"])
def test_what_one_sees_of_oneself(scene: Scene, name: str, path: str) -> None:
    site, who = scene.hall.site, scene.person(name)
    shown = site.get(f"/api/users/{'me' if path == 'me' else who.uuid}/", who).json()
    hidden = set() if name in {"staff", "support"} else PRIVILEGED
    # An address is named in one place alone; elsewhere the key says nothing.
    assert (shown["ip_address"] is not None) is (path == "me")
    assert (SECRET | PRIVILEGED | PERSONAL) - set(shown) == hidden
    assert shown["token"] == who.token
    assert shown["token_expires_at"] is not None
    # Not in a list, not even when it holds nobody else.
    listed = site.get("/api/users/?page_size=300", scene.person("stranger")).json()
    assert all("token" not in one for one in listed)


def test_a_manager_of_identities_lists_nobody(scene: Scene) -> None:
    manager = scene.hall.world.person(f"ids{next(_numbers)}", is_identity_manager=True)
    answer = scene.hall.site.get("/api/users/", manager)
    said = "Identity manager is not allowed to list users."
    assert (answer.status_code, answer.json()) == (403, said)
    assert scene.hall.site.get(f"/api/users/{manager.uuid}/", manager).status_code == 200


def test_ordinary_people_see_neither_staff_nor_who_was_switched_off(scene: Scene) -> None:
    site, owner, world = scene.hall.site, scene.person("owner"), scene.hall.world
    gone, boss = world.person(f"gone{next(_numbers)}"), scene.person("staff")
    for person in (gone, boss):
        world.seat(person, "PROJECT.MEMBER", scene.project)
    assert site.get(f"/api/users/{gone.uuid}/", owner).status_code == 200
    with scene.hall.database.write() as tx:
        account_queries.change(tx, gone.id, {"is_active": False})
    for person in (gone, boss):
        assert site.get(f"/api/users/{person.uuid}/", owner).status_code == 404
        for name in ("staff", "support"):
            seen = site.get(f"/api/users/{person.uuid}/", scene.person(name))
            assert seen.status_code == 200


def test_the_right_to_remove_a_project_comes_from_above(scene: Scene) -> None:
    site, world = scene.hall.site, scene.hall.world
    below = custom_role(
        scene, ScopeKind.PROJECT, Permission.PROJECT_DELETE, Permission.PROJECT_UPDATE
    )
    above = custom_role(scene, ScopeKind.ORGANISATION, Permission.PROJECT_DELETE)
    world.seat(scene.outsider, below, scene.project)
    world.seat(scene.person("stranger"), above, scene.organisation)
    ended = site.request(
        "PATCH", scene.project.path, scene.outsider, json={"end_date": next_year()}
    )
    assert ended.status_code == 200
    assert site.request("DELETE", scene.project.path, scene.outsider).status_code == 403
    assert site.request("DELETE", scene.project.path, scene.person("stranger")).status_code == 204
