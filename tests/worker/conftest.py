"""The clock of the worker's tests."""

import pytest

from tests.worker.scene import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
