"""Pages: ask to join, withdraw, and decide on join requests."""

from __future__ import annotations

import httpx
import pytest

from collegium.access.rules import Permission, ScopeKind
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.projects import recovery
from tests.join_requests.test_api import custom_role
from tests.support.browser import Browser, text
from tests.support.site import record_statements
from tests.support.world import Person, Place, World

MEMBER = "PROJECT.MEMBER"


def create_group(world: World, lead: Person, name: str = "Night Watch") -> int:
    with world.database.write() as tx:
        return group_actions.create(tx, lead.actor, name)


def request_values(page: httpx.Response) -> list[str]:
    """Return the values of the check boxes of requests."""
    return [part.split('"')[0] for part in page.text.split('name="request" value="')[1:]]


def test_requester_can_ask_see_the_state_and_withdraw(
    browser: Browser, world: World, owner: Person, project: Place, ada: Person
) -> None:
    path = f"/open_invitation/{world.create_link(owner, MEMBER, project)}/"
    page = text(browser.sign_in(world, ada).open(path))
    assert "project Atlas of Initech as Project member" in page
    assert "managers of the project and the owners of its organisation decide" in page
    assert owner.email not in page
    page = text(browser.follow(browser.send(path, message="May I?")))
    assert "Your request was sent" in page
    assert "May I?" in page
    assert browser.send(path, message="Please?").status_code == 422
    assert "pending" in text(browser.open("/account/"))
    withdraw = browser.open(path).text.split('action="')[2].split('"')[0]
    assert withdraw.startswith("/account/requests/")
    response = browser.send(withdraw, next=path)
    assert response.headers["location"] == path
    assert "withdrawn" in text(browser.follow(response))
    assert browser.send(path).status_code == 303


def test_request_to_a_deleted_scope_is_shown_as_cancelled_not_as_withdrawn(
    browser: Browser, world: World, owner: Person, project: Place, ada: Person
) -> None:
    link = world.create_link(owner, MEMBER, project)
    page = f"/open_invitation/{link}/"
    group = create_group(world, owner)
    world.ask(ada, link)
    with world.database.write() as tx:
        group_actions.join(tx, ada.actor, group)
    with world.database.write() as tx:
        group_actions.delete(tx, owner.actor, group)
    world.delete(project)
    overview = text(browser.sign_in(world, ada).open("/account/"))
    assert "request cancelled The project was deleted." in overview
    assert "request cancelled The group was deleted." in overview
    assert "withdrawn" not in overview
    with world.database.write() as tx:
        recovery.recover(tx, owner.actor, world.settings, project.uuid, recovery.Wishes())
    restored = "The project was deleted, or moved to another organisation."
    assert f"request cancelled {restored}" in text(browser.open("/account/"))
    assert f"was cancelled. {restored}" in text(browser.open(page))
    # To those who decide, too; and staff may cancel a request of somebody else.
    request = world.ask(ada, world.create_link(owner, MEMBER, project))
    with world.database.write() as tx:
        join_request_actions.cancel(tx, world.staff.actor, request)
    overview = text(browser.open("/account/"))
    assert "request cancelled The staff of this service cancelled it." in overview
    decided = text(browser.sign_in(world, owner).open("/requests/?show=decided"))
    assert restored in decided
    assert "cancelled by " in decided
    assert "withdrawn" not in decided
    history = text(browser.open(f"/project/{project.uuid}/history/"))
    assert "cancelled the join request of ada." in history


def test_auto_approving_link_says_so(
    browser: Browser, world: World, owner: Person, project: Place, ada: Person
) -> None:
    path = f"/open_invitation/{world.create_link(owner, MEMBER, project, auto_approve=True)}/"
    assert "is approved automatically" in text(browser.sign_in(world, ada).open(path))
    assert "Welcome! You are now Project member" in text(browser.follow(browser.send(path)))


def test_closed_link_cannot_be_used(
    browser: Browser, world: World, owner: Person, project: Place, ada: Person
) -> None:
    uuid = world.create_link(owner, MEMBER, project)
    with world.database.write() as tx:
        invite_link_actions.cancel(tx, owner.actor, uuid)
    page = browser.sign_in(world, ada).open(f"/open_invitation/{uuid}/")
    assert "This invite link is no longer valid" in text(page)
    assert "This link is valid until" not in text(page)
    assert browser.send(f"/open_invitation/{uuid}/").status_code == 422


def test_restricted_link_refuses_other_accounts(
    browser: Browser, world: World, owner: Person, project: Place, ada: Person
) -> None:
    uuid = world.create_link(owner, MEMBER, project, email_patterns=[".*@elsewhere.org"])
    path = f"/open_invitation/{uuid}/"
    browser.sign_in(world, ada).open(path)
    response = browser.send(path)
    assert response.status_code == 422
    assert "of certain institutions" in text(response)
    browser.sign_in(world, world.person("bob", email="bob@elsewhere.org")).open(path)
    assert browser.send(path).status_code == 303


