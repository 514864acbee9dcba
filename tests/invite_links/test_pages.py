"""Pages for invite links of a scope: create with all options, edit, close."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from collegium.invite_links import queries as invite_link_queries
from tests.support.browser import Browser, text
from tests.support.team import Scene, everybody
from tests.support.world import Place, World


def invite_links(world: World, place: Place) -> list[Any]:
    with world.database.read() as tx:
        filters = {"scope_id": place.id}
        return invite_link_queries.listing.page(tx, world.staff.actor, filters, (), 100, 0)


def test_only_managers_can_create_see_and_close_invite_links(
    browser: Browser, scene: Scene
) -> None:
    world, path = scene.world, scene.paths["project"]
    role = world.role("PROJECT.MEMBER").uuid
    browser.sign_in(world, scene.people["manager"])
    assert f"{path}link/" in browser.open(f"{path}links/").text
    browser.open(f"{path}link/")
    page = browser.follow(browser.send(f"{path}link/", role=role, custom_text="For all"))
    match = re.search(r"/open_invitation/(\w+)/", page.text)
    assert match is not None
    assert "<svg role=" in page.text
    assert "For all" in text(page)
    link = f"{path}links/{match[1]}/"

    def send(action_path: str, **form: str) -> int:
        browser.open("/account/tokens/")
        return browser.send(action_path, **form).status_code

    for name, _ in everybody(browser, scene):
        if name not in {"manager", "owner", "staff"}:
            assert send(f"{path}link/", role=role) in {403, 404}, name
            for action in ("close", "save"):
                assert send(link, action=action) in {403, 404}, name
            assert browser.open(link).status_code in {403, 404}, name
    browser.sign_in(world, scene.people["manager"])
    assert "svg" in browser.open(f"{path}links/").text
    elsewhere = f"{scene.paths['organisation']}links/{match[1]}/"
    assert send(elsewhere, action="close") in {403, 404}
    assert send(f"{path}links/x/", action="close") == 404
    assert send(link, action="sell") == 422
    page = browser.follow(browser.send(link, action="close"))
    assert "svg" not in page.text
    assert "closed" in text(page)
    assert send(link, action="close") == 409
    assert browser.open(link).status_code == 409


def form_with_all_options(world: World) -> dict[str, Any]:
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


def test_all_options_of_an_invite_link_are_stored_and_shown(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, f"{scene.paths['organisation']}link/"
    page = browser.sign_in(world, world.staff).open(path).text
    assert "in a new project for each member" in page
    assert 'name="is_public"' in page
    form = form_with_all_options(world)
    page = text(browser.follow(browser.send(path, **form, is_public="yes")))
    for part in (
        "with a project of their own",
        "approved automatically",
        "several requests",
        "Visible to everybody",
    ):
        assert part in page, part
    (row,) = invite_links(world, scene.organisation)
    assert row.affiliations == ["member@one.example", "member@two.example"]
    assert row.email_patterns == [r".*@example\.org"]
    assert row.template == "{username} at sea"
    assert row.custom_text == "For\nall"
    assert (row.auto_approve, row.auto_create_project, row.is_public) == (True, True, True)
    assert row.expires_at.date().isoformat() == form["expires"]
    link = f"/open_invitation/{row.uuid}/"
    assert "a project of your own" in text(browser.sign_in(world, world.person("ada")).open(link))
    assert "Welcome!" in text(browser.follow(browser.send(link)))


def test_form_shows_all_errors_and_keeps_the_input(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, f"{scene.paths['organisation']}link/"
    browser.sign_in(world, world.staff).open(path)
    valid = form_with_all_options(world)
    wrong = {
        "role": "",
        "template": "{password} at sea",
        "affiliations": "a" * 256,
        "email_patterns": "(\n)",
        "expires": "2001-01-01",
        "custom_text": "x" * 4001,
        "project_role": world.role("CUSTOMER.OWNER").uuid,
    }
    response = browser.send(path, **valid | wrong)
    assert response.status_code == 422
    for name in ("role", "affiliations", "expires", "custom_text", "project_role"):
        assert f'id="{name}-error"' in response.text, name
    response = browser.send(path, **valid | wrong | {"role": valid["role"]})
    for name, value in wrong.items():
        if name not in {"role", "project_role"}:
            assert f'id="{name}-error"' in response.text, name
            assert value in response.text, name
    assert "These placeholders are not available: password." in text(response)
    assert response.text.count("checked") == 3
    for change in (
        {"auto_create_project": "", "is_public": "yes"},
        {"auto_create_project": ""},
        {"expires": "soon"},
        {"expires": "2099-12-31"},
        {"role": world.role("CUSTOMER.OWNER").uuid, "is_public": "yes"},
    ):
        response = browser.send(path, **valid | change)
        assert response.status_code == 422, change
        assert re.search("There (is a|are some) problem", text(response)), change
    assert invite_links(world, scene.organisation) == []


def test_only_staff_can_create_public_invite_links(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, f"{scene.paths['project']}link/"
    page = browser.sign_in(world, scene.people["manager"]).open(path).text
    role = world.role("PROJECT.MEMBER").uuid
    # A manager of a project cannot create projects either.
    for name, statuses in (("is_public", {422}), ("auto_create_project", {403, 422})):
        assert f'name="{name}"' not in page
        assert browser.send(path, role=role, **{name: "yes"}).status_code in statuses
    assert invite_links(world, scene.project) == []


def test_editing_an_invite_link_keeps_its_role(browser: Browser, scene: Scene) -> None:
    world, owner = scene.world, scene.people["owner"]
    uuid = world.create_link(owner, "PROJECT.MEMBER", scene.project, custom_text="Before")
    world.ask(world.person("requester"), uuid)
    path = f"{scene.paths['project']}links/{uuid}/"
    page = browser.sign_in(world, scene.people["manager"]).open(path).text
    assert "Before" in page
    assert 'name="role"' not in page
    assert browser.send(path, action="save", email_patterns="(", expires="x").status_code == 422
    end = (datetime.now(UTC) + timedelta(days=2)).date()
    form = {
        "custom_text": "After",
        "email_patterns": r".*@x\.org",
        "auto_approve": "yes",
        "expires": end.isoformat(),
        "role": world.role("PROJECT.MANAGER").uuid,
    }
    page = text(browser.follow(browser.send(path, action="save", **form)))
    assert "The invite link is saved" in page
    (row,) = invite_links(world, scene.project)
    assert (row.custom_text, row.role_name, row.auto_approve) == ("After", "PROJECT.MEMBER", True)
    assert row.email_patterns == [r".*@x\.org"]
    assert row.expires_at.date() == end
    audit_log = text(browser.open(f"{scene.paths['project']}history/?about=links"))
    assert "Manager Lee edited an invite link." in audit_log
    link = f"/open_invitation/{uuid}/"
    browser.sign_in(world, world.person("late")).open(link)
    assert "only for people of certain institutions" in text(browser.send(link))


def test_link_shows_what_an_identity_provider_must_state(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, f"{scene.paths['project']}link/"
    browser.sign_in(world, scene.people["manager"]).open(path)
    form = {"role": world.role("PROJECT.MEMBER").uuid, "auto_approve": "yes"}
    for wrong in ("eduperson_assurance", "a = ", f"{'a' * 256} = b", f"a = {'b' * 501}"):
        response = browser.send(path, **form, claims=wrong)
        assert response.status_code == 422, wrong
        assert 'id="claims-error"' in response.text
        assert wrong in response.text
    claims = "eduperson_assurance = https://a.example/high\r\nacr = 1\r\nacr = 2"
    shown = text(browser.follow(browser.send(path, **form, claims=claims)))
    assert "https://a.example/high" in shown.partition("an identity provider states")[2]
    (row,) = invite_links(world, scene.project)
    assert row.claims == {"eduperson_assurance": ["https://a.example/high"], "acr": ["1", "2"]}
    link = f"/open_invitation/{row.uuid}/"
    ada = Browser(browser._site).sign_in(world, world.person("ada"))
    assert "of whom an identity provider states" in text(ada.open(link))
    refused = ada.send(link)
    assert (refused.status_code, "Please sign in with a provider" in text(refused)) == (422, True)
    # Who asks for less answers for the link from then on, and nothing else changes it.
    edit = f"{scene.paths['project']}links/{row.uuid}/"
    browser.sign_in(world, scene.people["owner"])
    assert "acr = 2" in text(browser.open(edit))
    stays = {"action": "save", "auto_approve": "yes", "claims": claims}
    browser.send(edit, **stays, custom_text="Hello")
    (row,) = invite_links(world, scene.project)
    assert (row.sponsor_id, len(row.claims)) == (scene.people["manager"].id, 2)
    browser.open(edit)
    browser.send(edit, **stays | {"claims": ""})
    (row,) = invite_links(world, scene.project)
    assert (row.sponsor_id, row.claims) == (scene.people["owner"].id, {})
    ada.open(link)
    assert "Welcome!" in text(ada.follow(ada.send(link)))
