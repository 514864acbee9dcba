"""Changes of an e-mail address on pages: confirmation by password, notice, cancelling."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from collegium import staff_command
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.security.crypto import hash_password
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import actions as two_factor_actions
from tests.accounts.test_email_change_api import (
    NEW,
    cancel,
    confirm,
    email_of,
    mailed_codes,
    request_change,
    requested_email,
)
from tests.sign_in.test_pages import HASHED, PASSWORD, enable_two_factor
from tests.support.browser import Browser, text
from tests.support.mails import mail_text, sent_mails
from tests.support.site import Site
from tests.support.world import Person, World

PATH = "/account/address/"
ME = "/api/users/me/"
NEW_PASSWORD = "a quiet harbour at night"
NEW_HASH = hash_password(NEW_PASSWORD)


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada", password=HASHED)


@pytest.fixture
def ada_browser(browser: Browser, world: World, ada: Person) -> Browser:
    """Return Ada's browser at the page that changes the address."""
    browser.sign_in(world, ada).open(PATH)
    return browser


class Tokens(NamedTuple):
    """The tokens of a person's programs."""

    personal: str
    access: str
    refresh: str
    device_code: str


def delegate(world: World, person: Person) -> Tokens:
    """Create tokens for programs, and approve a device sign-in."""
    with world.database.write() as tx:
        personal, _ = token_actions.issue_personal(tx, world.vault, person.actor, "a program")
        pair = token_actions.log_in_with_refresh(tx, world.vault, person.actor, "password")
        device = device_actions.begin(tx, world.vault, "a program")
        device_actions.approve(tx, person.actor, device.uuid)
    return Tokens(personal, pair.access, pair.refresh, device.device_code)


def poll(site: Site, tokens: Tokens) -> dict[str, str]:
    body = {"device_code": tokens.device_code}
    return dict(site.post("/api/auth/device/token/", json=body).json())


def test_page_changes_the_address_with_the_password_and_cancels_without(
    ada_browser: Browser, world: World, ada: Person
) -> None:
    assert 'name="password"' in ada_browser.open(PATH).text
    for proof in ({}, {"password": ""}, {"password": "wrong"}, {"code": "000000"}):
        assert ada_browser.send(PATH, email=NEW, **proof).status_code == 422, proof
    assert ada_browser.send(PATH, email="nonsense", password=PASSWORD).status_code == 422
    assert requested_email(world, ada) is None
    assert ada_browser.send(PATH, email=NEW, password=PASSWORD).status_code == 303
    assert requested_email(world, ada) == NEW
    assert f"To use {NEW} , open the link" in text(ada_browser.open(PATH))
    for _ in range(2):
        assert NEW not in ada_browser.follow(ada_browser.send(PATH, cancel="yes")).text
    assert requested_email(world, ada) is None


def test_page_changes_the_address_with_a_code_where_two_factor_is_on(
    ada_browser: Browser, world: World, ada: Person
) -> None:
    authenticator, codes = enable_two_factor(world, ada)
    ada_browser.sign_in(world, ada)
    page = ada_browser.open(PATH).text
    assert 'name="code"' in page
    assert 'name="password"' not in page
    for proof in ({}, {"password": PASSWORD}, {"code": "000000"}):
        assert ada_browser.send(PATH, email=NEW, **proof).status_code == 422, proof
    assert requested_email(world, ada) is None
    code = authenticator.now()
    assert ada_browser.send(PATH, email=NEW, code=code).status_code == 303
    assert requested_email(world, ada) == NEW
    # Each code works once.
    for again, status in ((code, 422), (codes[0], 303)):
        assert ada_browser.send(PATH, email="two@example.org", code=again).status_code == status
    assert requested_email(world, ada) == "two@example.org"


def test_wrong_passwords_are_counted_as_failed_logins(
    ada_browser: Browser, world: World, ada: Person
) -> None:
    for _ in range(4):
        assert ada_browser.send(PATH, email=NEW, password="wrong").status_code == 422
    response = ada_browser.send(PATH, email=NEW, password=PASSWORD)
    assert response.status_code == 422
    assert "try again in ten minutes" in text(response)
    assert requested_email(world, ada) is None


def test_delegated_tokens_cannot_request_but_can_cancel_an_email_change(
    site: Site, world: World, ada: Person
) -> None:
    tokens = delegate(world, ada)
    stranger = world.person()
    for token in (tokens.personal, tokens.access, poll(site, tokens)["token"]):
        assert site.get(ME, token).status_code == 200
        assert request_change(site, ada, token).status_code == 403
        assert request_change(site, stranger, token).status_code == 404  # rights come first
    assert request_change(site, ada, delegate(world, world.staff).personal).status_code == 403
    assert requested_email(world, ada) is None
    assert {mail["X-Collegium-Mail"] for mail in sent_mails(world)} == {"token_created"}
    for caller in (ada, world.staff):
        assert request_change(site, ada, caller).status_code == 200
        assert requested_email(world, ada) == NEW
    assert cancel(site, ada, tokens.personal).status_code == 200
    assert requested_email(world, ada) is None


