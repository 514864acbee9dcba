"""Who may do what: permissions, system roles, and the questions asked of them.

Permission names are those of the Waldur wire, because operators keep their custom roles in them;
the Python names are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection


class Kind(StrEnum):
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
    SUBNET_CREATE = "ACCESS_SUBNET.CREATE"
    SUBNET_UPDATE = "ACCESS_SUBNET.UPDATE"
    SUBNET_DELETE = "ACCESS_SUBNET.DELETE"


class TeamRights(NamedTuple):
    """The three permissions that rule the team of a scope."""

    grant: Permission
    regrant: Permission
    revoke: Permission


TEAM: Final = {
    Kind.ORGANISATION: TeamRights(
        Permission.ORGANISATION_GRANT,
        Permission.ORGANISATION_REGRANT,
        Permission.ORGANISATION_REVOKE,
    ),
    Kind.PROJECT: TeamRights(
        Permission.PROJECT_GRANT, Permission.PROJECT_REGRANT, Permission.PROJECT_REVOKE
    ),
}


class SystemRole(NamedTuple):
    """A role that every installation has from its first migration on."""

    name: str
    kind: Kind
    description: str
    is_active: bool
    permissions: tuple[Permission, ...]


OWNER_ROLE: Final = {Kind.ORGANISATION: "CUSTOMER.OWNER"}
"""The role without which a scope of that kind has nobody in charge."""

SYSTEM_ROLES: Final = (
    SystemRole(
        "CUSTOMER.OWNER",
        Kind.ORGANISATION,
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
        Kind.ORGANISATION,
        "Organization manager",
        is_active=False,
        permissions=(),
    ),
    SystemRole(
        "CUSTOMER.SUPPORT",
        Kind.ORGANISATION,
        "Organization support",
        is_active=False,
        permissions=(),
    ),
    SystemRole(
        "PROJECT.MANAGER",
        Kind.PROJECT,
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
        Kind.PROJECT,
        "Project administrator",
        is_active=True,
        permissions=(),
    ),
    SystemRole(
        "PROJECT.MEMBER",
        Kind.PROJECT,
        "Project member",
        is_active=True,
        permissions=(),
    ),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """The account that asks, as authenticated.

    ``sees_all`` and ``is_staff`` are the two privileges outside roles:
    support reads everything and changes nothing, staff may do everything.
    ``behind`` is the member of staff who acts as this account; history names both.
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
    address: str = ""
    request: str = ""
    behind: Actor | None = None

    @property
    def sees_all(self) -> bool:
        """Tell whether nothing is hidden from this actor."""
        return self.is_staff or self.is_support


def may(actor: Actor, held: Collection[str], *needed: Permission) -> bool:
    """Tell whether one of the needed permissions is among those held on the scope."""
    return actor.is_staff or any(permission in held for permission in needed)


def may_give(actor: Actor, held: Collection[str], role_permissions: Collection[str]) -> bool:
    """Tell whether a role stays under the giver's own ceiling on the scope.

    Nobody hands out more than they hold there; staff may.
    """
    return actor.is_staff or set(role_permissions) <= set(held)
