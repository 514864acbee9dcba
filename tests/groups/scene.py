"""A group and the people of the transcripts, and how the two clients spell what they ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from collegium.db.statements import Row
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import queries as membership_queries
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.scopes.groups import rules as group_rules
from collegium.scopes.groups.actions import MemberChange
from tests.support.site import Site
from tests.support.world import Person, World

PRIVATE = "/api/private/users"
PUBLIC = "/api/public/users"


@dataclass(frozen=True)
class Spelling:
    """How one generation of clients writes an address."""

    name: str
    request: str
    invitation: str
    slash: str

    def path(self, portal: str, model: str, *parts: object) -> str:
        words = {"request": self.request, "invitation": self.invitation}
        steps = [f"/api/{portal}/users", words.get(model, model), *map(str, parts)]
        return "/".join(steps) + self.slash


SPELLINGS = [
    Spelling(f"{client}{'-slash' if slash else ''}", request, invitation, slash)
    for client, request, invitation in (
        ("0.2.0", "groupmembershiprequest", "groupmembershipinvitation"),
        ("2.0.0", "group_membership_request", "group_membership_invitation"),
    )
    for slash in ("", "/")
]


class Groups:
    """Builds groups, and asks the wire."""

    def __init__(self, world: World, site: Site, spelling: Spelling = SPELLINGS[0]) -> None:
        self.world = world
        self.site = site
        self.spelling = spelling

    def found(self, owner: Person, name: str = "Lab") -> int:
        """Found a group; give its number."""
        with self.world.database.write() as tx:
            return group_actions.create(tx, owner.actor, name)

    def seat(self, group: int, person: Person, role: str = group_rules.MEMBER) -> None:
        """Give a person a role, without asking any rule."""
        with self.world.database.write() as tx:
            row: Any = role_queries.named(tx, role, None, groups=True)
            uuid = f"{group:016x}{person.id:016x}"
            membership_queries.grant(tx, uuid, person.id, row.id, group, None, None)

    def invite(
        self,
        group: int,
        inviter: Person,
        person: Person,
        *,
        is_manager: bool = False,
        is_owner: bool = False,
    ) -> str:
        """Invite a person; give the UUID."""
        wish = MemberChange(person.email, is_manager=is_manager, is_owner=is_owner)
        with self.world.database.write() as tx:
            reached = group_actions.lock_and_recheck(tx, inviter.actor, group)
            group_actions.change(tx, inviter.actor, self.world.settings, reached, None, [wish])
        listed = self.get(person, "invitation").json()["group_membership_invitations"]
        return next(str(one["id"]) for one in listed if one["authgroup"] == group)

    def ask(self, group: int, person: Person) -> str:
        """Ask to be let in; give the UUID of the request, 32 digits."""
        with self.world.database.write() as tx:
            return str(group_actions.join(tx, person.actor, group)[0].uuid)

    def role_of(self, group: int, person: Person) -> str | None:
        """The role of a person in a group now."""
        with self.world.database.read() as tx:
            row = membership_queries.grant_in_scope(tx, person.id, group)
        return row.role_name if row else None

    def request(self, uuid: str) -> Row:
        with self.world.database.read() as tx:
            return join_request_queries.get_visible(tx, self.world.staff.actor, uuid, groups=True)

    def members(self, group: int) -> dict[str, str]:
        with self.world.database.read() as tx:
            rows = group_queries.members(tx, [group])[group]
        return {row.email: row.role_name for row in rows}

    def call(
        self, method: str, who: Person | None, model: str, *parts: object, **options: Any
    ) -> httpx.Response:
        """Send a request as a client does."""
        portal = options.pop("portal", "private")
        query = options.pop("query", "")
        headers = options.pop("headers", {})
        if who is not None:
            headers = {"Authorization": f"Bearer {who.token}"} | headers
        path = self.spelling.path(portal, model, *parts)
        return self.site.request(method, path + query, headers=headers, **options)

    def get(self, who: Person | None, model: str, *parts: object, **options: Any) -> httpx.Response:
        return self.call("GET", who, model, *parts, **options)
