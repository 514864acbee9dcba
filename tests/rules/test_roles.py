"""What a role may carry, and what of it stays as it is; without a database."""

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

IN_GROUPS = {name.value for name in Permission if name.startswith("GROUP.")}
IN_THE_TREE = {name.value for name in Permission} - IN_GROUPS


@pytest.mark.parametrize(
    ("kind", "can", "cannot"),
    [
        (ScopeKind.ORGANISATION, IN_THE_TREE, IN_GROUPS),
        (ScopeKind.PROJECT, IN_THE_TREE, IN_GROUPS),
        (ScopeKind.GROUP, IN_GROUPS, IN_THE_TREE),
    ],
    ids=["organisation", "project", "group"],
)
def test_a_role_carries_what_means_something_where_it_is_held(
    kind: ScopeKind, can: set[str], cannot: set[str]
) -> None:
    check_permissions(kind, sorted(can))
    check_permissions(kind, ())
    for name in (*cannot, "FLY"):
        with pytest.raises(Invalid) as refused:
            check_permissions(kind, [*can, name])
        assert refused.value.code == "role.permissions"
        assert refused.value.facts == {"field": "permissions", "names": [name]}


def test_everything_that_a_role_cannot_carry_is_named_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        check_permissions(ScopeKind.GROUP, ["FLY", "GROUP.UPDATE", "PROJECT.LIST"])
    assert refused.value.facts["names"] == ["FLY", "PROJECT.LIST"]


def test_only_roles_of_the_house_s_own_are_called_otherwise() -> None:
    check_name("GROUP.LEAD", "GROUP.LEAD", is_system=True)
    check_name("OURS", "THEIRS", is_system=False)
    with pytest.raises(Conflict) as refused:
        check_name("GROUP.LEAD", "GROUP.HEAD", is_system=True)
    assert refused.value.code == "role.system_name"


def test_only_roles_of_the_house_s_own_are_removed() -> None:
    check_removable(is_system=False)
    with pytest.raises(Conflict) as refused:
        check_removable(is_system=True)
    assert refused.value.code == "role.is_system"


def test_a_role_stays_of_its_kind() -> None:
    check_kind("project", "project")
    with pytest.raises(Invalid) as refused:
        check_kind("project", "organisation")
    assert refused.value.code == "role.kind_is_fixed"
    assert refused.value.facts == {"field": "kind"}


def test_a_name_has_at_most_150_signs() -> None:
    assert NAME_MAX == 150
