"""Fixtures of the tests of groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import World


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Return settings with the public portal on."""
    return make_settings(brainstem_public_portal="true")


@pytest.fixture
def groups(world: World, site: Site) -> Groups:
    return Groups(world, site)
