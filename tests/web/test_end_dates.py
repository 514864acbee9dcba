"""Forms show an end as a date. Saving a form as it is shown changes nothing."""

import re
from datetime import UTC, datetime, time, timedelta
from html import unescape
from typing import Any

import pytest

from collegium.invite_links import queries as invite_link_queries
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


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
    """Return the fields that a browser would send with a button of the page."""
    assert browser.page is not None
    (form,) = [
        html
        for html in re.findall(r"(?s)<form.*?</form>", browser.page.text)
        if f'value="{button}"' in html and "method=" in html
    ]
    values = {"action": button}
    for tag in re.findall(r"<input[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if attributes.get("type") != "checkbox" or " checked" in tag:
            values[attributes["name"]] = unescape(attributes.get("value", ""))
    for name, value in re.findall(r'(?s)<textarea[^>]*name="(\w+)"[^>]*>(.*?)</textarea>', form):
        values[name] = unescape(value)
    del values["csrf"]
    return values


def grant(scene: Scene) -> Any:
    (row,) = [row for row in scene.world.grants_in(scene.project) if row.username == "member"]
    return row


def link(scene: Scene, uuid: str) -> Any:
    with scene.world.database.read() as tx:
        row = invite_link_queries.get_by_uuid(tx, scene.people["owner"].actor, uuid)
    assert row is not None
    return row


def audit_log(browser: Browser, scene: Scene) -> str:
    return text(browser.open(f"{scene.paths['project']}history/"))


@pytest.fixture
def member_page(scene: Scene, browser: Browser) -> str:
    browser.sign_in(scene.world, scene.people["owner"])
    return f"{scene.paths['project']}people/{grant(scene).uuid}/"


def set_end(scene: Scene, site: Site, end: datetime | None) -> None:
    member = scene.people["member"].uuid
    body: dict[str, str | None] = {"user": member, "role": "PROJECT.MEMBER"}
    body["expiration_time"] = end.isoformat() if end else None
    response = site.post(f"{scene.project.path}update_user/", scene.people["owner"], json=body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("end", ENDS, ids=str)
@pytest.mark.parametrize("offset", OFFSETS)
def test_end_of_a_grant_stays_when_the_form_is_saved(
    browser: Browser, scene: Scene, site: Site, member_page: str, end: datetime, offset: str
) -> None:
    zone = datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo
    set_end(scene, site, end.astimezone(zone))
    before = audit_log(browser, scene)
    browser.open(member_page)
    form = fields(browser, "end")
    assert form["until"] == end.date().isoformat()
    for values in (form, {"action": "end", "until": form["until"]}):
        assert "has not changed" in text(browser.follow(browser.send(member_page, **values)))
        assert grant(scene).valid_until == end
        browser.open(member_page)
    assert audit_log(browser, scene) == before


def test_grant_without_end_stays_so_when_the_form_is_saved(
    browser: Browser, scene: Scene, member_page: str
) -> None:
    browser.open(member_page)
    form = fields(browser, "end")
    assert form["until"] == ""
    assert "has not changed" in text(browser.follow(browser.send(member_page, **form)))
    assert grant(scene).valid_until is None


def test_saved_form_keeps_an_end_that_was_changed_meanwhile(
    browser: Browser, scene: Scene, site: Site, member_page: str
) -> None:
    for shown, changed in (
        (ENDS[2], ENDS[2] + timedelta(days=3)),
        (None, ENDS[0]),
        (ENDS[1], None),
    ):
        set_end(scene, site, shown)
        browser.open(member_page)
        form = fields(browser, "end")
        set_end(scene, site, changed)
        assert browser.send(member_page, **form).status_code == 303
        assert grant(scene).valid_until == changed


def test_new_date_ends_a_grant_at_the_end_of_that_day(
    browser: Browser, scene: Scene, site: Site, member_page: str
) -> None:
    set_end(scene, site, ENDS[0])
    browser.open(member_page)
    date = (DAY + timedelta(days=1)).date()
    form = fields(browser, "end") | {"until": date.isoformat()}
    assert "is saved" in text(browser.follow(browser.send(member_page, **form)))
    assert grant(scene).valid_until == datetime.combine(date, time(23, 59, 59), UTC)
    browser.open(member_page)
    assert browser.send(member_page, **(fields(browser, "end") | {"until": ""})).status_code == 303
    assert grant(scene).valid_until is None


def test_end_of_a_grant_is_shown_again_after_a_refused_role(
    browser: Browser, scene: Scene, site: Site, member_page: str
) -> None:
    set_end(scene, site, ENDS[0])
    browser.open(member_page)
    page = browser.send(member_page, action="role", role="no role")
    assert page.status_code == 422
    form = fields(browser, "end")
    assert form["until"] == DAY.date().isoformat()
    assert "has not changed" in text(browser.follow(browser.send(member_page, **form)))
    assert grant(scene).valid_until == ENDS[0]
    # An empty date removes the end.
    browser.open(member_page)
    browser.send(member_page, action="role", role="no role")
    assert browser.send(member_page, **(fields(browser, "end") | {"until": ""})).status_code == 303
    assert grant(scene).valid_until is None


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_end_of_an_invite_link_stays_when_the_form_is_saved(
    browser: Browser, scene: Scene, member_page: str, end: datetime
) -> None:
    uuid = scene.world.create_link(
        scene.people["owner"], "PROJECT.MEMBER", scene.project, expires_at=end
    )
    path = f"{scene.paths['project']}links/{uuid}/"
    before = audit_log(browser, scene)
    browser.open(path)
    form = fields(browser, "save")
    assert form["expires"] == end.date().isoformat()
    for values in (form, {"action": "save", "expires": form["expires"]}):
        assert browser.send(path, **values).status_code == 303
        assert link(scene, uuid).expires_at == end
        browser.open(path)
    assert audit_log(browser, scene) == before
    # A change of another field keeps the end.
    assert browser.send(path, **(form | {"custom_text": "For all"})).status_code == 303
    assert (link(scene, uuid).expires_at, link(scene, uuid).custom_text) == (end, "For all")


def test_texts_of_an_invite_link_stay_when_the_form_is_saved(
    browser: Browser, scene: Scene, site: Site, member_page: str
) -> None:
    body = {
        "scope": f"http://x{scene.project.path}",
        "role": scene.world.role("PROJECT.MEMBER").uuid,
        "custom_text": "Two\r\nlines",
        "user_email_patterns": [".*@a\\.example", "x\u2028y"],
    }
    created = site.post("/api/user-group-invitations/", scene.people["owner"], json=body)
    assert created.status_code == 201, created.text
    uuid = created.json()["uuid"]
    path = f"{scene.paths['project']}links/{uuid}/"
    row, before = link(scene, uuid), audit_log(browser, scene)
    browser.open(path)
    form = fields(browser, "save")
    browser.follow(browser.send(path, **form))
    assert link(scene, uuid) == row
    assert audit_log(browser, scene) == before
    # A change of one field keeps the others.
    assert browser.send(path, **(form | {"affiliations": "b@x.example"})).status_code == 303
    row = link(scene, uuid)
    assert (row.custom_text, row.affiliations) == ("Two\r\nlines", ["b@x.example"])
    assert browser.send(path, **(form | {"custom_text": "One line"})).status_code == 303
    assert link(scene, uuid).custom_text == "One line"


def test_new_date_ends_an_invite_link_at_the_end_of_that_day(
    browser: Browser, scene: Scene, member_page: str
) -> None:
    owner = scene.people["owner"]
    uuid = scene.world.create_link(owner, "PROJECT.MEMBER", scene.project, expires_at=ENDS[0])
    path = f"{scene.paths['project']}links/{uuid}/"
    browser.open(path)
    date = (DAY + timedelta(days=1)).date()
    form = fields(browser, "save") | {"expires": date.isoformat()}
    assert browser.send(path, **form).status_code == 303
    assert link(scene, uuid).expires_at == datetime.combine(date, time(23, 59, 59), UTC)
