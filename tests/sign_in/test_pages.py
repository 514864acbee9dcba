"""Signing in with a password, with a second factor, and after forgetting it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pyotp import random_base32
from pyotp.totp import TOTP

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import outbox as outbox_table
from collegium.db.tables import recovery_codes
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, Forbidden
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.worker import mails
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World

PASSWORD = "four winds over quiet water"
HASHED = hash_password(PASSWORD)


def owed(database: Database, kind: str) -> list[str]:
    """To whom mails of a kind are owed."""
    with database.read() as tx:
        rows = tx.fetch_all(Statement(outbox_table.select().order_by(outbox_table.c.id)))
    return [row.recipient for row in rows if row.kind == kind]


def try_in(browser: Browser, name: str, password: str, **more: str) -> httpx.Response:
    browser.open("/sign_in/")
    return browser.send("/sign_in/", username=name, password=password, **more)


def turned_on(world: World, person: Person) -> tuple[TOTP, list[str]]:
    """Turn somebody's second factor on, a minute ago; give authenticator and recovery codes."""
    then = datetime.now(UTC) - timedelta(minutes=2)
    with world.database.write(then) as tx:
        two_factor_actions.begin(tx, person.actor, world.vault)
        secret = two_factor_actions.unconfirmed(tx, person.actor, world.vault, "Collegium")
        assert secret is not None
        authenticator = TOTP(secret.text)
        codes = two_factor_actions.confirm(tx, person.actor, world.vault, authenticator.at(then))
    return authenticator, codes


def secret_on(page: httpx.Response) -> str:
    return str(re.findall(r'class="secret">(\w+)<', page.text)[0])


def test_the_right_password_lets_in_and_leads_where_one_wanted_to_go(
    browser: Browser, world: World
) -> None:
    world.person("ada", password=HASHED)
    answer = try_in(browser, "ada", PASSWORD, next="/account/keys/")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/account/keys/"
    assert browser.open("/account/").status_code == 200
    left = browser.send("/sign_out/")
    assert left.headers["clear-site-data"] == '"cache", "storage"'
    assert browser.open("/account/").status_code == 303
    away = try_in(browser, "ada", PASSWORD, next="//evil.example/")
    assert away.headers["location"] == "/account/"


def test_a_wrong_password_an_unknown_name_and_an_account_switched_off_look_the_same(
    browser: Browser, world: World
) -> None:
    world.person("ada", password=HASHED)
    world.person("off", password=HASHED, is_active=False)
    seen = set()
    for name, password in (("ada", "wrong"), ("nobody", "wrong"), ("off", PASSWORD)):
        answer = try_in(browser, name, password)
        assert answer.status_code == 401
        seen.add(text(answer))
    assert len(seen) == 1


def test_tries_are_counted_together_with_those_of_the_api(
    browser: Browser, site: Site, world: World
) -> None:
    world.person("ada", password=HASHED)
    for _ in range(4):
        site.post("/api-auth/password/", json={"username": "ada", "password": "wrong"})
    answer = try_in(browser, "ada", PASSWORD)
    assert answer.status_code == 401
    assert "Please try again in ten minutes" in text(answer)


