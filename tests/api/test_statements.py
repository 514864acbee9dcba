"""A request runs a fixed number of SQL statements for any number of rows."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts import views
from collegium.agreements import actions as agreement_actions
from collegium.api.waldur.routes import ROUTES
from collegium.db.statements import Statement
from collegium.db.tables import ssh_keys
from collegium.hooks.rules import Kind
from collegium.invitations import actions as invitation_actions
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import actions as membership_actions
from collegium.reviews import queries as review_queries
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from tests.access.test_visibility import add_role
from tests.claim_rules.scene import add_rule
from tests.imports.scene import add_import, csv_file, upload
from tests.roles.scene import add_availability
from tests.support.hooks import add_hook
from tests.support.passkeys import add_passkey
from tests.support.site import Site, record_statements
from tests.support.world import Person, Place, World

FEW, MANY = 10, 100
MOST = 6


class TwoSizes:
    """Two organisations that differ in size, each with its own owner.

    An owner sees only the own organisation: a page has ``FEW`` rows or ``MANY``. Staff see both;
    for them the page size makes the difference.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.small = self._organisation(FEW)
        self.large = self._organisation(MANY)

    def _organisation(self, size: int) -> tuple[Person, Place, Place]:
        world, staff = self.world, self.world.staff.actor
        owner, requester = world.person(f"owner{size}"), world.person(f"asker{size}")
        organisation = world.organisation(f"With {size}", owner=owner)
        project, other = (world.project(organisation, name) for name in ("First", "Second"))
        role, owner_role = world.role("PROJECT.MEMBER"), world.role("CUSTOMER.OWNER")
        with world.database.write() as tx:

            def visible(kind: ScopeKind, uuid: str) -> ScopeAccess:
                return access_queries.get_visible(tx, staff, kind, uuid)

            def add(scope: ScopeAccess, role: Any, account: Any) -> None:
                assignment = membership_actions.RoleAssignment(scope, role, account)
                membership_actions.add(tx, staff, assignment, None)

            parent = visible(ScopeKind.ORGANISATION, organisation.uuid)
            child = visible(ScopeKind.PROJECT, project.uuid)
            second = visible(ScopeKind.PROJECT, other.uuid)
            owner_account = account_queries.by_uuid(tx, owner.uuid)
            for at in range(size):
                name = f"m{size}-{at}"
                values = {"username": name, "email": f"{name}@example.org"}
                number = account_actions.create(tx, None, world.settings, world.vault, values)
                account: Any = account_queries.by_id(tx, number)
                add(parent, owner_role, account)
                add(child, role, account)
                add(second, role, account)
                project_actions.create(tx, staff, parent, {"name": f"Project {size}-{at}"})
                uuid = organisation_actions.create(tx, staff, world.settings, {"name": name})
                add(visible(ScopeKind.ORGANISATION, uuid), owner_role, owner_account)
                details = {"email": values["email"]}
                invitation_actions.create(tx, staff, world.settings, child, role, details)
                link = invite_link_actions.create(tx, staff, world.settings, child, role, None, {})
                join_request_actions.submit(tx, requester.actor, world.settings, link)
                add_role(tx, f"CUSTOM.{name}", ScopeKind.PROJECT, ())
        return owner, organisation, project


