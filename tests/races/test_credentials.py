"""A new password, and what begins or goes on at that very moment: nothing of it is left after."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.statements import Statement
from collegium.db.tables import devices as device_rows
from collegium.db.tables import rate_limits
from collegium.security.crypto import hash_password
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import Person, World

ROUNDS = 25
PASSWORD = "four winds over quiet water"
HASHED = hash_password(PASSWORD)
OTHER = hash_password("a quiet harbour at night")


@pytest.fixture
def url(new_postgresql: str) -> str:
    return new_postgresql


@pytest.fixture
def together() -> Iterator[Callable[..., list[Any]]]:
    """Run functions at the same moment; give what each returned."""
    pool = ThreadPoolExecutor(8)

    def run(*functions: Callable[[], Any]) -> list[Any]:
        gate = threading.Barrier(len(functions))

        def one(function: Callable[[], Any]) -> Any:
            gate.wait(timeout=20)
            return function()

        return [done.result(timeout=60) for done in [pool.submit(one, f) for f in functions]]

    yield run
    pool.shutdown()


def left(world: World, person: Person) -> list[str]:
    """What still lets somebody into an account, or will."""
    with world.database.read() as tx:
        found = [kind.value for kind in token_queries.count_by_kind(tx, person.id)]
        found += ["api"] if token_queries.of_account(tx, person.id) else []
        found += ["address"] if email_change_queries.of_account(tx, person.id) else []
        rows = tx.fetch_all(Statement(device_rows.select()))
    return found + [row.state for row in rows if row.account_id == person.id]


def change(world: World, person: Person) -> Callable[[], None]:
    def run() -> None:
        with world.database.write() as tx:
            password_actions.change(tx, person.actor, OTHER)

    return run


def test_a_login_and_a_new_password_at_one_moment_leave_no_token(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(ROUNDS):
        ada = world.person(f"ada{turn}", password=HASHED)
        given = {"username": f"ada{turn}", "password": PASSWORD}
        answers = together(
            lambda g=given: site.post("/api-auth/password/", json=g),
            lambda g=given: site.post("/api/auth/token/", json=g),
            change(world, ada),
        )
        assert {answer.status_code for answer in answers[:2]} <= {200, 401}
        assert left(world, ada) == []


def test_a_refresh_and_a_new_password_at_one_moment_leave_no_token(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(ROUNDS):
        ada = world.person(f"ada{turn}", password=HASHED)
        with world.database.write() as tx:
            pair = token_actions.log_in_with_refresh(tx, world.vault, ada.actor, "password")
            tx.execute(Statement(rate_limits.delete()))
        given = {"refresh": pair.refresh}
        answer, _ = together(
            lambda g=given: site.post("/api/auth/token/refresh/", json=g), change(world, ada)
        )
        assert answer.status_code in {200, 401}
        assert left(world, ada) == []


def test_a_program_that_fetches_while_the_password_is_changed_has_nothing_left(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(ROUNDS):
        ada = world.person(f"ada{turn}", password=HASHED)
        with world.database.write() as tx:
            waiting = device_actions.begin(tx, world.vault, "a program")
            device_actions.approve(tx, ada.actor, waiting.uuid)
        given = {"device_code": waiting.device_code}
        answer, _ = together(
            lambda g=given: site.post("/api/auth/device/token/", json=g), change(world, ada)
        )
        assert answer.status_code == 200
        assert set(left(world, ada)) <= {"denied", "used"}


def test_a_session_makes_nothing_that_outlives_a_new_password(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(ROUNDS):
        ada = world.person(f"ada{turn}", password=HASHED)
        with world.database.write() as tx:
            waiting = device_actions.begin(tx, world.vault, "a program")
        browsers = [Browser(site).sign_in(world, ada) for _ in range(2)]
        browsers[0].open("/account/tokens/")
        browsers[1].open(f"/account/authorize/?session={waiting.uuid}")
        decided = {"action": "approve", "device": waiting.uuid, "same": "yes"}
        together(
            lambda b=browsers[0]: b.send("/account/tokens/", name="for later"),
            lambda b=browsers[1], d=decided: b.send("/account/authorize/", **d),
            change(world, ada),
        )
        assert set(left(world, ada)) <= {"denied"}


def test_of_two_who_change_a_password_with_the_old_one_one_does(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(10):
        ada = world.person(f"ada{turn}", password=HASHED)
        browsers = [Browser(site).sign_in(world, ada) for _ in range(2)]
        for browser in browsers:
            browser.open("/account/password/")
        given = {"current": PASSWORD}

        def send(browser: Browser, new: str, given: dict[str, str] = given) -> Any:
            return browser.send("/account/password/", **given, password=new, again=new)

        answers = together(
            lambda b=browsers[0]: send(b, "the words of the owner"),
            lambda b=browsers[1]: send(b, "the words of the thief"),
        )
        led = [answer.headers.get("location") for answer in answers]
        assert led.count("/account/password/") == 1, led
        assert left(world, ada) == ["session"], "the one that won is signed in, and nobody else"
