"""An organisation with an owner and a project, and an account outside."""

from __future__ import annotations

import pytest

from tests.support.world import Person, Place, World


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def organisation(world: World, owner: Person) -> Place:
    return world.organisation("Initech", owner=owner)


@pytest.fixture
def project(world: World, organisation: Place) -> Place:
    return world.project(organisation, "Atlas")


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")
