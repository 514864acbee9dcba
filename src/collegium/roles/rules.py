"""Rules of roles: which permissions they may have, and what cannot be changed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from collegium.access.rules import Permission, ScopeKind
from collegium.refusals import Conflict, Invalid

NAME_MAX: Final = 150

_GROUP_PERMISSIONS: Final = frozenset(p.value for p in Permission if p.name.startswith("GROUP_"))
_TREE_PERMISSIONS: Final = frozenset(p.value for p in Permission) - _GROUP_PERMISSIONS


def check_permissions(kind: ScopeKind | None, names: Collection[str]) -> None:
    """Require that every permission has a meaning in this kind of scope.

    Groups stand alone. Permissions in an organisation also apply to its projects, so roles of
    either kind may have the permissions of both.

    Args:
        kind: None if it is not known, so that permissions of all kinds are allowed.

    Raises:
        Invalid: ``role.permissions`` with the other ``names``.
    """
    allowed = _GROUP_PERMISSIONS if kind is ScopeKind.GROUP else _TREE_PERMISSIONS
    if kind is None:
        allowed = _GROUP_PERMISSIONS | _TREE_PERMISSIONS
    invalid = [name for name in names if name not in allowed]
    if invalid:
        raise Invalid("role.permissions", field="permissions", names=invalid)


def check_name(before: str, after: str, *, is_system: bool) -> None:
    """Require that a built-in role keeps its name, which clients rely on.

    Raises:
        Conflict: ``role.system_name``.
    """
    if is_system and before != after:
        raise Conflict("role.system_name")


def check_kind(before: str, after: str) -> None:
    """Require that a role keeps its kind: its grants and invitations are in scopes of that kind.

    Raises:
        Invalid: ``role.kind_is_fixed``.
    """
    if before != after:
        raise Invalid("role.kind_is_fixed", field="kind")


def check_removable(*, is_system: bool) -> None:
    """Require that a role is not built in; built-in roles cannot be deleted.

    Raises:
        Conflict: ``role.is_system``.
    """
    if is_system:
        raise Conflict("role.is_system")
