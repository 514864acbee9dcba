"""Roles, removal and limits in groups."""

from __future__ import annotations

from collegium.access.rules import SYSTEM_ROLES, Permission, ScopeKind
from collegium.scopes.groups.rules import (
    NAME_LENGTH,
    flags_of,
    right_to_remove,
    role_of,
)


def test_flags_and_roles_of_groups_correspond() -> None:
    flags = {
        role_of(is_manager=manager, is_owner=owner): (manager, owner)
        for manager in (False, True)
        for owner in (False, True)
    }
    assert set(flags) == {role.name for role in SYSTEM_ROLES if role.kind is ScopeKind.GROUP}
    assert {role: flags_of(role) for role in flags} == flags
    assert flags_of("GROUP.OF_SOMEBODYS_OWN") == (False, False)


def test_managers_remove_members_and_owners_remove_all_others() -> None:
    assert right_to_remove(()) is Permission.GROUP_REVOKE
    assert right_to_remove({Permission.GROUP_GRANT}) is Permission.GROUP_UPDATE_ROLE


def test_name_has_at_most_150_characters() -> None:
    assert NAME_LENGTH == 150
