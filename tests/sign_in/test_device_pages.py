"""Device sign-in in the browser: what the page shows, asks and grants."""

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
from tests.sign_in.test_confirmation import leave_alone
from tests.sign_in.test_pages import HASHED, PASSWORD, enable_two_factor
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


PATH = "/account/authorize/"
PENDING = {"status": "authorization_pending"}
DAY = 86400


@pytest.fixture
def ada_browser(browser: Browser, world: World, ada: Person) -> Browser:
    return browser.sign_in(world, ada)


def begin(site: Site, **body: Any) -> dict[str, Any]:
    response = site.post("/api/auth/device/", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def poll(site: Site, device: dict[str, Any]) -> dict[str, Any]:
    body = {"device_code": device["device_code"]}
    return dict(site.post("/api/auth/device/token/", json=body).json())


def url_of(device: dict[str, Any]) -> str:
    return f"{PATH}?session={device['session_id']}"


def decide(
    browser: Browser, device: dict[str, Any], action: str = "approve", **fields: str
) -> httpx.Response:
    page = browser.open(url_of(device))
    uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
    return browser.send(PATH, action=action, device=uuid, **fields)


def day_of(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def test_page_shows_code_network_time_and_unverified_name(ada_browser: Browser, site: Site) -> None:
    device = begin(site, client_name="Official <b>Update</b>")
    for page in (
        ada_browser.open(url_of(device)),
        ada_browser.send(PATH, action="find", code=device["user_code"].lower()),
    ):
        now = datetime.now(UTC)
        for part in (
            device["user_code"],
            "Is this the code that your device or program shows?",
            "127.0.0.1",
            "The same network as your browser",
            day_of(now),
            "The program chose this name. It is not verified.",
            "90 days",
            day_of(now + timedelta(days=90)),
        ):
            assert part in text(page)
        assert "Official &lt;b&gt;Update" in page.text


def test_page_warns_of_a_program_in_another_network(
    ada_browser: Browser, site: Site, world: World
) -> None:
    device = begin(site)
    with world.database.write() as tx:
        tx.execute(Statement(update(devices).values(ip_address="203.0.113.9")))
    page = text(ada_browser.open(url_of(device)))
    assert "203.0.113.9" in page
    assert "Not the network of your browser (127.0.0.1)" in page


def test_page_shows_the_code_of_its_own_program_only(ada_browser: Browser, site: Site) -> None:
    first, second = begin(site, client_name="one"), begin(site, client_name="two")
    page = text(ada_browser.open(url_of(first)))
    assert first["user_code"] in page
    assert second["user_code"] not in page


@pytest.mark.parametrize("action", ["approve", "deny"])
def test_people_approve_and_deny_a_program_without_a_password_after_signing_in(
    ada_browser: Browser, site: Site, action: str
) -> None:
    device = begin(site)
    assert 'type="password"' not in ada_browser.open(url_of(device)).text
    assert ada_browser.send(PATH, action="find", code="AAAA-0000").status_code == 404
    assert ada_browser.send(PATH, action=action, device="x").status_code == 404
    assert decide(ada_browser, device, action).status_code == 200
    result = poll(site, device)
    assert (result == {"error": "access_denied"}) is (action == "deny")
    assert ("token" in result) is (action == "approve")
    assert ada_browser.open(url_of(device)).status_code == 404


@pytest.mark.parametrize(
    ("name", "action"),
    [("ada", "approve"), ("boss", "approve"), ("boss_with_two_factor", "approve"), ("ada", "deny")],
)
def test_repeated_submission_shows_the_same_result(
    browser: Browser, site: Site, world: World, ada: Person, name: str, action: str
) -> None:
    person, proof = ada, {}
    if name != "ada":
        person = world.person("boss", password=HASHED, is_staff=True)
        proof = {"confirm_password": PASSWORD}
    if name == "boss_with_two_factor":
        proof = {"confirm_code": enable_two_factor(world, person)[0].now()}
    browser.sign_in(world, person)
    if proof:
        leave_alone(world, person)
    device = begin(site)
    page = browser.open(url_of(device)).text
    hidden = dict(re.findall(r'name="(device|submission)" value="([\w-]+)"', page))
    assert hidden.keys() == {"device", "submission"}
    form = {**hidden, **proof, "action": action, "csrf": browser.csrf}
    responses = [browser.call("POST", PATH, data=form) for _ in range(3)]
    assert {(each.status_code, each.text) for each in responses} == {(200, responses[0].text)}
    assert poll(site, device).get("status") == ("success" if action == "approve" else None)
    # Without the submission number the program is no longer pending.
    assert browser.call("POST", PATH, data=form | {"submission": ""}).status_code == 404


def test_denying_a_program_needs_no_password(browser: Browser, site: Site, world: World) -> None:
    browser.sign_in(world, world.staff)
    device = begin(site)
    assert decide(browser, device, "deny").status_code == 200
    assert poll(site, device) == {"error": "access_denied"}


@pytest.mark.parametrize(
    ("requested", "chosen", "lifetime"),
    [
        ({}, {}, 90 * DAY),
        ({"token_lifetime": 3600}, {}, 3600),
        ({"token_lifetime": 365 * DAY}, {}, 365 * DAY),
        ({"token_lifetime": 365 * DAY}, {"lifetime": str(7 * DAY)}, 7 * DAY),
        ({}, {"lifetime": str(365 * DAY)}, 365 * DAY),
    ],
    ids=["nothing", "shorter", "longest", "person_shortens", "person_lengthens"],
)
def test_device_token_has_the_lifetime_that_the_page_showed(
    ada_browser: Browser,
    site: Site,
    requested: dict[str, int],
    chosen: dict[str, str],
    lifetime: int,
) -> None:
    device = begin(site, **requested)
    assert decide(ada_browser, device, **chosen).status_code == 200
    assert site.get("/api/users/me/", poll(site, device)["token"]).status_code == 200
    page = text(ada_browser.open("/account/tokens/"))
    end = datetime.now(UTC) + timedelta(seconds=lifetime)
    ends = (end, end - timedelta(minutes=1))
    assert any(f"{day_of(moment)}, {moment:%H:%M} UTC" in page for moment in ends)


@pytest.mark.parametrize("seconds", [0, 59, 366 * DAY, 2**31, -1, 10**30, "90", None, True, 1.5])
def test_lifetime_out_of_bounds_is_an_error_of_its_field(site: Site, seconds: object) -> None:
    response = site.post("/api/auth/device/", json={"token_lifetime": seconds})
    assert response.status_code == 400
    assert list(response.json()) == ["token_lifetime"]


@pytest.mark.parametrize("chosen", ["x", "1", "59", "-1", str(366 * DAY), "9" * 12, "1e3"])
def test_lifetime_that_the_page_does_not_offer_is_refused(
    ada_browser: Browser, site: Site, chosen: str
) -> None:
    device = begin(site)
    assert decide(ada_browser, device, lifetime=chosen).status_code == 422
    assert poll(site, device) == PENDING


def test_settings_limit_the_lifetime_of_device_tokens(
    site_with: Callable[..., Site], world: World, ada: Person
) -> None:
    site = site_with(device_token_lifetime="30d", device_token_lifetime_max="10d")
    device = begin(site)
    browser = Browser(site).sign_in(world, ada)
    assert "10 days" in text(browser.open(url_of(device)))
    assert decide(browser, device, lifetime=str(30 * DAY)).status_code == 422
    assert site.post("/api/auth/device/", json={"token_lifetime": 11 * DAY}).status_code == 400


@pytest.mark.parametrize(
    ("limits", "requested", "offered"),
    [
        ({}, {"token_lifetime": 3600}, [3600, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY]),
        ({"device_token_lifetime_max": "2h"}, {}, [7200]),
        ({"token_max_age": "12h"}, {}, [DAY // 2]),
        ({"token_max_age": "10d"}, {"token_lifetime": 90}, [90, DAY, 7 * DAY]),
    ],
    ids=["an_hour_requested", "short_maximum", "maximum_age_of_hours", "maximum_age_of_days"],
)
def test_page_offers_exactly_the_lifetimes_that_can_be_chosen(
    site_with: Callable[..., Site],
    world: World,
    ada: Person,
    limits: dict[str, str],
    requested: dict[str, int],
    offered: list[int],
) -> None:
    site = site_with(**limits)
    browser = Browser(site).sign_in(world, ada)
    page = browser.open(url_of(begin(site, **requested))).text
    options = re.findall(r'<option value="(\d+)"( selected)?', page)
    assert [int(value) for value, _ in options] == offered
    assert [int(value) for value, selected in options if selected] == offered[:1]
    for lifetime in offered:
        device = begin(site, **requested)
        assert decide(browser, device, lifetime=str(lifetime)).status_code == 200, lifetime
        assert poll(site, device)["status"] == "success"
    too_long = decide(browser, begin(site, **requested), lifetime=str(offered[-1] + 1))
    assert too_long.status_code == 422
