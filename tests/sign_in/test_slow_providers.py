"""A slow service keeps a few threads of a process waiting, not all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from collegium.db.statements import Statement
from collegium.db.tables import rate_limits
from collegium.integrations.eduteams import client as eduteams_client
from collegium.integrations.http_client import Timeouts
from collegium.integrations.openid import cache, client, discovery
from collegium.integrations.waiting import PER_HOST, PER_SERVICE, BusyError, Waiting
from collegium.sign_in.providers.values import DISCOVERY_PATH
from tests.sign_in.identity_scene import add_provider
from tests.sign_in.test_provider_pages import INIT, begin, failures, linked, visitor
from tests.support.browser import Browser
from tests.support.openid.hostile import CLIENT_ID, HostileProvider
from tests.support.remote import Asked, Remote, claims
from tests.support.site import Site
from tests.support.world import World

__all__ = ["visitor"]

MORE = 4
PATIENCE = Timeouts(connect=30, read=30, total=30)
"""The test says when a slow answer comes, however busy the machine is."""

_COUNTED = Statement[int](select(func.sum(rate_limits.c.count).label("total")))


class Slow:
    """A handler of a provider or directory that answers when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self._go_on = threading.Event()

    def __call__(self, asked: Asked) -> None:
        self.asked += 1
        self._go_on.wait(30)
        asked.send(500, b"")

    @contextmanager
    def requests(
        self, send: Callable[[Any], httpx.Response], arguments: list[Any]
    ) -> Iterator[tuple[Iterator[httpx.Response], list[Future[httpx.Response]]]]:
        """Send requests at once; yield the responses as they come. All are there afterwards."""
        with ThreadPoolExecutor(len(arguments)) as pool:
            futures = [pool.submit(send, one) for one in arguments]
            try:
                yield (one.result() for one in as_completed(futures, timeout=20)), futures
            finally:
                self._go_on.set()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, discovery):
        monkeypatch.setattr(module, "TIMEOUTS", PATIENCE)
    monkeypatch.setattr(eduteams_client.fetch, "__defaults__", (PATIENCE,))


