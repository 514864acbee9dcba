"""The team of a group, on the pages of every team: who sees and does what there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from collegium.db.statements import Row
from collegium.invitations import queries as invitation_queries
from collegium.memberships import queries as membership_queries
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.security.rate_limits.rules import PEOPLE_ACCOUNT
from tests.support.browser import Browser, text
from tests.support.site import counted_statements
from tests.support.world import Person, World

PARTS = ("", "invitations/", "history/", "invite/", "add/", "links/")
SEEN = {
    "outsider": "404 404 404 404 404 404",
    "former": "404 404 404 404 404 404",
    "member": "200 403 200 403 403 404",
    "manager": "200 200 200 200 200 404",
    "owner": "200 200 200 200 200 404",
    "lead": "200 200 200 200 200 404",
    "support": "200 200 200 403 403 404",
    "staff": "200 200 200 200 200 404",
}


class Scene(NamedTuple):
    """A group, and somebody of every kind to look at it."""

    world: World
    people: dict[str, Person]
    number: int

    @property
    def path(self) -> str:
        return f"/group/{self.number}/team/"

    def role(self, name: str) -> Row:
        with self.world.database.read() as tx:
            return role_queries.named(tx, f"GROUP.{name}", None, groups=True)

    def grant(self, name: str) -> Row:
        with self.world.database.read() as tx:
            return membership_queries.grant_in_scope(tx, self.people[name].id, self.number)

    def seat(self, name: str) -> str:
        return f"{self.path}people/{self.grant(name).uuid}/"

    def roles(self) -> dict[str, str]:
        with self.world.database.read() as tx:
            rows = group_queries.members(tx, [self.number])[self.number]
        return {row.username: row.role_name.removeprefix("GROUP.").lower() for row in rows}

    def invited(self) -> dict[str, str]:
        with self.world.database.read() as tx:
            wanted = {"scope_id": self.number}
            rows = invitation_queries.team.page(tx, self.world.staff.actor, wanted, (), 300, 0)
        return {row.email: row.role_name for row in rows}


@pytest.fixture
def scene(world: World) -> Scene:
    names = ("outsider", "member", "manager", "owner", "lead", "former")
    people = {name: world.person(name) for name in names}
    people["support"] = world.person("support", is_support=True)
    people["staff"] = world.staff
    lead = people["lead"]
    with world.database.write() as tx:
        number = group_actions.create(tx, lead.actor, "Night Watch")
        for name in ("member", "manager", "owner", "former"):
            of = "MEMBER" if name == "former" else name.upper()
            role: Row = role_queries.named(tx, f"GROUP.{of}", None, groups=True)
            membership_queries.grant(
                tx, f"{people[name].id:032x}", people[name].id, role.id, number, None, lead.id
            )
    with world.database.write() as tx:
        group_actions.leave(tx, people["former"].actor, number)
    return Scene(world, people, number)


def everybody(browser: Browser, scene: Scene) -> Iterator[str]:
    for name, person in scene.people.items():
        browser.cookies.clear()
        browser.sign_in(scene.world, person)
        browser.open("/account/tokens/")
        yield name


def test_each_page_opens_to_those_who_may_see_it(browser: Browser, scene: Scene) -> None:
    for name in everybody(browser, scene):
        found = [browser.open(scene.path + part).status_code for part in PARTS]
        assert " ".join(map(str, found)) == SEEN[name], name
        first = browser.open(scene.path)
        for part, status in zip(PARTS[1:], found[1:], strict=True):
            assert status == 200 or f'href="{scene.path}{part}"' not in first.text, (name, part)
        if found[0] == 200:
            said = text(first)
            assert all(f"{one}@example.org" in said for one in ("member", "manager", "lead"))
            assert "former@example.org" not in said.split("Signed in")[0]
    for path in (f"/group/{scene.number + 1}/team/", "/group/x/team/", f"/group/{'9' * 30}/team/"):
        assert browser.open(path).status_code == 404


def test_a_project_is_no_group(browser: Browser, scene: Scene) -> None:
    place = scene.world.project(scene.world.organisation("Initech"))
    browser.sign_in(scene.world, scene.world.staff)
    assert browser.open(f"/group/{place.id}/team/").status_code == 404


def test_roles_are_changed_as_the_rules_of_groups_have_it(browser: Browser, scene: Scene) -> None:
    manager, member = scene.role("MANAGER").uuid, scene.role("MEMBER").uuid
    here = scene.seat("member")
    for name in everybody(browser, scene):
        status = browser.send(here, action="role", role=manager).status_code
        assert (status == 303) == (name in {"owner", "lead", "staff"}), (name, status)
        if status == 303:
            browser.open("/account/tokens/")
            here = scene.seat("member")
            assert browser.send(here, action="role", role=member).status_code == 303, name
            here = scene.seat("member")
    assert scene.roles()["member"] == "member"
    # A manager sees plain members out, and nobody else.
    browser.sign_in(scene.world, scene.people["manager"])
    page = browser.open(scene.path).text
    assert here in page
    assert scene.seat("owner") not in page
    assert browser.open(scene.seat("owner")).status_code == 403
    browser.open("/account/tokens/")
    assert browser.send(scene.seat("owner"), action="remove").status_code == 403
    browser.open(here)
    assert browser.send(here, action="remove").status_code == 303
    assert set(scene.roles()) == {"manager", "owner", "lead"}


def test_the_last_owner_is_told_before(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["lead"])
    here = scene.seat("owner")
    browser.open(here)
    assert browser.send(here, action="remove").status_code == 303
    browser.sign_in(scene.world, scene.world.staff)
    page = browser.open(scene.seat("lead"))
    assert "You cannot remove this role or set an end date" in text(page)
    assert 'name="action"' not in page.text
    browser.open("/account/tokens/")
    for given in ({"action": "remove"}, {"action": "role", "role": scene.role("MEMBER").uuid}):
        sent = browser.send(scene.seat("lead"), **given)
        assert sent.status_code == 422
        assert "Make somebody else an owner first" in text(sent)
    # One owner's role for the other leaves somebody in charge.
    given = {"action": "role", "role": scene.role("OWNER").uuid}
    assert browser.send(scene.seat("lead"), **given).status_code == 303
    assert scene.roles()["lead"] == "owner"


def test_a_list_invites_accounts_and_tells_nobody_twice(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.path}invite/"
    for name in ("ann", "ben"):
        world.person(name)
    role = scene.role("MEMBER").uuid
    pasted = "ANN@example.org Ann\nben@example.org\nnobody@example.org\nmember@example.org\nbad"
    given = {"addresses": pasted, "role": role, "extra_text": "Come!"}
    for name in everybody(browser, scene):
        if SEEN[name].split()[3] != "200":
            assert browser.send(here, action="send", **given).status_code in {403, 404}, name
    assert scene.invited() == {}
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(here)
    # A manager brings in plain members alone.
    assert scene.role("MANAGER").uuid not in page.text
    assert browser.send(here, action="send", **given | {"role": scene.role("OWNER").uuid}).is_error
    said = text(browser.send(here, action="check", **given))
    for part in (
        "2 people can be invited",
        "Already a member of the group",
        "No account has this address",
    ):
        assert part in said, part
    assert "2 people invited" in text(browser.send(here, action="send", **given))
    assert set(scene.invited()) == {"ann@example.org", "ben@example.org"}
    # Also for another role: there is one a person.
    browser.sign_in(world, scene.people["lead"])
    browser.open(here)
    again = {"addresses": "ann@example.org", "role": scene.role("MANAGER").uuid}
    assert "Already invited" in text(browser.send(here, action="send", **again))
    assert scene.invited()["ann@example.org"] == "GROUP.MEMBER"


def test_checking_a_list_asks_the_same_for_one_and_for_many(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.sign_in(scene.world, scene.people["manager"])
    browser.open(f"{scene.path}invite/")
    role = scene.role("MEMBER").uuid
    counts = []
    # More would be refused unread: each of them tells who has an account.
    for number in (1, 50):
        lines = "\n".join(f"a{at}@example.org" for at in range(number))
        with counted_statements(monkeypatch) as seen:
            browser.send(f"{scene.path}invite/", action="check", addresses=lines, role=role)
        counts.append(len(seen))
    assert counts[0] == counts[1]


def test_nobody_finds_out_by_lists_who_has_an_account(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["lead"])
    browser.open(f"{scene.path}invite/")
    given = {
        "addresses": "nobody@example.org",
        "role": scene.role("MEMBER").uuid,
        "action": "check",
    }
    found = [
        browser.send(f"{scene.path}invite/", **given).status_code
        for _ in range(PEOPLE_ACCOUNT.allowed + 2)
    ]
    assert found[0] == 200
    assert found[-1] == 429


def test_an_invitation_is_called_back_revived_and_accepted(
    browser: Browser, other: Browser, scene: Scene
) -> None:
    world, here = scene.world, f"{scene.path}invitations/"
    ann = world.person("ann")
    browser.sign_in(world, scene.people["manager"])
    found = browser.open(f"{scene.path}add/?q=lead").text
    assert scene.people["lead"].uuid in found
    assert "ann@example.org" not in browser.open(f"{scene.path}add/?q=ann").text
    browser.open(f"{scene.path}invite/")
    given = {"addresses": ann.email, "role": scene.role("MEMBER").uuid}
    browser.send(f"{scene.path}invite/", action="send", **given)
    said = text(browser.open(here))
    for part in ("ann@example.org", "Group member", "pending", "scheduled"):
        assert part in said, part
    with world.database.read() as tx:
        (row,) = invitation_queries.to_address(tx, ann.actor)
    one = f"{here}{row.uuid}/"
    for name in everybody(browser, scene):
        if name not in {"manager", "owner", "lead", "staff"}:
            for action in ("send", "cancel"):
                assert browser.send(one, action=action).status_code in {403, 404}, name
                browser.open("/account/tokens/")
    browser.sign_in(world, scene.people["manager"])
    browser.open(here)
    assert "is cancelled" in text(browser.follow(browser.send(one, action="cancel")))
    assert world.invitation(row.uuid).state == "canceled"
    # One at a time: while another one is open, this one stays as it is.
    browser.open(f"{scene.path}invite/")
    browser.send(f"{scene.path}invite/", action="send", **given)
    with world.database.read() as tx:
        (second,) = invitation_queries.to_address(tx, ann.actor)
    browser.open(here)
    refused = browser.send(one, action="send")
    assert refused.status_code == 409
    assert "Already invited" in text(refused)
    browser.open(here)
    browser.send(f"{here}{second.uuid}/", action="cancel")
    browser.open(here)
    assert "is being sent again" in text(browser.follow(browser.send(one, action="send")))
    assert world.invitation(row.uuid).link_version == 2
    other.sign_in(world, ann)
    link = other.open("/account/").text.split('href="/invitation/')[1].split('"')[0]
    other.open(f"/invitation/{link}")
    assert other.send(f"/invitation/{link}").status_code == 303
    assert scene.roles()["ann"] == "member"
    told = text(browser.open(f"{scene.path}history/"))
    assert "Manager Lee invited ann@example.org." in told
    assert "Lead Lee created the group." in told
    # Whoever is in is not invited once more.
    browser.open(here)
    assert browser.send(f"{here}{second.uuid}/", action="send").status_code == 409


def test_somebody_one_knows_is_invited_and_not_just_put_in(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.path}add/"
    role = scene.role("MEMBER").uuid
    outsider = scene.people["outsider"]
    organisation = world.organisation("Initech", owner=outsider)
    for name in ("lead", "member"):
        world.seat(scene.people[name], "PROJECT.MEMBER", world.project(organisation))
    world.seat(scene.people["lead"], "CUSTOMER.OWNER", organisation)
    for name in everybody(browser, scene):
        if name not in {"manager", "owner", "lead", "staff"}:
            sent = browser.send(here, account=outsider.uuid, role=role)
            assert sent.status_code in {403, 404}, name
    browser.sign_in(world, scene.people["lead"])
    browser.open(f"{here}?q=outsider")
    said = text(browser.follow(browser.send(here, account=outsider.uuid, role=role)))
    assert "Outsider Lee is invited." in said
    assert set(scene.invited()) == {outsider.email}
    assert "outsider" not in scene.roles()
    browser.open(here)
    for uuid in (outsider.uuid, scene.people["member"].uuid):
        assert browser.send(here, account=uuid, role=role).status_code == 422


def test_a_list_takes_the_same_number_of_statements_however_long(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = scene.world
    browser.sign_in(world, scene.people["lead"])
    counts = []
    for _ in range(2):
        browser.open(f"{scene.path}invite/")
        lines = "\n".join(world.person().email for _ in range(4))
        given = {"addresses": lines, "role": scene.role("MEMBER").uuid}
        assert "4 people invited" in text(
            browser.send(f"{scene.path}invite/", action="send", **given)
        )
        seen = []
        for part in ("", "invitations/", "history/"):
            with counted_statements(monkeypatch) as ran:
                assert browser.open(scene.path + part).status_code == 200
            seen.append(len(ran))
        counts.append(seen)
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 9
