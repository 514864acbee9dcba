"""Tokens of every kind: who sees them, how long they are valid, what ends them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP

from collegium import staff_command
from tests.sign_in.test_device_pages import begin, decide, poll
from tests.sign_in.test_pages import (
    HASHED,
    PASSWORD,
    TWO_FACTOR,
    begin_two_factor,
    secret_on,
    send_sign_in_form,
)
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World

ME = "/api/users/me/"
TOKENS = "/account/tokens/"
DELEGATED = ("personal", "device", "access")
INACTIVE = {"detail": "User inactive or deleted."}
INVALID = {"detail": "Invalid token."}


@pytest.fixture
def boss(world: World) -> Person:
    return world.person("boss", is_staff=True, password=HASHED)


def personal(browser: Browser, name: str = "nightly copy") -> str:
    browser.open(TOKENS)
    return secret_on(browser.send(TOKENS, name=name))


def pair(site: Site, person: Person) -> dict[str, Any]:
    body = {"email": person.email, "password": PASSWORD}
    response = site.post("/api/auth/token/", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def delegated(site: Site, world: World, person: Person) -> dict[str, str]:
    """Create one token of each kind that programs use."""
    browser = Browser(site).sign_in(world, person)
    device = begin(site, client_name="lab script")
    proof = {"password": PASSWORD} if person.actor.is_staff else {}
    assert decide(browser, device, **proof).is_success
    return {
        "personal": personal(browser),
        "device": poll(site, device)["token"],
        "access": pair(site, person)["access"],
    }


def is_valid(site: Site, token: str) -> bool:
    return site.get(ME, token).status_code == 200


def valid_kinds(site: Site, tokens: dict[str, str]) -> set[str]:
    return {kind for kind, token in tokens.items() if is_valid(site, token)}


def refresh(site: Site, token: str) -> httpx.Response:
    return site.post("/api/auth/token/refresh/", json={"refresh": token})


def patch(site: Site, person: Person, caller: Person | str, **body: Any) -> httpx.Response:
    return site.request("PATCH", f"/api/users/{person.uuid}/", caller, json=body)


def impersonating(person: Person) -> dict[str, str]:
    return {"X-Impersonated-User-Uuid": person.uuid}


def test_api_token_is_shown_to_itself_only(site: Site, world: World, ada: Person) -> None:
    path = f"/api/users/{ada.uuid}/"
    for url in (ME, path):
        assert site.get(url, ada).json()["token"] == ada.token
    for kind, token in delegated(site, world, ada).items():
        for url in (ME, path, f"{ME}?field=token&field=uuid"):
            response = site.get(url, token)
            assert response.status_code == 200
            assert ada.token not in response.text, kind
            assert "token" not in response.json()


def test_program_neither_renews_the_api_token_nor_changes_its_lifetime(
    site: Site, world: World, ada: Person
) -> None:
    renew = f"/api/users/{ada.uuid}/refresh_token/"
    for kind, token in delegated(site, world, ada).items():
        response = site.post(renew, token)
        assert response.status_code == 403, kind
        assert response.json() == {"detail": "You do not have permission to perform this action."}
        for lifetime in (None, 7200):
            refused = patch(site, ada, token, token_lifetime=lifetime)
            assert refused.status_code == 400, kind
            assert list(refused.json()) == ["token_lifetime"]
        # The unchanged lifetime may be sent back.
        same = patch(site, ada, token, token_lifetime=3600, job_title=kind)
        assert same.status_code == 200
    profile = site.get(ME, ada).json()
    assert (profile["token"], profile["token_lifetime"]) == (ada.token, 3600)
    assert profile["job_title"] == "access"
    assert patch(site, ada, ada, token_lifetime=7200).status_code == 200
    renewed = site.post(renew, ada)
    assert renewed.status_code == 200
    assert not is_valid(site, ada.token)
    assert is_valid(site, renewed.json()["token"])


def test_staff_read_and_renew_tokens_of_others_but_not_their_own_through_a_program(
    site: Site, world: World, ada: Person, boss: Person
) -> None:
    own, other = f"/api/users/{boss.uuid}/", f"/api/users/{ada.uuid}/"
    for kind, token in delegated(site, world, boss).items():
        assert site.get(f"{other}token/", token).json()["token"] == ada.token
        assert site.get(f"{own}token/", token).status_code == 403, kind
        assert site.post(f"{own}refresh_token/", token).status_code == 403, kind
        # Nor by impersonating staff.
        headers = impersonating(world.staff)
        assert site.get(f"{own}token/", token, headers=headers).status_code == 403, kind
    assert site.get(f"{own}token/", boss).json()["token"] == boss.token
    assert "token" not in site.get(ME, world.staff, headers=impersonating(boss)).json()


def test_staff_do_not_set_their_own_password_through_a_program(
    site: Site, world: World, boss: Person
) -> None:
    body = {"new_password": "another-and-a-ship"}
    own = f"/api/users/{boss.uuid}/change_password/"
    for kind, token in delegated(site, world, boss).items():
        for headers in ({}, impersonating(world.staff)):
            assert site.post(own, token, json=body, headers=headers).status_code == 403, kind
        assert is_valid(site, token), kind
        other = f"/api/users/{world.person().uuid}/change_password/"
        assert site.post(other, token, json=body).status_code == 200, kind
    assert site.post(own, boss, json=body).status_code == 200


@pytest.mark.parametrize(("maximum", "seconds"), [("365d", 365 * 86400), ("2h", 7200)])
def test_people_set_the_lifetime_of_their_token_up_to_the_maximum(
    site_with: Callable[..., Site], ada: Person, maximum: str, seconds: int
) -> None:
    site = site_with(token_lifetime_max=maximum)
    for wrong in (None, seconds + 1, 2**31 - 1, 2**31, 10**19):
        refused = patch(site, ada, ada, token_lifetime=wrong)
        assert refused.status_code == 400
        assert list(refused.json()) == ["token_lifetime"]
    assert patch(site, ada, ada, token_lifetime=seconds).json()["token_lifetime"] == seconds


def test_only_staff_make_a_token_permanent_and_not_their_own(
    site: Site, world: World, ada: Person, boss: Person
) -> None:
    own = patch(site, boss, boss, token_lifetime=None, agree_with_policy=True)
    assert own.status_code == 400
    assert patch(site, ada, world.staff, token_lifetime=None).status_code == 200
    profile = site.get(ME, ada).json()
    assert (profile["token_lifetime"], profile["token_expires_at"]) == (None, None)
    # The owner may keep or shorten the lifetime, and not remove the limit again.
    for lifetime, status in ((None, 200), (60, 200), (None, 400)):
        assert patch(site, ada, ada, token_lifetime=lifetime).status_code == status
    for person in (world.person("help", is_support=True), world.person()):
        assert patch(site, ada, person, token_lifetime=None).status_code in {403, 404}


@pytest.mark.parametrize("kind", ["api", *DELEGATED])
def test_logging_out_ends_the_token_of_the_request_only(
    site: Site, world: World, ada: Person, kind: str
) -> None:
    login = pair(site, ada)
    tokens = {"api": ada.token, **delegated(site, world, ada), "access": login["access"]}
    assert site.post("/api-auth/logout/", tokens[kind]).status_code == 204
    assert valid_kinds(site, tokens) == tokens.keys() - {kind}
    assert refresh(site, login["refresh"]).status_code == (401 if kind == "access" else 200)


def test_logging_out_while_impersonating_ends_the_token_of_staff(
    site: Site, world: World, ada: Person
) -> None:
    headers = impersonating(ada)
    assert site.post("/api-auth/logout/", world.staff, headers=headers).status_code == 204
    assert is_valid(site, ada.token)
    assert not is_valid(site, world.staff.token)


def test_deactivation_ends_all_tokens_and_activation_restores_none(
    site: Site, world: World, ada: Person
) -> None:
    login = pair(site, ada)
    tokens = {"api": ada.token, **delegated(site, world, ada), "pair": login["access"]}
    browser = Browser(site).sign_in(world, ada)
    device = begin(site)
    assert decide(browser, device).status_code == 200
    path = f"/api/users/{ada.uuid}/"
    assert patch(site, ada, world.staff, is_active=False).status_code == 200
    assert site.get(ME, ada).json() == INACTIVE
    assert valid_kinds(site, tokens) == set()
    assert site.get(path, world.staff).json()["has_active_session"] is False
    assert site.get(f"{path}token/", world.staff).status_code == 404
    assert patch(site, ada, world.staff, is_active=True).status_code == 200
    assert site.get(ME, ada).json() == INVALID
    assert valid_kinds(site, tokens) == set()
    assert refresh(site, login["refresh"]).status_code == 401
    assert browser.open("/account/").status_code == 303
    assert "token" not in poll(site, device)
    body = {"username": "ada", "password": PASSWORD}
    token = site.post("/api-auth/password/", json=body).json()["token"]
    assert token != ada.token
    assert is_valid(site, token)


def test_activation_restores_no_token_of_an_earlier_release(site: Site, world: World) -> None:
    inactive = world.person("off", is_active=False)
    assert patch(site, inactive, world.staff, is_active=True).status_code == 200
    assert site.get(ME, inactive).json() == INVALID


def test_command_line_restores_no_token_of_a_deactivated_account(
    site: Site, world: World, boss: Person
) -> None:
    personal_token = personal(Browser(site).sign_in(world, boss))
    assert patch(site, boss, world.staff, is_active=False).status_code == 200
    _uuid, token = staff_command.ensure_staff(
        world.database, world.settings, world.vault, "boss", "boss@example.org", None
    )
    assert is_valid(site, token)
    assert not is_valid(site, boss.token)
    assert not is_valid(site, personal_token)


def test_enabling_two_factor_ends_tokens_and_sessions_of_the_password_alone(
    site: Site, browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    login = pair(site, ada)
    tokens = {"api": ada.token, **delegated(site, world, ada), "pair": login["access"]}
    other.sign_in(world, ada)
    send_sign_in_form(browser, "ada", PASSWORD)
    secret = begin_two_factor(browser)
    # Nothing ends before the first right code.
    assert browser.send(TWO_FACTOR, action="confirm", code="000000").status_code == 422
    assert valid_kinds(site, tokens) == tokens.keys()
    assert browser.send(TWO_FACTOR, action="confirm", code=TOTP(secret).now()).status_code == 200
    assert valid_kinds(site, tokens) == set()
    assert refresh(site, login["refresh"]).status_code == 401
    assert other.open("/account/").status_code == 303
    assert browser.open("/account/").status_code == 200
    assert is_valid(site, personal(browser, "new"))
    # Staff can impersonate the account without a token of it.
    assert site.get(ME, world.staff, headers=impersonating(ada)).json()["username"] == "ada"


def test_reused_refresh_token_ends_its_token_family(site: Site, world: World, ada: Person) -> None:
    other, first = pair(site, ada), pair(site, ada)
    second = refresh(site, first["refresh"]).json()
    third = refresh(site, second["refresh"]).json()
    assert is_valid(site, third["access"])
    assert not is_valid(site, second["access"])
    assert refresh(site, first["refresh"]).status_code == 401
    assert not is_valid(site, third["access"])
    for spent in (third, second, first):
        assert refresh(site, spent["refresh"]).status_code == 401
    # Another login of the same account is another family.
    assert is_valid(site, other["access"])
    assert refresh(site, other["refresh"]).status_code == 200
    assert len(site.get("/api/events/?event_type=token_reused", world.staff).json()) == 1


def test_invalid_refresh_token_ends_nothing(site: Site, world: World, ada: Person) -> None:
    login = pair(site, ada)
    forged = world.vault.sign("another purpose", ada.id, "0" * 32, "x")
    for wrong in (login["access"], ada.token, f"clg_{forged}", login["refresh"][:-1], "clg_"):
        assert refresh(site, wrong).status_code == 401
    assert is_valid(site, login["access"])
    assert refresh(site, login["refresh"]).status_code == 200


def test_token_page_lists_and_ends_every_kind_of_token(
    site: Site, browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    login = pair(site, ada)
    tokens = delegated(site, world, ada)
    assert site.post("/api-auth/logout/", tokens["access"]).status_code == 204
    names = {
        "API token": ada.token,
        "nightly copy": tokens["personal"],
        "lab script": tokens["device"],
        "signed in with your password": login["access"],
    }
    other.sign_in(world, ada)
    browser.sign_in(world, ada).open(TOKENS)
    stranger = Browser(site).sign_in(world, world.person())
    stranger.open(TOKENS)
    for number in ("", "x", "9" * 30):
        response = browser.send(f"{TOKENS}end/", kind="token", number=number)
        assert response.status_code == 404
    for name, token in names.items():
        page = browser.open(TOKENS)
        assert token not in page.text
        assert name in text(page)
        (row,) = (row for row in re.findall(r"(?s)<tr[^>]*>(.*?)</tr>", page.text) if name in row)
        for label in ("Name", "Created", "Last used", "Expires"):
            assert f'data-label="{label}"' in row
        end = {"kind": "token", "number": re.findall(r'name="number" value="(\d+)"', row)[0]}
        assert stranger.send(f"{TOKENS}end/", **end).status_code == 404
        assert is_valid(site, token)
        assert browser.send(f"{TOKENS}end/", **end).status_code == 303
        assert not is_valid(site, token)
        assert name not in text(browser.open(TOKENS))
    assert refresh(site, login["refresh"]).status_code == 401
    assert other.open("/account/").status_code == 200


def test_token_page_lists_sessions_and_ends_one(
    site: Site, browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    third = Browser(site)
    for one, name in ((browser, "Phone"), (other, "Library"), (third, "Opera on a Mac")):
        one.sign_in(world, ada, name)
    Browser(site).sign_in(world, world.person())

    def sessions() -> dict[str, str]:
        """Return the row of each session on the page."""
        table = re.findall(r"(?s)<h2>Sessions</h2>(.*?)</table>", browser.open(TOKENS).text)[0]
        rows = re.findall(r"(?s)<tr[^>]*>(.*?)</tr>", table)[1:]
        return {re.findall("<bdi>(.*?)</bdi>", row)[0]: row for row in rows}

    rows = sessions()
    assert rows.keys() == {"Phone", "Library", "Opera on a Mac"}
    assert [name for name in rows if "(this browser)" in rows[name]] == ["Phone"]
    for label in ("Signed in", "Last used", "Expires"):
        assert all(f'data-label="{label}"' in row for row in rows.values())
    assert "<button" not in rows["Phone"]
    end = dict(re.findall(r'name="(kind|number)" value="(\w+)"', rows["Library"]))
    assert browser.send(f"{TOKENS}end/", **end).status_code == 303
    assert sessions().keys() == {"Phone", "Opera on a Mac"}
    assert "Opera auf einem Mac" in browser.open(TOKENS, headers={"Accept-Language": "de"}).text
    assert [one.open("/account/").status_code for one in (browser, other, third)] == [200, 303, 200]


def test_one_button_ends_all_tokens_and_other_sessions(
    site: Site, browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    tokens = {"api": ada.token, **delegated(site, world, ada)}
    other.sign_in(world, ada)
    bob = world.person("bob")
    browser.sign_in(world, ada).open(TOKENS)
    assert browser.send(f"{TOKENS}end/", kind="everything").status_code == 303
    assert valid_kinds(site, tokens) == set()
    assert other.open("/account/").status_code == 303
    assert browser.open("/account/").status_code == 200
    assert is_valid(site, bob.token)


def test_token_page_shows_when_each_token_expires(
    site: Site, browser: Browser, world: World, ada: Person
) -> None:
    delegated(site, world, ada)
    browser.sign_in(world, ada)
    end = datetime.now(UTC) + timedelta(days=90)
    assert f"{end.day} {end:%B %Y}" in text(browser.open(TOKENS))
    patch(site, ada, world.staff, token_lifetime=None)
    assert "never" in text(browser.open(TOKENS))
