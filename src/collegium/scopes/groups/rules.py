"""What holds of groups: four roles for two flags, names, and what keeps people in bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.access.rules import Permission
from collegium.refusals import Conflict

if TYPE_CHECKING:
    from collections.abc import Collection

LEAD: Final = "GROUP.LEAD"
"""Whoever founds a group: owner and manager."""

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
    """Give the role that somebody with these flags has."""
    return _ROLES[is_manager, is_owner]


def flags_of(role_name: str) -> tuple[bool, bool]:
    """Tell whether a role makes somebody a manager, and an owner; one of no known name neither."""
    return _FLAGS.get(role_name, (False, False))


def right_to_remove(role_permissions: Collection[str]) -> Permission:
    """Give the permission that removing somebody needs: managers remove plain members only."""
    return Permission.GROUP_REGRANT if role_permissions else Permission.GROUP_REVOKE


def check_group_quota(count: int, most: int) -> None:
    """Let a person found another group only while few enough of theirs exist.

    Refuses: Conflict ``group.too_many``.
    """
    if count >= most:
        raise Conflict("group.too_many", most=most)


def check_pending_quota(waiting: int, most: int) -> None:
    """Let a person ask once more only while few enough of their requests are pending.

    Refuses: Conflict ``request.too_many``.
    """
    if waiting >= most:
        raise Conflict("request.too_many", most=most)
