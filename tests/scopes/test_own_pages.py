"""The list of all teams that somebody has a hand in, and founding a group."""

from __future__ import annotations

import pytest

from tests.join_requests.test_pages import group
from tests.support.browser import Browser, text
from tests.support.site import Site, counted_statements
from tests.support.team import Scene, everybody

HERE = "/teams/"


def test_everybody_is_shown_the_teams_that_the_api_shows(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world = scene.world
    number = group(world, scene.people["member"], "Night Watch")
    for name, person in everybody(browser, scene):
        page = browser.open(HERE)
        assert page.status_code == 200
        for plural, place, path in (
            ("customers", scene.organisation, scene.paths["organisation"]),
            ("projects", scene.project, scene.paths["project"]),
        ):
            listed = {one["uuid"] for one in site.get(f"/api/{plural}/", person).json()}
            assert (f'href="{path}"' in page.text) == (place.uuid in listed), (name, plural)
        path = f"/group/{number}/team/"
        # That there is a group is no secret; its team is not for everybody.
        assert (path in page.text) == (browser.open(path).status_code == 200), name
        assert (path in page.text) == (name in {"member", "support", "staff"}), name
    browser.sign_in(world, scene.people["member"])
    said = text(browser.open(HERE))
    assert "Group lead" in said
    assert "Project of Initech Project member" in said
    assert browser.cookies
    browser.cookies.clear()
    assert browser.open(HERE).headers["location"].startswith("/sign_in/")


def test_teams_are_found_and_paged_at_one_price(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, owner = scene.world, scene.people["owner"]
    browser.sign_in(world, owner)
    with counted_statements(monkeypatch) as few:
        browser.open(HERE)
    for at in range(26):
        world.seat(owner, "PROJECT.MEMBER", world.project(scene.organisation, f"Brook {at}"))
    with counted_statements(monkeypatch) as many:
        assert "Page 1 of 2" in text(browser.open(HERE))
    assert len(few) == len(many) <= 5
    said = text(browser.open(f"{HERE}?q=ook+2&kind=project"))
    assert "Brook 2" in said
    assert "Atlas" not in said
    assert "Atlas" not in text(browser.open(f"{HERE}?kind=organisation"))
    assert "Nothing matches your search" in text(browser.open(f"{HERE}?q=100%25"))
    assert browser.open(f"{HERE}?kind=nonsense&page=9&q=%00").status_code == 200


def test_whoever_founds_a_group_leads_it(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["former"])
    assert "You are not a member of an organisation, project or group yet" in text(
        browser.open(HERE)
    )
    said = text(browser.follow(browser.send(HERE, name="  Night Watch ")))
    assert "The group Night Watch is created" in said
    assert "Group lead" in said
    browser.open(HERE)
    for name in ("", "night  watch", "x" * 151, "a\x00b"):
        answer = browser.send(HERE, name=name)
        assert answer.status_code == 422, name
        assert "There is a problem" in text(answer)
