"""A form shows an end as its day; saving what it shows changes nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from html import unescape

import pytest

from collegium.db.statements import Row
from collegium.invite_links import queries as invite_link_queries
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene

DAY = (datetime.now(UTC) + timedelta(days=4)).replace(hour=0, minute=0, second=0, microsecond=0)
ENDS = [
    DAY,
    DAY + timedelta(microseconds=1),
    DAY + timedelta(hours=12, minutes=34, seconds=56, microseconds=789),
    DAY + timedelta(hours=23, minutes=59, seconds=59),
    DAY + timedelta(days=1, microseconds=-1),
]
OFFSETS = ["+00:00", "+14:00", "-11:30"]


def fields(browser: Browser, button: str) -> dict[str, str]:
    """Read what a browser would send with a button of the page: what its form shows."""
    assert browser.page is not None
    (form,) = [
        one
        for one in re.findall(r"(?s)<form.*?</form>", browser.page.text)
        if f'value="{button}"' in one and "method=" in one
    ]
    found = {"action": button}
    for tag in re.findall(r"<input[^>]*>", form):
        named = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if named.get("type") != "checkbox" or " checked" in tag:
            found[named["name"]] = unescape(named.get("value", ""))
    for name, value in re.findall(r'(?s)<textarea[^>]*name="(\w+)"[^>]*>(.*?)</textarea>', form):
        found[name] = unescape(value)
    del found["csrf"]
    return found


def grant(scene: Scene) -> Row:
    (row,) = [one for one in scene.world.grants_in(scene.project) if one.username == "member"]
    return row


def link(scene: Scene, uuid: str) -> Row:
    with scene.world.database.read() as tx:
        row = invite_link_queries.get_by_uuid(tx, scene.people["owner"].actor, uuid)
    assert row is not None
    return row


def history(browser: Browser, scene: Scene) -> str:
    return text(browser.open(f"{scene.paths['project']}history/"))


@pytest.fixture
def here(scene: Scene, browser: Browser) -> str:
    browser.sign_in(scene.world, scene.people["owner"])
    return f"{scene.paths['project']}people/{grant(scene).uuid}/"


def give_end(scene: Scene, site: Site, end: str | None) -> None:
    body = {"user": scene.people["member"].uuid, "role": "PROJECT.MEMBER", "expiration_time": end}
    answer = site.post(f"{scene.project.path}update_user/", scene.people["owner"], json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("end", ENDS, ids=str)
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_end_of_a_role_stays_when_it_is_saved_as_shown(
    browser: Browser, scene: Scene, site: Site, here: str, end: datetime, offset: str
) -> None:
    zone = datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo
    give_end(scene, site, end.astimezone(zone).isoformat())
    before = history(browser, scene)
    browser.open(here)
    sent = fields(browser, "end")
    assert sent["until"] == end.date().isoformat()
    # The whole form, and the date alone.
    for given in (sent, {"action": "end", "until": sent["until"]}):
        assert "has not changed" in text(browser.follow(browser.send(here, **given)))
        assert grant(scene).valid_until == end
        browser.open(here)
    assert history(browser, scene) == before


def test_a_role_without_an_end_stays_so_when_it_is_saved_as_shown(
    browser: Browser, scene: Scene, here: str
) -> None:
    browser.open(here)
    sent = fields(browser, "end")
    assert sent["until"] == ""
    assert "has not changed" in text(browser.follow(browser.send(here, **sent)))
    assert grant(scene).valid_until is None


def test_saving_a_role_as_shown_undoes_nothing_that_was_changed_meanwhile(
    browser: Browser, scene: Scene, site: Site, here: str
) -> None:
    for shown, changed in (
        (ENDS[2], ENDS[2] + timedelta(days=3)),
        (None, ENDS[0]),
        (ENDS[1], None),
    ):
        give_end(scene, site, shown.isoformat() if shown else None)
        browser.open(here)
        sent = fields(browser, "end")
        give_end(scene, site, changed.isoformat() if changed else None)
        assert browser.send(here, **sent).status_code == 303
        assert grant(scene).valid_until == changed


def test_another_day_ends_a_role_with_that_day(
    browser: Browser, scene: Scene, site: Site, here: str
) -> None:
    give_end(scene, site, ENDS[0].isoformat())
    browser.open(here)
    other = (DAY + timedelta(days=1)).date()
    sent = fields(browser, "end") | {"until": other.isoformat()}
    assert "is saved" in text(browser.follow(browser.send(here, **sent)))
    assert grant(scene).valid_until == datetime.combine(other, time(23, 59, 59), UTC)
    browser.open(here)
    assert browser.send(here, **(fields(browser, "end") | {"until": ""})).status_code == 303
    assert grant(scene).valid_until is None


def test_the_end_of_a_role_is_shown_again_when_another_button_was_refused(
    browser: Browser, scene: Scene, site: Site, here: str
) -> None:
    give_end(scene, site, ENDS[0].isoformat())
    browser.open(here)
    page = browser.send(here, action="role", role="no role")
    assert page.status_code == 422
    sent = fields(browser, "end")
    assert sent["until"] == DAY.date().isoformat()
    assert "has not changed" in text(browser.follow(browser.send(here, **sent)))
    assert grant(scene).valid_until == ENDS[0]
    # Emptied, it is taken away.
    browser.open(here)
    browser.send(here, action="role", role="no role")
    assert browser.send(here, **(fields(browser, "end") | {"until": ""})).status_code == 303
    assert grant(scene).valid_until is None


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_the_end_of_a_link_stays_when_it_is_saved_as_shown(
    browser: Browser, scene: Scene, here: str, end: datetime
) -> None:
    uuid = scene.world.open(scene.people["owner"], "PROJECT.MEMBER", scene.project, expires_at=end)
    assert here
    path = f"{scene.paths['project']}links/{uuid}/"
    before = history(browser, scene)
    browser.open(path)
    sent = fields(browser, "save")
    assert sent["expires"] == end.date().isoformat()
    for given in (sent, {"action": "save", "expires": sent["expires"]}):
        assert browser.send(path, **given).status_code == 303
        assert link(scene, uuid).expires_at == end
        browser.open(path)
    assert history(browser, scene) == before
    # What is changed beside it leaves it alone, too.
    assert browser.send(path, **(sent | {"custom_text": "For all"})).status_code == 303
    assert (link(scene, uuid).expires_at, link(scene, uuid).custom_text) == (end, "For all")


def test_the_words_of_a_link_stay_when_they_are_saved_as_shown(
    browser: Browser, scene: Scene, site: Site, here: str
) -> None:
    body = {
        "scope": f"http://x{scene.project.path}",
        "role": scene.world.role("PROJECT.MEMBER").uuid,
        "custom_text": "Two\r\nlines",
        "user_email_patterns": [".*@a\\.example", "x\u2028y"],
    }
    made = site.post("/api/user-group-invitations/", scene.people["owner"], json=body)
    assert made.status_code == 201, made.text
    uuid = made.json()["uuid"]
    assert here
    path = f"{scene.paths['project']}links/{uuid}/"
    row, before = link(scene, uuid), history(browser, scene)
    browser.open(path)
    sent = fields(browser, "save")
    browser.follow(browser.send(path, **sent))
    assert link(scene, uuid) == row
    assert history(browser, scene) == before
    # What is changed is written, and nothing beside it.
    assert browser.send(path, **(sent | {"affiliations": "b@x.example"})).status_code == 303
    assert (link(scene, uuid).custom_text, link(scene, uuid).affiliations) == (
        "Two\r\nlines",
        ["b@x.example"],
    )
    assert browser.send(path, **(sent | {"custom_text": "One line"})).status_code == 303
    assert link(scene, uuid).custom_text == "One line"


def test_another_day_ends_a_link_with_that_day(browser: Browser, scene: Scene, here: str) -> None:
    uuid = scene.world.open(
        scene.people["owner"], "PROJECT.MEMBER", scene.project, expires_at=ENDS[0]
    )
    assert here
    path = f"{scene.paths['project']}links/{uuid}/"
    browser.open(path)
    other = (DAY + timedelta(days=1)).date()
    sent = fields(browser, "save") | {"expires": other.isoformat()}
    assert browser.send(path, **sent).status_code == 303
    assert link(scene, uuid).expires_at == datetime.combine(other, time(23, 59, 59), UTC)
