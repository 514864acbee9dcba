"""Permissions, the role ceiling and the built-in roles."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collegium.access.rules import (
    ANONYMOUS,
    BRAINSTEM_KINDS,
    GRANTING,
    KINDS,
    SYSTEM_ROLES,
    WALDUR_KINDS,
    Actor,
    Permission,
    ScopeKind,
    has_permission,
    may_grant,
    refusal_to_grant,
    require_permission,
    require_reader,
    require_staff,
    require_staff_or_support,
)
from collegium.refusals import Forbidden, NotFound
from tests.rules.refusing import refused

PERMISSIONS = st.frozensets(st.sampled_from(Permission))


def person(*, staff: bool = False, support: bool = False) -> Actor:
    return Actor(1, "1" * 32, "ada", "", "ada@example.org", is_staff=staff, is_support=support)


IN_GROUPS = frozenset(name for name in Permission if name.startswith("GROUP."))


def is_within_ceiling(held: frozenset[Permission], role: frozenset[Permission]) -> bool:
    """Return whether all permissions are held; in a group also the right to change roles."""
    return role <= held and (not role & IN_GROUPS or Permission.GROUP_UPDATE_ROLE in held)


def within_ceiling(held: Collection[str], role: Collection[str]) -> bool:
    return not refusal_to_grant((), held, role, is_staff=False)


@given(PERMISSIONS)
def test_account_may_grant_its_own_permissions(held: frozenset[Permission]) -> None:
    assert within_ceiling(held, held - IN_GROUPS)
    assert within_ceiling(held | {Permission.GROUP_UPDATE_ROLE}, held)


@given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
def test_more_permissions_never_reduce_what_may_be_granted(
    held: frozenset[Permission], more: frozenset[Permission], role: frozenset[Permission]
) -> None:
    assert within_ceiling(held | more, role) or not within_ceiling(held, role)


@given(PERMISSIONS, PERMISSIONS, PERMISSIONS)
def test_role_with_fewer_permissions_may_be_granted_too(
    held: frozenset[Permission], role: frozenset[Permission], subset: frozenset[Permission]
) -> None:
    assert within_ceiling(held, role & subset) or not within_ceiling(held, role)


@given(PERMISSIONS, PERMISSIONS)
def test_only_staff_grant_more_than_their_own_permissions(
    held: frozenset[Permission], role: frozenset[Permission]
) -> None:
    assert within_ceiling(held, role) is is_within_ceiling(held, role)
    assert not refusal_to_grant([Permission.PROJECT_GRANT], held, role, is_staff=True)


@pytest.mark.parametrize(
    ("held", "role", "refusal"),
    [
        ("PROJECT.CREATE_PERMISSION PROJECT.UPDATE", "PROJECT.UPDATE", ""),
        ("PROJECT.CREATE_PERMISSION", "", ""),
        ("PROJECT.CREATE_PERMISSION", "PROJECT.UPDATE", "role.above_ceiling"),
        ("PROJECT.UPDATE", "PROJECT.UPDATE", "permission.missing"),
        ("", "", "permission.missing"),
    ],
)
def test_granting_needs_the_permission_and_everything_that_the_role_contains(
    held: str, role: str, refusal: str
) -> None:
    permissions, role_permissions = set(held.split()), set(role.split())
    needed = [KINDS["project"].grant]
    assert refusal_to_grant(needed, permissions, role_permissions, is_staff=False) == refusal
    assert may_grant("project", permissions, role_permissions, is_staff=False) is (not refusal)
    assert may_grant("project", permissions, role_permissions, is_staff=True)


@given(PERMISSIONS, PERMISSIONS)
def test_one_of_the_required_permissions_is_enough(
    held: frozenset[Permission], required: frozenset[Permission]
) -> None:
    assert has_permission(person(), held, *required) is bool(held & required)
    assert has_permission(person(support=True), held, *required) is bool(held & required)
    assert has_permission(person(staff=True), held, *required)


@pytest.mark.parametrize(
    ("staff", "support", "sees_all"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_staff_and_support_see_everything(*, staff: bool, support: bool, sees_all: bool) -> None:
    assert person(staff=staff, support=support).sees_all is sees_all


@pytest.mark.parametrize("right", ["is_staff", "is_support", "is_identity_manager"])
def test_privileges_of_an_actor_cannot_be_changed(right: str) -> None:
    ada = person()
    assert getattr(ada, right) is False
    with pytest.raises(AttributeError):
        setattr(ada, right, True)


def test_optional_attributes_of_an_actor_are_empty_by_default() -> None:
    ada = person()
    values = (ada.civil_number, ada.ip_address, ada.request_id, ada.impersonator)
    assert values == (None, None, "", None)
    assert (ada.token, ada.credentials, ada.token_kind) == (0, None, None)


@given(PERMISSIONS)
def test_anonymous_actor_has_no_permissions(
    required: frozenset[Permission],
) -> None:
    values = (ANONYMOUS.id, ANONYMOUS.uuid, ANONYMOUS.username, ANONYMOUS.name, ANONYMOUS.email)
    assert values == (0, "", "", "", "")
    assert ANONYMOUS.token == 0
    assert not ANONYMOUS.sees_all
    assert not has_permission(ANONYMOUS, (), *required)


# From the specification. Custom roles store these names.
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


def test_permissions_have_the_names_of_the_specification() -> None:
    assert [*Permission] == PERMISSION_NAMES.split()


@pytest.mark.parametrize(
    ("kind", "noun"), [("organisation", "CUSTOMER"), ("project", "PROJECT"), ("group", "GROUP")]
)
def test_membership_permissions_match_the_kind_of_scope(kind: str, noun: str) -> None:
    permissions = KINDS[kind]
    assert permissions.grant == f"{noun}.CREATE_PERMISSION"
    assert permissions.update_role == f"{noun}.UPDATE_PERMISSION"
    assert permissions.revoke == f"{noun}.DELETE_PERMISSION"


# What differs between the kinds of scope.
FLAGS = """
organisation in_waldur staff_may_withdraw
project      in_waldur staff_may_withdraw
group        one_role invites_accounts repeatable
"""


def test_kinds_of_scope_differ_in_these_ways() -> None:
    names = ("in_waldur", "staff_may_withdraw", "one_role", "invites_accounts", "repeatable")
    for line in FLAGS.strip().splitlines():
        kind, *flags = line.split()
        assert [name for name in names if getattr(KINDS[kind], name)] == flags
    assert {"organisation", "project"} == WALDUR_KINDS
    assert {"group"} == BRAINSTEM_KINDS


def test_members_are_added_with_the_permission_of_the_kind() -> None:
    assert tuple((kind, KINDS[kind].grant) for kind in ScopeKind) == GRANTING


# From the specification: name, kind, state, description, permissions.
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


def test_built_in_roles_are_those_of_the_specification() -> None:
    expected = {}
    for line in ROLES.strip().splitlines():
        name, kind, state, description, permissions = (part.strip() for part in line.split("|"))
        expected[name] = (kind, state, description, set(permissions.split()))
    assert expected == {
        role.name: (
            role.kind.value,
            "active" if role.is_active else "inactive",
            role.description,
            {permission.value for permission in role.permissions},
        )
        for role in SYSTEM_ROLES
    }


@pytest.mark.parametrize("permission", sorted(IN_GROUPS))
def test_granting_permissions_over_groups_requires_the_right_to_change_roles(
    permission: Permission,
) -> None:
    held = set(Permission) - {Permission.GROUP_UPDATE_ROLE}
    assert not within_ceiling(held, {permission})
    assert within_ceiling({*held, Permission.GROUP_UPDATE_ROLE}, {permission})


def test_names_and_permissions_of_built_in_roles_are_unique() -> None:
    names = [role.name for role in SYSTEM_ROLES]
    assert len(names) == len(set(names))
    for role in SYSTEM_ROLES:
        assert len(role.permissions) == len(set(role.permissions)), role.name


# From the specification: the roles that each role can grant. Owners of an organisation grant in
# its projects.
GRANTABLE = {
    "CUSTOMER.OWNER": {"PROJECT.MANAGER", "PROJECT.ADMIN", "PROJECT.MEMBER"},
    "CUSTOMER.MANAGER": set(),
    "CUSTOMER.SUPPORT": set(),
    "PROJECT.MANAGER": {"PROJECT.MANAGER", "PROJECT.ADMIN", "PROJECT.MEMBER"},
    "PROJECT.ADMIN": set(),
    "PROJECT.MEMBER": set(),
    "GROUP.LEAD": {"GROUP.LEAD", "GROUP.OWNER", "GROUP.MANAGER", "GROUP.MEMBER"},
    "GROUP.OWNER": {"GROUP.LEAD", "GROUP.OWNER", "GROUP.MANAGER", "GROUP.MEMBER"},
    # A manager cannot grant the role of a manager.
    "GROUP.MANAGER": {"GROUP.MEMBER"},
    "GROUP.MEMBER": set(),
}


def test_built_in_roles_grant_the_roles_of_the_specification() -> None:
    for granter in SYSTEM_ROLES:
        held = granter.permissions
        grantable = {
            role.name
            for role in SYSTEM_ROLES
            if (granter.kind is role.kind or granter.kind is ScopeKind.ORGANISATION)
            and may_grant(role.kind, held, role.permissions, is_staff=False)
        }
        assert grantable == GRANTABLE[granter.name]
    assert len(GRANTABLE) == len(SYSTEM_ROLES)


def test_oversight_requires_staff_or_support() -> None:
    require_staff_or_support(person(staff=True))
    require_staff_or_support(person(support=True))
    for actor in (person(), ANONYMOUS):
        with refused(NotFound, "staff_page.unknown"):
            require_staff_or_support(actor)


def test_staff_and_support_may_read() -> None:
    require_reader(person(staff=True))
    require_reader(person(support=True))
    for actor in (person(), ANONYMOUS):
        with refused(Forbidden, "permission.missing"):
            require_reader(actor)


def test_only_staff_may_do_what_staff_do() -> None:
    require_staff(person(staff=True))
    for actor in (person(), person(support=True), ANONYMOUS):
        with refused(Forbidden, "permission.missing"):
            require_staff(actor)


def test_one_of_the_needed_permissions_is_required() -> None:
    needed = (Permission.GROUP_UPDATE, Permission.GROUP_GRANT)
    require_permission(person(), {Permission.GROUP_GRANT}, *needed)
    require_permission(person(staff=True), (), *needed)
    with refused(Forbidden, "permission.missing"):
        require_permission(person(support=True), {Permission.GROUP_DELETE}, *needed)


def test_worker_gets_from_where_an_actor_acts() -> None:
    staff = structs.replace(person(staff=True), id=7)
    actor = structs.replace(person(), ip_address="192.0.2.1", request_id="r", impersonator=staff)
    stored = {"impersonator_id": 7, "ip_address": "192.0.2.1", "request_id": "r"}
    assert actor.stored() == stored
    assert person().stored() == {"impersonator_id": None, "ip_address": "", "request_id": ""}
