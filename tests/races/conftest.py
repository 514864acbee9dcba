"""Run actions at the same moment."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from collegium.refusals import Refusal
from tests.support.world import World

Together = Callable[..., list[Any]]


@pytest.fixture
def together() -> Iterator[Together]:
    """Run functions at the same moment; return their results."""
    pool = ThreadPoolExecutor(16)

    def run(*functions: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(len(functions))

        def wait_and_run(function: Callable[[], Any]) -> Any:
            barrier.wait(timeout=20)
            return function()

        futures = [pool.submit(wait_and_run, function) for function in functions]
        return [future.result(timeout=60) for future in futures]

    yield run
    pool.shutdown()


def rounds_of(world: World) -> int:
    """Return how often a race is repeated. Writers of SQLite queue, so few rounds show them all."""
    return 10 if world.database.is_sqlite else 50


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function, or the refusal that it raises."""
    try:
        return function(*arguments)
    except Refusal as refusal:
        return refusal


def statuses(responses: list[httpx.Response]) -> list[int]:
    return sorted(response.status_code for response in responses)
