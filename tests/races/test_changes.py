"""Changes of invitations, invite links and grants, with something else at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collegium.settings import Settings
from tests.proof.invariants import broken
from tests.races.conftest import Together, statuses
from tests.support.site import Site
from tests.support.world import Person, Place, World

ROUNDS = 6


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation(owner=owner))


def test_role_restored_twice_is_given_once(
    world: World, site: Site, together: Together, project: Place
) -> None:
    ada = world.person("ada")
    world.give_role(ada, "PROJECT.MEMBER", project)
    (uuid,) = (row.uuid for row in world.grants_in(project))
    path = f"/api/user-permissions/{uuid}/"
    for _ in range(ROUNDS):
        assert site.post(f"{path}revoke/", world.staff, json={}).status_code == 200
        restore = [lambda: site.post(f"{path}restore/", world.staff, json={})] * 2
        assert statuses(together(*restore)) == [200, 400]
        assert [row.uuid for row in world.grants_in(project)] == [uuid]
    assert not broken(world.database)


def test_invitation_is_accepted_or_goes_to_another_address(
    world: World, site: Site, together: Together, owner: Person, project: Place
) -> None:
    for number in range(ROUNDS):
        bob = world.person(f"bob{number}")
        uuid = world.invite(owner, bob.email, "PROJECT.MEMBER", project)
        path, body = f"/api/user-invitations/{uuid}/", {"email": f"eve{number}@example.org"}
        change: Any = lambda path=path, body=body: site.request("PATCH", path, owner, json=body)  # noqa: E731 - one of two actions
        accept: Any = lambda path=path, bob=bob: site.post(f"{path}accept/", bob)  # noqa: E731 - the other
        changed, accepted = together(change, accept)
        is_member = bob.actor.username in {row.username for row in world.grants_in(project)}
        assert (changed.status_code, accepted.status_code) in {(200, 404), (400, 200)}
        assert is_member is (accepted.status_code == 200)
        row = world.invitation(uuid)
        assert (row.email, row.state) == (
            (bob.email, "accepted") if is_member else (body["email"], "pending")
        )
    assert not broken(world.database)


def test_request_asks_for_what_the_link_offers(
    world: World, site: Site, together: Together, owner: Person, project: Place
) -> None:
    roles = [world.role(f"PROJECT.{name}") for name in ("MEMBER", "ADMIN")]
    for number in range(ROUNDS):
        ada = world.person(f"ada{number}")
        link = world.create_link(owner, "PROJECT.MEMBER", project)
        path, body = f"/api/user-group-invitations/{link}/", {"role": roles[1].uuid}
        change: Any = lambda path=path, body=body: site.request("PATCH", path, owner, json=body)  # noqa: E731 - one of two actions
        ask: Any = lambda path=path, ada=ada: site.post(f"{path}submit_request/", ada, json={})  # noqa: E731 - the other
        changed, asked = together(change, ask)
        assert asked.status_code == 200
        request = world.request(asked.json()["uuid"])
        offered = roles[changed.status_code == 200]
        assert site.get(path, owner).json()["role"] == offered.uuid
        assert request.role_id == offered.id
    assert not broken(world.database)
