"""Wrong codes after a right password: counted for good, told to the owner, and ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pyotp.totp import TOTP

from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.db.tables import rate_limits as tries_table
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.settings import Settings
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.worker.worker import Worker
from tests.sign_in.test_pages import HASHED, PASSWORD, owed, try_in, turned_on
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World
from tests.worker.scene import Recorder

KIND = "second_factor_failed"


@pytest.fixture
def unlimited(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> Site:
    """A site that counts nothing else: what is promised here holds there as well."""
    return make_site(make_settings(rate_limits="false"))


def half_way(site: Site) -> Browser:
    """A browser of somebody who knows the password."""
    browser = Browser(site)
    browser.follow(try_in(browser, "ada", PASSWORD))
    return browser


def guess(browser: Browser, times: int, code: str = "000000") -> httpx.Response:
    for _ in range(times):
        answer = browser.send("/sign_in/code/", code=code)
        assert answer.status_code == 422
        assert "collegium_session" not in browser.cookies
    return answer


def told(world: World, person: Person) -> list[str]:
    """The kinds of what was recorded of wrong codes."""
    with world.database.read() as tx:
        found = tx.fetch_all(Statement(events.select().order_by(events.c.id)))
    return [
        row.kind
        for row in found
        if row.account_id == person.id
        and row.kind in {"second_factor.failed", "second_factor.locked"}
    ]


def ada_with_factor(world: World) -> tuple[Person, TOTP, list[str]]:
    ada = world.person("ada", password=HASHED)
    return ada, *turned_on(world, ada)


def test_the_third_wrong_code_is_recorded_and_mailed_and_no_other(
    unlimited: Site, world: World
) -> None:
    ada, _authenticator, _codes = ada_with_factor(world)
    browser = half_way(unlimited)
    guess(browser, 2)
    assert (told(world, ada), owed(world.database, KIND)) == ([], [])
    guess(browser, 1)
    assert told(world, ada) == ["second_factor.failed"]
    assert owed(world.database, KIND) == [ada.email]
    guess(browser, 16)
    assert told(world, ada) == ["second_factor.failed"]
    recorder = Recorder()
    Worker(world.database, world.settings, world.vault, recorder).once()
    (mail,) = (one for one in recorder.sent if one["X-Collegium-Mail"] == KIND)
    body = mail.get_body(("plain",))
    assert body is not None
    said = " ".join(body.get_content().split())
    assert "3 wrong two-factor codes in a row" in said
    assert "Network address: 127.0.0.1" in said
    assert "UTC" in said
    assert "/forgotten_password/" in said


def test_the_event_of_wrong_codes_is_told_in_words(unlimited: Site, world: World) -> None:
    ada, _authenticator, _codes = ada_with_factor(world)
    guess(half_way(unlimited), 3)
    query = {"event_type": "second_factor_failed"}
    (event,) = unlimited.get("/api/events/", world.staff, params=query).json()
    assert "3 in a row" in event["message"]
    assert "ada" in event["message"]
    assert unlimited.get("/api/events/", ada, params=query).json() != []
    assert unlimited.get("/api/events/", world.person("bob"), params=query).json() == []


def test_after_twenty_wrong_codes_no_code_of_the_authenticator_is_accepted(
    unlimited: Site, world: World
) -> None:
    ada, authenticator, codes = ada_with_factor(world)
    browser = half_way(unlimited)
    guess(browser, 20)
    assert told(world, ada) == ["second_factor.failed", "second_factor.locked"]
    assert owed(world.database, KIND) == [ada.email] * 2
    # The right one is refused like a wrong one: nobody learns which it was.
    wrong = browser.send("/sign_in/code/", code="000000")
    right = browser.send("/sign_in/code/", code=authenticator.now())
    assert (wrong.status_code, right.status_code) == (422, 422)
    assert text(wrong) == text(right).replace(authenticator.now(), "000000")
    assert "recovery code" in text(right)
    # Days later, in another browser, on the pages of the account: the same.
    with world.database.write(datetime.now(UTC) + timedelta(days=40)) as tx:
        rate_limit_queries.purge(tx)
        refusal = two_factor_actions.check(tx, world.vault, ada.actor, authenticator.at(tx.now))
    assert refusal is not None
    assert refusal.code == "second_factor.locked"
    own = Browser(unlimited).sign_in(world, ada)
    for path, sent in (
        ("/account/second_factor/", {"action": "remove"}),
        ("/account/second_factor/", {"action": "codes"}),
        ("/account/address/", {"email": "new@example.org"}),
    ):
        own.open(path)
        assert own.send(path, **sent, code=authenticator.now()).status_code == 422
    # A recovery code lets in, and from then on codes count again.
    assert browser.send("/sign_in/code/", code=codes[0]).status_code == 303
    with world.database.write(datetime.now(UTC) + timedelta(minutes=2)) as tx:
        assert (
            two_factor_actions.check(tx, world.vault, ada.actor, authenticator.at(tx.now)) is None
        )


def test_staff_who_reset_the_factor_end_the_lock(unlimited: Site, world: World) -> None:
    ada, _authenticator, _codes = ada_with_factor(world)
    thief = half_way(unlimited)
    desk = Browser(unlimited).sign_in(world, world.staff)
    path = f"/staff/accounts/{ada.uuid}/"
    guess(thief, 19)
    assert "only recovery codes are accepted" not in text(desk.open(path))
    guess(thief, 1)
    assert "only recovery codes are accepted" in text(desk.open(path))
    assert desk.send(path, action="second_factor").status_code == 303
    assert "only recovery codes are accepted" not in text(desk.open(path))
    assert try_in(Browser(unlimited), "ada", PASSWORD).headers["location"] == "/account/"
    turned_on(world, ada)
    browser = half_way(unlimited)
    assert "recovery code, or ask" not in text(guess(browser, 1))


def test_a_right_code_begins_the_count_anew(unlimited: Site, world: World) -> None:
    ada, authenticator, _codes = ada_with_factor(world)
    thief = half_way(unlimited)
    guess(thief, 19)
    assert half_way(unlimited).send("/sign_in/code/", code=authenticator.now()).status_code == 303
    guess(thief, 19)
    assert told(world, ada) == ["second_factor.failed"] * 2
    guess(thief, 1)
    assert told(world, ada)[-1] == "second_factor.locked"


def test_codes_are_counted_although_the_days_between_them_are_many(
    unlimited: Site, world: World
) -> None:
    ada, authenticator, _codes = ada_with_factor(world)
    now = datetime.now(UTC)
    for day in range(20):
        with world.database.write(now + timedelta(days=day)) as tx:
            rate_limit_queries.purge(tx)
            assert two_factor_actions.check(tx, world.vault, ada.actor, "000000") is not None
    with world.database.write(now + timedelta(days=20)) as tx:
        refusal = two_factor_actions.check(tx, world.vault, ada.actor, authenticator.at(tx.now))
    assert refusal is not None
    assert refusal.code == "second_factor.locked"


def test_guesses_at_one_moment_are_all_counted(unlimited: Site, world: World) -> None:
    ada, _authenticator, _codes = ada_with_factor(world)
    browsers = [half_way(unlimited) for _ in range(8)]

    def four(browser: Browser) -> None:
        for number in range(4):
            browser.send("/sign_in/code/", code=f"00000{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(four, browsers))
    with world.database.read() as tx:
        row = two_factor_queries.of_account(tx, ada.id)
    assert row is not None
    assert row.wrong_codes == 20
    assert told(world, ada) == ["second_factor.failed", "second_factor.locked"]


def test_wrong_codes_of_somebody_signed_in_count_as_well(unlimited: Site, world: World) -> None:
    ada, authenticator, _codes = ada_with_factor(world)
    browser = Browser(unlimited).sign_in(world, ada)
    browser.open("/account/second_factor/")
    for action in ("remove", "codes") * 10:
        assert (
            browser.send("/account/second_factor/", action=action, code="000000").status_code == 422
        )
    code = authenticator.now()
    assert browser.send("/account/second_factor/", action="remove", code=code).status_code == 422
    with world.database.read() as tx:
        assert two_factor_queries.is_on(tx, ada.id)


def test_nobody_without_the_password_locks_a_factor(site: Site, world: World) -> None:
    ada, authenticator, _codes = ada_with_factor(world)
    stranger = Browser(site)
    for _ in range(25):
        stranger.open("/sign_in/")
        stranger.send("/sign_in/", username="ada", password="wrong")
        stranger.cookies["collegium_half"] = world.vault.sign("half", ada.uuid, 0)
        stranger.send("/sign_in/code/", code="000000")
    assert told(world, ada) == []
    with world.database.write() as tx:
        tx.execute(Statement(tries_table.delete()))
    owner = half_way(site)
    assert owner.send("/sign_in/code/", code=authenticator.now()).status_code == 303


def test_wrong_codes_while_setting_up_lock_nothing(unlimited: Site, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    browser = Browser(unlimited).sign_in(world, ada)
    here = "/account/second_factor/"
    browser.open(here)
    browser.follow(browser.send(here, action="begin", password=PASSWORD))
    for _ in range(25):
        assert browser.send(here, action="confirm", code="000000").status_code == 422
    assert told(world, ada) == []
    assert owed(world.database, KIND) == []
