"""Whoever owns an account is told what became of its credentials: when, from where, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from pyotp.totp import TOTP

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.settings import Settings
from collegium.sign_in.passwords import actions as password_actions
from collegium.worker.worker import Worker
from tests.sign_in.test_pages import HASHED, PASSWORD, turned_on
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import Person, World
from tests.worker.scene import Recorder

NEW = "a quiet harbour at night"
HERS = {"X-Forwarded-For": "192.0.2.10"}
STAFFS = {"X-Forwarded-For": "198.51.100.7"}


class Scene:
    """Ada at one network address, a member of staff at another."""

    def __init__(self, site: Site, world: World) -> None:
        self.site = site
        self.world = world
        self.ada = world.person("ada", password=HASHED, first_name="Ada")

    def browser(self, person: Person) -> Browser:
        return Browser(self.site).sign_in(self.world, person)

    def sent(self) -> list[EmailMessage]:
        recorder = Recorder()
        Worker(self.world.database, self.world.settings, self.world.vault, recorder).once()
        return recorder.sent

    def notice(self, kind: str) -> tuple[str, str]:
        """The one mail of a kind: its text and its HTML as they are read."""
        (mail,) = (one for one in self.sent() if one["X-Collegium-Mail"] == kind)
        assert mail["To"] == self.ada.email
        return both(mail)


def both(mail: EmailMessage) -> tuple[str, str]:
    parts = []
    for subtype in ("plain", "html"):
        body = mail.get_body((subtype,))
        assert body is not None
        said = body.get_content()
        parts.append(" ".join(re.sub(r"<[^>]+>", " ", said).split()))
    return parts[0], parts[1]


def check(parts: tuple[str, str], *holds: str, by_staff: bool = False) -> None:
    """Look at both parts: what they hold, when it was, and from where, or not from where."""
    day = datetime.now(UTC)
    for said in parts:
        for part in ("ada", f"{day:%B %Y}", "UTC", *holds):
            assert part in said, said
        assert ("Network address: 192.0.2.10" in said) is not by_staff, said
        assert ("By: the staff of this service" in said) is by_staff, said
        assert STAFFS["X-Forwarded-For"] not in said
        assert "Staff Lee" not in said


@pytest.fixture
def scene(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> Scene:
    return Scene(make_site(make_settings(trusted_proxies="127.0.0.1")), world)


def test_a_changed_password_is_told(scene: Scene) -> None:
    browser = scene.browser(scene.ada)
    browser.open("/account/password/")
    given = {"current": PASSWORD, "password": NEW, "again": NEW}
    wrong = given | {"current": "wrong"}
    assert browser.send("/account/password/", **wrong).status_code == 422
    assert scene.sent() == []
    sent = browser.send("/account/password/", **given, options={"headers": HERS})
    assert sent.status_code == 303
    check(scene.notice("password_changed"), "/forgotten_password/", "If it was not you")


def test_a_password_that_was_set_by_a_link_is_told(scene: Scene) -> None:
    with scene.world.database.write() as tx:
        row = account_queries.with_password(tx, id=scene.ada.id)
        assert row is not None
        link = f"/{password_actions.RESET}/{password_actions.link(scene.world.vault, row, tx.now)}/"
    browser = Browser(scene.site)
    browser.open(link)
    headers = {"headers": HERS}
    assert browser.send(link, password="short", again="short", options=headers).status_code == 422
    assert scene.sent() == []
    assert browser.send(link, password=NEW, again=NEW, options=headers).status_code == 303
    check(scene.notice("password_changed"), "/forgotten_password/")
    query = {"event_type": "user_password_updated"}
    (event,) = scene.site.get("/api/events/", scene.world.staff, params=query).json()
    assert event["context"]["ip_address"] == "192.0.2.10"


def test_a_password_that_staff_set_is_told_without_where_staff_are(scene: Scene) -> None:
    path = f"/api/users/{scene.ada.uuid}/change_password/"
    answer = scene.site.post(path, scene.world.staff, json={"new_password": NEW}, headers=STAFFS)
    assert answer.status_code == 200
    check(scene.notice("password_changed"), "/forgotten_password/", by_staff=True)


def test_a_password_that_the_operator_set_is_told(scene: Scene) -> None:
    world = scene.world
    account_actions.ensure_staff(
        world.database,
        world.settings,
        world.vault,
        "ada",
        scene.ada.email,
        NEW,
        allow_promotion=True,
    )
    for said in scene.notice("password_changed"):
        assert "By: the operator of this service" in said
        assert "network address" not in said


def test_a_new_account_is_told_of_no_change(scene: Scene) -> None:
    world = scene.world
    account_actions.ensure_staff(
        world.database, world.settings, world.vault, "boss", "boss@example.org", NEW
    )
    world.person("bob", password=HASHED)
    assert scene.sent() == []


def test_a_factor_that_its_owner_turns_on_and_off_is_told(scene: Scene) -> None:
    here = "/account/second_factor/"
    browser = scene.browser(scene.ada)
    browser.open(here)
    page = browser.follow(browser.send(here, action="begin", password=PASSWORD))
    secret = re.search(r'class="secret">(\w+)<', page.text)
    assert secret
    assert scene.sent() == []
    headers = {"headers": HERS}
    code = TOTP(secret[1]).now()
    shown = browser.send(here, action="confirm", code=code, options=headers)
    codes = re.findall(r'class="code">([\w-]+)<', shown.text)
    check(scene.notice("second_factor_enabled"), "/forgotten_password/")
    browser.open(here)
    assert browser.send(here, action="remove", code=codes[0], options=headers).status_code == 303
    check(scene.notice("second_factor_disabled"), "/forgotten_password/", here)


def test_a_factor_that_staff_turn_off_is_told_without_where_staff_are(scene: Scene) -> None:
    turned_on(scene.world, scene.ada)
    scene.sent()
    path = f"/staff/accounts/{scene.ada.uuid}/"
    browser = scene.browser(scene.world.staff)
    browser.open(path)
    sent = browser.send(path, action="second_factor", options={"headers": STAFFS})
    assert sent.status_code == 303
    check(scene.notice("second_factor_reset"), "/account/second_factor/", by_staff=True)


def test_a_new_token_is_told_with_its_name(scene: Scene) -> None:
    here = "/account/tokens/"
    browser = scene.browser(scene.ada)
    browser.open(here)
    assert browser.send(here, name="").status_code == 422
    assert scene.sent() == []
    made = browser.send(here, name="nightly backup", options={"headers": HERS})
    secret = made.text.split('class="secret">')[1].split("<")[0]
    parts = scene.notice("token_created")
    check(parts, "nightly backup", "/account/tokens/", "/forgotten_password/")
    assert not any(secret in said for said in parts)


def test_a_program_that_was_let_in_is_told_with_its_name_and_one_turned_away_is_not(
    scene: Scene,
) -> None:
    here = "/account/authorize/"
    browser = scene.browser(scene.ada)
    for action in ("deny", "approve"):
        given = {"client_name": "the cluster"}
        program = {"X-Forwarded-For": "203.0.113.9"}
        begun = scene.site.post("/api/auth/device/", json=given, headers=program).json()
        uuid = begun["session_id"].replace("-", "")
        browser.open(f"{here}?session={uuid}")
        sent = {"action": action, "device": uuid, "same": "yes", "password": PASSWORD}
        assert browser.send(here, **sent, options={"headers": HERS}).status_code == 200
        if action == "deny":
            assert scene.sent() == []
    parts = scene.notice("token_created")
    check(parts, "A program that calls itself", "the cluster", "/account/tokens/")
    assert not any("203.0.113.9" in said for said in parts)
    poll = {"device_code": begun["device_code"]}
    assert "token" in scene.site.post("/api/auth/device/token/", json=poll).json()
    assert scene.sent() == [], "it was told when it was let in"


def test_a_new_api_token_is_told_and_logging_in_is_not(scene: Scene) -> None:
    site, ada = scene.site, scene.ada
    given = {"username": "ada", "password": PASSWORD}
    for path in ("/api-auth/password/", "/api/auth/token/", "/api/token/"):
        assert site.post(path, json=given | {"email": "ada"}).status_code == 200
    assert scene.sent() == []
    path = f"/api/users/{ada.uuid}/refresh_token/"
    assert site.post(path, ada, headers=HERS).status_code == 200
    check(scene.notice("token_created"), "API token", "was replaced")
    assert site.post(path, scene.world.staff, headers=STAFFS).status_code == 200
    check(scene.notice("token_created"), "API token", by_staff=True)


def test_nothing_is_told_where_nothing_was_done(scene: Scene) -> None:
    """The notice and what it tells are one transaction."""

    class _Undone(Exception):  # noqa: N818 - says what is the case
        pass

    def undone() -> Any:
        with scene.world.database.write() as tx:
            password_actions.change(tx, scene.ada.actor, HASHED)
            raise _Undone

    with pytest.raises(_Undone):
        undone()
    assert scene.sent() == []


def test_a_deleted_account_is_told_nothing_more(scene: Scene) -> None:
    with scene.world.database.write() as tx:
        password_actions.change(tx, scene.ada.actor, HASHED)
        account_actions.delete(tx, scene.world.staff.actor, scene.ada.uuid)
    assert scene.sent() == []


def test_names_cannot_write_a_notice(scene: Scene) -> None:
    with scene.world.database.write() as tx:
        account_queries.change(tx, scene.ada.id, {"first_name": "<b>Eve</b>\nSubject: x"})
        password_actions.change(tx, scene.ada.actor, HASHED)
    (mail,) = scene.sent()
    body = mail.get_body(("html",))
    assert body is not None
    assert "<b>Eve" not in body.get_content()
