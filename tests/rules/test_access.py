"""Who may do what, and who may give what away, without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.rules.access import SYSTEM_ROLES, TEAM, Actor, Kind, Permission, may, may_give

PERMISSIONS = st.frozensets(st.sampled_from(Permission))


def person(*, staff: bool = False, support: bool = False) -> Actor:
    return Actor(
        id=1,
        uuid="1" * 32,
        username="ada",
        name="",
        email="ada@example.org",
        is_staff=staff,
        is_support=support,
    )


IN_GROUPS = frozenset(one for one in Permission if one.startswith("GROUP."))


def under(held: frozenset[Permission], role: frozenset[Permission]) -> bool:
    """What is held may be given; in a group by those only who may change roles there."""
    return role <= held and (not role & IN_GROUPS or Permission.GROUP_REGRANT in held)


@given(PERMISSIONS)
def test_everybody_may_give_what_they_hold(held: frozenset[Permission]) -> None:
    assert may_give(person(), held, held - IN_GROUPS)
    assert may_give(person(), held | {Permission.GROUP_REGRANT}, held)


@given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
def test_who_holds_more_may_give_no_less(
    held: frozenset[Permission], more: frozenset[Permission], role: frozenset[Permission]
) -> None:
    assert may_give(person(), held | more, role) or not may_give(person(), held, role)


@given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
def test_who_may_give_a_role_may_give_a_lesser_one(
    held: frozenset[Permission], role: frozenset[Permission], less: frozenset[Permission]
) -> None:
    assert may_give(person(), held, role & less) or not may_give(person(), held, role)


@given(PERMISSIONS, PERMISSIONS)
def test_nobody_but_staff_gives_more_than_they_hold(
    held: frozenset[Permission], role: frozenset[Permission]
) -> None:
    assert may_give(person(), held, role) is under(held, role)
    assert may_give(person(support=True), held, role) is under(held, role)
    assert may_give(person(staff=True), held, role)


@given(PERMISSIONS, PERMISSIONS)
def test_one_of_the_needed_permissions_is_enough(
    held: frozenset[Permission], needed: frozenset[Permission]
) -> None:
    assert may(person(), held, *needed) is bool(held & needed)
    assert may(person(support=True), held, *needed) is bool(held & needed)
    assert may(person(staff=True), held, *needed)


@pytest.mark.parametrize(
    ("staff", "support", "sees_all"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
    ids=["neither", "staff", "support", "both"],
)
def test_staff_and_support_see_all(*, staff: bool, support: bool, sees_all: bool) -> None:
    assert person(staff=staff, support=support).sees_all is sees_all


def test_system_roles_are_named_once_and_carry_each_permission_once() -> None:
    names = [role.name for role in SYSTEM_ROLES]
    assert len(names) == len(set(names))
    for role in SYSTEM_ROLES:
        assert len(role.permissions) == len(set(role.permissions)), role.name


# From the specification: who, with a role of the first column in the right place, can hand out
# the roles of the other columns there. For projects an owner's rights come from above.
GIVES = {
    "CUSTOMER.OWNER": {"PROJECT.MANAGER", "PROJECT.ADMIN", "PROJECT.MEMBER"},
    "CUSTOMER.MANAGER": set(),
    "CUSTOMER.SUPPORT": set(),
    "PROJECT.MANAGER": {"PROJECT.MANAGER", "PROJECT.ADMIN", "PROJECT.MEMBER"},
    "PROJECT.ADMIN": set(),
    "PROJECT.MEMBER": set(),
    "GROUP.LEAD": {"GROUP.LEAD", "GROUP.OWNER", "GROUP.MANAGER", "GROUP.MEMBER"},
    "GROUP.OWNER": {"GROUP.LEAD", "GROUP.OWNER", "GROUP.MANAGER", "GROUP.MEMBER"},
    # A manager can never raise anybody, not even to where they are themselves.
    "GROUP.MANAGER": {"GROUP.MEMBER"},
    "GROUP.MEMBER": set(),
}


def test_the_system_roles_hand_out_what_the_specification_says() -> None:
    found = {
        giver.name: {
            given.name
            for given in SYSTEM_ROLES
            if (giver.kind is given.kind or giver.kind is Kind.ORGANISATION)
            and may(person(), giver.permissions, TEAM[given.kind].grant)
            and may_give(person(), giver.permissions, given.permissions)
        }
        for giver in SYSTEM_ROLES
    }
    assert found == GIVES
