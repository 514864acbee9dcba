"""Rules of groups: roles and flags of members, removal, and limits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from collegium.access.rules import Permission

LEAD: Final = "GROUP.LEAD"
"""The role of the account that creates a group: owner and manager."""

MEMBER: Final = "GROUP.MEMBER"

_ROLES: Final = {
    (True, True): LEAD,
    (False, True): "GROUP.OWNER",
    (True, False): "GROUP.MANAGER",
    (False, False): MEMBER,
}
_FLAGS: Final = {role: flags for flags, role in _ROLES.items()}

NAME_LENGTH: Final = 150


def role_of(*, is_manager: bool, is_owner: bool) -> str:
    """Return the role of a member with these flags."""
    return _ROLES[is_manager, is_owner]


def flags_of(role_name: str) -> tuple[bool, bool]:
    """Return the flags (is manager, is owner) of a role; both are False for an unknown role."""
    return _FLAGS.get(role_name, (False, False))


def right_to_remove(role_permissions: Collection[str]) -> Permission:
    """Return the permission that removing a member needs: managers may only remove plain members.

    Args:
        role_permissions: permissions of the member's role.
    """
    return Permission.GROUP_UPDATE_ROLE if role_permissions else Permission.GROUP_REVOKE
