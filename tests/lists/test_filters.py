"""Filters of invitations, grants, teams, roles, organisations and projects.

What each filter finds, how it handles invalid values, and what it must not reveal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from collegium.api.waldur import filters, invitations, memberships, organisations, projects, roles
from collegium.db.statements import Statement
from collegium.db.tables import accounts as account_table
from collegium.db.tables import grants, scopes
from collegium.db.tables import invitations as invitation_table
from collegium.db.tables import organisations as organisation_table
from collegium.db.tables import projects as project_table
from collegium.memberships import queries as membership_queries
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.projects import queries as project_queries
from tests.support.site import Site
from tests.support.world import Person, Place, World

LONG_AGO, SOON = "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
UNKNOWN = "0" * 32
BAD_DATE, BAD_UUID = "Enter a valid date/time.", "Enter a valid UUID."
BAD_CHOICE = "Select a valid choice. {} is not one of the available choices."
HOSTILE_VALUES = """
    %00 a%00b %ED%A0%80 %FF zq%1Fzq %22%20OR%20%22 %27%3B-- %F0%9F%8E%93 %C4%B0%C4%B0
    http%3A%2F%2F%5Bx %2Fapi%2Fusers%2Fx%2F
"""
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

LISTS: dict[str, Mapping[str, Any]] = {
    "user-invitations": invitations.LIST.parameters,
    "user-permissions": memberships.LIST.parameters,
    "team": memberships.TEAM.parameters,
    "roles": roles.LIST.parameters,
    "customers": organisations.LIST.parameters,
    "projects": projects.LIST.parameters,
}
# The field that identifies a row.
KEYS = {
    "user-invitations": "email",
    "user-permissions": "role_name",
    "team": "user_username",
    "roles": "name",
    "customers": "name",
    "projects": "name",
}


class Data:
    """Two organisations that differ in everything that a filter compares."""

    def __init__(self, world: World, site: Site) -> None:
        self.world = world
        self.site = site
        self.ada = world.person("ada", first_name="Ada", last_name="Jürimäe", native_name="Ада")
        self.bob = world.person("bob", first_name="Bob", native_name="Борис")
        self.dan = world.person("dan", is_staff=True, native_name="Дан", first_name="Dan")
        self.eve = world.person("eve", first_name="Eve")
        self.sea = world.organisation(
            "Sea 100%",
            owner=self.ada,
            native_name="Õhk ja meri",
            abbreviation="SEA",
            contact_details="Room Ö7",
            registration_code="RC-1",
            agreement_number="AG-1",
            backend_id="b-sea",
            domain="sea.example",
            description="Salt",
        )
        self.air = world.organisation("Air", owner=self.eve)
        self.survey = world.project(
            self.sea,
            "Survey ÖST",
            description="Depths & currents",
            backend_id="B-survey",
            staff_notes="Secret remark",
        )
        self.old = world.project(self.sea, "Old")
        self.gone = world.project(self.sea, "Gone")
        self.kites = world.project(self.air, "Kites")
        self.later = world.project(self.sea, "Later", start_date=date(2999, 1, 1))
        self.until = datetime.now(UTC) + timedelta(days=5)
        world.give_role(self.bob, "PROJECT.MANAGER", self.survey, self.until)
        world.give_role(self.dan, "PROJECT.ADMIN", self.survey)
        world.give_role(self.bob, "PROJECT.MEMBER", self.gone)
        with world.database.write() as tx:
            membership_queries.end_all(tx, self.gone.id, None)
            removed = update(scopes).where(scopes.c.id == self.gone.id)
            tx.execute(Statement(removed.values(deleted_at=tx.now)))
            ended = update(project_table).where(project_table.c.scope_id == self.old.id)
            tx.execute(Statement(ended.values(end_date=date(2020, 1, 1))))
        self.invited: dict[str, str] = {}
        for name, role, place in (
            ("pending", "CUSTOMER.OWNER", self.sea),
            ("expired", "PROJECT.MEMBER", self.survey),
            ("project", "PROJECT.ADMIN", self.later),
            ("accepted", "CUSTOMER.OWNER", self.air),
            ("canceled", "PROJECT.MEMBER", self.kites),
            ("requested", "PROJECT.MEMBER", self.survey),
            ("rejected", "PROJECT.MEMBER", self.survey),
        ):
            number = f"EE-{name}" if name != "rejected" else ""
            self.invited[name] = world.invite(
                world.staff, f"{name.title()}@Example.org", role, place, civil_number=number
            )
        with world.database.write() as tx:
            for state, uuid in self.invited.items():
                row = update(invitation_table).where(invitation_table.c.uuid == uuid)
                if state == "expired":
                    tx.execute(Statement(row.values(expires_at=tx.now - timedelta(seconds=1))))
                elif state not in {"pending", "project"}:
                    tx.execute(Statement(row.values(state=state)))
            air = organisation_table.c.scope_id == self.air.id
            tx.execute(Statement(update(organisation_table).where(air).values(archived=True)))

    def path(self, name: str, /, **query: Any) -> str:
        base = f"{self.survey.path}list_users/" if name == "team" else f"/api/{name}/"
        return f"{base}?{urlencode(query, doseq=True)}"

    def find(self, name: str, person: Person | None = None, /, **query: Any) -> list[str]:
        """Return the sorted keys of the rows, after checking the count in the header."""
        path = self.path(name, page_size=300, **query)
        response = self.site.get(path, person or self.world.staff)
        assert response.status_code == 200, response.text
        keys = [row[KEYS[name]] for row in response.json()]
        head = self.site.request("HEAD", path, person or self.world.staff)
        assert int(head.headers["x-result-count"]) == len(keys), path
        if name == "user-invitations":
            return sorted(email.split("@")[0].lower() for email in keys)
        return sorted(keys)

    def cases(self) -> dict[str, list[tuple[str, Any, list[str]]]]:
        """Return filter, value and the expected keys, for each list."""
        role = self.world.role
        host = "https://elsewhere.example"
        existing = ["Kites", "Later", "Old", "Survey ÖST"]
        all_invited = sorted(self.invited)
        of_organisations = [f"CUSTOMER.{name}" for name in ("MANAGER", "OWNER", "SUPPORT")]
        of_projects = [f"PROJECT.{name}" for name in ("ADMIN", "MANAGER", "MEMBER")]
        all_grants = ["CUSTOMER.OWNER", "CUSTOMER.OWNER", "PROJECT.ADMIN", "PROJECT.MANAGER"]
        of_bob: list[tuple[str, Any, str]] = [
            ("full_name", "BOB", "bob"),
            ("native_name", "борис", "bob"),
            ("user", self.bob.uuid, "bob"),
            ("user_slug", "BO", "bob"),
            ("user_url", f"{host}/api/users/{self.bob.uuid}/", "bob"),
            ("user_url", f"/api/users/{self.bob.uuid.upper()}", "bob"),
            ("username", "bob", "bob"),
        ]
        of_nobody: list[tuple[str, Any]] = [
            ("full_name", "nobody"),
            ("native_name", "bob"),
            ("user", UNKNOWN),
            ("user_slug", "ob b"),
            ("user_url", f"{host}/api/projects/{self.bob.uuid}/"),
            ("user_url", "[nonsense"),
            ("user_url", "x"),
            ("username", "Bob"),
        ]
        return {
            "user-invitations": [
                ("civil_number", "EE-pending", ["pending"]),
                ("civil_number", "ee-pending", []),
                (
                    "customer_uuid",
                    self.sea.uuid,
                    ["expired", "pending", "project", "rejected", "requested"],
                ),
                ("customer_uuid", self.air.uuid, ["accepted", "canceled"]),
                ("customer_uuid", self.survey.uuid, []),
                ("email", "EJECTED@ex", ["rejected"]),
                ("email", "@", all_invited),
                ("email", "ed@e", ["accepted", "canceled", "expired", "rejected", "requested"]),
                ("email", "%", []),
                ("email", "p_nding", []),
                ("email_exact", "PENDING@example.ORG", ["pending"]),
                ("email_exact", "ending@example.org", []),
                ("email_exact", "ü@example.org", []),
                ("role_name", "PROJECT.ADMIN", ["project"]),
                ("role_name", "project.admin", []),
                ("role_uuid", role("PROJECT.ADMIN").uuid, ["project"]),
                ("role_uuid", UNKNOWN, []),
                ("scope", f"{host}/api/projects/{self.kites.uuid}/", ["canceled"]),
                ("scope", f"/api/customers/{self.sea.uuid}", ["pending"]),
                ("scope", f"/api/customers/{self.kites.uuid}/", []),
                ("scope", "[nonsense", []),
                ("scope_description", "CURRENTS", ["expired", "rejected", "requested"]),
                ("scope_description", "salty", []),
                ("scope_name", "öst", ["expired", "rejected", "requested"]),
                ("scope_name", "0%", ["pending"]),
                ("scope_name", "S%t", []),
                ("scope_type", "customer", ["accepted", "pending"]),
                ("scope_type", "offering", []),
                *(("state", state, [state]) for state in all_invited),
                ("state", ["expired", "project"], ["expired", "project"]),
                ("state", "pending,expired", ["expired", "pending"]),
                ("state", ",", []),
            ],
            "user-permissions": [
                *((name, value, ["PROJECT.MANAGER"]) for name, value, _ in of_bob),
                *((name, value, []) for name, value in of_nobody),
                *((f"{name}_before", SOON, all_grants) for name in ("created", "modified")),
                *((f"{name}_before", LONG_AGO, []) for name in ("created", "modified")),
                ("is_active", "true", all_grants),
                ("is_active", "false", ["PROJECT.MEMBER"]),
                ("show_inactive", "true", sorted([*all_grants, "PROJECT.MEMBER"])),
                ("created", LONG_AGO, all_grants),
                ("created", SOON, []),
                ("modified", LONG_AGO, all_grants),
                ("modified", SOON, []),
                ("expiration_time", LONG_AGO, ["PROJECT.MANAGER"]),
                ("expiration_time", self.until.isoformat(), ["PROJECT.MANAGER"]),
                ("expiration_time", SOON, []),
                (
                    "customer_uuid",
                    self.sea.uuid,
                    ["CUSTOMER.OWNER", "PROJECT.ADMIN", "PROJECT.MANAGER"],
                ),
                ("customer_uuid", self.survey.uuid, []),
                ("role_name", "manag", ["PROJECT.MANAGER"]),
                ("role_name", "member", []),
                ("role_uuid", role("PROJECT.ADMIN").uuid, ["PROJECT.ADMIN"]),
                ("role_uuid", role("PROJECT.MEMBER").uuid, []),
                ("scope_name", "survey", ["PROJECT.ADMIN", "PROJECT.MANAGER"]),
                ("scope_name", "kites", []),
                ("scope_type", "customer", ["CUSTOMER.OWNER", "CUSTOMER.OWNER"]),
                ("scope_type", "call", []),
                ("scope_uuid", self.air.uuid, ["CUSTOMER.OWNER"]),
                ("scope_uuid", self.kites.uuid, []),
            ],
            "team": [
                *((name, value, [username]) for name, value, username in of_bob),
                *((name, value, []) for name, value in of_nobody),
                ("role", role("PROJECT.ADMIN").uuid, ["dan"]),
                ("role", "PROJECT.ADMIN", ["dan"]),
                ("role", ["PROJECT.ADMIN", role("PROJECT.MANAGER").uuid], ["bob", "dan"]),
                ("role", "project.admin", []),
                ("role", role("PROJECT.MEMBER").uuid, []),
                ("search_string", "BOB@ex", ["bob"]),
                ("search_string", "b", ["bob"]),
                ("search_string", "lee", ["bob", "dan"]),
                ("search_string", "борис", []),
            ],
            "roles": [
                ("available_for_customer", self.sea.uuid, of_organisations + of_projects),
                ("available_for_customer", UNKNOWN, []),
                ("include_concealed", "true", of_organisations + of_projects),
                ("content_type", "customer", of_organisations),
                ("content_type", "group", []),
                ("description", "ORGANISATION owner", ["CUSTOMER.OWNER"]),
                ("description", "nothing", []),
                ("is_active", "false", ["CUSTOMER.MANAGER", "CUSTOMER.SUPPORT"]),
                ("is_active", "1", ["CUSTOMER.OWNER", *of_projects]),
                ("is_system_role", "true", of_organisations + of_projects),
                ("is_system_role", "false", []),
                ("name", "owner", ["CUSTOMER.OWNER"]),
                ("name", "group", []),
                ("query", "administrator", ["PROJECT.ADMIN"]),
                ("query", "customer.s", ["CUSTOMER.SUPPORT"]),
                ("query", "group", []),
            ],
            "customers": [
                ("abbreviation", "sea", ["Sea 100%"]),
                ("abbreviation", "air", []),
                ("agreement_number", "AG-1", ["Sea 100%"]),
                ("agreement_number", "ag-1", []),
                ("archived", "true", ["Air"]),
                ("archived", "false", ["Sea 100%"]),
                ("backend_id", "b-sea", ["Sea 100%"]),
                ("backend_id", "b-s", []),
                ("contact_details", "ö7", ["Sea 100%"]),
                ("contact_details", "room 8", []),
                ("current_user_has_project_create_permission", "true", ["Air", "Sea 100%"]),
                ("current_user_has_role", "CUSTOMER.OWNER", []),
                ("name", "0%", ["Sea 100%"]),
                ("name", "A", ["Air", "Sea 100%"]),
                ("name", "s_a", []),
                ("name_exact", "Air", ["Air"]),
                ("name_exact", "air", []),
                ("native_name", "õHK", ["Sea 100%"]),
                ("native_name", "Sea", []),
                ("owned_by_current_user", "true", []),
                *(
                    ("query", value, ["Sea 100%"])
                    for value in ("sea.ex", "MERI", "rc-", "ag-1", "SEA", "100%", self.sea.uuid)
                ),
                ("query", "salt", []),
                ("query", UNKNOWN, []),
                ("registration_code", "RC-1", ["Sea 100%"]),
                ("registration_code", "RC", []),
                ("slug", self.slug("customers", self.air), ["Air"]),
                ("slug", "x", []),
                ("user_uuid", self.ada.uuid, ["Sea 100%"]),
                ("user_uuid", self.bob.uuid, ["Sea 100%"]),
                ("user_uuid", UNKNOWN, []),
            ],
            "projects": [
                ("backend_id", "B-survey", ["Survey ÖST"]),
                ("backend_id", "b-survey", []),
                ("can_admin", "true", []),
                ("can_manage", "true", []),
                ("conceal_finished_projects", "true", ["Kites", "Later", "Survey ÖST"]),
                ("created", LONG_AGO, existing),
                ("created", SOON, []),
                ("created_before", SOON, existing),
                ("created_before", LONG_AGO, []),
                ("current_user_has_role", "PROJECT.MANAGER", []),
                ("customer", self.air.uuid, ["Kites"]),
                ("customer", f"{self.air.uuid},{self.sea.uuid}", existing),
                ("customer", [self.air.uuid, self.sea.uuid], existing),
                ("customer", UNKNOWN, []),
                ("customer", ",", []),
                ("customer_abbreviation", "ea", ["Later", "Old", "Survey ÖST"]),
                ("customer_abbreviation", "x", []),
                ("customer_name", "AIR", ["Kites"]),
                ("customer_name", "x", []),
                ("customer_native_name", "õ", ["Later", "Old", "Survey ÖST"]),
                ("customer_native_name", "x", []),
                ("description", "& CUR", ["Survey ÖST"]),
                ("description", "secret", []),
                ("include_terminated", "true", ["Gone", *existing]),
                ("is_removed", "true", ["Gone"]),
                ("is_removed", "false", existing),
                ("modified", LONG_AGO, existing),
                ("modified", SOON, []),
                ("modified_before", SOON, existing),
                ("modified_before", LONG_AGO, []),
                ("name", "öst", ["Survey ÖST"]),
                ("name", "x", []),
                ("name_exact", "Old", ["Old"]),
                ("name_exact", "old", []),
                *(
                    ("query", value, ["Survey ÖST"])
                    for value in (
                        "Y ÖS",
                        "b-SURVEY",
                        self.survey.uuid,
                        self.slug("projects", self.survey)[1:],
                    )
                ),
                ("query", "b-surve", []),
                ("query", "secret", []),
                ("slug", self.slug("projects", self.kites), ["Kites"]),
                ("slug", "x", []),
                ("user_uuid", self.bob.uuid, ["Survey ÖST"]),
                ("user_uuid", self.ada.uuid, ["Later", "Old", "Survey ÖST"]),
                ("user_uuid", UNKNOWN, []),
                ("user_uuid_with_active_role", self.bob.uuid, ["Survey ÖST"]),
                ("user_uuid_with_active_role", self.ada.uuid, []),
            ],
        }

    def slug(self, name: str, place: Place) -> str:
        rows = {"customers": organisation_queries, "projects": project_queries}[name]
        with self.world.database.read() as tx:
            return str(rows.get_visible(tx, self.world.staff.actor, place.uuid).slug)


@pytest.fixture
def data(world: World, site: Site) -> Data:
    return Data(world, site)


@pytest.mark.slow
def test_each_filter_finds_the_matching_rows(data: Data) -> None:
    cases = data.cases()
    assert set(cases) == set(LISTS)
    # Every filter has a value that finds rows and, apart from these, one that finds none.
    always_find = {
        "projects": {"include_terminated", "conceal_finished_projects", "is_removed"},
        "customers": {"archived", "current_user_has_project_create_permission"},
        "roles": {"include_concealed", "is_active"},
        "user-permissions": {"is_active", "show_inactive"},
    }
    # Tested below with other accounts.
    own = {
        "customers": {"current_user_has_role", "owned_by_current_user"},
        "projects": {"can_admin", "can_manage", "current_user_has_role"},
    }
    for name, rows in cases.items():
        for parameter, value, expected in rows:
            keys = data.find(name, **{parameter: value})
            assert keys == expected, (name, parameter, value)
        matching = {parameter for parameter, _, expected in rows if expected}
        missing = {parameter for parameter, _, expected in rows if not expected}
        assert matching | own.get(name, set()) == set(LISTS[name]), name
        assert missing | always_find.get(name, set()) == set(LISTS[name]), name


def test_filters_about_own_rights(data: Data, world: World) -> None:
    world.give_role(data.bob, "PROJECT.ADMIN", data.old)
    world.give_role(data.bob, "PROJECT.MEMBER", data.later)
    for person, parameter, expected in (
        (data.ada, "can_manage", ["Later", "Old", "Survey ÖST"]),
        (data.ada, "can_admin", []),
        (data.bob, "can_manage", ["Survey ÖST"]),
        (data.bob, "can_admin", ["Old"]),
        (data.eve, "can_manage", ["Kites"]),
        (data.dan, "can_admin", ["Survey ÖST"]),
        (data.dan, "can_manage", []),
    ):
        assert data.find("projects", person, **{parameter: "true"}) == expected, parameter
        everything = data.find("projects", person)
        assert data.find("projects", person, **{parameter: "false"}) == everything
    admin, held = world.role("PROJECT.ADMIN").uuid, "current_user_has_role"
    for person, names, in_projects, in_customers in (
        (data.bob, "PROJECT.MANAGER", ["Survey ÖST"], []),
        (data.bob, ["PROJECT.MANAGER", admin], ["Old", "Survey ÖST"], []),
        (data.bob, "CUSTOMER.OWNER", [], []),
        # Only roles in the scope itself count.
        (data.ada, "CUSTOMER.OWNER", [], ["Sea 100%"]),
        (data.eve, "CUSTOMER.OWNER", [], ["Air"]),
    ):
        assert data.find("projects", person, **{held: names}) == in_projects, names
        assert data.find("customers", person, **{held: names}) == in_customers, names
    owned, creating = "owned_by_current_user", "current_user_has_project_create_permission"
    for person, parameter, value, expected in (
        (data.ada, owned, "1", ["Sea 100%"]),
        (data.bob, owned, "1", []),
        (data.bob, owned, "0", ["Sea 100%"]),
        (data.ada, creating, "true", ["Sea 100%"]),
        (data.bob, creating, "true", []),
    ):
        assert data.find("customers", person, **{parameter: value}) == expected, parameter
    world.remove_role(data.ada, "CUSTOMER.OWNER", data.sea)
    assert data.find("customers", data.ada, owned_by_current_user="true") == []


def test_project_is_finished_after_its_last_day(data: Data, world: World) -> None:
    today = datetime.now(UTC).date()
    for end, is_shown in ((today, True), (today - timedelta(days=1), False), (None, True)):
        row = update(project_table).where(project_table.c.scope_id == data.kites.id)
        with world.database.write() as tx:
            tx.execute(Statement(row.values(end_date=end)))
        keys = data.find("projects", conceal_finished_projects="true")
        assert ("Kites" in keys) is is_shown


def test_modified_filter_finds_later_changes(data: Data, world: World) -> None:
    past = datetime.now(UTC) - timedelta(days=9)
    open_grants = update(grants).where(grants.c.ended_at.is_(None))
    with world.database.write() as tx:
        tx.execute(Statement(update(scopes).values(created_at=past)))
        tx.execute(Statement(open_grants.values(valid_from=past)))
    now = datetime.now(UTC).isoformat()
    for name in ("projects", "user-permissions"):
        assert data.find(name, modified=now) == []
    site, survey = data.site, data.survey
    body: dict[str, Any] = {"name": "Much later"}
    assert site.request("PATCH", data.later.path, world.staff, json=body).status_code == 200
    assert site.request("DELETE", data.old.path, world.staff).status_code == 204
    body = {"user": data.bob.uuid, "role": "PROJECT.MANAGER", "expiration_time": None}
    response = site.post(f"{survey.path}update_user/", world.staff, json=body)
    assert response.status_code == 200
    assert data.find("projects", modified=now) == ["Much later"]
    unchanged = ["Kites", "Survey ÖST"]
    assert data.find("projects", modified_before=now) == unchanged
    assert data.find("projects", modified_before=now, include_terminated="1") == [
        "Gone",
        *unchanged,
    ]
    assert data.find("projects", modified=now, include_terminated="1") == ["Much later", "Old"]
    assert data.find("user-permissions", modified=now) == ["PROJECT.MANAGER"]


def test_empty_values_and_invalid_booleans_are_ignored(data: Data) -> None:
    for name, kinds in LISTS.items():
        everything = data.find(name)
        assert everything
        assert data.find(name, unknown="x", **dict.fromkeys(kinds, " ")) == everything
        booleans = [key for key, kind in kinds.items() if isinstance(kind, filters.BooleanFilter)]
        assert data.find(name, **dict.fromkeys(booleans, "maybe")) == everything


def test_filters_are_combined_with_and(data: Data) -> None:
    for name, query, expected in (
        ("user-invitations", {"role_name": "PROJECT.MEMBER", "state": "expired"}, ["expired"]),
        ("user-invitations", {"role_name": "PROJECT.MEMBER", "state": "pending"}, []),
        ("user-permissions", {"scope_name": "survey", "username": "dan"}, ["PROJECT.ADMIN"]),
        ("team", {"search_string": "lee", "role": "PROJECT.ADMIN"}, ["dan"]),
        ("roles", {"is_active": "1", "content_type": "customer"}, ["CUSTOMER.OWNER"]),
        ("customers", {"query": "a", "archived": "true"}, ["Air"]),
        ("projects", {"customer_name": "sea", "query": "ol"}, ["Old"]),
        ("projects", {"customer_name": "sea", "query": "o", "is_removed": "1"}, ["Gone"]),
    ):
        assert data.find(name, **query) == expected, (name, query)
    # All filters that match a row match it together.
    row_keys = {
        "user-invitations": "pending",
        "user-permissions": "PROJECT.MANAGER",
        "team": "bob",
        "roles": "CUSTOMER.SUPPORT",
        "customers": "Sea 100%",
        "projects": "Survey ÖST",
    }
    for name, rows in data.cases().items():
        query = {parameter: value for parameter, value, keys in rows if row_keys[name] in keys}
        assert data.find(name, **query) == [row_keys[name]]


@sqlite_only
def test_all_invalid_values_are_reported_at_once(data: Data) -> None:
    count = 0
    for name, kinds in LISTS.items():
        errors: dict[str, list[str]] = {}
        for parameter, kind in kinds.items():
            if isinstance(kind, (filters.Uuid, filters.Uuids)):
                errors[parameter] = [BAD_UUID]
            elif isinstance(kind, filters.GreaterOrEqual):
                errors[parameter] = [BAD_DATE]
            elif isinstance(kind, filters.ChoicesFilter):
                errors[parameter] = [BAD_CHOICE.format("x")]
        count += len(errors)
        if errors:
            path = data.path(name, **dict.fromkeys(errors, "x"))
            response = data.site.get(path, data.world.staff)
            assert (response.status_code, response.json()) == (400, errors)
            assert data.site.request("HEAD", path, data.world.staff).status_code == 400
    assert count == 22


@sqlite_only
def test_one_invalid_value_of_several_is_refused(data: Data) -> None:
    for path, errors in (
        (f"/api/projects/?customer={data.sea.uuid},x", {"customer": [BAD_UUID]}),
        (
            "/api/user-invitations/?state=pending&state=held",
            {"state": [BAD_CHOICE.format("held")]},
        ),
    ):
        response = data.site.get(path, data.world.staff)
        assert (response.status_code, response.json()) == (400, errors)


@pytest.mark.slow
def test_hostile_values_are_refused_or_find_nothing(data: Data) -> None:
    for name, kinds in LISTS.items():
        for parameter, kind in kinds.items():
            for value in (*HOSTILE_VALUES.split(), "x" * 5000):
                path = f"{data.path(name)}{parameter}={value}"
                response = data.site.get(path, data.world.staff)
                assert response.status_code in {200, 400}, (name, parameter, value[:20])
                if response.status_code == 400:
                    assert list(response.json()) == [parameter]
                elif not isinstance(kind, filters.BooleanFilter):
                    assert response.json() == [], (name, parameter, value[:20])


def test_invitations_are_sorted_by_their_current_state(data: Data) -> None:
    for order, expected in (
        ("state", sorted(data.invited)),
        ("-state", sorted(data.invited)[::-1]),
    ):
        path = data.path("user-invitations", o=order, page_size=50)
        rows = data.site.get(path, data.world.staff).json()
        assert [row["state"] for row in rows] == expected


@pytest.mark.slow
def test_every_order_works_in_both_directions(data: Data) -> None:
    of_grants = "created email expiration_time full_name native_name role username"
    for name, listing, orders in (
        ("user-invitations", invitations.LIST.listing, "created created_by email state"),
        ("user-permissions", memberships.LIST.listing, of_grants),
        ("team", memberships.TEAM.listing, of_grants),
        ("roles", roles.LIST.listing, "name"),
        ("customers", organisations.LIST.listing, "name"),
        ("projects", projects._WITHOUT_DELETED.listing, "name"),
        ("projects", projects.LIST.listing, "name"),
    ):
        assert set(orders.split()) <= set(listing.orders)
        everything = data.find(name, include_terminated="1")
        for order in listing.orders:
            for sign in ("", "-"):
                keys = data.find(name, o=sign + order, include_terminated="1")
                assert keys == everything, (name, order)


# What filters must not reveal.


def test_deleted_projects_are_shown_to_those_who_can_delete_them(data: Data) -> None:
    for person, is_shown in (
        (data.world.staff, True),
        (data.world.person("sue", is_support=True), True),
        (data.ada, True),
        # A former member, with a role in another project of the organisation.
        (data.bob, False),
        (data.eve, False),
    ):
        for parameter in ("include_terminated", "is_removed"):
            keys = data.find("projects", person, **{parameter: "true"})
            assert ("Gone" in keys) is is_shown, parameter
        assert data.find("projects", person, query="gone") == []
    data.world.remove_role(data.ada, "CUSTOMER.OWNER", data.sea)
    assert data.find("projects", data.ada, include_terminated="1") == []


@pytest.mark.slow
def test_filters_find_only_visible_rows(data: Data, world: World) -> None:
    for person in (data.ada, data.bob, data.eve, world.person("nobody")):
        for name, rows in data.cases().items():
            if name == "team":
                continue
            visible = set(data.find(name, person)) | ({"Gone"} if person is data.ada else set())
            for parameter, value, expected in rows:
                keys = data.find(name, person, **{parameter: value})
                assert set(keys) <= visible & {*expected, *visible}, (name, parameter)


@pytest.mark.slow
def test_outsider_finds_nothing(data: Data, world: World) -> None:
    nobody = world.person("nobody")
    for name, rows in data.cases().items():
        if name in {"team", "roles"}:
            continue
        for parameter, value, _ in rows:
            assert data.find(name, nobody, **{parameter: value}) == [], parameter
    path = data.path("team", search_string="bob")
    assert data.site.get(path, nobody).status_code == 404


def test_filters_and_orders_hide_private_fields_of_staff_members(data: Data, world: World) -> None:
    for person, private in (
        (world.staff, ["dan"]),
        (data.dan, ["dan"]),
        (data.bob, []),
        (data.ada, []),
    ):
        assert data.find("team", person, native_name="Дан") == private
        assert data.find("team", person, user_slug="dan") == private
        assert data.find("team", person, username="dan") == ["dan"]
        assert data.find("team", person, search_string="dan@") == ["dan"]
    for person, expected in ((world.staff, ["bob", "dan"]), (data.bob, ["dan", "bob"])):
        rows = data.site.get(data.path("team", o="native_name"), person).json()
        assert [row["user_username"] for row in rows] == expected


def test_user_filter_finds_only_organisations_of_visible_memberships(
    data: Data, world: World
) -> None:
    world.give_role(data.eve, "PROJECT.MEMBER", data.old)
    carl = world.person("carl")
    world.give_role(carl, "PROJECT.MEMBER", data.survey)
    assert data.find("customers", carl) == ["Sea 100%"]
    for person, user, expected in (
        (carl, data.eve, []),  # Carl does not see her project
        (carl, data.bob, ["Sea 100%"]),
        (data.ada, data.eve, ["Sea 100%"]),
        (world.staff, data.eve, ["Air", "Sea 100%"]),
    ):
        assert data.find("customers", person, user_uuid=user.uuid) == expected


def test_everybody_lists_only_their_own_grants(data: Data) -> None:
    assert data.find("user-permissions", data.bob) == ["PROJECT.MANAGER"]
    for query in ({"user": data.ada.uuid}, {"username": "ada"}, {"scope_type": "customer"}):
        assert data.find("user-permissions", data.bob, **query) == []


def test_invitee_finds_only_their_own_invitations(data: Data, world: World) -> None:
    guest = world.person("guest", email="pending@example.org")
    for query, expected in (
        ({}, ["pending"]),
        ({"email": "@example"}, ["pending"]),
        ({"state": "expired"}, []),
        ({"civil_number": "EE-expired"}, []),
    ):
        assert data.find("user-invitations", guest, **query) == expected


@sqlite_only
def test_project_filter_by_person_finds_inactive_accounts_only_for_those_who_see_all(
    data: Data, world: World
) -> None:
    assert data.find("projects", data.ada, user_uuid=data.bob.uuid) == ["Survey ÖST"]
    with world.database.write() as tx:
        bob = update(account_table).where(account_table.c.id == data.bob.id)
        tx.execute(Statement(bob.values(is_active=False)))
    assert data.find("projects", data.ada, user_uuid=data.bob.uuid) == []
    assert data.find("projects", user_uuid=data.bob.uuid) == ["Survey ÖST"]