def check_refused_at_once(responses: Iterator[httpx.Response], number: int) -> None:
    """Check that so many requests are refused while the others wait."""
    for response in islice(responses, number):
        said = response.text
        assert (response.status_code, response.headers["retry-after"]) == (503, "5"), said


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", [DISCOVERY_PATH, "/token"])
def test_slow_provider_holds_few_threads(
    visitor: Browser,
    site_with: Callable[..., Site],
    hostile: HostileProvider,
    world: World,
    path: str,
) -> None:
    linked(world, hostile)
    site = site_with(outgoing_internal_hosts=hostile.host)
    # Libraries and root certificates are loaded at the first sign-in.
    begin(visitor, hostile)
    discovery.clear_caches()
    paths = [INIT] * (PER_SERVICE + MORE)
    cookies = ""
    if path == "/token":
        paths = [begin(visitor, hostile) for _ in paths]
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    slow = hostile.tempers[path] = Slow()

    def send(target: str) -> httpx.Response:
        return site.send("GET", target.encode(), Accept="text/html", cookie=cookies)

    with slow.requests(send, paths) as (responses, futures):
        for response in islice(responses, MORE):
            assert "Many people are signing in" in response.text
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert sum(one.done() for one in futures) == MORE
        assert site.send("GET", b"/healthz").status_code == 200
        assert site.get("/api/users/me/", world.staff).status_code == 200
        # One thread asks for what all need. Every attempt was counted before it waited.
        number = 1 if path == DISCOVERY_PATH else PER_SERVICE
        while slow.asked < number:
            time.sleep(0.01)
        assert slow.asked == number
        with world.database.read() as tx:
            assert tx.fetch_only(_COUNTED) == 1 + len(paths)
        # A refusal at once writes nothing more.
        assert failures(world) == []
    assert {one.result().status_code for one in futures} == {503}
    assert len(failures(world)) == PER_SERVICE
    hostile.tempers.clear()
    if path == "/token":
        # Those who were refused at once come back with the same sign-in; it was not used up.
        busy = [
            target
            for target, one in zip(paths, futures, strict=True)
            if "Many people" in one.result().text
        ]
        assert [send(target).status_code for target in busy] == [303] * MORE


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_slow_providers_of_a_host_hold_half_of_the_places(
    visitor: Browser, site_with: Callable[..., Site], hostile: HostileProvider, world: World
) -> None:
    site, slow = site_with(outgoing_internal_hosts=hostile.host), Slow()
    paths = []
    for number in range(PER_HOST // PER_SERVICE + 1):
        name = f"slow{number}"
        add_provider(world, name, issuer=f"{hostile.issuer}/{name}", client_id=CLIENT_ID)
        hostile.tempers[f"/{name}{DISCOVERY_PATH}"] = slow
        paths += [f"/api-auth/{name}/init/"] * PER_SERVICE
    begin(visitor, hostile)
    with slow.requests(lambda path: site.send("GET", path.encode()), paths) as (responses, futures):
        check_refused_at_once(responses, PER_SERVICE)
        assert sum(one.done() for one in futures) == PER_SERVICE


def test_places_are_counted_for_each_service_each_host_and_together() -> None:
    waiting = Waiting(total=4, per_service=1, per_host=2)
    held: list[ExitStack] = []

    def take(service: str) -> bool:
        """Take a place in a thread of its own; return whether there was one."""
        stack = ExitStack()
        with ThreadPoolExecutor(1) as pool:
            try:
                pool.submit(stack.enter_context, waiting.at(service)).result()
            except BusyError:
                return False
        held.append(stack)
        return True

    taken = [take(f"https://slow.example/{number}") for number in (1, 1, 2, 3)]
    assert taken == [True, False, True, False]
    assert [take(name) for name in ("https://other.example/", "hooks", "https://a.example/")] == [
        *(True, True, False)
    ]
    for stack in held:
        stack.close()
    assert take("https://a.example/")


@pytest.mark.parametrize("fetched", [4000, 90000])
@pytest.mark.parametrize("max_age", [3600.0, 60.0])
def test_old_value_is_used_while_too_many_wait_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch, fetched: int, max_age: float
) -> None:
    places = Waiting(total=1)
    monkeypatch.setattr(cache, "waiting", places)
    entries: cache.Cache[str] = cache.Cache()
    now = time.monotonic()

    def get(said: str, max_age: float) -> str:
        return entries.get(("key",), lambda: said, max_age, time.monotonic() + 1, "https://a")

    assert get("old", 3600.0) == "old"
    monkeypatch.setattr(time, "monotonic", lambda: now + fetched)
    with ThreadPoolExecutor(1) as pool, places.at("https://b"):
        asked = pool.submit(get, "new", max_age)
        if fetched == 4000 and max_age == 3600.0:
            assert asked.result() == "old"
        else:
            # Too old, or the keys did not fit to a token.
            with pytest.raises(BusyError):
                asked.result()
    assert get("new", max_age) == "new"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_slow_directory_holds_few_threads(site_with: Callable[..., Site], world: World) -> None:
    remote, slow = Remote(), Slow()
    running = remote.running()
    next(running)
    site = site_with(**remote.settings())
    token = f"Token {world.staff.token}"
    ada = world.person("ada", registration_method="eduteams")
    target = f"/api/users/{ada.uuid}/pull_remote_user/".encode()

    def send(_number: int) -> httpx.Response:
        return site.send("POST", target, Authorization=token)

    remote.people["ada"] = claims("ada")
    assert send(0).status_code == 200
    remote.people["ada"] = slow
    with slow.requests(send, list(range(PER_SERVICE + MORE))) as (responses, futures):
        check_refused_at_once(responses, MORE)
        assert sum(one.done() for one in futures) == MORE
    next(running, None)
