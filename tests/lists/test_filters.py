"""The query parameters of invitations, grants, teams, roles, organisations and projects.

What each finds, what it makes of nonsense, and what none of them tells.
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
from collegium.db.tables import grants, scopes
from collegium.db.tables import invitations as invitation_table
from collegium.db.tables import organisations as organisation_table
from collegium.db.tables import projects as project_table
from collegium.invitations import queries as invitation_queries
from collegium.memberships import queries as membership_queries
from collegium.roles import queries as role_queries
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.projects import queries as project_queries
from tests.support.site import Site
from tests.support.world import Person, Place, World

LONG_AGO, SOON = "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
NOBODY = "0" * 32
BAD_DATE, BAD_UUID = "Enter a valid date/time.", "Enter a valid UUID."
WORDS = """
    %00 a%00b %ED%A0%80 %FF zq%1Fzq %22%20OR%20%22 %27%3B-- %F0%9F%8E%93 %C4%B0%C4%B0
    http%3A%2F%2F%5Bx %2Fapi%2Fusers%2Fx%2F
"""
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

LISTS: dict[str, Mapping[str, filters.FilterType]] = {
    "user-invitations": invitations.FILTERS,
    "user-permissions": memberships.FILTERS,
    "team": memberships.TEAM_FILTERS,
    "roles": roles.FILTERS,
    "customers": organisations.FILTERS,
    "projects": projects.FILTERS,
}
# What tells the rows of a list apart.
KEYS = {
    "user-invitations": "email",
    "user-permissions": "role_name",
    "team": "user_username",
    "roles": "name",
    "customers": "name",
    "projects": "name",
}


class Land:
    """Two organisations that differ in everything that can be asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
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
        world.seat(self.bob, "PROJECT.MANAGER", self.survey, self.until)
        world.seat(self.dan, "PROJECT.ADMIN", self.survey)
        world.seat(self.bob, "PROJECT.MEMBER", self.gone)
        with world.database.write() as tx:
            ended = update(project_table).where(project_table.c.scope_id == self.old.id)
            tx.execute(Statement(ended.values(end_date=date(2020, 1, 1))))
        self.remove(self.gone)
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
        for name, values in (
            ("expired", {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}),
            ("accepted", {"state": "accepted"}),
            ("canceled", {"state": "canceled"}),
            ("requested", {"state": "requested"}),
            ("rejected", {"state": "rejected"}),
        ):
            one = update(invitation_table).where(invitation_table.c.uuid == self.invited[name])
            with world.database.write() as tx:
                tx.execute(Statement(one.values(values)))
        put_away = update(organisation_table).where(organisation_table.c.scope_id == self.air.id)
        with world.database.write() as tx:
            tx.execute(Statement(put_away.values(archived=True)))

    def remove(self, place: Place) -> None:
        """Remove a project as its route does."""
        row = update(scopes).where(scopes.c.id == place.id)
        with self.world.database.write() as tx:
            membership_queries.end_all(tx, place.id, None)
            tx.execute(Statement(row.values(removed_at=tx.now)))

    def found(self, site: Site, name: str, who: Any = None, /, **asked: Any) -> list[str]:
        """What tells the rows apart, in order; the count in the header must agree."""
        base = f"{self.survey.path}list_users/" if name == "team" else f"/api/{name}/"
        path = f"{base}?{urlencode({'page_size': 300, **asked}, doseq=True)}"
        answer = site.get(path, who or self.world.staff)
        assert answer.status_code == 200, answer.text
        found = [one[KEYS[name]] for one in answer.json()]
        head = site.request("HEAD", path, who or self.world.staff)
        assert int(head.headers["x-result-count"]) == len(found), path
        if name == "user-invitations":
            return sorted(email.split("@")[0].lower() for email in found)
        return sorted(found)

    def wanted(self) -> dict[str, list[tuple[str, Any, list[str]]]]:
        """Parameter, value, what it finds; list by list."""
        role = self.world.role
        host = "https://elsewhere.example"
        mail, every = "user-invitations", ["Gone", "Kites", "Later", "Old", "Survey ÖST"]
        here = [name for name in every if name != "Gone"]
        all_mail = sorted(self.invited)
        all_roles = [
            "CUSTOMER.MANAGER",
            "CUSTOMER.OWNER",
            "CUSTOMER.SUPPORT",
            "PROJECT.ADMIN",
            "PROJECT.MANAGER",
            "PROJECT.MEMBER",
        ]
        grants_all = ["CUSTOMER.OWNER", "CUSTOMER.OWNER", "PROJECT.ADMIN", "PROJECT.MANAGER"]
        person: list[tuple[str, Any, str]] = [
            ("full_name", "BOB", "bob"),
            ("native_name", "борис", "bob"),
            ("user", self.bob.uuid, "bob"),
            ("user_slug", "BO", "bob"),
            ("user_url", f"{host}/api/users/{self.bob.uuid}/", "bob"),
            ("user_url", f"/api/users/{self.bob.uuid.upper()}", "bob"),
            ("username", "bob", "bob"),
        ]
        nobody: list[tuple[str, Any]] = [
            ("full_name", "nobody"),
            ("native_name", "bob"),
            ("user", NOBODY),
            ("user_slug", "ob b"),
            ("user_url", f"{host}/api/projects/{self.bob.uuid}/"),
            ("user_url", "[nonsense"),
            ("user_url", "x"),
            ("username", "Bob"),
        ]
        return {
            mail: [
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
                ("email", "@", all_mail),
                ("email", "ed@e", ["accepted", "canceled", "expired", "rejected", "requested"]),
                ("email", "%", []),
                ("email", "p_nding", []),
                ("email_exact", "PENDING@example.ORG", ["pending"]),
                ("email_exact", "ending@example.org", []),
                ("email_exact", "ü@example.org", []),
                ("role_name", "PROJECT.ADMIN", ["project"]),
                ("role_name", "project.admin", []),
                ("role_uuid", role("PROJECT.ADMIN").uuid, ["project"]),
                ("role_uuid", NOBODY, []),
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
                *(("state", state, [state]) for state in all_mail),
                ("state", ["expired", "project"], ["expired", "project"]),
                ("state", "pending,expired", ["expired", "pending"]),
                ("state", ",", []),
            ],
            "user-permissions": [
                *((name, value, ["PROJECT.MANAGER"]) for name, value, _ in person),
                *((name, value, []) for name, value in nobody),
                ("created", LONG_AGO, grants_all),
                ("created", SOON, []),
                ("modified", LONG_AGO, grants_all),
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
                *((name, value, [who]) for name, value, who in person),
                *((name, value, []) for name, value in nobody),
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
                ("content_type", "customer", all_roles[:3]),
                ("content_type", "group", []),
                ("description", "ORGANISATION owner", ["CUSTOMER.OWNER"]),
                ("description", "nothing", []),
                ("is_active", "false", ["CUSTOMER.MANAGER", "CUSTOMER.SUPPORT"]),
                ("is_active", "1", ["CUSTOMER.OWNER", *all_roles[3:]]),
                ("is_system_role", "true", all_roles),
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
                ("query", NOBODY, []),
                ("registration_code", "RC-1", ["Sea 100%"]),
                ("registration_code", "RC", []),
                ("slug", self.slug("customers", self.air), ["Air"]),
                ("slug", "x", []),
                ("user_uuid", self.ada.uuid, ["Sea 100%"]),
                ("user_uuid", self.bob.uuid, ["Sea 100%"]),
                ("user_uuid", NOBODY, []),
            ],
            "projects": [
                ("backend_id", "B-survey", ["Survey ÖST"]),
                ("backend_id", "b-survey", []),
                ("can_admin", "true", []),
                ("can_manage", "true", []),
                ("conceal_finished_projects", "true", ["Kites", "Later", "Survey ÖST"]),
                ("created", LONG_AGO, here),
                ("created", SOON, []),
                ("customer", self.air.uuid, ["Kites"]),
                ("customer", f"{self.air.uuid},{self.sea.uuid}", here),
                ("customer", [self.air.uuid, self.sea.uuid], here),
                ("customer", NOBODY, []),
                ("customer", ",", []),
                ("customer_abbreviation", "ea", ["Later", "Old", "Survey ÖST"]),
                ("customer_abbreviation", "x", []),
                ("customer_name", "AIR", ["Kites"]),
                ("customer_name", "x", []),
                ("customer_native_name", "õ", ["Later", "Old", "Survey ÖST"]),
                ("customer_native_name", "x", []),
                ("description", "& CUR", ["Survey ÖST"]),
                ("description", "secret", []),
                ("include_terminated", "true", every),
                ("is_removed", "true", ["Gone"]),
                ("is_removed", "false", here),
                ("modified", LONG_AGO, here),
                ("modified", SOON, []),
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
            ],
        }

    def slug(self, name: str, place: Place) -> str:
        rows = {"customers": organisation_queries, "projects": project_queries}[name]
        with self.world.database.read() as tx:
            return str(rows.find(tx, self.world.staff.actor, place.uuid).slug)


