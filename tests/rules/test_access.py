"""Who may do what, and who may give what away, without a database."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.access.rules import (
    ANONYMOUS,
    MEMBERSHIP_PERMISSIONS,
    SYSTEM_ROLES,
    Actor,
    Permission,
    ScopeKind,
    has_permission,
    may_grant,
    require_staff_or_support,
)
from collegium.refusals import NotFound

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
    return role <= held and (not role & IN_GROUPS or Permission.GROUP_UPDATE_ROLE in held)


@given(PERMISSIONS)
def test_everybody_may_give_what_they_hold(held: frozenset[Permission]) -> None:
    assert may_grant(person(), held, held - IN_GROUPS)
    assert may_grant(person(), held | {Permission.GROUP_UPDATE_ROLE}, held)


@given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
def test_who_holds_more_may_give_no_less(
    held: frozenset[Permission], more: frozenset[Permission], role: frozenset[Permission]
) -> None:
    assert may_grant(person(), held | more, role) or not may_grant(person(), held, role)


@given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
def test_who_may_give_a_role_may_give_a_lesser_one(
    held: frozenset[Permission], role: frozenset[Permission], less: frozenset[Permission]
) -> None:
    assert may_grant(person(), held, role & less) or not may_grant(person(), held, role)


@given(PERMISSIONS, PERMISSIONS)
def test_nobody_but_staff_gives_more_than_they_hold(
    held: frozenset[Permission], role: frozenset[Permission]
) -> None:
    assert may_grant(person(), held, role) is under(held, role)
    assert may_grant(person(support=True), held, role) is under(held, role)
    assert may_grant(person(staff=True), held, role)


@given(PERMISSIONS, PERMISSIONS)
def test_one_of_the_needed_permissions_is_enough(
    held: frozenset[Permission], needed: frozenset[Permission]
) -> None:
    assert has_permission(person(), held, *needed) is bool(held & needed)
    assert has_permission(person(support=True), held, *needed) is bool(held & needed)
    assert has_permission(person(staff=True), held, *needed)


@pytest.mark.parametrize(
    ("staff", "support", "sees_all"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
    ids=["neither", "staff", "support", "both"],
)
def test_staff_and_support_see_all(*, staff: bool, support: bool, sees_all: bool) -> None:
    assert person(staff=staff, support=support).sees_all is sees_all


@pytest.mark.parametrize("right", ["is_staff", "is_support", "is_identity_manager"])
def test_nobody_gets_a_privilege_on_the_way(right: str) -> None:
    ada = person()
    assert getattr(ada, right) is False
    with pytest.raises(FrozenInstanceError):
        setattr(ada, right, True)


def test_an_actor_is_taken_for_nothing_that_was_not_said() -> None:
    ada = person()
    assert (ada.civil_number, ada.ip_address, ada.request_id, ada.impersonator) == (
        None,
        None,
        "",
        None,
    )


@given(PERMISSIONS)
def test_whoever_asks_without_credentials_is_nobody_and_may_nothing(
    needed: frozenset[Permission],
) -> None:
    assert (ANONYMOUS.id, ANONYMOUS.uuid, ANONYMOUS.username, ANONYMOUS.name, ANONYMOUS.email) == (
        0,
        *[""] * 4,
    )
    assert not ANONYMOUS.sees_all
    assert not has_permission(ANONYMOUS, (), *needed)


# From the specification. Operators keep these names in roles of their own.
PERMISSION_NAMES = """
CUSTOMER.CREATE CUSTOMER.UPDATE CUSTOMER.DELETE
CUSTOMER.CREATE_PERMISSION CUSTOMER.UPDATE_PERMISSION CUSTOMER.DELETE_PERMISSION
CUSTOMER.LIST_PERMISSION_REVIEWS
PROJECT.LIST PROJECT.CREATE PROJECT.UPDATE PROJECT.DELETE
PROJECT.CREATE_PERMISSION PROJECT.UPDATE_PERMISSION PROJECT.DELETE_PERMISSION
INVITATION.LIST
GROUP.UPDATE GROUP.DELETE
GROUP.CREATE_PERMISSION GROUP.UPDATE_PERMISSION GROUP.DELETE_PERMISSION
ACCESS_SUBNET.CREATE ACCESS_SUBNET.UPDATE ACCESS_SUBNET.DELETE
"""


def test_permissions_go_by_the_names_of_the_specification() -> None:
    assert [*Permission] == PERMISSION_NAMES.split()


@pytest.mark.parametrize(
    ("kind", "noun"), [("organisation", "CUSTOMER"), ("project", "PROJECT"), ("group", "GROUP")]
)
def test_the_team_of_a_scope_is_ruled_by_the_permissions_of_its_kind(kind: str, noun: str) -> None:
    rights = MEMBERSHIP_PERMISSIONS[ScopeKind(kind)]
    assert rights.grant == f"{noun}.CREATE_PERMISSION"
    assert rights.update_role == f"{noun}.UPDATE_PERMISSION"
    assert rights.revoke == f"{noun}.DELETE_PERMISSION"


# From the specification: name, kind, whether it is in use, what people read, what it carries.
ROLES = """
CUSTOMER.OWNER   | organisation | active   | Organisation owner    | \
    PROJECT.CREATE PROJECT.UPDATE PROJECT.DELETE PROJECT.LIST \
    PROJECT.CREATE_PERMISSION PROJECT.UPDATE_PERMISSION PROJECT.DELETE_PERMISSION \
    CUSTOMER.CREATE CUSTOMER.UPDATE CUSTOMER.DELETE INVITATION.LIST \
    ACCESS_SUBNET.CREATE ACCESS_SUBNET.UPDATE ACCESS_SUBNET.DELETE
