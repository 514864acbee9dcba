"""A new password ends whatever is created at the same moment."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import pytest

from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.statements import Statement
from collegium.db.tables import devices as device_rows
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from tests.races.conftest import Together
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import Person, World

ROUNDS = 25
PASSWORD = "four winds over quiet water"
HASHED = hash_password(PASSWORD)
OTHER = hash_password("a quiet harbour at night")


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.fixture
def people(world: World) -> Iterator[Person]:
    return (world.person(f"ada{number}", password=HASHED) for number in range(ROUNDS))


def remaining_access(world: World, person: Person) -> list[str]:
    """Return the kinds of tokens and requests that still give access to an account."""
    with world.database.read() as tx:
        kinds = [kind.value for kind in token_queries.count_by_kind(tx, person.id)]
        kinds += ["api"] if token_queries.of_account(tx, person.id) else []
        kinds += ["address"] if email_change_queries.of_account(tx, person.id) else []
        rows = tx.fetch_all(Statement[Any](device_rows.select()))
    return kinds + [row.state for row in rows if row.account_id == person.id]


def change(world: World, person: Person) -> Callable[[], None]:
    def run() -> None:
        with world.database.write() as tx:
            password_actions.change(tx, person.actor, OTHER)

    return run


def test_login_during_a_password_change_leaves_no_token(
    site: Site, world: World, people: Iterator[Person], together: Together
) -> None:
    for ada in people:
        body = {"username": ada.actor.username, "password": PASSWORD}
        responses = together(
            partial(site.post, "/api-auth/password/", json=body),
            partial(site.post, "/api/auth/token/", json=body),
            change(world, ada),
        )
        assert {response.status_code for response in responses[:2]} <= {200, 401}
        assert remaining_access(world, ada) == []


def test_refresh_during_a_password_change_leaves_no_token(
    site: Site, world: World, people: Iterator[Person], together: Together
) -> None:
    for ada in people:
        with world.database.write() as tx:
            pair = token_actions.log_in_with_refresh(tx, world.vault, ada.actor, "password")
        refresh = partial(site.post, "/api/auth/token/refresh/", json={"refresh": pair.refresh})
        response, _ = together(refresh, change(world, ada))
        assert response.status_code in {200, 401}
        assert remaining_access(world, ada) == []


def test_device_token_fetched_during_a_password_change_is_revoked(
    site: Site, world: World, people: Iterator[Person], together: Together
) -> None:
    for ada in people:
        with world.database.write() as tx:
            device = device_actions.begin(tx, world.vault, "a program")
            device_actions.approve(tx, ada.actor, device.uuid)
        body = {"device_code": device.device_code}
        fetch = partial(site.post, "/api/auth/device/token/", json=body)
        response, _ = together(fetch, change(world, ada))
        assert response.status_code == 200
        assert set(remaining_access(world, ada)) <= {"denied", "used"}


def test_session_during_a_password_change_creates_no_lasting_token(
    site: Site, world: World, people: Iterator[Person], together: Together
) -> None:
    for ada in people:
        with world.database.write() as tx:
            device = device_actions.begin(tx, world.vault, "a program")
        first, second = (Browser(site).sign_in(world, ada) for _ in range(2))
        first.open("/account/tokens/")
        second.open(f"/account/authorize/?session={device.uuid}")
        form = {"action": "approve", "device": device.uuid, "same": "yes"}
        together(
            partial(first.send, "/account/tokens/", name="for later"),
            partial(second.send, "/account/authorize/", **form),
            change(world, ada),
        )
        assert set(remaining_access(world, ada)) <= {"denied"}


def test_only_one_of_two_password_changes_succeeds(
    site: Site, world: World, people: Iterator[Person], together: Together
) -> None:
    def send(browser: Browser, new: str) -> Any:
        form = {"current": PASSWORD, "password": new, "again": new}
        return browser.send("/account/password/", **form)

    for ada in islice(people, 10):
        browsers = [Browser(site).sign_in(world, ada) for _ in range(2)]
        for browser in browsers:
            browser.open("/account/password/")
        passwords = ("the words of the owner", "the words of the thief")
        responses = together(*map(partial, [send] * 2, browsers, passwords))
        locations = [response.headers.get("location") for response in responses]
        assert locations.count("/account/password/") == 1, locations
        assert remaining_access(world, ada) == ["session"], "only the successful one is signed in"
