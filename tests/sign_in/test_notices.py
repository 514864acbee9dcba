"""Notices to the owner of an account about changed credentials: content and occasions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from pyotp.totp import TOTP

from collegium import staff_command
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.sign_in.passwords import actions as password_actions
from tests.sign_in.test_pages import HASHED, PASSWORD, enable_two_factor, reset_link, secret_on
from tests.support.browser import Browser
from tests.support.mails import mail_text, sent_mails
from tests.support.site import Site
from tests.support.world import Person, World

NEW = "a quiet harbour at night"
ADA_ADDRESS = {"X-Forwarded-For": "192.0.2.10"}
STAFF_ADDRESS = {"X-Forwarded-For": "198.51.100.7"}
FORGOTTEN = "/forgotten_password/"


class Setup:
    """Ada at one network address, a member of staff at another."""

    def __init__(self, site: Site, world: World, ada: Person) -> None:
        self.site = site
        self.world = world
        self.ada = ada

    def browser(self, person: Person, path: str) -> Browser:
        """Return a signed-in browser that has a page open."""
        browser = Browser(self.site).sign_in(self.world, person)
        browser.open(path)
        return browser

    def change_password(self) -> None:
        with self.world.database.write() as tx:
            password_actions.change(tx, self.ada.actor, HASHED)

    def ensure_staff(self, name: str, **options: Any) -> None:
        world, email = self.world, f"{name}@example.org"
        staff_command.ensure_staff(
            world.database, world.settings, world.vault, name, email, NEW, **options
        )

    def sent(self, kind: str = "") -> list[EmailMessage]:
        return sent_mails(self.world, kind)

    def notice(self, kind: str) -> list[str]:
        """Return the text and the HTML, without tags, of the only mail of a kind."""
        (mail,) = self.sent(kind)
        assert mail["To"] == self.ada.email
        contents = [re.sub(r"<[^>]+>", " ", mail_text(mail, kind)) for kind in ("plain", "html")]
        return [" ".join(content.split()) for content in contents]


def check(texts: list[str], *parts: str, by_staff: bool = False) -> None:
    """Check what a notice says, when and from where the change was made, or that staff made it."""
    for text in texts:
        for part in ("ada", f"{datetime.now(UTC):%B %Y}", "UTC", *parts):
            assert part in text, text
        assert ("Network address: 192.0.2.10" in text) is not by_staff, text
        assert ("By: the staff of this service" in text) is by_staff, text
        assert STAFF_ADDRESS["X-Forwarded-For"] not in text
        assert "Staff Lee" not in text


@pytest.fixture
def setup(site_with: Callable[..., Site], world: World, ada: Person) -> Setup:
    return Setup(site_with(trusted_proxies="127.0.0.1"), world, ada)


def test_owner_is_notified_of_a_changed_password(setup: Setup) -> None:
    path = "/account/password/"
    browser = setup.browser(setup.ada, path)
    data = {"current": PASSWORD, "password": NEW, "again": NEW}
    assert browser.send(path, **data | {"current": "wrong"}).status_code == 422
    assert setup.sent() == []
    assert browser.send(path, **data, options={"headers": ADA_ADDRESS}).status_code == 303
    check(setup.notice("password_changed"), FORGOTTEN, "If it was not you")


def test_owner_is_notified_of_a_password_set_by_link(setup: Setup) -> None:
    link = reset_link(setup.world, setup.ada)
    browser = Browser(setup.site)
    browser.open(link)
    options = {"headers": ADA_ADDRESS}
    assert browser.send(link, password="short", again="short", options=options).status_code == 422
    assert setup.sent() == []
    assert browser.send(link, password=NEW, again=NEW, options=options).status_code == 303
    check(setup.notice("password_changed"), FORGOTTEN)
    query = {"event_type": "user_password_updated"}
    (event,) = setup.site.get("/api/events/", setup.world.staff, params=query).json()
    assert event["context"]["ip_address"] == "192.0.2.10"


def test_notice_of_a_password_set_by_staff_hides_their_address(setup: Setup) -> None:
    path, body = f"/api/users/{setup.ada.uuid}/change_password/", {"new_password": NEW}
    response = setup.site.post(path, setup.world.staff, json=body, headers=STAFF_ADDRESS)
    assert response.status_code == 200
    check(setup.notice("password_changed"), FORGOTTEN, by_staff=True)


def test_owner_is_notified_of_a_password_set_by_the_operator(setup: Setup) -> None:
    setup.ensure_staff("ada", allow_promotion=True)
    for text in setup.notice("password_changed"):
        assert "By: the operator of this service" in text
        assert "network address" not in text


def test_new_account_gets_no_notice_of_its_first_password(setup: Setup) -> None:
    setup.ensure_staff("boss")
    setup.world.person("bob", password=HASHED)
    assert setup.sent() == []


def test_owner_is_notified_when_two_factor_is_enabled_and_disabled(setup: Setup) -> None:
    path, options = "/account/second_factor/", {"headers": ADA_ADDRESS}
    browser = setup.browser(setup.ada, path)
    secret = secret_on(browser.follow(browser.send(path, action="begin")))
    assert setup.sent() == []
    page = browser.send(path, action="confirm", code=TOTP(secret).now(), options=options)
    codes = re.findall(r'class="code">([\w-]+)<', page.text)
    check(setup.notice("second_factor_enabled"), FORGOTTEN)
    browser.open(path)
    assert browser.send(path, action="remove", code=codes[0], options=options).status_code == 303
    check(setup.notice("second_factor_disabled"), FORGOTTEN, path)


def test_notice_of_two_factor_disabled_by_staff_hides_their_address(setup: Setup) -> None:
    enable_two_factor(setup.world, setup.ada)
    setup.sent()
    path = f"/staff/accounts/{setup.ada.uuid}/"
    browser = setup.browser(setup.world.staff, path)
    response = browser.send(path, action="second_factor", options={"headers": STAFF_ADDRESS})
    assert response.status_code == 303
    check(setup.notice("second_factor_reset"), "/account/second_factor/", by_staff=True)


def test_notice_of_a_new_token_has_its_name_and_not_its_secret(setup: Setup) -> None:
    path = "/account/tokens/"
    browser = setup.browser(setup.ada, path)
    assert browser.send(path, name="").status_code == 422
    assert setup.sent() == []
    page = browser.send(path, name="nightly backup", options={"headers": ADA_ADDRESS})
    texts = setup.notice("token_created")
    check(texts, "nightly backup", path, FORGOTTEN)
    assert not any(secret_on(page) in text for text in texts)


def test_owner_is_notified_of_an_approved_program_and_not_of_a_denied_one(setup: Setup) -> None:
    path, headers = "/account/authorize/", {"X-Forwarded-For": "203.0.113.9"}
    for action in ("deny", "approve"):
        body = {"client_name": "the cluster"}
        device = setup.site.post("/api/auth/device/", json=body, headers=headers).json()
        uuid = device["session_id"].replace("-", "")
        browser = setup.browser(setup.ada, f"{path}?session={uuid}")
        data = {"action": action, "device": uuid, "same": "yes", "password": PASSWORD}
        assert browser.send(path, **data, options={"headers": ADA_ADDRESS}).status_code == 200
        if action == "deny":
            assert setup.sent() == []
    texts = setup.notice("token_created")
    check(texts, "A program that calls itself", "the cluster", "/account/tokens/")
    assert not any("203.0.113.9" in text for text in texts)
    poll = {"device_code": device["device_code"]}
    assert "token" in setup.site.post("/api/auth/device/token/", json=poll).json()
    assert setup.sent() == [], "one notice, at the approval"


def test_owner_is_notified_of_a_new_api_token_and_not_of_logins(setup: Setup) -> None:
    body = {"username": "ada", "email": "ada", "password": PASSWORD}
    for path in ("/api-auth/password/", "/api/auth/token/", "/api/token/"):
        assert setup.site.post(path, json=body).status_code == 200
    # The API token is a new one after signing out.
    assert setup.site.post("/api-auth/logout/", setup.ada).status_code == 204
    token = setup.site.post("/api-auth/password/", json=body).json()["token"]
    assert token != setup.ada.token
    assert setup.sent() == []
    path = f"/api/users/{setup.ada.uuid}/refresh_token/"
    assert setup.site.post(path, token, headers=ADA_ADDRESS).status_code == 200
    check(setup.notice("token_created"), "API token", "was replaced")
    assert setup.site.post(path, setup.world.staff, headers=STAFF_ADDRESS).status_code == 200
    check(setup.notice("token_created"), "API token", by_staff=True)


def test_rolled_back_change_sends_no_notice(setup: Setup) -> None:
    def fail() -> None:
        with setup.world.database.write() as tx:
            password_actions.change(tx, setup.ada.actor, HASHED)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert setup.sent() == []


def test_deleted_account_gets_no_notice(setup: Setup) -> None:
    setup.change_password()
    with setup.world.database.write() as tx:
        account_actions.delete(tx, setup.world.staff.actor, setup.ada.uuid)
    assert setup.sent() == []


def test_names_in_notices_are_escaped(setup: Setup) -> None:
    with setup.world.database.write() as tx:
        account_queries.change(tx, setup.ada.id, {"first_name": "<b>Eve</b>\nSubject: x"})
    setup.change_password()
    (mail,) = setup.sent()
    assert "<b>Eve" not in mail_text(mail, "html")


def test_owner_is_notified_that_staff_removed_the_password(setup: Setup) -> None:
    with setup.world.database.write() as tx:
        account_queries.change(tx, setup.ada.id, {"password": HASHED})
    path = f"/api/users/{setup.ada.uuid}/remove_password/"
    assert setup.site.post(path, setup.world.staff, headers=STAFF_ADDRESS).status_code == 200
    check(setup.notice("password_changed"), "has no password any more", by_staff=True)