@pytest.fixture
def land(world: World) -> Land:
    return Land(world)


def test_each_parameter_finds_what_it_says(site: Site, land: Land) -> None:
    tables = land.wanted()
    assert set(tables) == set(LISTS)
    wishes = {
        "user-invitations": set(),
        "projects": {"include_terminated", "conceal_finished_projects", "is_removed"},
        "customers": {"archived", "current_user_has_project_create_permission"},
        "roles": {"is_active"},
    }
    # These are asked for by somebody else below.
    own = {"customers": {"owned_by_current_user"}, "projects": {"can_admin", "can_manage"}}
    for name, table in tables.items():
        for parameter, value, expected in table:
            found = land.found(site, name, **{parameter: value})
            assert found == expected, (name, parameter, value)
        matched = {parameter for parameter, _, expected in table if expected}
        missed = {parameter for parameter, _, expected in table if not expected}
        assert matched | own.get(name, set()) == set(LISTS[name]), name
        assert missed | wishes.get(name, set()) == set(LISTS[name]), name


def test_the_store_knows_every_parameter_and_no_other() -> None:
    for name, listing, apart in (
        ("user-invitations", invitation_queries.listing, set()),
        ("user-permissions", membership_queries.listing, set()),
        ("team", membership_queries.team, {"scope"}),
        ("roles", role_queries.listing, set()),
        ("customers", organisation_queries.listing, set()),
        ("projects", project_queries.history, set()),
    ):
        assert set(listing.filters) - apart == set(LISTS[name]) - {"include_terminated"}, name
    assert {"is_removed", *project_queries.listing.filters} == set(project_queries.history.filters)


