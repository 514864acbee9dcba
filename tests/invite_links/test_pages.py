"""Links to a team for many: made with all they can say, changed and closed by those in charge."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from collegium.db.statements import Row
from collegium.invite_links import queries as invite_link_queries
from tests.join_requests.test_pages import ask, opened
from tests.support.browser import Browser, text
from tests.support.team import Scene, everybody
from tests.support.world import Place, World


def links_of(world: World, place: Place) -> list[Row]:
    with world.database.read() as tx:
        wanted = {"scope": (place.kind.value, place.uuid)}
        return invite_link_queries.listing.page(tx, world.staff.actor, wanted, (), 100, 0)


def test_links_for_many_are_made_shown_and_closed(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, scene.paths["project"]
    role = world.role("PROJECT.MEMBER").uuid
    browser.sign_in(world, scene.people["manager"])
    assert f"{here}link/" in browser.open(f"{here}links/").text
    browser.open(f"{here}link/")
    page = browser.follow(browser.send(f"{here}link/", role=role, custom_text="For all"))
    found = re.search(r"/open_invitation/(\w+)/", page.text)
    assert found is not None
    assert "<svg role=" in page.text
    assert "For all" in text(page)
    one = f"{here}links/{found[1]}/"
    for name, _ in everybody(browser, scene):
        if name not in {"manager", "owner", "staff"}:
            assert browser.send(f"{here}link/", role=role).status_code in {403, 404}, name
            browser.open("/account/tokens/")
            for action in ("close", "save"):
                assert browser.send(one, action=action).status_code in {403, 404}, name
                browser.open("/account/tokens/")
            assert browser.open(one).status_code in {403, 404}, name
    browser.sign_in(world, scene.people["manager"])
    assert "svg" in browser.open(f"{here}links/").text
    elsewhere = f"{scene.paths['organisation']}links/{found[1]}/"
    assert browser.send(elsewhere, action="close").status_code in {403, 404}
    browser.open("/account/tokens/")
    assert browser.send(f"{here}links/x/", action="close").status_code == 404
    browser.open("/account/tokens/")
    assert browser.send(one, action="sell").status_code == 422
    page = browser.follow(browser.send(one, action="close"))
    assert "svg" not in page.text
    assert "closed" in text(page)
    browser.open("/account/tokens/")
    assert browser.send(one, action="close").status_code == 409
    assert browser.open(one).status_code == 409


def all_of_it(world: World) -> dict[str, Any]:
    end = (datetime.now(UTC) + timedelta(days=3)).date()
    return {
        "role": world.role("PROJECT.MEMBER").uuid,
        "auto_create_project": "yes",
        "auto_approve": "yes",
        "allow_multiple_requests": "yes",
        "template": "{username} at sea",
        "affiliations": "member@one.example\r\n\r\nmember@two.example\r\nmember@one.example",
        "email_patterns": r".*@example\.org",
        "custom_text": "For\r\nall",
        "expires": end.isoformat(),
    }


def test_a_link_says_whom_it_lets_in_how_and_until_when(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['organisation']}link/"
    browser.sign_in(world, world.staff)
    page = browser.open(here).text
    assert "in a new project for each member" in page
    assert 'name="is_public"' in page
    given = all_of_it(world)
    said = text(browser.follow(browser.send(here, **given, is_public="yes")))
    for part in (
        "with a project of their own",
        "approved automatically",
        "several requests",
        "Visible to everybody",
    ):
        assert part in said, part
    (row,) = links_of(world, scene.organisation)
    assert row.affiliations == ["member@one.example", "member@two.example"]
    assert row.email_patterns == [r".*@example\.org"]
    assert row.template == "{username} at sea"
    assert row.custom_text == "For\nall"
    assert (row.auto_approve, row.auto_create_project, row.is_public) == (True, True, True)
    assert row.expires_at.date().isoformat() == given["expires"]
    browser.sign_in(world, world.person("ada"))
    asked = browser.open(f"/open_invitation/{row.uuid}/")
    assert "a project of your own" in text(asked)
    assert "Welcome!" in text(browser.follow(browser.send(f"/open_invitation/{row.uuid}/")))


def test_every_error_of_a_link_is_said_at_once_and_nothing_typed_is_lost(
    browser: Browser, scene: Scene
) -> None:
    world, here = scene.world, f"{scene.paths['organisation']}link/"
    browser.sign_in(world, world.staff)
    browser.open(here)
    wrong = {
        "role": "",
        "template": "{password} at sea",
        "affiliations": "a" * 256,
        "email_patterns": "(\n)",
        "expires": "2001-01-01",
        "custom_text": "x" * 4001,
        "project_role": world.role("CUSTOMER.OWNER").uuid,
    }
    answer = browser.send(here, **all_of_it(world) | wrong)
    assert answer.status_code == 422
    for name in ("role", "affiliations", "expires", "custom_text", "project_role"):
        assert f'id="{name}-error"' in answer.text, name
    answer = browser.send(here, **all_of_it(world) | wrong | {"role": all_of_it(world)["role"]})
    for name, value in wrong.items():
        if name not in {"role", "project_role"}:
            assert f'id="{name}-error"' in answer.text, name
            assert value in answer.text, name
    assert "These placeholders are not available: password." in text(answer)
    assert answer.text.count("checked") == 3
    for change in (
        {"auto_create_project": "", "is_public": "yes"},
        {"auto_create_project": ""},
        {"expires": "soon"},
        {"expires": "2099-12-31"},
        {"role": world.role("CUSTOMER.OWNER").uuid, "is_public": "yes"},
    ):
        answer = browser.send(here, **all_of_it(world) | change)
        assert answer.status_code == 422, change
        assert re.search("There (is a|are some) problem", text(answer)), change
    assert links_of(world, scene.organisation) == []


def test_only_staff_show_a_link_to_everybody(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}link/"
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(here).text
    assert 'name="is_public"' not in page
    # A manager of a project makes no projects either.
    assert 'name="auto_create_project"' not in page
    given = {"role": world.role("PROJECT.MEMBER").uuid}
    assert browser.send(here, **given, is_public="yes").status_code == 422
    assert browser.send(here, **given, auto_create_project="yes").status_code in {403, 422}
    assert links_of(world, scene.project) == []


def test_a_link_is_changed_and_what_it_gives_stays(browser: Browser, scene: Scene) -> None:
    world, owner = scene.world, scene.people["owner"]
    uuid = opened(world, owner, scene.project, "PROJECT.MEMBER", custom_text="Before")
    asker = world.person("asker")
    ask(world, asker, uuid)
    here = f"{scene.paths['project']}links/{uuid}/"
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(here)
    assert "Before" in page.text
    assert 'name="role"' not in page.text
    assert browser.send(here, action="save", email_patterns="(", expires="x").status_code == 422
    end = (datetime.now(UTC) + timedelta(days=2)).date()
    given = {
        "custom_text": "After",
        "email_patterns": r".*@x\.org",
        "auto_approve": "yes",
        "expires": end.isoformat(),
        "role": world.role("PROJECT.MANAGER").uuid,
    }
    said = text(browser.follow(browser.send(here, action="save", **given)))
    assert "The invite link is saved" in said
    (row,) = links_of(world, scene.project)
    assert (row.custom_text, row.role_name, row.auto_approve) == ("After", "PROJECT.MEMBER", True)
    assert row.email_patterns == [r".*@x\.org"]
    assert row.expires_at.date() == end
    told = text(browser.open(f"{scene.paths['project']}history/?about=links"))
    assert "Manager Lee edited an invite link." in told
    browser.sign_in(world, world.person("late"))
    browser.open(f"/open_invitation/{uuid}/")
    answer = browser.send(f"/open_invitation/{uuid}/")
    assert "only for people of certain institutions" in text(answer)
