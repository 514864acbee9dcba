"""The frame of the pages about one scope: what it is, and what the viewer may do there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from collegium.access import queries as access_queries
from collegium.access.rules import TEAM, Kind, Permission, may, may_give
from collegium.invitations.links import team_path
from collegium.refusals import Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.text.names import isolated

if TYPE_CHECKING:
    from collegium.access.queries import Reached
    from collegium.access.rules import Actor, TeamRights
    from collegium.db.database import Read
    from collegium.db.statements import Row
    from collegium.web.browser_request import Visit
    from collegium.web.forms import Form

PATHS: Final = {
    Kind.ORGANISATION: "/organisation/{uuid}/",
    Kind.PROJECT: "/project/{uuid}/",
    # What anybody may see of a group, and how to ask to be let in, is above it.
    Kind.GROUP: "/group/{number}/team/",
}
"""Where the team of each kind of scope is."""

_SEARCH_MAX: Final = 200

Right = Literal["", "grant", "invitations"]


@dataclass(frozen=True)
class Team:
    """A scope that somebody reached, and what its pages show of it."""

    actor: Actor
    reached: Reached
    path: str

    @classmethod
    def reach(cls, visit: Visit, tx: Read, kind: Kind, right: Right = "") -> Self:
        """Load the scope of the path.

        Args:
            right: ``grant`` to let people in, ``invitations`` to read who is invited.

        Refuses: NotFound when it is hidden, Forbidden ``permission.missing``.
        """
        if kind is Kind.GROUP:
            reached = access_queries.reach_number(tx, visit.actor, number(visit))
            if reached.scope.kind != kind:
                raise NotFound("group.unknown")
        else:
            reached = access_queries.reach(tx, visit.actor, kind, visit.uuid(kind))
        scope = reached.scope
        team = cls(visit.actor, reached, team_path(kind, scope.uuid, scope.id))
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
        return bool(self.scope.kind == Kind.GROUP)

    @property
    def rights(self) -> TeamRights:
        """Give the permissions that rule this kind of team."""
        return TEAM[Kind(self.scope.kind)]

    def holds(self, *rights: Permission) -> bool:
        """Tell whether the viewer has one of some rights here."""
        return may(self.actor, self.reached.held, *rights)

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


def number(visit: Visit) -> int:
    """Give the number in the path.

    Refuses: NotFound ``group.unknown`` when it is none.
    """
    text = visit.segments["number"]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits
        raise NotFound("group.unknown")
    return int(text)


def searched(visit: Visit) -> str:
    """Read what somebody searches; signs that are in no name are left out."""
    return "".join(filter(str.isprintable, visit.asked("q")))[:_SEARCH_MAX].strip()


def offered(tx: Read, team: Team, kind: Kind | None = None) -> list[tuple[str, str]]:
    """Give UUID and words of the roles that the viewer may give here, the smallest first.

    Args:
        kind: of the roles, where it is another one than that of the scope.
    """
    rows = role_queries.of_kind(tx, kind or team.scope.kind)
    carried = role_queries.permissions_of(tx, [row.id for row in rows])
    able = [row for row in rows if may_give(team.actor, team.reached.held, carried.get(row.id, ()))]
    # So that nobody is made an owner who was to be a member, for want of a choice.
    able.sort(key=lambda row: (len(carried.get(row.id, ())), -row.id))
    return [(row.uuid, isolated(row.description or row.name)) for row in able]


def chosen(tx: Read, team: Team, form: Form) -> Row | None:
    """Read which role a form names; one that was not offered is an error of its field."""
    uuid = form.choice("role", "", *(uuid for uuid, _ in offered(tx, team)))
    if not uuid:
        form.wrong("role", "Please choose one of these.")
        return None
    return named(tx, team, uuid)


def named(tx: Read, team: Team, uuid: str) -> Any:
    """Give a role that is given in such a team."""
    return role_queries.named(tx, "", uuid, groups=team.is_group)
