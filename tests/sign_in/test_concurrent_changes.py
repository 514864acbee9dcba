"""Requests that were verified before the password or two-factor authentication changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP

from collegium import staff_command
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
from tests.sign_in.test_pages import HASHED, PASSWORD, enable_two_factor, send_sign_in_form
from tests.support.browser import Browser
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, World

# Each waits while a request is held.
pytestmark = pytest.mark.slow

NEW = "a quiet harbour at night"
NEW_HASH = hash_password(NEW)
HELD_SECONDS = 0.4
LOGIN = {"username": "ada", "password": PASSWORD}


class Setup:
    """Ada's account, and the browser of somebody who knows her password."""

    def __init__(self, site: Site, world: World, ada: Person) -> None:
        self.site = site
        self.world = world
        self.ada = ada
        self.thief = Browser(site)

    def token_kinds(self) -> list[str]:
        """Return the kinds of Ada's tokens."""
        with self.world.database.read() as tx:
            kinds = [kind.value for kind in token_queries.count_by_kind(tx, self.ada.id)]
            if token_queries.of_account(tx, self.ada.id):
                kinds.append(TokenKind.API.value)
        return sorted(kinds)

    def change_password(self) -> None:
        with self.world.database.write() as tx:
            password_actions.change(tx, self.ada.actor, NEW_HASH)


@pytest.fixture
def setup(site: Site, world: World, ada: Person) -> Setup:
    return Setup(site, world, ada)


def send_during(
    setup: Setup, change: Callable[[WriteTransaction], object], request: Any
) -> httpx.Response:
    """Send a request that verifies before a concurrent change and writes after it."""
    with ThreadPoolExecutor(1) as pool:
        with setup.world.database.write() as tx:
            change(tx)  # from here on the account is locked; on SQLite every writer waits
            future = pool.submit(request)
            time.sleep(HELD_SECONDS)
            assert not future.done(), "the request did not wait"
        response: httpx.Response = future.result(timeout=60)
    return response


def api(path: str, body: dict[str, Any] | None = None, *, as_ada: bool = False) -> Any:
    """Prepare an API request."""

    def prepare(setup: Setup) -> Any:
        url = path.format(uuid=setup.ada.uuid)
        return lambda: setup.site.post(url, setup.ada if as_ada else None, json=body)

    return prepare


def form(path: str, **data: str) -> Any:
    """Prepare a form of Ada's pages."""

    def prepare(setup: Setup) -> Any:
        setup.thief.sign_in(setup.world, setup.ada).open(path)
        return lambda: setup.thief.send(path, **data)

    return prepare


def sign_in(setup: Setup) -> Any:
    setup.thief.open("/sign_in/")
    return lambda: setup.thief.send("/sign_in/", **LOGIN)


def enter_code(setup: Setup) -> Any:
    authenticator, _codes = enable_two_factor(setup.world, setup.ada)
    setup.thief.follow(send_sign_in_form(setup.thief, "ada", PASSWORD))
    return lambda: setup.thief.send("/sign_in/code/", code=authenticator.now())


def refresh(setup: Setup) -> Any:
    with setup.world.database.write() as tx:
        pair = token_actions.log_in_with_refresh(tx, setup.world.vault, setup.ada.actor, "password")
    return api("/api/auth/token/refresh/", {"refresh": pair.refresh})(setup)


def begin_device_sign_in(world: World, approver: Person | None = None) -> Any:
    with world.database.write() as tx:
        device = device_actions.begin(tx, world.vault, "a program")
    if approver is not None:
        with world.database.write() as tx:
            device_actions.approve(tx, approver.actor, device.uuid)
    return device


def poll(setup: Setup) -> Any:
    device = begin_device_sign_in(setup.world, setup.ada)
    return api("/api/auth/device/token/", {"device_code": device.device_code})(setup)


def approve(setup: Setup) -> Any:
    path = "/account/authorize/"
    device = begin_device_sign_in(setup.world)
    setup.thief.sign_in(setup.world, setup.ada).open(path)
    setup.thief.send(path, action="find", code=device.user_code)
    return lambda: setup.thief.send(path, action="approve", device=device.uuid, same="yes")


LOGINS = {
    "log in": api("/api-auth/password/", LOGIN),
    "log in, BrainSTEM": api("/api/token/", LOGIN),
    "log in with refresh": api("/api/auth/token/", LOGIN),
    "sign in": sign_in,
}
REQUESTS = LOGINS | {
    "enter a code": enter_code,
    "refresh": refresh,
    "renew the API token": api("/api/users/{uuid}/refresh_token/", as_ada=True),
    "poll": poll,
    "approve": approve,
    "create a token": form("/account/tokens/", name="for later"),
    "change the password": form(
        "/account/password/",
        current=PASSWORD,
        password="thief's own words",
        again="thief's own words",
    ),
    "begin two-factor": form("/account/second_factor/", action="begin"),
    "change the address": form("/account/address/", email="thief@example.org", password=PASSWORD),
    "change the address, API": api(
        "/api/users/{uuid}/change_email/", {"email": "thief@example.org"}, as_ada=True
    ),
    "add a key": api("/api/keys/", {"name": "thief", "public_key": new_key()}, as_ada=True),
}
"""Requests of somebody who knows the earlier password, or holds a token of before."""