# The maximum of statements: the token, the count, the rows, and what the comment names.
LISTS = {
    "/api/users/": 4,  # grants
    "/api/customers/": 5,  # projects, members
    "/api/projects/": 3,
    "/api/roles/": 5,  # permissions; for staff, their holders
    "/api/user-permissions/": 3,
    "/api/user-invitations/": 5,  # grants of the inviters, permissions of the roles
    "/api/user-group-invitations/": 3,
    "/api/user-permission-requests/": 3,
    "/api/events/": 3,
    "/api/customers/{uuid}/users/": 6,  # the organisation, roles of caller and members
    "/api/customers/{uuid}/list_users/": 5,  # the organisation, rights of the caller
    "/api/projects/{uuid}/list_users/": 5,
    "/api/projects/{uuid}/other_users/": 5,
}
OTHER_LISTS = {
    "/api/keys/": 3,
    **dict.fromkeys(("/api/hooks/", "/api/hooks-web/", "/api/hooks-email/"), 3),
    "/api/auth-tokens/": 3,
    "/api/identity-providers/": 3,
    "/api/user-agreements/": 3,
    "/api/autoprovisioning-rules/": 3,
    "/api/customer-permissions-reviews/": 3,
    "/api/project-permissions-reviews/": 3,
    "/api/imports/": 4,  # the counts of rows
    "/api/imports/{uuid}/rows/": 4,
    "/api/passkeys/": 3,
    "/api/staff-passkeys/": 3,
    "/api/customers/{uuid}/history/": 4,
    "/api/role-availabilities/": 3,
    "/api/customer-role-concealments/": 3,
    "/api/users/{uuid}/history/": 4,
    "/api/users/{uuid}/data_access_history/": 4,
}  # filled by a test of their own
COUNTS = {
    f"/api/users/user_{name}/"
    for name in ("active_status_count", "language_count", "registration_trend")
}  # they have no pages
TOKEN_ONLY = {  # the one statement reads the token
    "/api/customers/countries/",
    "/api/notification-messages-templates/",
}
OBJECTS = {
    "/api/users/me/": 2,
    "/api/users/{uuid}/": 3,
    "/api/users/{uuid}/history/at/": 4,
    "/api/users/{uuid}/data_access/": 6,
    "/api/users/profile_completeness/": 1,
    "/api/users/dashboard-general-stats/": 3,
    "/api/customers/{uuid}/": 4,
    "/api/customers/{uuid}/history/at/": 4,
    "/api/customers/{uuid}/stats/": 3,
    "/api/projects/{uuid}/": 2,
    "/api/projects/{uuid}/stats/": 3,
    "/api/notification-messages-templates/{uuid}/": 1,
    "/api/roles/{uuid}/": 4,
    "/api/roles/hygiene_report/": 4,
    "/api/role-availabilities/{uuid}/": 2,
    "/api/customer-role-concealments/{uuid}/": 2,
    "/api/user-permissions/{uuid}/": 2,
    "/api/user-invitations/{uuid}/": 4,
    "/api/user-group-invitations/{uuid}/": 2,
    "/api/user-permission-requests/{uuid}/": 2,
    "/api/user-invitations/{uuid}/details/": 3,
    "/api/keys/{uuid}/": 2,
    "/api/hooks-web/{uuid}/": 2,
    "/api/hooks-email/{uuid}/": 2,
    "/api/passkeys/{uuid}/": 2,
    "/api/identity-providers/{provider}/": 2,
    "/api/user-agreements/{uuid}/": 2,
    "/api/autoprovisioning-rules/{uuid}/": 2,
    "/api/customer-permissions-reviews/{uuid}/": 2,
    "/api/project-permissions-reviews/{uuid}/": 2,
    "/api/imports/{uuid}/": 3,
    "/api/imports/{uuid}/result/": 3,
    "/api/events/{uuid}/": 2,
    "/api/events/count/": 2,
    "/api/events/event_groups/": 1,
    "/api/events/scope_types/": 1,
}


def statements(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, caller: Person
) -> tuple[int, Any]:
    """Return the number of statements of a request, once caches are filled, and its body."""
    site.get(path, caller)
    with record_statements(monkeypatch) as executed:
        response = site.get(path, caller)
    assert response.status_code == 200, response.text
    is_json = response.headers["content-type"] == "application/json"
    return len(executed), response.json() if is_json else None


def test_every_route_has_a_maximum() -> None:
    reads = {path: table["GET"] for path, table in ROUTES.items() if "GET" in table}
    not_counted = {"/api/user-group-invitations/{uuid}/projects/", "/api/users/{uuid}/token/"}
    not_counted |= {"/api/", "/api/auth-tokens/{user_id}/", "/api/version/", "/api/configuration/"}
    not_counted |= {"/api/daily-quotas/"}  # memberships/test_history.py names a scope
    # tests/exports counts what a download costs.
    not_counted |= {path for path in reads if "/export/" in path}
    lists = {path for path, operation in reads.items() if operation.is_list} - not_counted
    assert lists == {*LISTS, *OTHER_LISTS, *TOKEN_ONLY, *COUNTS}
    assert reads.keys() - lists - not_counted == OBJECTS.keys()
    assert max(LISTS.values()) <= MOST
    assert max(OBJECTS.values()) <= MOST