def test_visitor_sees_public_links_only(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    private = world.create_link(owner, MEMBER, project)
    organisation = world.organisation("Public Works")
    public = world.create_link(
        world.staff, "PROJECT.ADMIN", organisation, is_public=True, auto_create_project=True
    )
    # A private link and an unknown one have the same response.
    for uuid in (private, "0" * 32):
        response = browser.call("GET", f"/open_invitation/{uuid}/")
        assert response.status_code == 303
        assert response.headers["location"] == f"/sign_in/?next=/open_invitation/{uuid}/"
    page = text(browser.open(f"/open_invitation/{public}/"))
    assert "you can ask for a project of your own" in page
    assert "Sign in to ask" in page


def test_group_managers_decide_on_requests_to_the_group(
    browser: Browser, other: Browser, world: World, owner: Person, ada: Person
) -> None:
    path = f"/group/{create_group(world, owner)}/"
    assert owner.email not in browser.sign_in(world, ada).open(path).text
    assert "May I?" in text(browser.follow(browser.send(path, message="May I?")))
    page = other.sign_in(world, owner).open("/requests/")
    assert "Ada Lee" in text(page)
    (value,) = request_values(page)
    page = other.send("/requests/", request=value, action="approve", comment="Yes.")
    assert "Approved." in text(page)
    assert "You have been a member of this group" in text(browser.open(path))
    assert "Yes." in text(browser.open("/account/"))
    for unknown in ("/group/999999/", "/group/x/"):
        assert browser.open(unknown).status_code == 404


def test_several_requests_are_decided_at_once_with_a_result_each(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = world.create_link(owner, MEMBER, project)
    people = [world.person(name) for name in ("ada", "bob", "cyd")]
    for person in people:
        world.ask(person, uuid)
    values = request_values(browser.sign_in(world, owner).open("/requests/"))
    assert len(values) == 3
    assert browser.send("/requests/", action="approve").status_code == 422
    with world.database.write() as tx:
        join_request_actions.cancel(tx, people[0].actor, values[0])
    values += ["0" * 32, "nonsense"]
    page = text(browser.send("/requests/", request=values, action="approve"))
    assert page.count("Approved.") == 2
    refusal = "This request was already decided, withdrawn or cancelled"
    assert f"Ada Lee, Project member in the project Atlas of Initech : {refusal}" in page
    assert "2 of 4 done" in page
    assert sorted(row.username for row in world.grants_in(project)) == ["bob", "cyd"]
    decided = text(browser.open("/requests/?show=decided"))
    assert decided.count("approved by Olga Lee") == 2


def test_requests_to_groups_and_projects_are_decided_together(
    browser: Browser, other: Browser, world: World, owner: Person, project: Place, ada: Person
) -> None:
    number = create_group(world, owner)
    world.ask(ada, world.create_link(owner, MEMBER, project))
    with world.database.write() as tx:
        group_actions.join(tx, ada.actor, number)
    values = request_values(browser.sign_in(world, owner).open("/requests/"))
    assert len(values) == 2
    page = text(browser.send("/requests/", request=values, action="approve", comment="Welcome!"))
    assert page.count("Approved.") == 2
    assert text(other.sign_in(world, ada).open("/account/")).count("Welcome!") == 2


def test_approval_that_creates_a_project_needs_the_right_to_create_one(
    browser: Browser, world: World, organisation: Place, ada: Person
) -> None:
    role = custom_role(world, ScopeKind.ORGANISATION, Permission.ORGANISATION_GRANT)
    decider = world.person()
    world.give_role(decider, role, organisation)
    world.ask(ada, world.create_link(world.staff, MEMBER, organisation, auto_create_project=True))
    values = request_values(browser.sign_in(world, decider).open("/requests/"))
    page = text(browser.send("/requests/", request=values, action="approve"))
    assert "You do not have permission to do this" in page


def test_requester_sees_the_comment_of_a_rejection(
    browser: Browser, world: World, owner: Person, project: Place, ada: Person
) -> None:
    world.ask(ada, world.create_link(owner, MEMBER, project))
    (value,) = request_values(browser.sign_in(world, owner).open("/requests/"))
    browser.send("/requests/", request=value, action="reject", comment="Full <for> now")
    page = browser.sign_in(world, ada).open("/account/")
    assert "rejected" in text(page)
    assert "Full &lt;for&gt; now" in page.text


def test_callers_without_right_neither_see_nor_decide_requests(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    requester, member, foreign = (world.person(name) for name in ("requester", "member", "foreign"))
    world.give_role(member, MEMBER, project)
    world.organisation("Hooli", owner=foreign)
    support = world.person("support", is_support=True)
    uuid = world.ask(requester, world.create_link(owner, MEMBER, project))
    for person in (requester, member, foreign, support):
        page = browser.sign_in(world, person).open("/requests/")
        assert "No pending join requests" in text(page), person.actor.username
        browser.open("/account/tokens/")
        page = browser.send("/requests/", request=uuid, action="approve")
        assert "No request was decided" in text(page), person.actor.username
        if person is foreign:
            assert "Requester" not in page.text
    assert [row.username for row in world.grants_in(project)] == ["member"]
    for person in (owner, world.staff):
        page = browser.sign_in(world, person).open("/requests/")
        assert len(request_values(page)) == 1


def test_list_of_requests_takes_a_constant_number_of_statements(
    browser: Browser, world: World, owner: Person, project: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = world.create_link(owner, MEMBER, project)
    browser.sign_in(world, owner)
    counts = []
    for number in (1, 6):
        for _ in range(number):
            world.ask(world.person(), uuid)
        with record_statements(monkeypatch) as statements:
            browser.open("/requests/")
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 4
    for page in (99, -1):
        assert len(request_values(browser.open(f"/requests/?page={page}"))) == 7