@pytest.mark.parametrize("name", REQUESTS)
def test_new_password_invalidates_requests_verified_with_the_old_one(
    setup: Setup, name: str
) -> None:
    request = REQUESTS[name](setup)
    if name == "add a key" and not setup.world.database.is_sqlite:
        pytest.skip("on PostgreSQL it need not wait, and then comes first")
    response = send_during(
        setup, lambda tx: password_actions.change(tx, setup.ada.actor, NEW_HASH), request
    )
    assert setup.token_kinds() == [], (response.status_code, response.text[:300])
    with setup.world.database.read() as tx:
        assert email_change_queries.of_account(tx, setup.ada.id) is None
        assert ssh_key_queries.of_account(tx, setup.ada.id) == []
        assert device_queries.count_approved(tx, setup.ada.id) == 0
        two_factor = two_factor_queries.of_account(tx, setup.ada.id)
        account = account_queries.with_password(tx, id=setup.ada.id)
    assert (two_factor is not None) is (name == "enter a code")
    assert account is not None
    assert check_password(account.password, NEW), "the new password is not the account's"


@pytest.mark.parametrize("name", REQUESTS)
def test_unrelated_change_does_not_invalidate_concurrent_requests(setup: Setup, name: str) -> None:
    request = REQUESTS[name](setup)
    before = setup.token_kinds()
    if name == "add a key" and not setup.world.database.is_sqlite:
        pytest.skip("on PostgreSQL it need not wait")
    response = send_during(
        setup, lambda tx: account_queries.change(tx, setup.ada.id, {"modified_at": tx.now}), request
    )
    assert response.status_code in {200, 201, 303}, response.text[:300]
    assert "/sign_in/" not in response.headers.get("location", "")
    creating = {"log in with refresh", "sign in", "enter a code", "poll", "create a token"}
    assert name not in creating or setup.token_kinds() != before


@pytest.mark.parametrize("name", LOGINS)
def test_enabling_two_factor_invalidates_concurrent_logins_without_a_code(
    setup: Setup, name: str
) -> None:
    world, ada = setup.world, setup.ada
    enable_two_factor(world, ada)
    with world.database.write() as tx:
        two_factor_actions.reset(tx, world.staff.actor, ada.uuid)
        token_queries.revoke_all(tx, ada.id)
    request = LOGINS[name](setup)

    def enable(tx: WriteTransaction) -> None:
        two_factor_actions.begin(tx, ada.actor, world.vault)
        secret = two_factor_actions.unconfirmed(tx, ada.actor, world.vault, "here")
        assert secret is not None
        two_factor_actions.confirm(tx, ada.actor, world.vault, TOTP(secret.text).now())

    response = send_during(setup, enable, request)
    assert response.status_code in {401, 303}, response.text[:300]
    assert setup.token_kinds() == []
    assert "collegium_session" not in setup.thief.cookies


def test_program_approved_before_a_password_change_gets_no_token(setup: Setup) -> None:
    send_poll = poll(setup)
    setup.change_password()
    response = send_poll()
    assert (response.status_code, response.json()) == (200, {"error": "access_denied"})
    assert setup.token_kinds() == []


def test_deactivation_ends_unfinished_sign_ins(setup: Setup) -> None:
    send_code, send_poll = enter_code(setup), poll(setup)
    staff, settings = setup.world.staff.actor, setup.world.settings
    for is_active in (False, True):
        with setup.world.database.write() as tx:
            changes = {"is_active": is_active}
            account_actions.update(
                tx, staff, settings, setup.ada.uuid, changes, agrees_to_policy=False
            )
    assert send_poll().json() == {"error": "access_denied"}
    assert send_code().headers["location"] == "/sign_in/"
    assert "collegium_session" not in setup.thief.cookies


def test_command_line_does_not_overwrite_a_concurrent_password_change(world: World) -> None:
    boss = world.person("boss", password=HASHED, is_staff=True)
    login = ("boss", boss.email, PASSWORD)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as tx:
            password_actions.change(tx, boss.actor, NEW_HASH)
            future = pool.submit(
                staff_command.ensure_staff, world.database, world.settings, world.vault, *login
            )
            time.sleep(HELD_SECONDS)
        with pytest.raises(staff_command.UnfitAccountError, match="Try again"):
            future.result(timeout=60)
    with world.database.read() as tx:
        assert token_queries.of_account(tx, boss.id) is None


def test_password_change_keeps_approved_programs_of_others(setup: Setup) -> None:
    device = begin_device_sign_in(setup.world, setup.world.person("bob"))
    setup.change_password()
    with setup.world.database.read() as tx:
        row = device_queries.by_uuid(tx, device.uuid)
    assert row is not None
    assert row.state == "approved"