CUSTOMER.MANAGER | organisation | inactive | Organisation manager  |
CUSTOMER.SUPPORT | organisation | inactive | Organisation support  |
PROJECT.MANAGER  | project      | active   | Project manager       | \
    PROJECT.CREATE_PERMISSION PROJECT.UPDATE_PERMISSION PROJECT.DELETE_PERMISSION PROJECT.UPDATE
PROJECT.ADMIN    | project      | active   | Project administrator |
PROJECT.MEMBER   | project      | active   | Project member        |
GROUP.LEAD       | group        | active   | Group lead            | \
    GROUP.CREATE_PERMISSION GROUP.UPDATE_PERMISSION GROUP.DELETE_PERMISSION \
    GROUP.UPDATE GROUP.DELETE
GROUP.OWNER      | group        | active   | Group owner           | \
    GROUP.CREATE_PERMISSION GROUP.UPDATE_PERMISSION GROUP.DELETE_PERMISSION \
    GROUP.UPDATE GROUP.DELETE
GROUP.MANAGER    | group        | active   | Group manager         | \
    GROUP.CREATE_PERMISSION GROUP.DELETE_PERMISSION
GROUP.MEMBER     | group        | active   | Group member          |
"""


def test_system_roles_are_those_of_the_specification() -> None:
    found = {
        role.name: (
            role.kind.value,
            "active" if role.is_active else "inactive",
            role.description,
            {permission.value for permission in role.permissions},
        )
        for role in SYSTEM_ROLES
    }
    expected = {}
    for line in ROLES.strip().splitlines():
        name, kind, state, description, carries = (part.strip() for part in line.split("|"))
        expected[name] = (kind, state, description, set(carries.split()))
    assert found == expected


@pytest.mark.parametrize("right", sorted(IN_GROUPS))
def test_whoever_may_not_change_roles_gives_no_right_over_a_group(right: Permission) -> None:
    held = set(Permission) - {Permission.GROUP_UPDATE_ROLE}
    assert not may_grant(person(), held, {right})
    assert may_grant(person(), {*held, Permission.GROUP_UPDATE_ROLE}, {right})


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
            if (giver.kind is given.kind or giver.kind is ScopeKind.ORGANISATION)
            and has_permission(
                person(), giver.permissions, MEMBERSHIP_PERMISSIONS[given.kind].grant
            )
            and may_grant(person(), giver.permissions, given.permissions)
        }
        for giver in SYSTEM_ROLES
    }
    assert found == GIVES


def test_only_staff_and_support_oversee() -> None:
    require_staff_or_support(person(staff=True))
    require_staff_or_support(person(support=True))
    for one in (person(), ANONYMOUS):
        with pytest.raises(NotFound) as refused:
            require_staff_or_support(one)
        assert refused.value.code == "oversight.unknown"
