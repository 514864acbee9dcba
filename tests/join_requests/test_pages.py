"""Asking to be let in, and deciding on who asks."""

from __future__ import annotations

from typing import Any

import pytest

from collegium.access import queries as access_queries
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from tests.support.browser import Browser, text
from tests.support.site import counted_statements
from tests.support.world import Person, Place, World


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation("Initech", owner=owner), "Atlas")


def opened(world: World, who: Person, place: Place, role: str, **details: Any) -> str:
    project_role = details.pop("project_role", None)
    with world.database.write() as tx:
        reached = access_queries.get_visible(tx, who.actor, place.kind, place.uuid)
        found: Any = role_queries.named(tx, role, None)
        other: Any = project_role and role_queries.named(tx, project_role, None)
        return invite_link_actions.create(
            tx, who.actor, world.settings, reached, found, other, details
        )


def group(world: World, lead: Person, name: str = "Night Watch") -> int:
    with world.database.write() as tx:
        return group_actions.create(tx, lead.actor, name)


def ask(world: World, who: Person, uuid: str, message: str = "") -> str:
    with world.database.write() as tx:
        return str(
            join_request_actions.submit(tx, who.actor, world.settings, uuid, message).request.uuid
        )


def test_somebody_asks_sees_how_it_stands_and_takes_it_back(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    here = f"/open_invitation/{opened(world, owner, project, 'PROJECT.MEMBER')}/"
    browser.sign_in(world, world.person("ada"))
    seen = text(browser.open(here))
    assert "project Atlas of Initech as Project member" in seen
    assert "managers of the project and the owners of its organisation decide" in seen
    assert owner.email not in seen
    answer = browser.send(here, message="May I?")
    seen = text(browser.follow(answer))
    assert "Your request was sent" in seen
    assert "May I?" in seen
    assert browser.send(here, message="Please?").status_code == 422
    assert "pending" in text(browser.open("/account/"))
    page = browser.open(here)
    withdraw = page.text.split('action="')[2].split('"')[0]
    assert withdraw.startswith("/account/requests/")
    back = browser.send(withdraw, next=here)
    assert back.headers["location"] == here
    assert "withdrawn" in text(browser.follow(back))
    assert browser.send(here).status_code == 303


def test_a_link_that_lets_in_by_itself_says_so(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    here = f"/open_invitation/{opened(world, owner, project, 'PROJECT.MEMBER', auto_approve=True)}/"
    browser.sign_in(world, world.person("ada"))
    assert "is approved automatically" in text(browser.open(here))
    assert "Welcome! You are now Project member" in text(browser.follow(browser.send(here)))


def test_a_closed_link_lets_nobody_ask(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = opened(world, owner, project, "PROJECT.MEMBER")
    with world.database.write() as tx:
        invite_link_actions.cancel(tx, owner.actor, uuid)
    browser.sign_in(world, world.person("ada"))
    page = browser.open(f"/open_invitation/{uuid}/")
    assert "This invite link is no longer valid" in text(page)
    assert browser.send(f"/open_invitation/{uuid}/").status_code == 422


def test_a_link_for_some_turns_others_away(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = opened(world, owner, project, "PROJECT.MEMBER", email_patterns=[".*@elsewhere.org"])
    here = f"/open_invitation/{uuid}/"
    browser.sign_in(world, world.person("ada"))
    browser.open(here)
    answer = browser.send(here)
    assert answer.status_code == 422
    assert "of certain institutions" in text(answer)
    browser.sign_in(world, world.person("bob", email="bob@elsewhere.org"))
    browser.open(here)
    assert browser.send(here).status_code == 303


def test_a_visitor_sees_public_links_alone_and_cannot_tell_others_from_none(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    hidden = opened(world, owner, project, "PROJECT.MEMBER")
    organisation = world.organisation("Public Works")
    public = opened(
        world,
        world.staff,
        organisation,
        "PROJECT.ADMIN",
        is_public=True,
        auto_create_project=True,
    )
    for uuid in (hidden, "0" * 32):
        answer = browser.call("GET", f"/open_invitation/{uuid}/")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/sign_in/?next=/open_invitation/{uuid}/"
    seen = text(browser.open(f"/open_invitation/{public}/"))
    assert "you can ask for a project of your own" in seen
    assert "Sign in to ask" in seen


def test_a_group_is_asked_and_its_managers_decide(
    browser: Browser, other: Browser, world: World, owner: Person
) -> None:
    number = group(world, owner)
    here = f"/group/{number}/"
    browser.sign_in(world, world.person("ada"))
    assert owner.email not in browser.open(here).text
    assert "May I?" in text(browser.follow(browser.send(here, message="May I?")))
    other.sign_in(world, owner)
    page = other.open("/requests/")
    assert "Ada Lee" in text(page)
    box = page.text.split('name="request" value="')[1].split('"')[0]
    assert box.startswith("group ")
    done = other.send("/requests/", request=box, action="approve", comment="Yes.")
    assert "Approved." in text(done)
    assert "You have been a member of this group" in text(browser.open(here))
    assert "Yes." in text(browser.open("/account/"))
    assert browser.open("/group/999999/").status_code == 404
    assert browser.open("/group/x/").status_code == 404


def _boxes(page: Any) -> list[str]:
    return [part.split('"')[0] for part in page.text.split('name="request" value="')[1:]]


def test_several_are_decided_at_once_and_each_is_told(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuid = opened(world, owner, project, "PROJECT.MEMBER")
    people = [world.person(name) for name in ("ada", "bob", "cyd")]
    for person in people:
        ask(world, person, uuid)
    browser.sign_in(world, owner)
    boxes = _boxes(browser.open("/requests/"))
    assert len(boxes) == 3
    assert browser.send("/requests/", action="approve").status_code == 422
    with world.database.write() as tx:
        join_request_actions.cancel(tx, people[0].actor, boxes[0].split()[1])
    done = browser.send(
        "/requests/", request=[*boxes, "tree " + "0" * 32, "nonsense"], action="approve"
    )
    seen = text(done)
    assert seen.count("Approved.") == 2
    refused = "This request was already decided or withdrawn"
    assert f"Ada Lee, Project member in the project Atlas of Initech : {refused}" in seen
    assert "2 of 4 done" in seen
    assert sorted(row.username for row in world.grants_in(project)) == ["bob", "cyd"]
    decided = text(browser.open("/requests/?show=decided"))
    assert decided.count("approved by Olga Lee") == 2


def test_groups_and_projects_are_decided_together_with_one_comment(
    browser: Browser, other: Browser, world: World, owner: Person, project: Place
) -> None:
    ada, number = world.person("ada"), group(world, owner)
    ask(world, ada, opened(world, owner, project, "PROJECT.MEMBER"))
    with world.database.write() as tx:
        group_actions.join(tx, ada.actor, number)
    browser.sign_in(world, owner)
    boxes = _boxes(browser.open("/requests/"))
    assert {box.split()[0] for box in boxes} == {"tree", "group"}
    done = text(browser.send("/requests/", request=boxes, action="approve", comment="Welcome!"))
    assert done.count("Approved.") == 2
    other.sign_in(world, ada)
    assert text(other.open("/account/")).count("Welcome!") == 2


def test_a_rejection_with_a_word_reaches_who_asked(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    ada = world.person("ada")
    ask(world, ada, opened(world, owner, project, "PROJECT.MEMBER"))
    browser.sign_in(world, owner)
    (box,) = _boxes(browser.open("/requests/"))
    browser.send("/requests/", request=box, action="reject", comment="Full <for> now")
    browser.sign_in(world, ada)
    page = browser.open("/account/")
    assert "rejected" in text(page)
    assert "Full &lt;for&gt; now" in page.text


def test_who_may_not_decide_sees_and_decides_nothing(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    asker, member = world.person("asker"), world.person("member")
    world.seat(member, "PROJECT.MEMBER", project)
    elsewhere = world.person("elsewhere")
    world.organisation("Hooli", owner=elsewhere)
    support = world.person("support", is_support=True)
    uuid = ask(world, asker, opened(world, owner, project, "PROJECT.MEMBER"))
    for person in (asker, member, elsewhere, support):
        browser.sign_in(world, person)
        page = browser.open("/requests/")
        assert "No pending join requests" in text(page), person.actor.username
        browser.open("/account/tokens/")
        done = browser.send("/requests/", request=f"tree {uuid}", action="approve")
        assert "No request was decided" in text(done), person.actor.username
        if person in {elsewhere, member}:
            assert "Asker" not in done.text or person is member
    assert [row.username for row in world.grants_in(project)] == ["member"]
    for person in (owner, world.staff):
        browser.sign_in(world, person)
        assert len(_boxes(browser.open("/requests/"))) == 1


def test_the_inbox_asks_as_many_questions_for_many_as_for_one(
    browser: Browser, world: World, owner: Person, project: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = opened(world, owner, project, "PROJECT.MEMBER")
    browser.sign_in(world, owner)
    counts = []
    for many in (1, 6):
        for _ in range(many):
            ask(world, world.person(), uuid)
        with counted_statements(monkeypatch) as seen:
            browser.open("/requests/")
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 4
    assert len(_boxes(browser.open("/requests/?page=99"))) == 7
    assert len(_boxes(browser.open("/requests/?page=-1"))) == 7
