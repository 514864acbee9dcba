"""What every test of this wire may ask for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import World


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """The settings of an installation that shows its groups to everybody."""
    return make_settings(brainstem_public_portal="true")


@pytest.fixture
def groups(world: World, site: Site) -> Groups:
    return Groups(world, site)
