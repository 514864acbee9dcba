"""Define permissions and system roles, and decide who may do what.

The values of ``Permission`` are the names of the Waldur API, because operators keep them in their
custom roles. The Python names are ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec import Struct

from collegium.refusals import Forbidden, NotFound
from collegium.text.languages import mark


class ScopeKind(StrEnum):
    """The kinds of scope.

    Organisations contain projects; groups have neither parent nor children.
    """

    ORGANISATION = "organisation"
    PROJECT = "project"
    GROUP = "group"


class Permission(StrEnum):
    """Every permission that a role can contain."""

    ORGANISATION_CREATE = "CUSTOMER.CREATE"
    ORGANISATION_UPDATE = "CUSTOMER.UPDATE"
    ORGANISATION_DELETE = "CUSTOMER.DELETE"
    ORGANISATION_GRANT = "CUSTOMER.CREATE_PERMISSION"
    ORGANISATION_UPDATE_ROLE = "CUSTOMER.UPDATE_PERMISSION"
    ORGANISATION_REVOKE = "CUSTOMER.DELETE_PERMISSION"
    ORGANISATION_REVIEWS = "CUSTOMER.LIST_PERMISSION_REVIEWS"
    PROJECT_LIST = "PROJECT.LIST"
    PROJECT_CREATE = "PROJECT.CREATE"
    PROJECT_UPDATE = "PROJECT.UPDATE"
    PROJECT_DELETE = "PROJECT.DELETE"
    PROJECT_GRANT = "PROJECT.CREATE_PERMISSION"
    PROJECT_UPDATE_ROLE = "PROJECT.UPDATE_PERMISSION"
    PROJECT_REVOKE = "PROJECT.DELETE_PERMISSION"
    INVITATION_LIST = "INVITATION.LIST"
    GROUP_UPDATE = "GROUP.UPDATE"
    GROUP_DELETE = "GROUP.DELETE"
    GROUP_GRANT = "GROUP.CREATE_PERMISSION"
    GROUP_UPDATE_ROLE = "GROUP.UPDATE_PERMISSION"
    GROUP_REVOKE = "GROUP.DELETE_PERMISSION"
    SUBNET_CREATE = "ACCESS_SUBNET.CREATE"
    SUBNET_UPDATE = "ACCESS_SUBNET.UPDATE"
    SUBNET_DELETE = "ACCESS_SUBNET.DELETE"


class KindRules(NamedTuple):
    """What differs between the kinds of scope.

    Args:
        grant: the permission to add members, and to invite and admit them.
        update_role: the permission to change the end of a role.
        revoke: the permission to remove members.
        review: the permissions of which one allows closing the review of the roles. Owners of an
            organisation confirm its roles, though only staff change them.
        owner_roles: without a holder of one of these roles, nobody is in charge of the scope.
        one_role: an account has one role in the scope. Every role there fulfils every join request.
        invites_accounts: only existing accounts are invited, and nobody else may accept.
        repeatable: a decision that was already taken may be repeated, which changes nothing.
        staff_may_withdraw: staff may withdraw the join requests of others.
        in_waldur: the Waldur API shows these scopes; the BrainSTEM API shows the others.
    """

    grant: Permission
    update_role: Permission
    revoke: Permission
    review: tuple[Permission, ...]
    owner_roles: frozenset[str] = frozenset()
    one_role: bool = False
    invites_accounts: bool = False
    repeatable: bool = False
    staff_may_withdraw: bool = True
    in_waldur: bool = True


KINDS: Final[Mapping[str, KindRules]] = {
    ScopeKind.ORGANISATION: KindRules(
        Permission.ORGANISATION_GRANT,
        Permission.ORGANISATION_UPDATE_ROLE,
        Permission.ORGANISATION_REVOKE,
        (Permission.ORGANISATION_UPDATE, Permission.ORGANISATION_REVOKE),
        owner_roles=frozenset({"CUSTOMER.OWNER"}),
    ),
    ScopeKind.PROJECT: KindRules(
        Permission.PROJECT_GRANT,
        Permission.PROJECT_UPDATE_ROLE,
        Permission.PROJECT_REVOKE,
        (Permission.PROJECT_REVOKE,),
    ),
    ScopeKind.GROUP: KindRules(
        Permission.GROUP_GRANT,
        Permission.GROUP_UPDATE_ROLE,
        Permission.GROUP_REVOKE,
        (Permission.GROUP_REVOKE,),
        owner_roles=frozenset({"GROUP.OWNER", "GROUP.LEAD"}),
        one_role=True,
        invites_accounts=True,
        repeatable=True,
        staff_may_withdraw=False,
        in_waldur=False,
    ),
}

GRANTING: Final = tuple((ScopeKind(kind), rules.grant) for kind, rules in KINDS.items())
"""The permission to add members by kind of scope, as ``scopes_with_permission`` takes it."""

Kinds = Collection[str]
"""The kinds of scope that a protocol shows. To it, everything in other scopes is unknown."""

WALDUR_KINDS: Final = frozenset(kind for kind, rules in KINDS.items() if rules.in_waldur)
BRAINSTEM_KINDS: Final = frozenset(KINDS) - WALDUR_KINDS


class SystemRole(NamedTuple):
    """A role that the first migration creates in every installation."""

    name: str
    kind: ScopeKind
    description: str
    is_active: bool
    permissions: tuple[Permission, ...]


_GROUP_MANAGEMENT: Final = frozenset(name for name in Permission if name.startswith("GROUP."))

SYSTEM_ROLES: Final = (
    SystemRole(
        "CUSTOMER.OWNER",
        ScopeKind.ORGANISATION,
        mark("Organisation owner"),
        is_active=True,
        permissions=(
            Permission.PROJECT_GRANT,
            Permission.PROJECT_UPDATE_ROLE,
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
        mark("Organisation manager"),
        is_active=False,
        permissions=(),
    ),
    SystemRole(
        "CUSTOMER.SUPPORT",
        ScopeKind.ORGANISATION,
        mark("Organisation support"),
        is_active=False,
        permissions=(),
    ),
    SystemRole(
        "PROJECT.MANAGER",
        ScopeKind.PROJECT,
        mark("Project manager"),
        is_active=True,
        permissions=(
            Permission.PROJECT_GRANT,
            Permission.PROJECT_UPDATE_ROLE,
            Permission.PROJECT_REVOKE,
            Permission.PROJECT_UPDATE,
        ),
    ),
    SystemRole(
        "PROJECT.ADMIN",
        ScopeKind.PROJECT,
        mark("Project administrator"),
        is_active=True,
        permissions=(),
    ),
    SystemRole(
        "PROJECT.MEMBER",
        ScopeKind.PROJECT,
        mark("Project member"),
        is_active=True,
        permissions=(),
    ),
    *(
        # The creator of a group becomes its lead. A lead counts as owner and manager in one. An
        # owner has the same permissions.
        SystemRole(
            name,
            ScopeKind.GROUP,
            description,
            is_active=True,
            permissions=(
                Permission.GROUP_GRANT,
                Permission.GROUP_UPDATE_ROLE,
                Permission.GROUP_REVOKE,
                Permission.GROUP_UPDATE,
                Permission.GROUP_DELETE,
            ),
        )
        for name, description in (
            ("GROUP.LEAD", mark("Group lead")),
            ("GROUP.OWNER", mark("Group owner")),
        )
    ),
    SystemRole(
        "GROUP.MANAGER",
        ScopeKind.GROUP,
        mark("Group manager"),
        is_active=True,
        permissions=(Permission.GROUP_GRANT, Permission.GROUP_REVOKE),
    ),
    SystemRole(
        "GROUP.MEMBER", ScopeKind.GROUP, mark("Group member"), is_active=True, permissions=()
    ),
)


class Actor(Struct, frozen=True):
    """The authenticated account in whose name a request acts.

    A struct, because every request makes one, and a frozen data class takes four times as long.

    Args:
        is_staff: may do everything.
        is_support: may read everything and changes nothing.
        ip_address: of the client; "" if it is unknown. None if there is no request and the
            server itself checks what the account may do; access subnets then do not apply.
        request_id: for the audit log.
        impersonator: the member of staff who acts as this account. The audit log names both.
        token: id of the token that authenticated the request, 0 for none.
        credentials: version of the account's credentials at which a password was verified; None if
            no password was verified. ``token`` and ``credentials`` are compared again before
            something is written that would outlive them.
        token_kind: a ``TokenKind`` of ``collegium.sign_in.tokens.rules``. None without a token, and
            during impersonation.
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
    ip_address: str | None = None
    request_id: str = ""
    impersonator: Actor | None = None
    token: int = 0
    credentials: int | None = None
    token_kind: str | None = None

    @property
    def sees_all(self) -> bool:
        """Return whether nothing is hidden from this actor."""
        return self.is_staff or self.is_support

    def stored(self) -> dict[str, Any]:
        """Return the columns that keep from where the actor acts, for what the worker does later.

        ``stored_actor`` of ``sign_in.tokens.actions`` reads them.
        """
        return {
            "impersonator_id": self.impersonator.id if self.impersonator else None,
            "ip_address": self.ip_address or "",
            "request_id": self.request_id,
        }


