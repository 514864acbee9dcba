"""The frame of the pages about one scope: what it is, and what the viewer may do there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from collegium.access import queries as access_queries
from collegium.access.rules import (
    MEMBERSHIP_PERMISSIONS,
    Permission,
    ScopeKind,
    has_permission,
    may_grant,
)
from collegium.invitations.links import scope_path
from collegium.refusals import Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.text.names import isolated

if TYPE_CHECKING:
    from collegium.access.queries import ScopeAccess
    from collegium.access.rules import Actor, MembershipPermissions
    from collegium.db.database import ReadTransaction
    from collegium.db.statements import Row
    from collegium.web.browser_request import BrowserRequest
    from collegium.web.forms import Form

PATHS: Final = {
    ScopeKind.ORGANISATION: "/organisation/{uuid}/",
    ScopeKind.PROJECT: "/project/{uuid}/",
    # What anybody may see of a group, and how to ask to be let in, is above it.
    ScopeKind.GROUP: "/group/{number}/team/",
}
"""Where the team of each kind of scope is."""

_SEARCH_MAX: Final = 200

Right = Literal["", "grant", "invitations"]


@dataclass(frozen=True)
class ScopePage:
    """A scope that somebody reached, and what its pages show of it."""

    actor: Actor
    reached: ScopeAccess
    path: str

    @classmethod
    def reach(
        cls, browser: BrowserRequest, tx: ReadTransaction, kind: ScopeKind, right: Right = ""
    ) -> Self:
        """Load the scope of the path.

        Args:
            right: ``grant`` to let people in, ``invitations`` to read who is invited.

        Refuses: NotFound when it is hidden, Forbidden ``permission.missing``.
        """
        if kind is ScopeKind.GROUP:
            reached = access_queries.get_visible_by_id(tx, browser.actor, number(browser))
            if reached.scope.kind != kind:
                raise NotFound("group.unknown")
        else:
            reached = access_queries.get_visible(tx, browser.actor, kind, browser.uuid(kind))
        scope = reached.scope
        team = cls(browser.actor, reached, scope_path(kind, scope.uuid, scope.id))
        if (right == "grant" and not team.may_let_in) or (
            right == "invitations" and not team.reads_invitations
        ):
            raise Forbidden("permission.missing")
        return team

    @property
    def scope(self) -> Row:
        """Give the row of the scope."""
        return self.reached.scope

    @property
    def is_group(self) -> bool:
        """Tell whether it is a group, which has one role a person and invites accounts alone."""
        return bool(self.scope.kind == ScopeKind.GROUP)

    @property
    def rights(self) -> MembershipPermissions:
        """Give the permissions that rule this kind of team."""
        return MEMBERSHIP_PERMISSIONS[ScopeKind(self.scope.kind)]

    def holds(self, *rights: Permission) -> bool:
        """Tell whether the viewer has one of some rights here."""
        return has_permission(self.actor, self.reached.permissions, *rights)

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing about the team can change at the moment."""
        return bool(self.scope.blocked or self.scope.archived)

    @property
    def may_let_in(self) -> bool:
        """Tell whether the viewer may give roles and invite to them."""
        return self.holds(self.rights.grant)

    @property
    def reads_invitations(self) -> bool:
        """Tell whether the viewer may see who is invited."""
        return self.actor.sees_all or self.holds(Permission.INVITATION_LIST, self.rights.grant)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Give path and text of the pages about this scope that the viewer may open."""
        parts = [(self.path, "People")]
        if self.reads_invitations:
            parts.append((f"{self.path}invitations/", "Invitations"))
            if not self.is_group:
                parts.append((f"{self.path}links/", "Links for many"))
        return [*parts, (f"{self.path}history/", "History")]


def number(browser: BrowserRequest) -> int:
    """Give the number in the path.

    Refuses: NotFound ``group.unknown`` when it is none.
    """
    text = browser.segments["number"]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits
        raise NotFound("group.unknown")
    return int(text)


def searched(browser: BrowserRequest) -> str:
    """Read what somebody searches; signs that are in no name are left out."""
    return "".join(filter(str.isprintable, browser.query_value("q")))[:_SEARCH_MAX].strip()


def offered(
    tx: ReadTransaction, team: ScopePage, kind: ScopeKind | None = None
) -> list[tuple[str, str]]:
    """Give UUID and words of the roles that the viewer may give here, the smallest first.

    Args:
        kind: of the roles, where it is another one than that of the scope.
    """
    rows = role_queries.of_kind(tx, kind or team.scope.kind)
    carried = role_queries.permissions_of(tx, [row.id for row in rows])
    able = [
        row
        for row in rows
        if may_grant(team.actor, team.reached.permissions, carried.get(row.id, ()))
    ]
    # So that nobody is made an owner who was to be a member, for want of a choice.
    able.sort(key=lambda row: (len(carried.get(row.id, ())), -row.id))
    return [(row.uuid, isolated(row.description or row.name)) for row in able]


def chosen(tx: ReadTransaction, team: ScopePage, form: Form) -> Row | None:
    """Read which role a form names; one that was not offered is an error of its field."""
    uuid = form.choice("role", "", *(uuid for uuid, _ in offered(tx, team)))
    if not uuid:
        form.add_error("role", "Please choose one of these.")
        return None
    return named(tx, team, uuid)


def named(tx: ReadTransaction, team: ScopePage, uuid: str) -> Any:
    """Give a role that is given in such a team."""
    return role_queries.named(tx, "", uuid, groups=team.is_group)
