"""Failing to log in: slowed down, never shut out for good, and nobody learns who exists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import rate_limits
from collegium.security.crypto import hash_password
from collegium.security.rate_limits.rules import LOGIN_ACCOUNT, LOGIN_PAIR, backoff
from collegium.settings import Settings
from tests.support.site import Site
from tests.support.world import Person, World

PASSWORD = "a quiet harbour 41"
LOCKED = {"detail": "Username is locked out. Try in 10 minutes."}
WRONG = {"detail": "Invalid username/password."}


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada", password=hash_password(PASSWORD))


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    # So that a test can come from many addresses.
    return make_site(make_settings(trusted_proxies="127.0.0.1"))


def log_in(site: Site, password: str, *, name: str = "ada", address: str = "192.0.2.1") -> Any:
    return site.post(
        "/api-auth/password/",
        json={"username": name, "password": password},
        headers={"X-Forwarded-For": address},
    )


def forward(world: World, **passed: float) -> None:
    """Let time pass for what was counted."""
    step = timedelta(**passed)
    with world.database.write() as tx:
        for row in tx.fetch_all(Statement(select(rate_limits))):
            moved = update(rate_limits).where(rate_limits.c.subject == row.subject)
            tx.execute(
                Statement(
                    moved.values(
                        last_attempt_at=row.last_attempt_at - step,
                        blocked_until=row.blocked_until - step,
                    )
                )
            )


def test_the_fourth_failure_from_one_address_locks_that_pair_for_ten_minutes(
    site: Site, world: World, ada: Person
) -> None:
    for _ in range(4):
        assert log_in(site, "wrong").json() == WRONG
    locked = log_in(site, PASSWORD)
    assert (locked.status_code, locked.json()) == (401, LOCKED)
    assert log_in(site, PASSWORD, address="192.0.2.2").status_code == 200
    forward(world, minutes=9, seconds=50)
    assert log_in(site, PASSWORD).json() == LOCKED
    forward(world, seconds=11)
    assert log_in(site, PASSWORD).status_code == 200


def test_a_name_that_nobody_has_is_locked_in_the_same_words(site: Site, ada: Person) -> None:
    known = [log_in(site, "wrong").json() for _ in range(5)]
    unknown = [log_in(site, "wrong", name="nobody", address="192.0.2.3").json() for _ in range(5)]
    assert known == unknown == [WRONG] * 4 + [LOCKED]


def test_success_forgets_the_failures(site: Site, ada: Person) -> None:
    for _ in range(3):
        for _ in range(3):
            assert log_in(site, "wrong").json() == WRONG
        assert log_in(site, PASSWORD).status_code == 200


def test_strangers_cannot_shut_somebody_out_for_more_than_half_a_minute(
    site: Site, world: World, ada: Person
) -> None:
    for turn in range(25):
        log_in(site, "wrong", address=f"198.51.100.{turn}")
        forward(world, seconds=31)
    for turn in range(25, 40):
        log_in(site, "wrong", address=f"198.51.100.{turn}")
    mine = log_in(site, PASSWORD)
    assert mine.status_code == 429
    assert int(mine.headers["retry-after"]) <= LOGIN_ACCOUNT.max_delay.total_seconds()
    forward(world, seconds=31)
    assert log_in(site, PASSWORD).status_code == 200


def test_one_address_cannot_try_everybody(site: Site, world: World) -> None:
    statuses = [log_in(site, "wrong", name=f"person{turn}").status_code for turn in range(35)]
    assert statuses[:30] == [401] * 30
    assert statuses[-1] == 429
    other = log_in(site, "wrong", name="person1", address="192.0.2.9")
    assert other.status_code == 401


def test_what_is_counted_names_nobody(site: Site, world: World, ada: Person) -> None:
    log_in(site, "wrong")
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement(select(rate_limits)))
    assert rows
    assert "ada" not in repr(rows)


def test_limits_can_be_switched_off(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    ada: Person,
) -> None:
    site = make_site(make_settings(rate_limits="false"))
    for _ in range(8):
        assert log_in(site, "wrong").json() == WRONG
    assert log_in(site, PASSWORD).status_code == 200


def test_delays_grow_and_end() -> None:
    waits = [backoff(LOGIN_ACCOUNT, count).total_seconds() for count in range(9, 19)]
    assert waits == [0, 0, 1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff(LOGIN_ACCOUNT, 10**6) == LOGIN_ACCOUNT.max_delay
    assert backoff(LOGIN_PAIR, 3) == timedelta()
    assert backoff(LOGIN_PAIR, 4) == timedelta(minutes=10)


def test_guessing_invitations_is_slowed_down(site: Site, world: World) -> None:
    path = "/api/user-invitations/" + "0" * 32 + "/check/"
    for _ in range(11):
        assert site.post(path).status_code == 404
    assert site.post(path).status_code == 429


def test_the_password_of_a_deactivated_account_tells_nothing(
    site: Site, world: World, ada: Person
) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"is_active": False})
    assert log_in(site, PASSWORD).json() == WRONG
