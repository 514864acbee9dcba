"""Rights that depend on roles and states, each with a denied case in the same set-up.

The rights of every route are in `tests/matrix/matrix.txt`. The table below has the others, with the
statuses of the specification. The accounts:

* owner of the organisation; manager and member of its project;
* lapsed: was owner and manager until yesterday; former: both roles were removed;
* stranger: an account without roles; nobody: no account.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy import bindparam, insert, select, update

from collegium.access import queries as access_queries
from collegium.access.rules import KINDS, Permission, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import role_permissions, roles
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.refusals import NotFound
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from collegium.settings import Settings
from tests.access.test_visibility import add_role
from tests.support.site import Site
from tests.support.world import Person, Place, World

TICK = timedelta(microseconds=1)
RIGHTS = """
                            staff support owner manager member lapsed former stranger nobody
delete_empty_organisation   204   403     204   404     404    404    404    404      401
set_end_of_project          200   403     200   403     403    404    404    404      401
add_manager                 201   403     201   201     403    404    404    404      401
invite_manager              201   403     201   201     403    400    400    400      401
invite_owner                201   403     403   403     403    400    400    400      401
see_owner_invitation        200   200     200   404     404    404    404    404      401
resend_owner_invitation     200   403     403   404     404    404    404    404      401
cancel_owner_invitation     200   403     403   404     404    404    404    404      401
renew_invitation            200   403     200   200     404    404    404    404      401
accept_owner_invitation     200   404     404   200     200    200    200    200      401
accept_cancelled            404   404     404   404     404    404    404    404      401
details_of_cancelled        200   200     404   200     200    404    404    404      401
check_cancelled             404   404     404   404     404    404    404    404      404
link_for_managers           201   403     201   201     403    400    400    400      401
link_for_owners             201   403     403   403     403    400    400    400      401
create_public_link          201   400     400   400     400    400    400    400      401
see_public_link             200   200     200   200     200    200    200    200      200
submit_to_closed_link       400   400     400   400     400    400    400    400      401
approve_decided_request     409   409     409   409     404    404    404    404      401
see_owner_request           200   200     200   404     404    404    404    404      401
approve_owner_request       200   403     403   404     404    404    404    404      401
"""
ACCOUNTS, *ROWS = (line.split() for line in RIGHTS.strip().splitlines())
_numbers = count(1)


class Team:
    """An organisation with a project, accounts of every kind, and two invitations."""

    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site = world, site
        self.people = {name: world.person() for name in ACCOUNTS[2:-1]}
        self.people |= {"staff": world.staff, "support": world.person(is_support=True)}
        self.colleague, self.outsider = world.person(), world.person()
        self.organisation = world.organisation()
        self.project = world.project(self.organisation)
        now = datetime.now(UTC)
        for person, role, until in (
            (self["owner"], "CUSTOMER.OWNER", None),
            (self["manager"], "PROJECT.MANAGER", None),
            (self["member"], "PROJECT.MEMBER", None),
            (self["lapsed"], "CUSTOMER.OWNER", now - TICK),
            (self["lapsed"], "PROJECT.MANAGER", now - TICK),
            (self["former"], "CUSTOMER.OWNER", None),
            (self["former"], "PROJECT.MANAGER", None),
            (self.colleague, "PROJECT.MEMBER", None),
            (self.colleague, "CUSTOMER.OWNER", None),
        ):
            scope = self.organisation if role == "CUSTOMER.OWNER" else self.project
            world.give_role(person, role, scope, until, now - timedelta(days=1))
        self.invitation = world.invite(
            self["owner"], "invited@example.org", "PROJECT.ADMIN", self.project
        )
        self.owner_invitation = world.invite(
            world.staff, "invited@example.org", "CUSTOMER.OWNER", self.organisation
        )
        world.remove_role(self["former"], "CUSTOMER.OWNER", self.organisation)
        world.remove_role(self["former"], "PROJECT.MANAGER", self.project)

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    def add_role(self, kind: ScopeKind, *permissions: Permission) -> str:
        with self.world.database.write() as tx:
            return add_role(tx, f"CUSTOM.{next(_numbers)}", kind, permissions)

    def update_role(self, name: str, **values: Any) -> None:
        query = update(roles).where(roles.c.name == bindparam("key")).values(**values)
        with self.world.database.write() as tx:
            tx.execute(Statement(query), key=name)

    def invite(
        self, email: str = "new@example.org", role: str = "PROJECT.ADMIN", **more: Any
    ) -> str:
        """Invite to the project, as the owner."""
        return self.world.invite(self["owner"], email, role, self.project, **more)

    def cancelled(self) -> str:
        with self.world.database.write() as tx:
            invitation_actions.cancel(tx, self.world.staff.actor, self.invitation)
        return self.invitation

    def closed_link(self) -> str:
        uuid = self.world.create_link(self.world.staff, "PROJECT.ADMIN", self.project)
        with self.world.database.write() as tx:
            invite_link_actions.cancel(tx, self.world.staff.actor, uuid)
        return uuid

    def request(self, role: str, scope: Place) -> str:
        """Ask to join, as the outsider."""
        return self.world.ask(self.outsider, self.world.create_link(self.world.staff, role, scope))

    def decided_request(self) -> str:
        uuid = self.request("PROJECT.ADMIN", self.project)
        with self.world.database.write() as tx:
            join_request_actions.reject(tx, self.world.staff.actor, uuid, None)
        return uuid

    def delete_project(self) -> None:
        staff = self.world.staff.actor
        with self.world.database.write() as tx:
            access = access_queries.get_visible(tx, staff, ScopeKind.PROJECT, self.project.uuid)
            project_actions.delete(tx, staff, access)

    def grant_body(self, person: Person, role: str, **more: Any) -> dict[str, Any]:
        return {"user": person.uuid, "role": self.world.role(role).uuid, **more}

    def body(self, role: str, scope: Place, **more: Any) -> dict[str, Any]:
        """Return the body of an invitation or of an invite link."""
        scope_url = f"http://anywhere.test{scope.path}"
        return {"scope": scope_url, "role": self.world.role(role).uuid, **more}

    def invitation_body(self, role: str, scope: Place | None = None) -> dict[str, Any]:
        return self.body(role, scope or self.project, email="new@example.org")

    def change_team(self, action: str, actor: Person, body: dict[str, Any]) -> httpx.Response:
        return self.site.post(f"{self.project.path}{action}/", actor, json=body)

    def accept(self, person: Person, uuid: str = "", site: Site | None = None) -> httpx.Response:
        path = invitation_path(uuid or self.invitation, "accept")
        return (site or self.site).post(path, person)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(recipient_mail_limit="100000")


@pytest.fixture
def team(world: World, site: Site) -> Team:
    return Team(world, site)


@pytest.fixture
def site_with(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> Callable[..., Site]:
    """Return a function that makes a site with the given settings."""
    return lambda **values: make_site(make_settings(**values))


def invitation_path(uuid: str, action: str = "") -> str:
    return f"/api/user-invitations/{uuid}/" + (f"{action}/" if action else "")


def request_path(team: Team, action: str = "") -> str:
    uuid = team.request("CUSTOMER.OWNER", team.organisation)
    return f"/api/user-permission-requests/{uuid}/{action}"


def next_year() -> str:
    return (datetime.now(UTC) + timedelta(days=365)).date().isoformat()


def delete_empty_organisation(team: Team) -> tuple[str, str, None]:
    team.delete_project()
    return "DELETE", team.organisation.path, None


def see_public_link(team: Team) -> tuple[str, str, None]:
    options: dict[str, Any] = {"is_public": True, "auto_create_project": True}
    uuid = team.world.create_link(team.world.staff, "PROJECT.ADMIN", team.organisation, **options)
    return "GET", f"/api/user-group-invitations/{uuid}/", None


INVITATIONS, LINKS = "/api/user-invitations/", "/api/user-group-invitations/"
# Method, path and body of each action. Building them may change the team.
ACTIONS: dict[str, Callable[[Team], tuple[str, str, dict[str, Any] | None]]] = {
    "delete_empty_organisation": delete_empty_organisation,
    "set_end_of_project": lambda t: ("PATCH", t.project.path, {"end_date": next_year()}),
    "add_manager": lambda t: (
        "POST",
        f"{t.project.path}add_user/",
        t.grant_body(t.outsider, "PROJECT.MANAGER"),
    ),
    "invite_manager": lambda t: ("POST", INVITATIONS, t.invitation_body("PROJECT.MANAGER")),
    "invite_owner": lambda t: (
        "POST",
        INVITATIONS,
        t.invitation_body("CUSTOMER.OWNER", t.organisation),
    ),
    "see_owner_invitation": lambda t: ("GET", invitation_path(t.owner_invitation), None),
    "resend_owner_invitation": lambda t: (
        "POST",
        invitation_path(t.owner_invitation, "send"),
        None,
    ),
    "cancel_owner_invitation": lambda t: (
        "POST",
        invitation_path(t.owner_invitation, "cancel"),
        None,
    ),
    "renew_invitation": lambda t: ("POST", invitation_path(t.cancelled(), "send"), None),
    "accept_owner_invitation": lambda t: (
        "POST",
        invitation_path(t.owner_invitation, "accept"),
        None,
    ),
    "accept_cancelled": lambda t: ("POST", invitation_path(t.cancelled(), "accept"), None),
    "details_of_cancelled": lambda t: ("GET", invitation_path(t.cancelled(), "details"), None),
    "check_cancelled": lambda t: ("POST", invitation_path(t.cancelled(), "check"), None),
    "link_for_managers": lambda t: ("POST", LINKS, t.body("PROJECT.MANAGER", t.project)),
    "link_for_owners": lambda t: ("POST", LINKS, t.body("CUSTOMER.OWNER", t.organisation)),
    "create_public_link": lambda t: (
        "POST",
        LINKS,
        t.body("PROJECT.ADMIN", t.organisation, is_public=True, auto_create_project=True),
    ),
    "see_public_link": see_public_link,
    "submit_to_closed_link": lambda t: ("POST", f"{LINKS}{t.closed_link()}/submit_request/", None),
    "approve_decided_request": lambda t: (
        "POST",
        f"/api/user-permission-requests/{t.decided_request()}/approve/",
        None,
    ),
    "see_owner_request": lambda t: ("GET", request_path(t), None),
    "approve_owner_request": lambda t: ("POST", request_path(t, "approve/"), None),
}
CHANGES_TEAM = {"delete_empty_organisation", "renew_invitation", "approve_decided_request"}


@pytest.mark.parametrize(
    ("action", "expected"), [(row[0], row[1:]) for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_rights_by_role_and_state(
    world: World, site: Site, action: str, expected: list[str]
) -> None:
    statuses = []
    team = None
    for name in ACCOUNTS:
        # A refused request leaves the team as it was.
        if team is None or action in CHANGES_TEAM or "cancelled" in action:
            team = Team(world, site)
        method, path, body = ACTIONS[action](team)
        status = site.request(method, path, team.people.get(name), json=body).status_code
        statuses.append(str(status))
        if status < HTTPStatus.BAD_REQUEST and method != "GET":
            team = None
    assert statuses == expected


def test_every_action_has_a_row() -> None:
    assert [row[0] for row in ROWS] == list(ACTIONS)


def general_error(text: str) -> dict[str, list[str]]:
    return {"non_field_errors": [text]}


@pytest.fixture
def granter(team: Team) -> Person:
    """Return an account that may grant roles in the project and nothing else."""
    role = team.add_role(ScopeKind.PROJECT, Permission.PROJECT_GRANT)
    team.world.give_role(team.outsider, role, team.project)
    return team.outsider


@pytest.mark.parametrize(("role", "status"), [("PROJECT.MEMBER", 201), ("PROJECT.MANAGER", 403)])
def test_roles_above_the_role_ceiling_cannot_be_granted(
    team: Team, granter: Person, role: str, status: int
) -> None:
    body = team.grant_body(team["stranger"], role)
    assert team.change_team("add_user", granter, body).status_code == status
    response = team.site.post(INVITATIONS, granter, json=team.invitation_body(role))
    assert response.status_code == status


@pytest.mark.parametrize(("role", "status"), [("PROJECT.MEMBER", 200), ("PROJECT.MANAGER", 403)])
@pytest.mark.parametrize("action", ["send", "cancel"])
def test_invitations_above_the_role_ceiling_cannot_be_managed(
    team: Team, granter: Person, action: str, role: str, status: int
) -> None:
    uuid = team.invite(role=role)
    assert team.site.post(invitation_path(uuid, action), granter).status_code == status


@pytest.mark.parametrize(("role", "status"), [("PROJECT.MEMBER", 200), ("PROJECT.MANAGER", 403)])
@pytest.mark.parametrize("action", ["update_user", "delete_user"])
def test_grants_above_the_role_ceiling_cannot_be_changed(
    team: Team, action: str, role: str, status: int
) -> None:
    rights = KINDS[ScopeKind.PROJECT]
    permissions = (rights.grant, rights.update_role, rights.revoke)
    team.world.give_role(
        team.outsider, team.add_role(ScopeKind.PROJECT, *permissions), team.project
    )
    holder = team["member" if role == "PROJECT.MEMBER" else "manager"]
    response = team.change_team(action, team.outsider, team.grant_body(holder, role))
    assert response.status_code == status


def test_granter_accepts_no_invitation_of_others_above_the_role_ceiling(
    team: Team, granter: Person
) -> None:
    foreign = team.invite(role="PROJECT.MANAGER")
    own = team.invite(granter.email.upper(), "PROJECT.MANAGER")
    below = team.invite(role="PROJECT.MEMBER")
    rows = team.site.get(INVITATIONS, granter).json()
    assert {foreign, own, below} <= {row["uuid"] for row in rows}
    for uuid, status in ((foreign, 404), (below, 200), (own, 200)):
        assert team.accept(granter, uuid).status_code == status


def test_account_that_only_lists_invitations_cannot_accept_them(team: Team) -> None:
    role = team.add_role(ScopeKind.PROJECT, Permission.INVITATION_LIST)
    team.world.give_role(team.outsider, role, team.project)
    own = team.invite(team.outsider.email.upper())
    rows = team.site.get(INVITATIONS, team.outsider).json()
    assert {team.invitation, own} <= {row["uuid"] for row in rows}
    assert team.accept(team.outsider).status_code == 404
    assert team.accept(team.outsider, own).status_code == 200


def test_support_accepts_only_own_invitations(team: Team) -> None:
    support = team["support"]
    assert team.accept(support).status_code == 404
    assert team.accept(support, team.invite(support.email.upper())).status_code == 200


@pytest.mark.parametrize("loss", ["role", "account"])
def test_invitation_requires_its_inviter_to_keep_the_right(team: Team, loss: str) -> None:
    other = team.invite(role="PROJECT.MEMBER")
    assert team.accept(team["stranger"], other).status_code == 200
    if loss == "role":
        team.world.remove_role(team["owner"], "CUSTOMER.OWNER", team.organisation)
    else:
        with team.world.database.write() as tx:
            account_queries.change(tx, team["owner"].id, {"is_active": False})
    assert team.accept(team["stranger"]).status_code == 404
    # A manager who sends it again becomes the inviter.
    sent = team.site.post(invitation_path(team.invitation, "send"), team["manager"])
    assert sent.status_code == 200
    assert team.accept(team["stranger"]).status_code == 200


def test_invitation_requires_its_inviter_to_keep_the_role_ceiling(team: Team) -> None:
    inviter_role = team.add_role(
        ScopeKind.PROJECT, Permission.PROJECT_GRANT, Permission.PROJECT_UPDATE
    )
    role = team.add_role(ScopeKind.PROJECT, Permission.PROJECT_UPDATE)
    team.world.give_role(team.outsider, inviter_role, team.project)
    uuid = team.world.invite(team.outsider, "new@example.org", role, team.project)
    for name, status in ((role, 404), (inviter_role, 200)):
        with team.world.database.write() as tx:
            add_permission(tx, name, Permission.PROJECT_DELETE)
        assert team.accept(team["stranger"], uuid).status_code == status


def add_permission(tx: WriteTransaction, role: str, permission: Permission) -> None:
    role_id = select(roles.c.id).where(roles.c.name == bindparam("role")).scalar_subquery()
    query = insert(role_permissions).values(role_id=role_id, permission=bindparam("permission"))
    tx.execute(Statement(query), role=role, permission=permission.value)


def test_disabled_role_cannot_be_granted(team: Team) -> None:
    role = team.add_role(ScopeKind.PROJECT)
    uuid = team.invite(role=role)
    owner, stranger = team["owner"], team["stranger"]

    team.update_role(role, is_active=False)
    assert team.accept(stranger, uuid).status_code == 404
    response = team.site.post(INVITATIONS, owner, json=team.invitation_body(role))
    assert (response.status_code, set(response.json())) == (400, {"role"})
    response = team.change_team("add_user", owner, team.grant_body(stranger, role))
    assert (response.status_code, response.json()) == (400, general_error("Role is not active."))

    team.update_role(role, is_active=True)
    assert team.accept(stranger, uuid).status_code == 200
    response = team.site.post(INVITATIONS, owner, json=team.invitation_body(role))
    assert response.status_code == 201
    response = team.change_team("add_user", owner, team.grant_body(team.outsider, role))
    assert response.status_code == 201


@pytest.mark.parametrize("closed", ["blocked", "archived"])
def test_blocked_or_archived_organisation_takes_no_new_members(team: Team, closed: str) -> None:
    site, owner, staff, stranger = team.site, team["owner"], team["staff"], team["stranger"]
    unavailable = (400, general_error("Customer is not available."))
    grant = team.grant_body(team.colleague, "PROJECT.MEMBER")
    additions = (
        (INVITATIONS, team.invitation_body("PROJECT.ADMIN")),
        (f"{team.project.path}add_user/", team.grant_body(team.outsider, "PROJECT.MEMBER")),
    )
    with team.world.database.write() as tx:
        access = access_queries.get_visible(
            tx, staff.actor, ScopeKind.ORGANISATION, team.organisation.uuid
        )
        organisation_actions.update(tx, staff.actor, access, {closed: True})
    assert team.accept(stranger).status_code == 404
    for path, body in (*additions, (f"{team.project.path}update_user/", grant)):
        response = site.post(path, owner, json=body)
        assert (response.status_code, response.json()) == unavailable
    response = site.request("DELETE", team.project.path, owner)
    assert (response.status_code, response.json()) == unavailable
    # Members can be removed.
    assert team.change_team("delete_user", owner, grant).status_code == 200
    message = [f"{closed.title()} organization is not available."]
    for actor, body in (
        (owner, {"abbreviation": "A"}),
        (staff, {"name": "New"}),
        (staff, {"name": "New", closed: True}),
        (staff, {"domain": "d"}),
    ):
        response = site.request("PATCH", team.organisation.path, actor, json=body)
        assert (response.status_code, response.json()) == (400, message)

    # Only staff can open it again.
    response = site.request("PATCH", team.organisation.path, staff, json={closed: False})
    assert response.status_code == 200
    assert team.accept(stranger).status_code == 200
    for path, body in additions:
        assert site.post(path, owner, json=body).status_code == 201


def test_invitation_of_a_deleted_project_is_unknown(team: Team) -> None:
    invitee = team["stranger"]
    uuid = team.invite(invitee.email)
    team.delete_project()
    assert team.site.post(invitation_path(uuid, "check")).status_code == 404
    for person in (invitee, team["owner"]):
        assert team.accept(person, uuid).status_code == 404
        assert team.site.post(invitation_path(uuid, "check"), person).status_code == 404
        assert team.site.get(invitation_path(uuid, "details"), person).status_code == 404
    for person in (team["staff"], team["owner"]):
        assert team.site.post(invitation_path(uuid, "send"), person).status_code == 404
    for action in ("send", "cancel"):
        for person in (invitee, team["owner"]):
            response = team.site.post(invitation_path(uuid, action), person)
            assert response.status_code in {403, 404}


@pytest.mark.parametrize(
    ("offset", "is_open"), [(-TICK, True), (0 * TICK, False)], ids=["just_before", "at_the_instant"]
)
def test_invitation_is_open_until_the_instant_of_its_expiry(
    team: Team, offset: timedelta, *, is_open: bool
) -> None:
    world, actor, uuid = team.world, team["stranger"].actor, team.invitation
    with world.database.write(world.invitation(uuid).expires_at + offset) as tx:
        if is_open:
            invitation_actions.accept(tx, actor, world.settings, uuid)
        else:
            for action in (invitation_actions.accept, invitation_actions.get_pending):
                with pytest.raises(NotFound):
                    action(tx, actor, world.settings, uuid)


def test_expired_invitation_is_shown_as_expired_and_cannot_be_accepted(team: Team) -> None:
    site, invitee, owner = team.site, team["stranger"], team["owner"]
    lifetime = timedelta(seconds=team.world.settings.invitation_lifetime)
    # Invited by staff, because the grant of the owner is younger.
    uuid = team.world.invite(
        team["staff"], invitee.email, "PROJECT.ADMIN", team.project, datetime.now(UTC) - lifetime
    )
    assert site.get(invitation_path(uuid), owner).json()["state"] == "expired"
    assert site.get(invitation_path(uuid), invitee).status_code == 404
    assert site.get(invitation_path(uuid, "details"), invitee).status_code == 404
    checked = site.post(invitation_path(uuid, "check"))
    assert (checked.status_code, checked.content) == (404, b"")
    assert team.accept(invitee, uuid).status_code == 404
    assert site.post(invitation_path(uuid, "send"), owner).status_code == 200
    assert team.accept(invitee, uuid).status_code == 200


def test_grant_gives_no_permission_from_the_instant_of_its_end(team: Team) -> None:
    world, actor, project = team.world, team.outsider.actor, team.project.uuid
    until = datetime.now(UTC) + timedelta(days=1)
    world.give_role(team.outsider, "PROJECT.MANAGER", team.project, until)
    with world.database.read(until - TICK) as tx:
        assert access_queries.get_visible(
            tx, actor, ScopeKind.PROJECT, project, Permission.PROJECT_GRANT
        ).permissions
        assert account_queries.get_visible(tx, actor, team.colleague.uuid).id
        assert invitation_queries.get_visible(tx, actor, team.invitation).id
    with world.database.read(until) as tx:
        with pytest.raises(NotFound):
            access_queries.get_visible(tx, actor, ScopeKind.PROJECT, project)
        with pytest.raises(NotFound):
            account_queries.get_visible(tx, actor, team.colleague.uuid)
        with pytest.raises(NotFound):
            invitation_queries.get_visible(tx, actor, team.invitation)


@pytest.mark.parametrize("name", ["lapsed", "former", "stranger"])
def test_account_without_an_active_grant_finds_nothing_in_lists(team: Team, name: str) -> None:
    person, site = team[name], team.site
    for path in ("customers", "projects", "user-invitations", "user-permissions"):
        assert site.get(f"/api/{path}/", person).json() == [], path
    assert [row["uuid"] for row in site.get("/api/users/", person).json()] == [person.uuid]
    assert site.get("/api/users/me/", person).json()["permissions"] == []
    members = site.get(f"{team.project.path}list_users/?page_size=50", team["owner"]).json()
    assert person.uuid not in {row["user_uuid"] for row in members}


def test_invitation_with_a_civil_number_is_only_for_its_holder(team: Team) -> None:
    site, citizen = team.site, team.world.person(civil_number="38001085718")
    uuid = team.invite(civil_number="38001085718")
    checked = site.post(invitation_path(uuid, "check")).json()
    assert checked == {"email": "new@example.org", "civil_number_required": True}
    for name in ("stranger", "staff", "owner"):
        assert team.accept(team[name], uuid).status_code == 404, name
    assert site.get(invitation_path(uuid, "details"), team["stranger"]).status_code == 404
    assert site.get(invitation_path(uuid, "details"), citizen).status_code == 200
    assert team.accept(citizen, uuid).status_code == 200


def test_validate_invitation_email_hides_invitations_of_others(
    team: Team, site_with: Callable[..., Site]
) -> None:
    site, stranger = site_with(validate_invitation_email="true"), team["stranger"]
    own = team.invite(stranger.email.upper())
    # The owner could grant the role, but cannot accept the invitation.
    for name in ("stranger", "owner"):
        assert team.accept(team[name], site=site).status_code == 404, name
    assert site.get(invitation_path(team.invitation, "details"), stranger).status_code == 404
    assert site.get(invitation_path(own, "details"), stranger).status_code == 200
    assert team.accept(stranger, own, site).status_code == 200


def test_strict_check_of_the_address_names_the_reason(
    team: Team, site_with: Callable[..., Site]
) -> None:
    site, stranger = site_with(enable_strict_check_accepting_invitation="true"), team["stranger"]
    response = team.accept(stranger, site=site)
    text = "User\N{RIGHT SINGLE QUOTATION MARK}s email and email of the invitation are not equal."
    assert (response.status_code, response.json()) == (400, [text])
    own = team.invite(stranger.email.upper())
    assert team.accept(stranger, own, site).status_code == 200


def test_second_role_cannot_be_accepted_if_so_configured(
    team: Team, site_with: Callable[..., Site]
) -> None:
    site = site_with(invitation_disable_multiple_roles="true")
    team.world.give_role(team.outsider, "CUSTOMER.OWNER", team.world.organisation())
    response = team.accept(team.outsider, site=site)
    expected = ["User already has role within another scope."]
    assert (response.status_code, response.json()) == (400, expected)
    # Roles that have ended do not count.
    for name in ("lapsed", "former", "stranger"):
        assert team.accept(team[name], team.invite(), site).status_code == 200, name
    assert team.accept(team.outsider).status_code == 200


def test_same_role_cannot_be_granted_twice(team: Team) -> None:
    text = "User has already the same role in this scope."
    stranger = team["stranger"]
    assert team.accept(stranger).status_code == 200
    response = team.accept(stranger, team.invite("again@example.org"))
    assert (response.status_code, response.json()) == (400, [text])
    body = team.grant_body(stranger, "PROJECT.ADMIN")
    response = team.change_team("add_user", team["owner"], body)
    assert (response.status_code, response.json()) == (400, general_error(text))


@pytest.mark.parametrize("starts", [None, date.max], ids=["started", "not_started"])
def test_invitation_needs_approval_if_only_staff_may_invite(
    team: Team, site_with: Callable[..., Site], starts: date | None
) -> None:
    site, owner = site_with(only_staff_can_invite_users="true"), team["owner"]
    project = team.world.project(team.organisation, start_date=starts)
    body = team.invitation_body("PROJECT.ADMIN", project)

    requested = site.post(INVITATIONS, owner, json=body).json()
    assert requested["state"] == "requested"
    uuid = requested["uuid"]
    assert team.accept(team["stranger"], uuid, site).status_code == 404
    assert site.post(invitation_path(uuid, "check")).status_code == 404
    for action in ("send", "cancel"):
        assert site.post(invitation_path(uuid, action), owner).status_code == 400, action

    created = site.post(INVITATIONS, team["staff"], json=body).json()
    assert created["state"] == ("pending" if starts is None else "project")


def test_manager_cannot_manage_own_roles(team: Team) -> None:
    manager, owner = team["manager"], team["owner"]
    expected = (400, general_error("User can not manage own role."))
    for action, role in (
        ("add_user", "PROJECT.ADMIN"),
        ("update_user", "PROJECT.MANAGER"),
        ("delete_user", "PROJECT.MANAGER"),
    ):
        response = team.change_team(action, manager, team.grant_body(manager, role))
        assert (response.status_code, response.json()) == expected
    # The right of the owner comes from the organisation, so it covers the owner's role too.
    team.world.give_role(owner, "PROJECT.MEMBER", team.project)
    for person, role in ((owner, "PROJECT.MEMBER"), (manager, "PROJECT.MANAGER")):
        body = team.grant_body(person, role)
        assert team.change_team("delete_user", owner, body).status_code == 200


def test_member_can_leave_an_organisation(team: Team) -> None:
    role = team.add_role(ScopeKind.ORGANISATION, Permission.ORGANISATION_REVOKE)
    team.world.give_role(team.outsider, role, team.organisation)
    path, body = f"{team.organisation.path}delete_user/", team.grant_body(team.outsider, role)
    assert team.site.post(path, team.outsider, json=body).status_code == 200
    assert team.site.post(path, team.outsider, json=body).status_code == 404


@pytest.mark.parametrize(
    ("action", "more"),
    [("delete_user", {}), ("update_user", {"expiration_time": "2999-01-01"})],
    ids=["removed", "given_an_end"],
)
def test_last_owner_cannot_be_removed(team: Team, action: str, more: dict[str, str]) -> None:
    world, organisation = team.world, team.organisation
    world.remove_role(team.colleague, "CUSTOMER.OWNER", organisation)
    body = team.grant_body(team["owner"], "CUSTOMER.OWNER", **more)
    refused = (400, general_error("The last owner cannot be removed."))

    def remove() -> tuple[int, Any]:
        response = team.site.post(f"{organisation.path}{action}/", team["staff"], json=body)
        return response.status_code, response.json() if response.content else None

    assert remove() == refused
    # Owners with an end date and deactivated owners do not count.
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    world.give_role(team.outsider, "CUSTOMER.OWNER", organisation, tomorrow)
    inactive = world.person()
    world.give_role(inactive, "CUSTOMER.OWNER", organisation)
    with world.database.write() as tx:
        account_queries.change(tx, inactive.id, {"is_active": False})
    assert remove() == refused
    world.give_role(team["stranger"], "CUSTOMER.OWNER", organisation)
    assert remove()[0] == 200


def test_staff_fields_sent_by_an_owner_are_ignored(team: Team) -> None:
    site, owner, staff, path = team.site, team["owner"], team["staff"], team.organisation.path
    before = site.get(path, staff).json()
    body = {"domain": "d", "agreement_number": "1", "blocked": True, "slug": "other"}
    response = site.request("PATCH", path, owner, json=body | {"vat_code": "V"})
    assert response.status_code == 200
    assert site.get(path, staff).json() == before | {"vat_code": "V"}

    notes = {"slug": "another", "staff_notes": "N"}
    created = site.post("/api/projects/", owner, json={"name": "New", "customer": path, **notes})
    assert "staff_notes" not in created.json()
    path = f"/api/projects/{created.json()['uuid']}/"
    before = site.get(path, staff).json()
    assert before["slug"] != notes["slug"]
    assert before["staff_notes"] == ""
    site.request("PATCH", path, owner, json=notes)
    assert site.get(path, staff).json() == before
    site.request("PATCH", path, staff, json=notes)
    assert site.get(path, staff).json() == before | notes


@pytest.mark.parametrize("path", ["/api/customers/", "/api/projects/"])
def test_taken_slug_is_an_error_of_its_field(team: Team, path: str) -> None:
    body = {"name": "New", "customer": team.organisation.path, "slug": "taken"}
    assert team.site.post(path, team["staff"], json=body).status_code == 201
    response = team.site.post(path, team["staff"], json=body)
    expected = {"slug": ["This field must be unique."]}
    assert (response.status_code, response.json()) == (400, expected)


SECRET = {"token", "token_lifetime"}
PRIVILEGED = {"is_staff", "is_active", "is_support", "description", "has_active_session"}
PERSONAL = {"civil_number", "birth_date", "requested_email"}


@pytest.mark.parametrize("name", ["staff", "support", "owner", "member"])
def test_visible_fields_of_a_colleague_depend_on_the_viewer(team: Team, name: str) -> None:
    site, viewer, colleague = team.site, team[name], team.colleague
    sees_all = name in {"staff", "support"}
    hidden = SECRET if sees_all else SECRET | PRIVILEGED | PERSONAL
    other = team.world.organisation()
    team.world.give_role(colleague, "CUSTOMER.OWNER", other)
    account = site.get(f"/api/users/{colleague.uuid}/", viewer).json()
    assert account in site.get("/api/users/?page_size=300", viewer).json()
    assert (SECRET | PRIVILEGED | PERSONAL) - set(account) == hidden
    assert account["ip_address"] is None
    assert (account["token_expires_at"] is None) is not sees_all
    scopes = {permission["scope_uuid"] for permission in account["permissions"]}
    visible = {team.project.uuid, team.organisation.uuid}
    assert scopes == (visible | {other.uuid} if sees_all else visible)
    # A hidden field cannot be requested by name.
    fields = "field=uuid&field=token&field=birth_date"
    account = site.get(f"/api/users/{colleague.uuid}/?{fields}", viewer).json()
    assert set(account) == {"uuid"} | ({"birth_date"} - hidden)


@pytest.mark.parametrize("path", ["me", "own"])
@pytest.mark.parametrize("name", ["staff", "support", "owner", "member", "stranger"])
def test_visible_fields_of_the_own_account(team: Team, name: str, path: str) -> None:
    site, person = team.site, team[name]
    account = site.get(f"/api/users/{'me' if path == 'me' else person.uuid}/", person).json()
    hidden = set() if name in {"staff", "support"} else PRIVILEGED
    # Only /me/ shows the IP address; elsewhere the key is null.
    assert (account["ip_address"] is not None) is (path == "me")
    assert (SECRET | PRIVILEGED | PERSONAL) - set(account) == hidden
    assert account["token"] == person.token
    assert account["token_expires_at"] is not None
    # A list never shows the token, even of the only account in it.
    rows = site.get("/api/users/?page_size=300", team["stranger"]).json()
    assert all("token" not in row for row in rows)


def test_identity_manager_cannot_list_accounts(team: Team) -> None:
    manager = team.world.person(is_identity_manager=True)
    response = team.site.get("/api/users/", manager)
    expected = "Identity manager is not allowed to list users."
    assert (response.status_code, response.json()) == (403, expected)
    assert team.site.get(f"/api/users/{manager.uuid}/", manager).status_code == 200


def test_staff_and_deactivated_accounts_are_hidden_from_members(team: Team) -> None:
    site, world, inactive = team.site, team.world, team.world.person()
    for person in (inactive, world.staff):
        world.give_role(person, "PROJECT.MEMBER", team.project)
    assert site.get(f"/api/users/{inactive.uuid}/", team["owner"]).status_code == 200
    with world.database.write() as tx:
        account_queries.change(tx, inactive.id, {"is_active": False})
    for person in (inactive, world.staff):
        for name, status in (("owner", 404), ("staff", 200), ("support", 200)):
            assert site.get(f"/api/users/{person.uuid}/", team[name]).status_code == status


def test_deleting_a_project_requires_a_role_in_the_organisation(team: Team) -> None:
    site, path = team.site, team.project.path
    permissions = (Permission.PROJECT_DELETE, Permission.PROJECT_UPDATE)
    team.world.give_role(
        team.outsider, team.add_role(ScopeKind.PROJECT, *permissions), team.project
    )
    role = team.add_role(ScopeKind.ORGANISATION, Permission.PROJECT_DELETE)
    team.world.give_role(team["stranger"], role, team.organisation)
    response = site.request("PATCH", path, team.outsider, json={"end_date": next_year()})
    assert response.status_code == 200
    assert site.request("DELETE", path, team.outsider).status_code == 403
    assert site.request("DELETE", path, team["stranger"]).status_code == 204
