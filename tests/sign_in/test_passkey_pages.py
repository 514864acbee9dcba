"""Pages of passkeys: add one, sign in with it, use it after the password and to confirm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from collegium.db.statements import Statement
from collegium.db.tables import events, passkey_ceremonies
from collegium.sign_in.passkeys import queries as passkey_queries
from tests.sign_in.test_confirmation import create_token, hidden_fields, leave_alone
from tests.sign_in.test_pages import (
    HASHED,
    PASSWORD,
    SESSION,
    enable_two_factor,
    recovery_codes_on,
    send_sign_in_form,
    two_factor_is_on,
)
from tests.support.authenticator import Authenticator
from tests.support.browser import Browser, text
from tests.support.mails import sent_mails
from tests.support.site import BASE, Site
from tests.support.world import Person, World


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


PASSKEYS = "/account/passkeys/"
SIGN_IN = "/sign_in/passkey/"


@pytest.fixture
def site(site_with: Callable[..., Site]) -> Site:
    """Return a site whose address is a domain, as passkeys need it."""
    return site_with(base_url=BASE)


@pytest.fixture
def device() -> Authenticator:
    return Authenticator(BASE)


def options_on(page: httpx.Response) -> dict[str, Any]:
    found = re.search(r'data-options="([^"]+)"', page.text)
    assert found, text(page)
    return dict(json.loads(unescape(found[1])))


def answer(browser: Browser, path: str, page: httpx.Response, credential: Any) -> httpx.Response:
    """Send the form of a page with the answer of a device."""
    return browser.send(path, **(hidden_fields(page) | {"credential": json.dumps(credential)}))


def add_passkey(browser: Browser, device: Authenticator, name: str = "my phone") -> httpx.Response:
    browser.open(PASSKEYS)
    page = browser.send(PASSKEYS, action="add", name=name)
    return answer(browser, PASSKEYS, page, device.create(options_on(page)))


def sign_in(browser: Browser, device: Authenticator, **fields: str) -> httpx.Response:
    browser.open("/sign_in/")
    page = browser.send(SIGN_IN, **fields)
    return answer(browser, SIGN_IN, page, device.get(options_on(page)))


def event_kinds(world: World) -> list[str]:
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(events).order_by(events.c.id)))
    kinds = [row.kind for row in rows]
    return [kind for kind in kinds if kind.startswith(("passkey.", "login."))]


def test_person_adds_a_passkey_and_signs_in_with_nothing_else(
    browser: Browser, other: Browser, site: Site, world: World, ada: Person, device: Authenticator
) -> None:
    other.sign_in(world, ada)
    page = add_passkey(browser.sign_in(world, ada), device)
    assert len(recovery_codes_on(page)) == 10
    assert two_factor_is_on(world, ada)
    # What was obtained with the password alone has ended, except this session.
    assert other.open("/account/").status_code == 303
    assert site.get("/api/users/me/", ada).status_code == 401
    assert browser.open("/account/").status_code == 200
    assert "my phone" in text(browser.open(PASSKEYS))
    response = sign_in(other, device, next="/account/keys/")
    assert response.headers["location"] == "/account/keys/"
    assert other.open("/account/").status_code == 200
    assert event_kinds(world)[-2:] == ["passkey.registered", "login.succeeded"]
    with world.database.read() as tx:
        (row,) = passkey_queries.active(tx, ada.id)
    assert (row.sign_count, row.transports, row.is_user_verified) == (1, ["internal"], True)
    assert [mail["X-Collegium-Mail"] for mail in sent_mails(world)] == ["passkey_changed"]


def test_script_runs_on_pages_of_passkeys_only_and_by_a_nonce(
    browser: Browser, world: World, ada: Person
) -> None:
    browser.open("/sign_in/")
    page = browser.send(SIGN_IN)
    found = re.search(
        r'<script nonce="([\w-]+)" src="(/static/passkeys.js\?\w+)" defer>', page.text
    )
    assert found
    policy = page.headers["content-security-policy"]
    assert policy.endswith(f"; script-src 'nonce-{found[1]}'")
    assert policy.startswith("default-src 'none'; ")
    script = browser.open(found[2])
    assert script.headers["content-type"].startswith("text/javascript")
    for page in (browser.open("/sign_in/"), browser.sign_in(world, ada).open(PASSKEYS)):
        assert "<script" not in page.text
        assert "script-src" not in page.headers["content-security-policy"]


def test_number_of_passkeys_of_an_account_is_limited(
    browser: Browser, world: World, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collegium.sign_in.passkeys.actions.PASSKEYS_MAX", 1)
    first, second = Authenticator(BASE), Authenticator(BASE)
    browser.sign_in(world, ada).open(PASSKEYS)
    begun = browser.send(PASSKEYS, action="add", name="a laptop")
    add_passkey(browser, first)
    # Begun before the limit was reached, and after.
    late = answer(browser, PASSKEYS, begun, second.create(options_on(begun)))
    browser.open(PASSKEYS)
    for refused in (late, browser.send(PASSKEYS, action="add", name="a key")):
        assert refused.status_code == 422
        assert "You have reached the maximum number of passkeys." in text(refused)
    with world.database.read() as tx:
        assert passkey_queries.count(tx, ada.id) == 1


def test_password_needs_the_passkey_or_a_recovery_code_as_second_factor(
    browser: Browser, other: Browser, site: Site, world: World, ada: Person, device: Authenticator
) -> None:
    device.verifies = False
    codes = recovery_codes_on(add_passkey(browser.sign_in(world, ada), device))
    login = {"username": "ada", "password": PASSWORD}
    assert site.post("/api-auth/password/", json=login).status_code == 401
    # Without the person's verification by the device, the passkey alone is not enough.
    assert sign_in(other, device).headers["location"] == "/sign_in/"
    assert "was not accepted" in text(other.open("/sign_in/"))
    page = other.follow(send_sign_in_form(other, "ada", PASSWORD))
    assert "Use a passkey" in text(page)
    assert other.send("/sign_in/code/", code="000000").status_code == 422
    page = other.send(SIGN_IN, second="yes")
    response = answer(other, SIGN_IN, page, device.get(options_on(page)))
    assert response.headers["location"] == "/"
    assert other.open("/account/").status_code == 200
    other.cookies.clear()
    other.follow(send_sign_in_form(other, "ada", PASSWORD))
    assert other.send("/sign_in/code/", code=codes[0]).status_code == 303
    assert other.open("/account/").status_code == 200


def test_device_that_can_verify_its_owner_must_do_so_as_second_factor(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    add_passkey(browser.sign_in(world, ada), device)
    device.verifies = False
    other.follow(send_sign_in_form(other, "ada", PASSWORD))
    page = other.send(SIGN_IN, second="yes")
    response = answer(other, SIGN_IN, page, device.get(options_on(page)))
    assert response.headers["location"] == "/sign_in/code/"
    assert SESSION not in other.cookies


def test_second_factor_accepts_only_passkeys_of_the_account(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    bob, foreign = world.person("bob", password=HASHED), Authenticator(BASE, b"bob's passkey")
    add_passkey(browser.sign_in(world, bob), foreign)
    add_passkey(browser.sign_in(world, ada), device)
    other.follow(send_sign_in_form(other, "ada", PASSWORD))
    page = other.send(SIGN_IN, second="yes")
    options = options_on(page) | {"allowCredentials": []}
    answer(other, SIGN_IN, page, foreign.get(options))
    assert SESSION not in other.cookies


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"challenge": "AAAA"},
        {"counts": 0},
        {"id": b"unknown"},
        {"handle": b"another account"},
        {"handle": None},
        {"verifies": False},
    ],
    ids=["origin", "domain", "challenge", "copy", "unknown", "other", "no handle", "unverified"],
)
def test_wrong_answer_of_a_device_does_not_sign_in(
    browser: Browser,
    other: Browser,
    world: World,
    ada: Person,
    device: Authenticator,
    lie: dict[str, Any],
) -> None:
    add_passkey(browser.sign_in(world, ada), device)
    assert sign_in(other, device).status_code == 303
    assert SESSION in other.cookies
    other.cookies.clear()
    for name, value in lie.items():
        setattr(device, name, value)
    assert sign_in(other, device).headers["location"] == "/sign_in/"
    assert "was not accepted" in text(other.open("/sign_in/"))
    assert SESSION not in other.cookies
    assert ("passkey.failed" in event_kinds(world)) is lie.keys().isdisjoint({"id", "handle"})


@pytest.mark.parametrize(
    "credential", ["", "{}", "[]", "[" * 5000, '{"rawId": 1}', '{"rawId": "é"}']
)
def test_malformed_answer_is_refused(browser: Browser, credential: str) -> None:
    browser.open("/sign_in/")
    page = browser.send(SIGN_IN)
    sent = browser.send(SIGN_IN, **(hidden_fields(page) | {"credential": credential or " "}))
    assert sent.headers["location"] == "/sign_in/"


def test_ceremony_works_once_for_its_browser_and_for_five_minutes(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    device.counts = 0  # as devices do that synchronise their passkeys
    add_passkey(browser.sign_in(world, ada), device)
    other.open("/sign_in/")
    page = other.send(SIGN_IN)
    credential = device.get(options_on(page))
    browser.cookies.clear()
    browser.open("/sign_in/")
    form = hidden_fields(page) | {"credential": json.dumps(credential), "csrf": browser.csrf}
    browser.call("POST", SIGN_IN, data=form)
    assert SESSION not in browser.cookies
    cookies = dict(other.cookies)
    assert answer(other, SIGN_IN, page, credential).headers["location"] == "/"
    other.cookies = cookies
    answer(other, SIGN_IN, page, credential)
    assert SESSION not in other.cookies
    other.open("/sign_in/")
    page = other.send(SIGN_IN)
    past = datetime.now(UTC) - timedelta(seconds=1)
    with world.database.write() as tx:
        tx.execute(Statement[Any](update(passkey_ceremonies).values(expires_at=past)))
    response = answer(other, SIGN_IN, page, device.get(options_on(page)))
    assert response.headers["location"] == "/sign_in/"
    assert SESSION not in other.cookies
    sent_mails(world)  # the worker runs once
    with world.database.read() as tx:
        assert tx.fetch_all(Statement[Any](select(passkey_ceremonies.c.uuid))) == []


def test_person_with_nothing_but_passkeys_renews_the_recovery_codes(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    old = recovery_codes_on(add_passkey(browser.sign_in(world, ada), device))
    leave_alone(world, ada)
    page = browser.open(PASSKEYS)
    assert "You have 10 unused recovery codes" in text(page)
    assert browser.send(PASSKEYS, action="codes").status_code == 403  # confirm first
    page = browser.send(PASSKEYS, action="codes", confirm_code=old[0])
    new = recovery_codes_on(page)
    assert len(set(new) - set(old)) == 10
    assert "is on. Your second factor is a passkey" in text(browser.open("/account/second_factor/"))
    other.follow(send_sign_in_form(other, "ada", PASSWORD))
    assert other.send("/sign_in/code/", code=old[1]).status_code == 422
    assert other.send("/sign_in/code/", code=new[0]).status_code == 303
    # Without a passkey there are none.
    browser.sign_in(world, world.person("bob"))
    assert "recovery codes" not in text(browser.open(PASSKEYS))
    assert browser.send(PASSKEYS, action="codes").status_code == 422


def test_deactivated_account_cannot_sign_in_with_its_passkey(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    add_passkey(browser.sign_in(world, ada), device)
    boss = world.person("boss", is_staff=True)
    staff = browser.sign_in(world, boss)
    path = f"/staff/accounts/{ada.uuid}/"
    staff.open(path)
    assert staff.send(path, action="deactivate").status_code == 303
    assert sign_in(other, device).headers["location"] == "/sign_in/"
    assert SESSION not in other.cookies


def test_passkey_confirms_a_sensitive_change(
    browser: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    add_passkey(browser.sign_in(world, ada), device)
    leave_alone(world, ada)
    page = create_token(browser)
    assert page.status_code == 403
    form = hidden_fields(page)
    credential = json.dumps(device.get(options_on(page)))
    wrong = {"confirm_credential": credential, "confirm_ceremony": "0" * 32}
    page = browser.send("/account/tokens/", **(form | wrong))
    assert page.status_code == 403
    credential = json.dumps(device.get(options_on(page)))
    form = hidden_fields(page) | {"confirm_credential": credential}
    assert browser.send("/account/tokens/", **form).status_code == 200


def test_passkeys_are_renamed_and_removed_by_their_owner_only(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    add_passkey(browser.sign_in(world, ada), device)
    with world.database.read() as tx:
        (row,) = passkey_queries.active(tx, ada.id)
    other.sign_in(world, world.person("bob", password=HASHED)).open(PASSKEYS)
    for action in ("rename", "remove"):
        denied = other.send(PASSKEYS, action=action, passkey=row.uuid, name="mine")
        assert denied.status_code == 404
    browser.open(PASSKEYS)
    renamed = browser.send(PASSKEYS, action="rename", passkey=row.uuid, name="the old phone")
    assert "the old phone" in browser.follow(renamed).text
    leave_alone(world, ada)
    assert browser.send(PASSKEYS, action="remove", passkey=row.uuid).status_code == 403
    leave_alone(world, ada, 0)
    browser.open(PASSKEYS)
    removed = browser.send(PASSKEYS, action="remove", passkey=row.uuid)
    assert "the old phone" not in browser.follow(removed).text
    assert not two_factor_is_on(world, ada)
    other.cookies.clear()
    assert sign_in(other, device).headers["location"] == "/sign_in/"
    assert send_sign_in_form(other, "ada", PASSWORD).headers["location"] == "/"


def test_last_way_in_and_a_required_second_factor_cannot_be_removed(
    browser: Browser, world: World, site_with: Any, ada: Person, device: Authenticator
) -> None:
    far = world.person("far")
    strict = Browser(site_with(base_url=BASE, two_factor_required="everybody"))
    for each, person, message in (
        (browser, far, "you could no longer sign in"),
        (strict, ada, "cannot turn it off"),
    ):
        device = Authenticator(BASE, person.uuid.encode())
        add_passkey(each.sign_in(world, person), device)
        with world.database.read() as tx:
            (row,) = passkey_queries.active(tx, person.id)
        each.open(PASSKEYS)
        refused = each.send(PASSKEYS, action="remove", passkey=row.uuid)
        assert refused.status_code == 422
        assert message in text(refused)
        assert sign_in(Browser(each._site), device).headers["location"] == "/"


def test_staff_turn_off_the_passkeys_of_somebody_who_lost_them(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    add_passkey(browser.sign_in(world, ada), device)
    browser.sign_in(world, world.person("boss", is_staff=True))
    path = f"/staff/accounts/{ada.uuid}/"
    browser.open(path)
    assert browser.send(path, action="second_factor").status_code == 303
    assert sign_in(other, device).headers["location"] == "/sign_in/"
    assert send_sign_in_form(other, "ada", PASSWORD).headers["location"] == "/"


def test_removing_the_authenticator_keeps_passkey_and_recovery_codes(
    browser: Browser, other: Browser, world: World, ada: Person, device: Authenticator
) -> None:
    _totp, codes = enable_two_factor(world, ada)
    page = add_passkey(browser.sign_in(world, ada), device)
    assert page.status_code == 303  # no new codes
    browser.open("/account/second_factor/")
    sent = browser.send("/account/second_factor/", action="remove", code=codes[0])
    assert sent.status_code == 303
    other.follow(send_sign_in_form(other, "ada", PASSWORD))
    assert other.send("/sign_in/code/", code=codes[1]).status_code == 303
    assert other.open("/account/").status_code == 200


def test_service_without_a_domain_offers_no_passkeys(
    site_with: Callable[..., Site], world: World, ada: Person
) -> None:
    browser = Browser(site_with(base_url="http://127.0.0.1:8000"))
    assert "passkey" not in text(browser.open("/sign_in/"))
    assert browser.send(SIGN_IN).headers["location"] == "/sign_in/"
    assert "has no domain name" in text(browser.sign_in(world, ada).open(PASSKEYS))
