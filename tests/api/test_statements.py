"""A request runs a fixed number of SQL statements, however long the page is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.api.waldur.routes import ROUTES
from collegium.db.statements import Statement
from collegium.db.tables import ssh_keys
from collegium.invitations import actions as invitation_actions
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import actions as membership_actions
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from tests.access.test_visibility import add_role
from tests.support.site import Site, counted_statements
from tests.support.world import Person, Place, World

FEW, MANY = 10, 100
MOST = 6


class Crowd:
    """Two organisations that differ in their size only, each with its own owner.

    What an owner lists is theirs alone, so a page of the small one holds ``FEW`` rows and a
    page of the large one ``MANY``. Staff see all; for them the page size makes the difference.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.small = self._organisation(FEW)
        self.large = self._organisation(MANY)

    def _organisation(self, size: int) -> tuple[Person, Place, Place]:
        world, staff = self.world, self.world.staff.actor
        owner, asker = world.person(f"owner{size}"), world.person(f"asker{size}")
        organisation = world.organisation(f"With {size}", owner=owner)
        project = world.project(organisation, "First")
        role, owner_role = world.role("PROJECT.MEMBER"), world.role("CUSTOMER.OWNER")
        with world.database.write() as tx:
            above = access_queries.get_visible(tx, staff, ScopeKind.ORGANISATION, organisation.uuid)
            below = access_queries.get_visible(tx, staff, ScopeKind.PROJECT, project.uuid)
            myself = account_queries.by_uuid(tx, owner.uuid)
            for at in range(size):
                name = f"m{size}-{at}"
                values = {"username": name, "email": f"{name}@example.org"}
                number = account_actions.create(tx, None, world.settings, world.vault, values)
                account: Any = account_queries.by_id(tx, number)
                for reached, given in ((above, owner_role), (below, role)):
                    seat = membership_actions.RoleAssignment(reached, given, account)
                    membership_actions.add(tx, staff, seat, None)
                project_actions.create(tx, staff, above, {"name": f"Project {size}-{at}"})
                uuid = organisation_actions.create(tx, staff, world.settings, {"name": name})
                reached = access_queries.get_visible(tx, staff, ScopeKind.ORGANISATION, uuid)
                seat = membership_actions.RoleAssignment(reached, owner_role, myself)
                membership_actions.add(tx, staff, seat, None)
                details = {"email": values["email"]}
                invitation_actions.create(tx, staff, world.settings, below, role, details)
                link = invite_link_actions.create(tx, staff, world.settings, below, role, None, {})
                join_request_actions.submit(tx, asker.actor, world.settings, link)
                add_role(tx, f"CUSTOM.{name}", ScopeKind.PROJECT, ())
        return owner, organisation, project


# Each with the most statements that it may run: whose token it is, how many rows there are, the
# rows; and what belongs to the rows, for all of them at once.
LISTS = {
    "/api/users/": 4,  # their grants
    "/api/customers/": 5,  # their projects, their people
    "/api/projects/": 3,
    "/api/roles/": 5,  # their permissions; for staff, their people
    "/api/user-permissions/": 3,
    "/api/user-invitations/": 5,  # what those hold who sent them, what the roles carry
    "/api/user-group-invitations/": 3,
    "/api/user-permission-requests/": 3,
    "/api/events/": 3,
    "/api/customers/{uuid}/users/": 6,  # the organisation, one's roles there, their roles there
    "/api/customers/{uuid}/list_users/": 5,  # the organisation, what one may do there
    "/api/projects/{uuid}/list_users/": 5,
}
# Lists of another kind of owner, and their numbers; each is filled by its own test below.
OTHERS = {
    "/api/keys/": 3,
    "/api/auth-tokens/": 3,
}
# Asks the database for nothing but whose token it is.
CONSTANT = {"/api/customers/countries/"}
ONES = {
    "/api/users/me/": 2,
    "/api/users/{uuid}/": 3,
    "/api/customers/{uuid}/": 4,
    "/api/projects/{uuid}/": 2,
    "/api/roles/{uuid}/": 4,
    "/api/user-permissions/{uuid}/": 2,
    "/api/user-invitations/{uuid}/": 4,
    "/api/user-group-invitations/{uuid}/": 2,
    "/api/user-permission-requests/{uuid}/": 2,
    "/api/user-invitations/{uuid}/details/": 3,
    "/api/keys/{uuid}/": 2,
    "/api/events/{uuid}/": 2,
    "/api/events/count/": 2,
    "/api/events/event_groups/": 1,
    "/api/events/scope_types/": 1,
}


