"""The 27 query parameters of the list of accounts: results, errors, hidden fields."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from collegium.api.request import BadRequestError
from collegium.api.waldur import filters
from collegium.api.waldur.accounts import LIST
from collegium.db.statements import Statement
from collegium.db.tables import accounts as accounts_table
from collegium.db.tables import grants, scopes
from tests.support.site import Site
from tests.support.world import Person, Place, World

USERS = "/api/users/"
LONG_AGO, SOON = "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
BAD_DATE, BAD_UUID = "Enter a valid date/time.", "Enter a valid UUID."
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class People:
    """A few accounts that differ in every field with a filter."""

    def __init__(self, world: World, site: Site) -> None:
        self.world = world
        self.site = site
        now = datetime.now(UTC)
        self.mari = world.person(
            "mari",
            first_name="Mari-Liis",
            last_name="Jürimäe",
            civil_number="EE38001085718",
            email="mari@ÜLIKOOL.example",
            phone_number="+372 555",
            description="Knows Everything",
            native_name="Мари",
            organization="Tartu ÜLIKOOL 100%",
            job_title="Õppejõud",
            registration_method="eduteams",
            agreed_at=now,
        )
        self.bob = world.person("bob", first_name="Bob", last_name="Mari", is_support=True)
        old = world.person("old", first_name="Old", last_name="Hand", is_active=False)
        past = now - timedelta(days=5000)
        same = update(accounts_table).where(accounts_table.c.id == old.id)
        with world.database.write() as tx:
            tx.execute(Statement(same.values(joined_at=past, modified_at=past)))
        self.organisation = world.organisation("Institute", owner=self.mari)
        self.project = world.project(self.organisation, "Survey")
        world.give_role(self.bob, "PROJECT.MEMBER", self.project)

    def find(self, viewer: Any = None, **parameters: Any) -> list[str]:
        """Return the user names that a query finds; check the count of a HEAD request."""
        path = f"{USERS}?{urlencode({'page_size': 300, **parameters}, doseq=True)}"
        response = self.site.get(path, viewer or self.world.staff)
        assert response.status_code == 200, response.text
        names = [row["username"] for row in response.json()]
        head = self.site.request("HEAD", path, viewer or self.world.staff)
        assert int(head.headers["x-result-count"]) == len(names)
        assert head.content == b""
        return names


@pytest.fixture
def people(world: World, site: Site) -> People:
    return People(world, site)


ALL = ["bob", "mari", "old", "staff"]

MARI, ACTIVE = ["mari"], ["bob", "mari", "staff"]

# For each parameter: values, and the user names that they find.
MATCHES: dict[str, list[tuple[Any, list[str]]]] = {
    "agreement_date": [(LONG_AGO, MARI), (SOON, [])],
    "civil_number": [("EE38001085718", MARI), ("ee38001085718", []), ("EE3800", [])],
    "date_joined": [
        (LONG_AGO, ALL),
        ("2025-01-01T00:00:00+00:00", ACTIVE),
        ("2025-01-01T00:00:00 00:00", ACTIVE),
        ("2025-01-01", ACTIVE),
        (SOON, []),
    ],
    "modified": [("2025-01-01T00:00:00Z", ACTIVE), (SOON, [])],
    "phone_number": [("+372 555", MARI), ("+372", [])],
    "description": [("Knows Everything", MARI), ("knows everything", []), ("Knows", [])],
    "registration_method": [("eduteams", MARI), ("edu", [])],
    "email": [("MARI@ülikool", MARI), ("@", ALL), ("liis", [])],
    "native_name": [("мар", MARI), ("м", MARI), ("mar", [])],
    "organization": [("ülikool 100%", MARI), ("0%", MARI), ("t%u", []), ("T_rtu", [])],
    "job_title": [("õPPE", MARI), ("tartu", [])],
    "username": [("mari", MARI), ("Mari", []), ("mar", [])],
    "username_list": [
        (" mari , bob,,nobody", ["bob", "mari"]),
        (["mari", "old"], ["mari", "old"]),
        (",", []),
        (" , ,", []),
    ],
    "full_name": [
        ("Jurimae", MARI),
        ("liis jüRI", MARI),
        ("mari", ["bob", "mari"]),
        ("мари", []),
        ("jurimae mari", []),
    ],
    "user_keyword": [("Jurimäe", MARI), ("ülikool.ex", MARI), ("OLD", ["old"]), ("tartu", [])],
    "query": [
        ("jüri", MARI),
        ("jurimae", []),
        ("ee38", MARI),
        ("8571", MARI),
        ("b", ["bob"]),
        ("BOB@EX", ["bob"]),
        ("old mari", ["bob", "old"]),
        ("xx jürimäe yy", MARI),
        ("ol ma", ["bob", "old"]),
        ("hand old", []),
        ("iisjür", []),
    ],
    "is_active": [("true", ACTIVE), ("FALSE", ["old"]), ("0", ["old"])],
    "is_staff": [("1", ["staff"]), ("false", ["bob", "mari", "old"])],
    "is_support": [("True", ["bob"]), ("0", ["mari", "old", "staff"])],
    "organization_roles": [
        ("CUSTOMER.OWNER", MARI),
        ("customer.owner", []),
        ("CUSTOMER.MANAGER, CUSTOMER.OWNER", MARI),
        (["CUSTOMER.MANAGER", "CUSTOMER.OWNER"], MARI),
        ("PROJECT.MEMBER", []),
        (",", []),
    ],
    "project_roles": [("PROJECT.MEMBER", ["bob"]), ("PROJECT.ADMIN", []), ("CUSTOMER.OWNER", [])],
    "customer_uuid": [("0" * 32, [])],
    "project_uuid": [("0" * 32, [])],
}
BOOLEANS = {"is_active", "is_staff", "is_support"}


@pytest.mark.slow
def test_each_filter_finds_the_expected_accounts(people: People) -> None:
    for name, cases in MATCHES.items():
        for value, expected in cases:
            assert people.find(**{name: value}) == expected, (name, value)
    matched = {name for name, cases in MATCHES.items() if any(found for _, found in cases)}
    missed = {name for name, cases in MATCHES.items() if not all(found for _, found in cases)}
    assert matched | {"customer_uuid", "project_uuid"} == missed | BOOLEANS == set(LIST.parameters)
    # With the four parameters of every list they are 27.
    assert len({*LIST.parameters, "field", "o", "page", "page_size"}) == 27


def test_members_are_found_by_the_uuid_of_their_scope(people: People) -> None:
    uuid, project = people.organisation.uuid, people.project.uuid
    for text in (uuid, uuid.upper(), f"{uuid[:8]}-{uuid[8:]}"):
        assert people.find(customer_uuid=text) == ["bob", "mari"]
    assert people.find(project_uuid=project) == ["bob"]
    # The UUID of the other kind of scope finds no account.
    assert people.find(project_uuid=uuid) == people.find(customer_uuid=project) == []


def test_only_active_grants_in_existing_scopes_are_found(people: People, world: World) -> None:
    other = world.project(people.organisation)
    world.give_role(people.bob, "PROJECT.ADMIN", other)
    world.give_role(people.mari, "PROJECT.MANAGER", other)
    assert people.find(project_roles="PROJECT.ADMIN") == ["bob"]
    assert people.find(project_uuid=other.uuid) == ["bob", "mari"]
    grant = (grants.c.scope_id == other.id) & (grants.c.account_id == people.bob.id)
    with world.database.write() as tx:
        tx.execute(Statement(update(grants).where(grant).values(valid_until=tx.now)))
    world.remove_role(people.mari, "PROJECT.MANAGER", other)
    assert people.find(project_roles="PROJECT.ADMIN,PROJECT.MANAGER") == []
    assert people.find(project_uuid=other.uuid) == []
    scope = scopes.c.id == people.project.id
    with world.database.write() as tx:
        tx.execute(Statement(update(scopes).where(scope).values(deleted_at=tx.now)))
    assert people.find(project_roles="PROJECT.MEMBER") == []
    assert people.find(project_uuid=people.project.uuid) == []
    assert people.find(customer_uuid=people.organisation.uuid) == ["mari"]


def test_empty_values_and_invalid_booleans_are_ignored(people: People) -> None:
    for name in LIST.parameters:
        for value in ("", " "):
            assert people.find(**{name: value}) == ALL, name
    for name in BOOLEANS:
        assert people.find(**{name: "maybe"}) == ALL, name
    assert people.find(unknown="x", **dict.fromkeys(LIST.parameters, "")) == ALL


def test_filters_are_combined_with_and(people: People) -> None:
    uuid = people.organisation.uuid
    for expected, parameters in (
        (["bob", "mari"], {"query": "mari", "is_active": "true"}),
        (["bob"], {"query": "mari", "is_support": "true"}),
        (["bob"], {"query": "mari", "project_roles": "PROJECT.MEMBER"}),
        (["bob"], {"query": "mari", "full_name": "bo", "email": "b"}),
        (["mari"], {"customer_uuid": uuid, "organization": "tartu"}),
        ([], {"customer_uuid": uuid, "registration_method": "saml2"}),
        (["old"], {"date_joined": LONG_AGO, "is_active": "false"}),
    ):
        assert people.find(**parameters) == expected
    all_filters = {
        name: value
        for name, cases in MATCHES.items()
        for value, expected in cases
        if "mari" in expected
    }
    all_filters.pop("project_roles", None)
    all_filters |= {"is_staff": "0", "is_support": "0", "customer_uuid": uuid}
    assert people.find(**all_filters) == ["mari"]


def test_pages_of_a_filtered_list_have_each_row_once(
    site: Site, people: People, world: World
) -> None:
    for number in range(7):
        world.person(f"clone{number}", last_name="Clone")
    path = f"{USERS}?query=clone&page_size=3&o=-full_name"
    names = []
    for page in (1, 2, 3):
        response = site.get(f"{path}&page={page}", people.world.staff)
        assert response.headers["x-result-count"] == "7"
        assert "query=clone" in response.headers["link"]
        names += [row["username"] for row in response.json()]
    assert names == [f"clone{number}" for number in reversed(range(7))]
    assert site.get(f"{path}&page=4", world.staff).status_code == 404
    rows = site.get(f"{path}&field=username", world.staff).json()
    assert rows[0] == {"username": "clone6"}


def test_rows_with_equal_values_are_sorted_by_user_name(people: People) -> None:
    assert people.find(o="is_active") == ["old", "bob", "mari", "staff"]
    assert people.find(o="-is_active") == ["staff", "mari", "bob", "old"]


@sqlite_only
def test_all_invalid_parameters_are_reported_together(site: Site, world: World) -> None:
    dates, uuids = ("agreement_date", "date_joined", "modified"), ("customer_uuid", "project_uuid")
    errors = {name: [BAD_DATE if name in dates else BAD_UUID] for name in (*dates, *uuids)}
    for date in ("x", "2025-13-01", "12", "0001-01-01T00:00:00+09:00", "9999-12-31T23:59-09:00"):
        for uuid in ("x", "0" * 31, f"{'0' * 32}0"):
            values = {**dict.fromkeys(dates, date), **dict.fromkeys(uuids, uuid), "query": "x"}
            path = f"{USERS}?{urlencode(values)}"
            assert site.request("HEAD", path, world.staff).status_code == 400, (date, uuid)
            response = site.get(path, world.staff)
            assert (response.status_code, response.json()) == (400, errors), (date, uuid)


@pytest.mark.slow
def test_unusual_values_find_nothing_or_are_errors_of_their_parameter(
    site: Site, people: People
) -> None:
    values = """
        %00 a%00b %ED%A0%80 %FF zq%1Fzq %10%11%12 %22 %22%20OR%20%22 %27%3B-- * %25
        %F0%9F%8E%93%F0%9F%8E%93 %C4%B0%C4%B0%C4%B0 %CC%81%CC%81%CC%81%CC%81
    """.split()  # noqa: SIM905 - read as words
    values.append("x" * 5000)
    for name in LIST.parameters:
        for value in values:
            response = site.get(f"{USERS}?{name}={value}", people.world.staff)
            assert response.status_code in {200, 400}, (name, value[:20])
            if response.status_code == 400:
                assert list(response.json()) == [name]
            elif name not in {*BOOLEANS, "email"}:
                has_percent_sign = (name, value) == ("organization", "%25")
                assert bool(response.json()) == has_percent_sign, (name, value)
        nul = site.get(f"{USERS}?{name}=a%00b", people.world.staff)
        assert nul.json() == {name: ["Null characters are not allowed."]}


def read(query: dict[str, list[str]], kinds: dict[str, Any]) -> dict[str, Any]:
    """Read parameters as an endpoint does."""
    context: Any = SimpleNamespace(query=query)
    return dict(filters.read(context, kinds))


def test_surrogate_in_a_parameter_is_refused() -> None:
    with pytest.raises(BadRequestError) as refused:
        read(
            {"query": ["a\ud800"], "is_active": ["1"]},
            {"query": filters.Exact(), "is_active": filters.BooleanFilter()},
        )
    assert list(refused.value.errors) == ["query"]


def test_values_of_text_and_choice_filters() -> None:
    query = {"a": ["1", " 50%_ "], "b": ["x,y", "z"], "c": ["x", "z"], "d": [" "]}
    kinds = {
        "a": filters.Exact(),
        "b": filters.MultipleFilter(commas=False),
        "c": filters.MultipleFilter(of=("x", "y")),
        "d": filters.Exact(),
    }
    with pytest.raises(BadRequestError) as refused:
        read(query, kinds)
    message = "Select a valid choice. z is not one of the available choices."
    assert refused.value.errors == {"c": [message]}
    del query["c"]
    assert read(query, kinds) == {"a": "50%_", "b": ["x,y", "z"]}


@pytest.fixture
def foreign(world: World, people: People) -> Place:
    """Return an organisation of Mari's that is hidden from Bob and Bee."""
    organisation = world.organisation("Elsewhere", owner=people.mari)
    world.give_role(people.mari, "PROJECT.ADMIN", world.project(organisation))
    return organisation


