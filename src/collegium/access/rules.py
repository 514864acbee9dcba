"""Who may do what: permissions, system roles, and the questions asked of them.

Permission names are those of the Waldur wire, because operators keep their custom roles in them;
the Python names are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from collegium.refusals import NotFound

if TYPE_CHECKING:
    from collections.abc import Collection


class ScopeKind(StrEnum):
    """The kinds of scope. Organisations hold projects; groups stand alone."""

    ORGANISATION = "organisation"
    PROJECT = "project"
    GROUP = "group"


class Permission(StrEnum):
    """Every right that a role can carry."""

    ORGANISATION_CREATE = "CUSTOMER.CREATE"
    ORGANISATION_UPDATE = "CUSTOMER.UPDATE"
    ORGANISATION_DELETE = "CUSTOMER.DELETE"
    ORGANISATION_GRANT = "CUSTOMER.CREATE_PERMISSION"
    ORGANISATION_REGRANT = "CUSTOMER.UPDATE_PERMISSION"
    ORGANISATION_REVOKE = "CUSTOMER.DELETE_PERMISSION"
    ORGANISATION_REVIEWS = "CUSTOMER.LIST_PERMISSION_REVIEWS"
    PROJECT_LIST = "PROJECT.LIST"
    PROJECT_CREATE = "PROJECT.CREATE"
    PROJECT_UPDATE = "PROJECT.UPDATE"
    PROJECT_DELETE = "PROJECT.DELETE"
    PROJECT_GRANT = "PROJECT.CREATE_PERMISSION"
    PROJECT_REGRANT = "PROJECT.UPDATE_PERMISSION"
    PROJECT_REVOKE = "PROJECT.DELETE_PERMISSION"
    INVITATION_LIST = "INVITATION.LIST"
    GROUP_UPDATE = "GROUP.UPDATE"
    GROUP_DELETE = "GROUP.DELETE"
    GROUP_GRANT = "GROUP.CREATE_PERMISSION"
    GROUP_REGRANT = "GROUP.UPDATE_PERMISSION"
    GROUP_REVOKE = "GROUP.DELETE_PERMISSION"
    SUBNET_CREATE = "ACCESS_SUBNET.CREATE"
    SUBNET_UPDATE = "ACCESS_SUBNET.UPDATE"
    SUBNET_DELETE = "ACCESS_SUBNET.DELETE"


class MembershipPermissions(NamedTuple):
    """The three permissions that rule the team of a scope."""

    grant: Permission
    regrant: Permission
    revoke: Permission


MEMBERSHIP_PERMISSIONS: Final = {
    ScopeKind.ORGANISATION: MembershipPermissions(
        Permission.ORGANISATION_GRANT,
        Permission.ORGANISATION_REGRANT,
        Permission.ORGANISATION_REVOKE,
    ),
    ScopeKind.PROJECT: MembershipPermissions(
        Permission.PROJECT_GRANT, Permission.PROJECT_REGRANT, Permission.PROJECT_REVOKE
    ),
    ScopeKind.GROUP: MembershipPermissions(
        Permission.GROUP_GRANT, Permission.GROUP_REGRANT, Permission.GROUP_REVOKE
    ),
}


class SystemRole(NamedTuple):
    """A role that every installation has from its first migration on."""

    name: str
    kind: ScopeKind
    description: str
    is_active: bool
    permissions: tuple[Permission, ...]


_RULE_GROUPS: Final = frozenset(
    {*MEMBERSHIP_PERMISSIONS[ScopeKind.GROUP], Permission.GROUP_UPDATE, Permission.GROUP_DELETE}
)

OWNER_ROLES: Final = {
    ScopeKind.ORGANISATION: frozenset({"CUSTOMER.OWNER"}),
    ScopeKind.PROJECT: frozenset[str](),
    ScopeKind.GROUP: frozenset({"GROUP.OWNER", "GROUP.LEAD"}),
}
"""The roles without which a scope of that kind has nobody in charge."""

SYSTEM_ROLES: Final = (
    SystemRole(
        "CUSTOMER.OWNER",
        ScopeKind.ORGANISATION,
        "Organization owner",
        is_active=True,
        permissions=(
            Permission.PROJECT_GRANT,
            Permission.PROJECT_REGRANT,
            Permission.PROJECT_REVOKE,
            Permission.PROJECT_LIST,
            Permission.PROJECT_CREATE,
            Permission.PROJECT_UPDATE,
            Permission.PROJECT_DELETE,
            Permission.ORGANISATION_CREATE,
            Permission.ORGANISATION_UPDATE,
            Permission.ORGANISATION_DELETE,
            Permission.INVITATION_LIST,
            Permission.SUBNET_CREATE,
            Permission.SUBNET_UPDATE,
            Permission.SUBNET_DELETE,
        ),
    ),
    SystemRole(
        "CUSTOMER.MANAGER",
        ScopeKind.ORGANISATION,
        "Organization manager",
        is_active=False,
        permissions=(),
    ),
    SystemRole(
        "CUSTOMER.SUPPORT",
        ScopeKind.ORGANISATION,
        "Organization support",
        is_active=False,
        permissions=(),
    ),
    SystemRole(
        "PROJECT.MANAGER",
        ScopeKind.PROJECT,
        "Project manager",
        is_active=True,
        permissions=(
            Permission.PROJECT_GRANT,
            Permission.PROJECT_REGRANT,
            Permission.PROJECT_REVOKE,
            Permission.PROJECT_UPDATE,
        ),
    ),
    SystemRole(
        "PROJECT.ADMIN",
        ScopeKind.PROJECT,
        "Project administrator",
        is_active=True,
        permissions=(),
    ),
    SystemRole(
        "PROJECT.MEMBER",
        ScopeKind.PROJECT,
        "Project member",
        is_active=True,
        permissions=(),
    ),
    *(
        # A lead is owner and manager, as whoever founds a group; an owner may do the same.
        SystemRole(
            name,
            ScopeKind.GROUP,
            description,
            is_active=True,
            permissions=(
                Permission.GROUP_GRANT,
                Permission.GROUP_REGRANT,
                Permission.GROUP_REVOKE,
                Permission.GROUP_UPDATE,
                Permission.GROUP_DELETE,
            ),
        )
        for name, description in (("GROUP.LEAD", "Group lead"), ("GROUP.OWNER", "Group owner"))
    ),
    SystemRole(
        "GROUP.MANAGER",
        ScopeKind.GROUP,
        "Group manager",
        is_active=True,
        permissions=(Permission.GROUP_GRANT, Permission.GROUP_REVOKE),
    ),
    SystemRole("GROUP.MEMBER", ScopeKind.GROUP, "Group member", is_active=True, permissions=()),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """The account that asks, as authenticated.

    ``sees_all`` and ``is_staff`` are the two privileges outside roles:
    support reads everything and changes nothing, staff may do everything.
    ``address`` is where the request comes from, "" when that cannot be told; None for an
    account that asks nothing and is judged by ourselves, wherever it may be.
    ``behind`` is the member of staff who acts as this account; history names both.
    ``token`` is the id of the token that was shown, 0 for none; ``credentials`` the version of
    the account's credentials that a password was verified at, None where none was. Both are
    compared again where something is written that would outlive them.
    ``token_kind`` is the kind of the token that authenticated the request (``rules.tokens.Kind``);
    None where no token did, or where somebody acts as this account.
    """

    id: int
    uuid: str
    username: str
    name: str
    email: str
    is_staff: bool
    is_support: bool
    is_identity_manager: bool = False
    civil_number: str | None = None
    address: str | None = None
    request: str = ""
    impersonator: Actor | None = None
    token: int = 0
    credentials: int | None = None
    token_kind: str | None = None

    @property
    def sees_all(self) -> bool:
        """Tell whether nothing is hidden from this actor."""
        return self.is_staff or self.is_support


ANONYMOUS: Final = Actor(
    id=0, uuid="", username="", name="", email="", is_staff=False, is_support=False
)
"""Whoever asks without credentials: sees what everybody may see."""


def require_staff_or_support(actor: Actor) -> None:
    """Let only staff and support pass; to anybody else there is nothing.

    Refuses: NotFound ``oversight.unknown``.
    """
    if not actor.sees_all:
        raise NotFound("oversight.unknown")


def has_permission(actor: Actor, held: Collection[str], *needed: Permission) -> bool:
    """Tell whether one of the needed permissions is among those held on the scope."""
    return actor.is_staff or any(permission in held for permission in needed)


def may_grant(actor: Actor, held: Collection[str], role_permissions: Collection[str]) -> bool:
    """Tell whether a role stays under the giver's own ceiling on the scope.

    Staff may give everything.
    """
    return actor.is_staff or within_ceiling(held, role_permissions)


def within_ceiling(held: Collection[str], role_permissions: Collection[str]) -> bool:
    """Tell whether somebody who holds so much may hand out a role.

    Nobody hands out more than they hold; and in groups, where nobody is raised but by
    owners, managers bring in plain members only, not others of their own kind.
    """
    carried = set(role_permissions)
    raises = not carried.isdisjoint(_RULE_GROUPS)
    return carried <= set(held) and (not raises or Permission.GROUP_REGRANT in held)
