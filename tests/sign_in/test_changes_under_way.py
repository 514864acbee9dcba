"""What was verified before the password changed, or the factor came, and is written after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.database import WriteTransaction
from collegium.security.crypto import check_password, hash_password
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.devices import queries as device_queries
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import TokenKind
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.ssh_keys import queries as ssh_key_queries
from tests.sign_in.test_pages import HASHED, PASSWORD, turned_on
from tests.support.browser import Browser
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import World

NEW = "a quiet harbour at night"
OTHER = hash_password(NEW)
HELD_SECONDS = 0.4


class Scene:
    """Ada, a browser of hers, and what is under way for her."""

    def __init__(self, site: Site, world: World) -> None:
        self.site = site
        self.world = world
        self.ada = world.person("ada", password=HASHED)
        self.thief = Browser(site)

    def signed_in(self, path: str) -> Browser:
        """Her browser, which has a page open."""
        self.thief.sign_in(self.world, self.ada)
        self.thief.open(path)
        return self.thief

    def kinds(self) -> list[str]:
        """The kinds of the tokens that she has."""
        with self.world.database.read() as tx:
            held = [kind.value for kind in token_queries.count_by_kind(tx, self.ada.id)]
            return sorted(
                held + ([TokenKind.API.value] if token_queries.of_account(tx, self.ada.id) else [])
            )


@pytest.fixture
def scene(site: Site, world: World) -> Scene:
    return Scene(site, world)


def meanwhile(
    scene: Scene, act: Callable[[WriteTransaction], object], request: Any
) -> httpx.Response:
    """Send a request that verifies before, and writes after, the act of somebody else."""
    with ThreadPoolExecutor(1) as pool:
        with scene.world.database.write() as tx:
            # The account is locked from here on; on SQLite everybody who writes waits.
            act(tx)
            sent = pool.submit(request)
            time.sleep(HELD_SECONDS)
            assert not sent.done(), "it did not wait"
        answer: httpx.Response = sent.result(timeout=60)
    return answer


def log_in(path: str, field: str = "username") -> Any:
    def prepared(scene: Scene) -> Any:
        given = {field: "ada", "password": PASSWORD}
        return lambda: scene.site.post(path, json=given)

    return prepared


def sign_in(scene: Scene) -> Any:
    scene.thief.open("/sign_in/")
    return lambda: scene.thief.send("/sign_in/", username="ada", password=PASSWORD)


def give_code(scene: Scene) -> Any:
    authenticator, _codes = turned_on(scene.world, scene.ada)
    scene.thief.open("/sign_in/")
    half = scene.thief.send("/sign_in/", username="ada", password=PASSWORD)
    scene.thief.follow(half)
    return lambda: scene.thief.send("/sign_in/code/", code=authenticator.now())


def refresh(scene: Scene) -> Any:
    with scene.world.database.write() as tx:
        pair = token_actions.log_in_with_refresh(tx, scene.world.vault, scene.ada.actor, "password")
    given = {"refresh": pair.refresh}
    return lambda: scene.site.post("/api/auth/token/refresh/", json=given)


def renew_token(scene: Scene) -> Any:
    path = f"/api/users/{scene.ada.uuid}/refresh_token/"
    return lambda: scene.site.post(path, scene.ada)


def fetch(scene: Scene) -> Any:
    with scene.world.database.write() as tx:
        waiting = device_actions.begin(tx, scene.world.vault, "a program")
    with scene.world.database.write() as tx:
        device_actions.approve(tx, scene.ada.actor, waiting.uuid)
    given = {"device_code": waiting.device_code}
    return lambda: scene.site.post("/api/auth/device/token/", json=given)


def approve(scene: Scene) -> Any:
    with scene.world.database.write() as tx:
        waiting = device_actions.begin(tx, scene.world.vault, "a program")
    browser = scene.signed_in("/account/authorize/")
    browser.send("/account/authorize/", action="find", code=waiting.user_code)
    given = {"action": "approve", "device": waiting.uuid, "same": "yes"}
    return lambda: browser.send("/account/authorize/", **given)


def make_token(scene: Scene) -> Any:
    browser = scene.signed_in("/account/tokens/")
    return lambda: browser.send("/account/tokens/", name="for later")


def change_password(scene: Scene) -> Any:
    browser = scene.signed_in("/account/password/")
    new = "the thief's own words"
    given = {"current": PASSWORD, "password": new, "again": new}
    return lambda: browser.send("/account/password/", **given)


def begin_factor(scene: Scene) -> Any:
    browser = scene.signed_in("/account/second_factor/")
    return lambda: browser.send("/account/second_factor/", action="begin", password=PASSWORD)


def ask_for_address(scene: Scene) -> Any:
    browser = scene.signed_in("/account/address/")
    given = {"email": "thief@example.org", "password": PASSWORD}
    return lambda: browser.send("/account/address/", **given)


def ask_for_address_by_api(scene: Scene) -> Any:
    path = f"/api/users/{scene.ada.uuid}/change_email/"
    return lambda: scene.site.post(path, scene.ada, json={"email": "thief@example.org"})


def add_key(scene: Scene) -> Any:
    given = {"name": "thief", "public_key": new_key()}
    return lambda: scene.site.post("/api/keys/", scene.ada, json=given)


UNDER_WAY = {
    "log in": log_in("/api-auth/password/"),
    "log in, group API": log_in("/api/token/"),
    "log in briefly": log_in("/api/auth/token/"),
    "sign in": sign_in,
    "second factor": give_code,
    "refresh": refresh,
    "renew the API token": renew_token,
    "fetch": fetch,
    "approve": approve,
    "make a token": make_token,
    "change the password": change_password,
    "begin a second factor": begin_factor,
    "ask for an address": ask_for_address,
    "ask for an address by API": ask_for_address_by_api,
    "add a key": add_key,
}
"""What somebody does who knows the password, or holds a token, of before."""


@pytest.mark.parametrize("way", UNDER_WAY)
def test_another_password_ends_what_was_verified_before_it(scene: Scene, way: str) -> None:
    request = UNDER_WAY[way](scene)
    if way == "add a key" and not scene.world.database.is_sqlite:
        pytest.skip("on PostgreSQL it need not wait, and then comes first")
    answer = meanwhile(
        scene, lambda tx: password_actions.change(tx, scene.ada.actor, OTHER), request
    )
    assert scene.kinds() == [], (answer.status_code, answer.text[:300])
    with scene.world.database.read() as tx:
        assert email_change_queries.of_account(tx, scene.ada.id) is None
        assert ssh_key_queries.of_account(tx, scene.ada.id) == []
        assert device_queries.count_approved(tx, scene.ada.id) == 0
        factor = two_factor_queries.of_account(tx, scene.ada.id)
        account = account_queries.with_password(tx, id=scene.ada.id)
    assert (factor is not None) is (way == "second factor")
    assert account is not None
    assert check_password(account.password, NEW), "the new password is not the account's"


@pytest.mark.parametrize("way", UNDER_WAY)
def test_nothing_is_refused_where_only_somebody_else_was_busy(scene: Scene, way: str) -> None:
    request = UNDER_WAY[way](scene)
    before = scene.kinds()

    def act(tx: WriteTransaction) -> None:
        account_queries.change(tx, scene.ada.id, {"modified_at": tx.now})

    if way == "add a key" and not scene.world.database.is_sqlite:
        pytest.skip("on PostgreSQL it need not wait")
    answer = meanwhile(scene, act, request)
    assert answer.status_code in {200, 201, 303}, answer.text[:300]
    assert "/sign_in/" not in answer.headers.get("location", "")
    gives = {"log in briefly", "sign in", "second factor", "fetch", "make a token"}
    assert way not in gives or scene.kinds() != before


@pytest.mark.parametrize("way", ["log in", "log in, group API", "log in briefly", "sign in"])
def test_a_second_factor_ends_logins_that_were_verified_without_it(scene: Scene, way: str) -> None:
    turned_on(scene.world, scene.ada)
    with scene.world.database.write() as tx:
        two_factor_actions.reset(tx, scene.world.staff.actor, scene.ada.uuid)
        token_queries.revoke_all(tx, scene.ada.id)
    request = UNDER_WAY[way](scene)

    def act(tx: WriteTransaction) -> None:
        two_factor_actions.begin(tx, scene.ada.actor, scene.world.vault)
        secret = two_factor_actions.unconfirmed(tx, scene.ada.actor, scene.world.vault, "here")
        assert secret is not None
        two_factor_actions.confirm(tx, scene.ada.actor, scene.world.vault, TOTP(secret.text).now())

    answer = meanwhile(scene, act, request)
    assert answer.status_code in {401, 303}, answer.text[:300]
    assert scene.kinds() == []
    assert "collegium_session" not in scene.thief.cookies


def test_a_program_that_was_approved_before_another_password_gets_nothing(scene: Scene) -> None:
    poll = fetch(scene)
    with scene.world.database.write() as tx:
        password_actions.change(tx, scene.ada.actor, OTHER)
    answer = poll()
    assert (answer.status_code, answer.json()) == (200, {"error": "access_denied"})
    assert scene.kinds() == []


def test_deactivation_ends_what_is_under_way(scene: Scene) -> None:
    code = give_code(scene)
    poll = fetch(scene)
    staff, settings = scene.world.staff.actor, scene.world.settings
    for is_active in (False, True):
        with scene.world.database.write() as tx:
            changes = {"is_active": is_active}
            account_actions.update(
                tx, staff, settings, scene.ada.uuid, changes, agrees_to_policy=False
            )
    assert poll().json() == {"error": "access_denied"}
    assert code().headers["location"] == "/sign_in/"
    assert "collegium_session" not in scene.thief.cookies


def test_the_command_line_does_not_undo_a_password_that_was_changed_at_this_moment(
    world: World,
) -> None:
    boss = world.person("boss", password=HASHED, is_staff=True)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as tx:
            password_actions.change(tx, boss.actor, OTHER)
            done = pool.submit(
                account_actions.ensure_staff,
                world.database,
                world.settings,
                world.vault,
                "boss",
                boss.email,
                PASSWORD,
            )
            time.sleep(HELD_SECONDS)
        with pytest.raises(account_actions.UnfitAccountError, match="Try again"):
            done.result(timeout=60)
    with world.database.read() as tx:
        assert token_queries.of_account(tx, boss.id) is None


def test_devices_of_others_stay(scene: Scene) -> None:
    bob = scene.world.person("bob")
    with scene.world.database.write() as tx:
        waiting = device_actions.begin(tx, scene.world.vault, "a program")
    with scene.world.database.write() as tx:
        device_actions.approve(tx, bob.actor, waiting.uuid)
    with scene.world.database.write() as tx:
        password_actions.change(tx, scene.ada.actor, OTHER)
        row = device_queries.by_uuid(tx, waiting.uuid)
    assert row is not None
    assert row.state == "approved"