def test_what_is_asked_of_oneself(site: Site, land: Land, world: World) -> None:
    world.seat(land.bob, "PROJECT.ADMIN", land.old)
    world.seat(land.bob, "PROJECT.MEMBER", land.later)
    for who, parameter, expected in (
        (land.ada, "can_manage", ["Later", "Old", "Survey ÖST"]),
        (land.ada, "can_admin", []),
        (land.bob, "can_manage", ["Survey ÖST"]),
        (land.bob, "can_admin", ["Old"]),
        (land.eve, "can_manage", ["Kites"]),
        (land.dan, "can_admin", ["Survey ÖST"]),
        (land.dan, "can_manage", []),
    ):
        assert land.found(site, "projects", who, **{parameter: "true"}) == expected, parameter
        everything = land.found(site, "projects", who)
        assert land.found(site, "projects", who, **{parameter: "false"}) == everything
    name = "owned_by_current_user"
    assert land.found(site, "customers", land.ada, **{name: "1"}) == ["Sea 100%"]
    assert land.found(site, "customers", land.bob, **{name: "1"}) == []
    assert land.found(site, "customers", land.bob, **{name: "0"}) == ["Sea 100%"]
    name = "current_user_has_project_create_permission"
    assert land.found(site, "customers", land.ada, **{name: "true"}) == ["Sea 100%"]
    assert land.found(site, "customers", land.bob, **{name: "true"}) == []
    world.unseat(land.ada, "CUSTOMER.OWNER", land.sea)
    assert land.found(site, "customers", land.ada, owned_by_current_user="true") == []


