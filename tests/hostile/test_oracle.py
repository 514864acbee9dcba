"""Nobody learns who has an account: not by what is said, and not by how long it takes.

Time is held by what costs it: the same questions are asked of the database, and passwords are
hashed as often. ``HOSTILE=long`` measures the seconds too, where nothing else runs.
"""

from __future__ import annotations

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
from tests.support.site import Site, counted_statements
from tests.support.world import World

PASSWORD = "a quiet harbour 41"
WAYS = ("waldur", "group wire", "briefly", "page", "forgotten password")
SAMPLES = int(os.environ.get("HOSTILE_SAMPLES", "150"))


class Hasher:
    """Counts what is slow on purpose."""

    def __init__(self) -> None:
        self._real = crypto._HASHER
        self.times = 0

    def hash(self, password: str) -> str:
        self.times += 1
        return self._real.hash(password)

    def verify(self, stored: str, password: str) -> bool:
        self.times += 1
        return self._real.verify(stored, password)


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    return make_site(make_settings(trusted_proxies="127.0.0.1"))


@pytest.fixture
def people(world: World) -> list[str]:
    """The user name of somebody of every kind, and of nobody; words that no page has."""
    hashed = hash_password(PASSWORD)
    world.person("known41", password=hashed)
    guarded = world.person("guarded41", password=hashed)
    with world.database.write() as tx:
        two_factor_actions.begin(tx, guarded.actor, world.vault)
    world.person("inactive41", password=hashed, is_active=False)
    world.person("elsewhere41", registration_method="eduteams")
    world.person("without41", password=None)
    return ["known41", "guarded41", "inactive41", "elsewhere41", "without41", "nobody41"]


def attempt(site: Site, how: str, name: str, number: int) -> httpx.Response:
    """Try something about somebody, each time from another address."""
    headers = {"X-Forwarded-For": f"198.51.{number // 250}.{number % 250}"}
    if how in {"page", "forgotten password"}:
        browser = Browser(site)
        browser.open("/sign_in/")
        fields = {"csrf": browser.csrf, "username": name, "password": "wrong"}
        path = "/sign_in/"
        if how == "forgotten password":
            path, fields = "/forgotten_password/", fields | {"email": f"{name}@example.org"}
        return browser.call("POST", path, data=fields, headers=headers)
    path, body = {
        "waldur": ("/api-auth/password/", {"username": name}),
        "group wire": ("/api/token/", {"username": f"{name}@example.org"}),
        "briefly": ("/api/auth/token/", {"email": f"{name}@example.org"}),
    }[how]
    return site.post(path, json=body | {"password": "wrong"}, headers=headers)


def plain(answer: httpx.Response, name: str) -> tuple[int, str, list[str]]:
    """What anybody could compare: status, text without what was sent, names of headers."""
    text = answer.text.replace(name, "…")
    if (csrf := answer.request.content.decode().partition("csrf=")[2][:32]) and len(csrf) == 32:
        text = text.replace(csrf, "…")
    return answer.status_code, text, sorted(answer.headers)


@pytest.mark.parametrize("how", WAYS)
def test_whoever_it_is_the_answer_is_the_same_and_costs_the_same(
    quick_hashes: None,
    site: Site,
    people: list[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    hasher = Hasher()
    monkeypatch.setattr(crypto, "_HASHER", hasher)
    seen = {}
    for number, name in enumerate(people):
        attempt(site, how, name, number)  # what is built once is built
        hasher.times = 0
        with counted_statements(monkeypatch) as ran:
            answer = attempt(site, how, name, 100 + number)
        seen[name] = (plain(answer, name), hasher.times, len(ran), sorted(ran))
    for name, found in seen.items():
        assert found == seen["nobody41"], name


def test_inviting_tells_nobody_who_has_an_account(
    site: Site, world: World, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    role = world.role("PROJECT.MEMBER").uuid
    seen = set()
    body = {"scope": place.path, "role": role, "email": "first@example.org"}
    site.post("/api/user-invitations/", owner, json=body)
    for name in people:
        sent = body | {"email": f"{name}@example.org"}
        with counted_statements(monkeypatch) as ran:
            answer = site.post("/api/user-invitations/", owner, json=sent)
        assert answer.status_code == 201
        shown = {
            key: value
            for key, value in answer.json().items()
            if key not in {"email", "uuid", "url", "created", "expires"}
        }
        seen.add((repr(sorted(shown.items())), tuple(sorted(ran))))
    assert len(seen) == 1


def test_the_page_of_an_invitation_tells_nothing_of_the_address(
    site: Site, world: World, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = world.organisation()
    seen = set()
    # Whoever has proven the address of a deactivated account is told that it is.
    for name in set(people) - {"inactive41"}:
        uuid = world.invite(world.staff, f"{name}@example.org", "CUSTOMER.OWNER", place)
        row: Any = world.invitation(uuid)
        link = world.vault.sign(links.MAILED, uuid, row.link_version)
        browser = Browser(site)
        with counted_statements(monkeypatch) as ran:
            answer = browser.open(f"/invitation/{link}/")
        assert answer.status_code == 200
        text = answer.text.replace(link, "…").replace(browser.csrf, "…")
        text = re.sub(rf"{name}|\d\d:\d\d", "…", text)
        # A number that is drawn for each form.
        text = re.sub(r'name="submission" value="[\w-]+"', "…", text)
        seen.add((text, tuple(ran)))
    assert len(seen) == 1


@pytest.mark.skipif(not IS_LONG, reason="measures time, which a busy machine spends on others")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", WAYS)
def test_the_seconds_are_the_same(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    people: list[str],
    how: str,
) -> None:
    """Known and unknown in turns, so that whatever else happens happens to both."""
    site = make_site(make_settings(rate_limits="false"))
    took: dict[str, list[float]] = {"known41": [], "nobody41": []}
    for number in range(SAMPLES):
        for name in sorted(took, reverse=bool(number % 2)):
            began = time.perf_counter()
            attempt(site, how, name, number)
            took[name].append(time.perf_counter() - began)
    known, nobody = (statistics.median(times) for times in took.values())
    spread = statistics.median(abs(one - nobody) for one in took["nobody41"])
    print(f"{how}: {known * 1e3:.2f} and {nobody * 1e3:.2f} ms, ± {spread * 1e3:.2f}")  # noqa: T201
    assert abs(known - nobody) < max(spread, 0.05 * nobody)
