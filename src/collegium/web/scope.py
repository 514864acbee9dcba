"""The common part of the pages of a scope: load it, and what the viewer may do there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess, ScopeRow
from collegium.access.rules import (
    KINDS,
    Actor,
    KindRules,
    Permission,
    ScopeKind,
    has_permission,
    refusal_to_grant,
)
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.invitations.links import scope_path
from collegium.refusals import Forbidden, NotFound
from collegium.reviews.rules import READERS
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow
from collegium.scopes import queries as scope_queries
from collegium.scopes.queries import ListedScope
from collegium.text.languages import gettext as _
from collegium.web.browser_request import BrowserRequest
from collegium.web.display import part_of
from collegium.web.forms import Form
from collegium.web.messages import SUPPORT_READS, cannot_add, role_name

PATHS: Final = {
    ScopeKind.ORGANISATION: "/organisation/{uuid}/",
    ScopeKind.PROJECT: "/project/{uuid}/",
    # The page above this path is public to signed-in accounts: it shows the group and its join
    # form.
    ScopeKind.GROUP: "/group/{number}/team/",
}
"""Path of the members page of each kind of scope."""

_PARTS: Final = {
    "invite": "invitations/",
    "imports": "invitations/",
    "link": "links/",
    "deleted": "settings/",
    "move": "settings/",
}
"""Pages that belong to a part with another path. All others without a part are about members."""

_SEARCH_MAX: Final = 200
_BESIDE_MAX: Final = 12
"""Maximum number of scopes that the menu beside the name of a scope offers."""

Right = Literal["", "grant", "invitations"]


@dataclass(frozen=True)
class ScopePage:
    """A visible scope, with what the viewer may do there."""

    actor: Actor
    access: ScopeAccess
    path: str
    has_reviews: bool = False
    beside: tuple[ListedScope, ...] = ()
    """The first visible scopes beside this one: the projects of the same organisation, or the
    organisations, or the groups. Empty without a menu, and in a write transaction."""

    @classmethod
    def load(
        cls,
        browser: BrowserRequest,
        tx: ReadTransaction,
        kind: ScopeKind,
        right: Right = "",
        *,
        has_menu: bool = True,
    ) -> Self:
        """Load the scope of the path.

        Args:
            right: ``grant`` if the viewer must be able to add people, ``invitations`` if they must
                be able to read invitations; empty if it is enough that the scope is visible.
            has_menu: whether to load the menu of the scopes beside. Downloads have none, nor pages
                whose own search takes most of the time that a page may take.

        Raises:
            NotFound: The scope does not exist or is hidden.
            Forbidden: ``permission.missing``.
        """
        if kind is ScopeKind.GROUP:
            access = access_queries.get_visible_by_id(
                tx, browser.actor, browser.number("group", "number")
            )
            if access.scope.kind != kind:
                raise NotFound("group.unknown")
        else:
            access = access_queries.get_visible(tx, browser.actor, kind, browser.uuid(kind))
        scope = access.scope
        has_reviews = browser.settings.review_interval is not None
        scope_page = cls(
            browser.actor,
            access,
            scope_path(kind, scope.uuid, scope.id),
            has_reviews,
            _beside(tx, browser.actor, scope)
            if has_menu and not isinstance(tx, WriteTransaction)
            else (),
        )
        if (right == "grant" and not scope_page.may_add) or (
            right == "invitations" and not scope_page.reads_invitations
        ):
            raise Forbidden("permission.missing")
        return scope_page

    @property
    def scope(self) -> ScopeRow:
        """The row of the scope."""
        return self.access.scope

    @property
    def is_group(self) -> bool:
        """Whether it is a group: there an account has one role, and only accounts are invited."""
        return bool(self.scope.kind == ScopeKind.GROUP)

    @property
    def rights(self) -> KindRules:
        """The permissions that govern the members of this kind of scope."""
        return KINDS[self.scope.kind]

    def holds(self, *rights: Permission) -> bool:
        """Tell whether the viewer has one of these permissions here."""
        return has_permission(self.actor, self.access.permissions, *rights)

    @property
    def is_closed(self) -> bool:
        """Whether the scope is blocked or archived, so that its members cannot change."""
        return bool(self.scope.blocked or self.scope.archived)

    @property
    def may_add(self) -> bool:
        """Whether the viewer may grant roles and invite to them."""
        return self.holds(self.rights.grant)

    @property
    def add_hint(self) -> str:
        """Why the viewer cannot add members, and whom to ask; empty if they can."""
        if self.may_add or self.is_closed:
            # The page of a blocked or archived scope says so itself.
            return ""
        if self.actor.sees_all:
            return SUPPORT_READS
        return cannot_add(self.scope.kind, is_project_manager=self.holds(Permission.PROJECT_GRANT))

    @property
    def reads_invitations(self) -> bool:
        """Whether the viewer may see who is invited."""
        return self.actor.sees_all or self.holds(Permission.INVITATION_LIST, self.rights.grant)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Path and label of the pages of this scope that the viewer may open."""
        parts = [(self.path, _("Members"))]
        if self.reads_invitations:
            parts.append((f"{self.path}invitations/", _("Invitations")))
            if not self.is_group:
                parts.append((f"{self.path}links/", _("Invite links")))
        if self.has_reviews and self.reads_reviews:
            parts.append((f"{self.path}reviews/", _("Reviews")))
        if not self.is_group and self.reads_settings:
            parts.append((f"{self.path}settings/", _("Settings")))
        if self.reads_invitations:
            parts.append((f"{self.path}statistics/", _("Statistics")))
        return [*parts, (f"{self.path}history/", _("Audit log"))]

    def part_of(self, path: str) -> str:
        """Return the path of the part to which a page of this scope belongs.

        Args:
            path: for example that of the page that invites people.
        """
        below = path.removeprefix(self.path)
        first = below.partition("/")[0]
        return part_of(self.path + _PARTS.get(first, below), [one for one, _text in self.parts])

    @property
    def may_update(self) -> bool:
        """Whether the viewer may change the settings of an organisation or project."""
        if self.scope.kind == ScopeKind.PROJECT:
            return self.holds(Permission.PROJECT_UPDATE)
        return self.holds(Permission.ORGANISATION_UPDATE)

    @property
    def recovers_projects(self) -> bool:
        """Whether the viewer may read which projects of an organisation are deleted."""
        return self.actor.sees_all or self.holds(Permission.PROJECT_CREATE)

    @property
    def reads_settings(self) -> bool:
        """Whether the viewer may open the settings of an organisation or project."""
        return (
            self.actor.sees_all
            or self.may_update
            or (self.scope.kind == ScopeKind.ORGANISATION and self.recovers_projects)
        )

    @property
    def reads_reviews(self) -> bool:
        """Whether the viewer may read who has reviewed the roles."""
        rights = [right for kind, right in READERS if kind == self.scope.kind]
        return self.actor.sees_all or self.holds(*rights)

    @property
    def closes_reviews(self) -> bool:
        """Whether the viewer may close the review of the roles."""
        return self.holds(*self.rights.review)


