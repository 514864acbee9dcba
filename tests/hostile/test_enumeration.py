"""Nobody learns who has an account, from a response or from its time.

The tests compare what takes time: SQL statements and password hashes. ``HOSTILE=long`` measures
seconds too, on an otherwise idle machine.
"""

import os
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from collegium.invitations import links
from collegium.security import crypto
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.sign_in.two_factor import actions as two_factor_actions
from tests.hostile.values import IS_LONG
from tests.support.browser import Browser
from tests.support.site import Site, record_statements
from tests.support.world import World

PASSWORD = "a quiet harbour 41"
METHODS = ("waldur", "brainstem", "token pair", "page", "forgotten password")
SAMPLES = int(os.environ.get("HOSTILE_SAMPLES", "150"))


class Hasher:
    """Counts password hashes."""

    def __init__(self) -> None:
        self._real = crypto._HASHER
        self.count = 0

    def hash(self, password: str) -> str:
        self.count += 1
        return self._real.hash(password)

    def verify(self, stored: str, password: str) -> bool:
        self.count += 1
        return self._real.verify(stored, password)


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    return make_site(make_settings(trusted_proxies="127.0.0.1"))


@pytest.fixture
def people(world: World) -> list[str]:
    """Return the user names of an account of every kind, and one without an account."""
    hashed = hash_password(PASSWORD)
    world.person("known41", password=hashed)
    guarded = world.person("guarded41", password=hashed)
    with world.database.write() as tx:
        two_factor_actions.begin(tx, guarded.actor, world.vault)
    world.person("inactive41", password=hashed, is_active=False)
    world.person("elsewhere41", registration_method="eduteams")
    world.person("without41", password=None)
    return ["known41", "guarded41", "inactive41", "elsewhere41", "without41", "nobody41"]


def attempt(site: Site, method: str, name: str, number: int) -> httpx.Response:
    """Try to sign in or to reset a password, each time from another address."""
    headers = {"X-Forwarded-For": f"198.51.{number // 250}.{number % 250}"}
    if method in {"page", "forgotten password"}:
        browser = Browser(site)
        browser.open("/sign_in/")
        fields = {"csrf": browser.csrf, "username": name, "password": "wrong"}
        path = "/sign_in/"
        if method == "forgotten password":
            path, fields = "/forgotten_password/", fields | {"email": f"{name}@example.org"}
        return browser.call("POST", path, data=fields, headers=headers)
    path, body = {
        "waldur": ("/api-auth/password/", {"username": name}),
        "brainstem": ("/api/token/", {"username": f"{name}@example.org"}),
        "token pair": ("/api/auth/token/", {"email": f"{name}@example.org"}),
    }[method]
    return site.post(path, json=body | {"password": "wrong"}, headers=headers)


def comparable(response: httpx.Response, name: str) -> tuple[int, str, list[str]]:
    """Return status, text without the values sent, and names of headers."""
    text = response.text.replace(name, "…")
    if (csrf := response.request.content.decode().partition("csrf=")[2][:32]) and len(csrf) == 32:
        text = text.replace(csrf, "…")
    return response.status_code, text, sorted(response.headers)


@pytest.mark.parametrize("method", METHODS)
def test_response_and_cost_are_the_same_for_known_and_unknown_accounts(
    site: Site, people: list[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    hasher = Hasher()
    monkeypatch.setattr(crypto, "_HASHER", hasher)
    results = {}
    for number, name in enumerate(people):
        attempt(site, method, name, number)  # fill the caches
        hasher.count = 0
        with record_statements(monkeypatch) as statements:
            response = attempt(site, method, name, 100 + number)
        results[name] = (
            comparable(response, name),
            hasher.count,
            len(statements),
            sorted(statements),
        )
    for name, result in results.items():
        assert result == results["nobody41"], name


def test_invitation_does_not_reveal_accounts(
    site: Site, world: World, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    role = world.role("PROJECT.MEMBER").uuid
    results = set()
    body = {"scope": place.path, "role": role, "email": "first@example.org"}
    site.post("/api/user-invitations/", owner, json=body)
    for name in people:
        invited = body | {"email": f"{name}@example.org"}
        with record_statements(monkeypatch) as statements:
            response = site.post("/api/user-invitations/", owner, json=invited)
        assert response.status_code == 201
        shown = response.json()
        for key in ("email", "uuid", "url", "created", "expires"):
            del shown[key]
        results.add((repr(sorted(shown.items())), tuple(sorted(statements))))
    assert len(results) == 1


def test_invitation_page_does_not_reveal_accounts(
    site: Site, world: World, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = world.organisation()
    results = set()
    # The owner of the address of a deactivated account may learn that it is deactivated.
    for name in set(people) - {"inactive41"}:
        uuid = world.invite(world.staff, f"{name}@example.org", "CUSTOMER.OWNER", place)
        row: Any = world.invitation(uuid)
        link = world.vault.sign(links.MAILED, uuid, row.link_version)
        browser = Browser(site)
        with record_statements(monkeypatch) as statements:
            response = browser.open(f"/invitation/{link}/")
        assert response.status_code == 200
        text = response.text.replace(link, "…").replace(browser.csrf, "…")
        text = re.sub(rf"{name}|\d\d:\d\d", "…", text)
        text = re.sub(r'name="submission" value="[\w-]+"', "…", text)
        results.add((text, tuple(statements)))
    assert len(results) == 1


@pytest.mark.skipif(not IS_LONG, reason="measures time on an idle machine")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("method", METHODS)
def test_times_are_the_same(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    people: list[str],
    method: str,
) -> None:
    site = make_site(make_settings(rate_limits="false"))
    seconds: dict[str, list[float]] = {"known41": [], "nobody41": []}
    for number in range(SAMPLES):
        for name in sorted(seconds, reverse=bool(number % 2)):  # in turns
            began = time.perf_counter()
            attempt(site, method, name, number)
            seconds[name].append(time.perf_counter() - began)
    known, nobody = (statistics.median(times) for times in seconds.values())
    spread = statistics.median(abs(value - nobody) for value in seconds["nobody41"])
    print(f"{method}: {known * 1e3:.2f} and {nobody * 1e3:.2f} ms, ± {spread * 1e3:.2f}")  # noqa: T201
    assert abs(known - nobody) < max(spread, 0.05 * nobody)
