"""Staff approve an invitation while it changes, on both databases."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest

from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.invitations import approvals
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.races.conftest import Together
from tests.support.site import Site
from tests.support.world import World

ROUNDS = 25


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(only_staff_can_invite_users="true", rate_limits="false")


class Scene:
    """A group owner, and an invitation that staff must approve."""

    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site, self.groups = world, site, Groups(world, site)
        self.owner, self.alice = world.person("olga"), world.person("alice")

    def invite(self, email: str, number: int) -> tuple[int, str, Callable[[], httpx.Response]]:
        """Invite to a new group; return the group, the invitation, and a call that approves it."""
        group = self.groups.create(self.owner, f"Round {number}")
        self.change(group, {email: {}})
        uuid, now = self.invitation(group).uuid, int(datetime.now(UTC).timestamp())
        token = self.world.vault.sign(approvals.APPROVE, self.world.staff.uuid, uuid, 1, now)
        path = "/api/user-invitations/approve/"
        return group, uuid, partial(self.site.post, path, json={"token": token})

    def change(self, group: int, users: dict[str, Any]) -> httpx.Response:
        body = {"users": users}
        response = self.groups.call("PATCH", self.owner, "group", group, json=body)
        assert response.status_code == 200
        return response

    def invitation(self, group: int) -> Any:
        statement = invitations.select().where(invitations.c.scope_id == group)
        with self.world.database.read() as tx:
            (row,) = tx.fetch_all(Statement(statement))
        return row

    def check_not_approved(self, group: int, email: str) -> None:
        """Expect that the changed invitation waits for a new approval."""
        row = self.invitation(group)
        assert (row.state, row.approved_by, row.email) == ("requested", None, email)
        assert row.link_version == 2
        response = self.groups.get(self.alice, "invitation", row.uuid, "accept")
        assert response.status_code in {400, 404}


@pytest.fixture
def scene(world: World, site: Site) -> Scene:
    return Scene(world, site)


@pytest.mark.parametrize("raised", [{"is_owner": True}, {"is_manager": True}])
def test_role_raised_during_approval_is_not_approved(
    scene: Scene, together: Together, raised: dict[str, bool]
) -> None:
    email = scene.alice.email
    for number in range(ROUNDS):
        group, _uuid, approve = scene.invite(email, number)
        approved, _changed = together(approve, partial(scene.change, group, {email: raised}))
        assert approved.status_code in {200, 400}
        scene.check_not_approved(group, email)


def test_address_changed_during_approval_is_not_approved(scene: Scene, together: Together) -> None:
    world, site, alice, email = scene.world, scene.site, scene.alice, scene.alice.email
    for number in range(ROUNDS // 2):
        group, _uuid, approve = scene.invite(email, number)
        email = f"alice{number}@elsewhere.example"
        path = f"/api/users/{alice.uuid}/change_email/"
        assert site.post(path, world.staff, json={"email": email}).status_code == 200
        with world.database.read() as tx:
            change: Any = email_change_queries.of_account(tx, alice.id)
        code = world.vault.derive_code(alice.id, email, change.created_at.isoformat())
        confirm = partial(site.post, "/api/users/confirm_email/", json={"code": code})
        approved, changed = together(approve, confirm)
        assert changed.status_code == 200, changed.text
        assert approved.status_code in {200, 400, 409}
        scene.check_not_approved(group, email)
        # Otherwise the next change of the address would concern it too.
        response = scene.groups.call("DELETE", scene.owner, "group", group)
        assert response.status_code == 204
