"""Create accounts, organisations, projects and invitations for tests.

The actions of the service create everything, so no test uses rows that the service could not have
written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from itertools import count
from typing import Any

from collegium.access import queries as access_queries
from collegium.access.rules import Actor, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import Database, ReadTransaction
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.roles import queries as role_queries
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.tokens import actions as token_actions


@dataclass(frozen=True)
class Person:
    """An account with its token."""

    actor: Actor
    token: str

    @property
    def id(self) -> int:
        return self.actor.id

    @property
    def uuid(self) -> str:
        return self.actor.uuid

    @property
    def email(self) -> str:
        return self.actor.email


@dataclass(frozen=True)
class Place:
    """An organisation or a project."""

    kind: ScopeKind
    uuid: str
    id: int
    name: str

    @property
    def path(self) -> str:
        plural = "customers" if self.kind is ScopeKind.ORGANISATION else "projects"
        return f"/api/{plural}/{self.uuid}/"


class World:
    """Creates the data of a test, in one line each."""

    def __init__(self, database: Database, settings: Settings, vault: Vault) -> None:
        self.database = database
        self.settings = settings
        self.vault = vault
        self._number = count(1)
        self.staff = self.person("staff", is_staff=True)

    def person(self, name: str = "", **values: Any) -> Person:
        """Create an account; values of other columns by name."""
        username = name or f"person{next(self._number)}"
        with self.database.write() as tx:
            number = account_actions.create(
                tx,
                None,
                self.settings,
                self.vault,
                {
                    "username": username,
                    "email": f"{username}@example.org",
                    "first_name": username.title(),
                    "last_name": "Lee",
                    **values,
                },
            )
            row: Any = account_queries.by_id(tx, number)
            token = token_actions.renew(tx, self.vault, self.settings, None, row)
        return Person(token_actions.actor_of(row), token)

    def provider(self, name: str = "campus", **values: Any) -> ProviderRow:
        """Create an OpenID provider, which nobody asks for its metadata."""
        issuer = f"https://{name}.example.org"
        given = {
            "name": name,
            "label": name.title(),
            "client_id": "collegium",
            "client_secret": "a secret",
            "discovery_url": f"{issuer}/.well-known/openid-configuration",
            **values,
        }
        with self.database.write() as tx:
            actor = self.staff.actor
            number = provider_actions.create(tx, actor, self.vault, given, {"issuer": issuer})
            row = provider_queries.by_id(tx, number)
        assert row is not None
        return row

    def organisation(self, name: str = "", *, owner: Person | None = None, **values: Any) -> Place:
        name = name or f"Organisation {next(self._number)}"
        with self.database.write() as tx:
            uuid = organisation_actions.create(
                tx, self.staff.actor, self.settings, {"name": name, **values}
            )
            found = access_queries.get_visible(tx, self.staff.actor, ScopeKind.ORGANISATION, uuid)
        place = Place(ScopeKind.ORGANISATION, uuid, found.scope.id, name)
        if owner is not None:
            self.give_role(owner, "CUSTOMER.OWNER", place)
        return place

    def project(
        self, parent: Place, name: str = "", *, starts: date | None = None, **values: Any
    ) -> Place:
        name = name or f"Project {next(self._number)}"
        with self.database.write() as tx:
            above = access_queries.get_visible(
                tx, self.staff.actor, ScopeKind.ORGANISATION, parent.uuid
            )
            given = {"name": name, **values} | ({"start_date": starts} if starts else {})
            uuid = project_actions.create(tx, self.staff.actor, above, given)
            found = access_queries.get_visible(tx, self.staff.actor, ScopeKind.PROJECT, uuid)
        return Place(ScopeKind.PROJECT, uuid, found.scope.id, name)

    def deleted_project(self, parent: Place, name: str = "") -> str:
        """Create a project and delete it; return its UUID."""
        project = self.project(parent, name)
        self.delete(project)
        return project.uuid

    def delete(self, project: Place) -> None:
        with self.database.write() as tx:
            staff = self.staff.actor
            access = access_queries.get_visible(tx, staff, project.kind, project.uuid)
            project_actions.delete(tx, staff, access)

    def role(self, name: str) -> Any:
        with self.database.read() as tx:
            return role_queries.existing(tx, name)

    def number_of(self, tx: ReadTransaction, role: str) -> int:
        row: Any = role_queries.existing(tx, role)
        return int(row.id)

    def give_role(
        self,
        person: Person,
        role: str,
        place: Place,
        until: datetime | None = None,
        now: datetime | None = None,
    ) -> None:
        """Assign a role to a person."""
        with self.database.write(now) as tx:
            reached = access_queries.get_visible(tx, self.staff.actor, place.kind, place.uuid)
            assignment = membership_actions.RoleAssignment(
                reached,
                role_queries.existing(tx, role),
                account_queries.existing(tx, person.id),
            )
            membership_actions.add(tx, self.staff.actor, assignment, until)

    def remove_role(self, person: Person, role: str, place: Place) -> None:
        """End a grant without checking any rule."""
        number = self.role(role).id
        with self.database.write() as tx:
            held: Any = membership_queries.active_grant(tx, person.id, number, place.id)
            membership_queries.end(tx, held.id, self.staff.id)

    def invite(
        self,
        inviter: Person,
        email: str,
        role: str,
        place: Place,
        now: datetime | None = None,
        **details: Any,
    ) -> str:
        """Invite an address; return the UUID."""
        with self.database.write(now) as tx:
            reached = access_queries.get_visible(tx, inviter.actor, place.kind, place.uuid)
            return invitation_actions.create(
                tx,
                inviter.actor,
                self.settings,
                reached,
                role_queries.existing(tx, role),
                {"email": email, **details},
            )

    def invitation(self, uuid: str) -> Any:
        with self.database.read() as tx:
            return invitation_queries.by_uuid(tx, uuid)

    def create_link(
        self,
        opener: Person,
        role: str,
        place: Place,
        now: datetime | None = None,
        project_role: str | None = None,
        **details: Any,
    ) -> str:
        """Create an invite link; return its UUID."""
        with self.database.write(now) as tx:
            reached = access_queries.get_visible(tx, opener.actor, place.kind, place.uuid)
            return invite_link_actions.create(
                tx,
                opener.actor,
                self.settings,
                reached,
                role_queries.existing(tx, role),
                role_queries.existing(tx, project_role) if project_role else None,
                details,
            )

    def ask(self, asker: Person, link: str, message: str = "") -> str:
        """Ask to join by an invite link; return the UUID of the request."""
        with self.database.write() as tx:
            asked = join_request_actions.submit(tx, asker.actor, self.settings, link, message)
        return str(asked.request.uuid)

    def request(self, uuid: str) -> Any:
        with self.database.read() as tx:
            return join_request_queries.get_visible(tx, self.staff.actor, uuid)

    def grants_in(self, place: Place) -> list[Any]:
        """Return the active grants in a scope."""
        with self.database.read() as tx:
            return membership_queries.of_scope.page(
                tx, self.staff.actor, {"scope": place.id}, (), 300, 0
            )
