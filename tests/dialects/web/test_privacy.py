"""No page says more than the API would to the same person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dialects.web.browser import Browser
from tests.dialects.web.test_account import grant_of
from tests.dialects.web.test_asking import ask, group, opened
from tests.dialects.web.test_foundation import PAGES

if TYPE_CHECKING:
    from tests.site import Site
    from tests.world import Person, World


@pytest.fixture
def people(world: World) -> dict[str, Person]:
    names = ("secretowner", "secretmember", "secretasker", "stranger", "foreigner", "former")
    people = {name: world.person(name) for name in names}
    people["support"] = world.person("support", is_support=True)
    people["staff"] = world.staff
    return people


def test_outsiders_read_nothing_of_a_place_on_any_page(
    browser: Browser, world: World, people: dict[str, Person]
) -> None:
    owner, member = people["secretowner"], people["secretmember"]
    organisation = world.organisation("Secret Society", owner=owner)
    project = world.project(organisation, "Secret Engine")
    world.seat(member, "PROJECT.MEMBER", project)
    world.seat(people["former"], "PROJECT.MEMBER", project)
    world.unseat(people["former"], "PROJECT.MEMBER", project)
    world.organisation("Hooli", owner=people["foreigner"])
    link = opened(world, owner, project, "PROJECT.MEMBER")
    request = ask(world, people["secretasker"], link, "Secret word")
    world.invite(owner, "secret@example.org", "PROJECT.MEMBER", project)
    number = group(world, owner, "Open Group")
    grant = grant_of(world, member, project)
    paths = [path for path, method, _ in PAGES if method == "GET"]
    paths += [
        f"/account/leave/{grant}/",
        f"/group/{number}/",
        "/requests/?show=decided",
        f"/account/authorize/?session={request}",
    ]
    for name in ("stranger", "foreigner", "former", "support"):
        browser.cookies.clear()
        browser.sign_in(world, people[name])
        for path in paths:
            if name == "support" and (path == "/teams/" or path.startswith("/staff/")):
                continue  # what support reads there it reads through the API
            said = browser.open(path).text
            assert "ecret" not in said.replace("A stolen password", ""), (name, path)
    # What nobody may see is not a page that nobody has.
    browser.sign_in(world, owner)
    assert "Secret word" in browser.open("/requests/").text
    browser.sign_in(world, member)
    assert "Secret Engine" in browser.open("/account/").text


def test_outsiders_change_nothing_by_any_form(
    browser: Browser, world: World, people: dict[str, Person]
) -> None:
    owner, member, asker = (people[f"secret{one}"] for one in ("owner", "member", "asker"))
    project = world.project(world.organisation("Secret Society", owner=owner), "Secret Engine")
    world.seat(member, "PROJECT.MEMBER", project)
    request = ask(world, asker, opened(world, owner, project, "PROJECT.MEMBER"))
    grant = grant_of(world, member, project)
    for name in ("stranger", "foreigner", "former", "support"):
        browser.cookies.clear()
        browser.sign_in(world, people[name])
        browser.open("/account/tokens/")
        for path, data in (
            (f"/account/requests/{request}/withdraw/", {}),
            (f"/account/leave/{grant}/", {}),
            ("/requests/", {"deed": "approve", "request": f"tree {request}"}),
            ("/requests/", {"deed": "reject", "request": f"group {request}"}),
        ):
            answer = browser.call("POST", path, data={"csrf": browser.csrf, **data})
            assert answer.status_code in {404, 200}, (name, path)
            assert "Approved" not in answer.text
            assert "Rejected" not in answer.text
    assert [row.username for row in world.grants_in(project)] == ["secretmember"]
    browser.sign_in(world, asker)
    browser.open("/account/")
    assert browser.send(f"/account/requests/{request}/withdraw/").status_code == 303


def test_the_inbox_shows_no_request_that_the_api_hides(
    browser: Browser, site: Site, world: World, people: dict[str, Person]
) -> None:
    owner, foreigner = people["secretowner"], people["foreigner"]
    places = {
        owner: world.project(world.organisation("Secret Society", owner=owner)),
        foreigner: world.project(world.organisation("Hooli", owner=foreigner)),
    }
    for who, place in places.items():
        ask(world, people["secretasker"], opened(world, who, place, "PROJECT.MEMBER"))
    found = {}
    for name, person in people.items():
        browser.cookies.clear()
        browser.sign_in(world, person)
        shown = set(re.findall(r'value="tree (\w+)"', browser.open("/requests/").text))
        listed = site.get("/api/user-permission-requests/", person).json()
        assert shown <= {one["uuid"] for one in listed}, name
        found[name] = len(shown)
    assert found == dict.fromkeys(people, 0) | {"secretowner": 1, "foreigner": 1, "staff": 2}
