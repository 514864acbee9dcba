"""What every test of the clients may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.clients.official import Official


@pytest.fixture(scope="session")
def official() -> Iterator[Callable[[str], Official]]:
    """Give the official client of a version."""
    made: list[Official] = []

    @cache
    def give(version: str) -> Official:
        made.append(Official(version))
        return made[-1]

    yield give
    for one in made:
        one.close()


@pytest.fixture(params=["7.9.0", "8.1.3"])
def client(request: pytest.FixtureRequest, official: Callable[[str], Official]) -> Official:
    """Each of the official clients that we are held against."""
    return official(request.param)