def statements(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, who: Person
) -> tuple[int, Any]:
    """How many statements a request runs once everything is warm, and what it answers."""
    site.get(path, who)
    with counted_statements(monkeypatch) as seen:
        answer = site.get(path, who)
    assert answer.status_code == 200, answer.text
    return len(seen), answer.json()


def test_every_list_has_its_number() -> None:
    lists = {path for path, known in ROUTES.items() if "GET" in known and known["GET"].is_list}
    lists -= {"/api/user-group-invitations/{uuid}/projects/"}  # as an organisation shows them
    assert lists == set(LISTS) | set(OTHERS) | CONSTANT
    ones = {path for path, known in ROUTES.items() if "GET" in known} - lists - {"/api/"}
    ones -= {"/api/user-group-invitations/{uuid}/projects/"}
    ones -= {"/api/users/{uuid}/token/"}  # staff's alone, and it leaves a trace
    ones -= {"/api/auth-tokens/{user_id}/", "/api/version/", "/api/configuration/"}
    assert ones == set(ONES)
    assert max(LISTS.values()) <= MOST
    assert max(ONES.values()) <= MOST


def test_a_list_runs_as_many_statements_for_a_hundred_rows_as_for_ten(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(world)
    for path, most in LISTS.items():
        numbers = set()
        for owner, organisation, project in (crowd.small, crowd.large):
            place = organisation if "customers" in path else project
            asked = path.replace("{uuid}", place.uuid)
            size = MANY if owner is crowd.large[0] else FEW
            for who in (owner, world.staff):
                number, rows = statements(site, monkeypatch, f"{asked}?page_size={size}", who)
                # Of what an owner sees there is at least that much, and so there is for staff.
                assert len(rows) == size, (path, who.actor.username)
                numbers.add((who is world.staff, number))
        by_staff = {number for staff, number in numbers if staff}
        by_owner = {number for staff, number in numbers if not staff}
        assert len(by_staff) == len(by_owner) == 1, (path, numbers)
        assert max(by_staff | by_owner) == most, (path, numbers)


def test_one_object_has_its_number(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, member = world.person("owner"), world.person("member")
    organisation = world.organisation(owner=owner)
    project = world.project(organisation)
    until = datetime.now(UTC) + timedelta(days=1)
    world.seat(member, "PROJECT.MEMBER", project, until)
    world.seat(owner, "PROJECT.MEMBER", project)
    uuids = {
        "users": member.uuid,
        "customers": organisation.uuid,
        "projects": project.uuid,
        "roles": world.role("PROJECT.MEMBER").uuid,
        "user-permissions": next(
            row.uuid for row in world.grants_in(project) if row.account_uuid == owner.uuid
        ),
        "user-invitations": world.invite(owner, "new@example.org", "PROJECT.ADMIN", project),
        "keys": add_key(world, owner),
        "user-group-invitations": (link := world.open(owner, "PROJECT.ADMIN", project)),
        "user-permission-requests": world.ask(world.person(), link),
        "events": site.get("/api/events/", owner).json()[0]["uuid"],
    }
    for path, most in ONES.items():
        asked = path.replace("{uuid}", uuids[path.split("/")[2]])
        numbers = {statements(site, monkeypatch, asked, who)[0] for who in (owner, world.staff)}
        assert max(numbers) == most, (path, numbers)


def test_keys_and_tokens_run_as_many_statements_for_thirty_rows_as_for_three(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.person("owner")
    for _ in range(30):
        add_key(world, owner)
        world.person()
    for path, most in OTHERS.items():
        for who in (world.staff,) if "tokens" in path else (owner, world.staff):
            numbers = set()
            for size in (3, 30):
                number, rows = statements(site, monkeypatch, f"{path}?page_size={size}", who)
                assert len(rows) == size, path
                numbers.add(number)
            assert numbers == {most}, (path, numbers)


def add_key(world: World, person: Person) -> str:
    """Insert a key as its action would; which key it is does not matter here."""
    uuid = uuid4().hex
    values = {
        "uuid": uuid,
        "account_id": person.id,
        "name": uuid,
        "public_key": f"ssh-ed25519 {uuid}",
        "kind": "ssh-ed25519",
        "fingerprint_md5": uuid,
        "fingerprint_sha256": uuid,
        "fingerprint_sha512": uuid,
    }
    with world.database.write() as tx:
        row = insert(ssh_keys).values(**values, created_at=tx.now, modified_at=tx.now)
        tx.execute(Statement(row))
    return uuid
