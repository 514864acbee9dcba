"""What holds of groups, without a database."""

from __future__ import annotations

from collegium.access.rules import SYSTEM_ROLES, Permission, ScopeKind
from collegium.scopes.groups.rules import (
    NAME_LENGTH,
    flags_of,
    right_to_remove,
    role_of,
)


def test_two_flags_are_one_role_and_back() -> None:
    told = {
        role_of(is_manager=manager, is_owner=owner): (manager, owner)
        for manager in (False, True)
        for owner in (False, True)
    }
    assert set(told) == {role.name for role in SYSTEM_ROLES if role.kind is ScopeKind.GROUP}
    assert {role: flags_of(role) for role in told} == told
    assert flags_of("GROUP.OF_SOMEBODYS_OWN") == (False, False)


def test_plain_members_are_removed_by_managers_and_all_others_by_owners() -> None:
    assert right_to_remove(()) is Permission.GROUP_REVOKE
    assert right_to_remove({Permission.GROUP_GRANT}) is Permission.GROUP_UPDATE_ROLE


def test_a_name_has_at_most_150_signs() -> None:
    assert NAME_LENGTH == 150
