"""Wrong two-factor codes after a right password: counted, recorded, mailed, and locked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP

from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.db.tables import rate_limits as rate_limits_table
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from tests.sign_in.test_pages import (
    PASSWORD,
    TWO_FACTOR,
    begin_two_factor,
    enable_two_factor,
    queued_recipients,
    send_sign_in_form,
    two_factor_is_on,
)
from tests.support.browser import Browser, text
from tests.support.mails import mail_text, sent_mails
from tests.support.site import Site
from tests.support.world import Person, World

KIND = "second_factor_failed"
FAILED, LOCKED = "second_factor.failed", "second_factor.locked"
ONLY_RECOVERY = "only recovery codes are accepted"


class Setup:
    """Ada with two-factor authentication, on a site without other rate limits."""

    def __init__(self, site: Site, world: World, ada: Person) -> None:
        self.site = site
        self.world = world
        self.ada = ada
        self.authenticator: TOTP
        self.authenticator, self.codes = enable_two_factor(world, ada)

    def half_signed_in(self) -> Browser:
        """Return a browser that has entered the password."""
        browser = Browser(self.site)
        browser.follow(send_sign_in_form(browser, "ada", PASSWORD))
        return browser

    def code_status(self, code: str) -> int:
        """Enter a code in another browser; return the status."""
        return self.half_signed_in().send("/sign_in/code/", code=code).status_code

    def check(self, when: datetime, code: str | None = None) -> str | None:
        """Check a code, or the right one, at a time; return the code of the refusal."""
        with self.world.database.write(when) as tx:
            rate_limit_queries.purge(tx)
            right = self.authenticator.at(tx.now)
            refusal = two_factor_actions.check(tx, self.world.vault, self.ada.actor, code or right)
        return refusal.code if refusal else None

    def recorded(self) -> list[str]:
        """Return the kinds of Ada's events about wrong codes."""
        query = Statement[Any](events.select().order_by(events.c.id))
        with self.world.database.read() as tx:
            rows = [row for row in tx.fetch_all(query) if row.account_id == self.ada.id]
        return [row.kind for row in rows if row.kind in {FAILED, LOCKED}]

    def mailed(self) -> list[str]:
        return queued_recipients(self.world.database, KIND)


def guess(browser: Browser, times: int) -> httpx.Response:
    for _ in range(times):
        response = browser.send("/sign_in/code/", code="000000")
        assert response.status_code == 422
        assert "collegium_session" not in browser.cookies
    return response


@pytest.fixture
def setup(site_with: Callable[..., Site], world: World, ada: Person) -> Setup:
    return Setup(site_with(rate_limits="false"), world, ada)


def test_third_wrong_code_alone_is_recorded_and_mailed(setup: Setup) -> None:
    browser = setup.half_signed_in()
    guess(browser, 2)
    assert (setup.recorded(), setup.mailed()) == ([], [])
    for times in (1, 16):
        guess(browser, times)
        assert (setup.recorded(), setup.mailed()) == ([FAILED], [setup.ada.email])
    (mail,) = sent_mails(setup.world, KIND)
    content = " ".join(mail_text(mail).split())
    for part in (
        "3 wrong two-factor codes in a row",
        "Network address: 127.0.0.1",
        "UTC",
        "/forgotten_password/",
    ):
        assert part in content


def test_event_of_wrong_codes_is_shown_to_owner_and_staff(setup: Setup) -> None:
    guess(setup.half_signed_in(), 3)

    def shown(person: Person) -> Any:
        query = {"event_type": "second_factor_failed"}
        return setup.site.get("/api/events/", person, params=query).json()

    (event,) = shown(setup.world.staff)
    assert "3 in a row" in event["message"]
    assert "ada" in event["message"]
    assert shown(setup.ada) != []
    assert shown(setup.world.person("bob")) == []


