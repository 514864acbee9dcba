"""Tokens of every kind, over every protocol: who sees which, what ends them, and when."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP

from collegium.accounts import actions as account_actions
from collegium.settings import Settings
from tests.sign_in.test_pages import HASHED, PASSWORD, try_in
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World

ME = "/api/users/me/"
DELEGATED = ("personal", "device", "access")
AGREES = {"agree_with_policy": True}


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada", password=HASHED, agreed_at=datetime.now(UTC))


def personal(site: Site, world: World, person: Person, name: str = "nightly copy") -> str:
    browser = Browser(site).sign_in(world, person)
    browser.open("/account/tokens/")
    made = browser.send("/account/tokens/", name=name)
    return str(re.findall(r'class="secret">([^<]+)<', made.text)[0])


def device(site: Site, world: World, person: Person) -> str:
    begun = site.post("/api/auth/device/", json={"client_name": "lab script"}).json()
    browser = Browser(site).sign_in(world, person)
    page = browser.open(f"/account/authorize/?session={begun['session_id']}")
    uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
    more = {"password": PASSWORD} if person.actor.is_staff else {}
    assert browser.send("/account/authorize/", action="approve", device=uuid, **more).is_success
    poll = site.post("/api/auth/device/token/", json={"device_code": begun["device_code"]})
    return str(poll.json()["token"])


def pair(site: Site, person: Person) -> dict[str, Any]:
    given = {"email": person.email, "password": PASSWORD}
    answer = site.post("/api/auth/token/", json=given)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def delegated(site: Site, world: World, person: Person) -> dict[str, str]:
    """One token of each kind that programs are given."""
    return {
        "personal": personal(site, world, person),
        "device": device(site, world, person),
        "access": pair(site, person)["access"],
    }


def opens(site: Site, token: str) -> bool:
    return site.get(ME, token).status_code == 200


def refresh(site: Site, token: str) -> httpx.Response:
    return site.post("/api/auth/token/refresh/", json={"refresh": token})


# Who sees the API token.


def test_only_the_api_token_itself_sees_itself(site: Site, world: World, ada: Person) -> None:
    path = f"/api/users/{ada.uuid}/"
    for where in (ME, path):
        assert site.get(where, ada).json()["token"] == ada.token
    for kind, token in delegated(site, world, ada).items():
        for where in (ME, path, f"{ME}?field=token&field=uuid"):
            answer = site.get(where, token)
            assert answer.status_code == 200
            assert ada.token not in answer.text, kind
            assert "token" not in answer.json()


def test_a_program_neither_renews_the_api_token_nor_changes_its_lifetime(
    site: Site, world: World, ada: Person
) -> None:
    path = f"/api/users/{ada.uuid}/"
    for kind, token in delegated(site, world, ada).items():
        answer = site.post(f"{path}refresh_token/", token)
        assert answer.status_code == 403, kind
        assert answer.json() == {"detail": "You do not have permission to perform this action."}
        for lifetime in (None, 7200):
            refused = site.request("PATCH", path, token, json={"token_lifetime": lifetime})
            assert refused.status_code == 400, kind
            assert list(refused.json()) == ["token_lifetime"]
        # What is sent back as it was is no change, and goes with the rest.
        same = {"token_lifetime": 3600, "job_title": kind}
        assert site.request("PATCH", path, token, json=same).status_code == 200
    shown = site.get(ME, ada).json()
    assert (shown["token"], shown["token_lifetime"]) == (ada.token, 3600)
    assert shown["job_title"] == "access"
    assert site.request("PATCH", path, ada, json={"token_lifetime": 7200}).status_code == 200
    renewed = site.post(f"{path}refresh_token/", ada)
    assert renewed.status_code == 200
    assert not opens(site, ada.token)
    assert opens(site, renewed.json()["token"])


def test_staff_read_and_renew_tokens_of_others_but_not_their_own_through_a_program(
    site: Site, world: World, ada: Person
) -> None:
    boss = world.person("boss", is_staff=True, password=HASHED)
    own, hers = f"/api/users/{boss.uuid}/", f"/api/users/{ada.uuid}/"
    for kind, token in delegated(site, world, boss).items():
        assert site.get(f"{hers}token/", token).json()["token"] == ada.token
        assert site.get(f"{own}token/", token).status_code == 403, kind
        assert site.post(f"{own}refresh_token/", token).status_code == 403, kind
        # Nor by acting as somebody else who may read every token.
        acts = {"X-Impersonated-User-Uuid": world.staff.uuid}
        assert site.get(f"{own}token/", token, headers=acts).status_code == 403, kind
    assert site.get(f"{own}token/", boss).json()["token"] == boss.token
    acts = {"X-Impersonated-User-Uuid": boss.uuid}
    assert "token" not in site.get(ME, world.staff, headers=acts).json()


def test_staff_do_not_set_their_own_password_through_a_program(site: Site, world: World) -> None:
    boss = world.person("boss", is_staff=True, password=HASHED)
    body = {"new_password": "another-and-a-ship"}
    own = f"/api/users/{boss.uuid}/change_password/"
    acts = {"X-Impersonated-User-Uuid": world.staff.uuid}
    for kind, token in delegated(site, world, boss).items():
        assert site.post(own, token, json=body).status_code == 403, kind
        assert site.post(own, token, json=body, headers=acts).status_code == 403, kind
        assert opens(site, token), kind
        # That of others is theirs to set, as before.
        other = world.person()
        path = f"/api/users/{other.uuid}/change_password/"
        assert site.post(path, token, json=body).status_code == 200, kind
    assert site.post(own, boss, json=body).status_code == 200


# How long it lives.


@pytest.mark.parametrize(("most", "longest"), [("365d", 365 * 86400), ("2h", 7200)])
def test_people_give_their_token_a_lifetime_within_the_bound(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    ada: Person,
    most: str,
    longest: int,
) -> None:
    site = make_site(make_settings(token_lifetime_max=most))
    path = f"/api/users/{ada.uuid}/"
    for wrong in (None, longest + 1, 2**31 - 1, 2**31, 10**19):
        refused = site.request("PATCH", path, ada, json={"token_lifetime": wrong})
        assert refused.status_code == 400
        assert list(refused.json()) == ["token_lifetime"]
    fits = site.request("PATCH", path, ada, json={"token_lifetime": longest})
    assert fits.json()["token_lifetime"] == longest


def test_staff_make_the_token_of_another_endless_and_nobody_their_own(
    site: Site, world: World, ada: Person
) -> None:
    path = f"/api/users/{ada.uuid}/"
    boss = world.person("boss", is_staff=True)
    own = {"token_lifetime": None, **AGREES}
    assert site.request("PATCH", f"/api/users/{boss.uuid}/", boss, json=own).status_code == 400
    given = site.request("PATCH", path, boss, json={"token_lifetime": None})
    assert given.status_code == 200
    shown = site.get(ME, ada).json()
    assert (shown["token_lifetime"], shown["token_expires_at"]) == (None, None)
    # Sent back unchanged it stays; once made shorter it is not made endless again.
    for lifetime, status in ((None, 200), (60, 200), (None, 400)):
        answer = site.request("PATCH", path, ada, json={"token_lifetime": lifetime})
        assert answer.status_code == status
    support = world.person("help", is_support=True)
    for who in (support, world.person()):
        refused = site.request("PATCH", path, who, json={"token_lifetime": None})
        assert refused.status_code in {403, 404}


# What ends them.


@pytest.mark.parametrize("kind", ["api", *DELEGATED])
def test_logging_out_ends_the_token_that_was_shown_and_no_other(
    site: Site, world: World, ada: Person, kind: str
) -> None:
    both = pair(site, ada)
    held = {
        "api": ada.token,
        "personal": personal(site, world, ada),
        "device": device(site, world, ada),
        "access": both["access"],
    }
    assert site.post("/api-auth/logout/", held[kind]).status_code == 204
    assert {name for name, token in held.items() if not opens(site, token)} == {kind}
    assert refresh(site, both["refresh"]).status_code == (401 if kind == "access" else 200)


def test_logging_out_as_somebody_else_ends_the_token_of_staff(
    site: Site, world: World, ada: Person
) -> None:
    acts = {"X-Impersonated-User-Uuid": ada.uuid}
    assert site.post("/api-auth/logout/", world.staff, headers=acts).status_code == 204
    assert opens(site, ada.token)
    assert not opens(site, world.staff.token)


def test_deactivation_ends_every_token_and_activation_revives_none(
    site: Site, world: World, ada: Person
) -> None:
    both = pair(site, ada)
    held = {"api": ada.token, **delegated(site, world, ada), "pair": both["access"]}
    browser = Browser(site).sign_in(world, ada)
    waiting = site.post("/api/auth/device/", json={}).json()
    page = browser.open(f"/account/authorize/?session={waiting['session_id']}")
    uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
    assert browser.send("/account/authorize/", action="approve", device=uuid).status_code == 200
    path = f"/api/users/{ada.uuid}/"
    off = site.request("PATCH", path, world.staff, json={"is_active": False})
    assert off.status_code == 200
    assert site.get(ME, ada).json() == {"detail": "User inactive or deleted."}
    assert [one for one, token in held.items() if opens(site, token)] == []
    assert site.get(path, world.staff).json()["has_active_session"] is False
    assert site.get(f"{path}token/", world.staff).status_code == 404
    on = site.request("PATCH", path, world.staff, json={"is_active": True})
    assert on.status_code == 200
    assert site.get(ME, ada).json() == {"detail": "Invalid token."}
    assert [one for one, token in held.items() if opens(site, token)] == []
    assert refresh(site, both["refresh"]).status_code == 401
    assert browser.open("/account/").status_code == 303
    poll = site.post("/api/auth/device/token/", json={"device_code": waiting["device_code"]})
    assert "token" not in poll.json()
    body = {"username": "ada", "password": PASSWORD}
    again = site.post("/api-auth/password/", json=body).json()["token"]
    assert again != ada.token
    assert opens(site, again)


def test_activation_revives_no_token_that_an_earlier_release_left(site: Site, world: World) -> None:
    gone = world.person("gone", is_active=False)
    path = f"/api/users/{gone.uuid}/"
    assert site.request("PATCH", path, world.staff, json={"is_active": True}).status_code == 200
    assert site.get(ME, gone).json() == {"detail": "Invalid token."}


def test_the_command_line_revives_no_token_of_an_account_that_was_deactivated(
    site: Site, world: World
) -> None:
    boss = world.person("boss", is_staff=True, password=HASHED)
    personal_token = personal(site, world, boss)
    path = f"/api/users/{boss.uuid}/"
    assert site.request("PATCH", path, world.staff, json={"is_active": False}).status_code == 200
    _uuid, token = account_actions.ensure_staff(
        world.database, world.settings, world.vault, "boss", "boss@example.org", None
    )
    assert opens(site, token)
    assert not opens(site, boss.token)
    assert not opens(site, personal_token)


def test_turning_the_second_factor_on_ends_what_the_password_alone_had_got(
    site: Site, world: World, ada: Person
) -> None:
    both = pair(site, ada)
    held = {"api": ada.token, **delegated(site, world, ada), "pair": both["access"]}
    other = Browser(site).sign_in(world, ada)
    browser = Browser(site)
    try_in(browser, "ada", PASSWORD)
    here = "/account/second_factor/"
    browser.open(here)
    page = browser.follow(browser.send(here, action="begin", password=PASSWORD))
    secret = re.findall(r'class="secret">(\w+)<', page.text)[0]
    # Nothing ends before the first code has shown that it works.
    assert browser.send(here, action="confirm", code="000000").status_code == 422
    assert all(opens(site, token) for token in held.values())
    assert browser.send(here, action="confirm", code=TOTP(secret).now()).status_code == 200
    assert [one for one, token in held.items() if opens(site, token)] == []
    assert refresh(site, both["refresh"]).status_code == 401
    assert other.open("/account/").status_code == 303
    assert browser.open("/account/").status_code == 200
    # A token that is made afterwards was made with the second factor.
    browser.open("/account/tokens/")
    made = browser.send("/account/tokens/", name="new")
    token = re.findall(r'class="secret">([^<]+)<', made.text)[0]
    assert opens(site, token)
    # Staff act as this account all the same.
    acts = {"X-Impersonated-User-Uuid": ada.uuid}
    assert site.get(ME, world.staff, headers=acts).json()["username"] == "ada"


def test_a_refresh_token_that_is_shown_again_ends_its_whole_family(
    site: Site, world: World, ada: Person
) -> None:
    other = pair(site, ada)
    first = pair(site, ada)
    second = refresh(site, first["refresh"]).json()
    third = refresh(site, second["refresh"]).json()
    assert opens(site, third["access"])
    assert not opens(site, second["access"])
    assert refresh(site, first["refresh"]).status_code == 401
    assert not opens(site, third["access"])
    for spent in (third, second, first):
        assert refresh(site, spent["refresh"]).status_code == 401
    # Another login of the same account is another family.
    assert opens(site, other["access"])
    assert refresh(site, other["refresh"]).status_code == 200
    listed = site.get("/api/events/?event_type=token_reused", world.staff).json()
    assert len(listed) == 1


def test_what_is_no_refresh_token_of_ours_ends_nothing(
    site: Site, world: World, ada: Person
) -> None:
    both = pair(site, ada)
    forged = world.vault.sign("another purpose", ada.id, "0" * 32, "x")
    for wrong in (both["access"], ada.token, f"clg_{forged}", both["refresh"][:-1], "clg_"):
        assert refresh(site, wrong).status_code == 401
    assert opens(site, both["access"])
    assert refresh(site, both["refresh"]).status_code == 200


# The page.


def test_the_page_lists_every_kind_with_what_it_is_for_and_ends_each(
    site: Site, world: World, ada: Person
) -> None:
    both = pair(site, ada)
    held = {
        "API token": ada.token,
        "nightly copy": personal(site, world, ada),
        "lab script": device(site, world, ada),
        "signed in with your password": both["access"],
    }
    other = Browser(site).sign_in(world, ada)
    browser = Browser(site).sign_in(world, ada)
    stranger = Browser(site).sign_in(world, world.person())
    stranger.open("/account/tokens/")
    for what, token in held.items():
        page = browser.open("/account/tokens/")
        assert what in text(page)
        rows = re.findall(r"(?s)<tr[^>]*>(.*?)</tr>", page.text)
        (row,) = [one for one in rows if what in one]
        for label in ("Name", "Created", "Last used", "Expires"):
            assert f'data-label="{label}"' in row
        number = re.findall(r'name="number" value="(\d+)"', row)[0]
        end = {"kind": "token", "number": number}
        assert stranger.send("/account/tokens/end/", **end).status_code == 404
        assert opens(site, token)
        assert browser.send("/account/tokens/end/", **end).status_code == 303
        assert not opens(site, token)
        assert what not in text(browser.open("/account/tokens/"))
    assert refresh(site, both["refresh"]).status_code == 401
    assert other.open("/account/").status_code == 200


def test_everything_else_is_ended_with_one_button(site: Site, world: World, ada: Person) -> None:
    held = {"api": ada.token, **delegated(site, world, ada)}
    other = Browser(site).sign_in(world, ada)
    browser = Browser(site).sign_in(world, ada)
    bob = world.person("bob")
    browser.open("/account/tokens/")
    assert browser.send("/account/tokens/end/", kind="everything").status_code == 303
    assert [one for one, token in held.items() if opens(site, token)] == []
    assert other.open("/account/").status_code == 303
    assert browser.open("/account/").status_code == 200
    assert opens(site, bob.token)


def test_the_list_says_when_each_token_expires(site: Site, world: World, ada: Person) -> None:
    device(site, world, ada)
    page = text(Browser(site).sign_in(world, ada).open("/account/tokens/"))
    until = datetime.now(UTC) + timedelta(days=90)
    assert f"{until.day} {until:%B %Y}" in page
    site.request("PATCH", f"/api/users/{ada.uuid}/", world.staff, json={"token_lifetime": None})
    assert "never" in text(Browser(site).sign_in(world, ada).open("/account/tokens/"))