ANONYMOUS: Final = Actor(
    id=0, uuid="", username="", name="", email="", is_staff=False, is_support=False
)
"""The actor of requests without credentials. It sees only what everybody may see."""


def require_staff_or_support(actor: Actor) -> None:
    """Require that the actor is staff or support.

    Everybody else gets the same error as for an unknown page.

    Raises:
        NotFound: ``staff_page.unknown``: the actor is neither staff nor support.
    """
    if not actor.sees_all:
        raise NotFound("staff_page.unknown")


def require_staff(actor: Actor) -> None:
    """Require that the actor is staff.

    Raises:
        Forbidden: ``permission.missing``.
    """
    if not actor.is_staff:
        raise Forbidden("permission.missing")


def require_reader(actor: Actor) -> None:
    """Require that the actor is staff or support.

    Raises:
        Forbidden: ``permission.missing``.
    """
    if not actor.sees_all:
        raise Forbidden("permission.missing")


def require_permission(actor: Actor, permissions: Collection[str], *needed: Permission) -> None:
    """Require what ``has_permission`` returns.

    Raises:
        Forbidden: ``permission.missing``.
    """
    if not has_permission(actor, permissions, *needed):
        raise Forbidden("permission.missing")


def has_permission(actor: Actor, permissions: Collection[str], *needed: Permission) -> bool:
    """Return whether the actor is staff or holds one of the needed permissions in the scope."""
    return actor.is_staff or any(name in permissions for name in needed)


