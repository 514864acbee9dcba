"""Fixtures of the tests of signing in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.sign_in.test_pages import HASHED
from tests.support.world import Person, World


@pytest.fixture
def ada(world: World) -> Person:
    """Return an account with a password that has agreed to the policies."""
    return world.person("ada", password=HASHED, agreed_at=datetime.now(UTC))