@pytest.fixture
def bee(world: World, people: People) -> Person:
    """Return an ordinary member of the project."""
    bee = world.person("bee", civil_number="EE1", description="Mine")
    world.give_role(bee, "PROJECT.MEMBER", people.project)
    return bee


def test_filters_by_staff_and_support_find_nobody_for_others(people: People, bee: Person) -> None:
    for name in ("is_staff", "is_support"):
        for value in ("true", "false"):
            assert people.find(bee, **{name: value}) == []
        assert people.find(bee, **{name: "maybe"}) == ["bee", "bob", "mari"]
        assert people.find(people.bob, **{name: "false"}) != []


def test_filters_by_hidden_fields_find_nobody(people: People, bee: Person) -> None:
    assert people.find(bee) == ["bee", "bob", "mari"]
    for name, value in (
        ("civil_number", "EE38001085718"),
        ("query", "EE38"),
        ("description", "Knows Everything"),
    ):
        assert people.find(bee, **{name: value}) == []
        for viewer in (people.world.staff, people.bob):
            assert people.find(viewer, **{name: value}) == ["mari"]
    assert people.find(bee, civil_number="EE1") == ["bee"]


def test_filters_by_a_hidden_scope_find_nobody(people: People, bee: Person, foreign: Place) -> None:
    assert people.find(bee, customer_uuid=people.organisation.uuid) == ["bee", "bob", "mari"]
    assert people.find(bee, organization_roles="CUSTOMER.OWNER") == ["mari"]
    for name, value in (("customer_uuid", foreign.uuid), ("project_roles", "PROJECT.ADMIN")):
        assert people.find(bee, **{name: value}) == []
        assert people.find(**{name: value}) == ["mari"]


def test_account_without_memberships_finds_itself_only(people: People, world: World) -> None:
    eve = world.person("eve")
    assert people.find(eve, query="mari") == []
    assert people.find(eve, username_list="mari,eve,bob") == ["eve"]
    assert people.find(eve, email="@") == ["eve"]
    assert people.find(eve, customer_uuid=people.organisation.uuid) == []
