"""Sensitive changes on pages need a recent sign-in or confirmation."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from collegium.db.statements import Statement
from collegium.db.tables import tokens
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import TokenKind
from tests.sign_in.test_pages import HASHED, PASSWORD, enable_two_factor
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World

TOKENS = "/account/tokens/"
TITLE = "Confirm that it is you"


def leave_alone(world: World, person: Person, minutes: int = 16) -> None:
    """Let the sign-ins of a person be some minutes ago."""
    then = datetime.now(UTC) - timedelta(minutes=minutes)
    with world.database.write() as tx:
        tx.execute(
            Statement[Any](
                update(tokens).where(tokens.c.account_id == person.id).values(confirmed_at=then)
            )
        )


def names_of_tokens(world: World, person: Person) -> list[str]:
    with world.database.read() as tx:
        rows = token_queries.list_valid(tx, person.id, None)
    return [row.name for row, _ in rows if row.kind == TokenKind.PERSONAL]


def hidden_fields(page: httpx.Response) -> dict[str, str]:
    """Return the hidden fields of the form in the page's main part."""
    fields = re.findall(
        r'<input type="hidden" name="(\w+)"(?: autocomplete="\w+")? value="([^"]*)"',
        page.text[page.text.index("<main") :],
    )
    return {name: unescape(value) for name, value in fields}


def create_token(browser: Browser, name: str = "backup") -> httpx.Response:
    """Send the form that creates a token, with everything that the page put in it."""
    fields = hidden_fields(browser.open(TOKENS))
    return browser.send(TOKENS, submission=fields["submission"], name=name)


def test_change_a_while_after_the_sign_in_needs_the_password_and_then_continues(
    browser: Browser, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada)
    leave_alone(world, ada)
    page = create_token(browser, 'a "backup" & more')
    assert page.status_code == 403
    assert TITLE in text(page)
    for wrong in ({}, {"confirm_password": "wrong"}, {"confirm_code": "123456"}):
        page = browser.send(TOKENS, **(hidden_fields(page) | wrong))
        assert page.status_code == 403
        assert names_of_tokens(world, ada) == []
    assert "wrong" not in page.text
    form = hidden_fields(page) | {"confirm_password": PASSWORD}
    first, again = browser.send(TOKENS, **form), browser.send(TOKENS, **form)
    shown = [re.findall(r'class="secret">([^<]+)<', page.text) for page in (first, again)]
    assert shown[0]
    assert shown[0] == shown[1]
    assert names_of_tokens(world, ada) == ['a "backup" & more']
    assert create_token(browser, "second").status_code == 200


def test_confirmation_with_two_factor_needs_a_code_that_works_once(
    browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    authenticator, _codes = enable_two_factor(world, ada)
    code = authenticator.now()
    for each, status in ((browser, 200), (other, 403)):
        each.sign_in(world, ada)
        leave_alone(world, ada)
        page = create_token(each)
        for wrong in ({"confirm_password": PASSWORD}, {"confirm_code": "000000"}):
            assert each.send(TOKENS, **(hidden_fields(page) | wrong)).status_code == 403
        sent = each.send(TOKENS, **(hidden_fields(page) | {"confirm_code": code}))
        assert sent.status_code == status
    assert names_of_tokens(world, ada) == ["backup"]


def test_account_without_a_password_signs_in_again(browser: Browser, world: World) -> None:
    person = world.person("far")
    browser.sign_in(world, person)
    leave_alone(world, person)
    page = create_token(browser)
    assert page.status_code == 403
    assert "sign out and sign in again" in text(page)
    browser.sign_in(world, person)
    assert create_token(browser).status_code == 200


def test_session_from_before_the_upgrade_must_confirm(
    browser: Browser, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada)
    with world.database.write() as tx:
        tx.execute(Statement[Any](update(tokens).values(confirmed_at=None)))
    assert create_token(browser).status_code == 403


def test_confirmation_is_of_one_session(
    browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    for each in (browser, other):
        each.sign_in(world, ada)
    leave_alone(world, ada)
    page = create_token(browser)
    form = hidden_fields(page) | {"confirm_password": PASSWORD}
    assert browser.send(TOKENS, **form).status_code == 200
    assert create_token(other).status_code == 403


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/account/second_factor/", {"action": "begin"}),
        ("/staff/accounts/{ada}/", {"action": "second_factor"}),
        ("/staff/accounts/{ada}/", {"action": "password"}),
        (
            "/staff/accounts/new/",
            {
                "username": "eve",
                "email": "eve@example.org",
                "first_name": "Eve",
                "last_name": "Lee",
                "kind": "staff",
            },
        ),
    ],
)
def test_sensitive_change_needs_a_recent_sign_in(
    browser: Browser, world: World, ada: Person, path: str, form: dict[str, str]
) -> None:
    boss = world.person("boss", is_staff=True, password=HASHED)
    enable_two_factor(world, ada)
    browser.sign_in(world, boss)
    path = path.format(ada=ada.uuid)
    browser.open(path)
    for minutes, status in ((16, 403), (14, 303)):
        leave_alone(world, boss, minutes)
        assert browser.send(path, **form).status_code == status


