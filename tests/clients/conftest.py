"""The official clients, and services for them."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.clients.official import Official
from tests.conftest import KEY
from tests.support.serving import Service


@pytest.fixture(scope="session")
def official() -> Iterator[Callable[[str], Official]]:
    """Return a function that starts the official client of a version, once."""
    clients: list[Official] = []

    @cache
    def start(version: str) -> Official:
        clients.append(Official(version))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


@pytest.fixture(params=["7.9.0", "8.1.3"])
def client(request: pytest.FixtureRequest, official: Callable[[str], Official]) -> Official:
    """Return each supported version of the official client."""
    return official(request.param)


@pytest.fixture
def serve(url: str, tmp_path: Path) -> Iterator[Callable[..., tuple[Service, str]]]:
    """Return a function that starts a service with a worker; it returns a token of staff too."""
    services: list[Service] = []

    def start(*options: str, **settings: str) -> tuple[Service, str]:
        service = Service(tmp_path, {"database_url": url, "secret_key": KEY, **settings})
        services.append(service)
        token = service.staff()
        service.start(*options)
        if url.startswith("postgresql") and "--no-worker" not in options:
            service.start_worker()
        return service, token

    yield start
    for service in services:
        service.stop()
