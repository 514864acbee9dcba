"""A group whose owners are deactivated."""

from __future__ import annotations

import pytest

from collegium.accounts import actions as account_actions
from tests.groups.scene import Groups
from tests.support.world import Person


@pytest.fixture
def orphaned(groups: Groups) -> tuple[int, Person]:
    """Create a group whose owner is deactivated; return it and its manager."""
    world = groups.world
    olga, mia, bob = groups.people("olga", "mia", "bob")
    group = groups.create(olga)
    groups.give_role(group, mia, "GROUP.MANAGER")
    groups.give_role(group, bob)
    with world.database.write() as tx:
        values = {"is_active": False}
        account_actions.update(
            tx, world.staff.actor, world.settings, olga.uuid, values, agrees_to_policy=False
        )
    return group, mia


def change(groups: Groups, who: Person, group: int, email: str, **flags: bool) -> int:
    body = {"users": {email: flags}}
    return groups.call("PATCH", who, "group", group, json=body).status_code


def test_manager_of_a_group_without_active_owners_invites_and_removes(
    groups: Groups, orphaned: tuple[int, Person]
) -> None:
    group, mia = orphaned
    (ada,) = groups.people("ada")
    assert change(groups, mia, group, ada.email) == 200
    assert change(groups, mia, group, "bob@example.org", remove=True) == 200
    assert "bob@example.org" not in groups.members(group)


def test_staff_invite_an_owner_to_a_group_without_active_owners(
    groups: Groups, orphaned: tuple[int, Person]
) -> None:
    group, _ = orphaned
    ada = groups.world.person("ada")
    assert change(groups, groups.world.staff, group, ada.email, is_owner=True) == 200


def test_last_owner_is_not_removed_even_if_deactivated(
    groups: Groups, orphaned: tuple[int, Person]
) -> None:
    group, _ = orphaned
    assert change(groups, groups.world.staff, group, "olga@example.org", remove=True) == 400
    assert "olga@example.org" in groups.members(group)
