"""Pages of signing in: password, two-factor authentication, forgotten password."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pyotp import random_base32
from pyotp.totp import TOTP

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import outbox as outbox_table
from collegium.db.tables import recovery_codes
from collegium.security.crypto import hash_password
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from tests.support.browser import Browser, text
from tests.support.mails import mail_text, sent_mails
from tests.support.site import Site
from tests.support.world import Person, World


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


PASSWORD = "four winds over quiet water"
HASHED = hash_password(PASSWORD)
NEW = "a quiet harbour at night"
FORGOTTEN = "/forgotten_password/"
TWO_FACTOR = "/account/second_factor/"
SESSION = "collegium_session"


def queued_recipients(database: Database, kind: str) -> list[str]:
    """Return the recipients of all e-mails of a kind in the outbox."""
    with database.read() as tx:
        rows = tx.fetch_all(Statement[Any](outbox_table.select().order_by(outbox_table.c.id)))
    return [row.recipient for row in rows if row.kind == kind]


def send_sign_in_form(browser: Browser, name: str, password: str, **more: str) -> httpx.Response:
    """Send the sign-in form."""
    browser.open("/sign_in/")
    return browser.send("/sign_in/", username=name, password=password, **more)


def enable_two_factor(world: World, person: Person) -> tuple[TOTP, list[str]]:
    """Enable two-factor authentication as of two minutes ago.

    Returns:
        The authenticator and the recovery codes.
    """
    then = datetime.now(UTC) - timedelta(minutes=2)
    with world.database.write(then) as tx:
        two_factor_actions.begin(tx, person.actor, world.vault)
        secret = two_factor_actions.unconfirmed(tx, person.actor, world.vault, "Collegium")
        assert secret is not None
        authenticator = TOTP(secret.text)
        codes = two_factor_actions.confirm(tx, person.actor, world.vault, authenticator.at(then))
    return authenticator, codes


def two_factor_is_on(world: World, person: Person) -> bool:
    with world.database.read() as tx:
        return two_factor_queries.is_on(tx, person.id)


def begin_two_factor(browser: Browser) -> str:
    """Begin two-factor authentication on its page; return the secret."""
    browser.open(TWO_FACTOR)
    response = browser.send(TWO_FACTOR, action="begin")
    return secret_on(browser.follow(response))


def secret_on(page: httpx.Response) -> str:
    return str(re.findall(r'class="secret">([^<]+)<', page.text)[0])


def recovery_codes_on(page: httpx.Response) -> list[str]:
    return re.findall(r'class="code">([\w-]+)<', page.text)


def reset_link(world: World, person: Person, ago: timedelta = timedelta()) -> str:
    with world.database.read() as tx:
        account: Any = account_queries.with_password(tx, id=person.id)
    token = password_actions.link(world.vault, account, datetime.now(UTC) - ago)
    return f"/{password_actions.RESET}/{token}/"


@pytest.mark.usefixtures("ada")
def test_sign_in_redirects_to_the_wanted_local_page(browser: Browser) -> None:
    response = send_sign_in_form(browser, "ada", PASSWORD, next="/account/keys/")
    assert response.status_code == 303
    assert response.headers["location"] == "/account/keys/"
    assert browser.open("/account/").status_code == 200
    response = browser.send("/sign_out/")
    assert response.headers["clear-site-data"] == '"cache", "storage"'
    assert browser.open("/account/").status_code == 303
    foreign = send_sign_in_form(browser, "ada", PASSWORD, next="//evil.example/")
    assert foreign.headers["location"] == "/"


@pytest.mark.usefixtures("ada")
def test_all_failed_sign_ins_look_the_same(browser: Browser, world: World) -> None:
    world.person("off", password=HASHED, is_active=False)
    pages = set()
    for name, password in (("ada", "wrong"), ("nobody", "wrong"), ("off", PASSWORD)):
        response = send_sign_in_form(browser, name, password)
        assert response.status_code == 401
        pages.add(text(response))
    assert len(pages) == 1


@pytest.mark.usefixtures("ada")
def test_page_and_api_count_failed_logins_together(browser: Browser, site: Site) -> None:
    for _ in range(4):
        site.post("/api-auth/password/", json={"username": "ada", "password": "wrong"})
    response = send_sign_in_form(browser, "ada", PASSWORD)
    assert response.status_code == 401
    assert "Please try again in ten minutes" in text(response)


@pytest.mark.usefixtures("ada")
def test_password_sign_in_can_be_disabled(site_with: Callable[..., Site]) -> None:
    response = send_sign_in_form(
        Browser(site_with(authentication_methods="SAML2")), "ada", PASSWORD
    )
    assert response.status_code == 401
    assert "is disabled" in text(response)


def test_sign_in_with_two_factor_needs_a_code_that_works_once(
    browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    authenticator, codes = enable_two_factor(world, ada)
    code = authenticator.now()
    response = send_sign_in_form(browser, "ada", PASSWORD, next="/account/keys/")
    assert response.headers["location"] == "/sign_in/code/?next=/account/keys/"
    assert SESSION not in browser.cookies
    browser.follow(response)
    assert browser.send("/sign_in/code/", code="000000").status_code == 422
    assert SESSION not in browser.cookies
    response = browser.send("/sign_in/code/", code=code, next="/account/keys/")
    assert response.headers["location"] == "/account/keys/"
    assert browser.open("/account/").status_code == 200
    # The same code again, and a recovery code twice.
    for again, status in ((code, 422), (codes[0], 303), (codes[0].upper(), 422)):
        other.cookies.clear()
        other.follow(send_sign_in_form(other, "ada", PASSWORD))
        assert other.send("/sign_in/code/", code=again).status_code == status, again


def test_code_without_the_password_does_not_sign_in(
    browser: Browser, world: World, ada: Person
) -> None:
    authenticator, _codes = enable_two_factor(world, ada)
    assert browser.open("/sign_in/code/").headers["location"] == "/sign_in/"
    browser.open("/sign_in/")
    for cookie in ("", "forged", world.vault.sign("half", ada.uuid, "x")):
        browser.cookies["collegium_half"] = cookie
        response = browser.send("/sign_in/code/", code=authenticator.now())
        assert response.headers["location"] == "/sign_in/"
        assert SESSION not in browser.cookies


def test_password_change_ends_a_sign_in_that_awaits_its_code(
    browser: Browser, world: World, ada: Person
) -> None:
    authenticator, _codes = enable_two_factor(world, ada)
    browser.follow(send_sign_in_form(browser, "ada", PASSWORD))
    with world.database.write() as tx:
        password_actions.change(tx, ada.actor, "another hash")
    response = browser.send("/sign_in/code/", code=authenticator.now(), next="/account/keys/")
    assert response.headers["location"] == "/sign_in/?next=/account/keys/"
    assert SESSION not in browser.cookies


def test_two_factor_codes_are_rate_limited(browser: Browser, world: World, ada: Person) -> None:
    authenticator, _codes = enable_two_factor(world, ada)
    browser.follow(send_sign_in_form(browser, "ada", PASSWORD))
    for _ in range(6):
        assert browser.send("/sign_in/code/", code="000000").status_code == 422
    response = browser.send("/sign_in/code/", code=authenticator.now())
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0
    assert "Please wait" in text(response)


def test_api_login_with_the_password_alone_is_refused_with_two_factor(
    site: Site, world: World, ada: Person
) -> None:
    world.person("bob", password=HASHED)
    enable_two_factor(world, ada)
    for name, status in (("ada", 401), ("bob", 200)):
        body = {"username": name, "password": PASSWORD}
        assert site.post("/api-auth/password/", json=body).status_code == status
    assert site.get("/api/users/me/", ada).status_code == 401  # a token of the password alone


def test_two_factor_is_enabled_and_disabled_with_its_codes(
    browser: Browser, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada).open(TWO_FACTOR)
    secret = begin_two_factor(browser)
    assert browser.page is not None
    assert '<svg role="img"' in browser.page.text
    assert not two_factor_is_on(world, ada)
    assert browser.send(TWO_FACTOR, action="confirm", code="000000").status_code == 422
    page = browser.send(TWO_FACTOR, action="confirm", code=TOTP(secret).now())
    codes = recovery_codes_on(page)
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"([0-9a-f]{4}-){3}[0-9a-f]{4}", code) for code in codes)  # 64 bits
    page = browser.open(TWO_FACTOR)
    assert not any(value in page.text for value in (secret, *codes))
    with world.database.read() as tx:
        hashes = {
            bytes(row.code_hash) for row in tx.fetch_all(Statement[Any](recovery_codes.select()))
        }
        row: Any = two_factor_queries.of_account(tx, ada.id)
    assert two_factor_is_on(world, ada)
    assert secret.encode() not in bytes(row.secret_encrypted)
    assert not hashes & {code.replace("-", "").encode() for code in codes}
    # A recovery code replaces all recovery codes; a wrong code does nothing.
    assert browser.send(TWO_FACTOR, action="remove", code="000000").status_code == 422
    new_codes = recovery_codes_on(browser.send(TWO_FACTOR, action="codes", code=codes[0]))
    assert not set(new_codes) & set(codes)
    browser.open(TWO_FACTOR)
    assert browser.send(TWO_FACTOR, action="remove", code=codes[1]).status_code == 422
    assert browser.send(TWO_FACTOR, action="remove", code=new_codes[0]).status_code == 303
    assert not two_factor_is_on(world, ada)


def test_time_step_of_a_code_is_accepted_once_and_never_an_earlier_one(
    world: World, ada: Person
) -> None:
    authenticator, _codes = enable_two_factor(world, ada)
    now = datetime.now(UTC)
    for at, code_of, is_accepted in (
        (now, now, True),
        (now, now, False),
        (now, now - timedelta(seconds=30), False),
        (now, now + timedelta(seconds=30), True),
        (now, now + timedelta(seconds=90), False),
        (now + timedelta(minutes=5), now, False),
    ):
        with world.database.write(at) as tx:
            code = authenticator.at(code_of)
            refusal = two_factor_actions.check(tx, world.vault, ada.actor, code)
        assert (refusal and refusal.code) == (None if is_accepted else "second_factor.wrong")


def test_two_factor_is_confirmed_only_by_the_session_that_began_it(
    browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    # Otherwise a thief who knows the secret would have the owner's codes for ever.
    planted = begin_two_factor(other.sign_in(world, ada))
    page = browser.sign_in(world, ada).open(TWO_FACTOR)
    assert planted not in page.text
    assert "Set up" in text(page)
    refused = browser.send(TWO_FACTOR, action="confirm", code=TOTP(planted).now())
    assert refused.status_code == 422
    assert planted not in refused.text
    secret = begin_two_factor(browser)
    assert secret != planted
    assert secret not in other.open(TWO_FACTOR).text
    assert other.send(TWO_FACTOR, action="confirm", code=TOTP(secret).now()).status_code == 422
    assert secret in browser.open(TWO_FACTOR).text
    assert browser.send(TWO_FACTOR, action="confirm", code=TOTP(secret).now()).status_code == 200
    assert other.open(TWO_FACTOR).status_code == 303


def test_two_factor_begun_before_the_upgrade_must_be_begun_again(
    browser: Browser, world: World, ada: Person
) -> None:
    secret, vault = random_base32(), world.vault
    with world.database.write() as tx:
        two_factor_queries.replace(tx, ada.id, vault.keyed_hash(secret), vault.encrypt(secret))
    page = browser.sign_in(world, ada).open(TWO_FACTOR)
    assert secret not in page.text
    assert "Set up" in text(page)
    # One that was confirmed before the upgrade still works.
    with world.database.write() as tx:
        two_factor_queries.confirm(tx, ada.id)
        assert two_factor_actions.check(tx, vault, ada.actor, TOTP(secret).at(tx.now)) is None


def test_staff_disable_their_own_two_factor_with_a_code_only(
    browser: Browser, world: World, ada: Person
) -> None:
    boss = world.person("boss", is_staff=True, password=HASHED)
    _authenticator, codes = enable_two_factor(world, boss)
    browser.sign_in(world, boss)
    path = f"/staff/accounts/{boss.uuid}/"
    assert 'value="second_factor"' not in browser.open(path).text
    refused = browser.send(path, action="second_factor")
    assert refused.status_code == 422
    assert "go to the page of your account and enter a code" in text(refused)
    assert two_factor_is_on(world, boss)
    browser.open(TWO_FACTOR)
    assert browser.send(TWO_FACTOR, action="remove", code=codes[0]).status_code == 303
    enable_two_factor(world, ada)
    assert 'value="second_factor"' in browser.open(f"/staff/accounts/{ada.uuid}/").text


@pytest.mark.usefixtures("ada")
def test_forgotten_password_page_does_not_reveal_accounts(browser: Browser, world: World) -> None:
    world.person("far", registration_method="eduteams")
    world.person("off", is_active=False)
    pages = set()
    for address in ("ADA@example.org", "nobody@example.org", "far@example.org", "off@example.org"):
        browser.open(FORGOTTEN)
        response = browser.send(FORGOTTEN, email=address)
        assert response.status_code == 200
        pages.add(text(response).replace(address, "…"))
    assert len(pages) == 1
    browser.open(FORGOTTEN)
    assert browser.send(FORGOTTEN, email="no address").status_code == 422
    # One e-mail is sent, and its link works.
    (mail,) = sent_mails(world)
    assert (mail["X-Collegium-Mail"], mail["To"]) == ("password_reset", "ada@example.org")
    (link,) = re.findall(r"http://[^/]+(/password_reset/[^\s]+/)", mail_text(mail))
    # Nothing ends by itself at the time that the e-mail names.
    said = " ".join(mail_text(mail).split())
    assert "Your current password stays valid until you set a new one." in said
    assert browser.open(link).status_code == 200


def test_reset_link_sets_a_password_once(
    browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    other.sign_in(world, ada)
    link, second_link = reset_link(world, ada), reset_link(world, ada)
    assert "ada" in text(browser.open(link))
    for password, again in (("short", "short"), ("adaadaada", "adaadaada"), (PASSWORD, "other")):
        assert browser.send(link, password=password, again=again).status_code == 422
    assert browser.send(link, password=NEW, again=NEW).headers["location"] == "/sign_in/"
    # Sessions have ended, and every link is used up.
    assert other.open("/account/").status_code == 303
    for used in (link, second_link):
        assert browser.open(used).status_code == 410
    assert send_sign_in_form(browser, "ada", PASSWORD).status_code == 401
    assert send_sign_in_form(browser, "ada", NEW).status_code == 303


def test_password_reset_keeps_two_factor_on(browser: Browser, world: World, ada: Person) -> None:
    enable_two_factor(world, ada)
    link = reset_link(world, ada)
    browser.open(link)
    assert browser.send(link, password=NEW, again=NEW).headers["location"] == "/sign_in/"
    assert send_sign_in_form(browser, "ada", NEW).headers["location"] == "/sign_in/code/"
    assert SESSION not in browser.cookies


def test_password_is_masked_autocompleted_and_used_unchanged(
    browser: Browser, world: World, ada: Person
) -> None:
    link = reset_link(world, ada)
    new = f" Two  Winds \N{SNOWMAN} {'x' * 90} "
    page = browser.open(link)
    assert 'name="password" type="password" autocomplete="new-password"' in page.text
    assert browser.send(link, password=new, again=new).headers["location"] == "/sign_in/"
    page = browser.open("/sign_in/")
    assert 'name="password" type="password" autocomplete="current-password"' in page.text
    for wrong in (new.strip(), new.lower(), new[:72]):
        assert send_sign_in_form(browser, "ada", wrong).status_code == 401
    assert send_sign_in_form(browser, "ada", new).status_code == 303


def test_reset_link_expires_and_is_bound_to_purpose_and_address(
    browser: Browser, world: World, ada: Person
) -> None:
    assert browser.open(reset_link(world, ada, timedelta(minutes=59))).status_code == 200
    assert browser.open(reset_link(world, ada, timedelta(minutes=61))).status_code == 410
    other_purpose = world.vault.sign("invitation", ada.uuid, datetime.now(UTC).isoformat(), "x")
    for token in ("abc", other_purpose):
        assert browser.open(f"/{password_actions.RESET}/{token}/").status_code == 410
    link = reset_link(world, ada)
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"email": "moved@example.org"})
    assert browser.open(link).status_code == 410
