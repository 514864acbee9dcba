"""The pages of a group: members, invitations, audit log; rights by role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from collegium.invitations import queries as invitation_queries
from collegium.memberships import queries as membership_queries
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.security.rate_limits.rules import PEOPLE, Per
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.site import record_statements
from tests.support.world import Person, World

PARTS = ("", "invitations/", "history/", "invite/", "add/", "links/")
STATUSES = {
    "outsider": "404 404 404 404 404 404",
    "former": "404 404 404 404 404 404",
    "member": "200 403 200 403 403 404",
    "manager": "200 200 200 200 200 404",
    "owner": "200 200 200 200 200 404",
    "lead": "200 200 200 200 200 404",
    "support": "200 200 200 403 403 404",
    "staff": "200 200 200 200 200 404",
}


class Team(NamedTuple):
    """A group and an account of every kind."""

    groups: Groups
    people: dict[str, Person]
    group: int

    @property
    def world(self) -> World:
        return self.groups.world

    @property
    def path(self) -> str:
        return f"/group/{self.group}/team/"

    def role(self, name: str) -> Any:
        with self.world.database.read() as tx:
            return role_queries.by_name_or_uuid(tx, f"GROUP.{name}", None, {"group"})

    def grant_path(self, name: str) -> str:
        with self.world.database.read() as tx:
            row: Any = membership_queries.grant_in_scope(tx, self.people[name].id, self.group)
        return f"{self.path}people/{row.uuid}/"

    def roles(self) -> dict[str, str]:
        return {
            email.removesuffix("@example.org"): role.removeprefix("GROUP.").lower()
            for email, role in self.groups.members(self.group).items()
        }

    def invited(self) -> dict[str, str]:
        with self.world.database.read() as tx:
            filters = {"scope_id": self.group}
            rows = invitation_queries.of_scope.page(tx, self.world.staff.actor, filters, (), 300, 0)
        return {row.email: row.role_name for row in rows}


@pytest.fixture
def team(world: World, groups: Groups) -> Team:
    names = ("outsider", "member", "manager", "owner", "lead", "former")
    people = {name: world.person(name) for name in names}
    people["support"] = world.person("support", is_support=True)
    people["staff"] = world.staff
    group = groups.create(people["lead"], "Night Watch")
    for name in ("member", "manager", "owner", "former"):
        role = "MEMBER" if name == "former" else name.upper()
        groups.give_role(group, people[name], f"GROUP.{role}")
    with world.database.write() as tx:
        group_actions.leave(tx, people["former"].actor, group)
    return Team(groups, people, group)


def each_account(browser: Browser, team: Team) -> Iterator[str]:
    """Sign in as each account in turn; yield its name."""
    for name, person in team.people.items():
        browser.cookies.clear()
        browser.sign_in(team.world, person)
        browser.open("/account/tokens/")
        yield name


def test_pages_are_visible_by_role(browser: Browser, team: Team) -> None:
    for name in each_account(browser, team):
        statuses = [browser.open(team.path + part).status_code for part in PARTS]
        assert " ".join(map(str, statuses)) == STATUSES[name], name
        members = browser.open(team.path)
        for part, status in zip(PARTS[1:], statuses[1:], strict=True):
            assert status == 200 or f'href="{team.path}{part}"' not in members.text, (name, part)
        if statuses[0] == 200:
            page = text(members)
            assert all(f"{role}@example.org" in page for role in ("member", "manager", "lead"))
            assert "former@example.org" not in page.split("Signed in")[0]
    project = team.world.project(team.world.organisation("Initech"))
    for key in (team.group + 1, "x", "9" * 30, project.id):
        assert browser.open(f"/group/{key}/team/").status_code == 404


def test_roles_are_changed_by_owners_and_members_removed_by_managers(
    browser: Browser, team: Team
) -> None:
    manager, member = team.role("MANAGER").uuid, team.role("MEMBER").uuid
    path = team.grant_path("member")
    for name in each_account(browser, team):
        status = browser.send(path, action="role", role=manager).status_code
        assert (status == 303) == (name in {"owner", "lead", "staff"}), (name, status)
        if status == 303:
            browser.open("/account/tokens/")
            path = team.grant_path("member")
            assert browser.send(path, action="role", role=member).status_code == 303, name
            path = team.grant_path("member")
    assert team.roles()["member"] == "member"
    browser.sign_in(team.world, team.world.staff)
    log = text(browser.open(f"{team.path}history/"))
    for role, other in (("manager", "member"), ("member", "manager")):
        assert f"Staff Lee removed the role Group {role} from Member Lee." in log
        assert f"Staff Lee gave Member Lee the role Group {other}." in log
    # A manager removes members only.
    browser.sign_in(team.world, team.people["manager"])
    page, owner_path = browser.open(team.path).text, team.grant_path("owner")
    assert path in page
    assert owner_path not in page
    assert browser.open(owner_path).status_code == 403
    browser.open("/account/tokens/")
    assert browser.send(owner_path, action="remove").status_code == 403
    browser.open(path)
    assert browser.send(path, action="remove").status_code == 303
    assert set(team.roles()) == {"manager", "owner", "lead"}


def test_last_owner_cannot_be_removed_on_the_page(browser: Browser, team: Team) -> None:
    browser.sign_in(team.world, team.people["lead"])
    path = team.grant_path("owner")
    browser.open(path)
    assert browser.send(path, action="remove").status_code == 303
    browser.sign_in(team.world, team.world.staff)
    page = browser.open(team.grant_path("lead"))
    assert "You cannot remove this role or set an end date" in text(page)
    assert 'name="action"' not in page.text
    browser.open("/account/tokens/")
    for form in ({"action": "remove"}, {"action": "role", "role": team.role("MEMBER").uuid}):
        response = browser.send(team.grant_path("lead"), **form)
        assert response.status_code == 422
        assert "Make somebody else an owner first" in text(response)
    # A change between two roles of owners is allowed.
    form = {"action": "role", "role": team.role("OWNER").uuid}
    assert browser.send(team.grant_path("lead"), **form).status_code == 303
    assert team.roles()["lead"] == "owner"


def test_pasted_list_invites_each_account_once(browser: Browser, team: Team) -> None:
    world, here = team.world, f"{team.path}invite/"
    team.groups.people("ann", "ben")
    role = team.role("MEMBER").uuid
    pasted = "ANN@example.org Ann\nben@example.org\nnobody@example.org\nmember@example.org\nbad"
    form = {"addresses": pasted, "role": role, "extra_text": "Come!"}
    for name in each_account(browser, team):
        if STATUSES[name].split()[3] != "200":
            assert browser.send(here, action="send", **form).status_code in {403, 404}, name
    assert team.invited() == {}
    browser.sign_in(world, team.people["manager"])
    page = browser.open(here)
    # A manager invites members only.
    assert team.role("MANAGER").uuid not in page.text
    assert browser.send(here, action="send", **form | {"role": team.role("OWNER").uuid}).is_error
    checked = text(browser.send(here, action="check", **form))
    assert "2 people can be invited" in checked
    assert "Already a member of the group" in checked
    assert "No account has this address" in checked
    assert "2 people invited" in text(browser.send(here, action="send", **form))
    assert set(team.invited()) == {"ann@example.org", "ben@example.org"}
    # One invitation per account, whatever the role.
    browser.sign_in(world, team.people["lead"])
    browser.open(here)
    form = {"addresses": "ann@example.org", "role": team.role("MANAGER").uuid}
    assert "Already invited" in text(browser.send(here, action="send", **form))
    assert team.invited()["ann@example.org"] == "GROUP.MEMBER"


def test_checking_a_list_runs_a_constant_number_of_statements(
    browser: Browser, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.sign_in(team.world, team.people["manager"])
    browser.open(f"{team.path}invite/")
    role = team.role("MEMBER").uuid
    counts = []
    for number in (1, 50):  # the rate limit refuses more
        lines = "\n".join(f"a{index}@example.org" for index in range(number))
        with record_statements(monkeypatch) as statements:
            browser.send(f"{team.path}invite/", action="check", addresses=lines, role=role)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_checking_lists_is_rate_limited(browser: Browser, team: Team) -> None:
    browser.sign_in(team.world, team.people["lead"])
    browser.open(f"{team.path}invite/")
    role = team.role("MEMBER").uuid
    form = {"addresses": "nobody@example.org", "role": role, "action": "check"}
    statuses = [
        browser.send(f"{team.path}invite/", **form).status_code
        for _ in range(PEOPLE.rates[Per.ACCOUNT].allowed + 2)
    ]
    assert statuses[0] == 200
    assert statuses[-1] == 429


def test_invitation_is_cancelled_renewed_and_accepted(
    browser: Browser, other: Browser, team: Team
) -> None:
    world, here = team.world, f"{team.path}invitations/"
    ann = world.person("ann")
    browser.sign_in(world, team.people["manager"])
    assert team.people["lead"].uuid in browser.open(f"{team.path}add/?q=lead").text
    assert "ann@example.org" not in browser.open(f"{team.path}add/?q=ann").text

    def invite() -> Any:
        browser.open(f"{team.path}invite/")
        form = {"addresses": ann.email, "role": team.role("MEMBER").uuid}
        browser.send(f"{team.path}invite/", action="send", **form)
        with world.database.read() as tx:
            (row,) = invitation_queries.to_address(tx, ann.actor)
        return row

    row = invite()
    page = text(browser.open(here))
    for part in ("ann@example.org", "Group member", "pending", "scheduled"):
        assert part in page, part
    path = f"{here}{row.uuid}/"
    for name in each_account(browser, team):
        if name not in {"manager", "owner", "lead", "staff"}:
            for action in ("send", "cancel"):
                assert browser.send(path, action=action).status_code in {403, 404}, name
                browser.open("/account/tokens/")
    browser.sign_in(world, team.people["manager"])
    browser.open(here)
    assert "is cancelled" in text(browser.follow(browser.send(path, action="cancel")))
    assert world.invitation(row.uuid).state == "canceled"
    # It is not renewed while another invitation is open.
    second = invite()
    browser.open(here)
    refused = browser.send(path, action="send")
    assert refused.status_code == 409
    assert "Already invited" in text(refused)
    browser.open(here)
    browser.send(f"{here}{second.uuid}/", action="cancel")
    browser.open(here)
    assert "is being sent again" in text(browser.follow(browser.send(path, action="send")))
    assert world.invitation(row.uuid).link_version == 2
    other.sign_in(world, ann)
    link = other.open("/account/").text.split('href="/invitation/')[1].split('"')[0]
    other.open(f"/invitation/{link}")
    assert other.send(f"/invitation/{link}").status_code == 303
    assert team.roles()["ann"] == "member"
    log = text(browser.open(f"{team.path}history/"))
    assert "Manager Lee invited ann@example.org." in log
    assert "Lead Lee created the group." in log
    # A member is not invited again.
    browser.open(here)
    assert browser.send(f"{here}{second.uuid}/", action="send").status_code == 409


def test_known_account_is_invited_rather_than_added(browser: Browser, team: Team) -> None:
    world, here = team.world, f"{team.path}add/"
    role = team.role("MEMBER").uuid
    outsider = team.people["outsider"]
    organisation = world.organisation("Initech", owner=outsider)
    for name in ("lead", "member"):
        world.give_role(team.people[name], "PROJECT.MEMBER", world.project(organisation))
    world.give_role(team.people["lead"], "CUSTOMER.OWNER", organisation)
    for name in each_account(browser, team):
        if name not in {"manager", "owner", "lead", "staff"}:
            response = browser.send(here, account=outsider.uuid, role=role)
            assert response.status_code in {403, 404}, name
    browser.sign_in(world, team.people["lead"])
    browser.open(f"{here}?q=outsider")
    response = browser.send(here, account=outsider.uuid, role=role)
    assert "Outsider Lee is invited." in text(browser.follow(response))
    assert set(team.invited()) == {outsider.email}
    assert "outsider" not in team.roles()
    browser.open(here)
    for uuid in (outsider.uuid, team.people["member"].uuid):
        assert browser.send(here, account=uuid, role=role).status_code == 422


def test_pages_run_a_constant_number_of_statements(
    browser: Browser, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = team.world
    browser.sign_in(world, team.people["lead"])
    counts = []
    for _ in range(2):
        browser.open(f"{team.path}invite/")
        lines = "\n".join(world.person().email for _ in range(4))
        form = {"addresses": lines, "role": team.role("MEMBER").uuid, "action": "send"}
        assert "4 people invited" in text(browser.send(f"{team.path}invite/", **form))
        numbers = []
        for part in ("", "invitations/", "history/"):
            with record_statements(monkeypatch) as statements:
                assert browser.open(team.path + part).status_code == 200
            numbers.append(len(statements))
        counts.append(numbers)
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 9
