"""Fixtures of the tests of hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from collegium.settings import Settings
from tests.hooks.scene import Endpoint, Scene
from tests.support.site import Site
from tests.support.world import World


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    yield from Endpoint().running()


@pytest.fixture
def settings(make_settings: Callable[..., Settings], endpoint: Endpoint) -> Settings:
    host = endpoint.base.split("/")[2]
    return make_settings(outgoing_internal_hosts=host, max_hooks_per_account="5")


@pytest.fixture
def scene(world: World, site: Site, settings: Settings, endpoint: Endpoint) -> Scene:
    return Scene(world, site, settings, endpoint)
