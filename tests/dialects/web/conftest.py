"""What the tests of the pages may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dialects.web import team
from tests.dialects.web.browser import Browser

if TYPE_CHECKING:
    from tests.site import Site
    from tests.world import World


@pytest.fixture
def browser(site: Site) -> Browser:
    return Browser(site)


@pytest.fixture
def other(site: Site) -> Browser:
    """Another browser."""
    return Browser(site)


@pytest.fixture
def scene(world: World) -> team.Scene:
    """A team with somebody of every kind to look at it."""
    return team.make(world)
