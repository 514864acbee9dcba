"""Rate limits of failed logins: delays, never a permanent lock, no account enumeration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from collegium.db.statements import Statement
from collegium.db.tables import rate_limits
from collegium.security.rate_limits.rules import LOGIN_NAME, Per
from tests.sign_in.test_pages import PASSWORD
from tests.support.site import Site
from tests.support.world import World

LOCKED = {"detail": "Username is locked out. Try in 10 minutes."}
WRONG = {"detail": "Invalid username/password."}

pytestmark = pytest.mark.usefixtures("ada")


@pytest.fixture
def site(site_with: Callable[..., Site]) -> Site:
    """Return a site that requests reach from many network addresses."""
    return site_with(trusted_proxies="127.0.0.1")


def log_in(site: Site, password: str, *, name: str = "ada", address: str = "192.0.2.1") -> Any:
    return site.post(
        "/api-auth/password/",
        json={"username": name, "password": password},
        headers={"X-Forwarded-For": address},
    )


def forward(world: World, **passed: float) -> None:
    """Move every counted attempt into the past."""
    step = timedelta(**passed)
    with world.database.write() as tx:
        for row in tx.fetch_all(Statement[Any](select(rate_limits))):
            times = {
                name: getattr(row, name) - step for name in ("last_attempt_at", "blocked_until")
            }
            same = rate_limits.c.subject == row.subject
            tx.execute(Statement(update(rate_limits).where(same).values(**times)))


def test_four_failures_lock_a_name_at_one_address_for_ten_minutes(site: Site, world: World) -> None:
    for _ in range(4):
        assert log_in(site, "wrong").json() == WRONG
    locked = log_in(site, PASSWORD)
    assert (locked.status_code, locked.json()) == (401, LOCKED)
    assert log_in(site, PASSWORD, address="192.0.2.2").status_code == 200
    forward(world, minutes=9, seconds=50)
    assert log_in(site, PASSWORD).json() == LOCKED
    forward(world, seconds=11)
    assert log_in(site, PASSWORD).status_code == 200


def test_unknown_name_is_locked_with_the_same_message(site: Site) -> None:
    for name, address in (("ada", "192.0.2.1"), ("nobody", "192.0.2.3")):
        bodies = [log_in(site, "wrong", name=name, address=address).json() for _ in range(5)]
        assert bodies == [WRONG] * 4 + [LOCKED]


def test_successful_login_resets_the_failures(site: Site) -> None:
    for _ in range(3):
        for _ in range(3):
            assert log_in(site, "wrong").json() == WRONG
        assert log_in(site, PASSWORD).status_code == 200


@pytest.mark.slow
def test_failures_of_others_delay_the_owner_by_half_a_minute_at_most(
    site: Site, world: World
) -> None:
    for number in range(40):
        log_in(site, "wrong", address=f"198.51.100.{number}")
        if number < 25:
            forward(world, seconds=31)
    delayed = log_in(site, PASSWORD)
    assert delayed.status_code == 429
    assert (
        int(delayed.headers["retry-after"])
        <= LOGIN_NAME.rates[Per.TARGET].max_delay.total_seconds()
    )
    forward(world, seconds=31)
    assert log_in(site, PASSWORD).status_code == 200


def test_failures_of_one_address_are_limited_across_accounts(site: Site) -> None:
    statuses = [log_in(site, "wrong", name=f"person{n}").status_code for n in range(35)]
    assert statuses[:30] == [401] * 30
    assert statuses[-1] == 429
    assert log_in(site, "wrong", name="person1", address="192.0.2.9").status_code == 401


def test_counted_failures_store_no_names(site: Site, world: World) -> None:
    log_in(site, "wrong")
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(rate_limits)))
    assert rows
    assert "ada" not in repr(rows)


def test_rate_limits_can_be_disabled(site_with: Callable[..., Site]) -> None:
    site = site_with(rate_limits="false")
    for _ in range(8):
        assert log_in(site, "wrong").json() == WRONG
    assert log_in(site, PASSWORD).status_code == 200