def _beside(tx: ReadTransaction, actor: Actor, scope: ScopeRow) -> tuple[ListedScope, ...]:
    filters = {"parent": scope.parent_id} if scope.parent_id else {"kind": scope.kind}
    return tuple(scope_queries.listing.page(tx, actor, filters, (), _BESIDE_MAX, 0))


def search_text(value: str) -> str:
    """Return the text to search for: the first characters, without those that are unprintable."""
    return "".join(filter(str.isprintable, value[:_SEARCH_MAX])).strip()


def grantable_roles(
    tx: ReadTransaction, scope_page: ScopePage, kind: ScopeKind | None = None
) -> list[tuple[str, str]]:
    """Return UUID and label of the roles that the viewer may grant here, the weakest first.

    Args:
        kind: Kind of the roles, if it differs from that of the scope.
    """
    scope = scope_page.scope
    rows = role_queries.of_kind(tx, kind or scope.kind, scope.parent_id or scope.id)
    permissions = role_queries.permissions_of(tx, [row.id for row in rows])
    grantable = [
        row
        for row in rows
        if not refusal_to_grant(
            (),  # the pages that offer roles check it
            scope_page.access.permissions,
            permissions.get(row.id, ()),
            is_staff=scope_page.actor.is_staff,
        )
    ]
    # The weakest is preselected, so that nobody becomes an owner by mistake.
    grantable.sort(key=lambda row: (len(permissions.get(row.id, ())), -row.id))
    return [(row.uuid, role_name(row.description, row.name)) for row in grantable]


def chosen_role(tx: ReadTransaction, scope_page: ScopePage, form: Form) -> RoleRow | None:
    """Return the role that the form names; None after adding an error to its field."""
    uuid = form.choice("role", "", *(uuid for uuid, _ in grantable_roles(tx, scope_page)))
    if not uuid:
        form.add_error("role", _("Please choose an option."))
        return None
    return role_queries.existing(tx, uuid=uuid)