def test_old_address_is_notified_of_the_request(
    ada_browser: Browser, site: Site, world: World, ada: Person
) -> None:
    def notice() -> str:
        mail = sent_mails(world, "change_email_notice")[-1]
        assert mail["To"] == ada.email
        return mail_text(mail)

    ada_browser.send(PATH, email=NEW, password=PASSWORD)
    content = notice()
    for part in (NEW, "UTC", "Network address: 127.0.0.1", "/forgotten_password/"):
        assert part in content
    request_change(site, ada, world.staff)
    content = notice()
    assert "By: the staff of this service" in content
    assert "network address" not in content


@pytest.mark.parametrize("kind", ["user_email_change", "user_email_change_cancel"])
def test_opening_a_mailed_link_changes_nothing_until_its_form_is_sent(
    browser: Browser, site: Site, world: World, ada: Person, kind: str
) -> None:
    request_change(site, ada)
    confirming, cancelling = mailed_codes(world)
    is_confirming = kind == "user_email_change"
    link = f"/{kind}/{confirming if is_confirming else cancelling}/"
    if is_confirming:
        asking = text(browser.sign_in(world, ada).open("/account/address/"))
        assert "changes when you confirm it on the page of the link" in asking
    for method in ("GET", "HEAD", "GET"):
        assert browser.call(method, link).status_code == 200
    assert browser.call("POST", link).status_code == 403
    page = text(browser.open(link))
    if is_confirming:
        assert f"use {NEW} for your account ada ." in page
    else:
        assert not any(value in page for value in (ada.email, NEW, "ada"))
    assert (email_of(world, ada), requested_email(world, ada)) == (ada.email, NEW)
    assert site.get(ME, ada).status_code == 200
    assert ("is confirmed" in browser.send(link).text) is is_confirming
    assert email_of(world, ada) == (NEW if is_confirming else ada.email)
    assert requested_email(world, ada) is None
    for path, status in ((link, 410), (f"/{kind}/nonsense/", 404)):
        browser.open("/sign_in/?choose=1" if not is_confirming else PATH)
        assert browser.send(path).status_code == status


