"""Permissions of roles, and what forbidden be changed."""

from __future__ import annotations

import pytest

from collegium.access.rules import Permission, ScopeKind
from collegium.refusals import Conflict, Invalid
from collegium.roles.rules import (
    NAME_MAX,
    check_kind,
    check_name,
    check_permissions,
    check_removable,
)
from tests.rules.refusing import refused

IN_GROUPS = {name.value for name in Permission if name.startswith("GROUP.")}
OTHERS = {name.value for name in Permission} - IN_GROUPS


@pytest.mark.parametrize(
    ("kind", "allowed", "forbidden"),
    [
        (ScopeKind.ORGANISATION, OTHERS, IN_GROUPS),
        (ScopeKind.PROJECT, OTHERS, IN_GROUPS),
        (ScopeKind.GROUP, IN_GROUPS, OTHERS),
    ],
)
def test_permissions_of_a_role_must_fit_its_kind(
    kind: ScopeKind, allowed: set[str], forbidden: set[str]
) -> None:
    check_permissions(kind, sorted(allowed))
    check_permissions(kind, ())
    for name in (*forbidden, "FLY"):
        with refused(Invalid, "role.permissions", {"field": "permissions", "names": [name]}):
            check_permissions(kind, [*allowed, name])


def test_role_of_an_unknown_kind_has_any_permissions() -> None:
    check_permissions(None, [*OTHERS, *IN_GROUPS])
    with refused(Invalid, "role.permissions", {"field": "permissions", "names": ["FLY"]}):
        check_permissions(None, ["GROUP.UPDATE", "FLY", "PROJECT.LIST"])


def test_all_invalid_permissions_are_named() -> None:
    names = ["FLY", "PROJECT.LIST"]
    with refused(Invalid, "role.permissions", {"field": "permissions", "names": names}):
        check_permissions(ScopeKind.GROUP, ["FLY", "GROUP.UPDATE", "PROJECT.LIST"])


def test_built_in_role_cannot_be_renamed() -> None:
    check_name("GROUP.LEAD", "GROUP.LEAD", is_system=True)
    check_name("OURS", "THEIRS", is_system=False)
    with refused(Conflict, "role.system_name"):
        check_name("GROUP.LEAD", "GROUP.HEAD", is_system=True)


def test_built_in_role_cannot_be_deleted() -> None:
    check_removable(is_system=False)
    with refused(Conflict, "role.is_system"):
        check_removable(is_system=True)


def test_kind_of_a_role_cannot_be_changed() -> None:
    check_kind("project", "project")
    with refused(Invalid, "role.kind_is_fixed", {"field": "kind"}):
        check_kind("project", "organisation")


def test_name_has_at_most_150_characters() -> None:
    assert NAME_MAX == 150
