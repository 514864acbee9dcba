"""Create groups, and send requests as the two client versions do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import bindparam, insert

from collegium.accounts import actions as account_actions
from collegium.db.statements import Statement
from collegium.db.tables import join_requests, outbox
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import queries as membership_queries
from collegium.outbox.outcomes import ObsoleteError
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.scopes.groups import rules as group_rules
from collegium.scopes.groups.actions import MemberChange
from collegium.worker import mails
from tests.support.site import Site
from tests.support.world import Person, World

PRIVATE = "/api/private/users"
PUBLIC = "/api/public/users"


@dataclass(frozen=True)
class Spelling:
    """How one client version writes a path."""

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
    """Creates groups, and sends requests."""

    def __init__(self, world: World, site: Site, spelling: Spelling = SPELLINGS[0]) -> None:
        self.world = world
        self.site = site
        self.spelling = spelling

    def people(self, *names: str) -> list[Person]:
        return [self.world.person(name) for name in names]

    def create(self, owner: Person, name: str = "Lab") -> int:
        """Create a group; return its id."""
        with self.world.database.write() as tx:
            return group_actions.create(tx, owner.actor, name)

    def give_role(self, group: int, person: Person, role: str = group_rules.MEMBER) -> None:
        """Assign a role without any check."""
        with self.world.database.write() as tx:
            row: Any = role_queries.by_name_or_uuid(tx, role, None, {"group"})
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
        """Invite a person; return the UUID."""
        change = MemberChange(person.email, is_manager=is_manager, is_owner=is_owner)
        with self.world.database.write() as tx:
            reached = group_actions.lock_group_and_authorise(tx, inviter.actor, group)
            group_actions.change(tx, inviter.actor, self.world.settings, reached, None, [change])
        rows = self.get(person, "invitation").json()["group_membership_invitations"]
        return next(str(row["id"]) for row in rows if row["authgroup"] == group)

    def ask(self, group: int, person: Person) -> str:
        """Ask to join; return the UUID of the request, 32 digits."""
        with self.world.database.write() as tx:
            return str(group_actions.join(tx, person.actor, group)[0].uuid)

    def role_of(self, group: int, person: Person) -> str | None:
        with self.world.database.read() as tx:
            row = membership_queries.grant_in_scope(tx, person.id, group)
        return row.role_name if row else None

    def request(self, uuid: str) -> Any:
        with self.world.database.read() as tx:
            return join_request_queries.get_visible(tx, self.world.staff.actor, uuid)

    def members(self, group: int) -> dict[str, str]:
        with self.world.database.read() as tx:
            rows = group_queries.members(tx, [group])[group]
        return {row.email: row.role_name for row in rows}

    def mails(self) -> list[tuple[str, str, str]]:
        """Return kind, recipient and text of each e-mail that is not obsolete."""
        world, rendered = self.world, []
        with world.database.read() as tx:
            for row in tx.fetch_all(Statement[Any](outbox.select().order_by(outbox.c.id))):
                try:
                    message = mails.render(tx, world.settings, world.vault, row)
                except ObsoleteError:
                    continue
                body = message.get_body(("plain",))
                assert body is not None
                rendered.append((row.kind, row.recipient, " ".join(body.get_content().split())))
        return rendered

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


_INSERT = Statement(
    insert(join_requests).values(
        uuid=bindparam("uuid"),
        scope_id=bindparam("scope"),
        role_id=bindparam("role"),
        account_id=bindparam("account"),
        state="pending",
        message="",
        created_at=bindparam("now"),
        exclusive_key=0,
    )
)


def ask_many(world: World, group: int, number: int) -> None:
    """Create accounts, each with a pending join request."""
    with world.database.write() as tx:
        role: Any = role_queries.by_name_or_uuid(tx, group_rules.MEMBER, None, {"group"})
        for index in range(number):
            username = f"asker{index}"
            values = {"username": username, "email": f"{username}@example.org"}
            account = account_actions.create(tx, None, world.settings, world.vault, values)
            parameters = {"scope": group, "role": role.id, "account": account, "now": tx.now}
            tx.execute(_INSERT, uuid=uuid4().hex, **parameters)
