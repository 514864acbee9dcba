"""What every test of this wire may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dialects.brainstem.scene import Groups

if TYPE_CHECKING:
    from tests.site import Site
    from tests.world import World


@pytest.fixture
def groups(world: World, site: Site) -> Groups:
    return Groups(world, site)
