"""A join request and the role that is given meanwhile never part, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from collegium.settings import Settings
from tests.races.test_races import together, url
from tests.support.site import Site
from tests.support.world import World

__all__ = ["together", "url"]

ROUNDS = 15
REQUESTS = "/api/user-permission-requests/"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.mark.parametrize("decision", ["submit", "approve", "reject", "cancel_request"])
@pytest.mark.parametrize("way", ["add", "accept"])
def test_a_request_is_never_pending_beside_the_role_it_asks_for(
    way: str, decision: str, site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        link = world.open(owner, "PROJECT.MEMBER", project)
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
        gave, did = together(give, other)
        assert gave.status_code < 500, gave.text
        assert did.status_code < 500, did.text
        found = site.get(REQUESTS, ada, params={"o": "-created"}).json()
        states = [one["state"] for one in found if one["scope_uuid"] == project.uuid]
        assert len(world.grants_in(project)) == 1
        expected = {
            "submit": {"approved"},
            "approve": {"approved"},
            # Whoever decided first was right: the role was given after it was declined.
            "reject": {"approved", "rejected"},
            "cancel_request": {"approved", "canceled"},
        }[decision]
        assert set(states) <= expected, states
        if decision == "reject":
            assert (did.status_code == 200) == (states == ["rejected"])