def test_passwords_can_be_switched_off(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    world.person("ada", password=HASHED)
    browser = Browser(make_site(make_settings(authentication_methods="SAML2")))
    answer = try_in(browser, "ada", PASSWORD)
    assert answer.status_code == 401
    assert "is disabled" in text(answer)


def test_a_second_factor_is_asked_for_and_each_code_counts_once(
    browser: Browser, other: Browser, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    authenticator, codes = turned_on(world, ada)
    code = authenticator.now()
    answer = try_in(browser, "ada", PASSWORD, next="/account/keys/")
    assert answer.headers["location"] == "/sign_in/code/?next=/account/keys/"
    assert "collegium_session" not in browser.cookies
    browser.follow(answer)
    wrong = browser.send("/sign_in/code/", code="000000")
    assert wrong.status_code == 422
    assert "collegium_session" not in browser.cookies
    right = browser.send("/sign_in/code/", code=code, next="/account/keys/")
    assert right.headers["location"] == "/account/keys/"
    assert browser.open("/account/").status_code == 200

    # The same code a second time, and a recovery code twice.
    for given, status in ((code, 422), (codes[0], 303), (codes[0].upper(), 422)):
        other.cookies.clear()
        other.follow(try_in(other, "ada", PASSWORD))
        assert other.send("/sign_in/code/", code=given).status_code == status, given


def test_nobody_gets_to_the_code_without_the_password(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    authenticator, _codes = turned_on(world, ada)
    assert browser.open("/sign_in/code/").headers["location"] == "/sign_in/"
    browser.open("/sign_in/")
    for half in ("", "forged", world.vault.sign("half", ada.uuid, "x")):
        browser.cookies["collegium_half"] = half
        answer = browser.send("/sign_in/code/", code=authenticator.now())
        assert answer.headers["location"] == "/sign_in/"
        assert "collegium_session" not in browser.cookies


def test_half_a_sign_in_dies_with_the_password(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    authenticator, _codes = turned_on(world, ada)
    browser.follow(try_in(browser, "ada", PASSWORD))
    with world.database.write() as tx:
        password_actions.change(tx, ada.actor, "another hash")
    answer = browser.send("/sign_in/code/", code=authenticator.now())
    assert answer.headers["location"] == "/sign_in/"
    assert "collegium_session" not in browser.cookies


def test_codes_cannot_be_guessed_for_long(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    authenticator, _codes = turned_on(world, ada)
    browser.follow(try_in(browser, "ada", PASSWORD))
    for _ in range(6):
        assert browser.send("/sign_in/code/", code="000000").status_code == 422
    answer = browser.send("/sign_in/code/", code=authenticator.now())
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Please wait" in text(answer)


def test_the_password_alone_opens_no_api_where_a_second_factor_is_on(
    site: Site, world: World
) -> None:
    ada, bob = (world.person(name, password=HASHED) for name in ("ada", "bob"))
    turned_on(world, ada)
    given = {"username": "ada", "password": PASSWORD}
    assert site.post("/api-auth/password/", json=given).status_code == 401
    assert site.get("/api/users/me/", ada).status_code == 401  # it was to be had by the password
    given["username"] = bob.actor.username
    assert site.post("/api-auth/password/", json=given).status_code == 200


def test_a_second_factor_is_turned_on_and_off_with_its_codes(
    browser: Browser, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    browser.sign_in(world, ada)
    here = "/account/second_factor/"
    browser.open(here)
    assert browser.send(here, action="begin", password="wrong").status_code == 422
    page = browser.follow(browser.send(here, action="begin", password=PASSWORD))
    assert '<svg role="img"' in page.text
    secret = re.search(r'class="secret">(\w+)<', page.text)
    assert secret
    authenticator = TOTP(secret[1])
    with world.database.read() as tx:
        assert not two_factor_queries.is_on(tx, ada.id)
    assert browser.send(here, action="confirm", code="000000").status_code == 422
    shown = browser.send(here, action="confirm", code=authenticator.now())
    codes = re.findall(r'class="code">([\w-]+)<', shown.text)
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"([0-9a-f]{4}-){3}[0-9a-f]{4}", code) for code in codes)  # 64 bits
    page = browser.open(here)
    assert secret[1] not in page.text
    assert not any(code in page.text for code in codes)
    with world.database.read() as tx:
        assert two_factor_queries.is_on(tx, ada.id)
        stored = tx.fetch_all(Statement(recovery_codes.select()))
        row = two_factor_queries.of_account(tx, ada.id)
    assert row is not None
    assert secret[1].encode() not in bytes(row.secret_encrypted)
    plain = {code.replace("-", "").encode() for code in codes}
    assert not plain & {bytes(one.code_hash) for one in stored}
    # Not with a wrong code; with a recovery code, the others are dead afterwards.
    assert browser.send(here, action="remove", code="000000").status_code == 422
    renewed = browser.send(here, action="codes", code=codes[0])
    fresh = re.findall(r'class="code">([\w-]+)<', renewed.text)
    assert not set(fresh) & set(codes)
    browser.open(here)
    assert browser.send(here, action="remove", code=codes[1]).status_code == 422
    assert browser.send(here, action="remove", code=fresh[0]).status_code == 303
    with world.database.read() as tx:
        assert not two_factor_queries.is_on(tx, ada.id)


def test_a_step_is_never_taken_twice_nor_one_before_it(world: World) -> None:
    ada = world.person("ada")
    authenticator, _codes = turned_on(world, ada)
    now = datetime.now(UTC)
    for at, code_of, is_taken in (
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
        assert (refusal and refusal.code) == (None if is_taken else "second_factor.wrong")


def test_staff_alone_turns_off_the_second_factor_of_another(world: World) -> None:
    ada = world.person("ada")
    turned_on(world, ada)
    with world.database.write() as tx, pytest.raises(Forbidden):
        two_factor_actions.reset(tx, ada.actor, ada.uuid)
    with world.database.write() as tx:
        two_factor_actions.reset(tx, world.staff.actor, ada.uuid)
    with world.database.write() as tx, pytest.raises(Conflict):
        two_factor_actions.reset(tx, world.staff.actor, ada.uuid)


def test_nobody_turns_on_a_second_factor_that_somebody_else_began(
    site: Site, browser: Browser, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    here = "/account/second_factor/"
    thief = Browser(site).sign_in(world, ada)

    def begin(who: Browser) -> str:
        who.open(here)
        page = who.follow(who.send(here, action="begin", password=PASSWORD))
        return secret_on(page)

    planted = begin(thief)
    # Whoever knows this secret would have the codes of the owner's authenticator for ever.
    browser.sign_in(world, ada)
    page = browser.open(here)
    assert planted not in page.text
    assert "Set up" in text(page)
    refused = browser.send(here, action="confirm", code=TOTP(planted).now())
    assert refused.status_code == 422
    assert planted not in refused.text
    own = begin(browser)
    assert own != planted
    assert own not in thief.open(here).text
    assert thief.send(here, action="confirm", code=TOTP(own).now()).status_code == 422
    assert own in browser.open(here).text
    assert browser.send(here, action="confirm", code=TOTP(own).now()).status_code == 200
    assert thief.open(here).status_code == 303


def test_a_second_factor_that_was_begun_before_the_upgrade_is_begun_anew(
    browser: Browser, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    secret = random_base32()
    with world.database.write() as tx:
        two_factor_queries.replace(
            tx, ada.id, world.vault.digest(secret), world.vault.encrypt(secret)
        )
    page = browser.sign_in(world, ada).open("/account/second_factor/")
    assert secret not in page.text
    assert "Set up" in text(page)
    # One that was on goes on.
    with world.database.write() as tx:
        two_factor_queries.confirm(tx, ada.id)
        assert two_factor_actions.check(tx, world.vault, ada.actor, TOTP(secret).at(tx.now)) is None


def test_staff_turn_their_own_second_factor_off_with_a_code_alone(
    browser: Browser, world: World
) -> None:
    boss = world.person("boss", is_staff=True, password=HASHED)
    _authenticator, codes = turned_on(world, boss)
    browser.sign_in(world, boss)
    path = f"/staff/accounts/{boss.uuid}/"
    assert 'value="second_factor"' not in browser.open(path).text
    refused = browser.send(path, action="second_factor")
    assert refused.status_code == 422
    assert "go to the page of your account and enter a code" in text(refused)
    with world.database.read() as tx:
        assert two_factor_queries.is_on(tx, boss.id)
    browser.open("/account/second_factor/")
    off = browser.send("/account/second_factor/", action="remove", code=codes[0])
    assert off.status_code == 303
    ada = world.person("ada")
    turned_on(world, ada)
    assert 'value="second_factor"' in browser.open(f"/staff/accounts/{ada.uuid}/").text


def test_a_forgotten_password_tells_nobody_who_has_an_account(
    browser: Browser, world: World, database: Database
) -> None:
    world.person("ada", password=HASHED)
    world.person("far", registration_method="eduteams")
    world.person("off", is_active=False)
    seen = set()
    for address in ("ADA@example.org", "nobody@example.org", "far@example.org", "off@example.org"):
        browser.open("/forgotten_password/")
        answer = browser.send("/forgotten_password/", email=address)
        assert answer.status_code == 200
        seen.add(text(answer).replace(address, "…"))
    assert len(seen) == 1
    assert owed(database, "password_reset") == ["ada@example.org"]
    browser.open("/forgotten_password/")
    assert browser.send("/forgotten_password/", email="no address").status_code == 422


def _link(world: World, person: Person, ago: timedelta = timedelta()) -> str:
    with world.database.read() as tx:
        account = account_queries.with_password(tx, id=person.id)
    made = password_actions.link(world.vault, account, datetime.now(UTC) - ago)
    return f"/{password_actions.RESET}/{made}/"


def test_a_link_sets_a_password_once(browser: Browser, other: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    other.sign_in(world, ada)
    link = _link(world, ada)
    twin = _link(world, ada)
    assert "ada" in text(browser.open(link))
    for password, again in (("short", "short"), ("adaadaada", "adaadaada"), (PASSWORD, "other")):
        assert browser.send(link, password=password, again=again).status_code == 422
    new = "a quiet harbour at night"
    assert browser.send(link, password=new, again=new).headers["location"] == "/sign_in/"
    # Whoever was signed in is out, the link is used up, and so is the one beside it.
    assert other.open("/account/").status_code == 303
    for used in (link, twin):
        assert browser.open(used).status_code == 410
    assert try_in(browser, "ada", PASSWORD).status_code == 401
    assert try_in(browser, "ada", new).status_code == 303


def test_a_new_password_leaves_the_second_factor_on(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    turned_on(world, ada)
    link, new = _link(world, ada), "a quiet harbour at night"
    browser.open(link)
    assert browser.send(link, password=new, again=new).headers["location"] == "/sign_in/"
    assert try_in(browser, "ada", new).headers["location"] == "/sign_in/code/"
    assert "collegium_session" not in browser.cookies


def test_a_password_is_hidden_filled_in_by_managers_and_taken_as_it_is(
    browser: Browser, world: World
) -> None:
    link = _link(world, world.person("ada", password=HASHED))
    new = f" Two  Winds \N{SNOWMAN} {'x' * 90} "
    page = browser.open(link)
    assert 'name="password" type="password" autocomplete="new-password"' in page.text
    assert browser.send(link, password=new, again=new).headers["location"] == "/sign_in/"
    page = browser.open("/sign_in/")
    assert 'name="password" type="password" autocomplete="current-password"' in page.text
    for other in (new.strip(), new.lower(), new[:72]):
        assert try_in(browser, "ada", other).status_code == 401
    assert try_in(browser, "ada", new).status_code == 303


def test_a_link_to_set_a_password_dies(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    assert browser.open(_link(world, ada, timedelta(minutes=59))).status_code == 200
    assert browser.open(_link(world, ada, timedelta(minutes=61))).status_code == 410
    other_purpose = world.vault.sign("invitation", ada.uuid, datetime.now(UTC).isoformat(), "x")
    for token in ("abc", other_purpose):
        assert browser.open(f"/{password_actions.RESET}/{token}/").status_code == 410
    link = _link(world, ada)
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"email": "moved@example.org"})
    assert browser.open(link).status_code == 410


def test_the_mail_holds_a_link_that_works(
    browser: Browser, world: World, database: Database, settings: Settings
) -> None:
    world.person("ada", password=HASHED)
    browser.open("/forgotten_password/")
    browser.send("/forgotten_password/", email="ada@example.org")
    with database.write() as tx:
        (row,) = (one for one in outbox_queries.claim(tx, 10, 60) if one.kind == "password_reset")
        message = mails.render(tx, settings, world.vault, row)
    body = message.get_body(("plain",))
    assert body is not None
    found = re.search(r"http://[^/]+(/password_reset/[^\s]+/)", body.get_content())
    assert found
    assert browser.open(found[1]).status_code == 200