def may_grant(
    kind: str, permissions: Collection[str], role_permissions: Collection[str], *, is_staff: bool
) -> bool:
    """Return whether the holder of some permissions may grant a role in a kind of scope."""
    needed = (KINDS[kind].grant,)
    return not refusal_to_grant(needed, permissions, role_permissions, is_staff=is_staff)


def refusal_to_grant(
    needed: Collection[Permission],
    permissions: Collection[str],
    role_permissions: Collection[str],
    *,
    is_staff: bool,
) -> str:
    """Return why somebody may not grant, change or revoke a role; empty if they may.

    This one rule judges members, invitations, invite links, join requests and sponsors. A role may
    contain only permissions that the granting person holds. Groups have one more rule: only owners
    and leads, who hold ``GROUP_UPDATE_ROLE``, may grant a role that manages the group. Managers
    therefore add plain members, but no further managers. Staff may grant every role.

    Args:
        needed: permissions that the action itself needs.
        permissions: permissions that the person holds in the scope, inherited ones included.
        role_permissions: permissions of the role.

    Returns:
        ``permission.missing``, ``role.above_ceiling`` or an empty string.
    """
    if is_staff:
        return ""
    if not set(needed).issubset(permissions):
        return "permission.missing"
    offered = set(role_permissions)
    manages_group = not offered.isdisjoint(_GROUP_MANAGEMENT)
    if offered.issubset(permissions) and (
        not manages_group or Permission.GROUP_UPDATE_ROLE in permissions
    ):
        return ""
    return "role.above_ceiling"
