"""Nobody is invited to a group whose account is deactivated at that moment, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.races.test_races import together, url
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

__all__ = ["together", "url"]

ROUNDS = 12


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.mark.parametrize("way", ["invite", "send", "accept"])
def test_no_open_invitation_is_of_an_account_that_is_deactivated_meanwhile(
    way: str, site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    groups, olga = Groups(world, site), world.person("olga")
    browser = Browser(site).sign_in(world, olga)
    for turn in range(ROUNDS):
        ada, group = world.person(f"ada{turn}"), groups.found(olga, f"Round {turn}")
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
        switch = partial(
            site.request, "PATCH", f"/api/users/{ada.uuid}/", world.staff, json={"is_active": False}
        )
        off, did = together(switch, action)
        assert off.status_code == 200, off.text
        assert did.status_code < 500, did.text
        with world.database.read() as tx:
            rows = tx.fetch_all(Statement(select(invitations.c.state, invitations.c.account_id)))
        assert {row.state for row in rows if row.account_id == ada.id} <= {"canceled", "accepted"}