@pytest.mark.parametrize(
    ("required_of", "concerned"),
    [("nobody", ""), ("staff", "boss helper"), ("everybody", "ada boss helper")],
)
def test_required_second_factor_is_set_up_before_anything_else(
    world: World, ada: Person, site_with: Any, required_of: str, concerned: str
) -> None:
    site: Site = site_with(two_factor_required=required_of)
    people = {
        "ada": ada,
        "boss": world.person("boss", is_staff=True, password=HASHED),
        "helper": world.person("helper", is_support=True, password=HASHED),
    }
    for name, person in people.items():
        browser = Browser(site).sign_in(world, person)
        login = {"username": name, "password": PASSWORD}
        bearer = {"Authorization": f"Bearer {person.token}"}
        answers = (
            browser.open("/account/"),
            site.get("/api/users/me/", person),
            site.get("/api/private/users/user/", headers=bearer),
            site.post("/api-auth/password/", json=login),
        )
        if name not in concerned:
            assert {answer.status_code for answer in answers} == {200}, name
            continue
        assert answers[0].headers["location"] == "/account/second_factor/"
        assert [answer.status_code for answer in answers[1:]] == [403] * 3
        for answer in answers[1:]:
            assert "Two-factor authentication is required" in answer.json()["detail"]
        page = browser.follow(answers[0])
        assert "requires two-factor authentication" in text(page)
        assert browser.send("/account/profile/", first_name="Eve").status_code == 303
        assert "Eve" not in browser.open("/account/second_factor/").text


def test_person_goes_on_after_setting_the_required_second_factor_up(
    world: World, ada: Person, site_with: Any
) -> None:
    site: Site = site_with(two_factor_required="everybody")
    browser = Browser(site)
    authenticator, codes = enable_two_factor(world, ada)
    browser.open("/sign_in/")
    browser.follow(browser.send("/sign_in/", username="ada", password=PASSWORD))
    assert browser.send("/sign_in/code/", code=authenticator.now()).status_code == 303
    page = create_token(browser)
    token = re.findall(r'class="secret">([^<]+)<', page.text)[0]
    assert site.get("/api/users/me/", token).status_code == 200
    # It cannot be turned off, and after staff have turned it off nothing else works.
    browser.open("/account/second_factor/")
    refused = browser.send("/account/second_factor/", action="remove", code=codes[0])
    assert refused.status_code == 422
    assert "cannot turn it off" in text(refused)
    admin = world.person("admin", is_staff=True)
    enable_two_factor(world, admin)
    admins = Browser(site).sign_in(world, admin)
    path = f"/staff/accounts/{ada.uuid}/"
    admins.open(path)
    assert admins.send(path, action="second_factor").status_code == 303
    # What they were signed in with may be in other hands.
    assert browser.open("/account/").headers["location"].startswith("/sign_in/")
    assert site.get("/api/users/me/", token).status_code == 401
    browser.open("/sign_in/")
    browser.follow(browser.send("/sign_in/", username="ada", password=PASSWORD))
    assert browser.open("/account/").headers["location"] == "/account/second_factor/"


def test_program_approved_in_a_session_with_a_second_factor_inherits_it(
    world: World, ada: Person, site_with: Any
) -> None:
    site: Site = site_with(two_factor_required="everybody")
    browser = Browser(site).sign_in(world, ada)
    with world.database.write() as tx:
        # As after a sign-in at a provider that asked for a second factor.
        row = token_queries.sessions(tx, ada.id)[0]
        token_queries.confirm(tx, ada.id, row.id, has_second_factor=True)
    device = site.post("/api/auth/device/", json={}).json()
    browser.open(f"/account/authorize/?session={device['session_id']}")
    sent = browser.send("/account/authorize/", action="approve", device=device["session_id"])
    assert sent.status_code == 200
    polled = site.post("/api/auth/device/token/", json={"device_code": device["device_code"]})
    token = polled.json()["token"]
    assert site.get("/api/users/me/", token).status_code == 200
