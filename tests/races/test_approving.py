"""Staff decide on what they were shown, however fast it is changed; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.invitations import approvals
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.races.test_races import together
from tests.support.site import Site
from tests.support.world import World

__all__ = ["together"]

ROUNDS = 25


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(only_staff_can_invite_users="true", rate_limits="false")


@pytest.mark.parametrize("raised", [{"is_owner": True}, {"is_manager": True}])
def test_role_that_is_raised_while_staff_approve_is_not_what_they_have_approved(
    world: World,
    site: Site,
    together: Callable[..., list[httpx.Response]],
    raised: dict[str, bool],
) -> None:
    groups = Groups(world, site)
    olga, alice = world.person("olga"), world.person("alice")
    seen = set()
    for turn in range(ROUNDS):
        group = groups.found(olga, f"Round {turn}")
        body: dict[str, Any] = {"users": {alice.email: {}}}
        assert groups.call("PATCH", olga, "group", group, json=body).status_code == 200
        statement = invitations.select().where(invitations.c.scope_id == group)
        with world.database.read() as tx:
            (row,) = tx.fetch_all(Statement(statement))
        now = int(datetime.now(UTC).timestamp())
        link = world.vault.sign(approvals.APPROVE, world.staff.uuid, row.uuid, 1, now)
        body = {"users": {alice.email: raised}}
        approved, changed = together(
            lambda t=link: site.post("/api/user-invitations/approve/", json={"token": t}),
            lambda g=group, b=body: groups.call("PATCH", olga, "group", g, json=b),
        )
        assert changed.status_code == 200
        assert approved.status_code in {200, 400}
        with world.database.read() as tx:
            (row,) = tx.fetch_all(Statement(statement))
        # Whoever came first: the new role waits, and nobody has approved it.
        assert (row.state, row.approved_by, row.link_version) == ("requested", None, 2)
        assert groups.get(alice, "invitation", row.uuid, "accept").status_code in {400, 404}
        seen.add(approved.status_code)
    assert seen


def test_address_that_changes_while_staff_approve_is_not_what_they_have_approved(
    world: World, site: Site, together: Callable[..., list[httpx.Response]]
) -> None:
    groups = Groups(world, site)
    olga, alice = world.person("olga"), world.person("alice")
    email = alice.email
    for turn in range(ROUNDS // 2):
        group = groups.found(olga, f"Round {turn}")
        body: dict[str, Any] = {"users": {email: {}}}
        assert groups.call("PATCH", olga, "group", group, json=body).status_code == 200
        statement = invitations.select().where(invitations.c.scope_id == group)
        with world.database.read() as tx:
            (row,) = tx.fetch_all(Statement(statement))
        now = int(datetime.now(UTC).timestamp())
        link = world.vault.sign(approvals.APPROVE, world.staff.uuid, row.uuid, 1, now)
        email = f"alice{turn}@elsewhere.example"
        path = f"/api/users/{alice.uuid}/change_email/"
        assert site.post(path, world.staff, json={"email": email}).status_code == 200
        with world.database.read() as tx:
            change: Any = email_change_queries.of_account(tx, alice.id)
        code = world.vault.derive_code(alice.id, email, change.created_at.isoformat())
        approved, changed = together(
            lambda t=link: site.post("/api/user-invitations/approve/", json={"token": t}),
            lambda c=code: site.post("/api/users/confirm_email/", json={"code": c}),
        )
        assert changed.status_code == 200, changed.text
        assert approved.status_code in {200, 400, 409}
        with world.database.read() as tx:
            (row,) = tx.fetch_all(Statement(statement))
        assert (row.state, row.approved_by, row.email) == ("requested", None, email)
        assert row.link_version == 2
        assert groups.get(alice, "invitation", row.uuid, "accept").status_code in {400, 404}
        # Otherwise it would be asked about again with every other address.
        assert groups.call("DELETE", olga, "group", group).status_code == 204