def test_the_first_and_the_last_day_of_a_project(site: Site, land: Land, world: World) -> None:
    today = datetime.now(UTC).date()
    for ends, shown in ((today, True), (today - timedelta(days=1), False), (None, True)):
        row = update(project_table).where(project_table.c.scope_id == land.kites.id)
        with world.database.write() as tx:
            tx.execute(Statement(row.values(end_date=ends)))
        found = land.found(site, "projects", conceal_finished_projects="true")
        assert ("Kites" in found) is shown


def test_what_was_changed_since_is_found(site: Site, land: Land, world: World) -> None:
    def asked(name: str) -> list[str]:
        return land.found(site, name, modified=now.isoformat())

    past = datetime.now(UTC) - timedelta(days=9)
    with world.database.write() as tx:
        tx.execute(Statement(update(scopes).values(created_at=past)))
        tx.execute(
            Statement(update(grants).where(grants.c.ended_at.is_(None)).values(valid_from=past))
        )
    now = datetime.now(UTC)
    assert asked("projects") == asked("user-permissions") == []
    body: dict[str, Any] = {"name": "Much later"}
    assert site.request("PATCH", land.later.path, world.staff, json=body).status_code == 200
    assert site.request("DELETE", land.old.path, world.staff).status_code == 204
    body = {"user": land.bob.uuid, "role": "PROJECT.MANAGER", "expiration_time": None}
    changed = site.post(f"{land.survey.path}update_user/", world.staff, json=body)
    assert changed.status_code == 200
    assert asked("projects") == ["Much later"]
    found = land.found(site, "projects", modified=now.isoformat(), include_terminated="1")
    assert found == ["Much later", "Old"]
    assert asked("user-permissions") == ["PROJECT.MANAGER"]


def test_empty_values_and_nonsense_for_a_truth_are_passed_over(site: Site, land: Land) -> None:
    for name, table in LISTS.items():
        everything = land.found(site, name)
        assert everything
        assert land.found(site, name, unknown="x", **dict.fromkeys(table, " ")) == everything
        truths = [one for one, kind in table.items() if isinstance(kind, filters.BooleanFilter)]
        assert land.found(site, name, **dict.fromkeys(truths, "maybe")) == everything


def test_parameters_are_joined_by_and(site: Site, land: Land) -> None:
    for name, asked, expected in (
        ("user-invitations", {"role_name": "PROJECT.MEMBER", "state": "expired"}, ["expired"]),
        ("user-invitations", {"role_name": "PROJECT.MEMBER", "state": "pending"}, []),
        ("user-permissions", {"scope_name": "survey", "username": "dan"}, ["PROJECT.ADMIN"]),
        ("team", {"search_string": "lee", "role": "PROJECT.ADMIN"}, ["dan"]),
        ("roles", {"is_active": "1", "content_type": "customer"}, ["CUSTOMER.OWNER"]),
        ("customers", {"query": "a", "archived": "true"}, ["Air"]),
        ("projects", {"customer_name": "sea", "query": "ol"}, ["Old"]),
        ("projects", {"customer_name": "sea", "query": "o", "is_removed": "1"}, ["Gone"]),
    ):
        assert land.found(site, name, **asked) == expected, (name, asked)
    for name, table in land.wanted().items():
        # Whatever one row meets, it meets all together.
        row = {
            "user-invitations": "pending",
            "user-permissions": "PROJECT.MANAGER",
            "team": "bob",
            "roles": "CUSTOMER.SUPPORT",
            "customers": "Sea 100%",
            "projects": "Survey ÖST",
        }[name]
        asked = {parameter: value for parameter, value, expected in table if row in expected}
        assert land.found(site, name, **asked) == [row]


