"""A join request is decided while its role is given."""

from collections.abc import Callable
from functools import partial

import pytest

from collegium.settings import Settings
from tests.races.conftest import Together
from tests.support.site import Site
from tests.support.world import World

ROUNDS = 15
REQUESTS = "/api/user-permission-requests/"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.mark.parametrize("decision", ["submit", "approve", "reject", "cancel_request"])
@pytest.mark.parametrize("way", ["add", "accept"])
def test_request_is_never_pending_beside_its_role(
    way: str, decision: str, site: Site, world: World, together: Together
) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    organisation = world.organisation(owner=owner)
    for number in range(ROUNDS):
        project = world.project(organisation, f"Round {number}")
        link = world.create_link(owner, "PROJECT.MEMBER", project)
        submit = partial(site.post, f"/api/user-group-invitations/{link}/submit_request/", ada)
        if decision == "submit":
            other = submit
        else:
            uuid = submit().json()["uuid"]
            who = ada if decision == "cancel_request" else owner
            other = partial(site.post, f"{REQUESTS}{uuid}/{decision}/", who, json={})
        if way == "add":
            body = {"user": ada.uuid, "role": "PROJECT.MEMBER"}
            give = partial(site.post, f"{project.path}add_user/", owner, json=body)
        else:
            invitation = world.invite(owner, ada.email, "PROJECT.MEMBER", project)
            give = partial(site.post, f"/api/user-invitations/{invitation}/accept/", ada)
        given, decided = together(give, other)
        assert given.status_code < 500, given.text
        assert decided.status_code < 500, decided.text
        requests = site.get(REQUESTS, ada, params={"o": "-created"}).json()
        states = [each["state"] for each in requests if each["scope_uuid"] == project.uuid]
        assert len(world.grants_in(project)) == 1
        expected = {
            "submit": {"approved"},
            "approve": {"approved"},
            # Rejected first, the role was given afterwards.
            "reject": {"approved", "rejected"},
            "cancel_request": {"approved", "canceled"},
        }[decision]
        assert set(states) <= expected, states
        if decision == "reject":
            assert (decided.status_code == 200) == (states == ["rejected"])
