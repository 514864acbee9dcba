"""Projects that come back or move while something else happens; PostgreSQL's writers overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from tests.races.conftest import Together, statuses
from tests.support.site import Site
from tests.support.world import Person, Place, World

MEMBER, OWNER = "PROJECT.MEMBER", "CUSTOMER.OWNER"
ROUNDS = 20


class Scene:
    """Two organisations, each with an owner, and a person who is or becomes a member."""

    def __init__(self, world: World, site: Site, together: Together) -> None:
        self.world, self.site, self.together = world, site, together
        self.owner, self.ada = world.person("owner"), world.person("ada")
        self.sea, self.air = (world.organisation(name, owner=self.owner) for name in ("S", "A"))

    def rounds(self) -> Iterator[int]:
        # Writers of SQLite queue, so a few rounds show every order.
        yield from range(3 if self.world.database.is_sqlite else ROUNDS)

    def deleted(self, organisation: Place) -> Place:
        """Return a deleted project that had Ada as a member."""
        project = self.world.project(organisation)
        self.world.give_role(self.ada, MEMBER, project)
        self.site.request("DELETE", project.path, self.world.staff)
        return project

    def post(self, project: Place, action: str, **body: Any) -> Callable[[], httpx.Response]:
        path = f"{project.path}{action}/"
        return partial(self.site.post, path, self.world.staff, json=body)

    def restore(self, project: Place) -> Callable[[], httpx.Response]:
        return self.post(project, "recover", restore_team_members=True)

    def move(
        self, project: Place, target: Place, *, keeps: bool = False
    ) -> Callable[[], httpx.Response]:
        body = {"customer": target.path, "preserve_permissions": keeps}
        return self.post(project, "move_project", **body)

    def delete(self, place: Place) -> Callable[[], httpx.Response]:
        return partial(self.site.request, "DELETE", place.path, self.world.staff)

    def where(self, project: Place) -> str | None:
        """Return the organisation of a project; None if it is deleted."""
        response = self.site.get(project.path, self.world.staff)
        return response.json()["customer_uuid"] if response.status_code == 200 else None

    def members(self, project: Place) -> list[str]:
        return [row.username for row in self.world.grants_in(project)]


@pytest.fixture
def scene(world: World, site: Site, together: Together) -> Scene:
    return Scene(world, site, together)


def test_project_comes_back_once(scene: Scene) -> None:
    for _ in scene.rounds():
        project = scene.deleted(scene.sea)
        recover = scene.restore(project)
        assert statuses(scene.together(recover, recover)) == [200, 400]
        assert scene.members(project) == ["ada"]


def test_project_does_not_come_back_in_a_deleted_organisation(scene: Scene) -> None:
    seen = set()
    for _ in scene.rounds():
        organisation = scene.world.organisation()
        project = scene.deleted(organisation)
        answers = scene.together(scene.restore(project), scene.delete(organisation))
        recovered, deleted = (answer.status_code for answer in answers)
        seen.add((recovered, deleted))
        assert (scene.where(project) is None) == (recovered != 200)
        assert len(scene.members(project)) == (recovered == 200)
    assert seen <= {(200, 409), (404, 204)}


def test_project_that_is_deleted_while_it_comes_back_has_no_members(scene: Scene) -> None:
    for _ in scene.rounds():
        project = scene.deleted(scene.sea)
        recovered, deleted = scene.together(scene.restore(project), scene.delete(project))
        assert recovered.status_code == 200
        assert deleted.status_code in {204, 404}
        assert len(scene.members(project)) == (deleted.status_code == 404)


def test_two_projects_cross_without_a_deadlock(scene: Scene) -> None:
    projects = [scene.world.project(place) for place in (scene.sea, scene.air)]
    for number in scene.rounds():
        targets = (scene.sea, scene.air) if number % 2 else (scene.air, scene.sea)
        moves = map(scene.move, projects, targets)
        assert statuses(scene.together(*moves)) == [200, 200]
        assert [scene.where(one) for one in projects] == [one.uuid for one in targets]


def test_project_that_moves_to_two_places_is_in_the_one_that_was_answered_last(
    scene: Scene,
) -> None:
    other = scene.world.organisation("Other")
    for _ in scene.rounds():
        project = scene.world.project(scene.sea)
        answers = scene.together(*(scene.move(project, place) for place in (scene.air, other)))
        moved = [answer.json()["customer_uuid"] for answer in answers if answer.is_success]
        assert statuses(answers)[0] == 200
        assert statuses(answers)[1] in {200, 400}
        assert scene.where(project) in moved


def test_nobody_becomes_a_member_by_the_organisation_that_a_project_leaves(scene: Scene) -> None:
    """Neither by the owner who adds a member, nor by an invitation that is accepted."""
    leaver = scene.world.person("leaver")
    sea = scene.world.organisation("Leaving", owner=leaver)
    for _ in scene.rounds():
        project = scene.world.project(sea)
        body = {"role": MEMBER, "user": scene.world.person().uuid}
        add = partial(scene.site.post, f"{project.path}add_user/", leaver, json=body)
        invitation = scene.world.invite(leaver, scene.ada.email, MEMBER, project)
        path = f"/api/user-invitations/{invitation}/accept/"
        answers = scene.together(
            scene.move(project, scene.air), add, partial(scene.site.post, path, scene.ada)
        )
        moved, added, accepted = (answer.status_code for answer in answers)
        assert (moved, scene.where(project)) == (200, scene.air.uuid)
        assert added in {201, 404}
        assert accepted in {200, 404}
        assert scene.members(project) == []


def test_members_stay_when_a_project_moves_with_them(scene: Scene) -> None:
    for number in scene.rounds():
        project = scene.world.project(scene.sea)
        newcomer: Person = scene.world.person(f"newcomer{number}")
        body = {"role": MEMBER, "user": newcomer.uuid}
        add = partial(scene.site.post, f"{project.path}add_user/", scene.owner, json=body)
        answers = scene.together(scene.move(project, scene.air, keeps=True), add)
        # The owner owns both organisations, so the order does not matter.
        assert [answer.status_code for answer in answers] == [200, 201]
        assert scene.members(project) == [f"newcomer{number}"]