@once
def test_all_that_is_wrong_is_told_at_once(site: Site, land: Land) -> None:
    tried = 0
    for name, table in LISTS.items():
        wrong: dict[str, str] = {}
        for parameter, kind in table.items():
            if isinstance(kind, (filters.Uuid, filters.Uuids)):
                wrong[parameter] = BAD_UUID
            elif isinstance(kind, filters.GreaterOrEqual):
                wrong[parameter] = BAD_DATE
            elif isinstance(kind, filters.ChoicesFilter):
                text = "Select a valid choice. x is not one of the available choices."
                wrong[parameter] = text
        tried += len(wrong)
        base = f"{land.survey.path}list_users/" if name == "team" else f"/api/{name}/"
        path = f"{base}?{urlencode(dict.fromkeys(wrong, 'x'))}"
        for method in ("GET", "HEAD") if wrong else ():
            assert site.request(method, path, land.world.staff).status_code == 400
        if wrong:
            told = site.get(path, land.world.staff).json()
            assert told == {parameter: [text] for parameter, text in wrong.items()}
    assert tried == 15


@once
def test_one_wrong_name_in_a_list_is_enough(site: Site, land: Land) -> None:
    for path, told in (
        (f"/api/projects/?customer={land.sea.uuid},x", {"customer": [BAD_UUID]}),
        (
            "/api/user-invitations/?state=pending&state=held",
            {"state": ["Select a valid choice. held is not one of the available choices."]},
        ),
    ):
        answer = site.get(path, land.world.staff)
        assert (answer.status_code, answer.json()) == (400, told)


def test_no_value_of_any_parameter_is_more_than_a_refusal(site: Site, land: Land) -> None:
    values = [
        *WORDS.split(),
        "x" * 5000,
    ]
    for name, table in LISTS.items():
        base = f"{land.survey.path}list_users/" if name == "team" else f"/api/{name}/"
        for parameter, kind in table.items():
            for value in values:
                answer = site.get(f"{base}?{parameter}={value}", land.world.staff)
                assert answer.status_code in {200, 400}, (name, parameter, value[:20])
                if answer.status_code == 400:
                    assert list(answer.json()) == [parameter]
                elif not isinstance(kind, filters.BooleanFilter):
                    assert answer.json() == [], (name, parameter, value[:20])


def test_states_are_those_of_the_moment_and_sort_as_they_read(site: Site, land: Land) -> None:
    answer = site.get("/api/user-invitations/?o=state&page_size=50", land.world.staff)
    states = [one["state"] for one in answer.json()]
    assert states == sorted(land.invited)
    answer = site.get("/api/user-invitations/?o=-state&page_size=50", land.world.staff)
    assert [one["state"] for one in answer.json()] == states[::-1]


def test_every_order_of_every_list_is_taken_both_ways(site: Site, land: Land) -> None:
    for name, listing in (
        ("user-invitations", invitation_queries.listing),
        ("user-permissions", membership_queries.listing),
        ("team", membership_queries.team),
        ("roles", role_queries.listing),
        ("customers", organisation_queries.listing),
        ("projects", project_queries.listing),
        ("projects", project_queries.history),
    ):
        for order in listing.orders:
            everything = land.found(site, name, include_terminated="1")
            for sign in ("", "-"):
                again = land.found(site, name, o=sign + order, include_terminated="1")
                assert again == everything, (name, order)


# Below: what filters must not tell to whoever does not see all.


