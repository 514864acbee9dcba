"""The pages of one's own hooks."""

from __future__ import annotations

import pytest

from tests.hooks.scene import EMAIL, WEB, Scene
from tests.support.browser import Browser, text
from tests.support.remote import SECRET, says

HERE = "/account/hooks/"
pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def browser(scene: Scene) -> Browser:
    return Browser(scene.site).sign_in(scene.world, scene.owner)


def _submission(browser: Browser) -> str:
    assert browser.page is not None
    return browser.page.text.split('name="submission" value="')[1].split('"')[0]


def add(scene: Scene, browser: Browser, **values: object) -> None:
    browser.open(HERE)
    sent = {
        "kind": "web",
        "destination_url": scene.endpoint.url,
        "content_type": "json",
        "event_groups": ["invitations", "permissions"],
        "submission": _submission(browser),
        **values,
    }
    page = browser.follow(browser.send(HERE, **sent))
    assert "The hook is added." in text(page)


def test_person_adds_pauses_changes_and_removes_a_hook(scene: Scene, browser: Browser) -> None:
    assert "You have no hooks yet." in text(browser.open(HERE))
    add(scene, browser)
    (hook,) = scene.site.get(WEB, scene.owner).json()
    assert hook["event_groups"] == ["invitations", "permissions"]
    page = browser.open(HERE)
    assert "127.0.0.1 active none yet" in text(page)
    assert SECRET not in page.text
    here = f"{HERE}{hook['uuid']}/"
    assert "Nothing has happened yet" in text(browser.open(here))
    for action, said in (("pause", "The hook is paused."), ("activate", "The hook is active.")):
        assert said in text(browser.follow(browser.send(here, action=action)))
    sent = {
        "action": "save",
        "destination_url": scene.endpoint.url,
        "content_type": "form",
        "event_groups": "projects",
    }
    assert "The hook is changed." in text(browser.follow(browser.send(here, **sent)))
    (changed,) = scene.site.get(WEB, scene.owner).json()
    assert (changed["event_groups"], changed["content_type"]) == (["projects"], "form")
    assert "The hook is removed." in text(browser.follow(browser.send(here, action="remove")))
    assert scene.site.get(WEB, scene.owner).json() == []
    assert browser.open(here).status_code == 404


def test_e_mail_hook_goes_to_ones_own_address(scene: Scene, browser: Browser) -> None:
    add(scene, browser, kind="email", destination_url="")
    (hook,) = scene.site.get(EMAIL, scene.owner).json()
    assert hook["email"] == scene.owner.email
    scene.change_address(scene.owner, "new@example.org")
    assert "new@example.org" in text(browser.open(f"{HERE}{hook['uuid']}/"))
    assert scene.site.get(hook["url"], scene.owner).json()["email"] == "new@example.org"
    # Only staff may enter another one.
    staff = Browser(scene.site).sign_in(scene.world, scene.world.staff)
    add(scene, staff, kind="email", destination_url="", email="team@example.org")
    assert scene.site.get(f"{EMAIL}?email=team@example.org", scene.world.staff).json() != []


def test_page_shows_what_became_of_the_latest_deliveries(scene: Scene, browser: Browser) -> None:
    add(scene, browser)
    (hook,) = scene.site.get(WEB, scene.owner).json()
    for status in (204, 404, 503):
        scene.endpoint.reply = says({"detail": "of the answer"}, status)
        scene.invite(f"bob{status}@example.org")
        scene.run(seconds=10)
    page = browser.open(f"{HERE}{hook['uuid']}/")
    shown = text(page)
    for words in (
        "invitation created delivered",
        "invitation created not delivered",
        "invitation created waiting next attempt",
        "The answer was an error (404).",
        "The answer was an error (503).",
        "failing since",
    ):
        assert words in shown, words
    assert "of the answer" not in page.text
    german = browser.open(f"{HERE}{hook['uuid']}/", headers={"accept-language": "de"})
    assert "Die Antwort war ein Fehler (404)." in text(german)
    assert shown.index("(503)") < shown.index("(404)") < shown.index("204")


def test_faults_of_the_form_are_shown_at_their_fields(scene: Scene, browser: Browser) -> None:
    browser.open(HERE)
    for values, message in (
        ({"event_groups": []}, "Please choose at least one group of events."),
        (
            {"destination_url": "", "event_groups": []},
            "Please choose at least one group of events. Address of the program: Please fill",
        ),
        ({"destination_url": "http://example.org/"}, "begins with https"),
        ({"destination_url": "https://127.0.0.1/"}, "internal address"),
        ({"kind": "email", "email": scene.stranger.email}, "Only staff can enter the address"),
    ):
        sent = {
            "kind": "web",
            "destination_url": scene.endpoint.url,
            "content_type": "json",
            "event_groups": ["invitations"],
            "submission": _submission(browser),
            **values,
        }
        page = browser.send(HERE, **sent)
        assert page.status_code == 422, values
        assert message in text(page)
    assert scene.site.get("/api/hooks/", scene.owner).json() == []


def test_page_is_for_ones_own_hooks_alone(scene: Scene) -> None:
    hook = scene.add_web(scene.member, "projects")
    here = f"{HERE}{hook['uuid']}/"
    for person in (scene.stranger, scene.world.staff):
        browser = Browser(scene.site).sign_in(scene.world, person)
        browser.open(HERE)
        for response in (browser.send(here, action="remove"), browser.open(here)):
            assert response.status_code == 404
    assert scene.site.get(hook["url"], scene.member).json() == hook
