"""Roles: what they may carry, and what of them stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.access.rules import Permission, ScopeKind
from collegium.refusals import Conflict, Invalid

if TYPE_CHECKING:
    from collections.abc import Collection

NAME_MAX: Final = 150

_OF_GROUPS: Final = frozenset(p.value for p in Permission if p.name.startswith("GROUP_"))
_OF_THE_TREE: Final = frozenset(p.value for p in Permission) - _OF_GROUPS


def check_permissions(kind: ScopeKind, names: Collection[str]) -> None:
    """Let a role carry nothing that means nothing where it is held.

    Groups stand alone; what is held on an organisation counts in its projects too, so roles of
    either may carry what counts in the other.

    Refuses: Invalid ``role.permissions`` with the ``names`` that it cannot carry.
    """
    known = _OF_GROUPS if kind is ScopeKind.GROUP else _OF_THE_TREE
    wrong = [name for name in names if name not in known]
    if wrong:
        raise Invalid("role.permissions", field="permissions", names=wrong)


def check_name(before: str, after: str, *, is_system: bool) -> None:
    """Let the system roles keep the names by which everybody knows them.

    Refuses: Conflict ``role.system_name``.
    """
    if is_system and before != after:
        raise Conflict("role.system_name")


def check_kind(before: str, after: str) -> None:
    """Let a role stay what it is: its grants and invitations are to scopes of its kind.

    Refuses: Invalid ``role.kind_is_fixed``.
    """
    if before != after:
        raise Invalid("role.kind_is_fixed", field="kind")


def check_removable(*, is_system: bool) -> None:
    """Let the system roles stay.

    Refuses: Conflict ``role.is_system``.
    """
    if is_system:
        raise Conflict("role.is_system")
