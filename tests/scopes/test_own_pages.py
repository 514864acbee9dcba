"""The page of the own organisations, projects and groups, and the creation of a group."""

from __future__ import annotations

import pytest

from tests.join_requests.test_pages import create_group
from tests.support.browser import Browser, text
from tests.support.site import Site, record_statements
from tests.support.team import Scene, everybody

PATH = "/teams/"


def test_scopes_page_shows_the_scopes_of_the_api(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world = scene.world
    group_path = f"/group/{create_group(world, scene.people['member'], 'Night Watch')}/team/"
    for name, person in everybody(browser, scene):
        page = browser.open(PATH)
        assert page.status_code == 200
        for plural, (scope, path) in zip(("customers", "projects"), scene.places, strict=True):
            listed = {row["uuid"] for row in site.get(f"/api/{plural}/", person).json()}
            assert (f'href="{path}"' in page.text) == (scope.uuid in listed), (name, plural)
        is_shown = group_path in page.text
        assert is_shown == (browser.open(group_path).status_code == 200), name
        assert is_shown == (name in {"member", "support", "staff"}), name
    browser.sign_in(world, scene.people["member"])
    page_text = text(browser.open(PATH))
    assert "Group lead" in page_text
    assert "Project of Initech Project member" in page_text
    assert browser.cookies
    browser.cookies.clear()
    assert browser.open(PATH).headers["location"].startswith("/sign_in/")


def test_scopes_are_searched_and_paged_in_a_constant_number_of_statements(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, owner = scene.world, scene.people["owner"]
    browser.sign_in(world, owner)
    with record_statements(monkeypatch) as few:
        browser.open(PATH)
    for number in range(26):
        world.give_role(
            owner, "PROJECT.MEMBER", world.project(scene.organisation, f"Brook {number}")
        )
    with record_statements(monkeypatch) as many:
        assert "Page 1 of 2" in text(browser.open(PATH))
    assert len(few) == len(many) <= 5
    page_text = text(browser.open(f"{PATH}?q=ook+2&kind=project"))
    assert "Brook 2" in page_text
    assert "Atlas" not in page_text
    assert "Atlas" not in text(browser.open(f"{PATH}?kind=organisation"))
    assert "Nothing matches your search" in text(browser.open(f"{PATH}?q=100%25"))
    assert browser.open(f"{PATH}?kind=nonsense&page=9&q=%00").status_code == 200


def test_creator_of_a_group_becomes_its_lead(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["former"])
    empty = "You are not a member of an organisation, project or group yet"
    assert empty in text(browser.open(PATH))
    page_text = text(browser.follow(browser.send(PATH, name="  Night Watch ")))
    assert "The group Night Watch is created" in page_text
    assert "Group lead" in page_text
    browser.open(PATH)
    for name in ("", "night  watch", "x" * 151, "a\x00b"):
        response = browser.send(PATH, name=name)
        assert response.status_code == 422, name
        assert "There is a problem" in text(response)
