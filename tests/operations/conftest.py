"""Services that are stopped after the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import KEY
from tests.support.serving import Service


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that makes a service in the folder of the test, from settings."""
    services: list[Service] = []

    def make(**settings: str) -> Service:
        services.append(Service(tmp_path, settings))
        return services[-1]

    yield make
    for service in services:
        service.stop()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """Return a service with default settings and no database."""
    return make_service()


@pytest.fixture
def service_on_url(make_service: Callable[..., Service], url: str) -> Service:
    """Return a service on each database."""
    return make_service(database_url=url, secret_key=KEY)