@pytest.mark.slow
def test_lists_run_as_many_statements_for_many_rows_as_for_few(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = TwoSizes(world)
    # PostgreSQL may have gathered statistics while the tables were empty, and then plans badly.
    with world.database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
    for path, maximum in LISTS.items():
        by_owner: set[int] = set()
        by_staff: set[int] = set()
        for size, (owner, organisation, project) in ((FEW, sizes.small), (MANY, sizes.large)):
            place = organisation if "customers" in path else project
            url = f"{path.replace('{uuid}', place.uuid)}?page_size={size}"
            for caller, numbers in ((owner, by_owner), (world.staff, by_staff)):
                number, rows = statements(site, monkeypatch, url, caller)
                assert len(rows) == size, (path, caller.actor.username)
                numbers.add(number)
        assert len(by_staff) == len(by_owner) == 1, (path, by_staff, by_owner)
        assert max(by_staff | by_owner) == maximum, (path, by_staff, by_owner)


def test_counts_of_accounts_run_as_many_statements_as_there_are_answers(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in COUNTS:
        assert statements(site, monkeypatch, path, world.staff)[0] == 2, path


def test_one_object_runs_its_number_of_statements(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, member = world.person("owner"), world.person("member")
    organisation = world.organisation(owner=owner)
    project = world.project(organisation)
    until = datetime.now(UTC) + timedelta(days=1)
    world.give_role(member, "PROJECT.MEMBER", project, until)
    world.give_role(owner, "PROJECT.MEMBER", project)
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
        "user-group-invitations": (link := world.create_link(owner, "PROJECT.ADMIN", project)),
        "user-permission-requests": world.ask(world.person(), link),
        "events": site.get("/api/events/", owner).json()[0]["uuid"],
    }
    with world.database.write() as tx:
        uuids["passkeys"] = add_passkey(tx, owner.id)
        uuids |= {f"hooks-{kind}": add_hook(tx, owner, kind) for kind in Kind}
        text = {"kind": "terms", "content": "Be kind."}
        for noun, place in (("customer", organisation), ("project", project)):
            review = review_queries.add(tx, place.id)
            uuids[f"{noun}-permissions-reviews"] = str(review)
        uuids["user-agreements"] = agreement_actions.publish(tx, world.staff.actor, text)
    uuids["imports"] = add_import(world, owner, project, "judged", "somebody")
    world.provider()
    templates = site.get("/api/notification-messages-templates/", owner).json()
    uuids["notification-messages-templates"] = templates[0]["uuid"]
    uuids["role-availabilities"], uuids["customer-role-concealments"] = add_availability(
        world, organisation
    )
    uuids["autoprovisioning-rules"] = add_rule(world, organisation, "CUSTOMER.OWNER")
    for path, maximum in OBJECTS.items():
        url = path.replace("{uuid}", uuids.get(path.split("/")[2], "")).replace(
            "{provider}", "campus"
        )
        # Staff see only their own passkeys there, and owners no history.
        callers = (owner,) if "passkeys" in path else (owner, world.staff)
        if "rules" in path:
            callers = (world.staff,)
        if any(word in path for word in ("hygiene", "availab", "conceal")):
            callers = (world.staff,)
        if "history" in path or "data_access" in path:
            callers, url = (world.staff,), f"{url}?timestamp=2999-01-01"
        numbers = {statements(site, monkeypatch, url, caller)[0] for caller in callers}
        assert max(numbers) == maximum, (path, numbers)


@pytest.mark.slow
def test_keys_and_tokens_run_as_many_statements_for_many_rows_as_for_few(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.person("owner")
    organisation, person, member = world.organisation(), world.person(), world.person()
    imported = world.project(world.organisation(owner=owner))
    file = upload(world, owner, imported, csv_file(30))
    for number in range(29):
        add_import(world, owner, imported, "judged", f"p{number}")
    for number in range(30):
        add_key(world, owner)
        world.provider(f"p{number}")
        add_rule(world, organisation, "CUSTOMER.OWNER")
        reviewed = world.organisation(owner=owner)
        reviewed_places = (reviewed, world.project(reviewed))
        with world.database.write() as tx:
            for one in reviewed_places:
                review_queries.add(tx, one.id)
            for account in (owner, world.staff):
                add_passkey(tx, account.id)
                for kind in Kind:
                    add_hook(tx, account, kind)
            text = {"kind": "terms", "language": f"de-{number:02}", "content": "Be kind."}
            agreement_actions.publish(tx, world.staff.actor, text)
        world.person()
        add_availability(world, world.organisation())
        body = {"name": f"Name {number}"}
        assert site.request("PATCH", organisation.path, world.staff, json=body).status_code == 200
        path, body = f"/api/users/{person.uuid}/", {"job_title": f"Job {number}"}
        assert site.request("PATCH", path, world.staff, json=body).status_code == 200
        with world.database.write() as tx:
            views.record(tx, member.actor, person.id, [f"field{number}"])
    for pattern, maximum in OTHER_LISTS.items():
        place = person if "users" in pattern else organisation
        path = pattern.replace("{uuid}", file if "imports" in pattern else place.uuid)
        for caller in (
            (owner, world.staff)
            if not any(word in path for word in ("tokens", "staff", "history", "rule", "role"))
            else (world.staff,)
        ):
            numbers = set()
            for size in (3, 30):
                number, rows = statements(site, monkeypatch, f"{path}?page_size={size}", caller)
                assert len(rows) == size, path
                numbers.add(number)
            assert numbers == {maximum}, (path, numbers)


def add_key(world: World, person: Person) -> str:
    uuid = uuid4().hex
    fingerprints = ("fingerprint_md5", "fingerprint_sha256", "fingerprint_sha512")
    values = {
        "uuid": uuid,
        "account_id": person.id,
        "name": uuid,
        "public_key": f"ssh-ed25519 {uuid}",
        "kind": "ssh-ed25519",
        **dict.fromkeys(fingerprints, uuid),
    }
    with world.database.write() as tx:
        row = insert(ssh_keys).values(**values, created_at=tx.now, modified_at=tx.now)
        tx.execute(Statement(row))
    return uuid
