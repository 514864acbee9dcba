"""An account is deactivated while it is invited to a group."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.races.conftest import Together
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

ROUNDS = 12


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.mark.parametrize("way", ["invite", "send", "accept"])
def test_account_deactivated_during_an_invitation_has_none_pending(
    way: str, site: Site, world: World, together: Together
) -> None:
    groups, olga = Groups(world, site), world.person("olga")
    browser = Browser(site).sign_in(world, olga)
    for number in range(ROUNDS):
        ada, group = world.person(f"ada{number}"), groups.create(olga, f"Round {number}")
        headers = {"Authorization": f"Bearer {olga.token}"}
        path = f"/api/private/users/group/{group}/"
        body: dict[str, Any] = {"users": {ada.email: {}}}
        action = partial(site.request, "PATCH", path, headers=headers, json=body)
        if way != "invite":
            uuid = groups.invite(group, olga, ada).replace("-", "")
            here = f"/group/{group}/team/invitations/"
            browser.open(here)
            if way == "accept":
                action = partial(groups.get, ada, "invitation", uuid, "accept")
            else:
                assert browser.send(f"{here}{uuid}/", action="cancel").status_code == 303
                action = partial(browser.send, f"{here}{uuid}/", action="send")
        user, change = f"/api/users/{ada.uuid}/", {"is_active": False}
        deactivate = partial(site.request, "PATCH", user, world.staff, json=change)
        deactivated, response = together(deactivate, action)
        assert deactivated.status_code == 200, deactivated.text
        assert response.status_code < 500, response.text
        with world.database.read() as tx:
            rows = tx.fetch_all(
                Statement[Any](select(invitations.c.state, invitations.c.account_id))
            )
        assert {row.state for row in rows if row.account_id == ada.id} <= {"canceled", "accepted"}
