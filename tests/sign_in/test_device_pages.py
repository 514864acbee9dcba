"""Letting a program in from a browser: what the page shows, what it asks, what is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from collegium.db.statements import Statement
from collegium.db.tables import devices
from collegium.settings import Settings
from tests.sign_in.test_pages import HASHED, PASSWORD, turned_on
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World

HERE = "/account/authorize/"
DAY = 86400


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada", password=HASHED)


def begin(site: Site, **body: Any) -> dict[str, Any]:
    answer = site.post("/api/auth/device/", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def poll(site: Site, begun: dict[str, Any]) -> dict[str, Any]:
    body = {"device_code": begun["device_code"]}
    return dict(site.post("/api/auth/device/token/", json=body).json())


def at(begun: dict[str, Any]) -> str:
    return f"{HERE}?session={begun['session_id']}"


def approve(browser: Browser, begun: dict[str, Any], **fields: str) -> httpx.Response:
    page = browser.open(at(begun))
    uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
    return browser.send(HERE, action="approve", device=uuid, **fields)


def test_the_page_shows_the_code_whence_and_when_and_whose_claim_the_name_is(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada)
    begun = begin(site, client_name="Official <b>Update</b>")
    for page in (
        browser.open(at(begun)),
        browser.send(HERE, action="find", code=begun["user_code"].lower()),
    ):
        shown = text(page)
        assert begun["user_code"] in shown
        assert "Is this the code that your device or program shows?" in shown
        assert "127.0.0.1" in shown
        assert "The same network as your browser" in shown
        now = datetime.now(UTC)
        assert f"{now.day} {now:%B %Y}" in shown
        assert "Official &lt;b&gt;Update" in page.text
        assert "The program chose this name. It is not verified." in shown
        assert "90 days" in shown
        until = now + timedelta(days=90)
        assert f"{until.day} {until:%B %Y}" in shown


def test_a_program_that_asks_from_another_network_is_pointed_out(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada)
    begun = begin(site)
    with world.database.write() as tx:
        tx.execute(Statement(update(devices).values(ip_address="203.0.113.9")))
    shown = text(browser.open(at(begun)))
    assert "203.0.113.9" in shown
    assert "Not the network of your browser (127.0.0.1)" in shown


def test_each_program_is_shown_with_its_own_code(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada)
    one, two = begin(site, client_name="one"), begin(site, client_name="two")
    shown = text(browser.open(at(one)))
    assert one["user_code"] in shown
    assert two["user_code"] not in shown


@pytest.mark.parametrize("privilege", ["is_staff", "is_support"])
def test_staff_and_support_let_a_program_in_only_with_their_password(
    browser: Browser, site: Site, world: World, privilege: str
) -> None:
    boss = world.person("boss", password=HASHED, **{privilege: True})
    browser.sign_in(world, boss)
    begun = begin(site)
    for wrong in ({}, {"password": ""}, {"password": "wrong"}, {"factor": "123456"}):
        refused = approve(browser, begun, **wrong)
        assert refused.status_code == 422
        assert begun["user_code"] in text(refused)
        assert poll(site, begun) == {"status": "authorization_pending"}
    assert approve(browser, begun, password=PASSWORD).status_code == 200
    assert poll(site, begun)["status"] == "success"


def test_staff_with_a_second_factor_let_a_program_in_only_with_a_code(
    browser: Browser, site: Site, world: World
) -> None:
    boss = world.person("boss", password=HASHED, is_staff=True)
    authenticator, codes = turned_on(world, boss)
    browser.sign_in(world, boss)
    begun = begin(site)
    for wrong in ({}, {"password": PASSWORD}, {"factor": "000000"}, {"factor": "x" * 101}):
        assert approve(browser, begun, **wrong).status_code == 422
    assert approve(browser, begun, factor=authenticator.now()).status_code == 200
    assert poll(site, begun)["status"] == "success"
    again = begin(site)
    assert approve(browser, again, factor=codes[0]).status_code == 200
    assert poll(site, again)["status"] == "success"


def test_everybody_else_lets_a_program_in_with_one_press(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada)
    begun = begin(site)
    assert 'type="password"' not in browser.open(at(begun)).text
    assert approve(browser, begun).status_code == 200
    assert poll(site, begun)["status"] == "success"


@pytest.mark.parametrize("who", ["ada", "boss", "boss with a factor", "turned away"])
def test_second_press_says_what_the_first_has_done(
    browser: Browser, site: Site, world: World, ada: Person, who: str
) -> None:
    proof, action = {}, "approve"
    if who.startswith("boss"):
        boss = world.person("boss", password=HASHED, is_staff=True)
        proof = {"password": PASSWORD}
        if who != "boss":
            proof = {"factor": turned_on(world, boss)[0].now()}
        browser.sign_in(world, boss)
    else:
        browser.sign_in(world, ada)
        action = "deny" if who == "turned away" else action
    begun = begin(site)
    page = browser.open(at(begun)).text
    hidden = dict(re.findall(r'name="(device|submission)" value="([\w-]+)"', page))
    assert hidden.keys() == {"device", "submission"}
    form = {**hidden, **proof, "action": action, "csrf": browser.csrf}
    answers = [browser.call("POST", HERE, data=form) for _ in range(3)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert poll(site, begun).get("status") == ("success" if action == "approve" else None)
    # The twin: without that number it does not wait any more.
    assert browser.call("POST", HERE, data=form | {"submission": ""}).status_code == 404


def test_turning_away_needs_no_password(browser: Browser, site: Site, world: World) -> None:
    browser.sign_in(world, world.staff)
    begun = begin(site)
    page = browser.open(at(begun))
    uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
    assert browser.send(HERE, action="deny", device=uuid).status_code == 200
    assert poll(site, begun) == {"error": "access_denied"}


@pytest.mark.parametrize(
    ("asked", "chosen", "lives"),
    [
        ({}, {}, 90 * DAY),
        ({"token_lifetime": 3600}, {}, 3600),
        ({"token_lifetime": 365 * DAY}, {}, 365 * DAY),
        ({"token_lifetime": 365 * DAY}, {"lifetime": str(7 * DAY)}, 7 * DAY),
        ({}, {"lifetime": str(365 * DAY)}, 365 * DAY),
    ],
    ids=["nothing", "shorter", "longest", "person_shortens", "person_lengthens"],
)
def test_the_token_lives_as_long_as_the_question_said(
    browser: Browser,
    site: Site,
    world: World,
    ada: Person,
    asked: dict[str, int],
    chosen: dict[str, str],
    lives: int,
) -> None:
    browser.sign_in(world, ada)
    begun = begin(site, **asked)
    assert approve(browser, begun, **chosen).status_code == 200
    token = poll(site, begun)["token"]
    assert site.get("/api/users/me/", token).status_code == 200
    page = text(browser.open("/account/tokens/"))
    ends = datetime.now(UTC) + timedelta(seconds=lives)
    assert any(
        f"{day.day} {day:%B %Y}, {day:%H:%M} UTC" in page
        for day in (ends, ends - timedelta(minutes=1))
    )


@pytest.mark.parametrize("seconds", [0, 59, 366 * DAY, 2**31, -1, 10**30, "90", None, True, 1.5])
def test_a_lifetime_out_of_bounds_is_refused_at_its_field(site: Site, seconds: object) -> None:
    answer = site.post("/api/auth/device/", json={"token_lifetime": seconds})
    assert answer.status_code == 400
    assert list(answer.json()) == ["token_lifetime"]


@pytest.mark.parametrize("chosen", ["x", "1", "59", "-1", str(366 * DAY), "9" * 12, "1e3"])
def test_a_lifetime_that_the_page_does_not_offer_is_not_taken(
    browser: Browser, site: Site, world: World, ada: Person, chosen: str
) -> None:
    browser.sign_in(world, ada)
    begun = begin(site)
    assert approve(browser, begun, lifetime=chosen).status_code == 422
    assert poll(site, begun) == {"status": "authorization_pending"}


def test_the_operator_decides_how_long_such_tokens_live(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    ada: Person,
) -> None:
    site = make_site(make_settings(device_token_lifetime="30d", device_token_lifetime_max="10d"))
    begun = begin(site)
    browser = Browser(site).sign_in(world, ada)
    assert "10 days" in text(browser.open(at(begun)))
    assert approve(browser, begun, lifetime=str(30 * DAY)).status_code == 422
    assert site.post("/api/auth/device/", json={"token_lifetime": 11 * DAY}).status_code == 400


@pytest.mark.parametrize(
    ("bounds", "asked", "offered"),
    [
        ({}, {"token_lifetime": 3600}, [3600, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY]),
        ({"device_token_lifetime_max": "2h"}, {}, [7200]),
        ({"token_max_age": "12h"}, {}, [DAY // 2]),
        ({"token_max_age": "10d"}, {"token_lifetime": 90}, [90, DAY, 7 * DAY]),
    ],
    ids=["asked_for_an_hour", "longest_is_short", "all_end_soon", "all_end_in_days"],
)
def test_whatever_the_page_offers_can_be_chosen_and_nothing_that_cannot_hold(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    ada: Person,
    bounds: dict[str, str],
    asked: dict[str, int],
    offered: list[int],
) -> None:
    site = make_site(make_settings(**bounds))
    browser = Browser(site).sign_in(world, ada)
    page = browser.open(at(begin(site, **asked))).text
    options = re.findall(r'<option value="(\d+)"( selected)?', page)
    assert [int(value) for value, _ in options] == offered
    # A browser sends what is selected, although nobody has touched it.
    assert [int(value) for value, selected in options if selected] == offered[:1]
    for lifetime in offered:
        begun = begin(site, **asked)
        assert approve(browser, begun, lifetime=str(lifetime)).status_code == 200, lifetime
        assert poll(site, begun)["status"] == "success"
    too_long = approve(browser, begin(site, **asked), lifetime=str(offered[-1] + 1))
    assert too_long.status_code == 422


def test_a_program_that_waited_before_the_upgrade_can_be_let_in(
    browser: Browser, site: Site, world: World, ada: Person
) -> None:
    browser.sign_in(world, ada)
    begun = begin(site, client_name="patient")
    with world.database.write() as tx:
        old = {"user_code_encrypted": None, "ip_address": "", "lifetime": None}
        tx.execute(Statement(update(devices).values(old)))
    shown = text(browser.open(at(begun)))
    assert "patient" in shown
    assert "unknown" in shown
    assert "Not the network of your browser" not in shown
    assert approve(browser, begun).status_code == 200
    assert poll(site, begun)["status"] == "success"
