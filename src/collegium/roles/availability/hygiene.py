"""What is odd about roles: who keeps them tidy should look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from collegium.access.rules import Permission, ScopeKind
from collegium.db.database import ReadTransaction
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow

_KNOWN = frozenset(permission.value for permission in Permission)


class Finding(NamedTuple):
    """Something odd about a role.

    Args:
        check: name of the check.
        severity: ``error``, ``warning`` or ``info``.
        details: for programs.
    """

    role: RoleRow
    check: str
    severity: str
    message: str
    details: dict[str, Any]


def find(tx: ReadTransaction) -> tuple[int, list[Finding]]:
    """Return the number of roles, those of groups apart, and what is odd about them."""
    rows = [row for row in role_queries.all_roles(tx) if row.kind != ScopeKind.GROUP]
    ids = [row.id for row in rows]
    permissions = {
        key: frozenset(names) for key, names in role_queries.permissions_of(tx, ids).items()
    }
    holders = role_queries.count_people(tx, ids)
    found: list[Finding] = []
    for row in rows:
        found += _check(row, permissions.get(row.id, frozenset()), holders.get(row.id, 0))
    found += _duplicates(rows, permissions)
    return len(rows), found


def _check(role: RoleRow, permissions: frozenset[str], holders: int) -> Iterator[Finding]:
    unknown = sorted(permissions - _KNOWN)
    if unknown:
        text = "The role has permissions that this release does not know."
        yield Finding(role, "unknown_permissions", "error", text, {"permissions": unknown})
    if not role.is_active and holders:
        text = "The role is disabled, but people have it."
        yield Finding(role, "disabled_but_held", "warning", text, {"users_count": holders})
    if role.is_active and not role.is_system and not holders:
        text = "Nobody has the role."
        yield Finding(role, "unused", "info", text, {})
    if not role.description:
        yield Finding(role, "no_description", "info", "The role has no description.", {})


def _duplicates(
    rows: Sequence[RoleRow], permissions: Mapping[int, frozenset[str]]
) -> Iterator[Finding]:
    first: dict[tuple[object, ...], RoleRow] = {}
    for role in rows:
        names = permissions.get(role.id)
        if not role.is_active or not names:
            continue
        key = (role.kind, role.organisation_id, names)
        other = first.setdefault(key, role)
        if other is not role:
            text = f"The role has the same permissions as {other.name}."
            yield Finding(role, "same_permissions", "info", text, {"role_uuid": other.uuid})
