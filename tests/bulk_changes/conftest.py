"""An owner of an organisation, and a project in it."""

from __future__ import annotations

import pytest

from tests.support.world import Person, Place, World


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation("Initech", owner=owner), "Atlas")
