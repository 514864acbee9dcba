"""An organisation, a project, and somebody of every kind to look at their team."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.support.browser import Browser
from tests.support.world import Person, Place, World


class Scene(NamedTuple):
    """An organisation with a project, and somebody of every kind."""

    world: World
    people: dict[str, Person]
    organisation: Place
    project: Place

    @property
    def places(self) -> tuple[tuple[Place, str], ...]:
        return tuple(
            (place, path)
            for place, path in zip(
                (self.organisation, self.project), self.paths.values(), strict=True
            )
        )

    @property
    def paths(self) -> dict[str, str]:
        return {
            "organisation": f"/organisation/{self.organisation.uuid}/",
            "project": f"/project/{self.project.uuid}/",
        }


def make(world: World) -> Scene:
    names = ("outsider", "member", "manager", "owner", "former")
    people = {name: world.person(name) for name in names}
    people["support"] = world.person("support", is_support=True)
    people["staff"] = world.staff
    organisation = world.organisation("Initech", owner=people["owner"])
    project = world.project(organisation, "Atlas")
    for name in ("member", "manager", "former"):
        role = "PROJECT.MANAGER" if name == "manager" else "PROJECT.MEMBER"
        world.give_role(people[name], role, project)
    world.remove_role(people["former"], "PROJECT.MEMBER", project)
    world.organisation("Hooli", owner=people["outsider"])
    return Scene(world, people, organisation, project)


def everybody(browser: Browser, scene: Scene) -> Iterator[tuple[str, Person]]:
    for name, person in scene.people.items():
        browser.cookies.clear()
        browser.sign_in(scene.world, person)
        browser.open("/account/tokens/")
        yield name, person