def test_owner_confirms_in_another_browser_after_signing_in_there(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    request_change(site, ada)
    link = f"/user_email_change/{mailed_codes(world)[0]}/"
    page = browser.open(link)
    assert f"use {NEW} for the account ada ." in text(page)
    assert "<button" not in page.text
    (path,) = re.findall(r'class="button" href="([^"]+)"', page.text)
    browser.open(path)
    # Nobody confirms with the form of another page.
    assert browser.send(link).headers["location"] == path
    assert email_of(world, ada) == ada.email
    signed_in = browser.send("/sign_in/", username="ada", password=PASSWORD, next=link)
    assert "<button>Confirm address" in browser.follow(signed_in).text
    assert "is confirmed" in browser.send(link).text
    assert email_of(world, ada) == NEW
    (event,) = site.get(
        "/api/events/", world.staff, params={"event_type": "account_address_changed"}
    ).json()
    assert event["context"]["user_username"] == "ada"


@pytest.mark.parametrize("right", ["", "is_staff"])
def test_reader_of_the_mailbox_confirms_no_address_of_another_account(
    browser: Browser, site: Site, world: World, ada: Person, right: str
) -> None:
    request_change(site, ada)
    link = f"/user_email_change/{mailed_codes(world)[0]}/"
    browser.sign_in(world, world.person("bob", **({right: True} if right else {})))
    opened = browser.open(link)
    browser.open("/account/")
    for page in (opened, browser.send(link)):
        assert (page.status_code, "belongs to another account" in text(page)) == (403, True)
        assert "for the account ada ," in text(page)
    assert (email_of(world, ada), requested_email(world, ada)) == (ada.email, NEW)


def test_cancel_link_cancels_the_change_and_ends_sessions_and_tokens(
    browser: Browser, other: Browser, site: Site, world: World, ada: Person
) -> None:
    bob = world.person("bob")
    other.sign_in(world, ada)
    tokens = delegate(world, ada)
    request_change(site, ada)
    code, cancelling = mailed_codes(world)
    link = f"/user_email_change_cancel/{cancelling}/"
    browser.open(link)
    response = browser.send(link)
    assert response.status_code == 200
    assert "Your account keeps its e-mail address" in text(response)
    assert "/forgotten_password/" in response.text
    assert requested_email(world, ada) is None
    assert other.open("/account/").status_code == 303
    for token in (ada.token, tokens.personal, tokens.access):
        assert site.get(ME, token).status_code == 401
    refresh = site.post("/api/auth/token/refresh/", json={"refresh": tokens.refresh})
    assert refresh.status_code == 401
    assert poll(site, tokens) == {"error": "access_denied"}
    assert confirm(site, code).status_code == 404
    assert email_of(world, ada) == ada.email
    browser.open(link)
    assert browser.send(link).status_code == 410
    assert site.get(ME, bob).status_code == 200
    query = {"event_type": "account_address_change_canceled"}
    (event,) = site.get("/api/events/", world.staff, params=query).json()
    assert event["context"]["ip_address"] == "127.0.0.1"


def test_new_request_keeps_the_earlier_cancel_link_valid(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    request_change(site, ada)
    _confirm, cancelling = mailed_codes(world)
    request_change(site, ada, email="two@example.org")
    link = f"/user_email_change_cancel/{cancelling}/"
    browser.open(link)
    assert browser.send(link).status_code == 200
    assert requested_email(world, ada) is None


@pytest.mark.parametrize("code", ["0" * 32, "nonsense", "0" * 31])
def test_invalid_cancel_link_is_refused(browser: Browser, code: str) -> None:
    link = f"/user_email_change_cancel/{code}/"
    browser.open(link)
    response = browser.send(link)
    assert response.status_code == (410 if len(code) == 32 else 404)
    assert "is no longer valid" in text(response)


def test_codes_to_confirm_and_to_cancel_are_not_interchangeable(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    request_change(site, ada)
    confirming, cancelling = mailed_codes(world)
    browser.sign_in(world, ada)
    for link in (f"/user_email_change/{cancelling}/", f"/user_email_change_cancel/{confirming}/"):
        assert browser.open(link).status_code == (200 if "cancel/" in link else 410)
        browser.open(PATH)
        assert browser.send(link).status_code == 410
    assert (email_of(world, ada), requested_email(world, ada)) == (ada.email, NEW)


def _in_transaction(change: Callable[[Any, World, Person], object]) -> Any:
    def run(world: World, ada: Person) -> None:
        with world.database.write() as tx:
            change(tx, world, ada)

    return run


def _reset_password(tx: Any, world: World, ada: Person) -> None:
    row: Any = account_queries.with_password(tx, id=ada.id)
    link = password_actions.link(world.vault, row, tx.now)
    password_actions.reset(tx, world.vault, link, NEW_HASH, "192.0.2.1")


def _deactivate_and_activate(tx: Any, world: World, ada: Person) -> None:
    for is_active in (False, True):
        changes = {"is_active": is_active}
        account_actions.update(
            tx, world.staff.actor, world.settings, ada.uuid, changes, agrees_to_policy=False
        )


def _set_password_by_operator(world: World, ada: Person) -> None:
    staff_command.ensure_staff(
        world.database,
        world.settings,
        world.vault,
        "ada",
        ada.email,
        NEW_PASSWORD,
        allow_promotion=True,
    )


CHANGES: dict[str, Callable[[World, Person], None]] = {
    "password changed": _in_transaction(
        lambda tx, _world, ada: password_actions.change(tx, ada.actor, NEW_HASH)
    ),
    "password reset": _in_transaction(_reset_password),
    "password set by staff": _in_transaction(
        lambda tx, world, ada: account_actions.set_password(tx, world.staff.actor, ada.id, NEW_HASH)
    ),
    "deactivated": _in_transaction(_deactivate_and_activate),
    "two-factor reset": _in_transaction(
        lambda tx, world, ada: two_factor_actions.reset(tx, world.staff.actor, ada.uuid)
    ),
    "two-factor disabled": _in_transaction(
        lambda tx, _world, ada: two_factor_actions.remove(tx, ada.actor)
    ),
    "password set by the operator": _set_password_by_operator,
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_credentials_end_a_requested_email_change(
    browser: Browser, site: Site, world: World, ada: Person, change: str
) -> None:
    enable_two_factor(world, ada)
    request_change(site, ada, world.staff)
    code, _cancel = mailed_codes(world)
    CHANGES[change](world, ada)
    assert requested_email(world, ada) is None
    assert confirm(site, code).status_code == 404
    link = f"/user_email_change/{code}/"
    browser.sign_in(world, ada).open(PATH)
    assert browser.send(link).status_code == 410
    assert email_of(world, ada) == ada.email


def test_changed_credentials_keep_email_change_and_tokens_of_others(
    site: Site, world: World, ada: Person
) -> None:
    bob = world.person("bob")
    request_change(site, bob, email="b@example.org")
    CHANGES["password changed"](world, ada)
    assert requested_email(world, bob) == "b@example.org"
    with world.database.read() as tx:
        assert token_queries.of_account(tx, bob.id) is not None