def test_after_twenty_wrong_codes_only_a_recovery_code_is_accepted(setup: Setup) -> None:
    ada, authenticator = setup.ada, setup.authenticator
    browser = setup.half_signed_in()
    guess(browser, 20)
    assert setup.recorded() == [FAILED, LOCKED]
    assert setup.mailed() == [ada.email] * 2
    # The right code gets the same response as a wrong one.
    wrong = browser.send("/sign_in/code/", code="000000")
    right = browser.send("/sign_in/code/", code=authenticator.now())
    assert (wrong.status_code, right.status_code) == (422, 422)
    assert text(wrong) == text(right).replace(authenticator.now(), "000000")
    assert "recovery code" in text(right)
    # So do codes weeks later, and codes on the pages of the account.
    assert setup.check(datetime.now(UTC) + timedelta(days=40)) == LOCKED
    signed_in = Browser(setup.site).sign_in(setup.world, ada)
    for path, data in (
        (TWO_FACTOR, {"action": "remove"}),
        (TWO_FACTOR, {"action": "codes"}),
        ("/account/address/", {"email": "new@example.org"}),
    ):
        signed_in.open(path)
        assert signed_in.send(path, **data, code=authenticator.now()).status_code == 422
    assert browser.send("/sign_in/code/", code=setup.codes[0]).status_code == 303
    assert setup.check(datetime.now(UTC) + timedelta(minutes=2)) is None


def test_reset_of_two_factor_by_staff_ends_the_lock(setup: Setup) -> None:
    thief = setup.half_signed_in()
    staff = Browser(setup.site).sign_in(setup.world, setup.world.staff)
    path = f"/staff/accounts/{setup.ada.uuid}/"
    for times, is_locked in ((19, False), (1, True)):
        guess(thief, times)
        assert (ONLY_RECOVERY in text(staff.open(path))) is is_locked
    assert staff.send(path, action="second_factor").status_code == 303
    assert ONLY_RECOVERY not in text(staff.open(path))
    signed_in = send_sign_in_form(Browser(setup.site), "ada", PASSWORD)
    assert signed_in.headers["location"] == "/"
    enable_two_factor(setup.world, setup.ada)
    assert "recovery code, or ask" not in text(guess(setup.half_signed_in(), 1))


def test_right_code_resets_the_count_of_wrong_codes(setup: Setup) -> None:
    thief = setup.half_signed_in()
    guess(thief, 19)
    assert setup.code_status(setup.authenticator.now()) == 303
    guess(thief, 19)
    assert setup.recorded() == [FAILED] * 2
    guess(thief, 1)
    assert setup.recorded()[-1] == LOCKED


def test_wrong_codes_on_different_days_are_counted_together(setup: Setup) -> None:
    now = datetime.now(UTC)
    for day in range(20):
        assert setup.check(now + timedelta(days=day), "000000") is not None
    assert setup.check(now + timedelta(days=20)) == LOCKED


def test_concurrent_wrong_codes_are_all_counted(setup: Setup) -> None:
    def enter_codes(browser: Browser) -> None:
        for number in range(4):
            browser.send("/sign_in/code/", code=f"00000{number}")

    browsers = [setup.half_signed_in() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter_codes, browsers))
    with setup.world.database.read() as tx:
        row = two_factor_queries.of_account(tx, setup.ada.id)
    assert row is not None
    assert row.wrong_codes == 20
    assert setup.recorded() == [FAILED, LOCKED]


def test_wrong_codes_on_account_pages_are_counted(setup: Setup) -> None:
    browser = Browser(setup.site).sign_in(setup.world, setup.ada)
    browser.open(TWO_FACTOR)
    for action in ("remove", "codes") * 10:
        assert browser.send(TWO_FACTOR, action=action, code="000000").status_code == 422
    code = setup.authenticator.now()
    assert browser.send(TWO_FACTOR, action="remove", code=code).status_code == 422
    assert two_factor_is_on(setup.world, setup.ada)


def test_codes_without_the_password_do_not_lock(site: Site, world: World, ada: Person) -> None:
    setup = Setup(site, world, ada)
    stranger = Browser(site)
    for _ in range(25):
        send_sign_in_form(stranger, "ada", "wrong")
        stranger.cookies["collegium_half"] = world.vault.sign("half", ada.uuid, 0)
        stranger.send("/sign_in/code/", code="000000")
    assert setup.recorded() == []
    with world.database.write() as tx:
        tx.execute(Statement(rate_limits_table.delete()))
    assert setup.code_status(setup.authenticator.now()) == 303


def test_wrong_codes_during_set_up_do_not_lock(setup: Setup) -> None:
    with setup.world.database.write() as tx:
        two_factor_actions.remove(tx, setup.ada.actor)
    browser = Browser(setup.site).sign_in(setup.world, setup.ada)
    begin_two_factor(browser)
    for _ in range(25):
        assert browser.send(TWO_FACTOR, action="confirm", code="000000").status_code == 422
    assert (setup.recorded(), setup.mailed()) == ([], [])