def test_the_removed_are_shown_to_those_who_could_remove_them(site: Site, land: Land) -> None:
    for who, seen in (
        (land.world.staff, True),
        (land.world.person("sue", is_support=True), True),
        (land.ada, True),
        # Was a member of it, and has a seat in another project of the same organisation.
        (land.bob, False),
        (land.eve, False),
    ):
        for asked in ({"include_terminated": "true"}, {"is_removed": "true"}):
            assert ("Gone" in land.found(site, "projects", who, **asked)) is seen, asked
        assert land.found(site, "projects", who, query="gone") == []
    land.world.unseat(land.ada, "CUSTOMER.OWNER", land.sea)
    assert land.found(site, "projects", land.ada, include_terminated="1") == []


def test_nobody_finds_more_than_is_seen_without_a_filter(
    site: Site, land: Land, world: World
) -> None:
    for who in (land.ada, land.bob, land.eve, world.person("nobody")):
        for name, table in land.wanted().items():
            if name == "team":
                continue
            seen = set(land.found(site, name, who)) | ({"Gone"} if who is land.ada else set())
            for parameter, value, expected in table:
                found = land.found(site, name, who, **{parameter: value})
                assert set(found) <= seen & {*expected, *seen}, (name, parameter)


def test_an_outsider_finds_nothing(site: Site, land: Land, world: World) -> None:
    nobody = world.person("nobody")
    for name, table in land.wanted().items():
        if name in {"team", "roles"}:
            continue
        for parameter, value, _ in table:
            assert land.found(site, name, nobody, **{parameter: value}) == [], parameter
    path = f"{land.survey.path}list_users/?search_string=bob"
    assert site.get(path, nobody).status_code == 404


def test_of_staff_in_a_team_nothing_is_told_but_what_their_seat_shows(
    site: Site, land: Land, world: World
) -> None:
    slug = "dan"
    for who, seen in ((world.staff, ["dan"]), (land.dan, ["dan"]), (land.bob, []), (land.ada, [])):
        assert land.found(site, "team", who, native_name="Дан") == seen
        assert land.found(site, "team", who, user_slug=slug) == seen
        assert land.found(site, "team", who, username="dan") == ["dan"]
        assert land.found(site, "team", who, search_string="dan@") == ["dan"]

    def order(who: Person) -> list[str]:
        path = f"{land.survey.path}list_users/?o=native_name"
        return [one["user_username"] for one in site.get(path, who).json()]

    assert order(world.staff) == ["bob", "dan"]
    assert order(land.bob) == ["dan", "bob"]


def test_where_somebody_belongs_is_told_as_far_as_it_is_seen(
    site: Site, land: Land, world: World
) -> None:
    world.seat(land.eve, "PROJECT.MEMBER", land.old)
    carl = world.person("carl")
    world.seat(carl, "PROJECT.MEMBER", land.survey)
    # Carl sees the organisation, but not that project of it.
    assert land.found(site, "customers", carl) == ["Sea 100%"]
    assert land.found(site, "customers", carl, user_uuid=land.eve.uuid) == []
    assert land.found(site, "customers", carl, user_uuid=land.bob.uuid) == ["Sea 100%"]
    assert land.found(site, "customers", land.ada, user_uuid=land.eve.uuid) == ["Sea 100%"]
    assert land.found(site, "customers", user_uuid=land.eve.uuid) == ["Air", "Sea 100%"]


def test_everybody_lists_their_own_grants_whatever_they_ask(site: Site, land: Land) -> None:
    assert land.found(site, "user-permissions", land.bob) == ["PROJECT.MANAGER"]
    for asked in ({"user": land.ada.uuid}, {"username": "ada"}, {"scope_type": "customer"}):
        assert land.found(site, "user-permissions", land.bob, **asked) == []


def test_an_invitee_finds_what_was_sent_to_them_alone(site: Site, land: Land, world: World) -> None:
    guest = world.person("guest", email="pending@example.org")
    assert land.found(site, "user-invitations", guest) == ["pending"]
    assert land.found(site, "user-invitations", guest, email="@example") == ["pending"]
    assert land.found(site, "user-invitations", guest, state="expired") == []
    assert land.found(site, "user-invitations", guest, civil_number="EE-expired") == []
