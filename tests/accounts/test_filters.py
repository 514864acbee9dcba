"""The 27 query parameters of the users list: what each finds, and what it makes of nonsense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from collegium.accounts import queries as account_queries
from collegium.api.waldur import filters
from collegium.api.waldur.accounts import FILTERS
from collegium.api.waldur.errors import BadRequestError
from collegium.db.statements import Statement
from collegium.db.tables import accounts as table
from collegium.db.tables import grants, scopes
from tests.support.site import Site
from tests.support.world import Person, Place, World

USERS = "/api/users/"
LONG_AGO, SOON = "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
BAD_DATE, BAD_UUID = "Enter a valid date/time.", "Enter a valid UUID."
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Town:
    """A few people who differ in everything that can be asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
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
        self.old = world.person("old", first_name="Old", last_name="Hand", is_active=False)
        self.past = now - timedelta(days=5000)
        mark = update(table).where(table.c.id == self.old.id)
        with world.database.write() as tx:
            tx.execute(Statement(mark.values(joined_at=self.past, modified_at=self.past)))
        self.org = world.organisation("Institute", owner=self.mari)
        self.project = world.project(self.org, "Survey")
        world.seat(self.bob, "PROJECT.MEMBER", self.project)

    def found(self, site: Site, who: Any = None, **asked: Any) -> list[str]:
        """The user names that a query finds; the count in the header must agree."""
        path = f"{USERS}?{urlencode({'page_size': 300, **asked}, doseq=True)}"
        answer = site.get(path, who or self.world.staff)
        assert answer.status_code == 200, answer.text
        names = [one["username"] for one in answer.json()]
        head = site.request("HEAD", path, who or self.world.staff)
        assert int(head.headers["x-result-count"]) == len(names)
        assert head.content == b""
        return names


@pytest.fixture
def town(world: World) -> Town:
    return Town(world)


ALL = ["bob", "mari", "old", "staff"]
REST = ["bob", "old", "staff"]

# Parameter, value, whom it finds.
MATCHES: list[tuple[str, Any, list[str]]] = [
    ("agreement_date", LONG_AGO, ["mari"]),
    ("agreement_date", SOON, []),
    ("civil_number", "EE38001085718", ["mari"]),
    ("civil_number", "ee38001085718", []),
    ("civil_number", "EE3800", []),
    ("date_joined", LONG_AGO, ALL),
    ("date_joined", "2025-01-01T00:00:00+00:00", ["bob", "mari", "staff"]),
    ("date_joined", "2025-01-01T00:00:00 00:00", ["bob", "mari", "staff"]),
    ("date_joined", "2025-01-01", ["bob", "mari", "staff"]),
    ("date_joined", SOON, []),
    ("modified", "2025-01-01T00:00:00Z", ["bob", "mari", "staff"]),
    ("modified", SOON, []),
    ("phone_number", "+372 555", ["mari"]),
    ("phone_number", "+372", []),
    ("description", "Knows Everything", ["mari"]),
    ("description", "knows everything", []),
    ("description", "Knows", []),
    ("registration_method", "eduteams", ["mari"]),
    ("registration_method", "edu", []),
    ("email", "MARI@ülikool", ["mari"]),
    ("email", "@", ALL),
    ("email", "liis", []),
    ("native_name", "мар", ["mari"]),
    ("native_name", "м", ["mari"]),
    ("native_name", "mar", []),
    ("organization", "ülikool 100%", ["mari"]),
    ("organization", "0%", ["mari"]),
    ("organization", "t%u", []),
    ("organization", "T_rtu", []),
    ("job_title", "õPPE", ["mari"]),
    ("job_title", "tartu", []),
    ("username", "mari", ["mari"]),
    ("username", "Mari", []),
    ("username", "mar", []),
    ("username_list", " mari , bob,,nobody", ["bob", "mari"]),
    ("username_list", ["mari", "old"], ["mari", "old"]),
    ("username_list", ",", []),
    ("username_list", " , ,", []),
    ("full_name", "Jurimae", ["mari"]),
    ("full_name", "liis jüRI", ["mari"]),
    ("full_name", "mari", ["bob", "mari"]),
    ("full_name", "мари", []),
    ("full_name", "jurimae mari", []),
    ("user_keyword", "Jurimäe", ["mari"]),
    ("user_keyword", "ülikool.ex", ["mari"]),
    ("user_keyword", "OLD", ["old"]),
    ("user_keyword", "tartu", []),
    ("query", "jüri", ["mari"]),
    ("query", "jurimae", []),
    ("query", "ee38", ["mari"]),
    ("query", "8571", ["mari"]),
    ("query", "b", ["bob"]),
    ("query", "BOB@EX", ["bob"]),
    ("query", "old mari", ["bob", "old"]),
    ("query", "xx jürimäe yy", ["mari"]),
    ("query", "ol ma", ["bob", "old"]),
    ("query", "hand old", []),
    ("query", "iisjür", []),
    ("is_active", "true", ["bob", "mari", "staff"]),
    ("is_active", "FALSE", ["old"]),
    ("is_active", "0", ["old"]),
    ("is_staff", "1", ["staff"]),
    ("is_staff", "false", ["bob", "mari", "old"]),
    ("is_support", "True", ["bob"]),
    ("is_support", "0", ["mari", "old", "staff"]),
    ("organization_roles", "CUSTOMER.OWNER", ["mari"]),
    ("organization_roles", "customer.owner", []),
    ("organization_roles", "CUSTOMER.MANAGER, CUSTOMER.OWNER", ["mari"]),
    ("organization_roles", ["CUSTOMER.MANAGER", "CUSTOMER.OWNER"], ["mari"]),
    ("organization_roles", "PROJECT.MEMBER", []),
    ("organization_roles", ",", []),
    ("project_roles", "PROJECT.MEMBER", ["bob"]),
    ("project_roles", "PROJECT.ADMIN", []),
    ("project_roles", "CUSTOMER.OWNER", []),
    ("customer_uuid", "0" * 32, []),
    ("project_uuid", "0" * 32, []),
]
IGNORED = [*((name, "maybe") for name in ("is_active", "is_staff", "is_support"))]


def test_each_parameter_finds_what_it_says(site: Site, town: Town) -> None:
    for name, value, expected in MATCHES:
        assert town.found(site, **{name: value}) == expected, (name, value)
    matched = {name for name, _, expected in MATCHES if expected} | {
        "customer_uuid",
        "project_uuid",
    }
    missed = {name for name, _, expected in MATCHES if not expected}
    booleans = {"is_active", "is_staff", "is_support"}
    assert matched == missed | booleans == set(FILTERS)
    # With these four of every list they are the 27.
    assert len({*FILTERS, "field", "o", "page", "page_size"}) == 27
    assert set(FILTERS) == set(account_queries.listing.filters)


def test_members_of_a_scope_are_found_by_its_uuid_in_any_form(site: Site, town: Town) -> None:
    for uuid in (town.org.uuid, town.org.uuid.upper(), f"{town.org.uuid[:8]}-{town.org.uuid[8:]}"):
        assert town.found(site, customer_uuid=uuid) == ["bob", "mari"]
    assert town.found(site, project_uuid=town.project.uuid) == ["bob"]
    # A project is no customer, nor the other way round.
    assert town.found(site, project_uuid=town.org.uuid) == []
    assert town.found(site, customer_uuid=town.project.uuid) == []


def test_only_living_grants_in_scopes_that_exist_count(
    site: Site, town: Town, world: World
) -> None:
    other = world.project(town.org)
    world.seat(town.bob, "PROJECT.ADMIN", other)
    world.seat(town.mari, "PROJECT.MANAGER", other)
    assert town.found(site, project_roles="PROJECT.ADMIN") == ["bob"]
    assert town.found(site, project_uuid=other.uuid) == ["bob", "mari"]
    expired = update(grants).where(
        grants.c.scope_id == other.id, grants.c.account_id == town.bob.id
    )
    with world.database.write() as tx:
        tx.execute(Statement(expired.values(valid_until=tx.now)))
    world.unseat(town.mari, "PROJECT.MANAGER", other)
    assert town.found(site, project_roles="PROJECT.ADMIN,PROJECT.MANAGER") == []
    assert town.found(site, project_uuid=other.uuid) == []
    remove = (
        update(scopes).where(scopes.c.id == town.project.id).values(removed_at=datetime.now(UTC))
    )
    with world.database.write() as tx:
        tx.execute(Statement(remove))
    assert town.found(site, project_roles="PROJECT.MEMBER") == []
    assert town.found(site, project_uuid=town.project.uuid) == []
    assert town.found(site, customer_uuid=town.org.uuid) == ["mari"]


def test_empty_values_and_truths_that_are_none_are_passed_over(site: Site, town: Town) -> None:
    for name in FILTERS:
        for value in ("", " "):
            assert town.found(site, **{name: value}) == ALL, name
    for name, value in IGNORED:
        assert town.found(site, **{name: value}) == ALL, name
    assert town.found(site, unknown="x", **dict.fromkeys(FILTERS, "")) == ALL


def test_parameters_are_joined_by_and(site: Site, town: Town) -> None:
    assert town.found(site, query="mari", is_active="true") == ["bob", "mari"]
    assert town.found(site, query="mari", is_support="true") == ["bob"]
    assert town.found(site, query="mari", project_roles="PROJECT.MEMBER") == ["bob"]
    assert town.found(site, query="mari", full_name="bo", email="b") == ["bob"]
    assert town.found(site, customer_uuid=town.org.uuid, organization="tartu") == ["mari"]
    assert town.found(site, customer_uuid=town.org.uuid, registration_method="saml2") == []
    assert town.found(site, date_joined=LONG_AGO, is_active="false") == ["old"]
    everything = {
        name: value for name, value, expected in MATCHES if expected and "mari" in expected
    }
    everything.pop("project_roles", None)
    everything |= {"is_staff": "0", "is_support": "0", "customer_uuid": town.org.uuid}
    assert town.found(site, **everything) == ["mari"]


def test_pages_under_a_filter_hold_each_row_once(site: Site, town: Town, world: World) -> None:
    for number in range(7):
        world.person(f"clone{number}", last_name="Clone")
    asked = f"{USERS}?query=clone&page_size=3&o=-full_name"
    seen = []
    for page in (1, 2, 3):
        answer = site.get(f"{asked}&page={page}", world.staff)
        assert answer.headers["x-result-count"] == "7"
        assert "query=clone" in answer.headers["link"]
        seen += [one["username"] for one in answer.json()]
    assert seen == [f"clone{number}" for number in reversed(range(7))]
    assert site.get(f"{asked}&page=4", world.staff).status_code == 404
    one = site.get(f"{asked}&field=username", world.staff).json()[0]
    assert one == {"username": "clone6"}


def test_equals_are_in_the_order_of_their_names(site: Site, town: Town) -> None:
    assert town.found(site, o="is_active") == ["old", "bob", "mari", "staff"]
    assert town.found(site, o="-is_active") == ["staff", "mari", "bob", "old"]


@once
def test_all_that_is_wrong_is_told_at_once(site: Site, town: Town) -> None:
    dates, uuids = ("agreement_date", "date_joined", "modified"), ("customer_uuid", "project_uuid")
    for date in ("x", "2025-13-01", "12", "0001-01-01T00:00:00+09:00", "9999-12-31T23:59-09:00"):
        for uuid in ("x", "0" * 31, f"{'0' * 32}0"):
            asked = {**dict.fromkeys(dates, date), **dict.fromkeys(uuids, uuid), "query": "x"}
            for method in ("GET", "HEAD"):
                answer = site.request(method, f"{USERS}?{urlencode(asked)}", town.world.staff)
                assert answer.status_code == 400, (date, uuid)
            assert site.get(f"{USERS}?{urlencode(asked)}", town.world.staff).json() == {
                **{name: [BAD_DATE] for name in dates},
                **{name: [BAD_UUID] for name in uuids},
            }


def test_no_value_of_any_parameter_is_more_than_a_refusal(site: Site, town: Town) -> None:
    values = """
        %00 a%00b %ED%A0%80 %FF zq%1Fzq %10%11%12 %22 %22%20OR%20%22 %27%3B-- * %25
        %F0%9F%8E%93%F0%9F%8E%93 %C4%B0%C4%B0%C4%B0 %CC%81%CC%81%CC%81%CC%81
    """.split()  # noqa: SIM905 - read as words
    values.append("x" * 5000)
    for name in FILTERS:
        for value in values:
            answer = site.get(f"{USERS}?{name}={value}", town.world.staff)
            assert answer.status_code in {200, 400}, (name, value[:20])
            if answer.status_code == 400:
                assert list(answer.json()) == [name]
            elif name not in {"is_active", "is_staff", "is_support", "email"}:
                percent = (name, value) == ("organization", "%25")
                assert bool(answer.json()) == percent, (name, value)
        nul = site.get(f"{USERS}?{name}=a%00b", town.world.staff)
        assert nul.json() == {name: ["Null characters are not allowed."]}


def test_a_lone_surrogate_is_refused() -> None:
    class Asked:
        query: ClassVar = {"query": ["a\ud800"], "is_active": ["1"]}

    with pytest.raises(BadRequestError) as refused:
        filters.read(Asked(), {"query": filters.Exact(), "is_active": filters.BooleanFilter()})  # type: ignore[arg-type]
    assert list(refused.value.body) == ["query"]


def test_the_other_kinds_of_parameter() -> None:
    class Asked:
        query: ClassVar = {"a": ["1", " 50%_ "], "b": ["x,y", "z"], "c": ["x", "z"], "d": [" "]}

    kinds = {
        "a": filters.Contains(),
        "b": filters.MultipleFilter(commas=False),
        "c": filters.MultipleFilter(of=("x", "y")),
        "d": filters.Exact(),
    }
    text = "Select a valid choice. z is not one of the available choices."
    with pytest.raises(BadRequestError) as refused:
        filters.read(Asked(), kinds)  # type: ignore[arg-type]
    assert refused.value.body == {"c": [text]}
    del Asked.query["c"]
    assert filters.read(Asked(), kinds) == {"a": r"%50\%\_%", "b": ["x,y", "z"]}  # type: ignore[arg-type]


# Below: what filters must not tell to whoever does not see all.


@pytest.fixture
def foreign(world: World, town: Town) -> Place:
    """Where Bob's colleague is owner too, and Bob sees nothing."""
    place = world.organisation("Elsewhere", owner=town.mari)
    world.seat(town.mari, "PROJECT.ADMIN", world.project(place))
    return place


@pytest.fixture
def bee(world: World, town: Town) -> Person:
    """An ordinary person, in the same project as the others."""
    bee = world.person("bee", civil_number="EE1", description="Mine")
    world.seat(bee, "PROJECT.MEMBER", town.project)
    return bee


def test_staff_and_support_are_asked_for_by_those_who_see_all_only(
    site: Site, town: Town, bee: Person
) -> None:
    for name in ("is_staff", "is_support"):
        for value in ("true", "false"):
            assert town.found(site, bee, **{name: value}) == []
        assert town.found(site, bee, **{name: "maybe"}) == ["bee", "bob", "mari"]
        assert town.found(site, town.bob, **{name: "false"}) != []


def test_what_is_hidden_of_others_cannot_be_asked_for(site: Site, town: Town, bee: Person) -> None:
    assert town.found(site, bee) == ["bee", "bob", "mari"]
    for asked in (
        {"civil_number": "EE38001085718"},
        {"query": "EE38"},
        {"description": "Knows Everything"},
    ):
        assert town.found(site, bee, **asked) == []
        assert town.found(site, town.world.staff, **asked) == ["mari"]
        assert town.found(site, town.bob, **asked) == ["mari"]
    assert town.found(site, bee, civil_number="EE1") == ["bee"]


def test_a_foreign_scope_is_as_good_as_unknown(
    site: Site, town: Town, bee: Person, foreign: Place
) -> None:
    assert town.found(site, bee, customer_uuid=town.org.uuid) == ["bee", "bob", "mari"]
    assert town.found(site, bee, customer_uuid=foreign.uuid) == []
    assert town.found(site, customer_uuid=foreign.uuid) == ["mari"]
    assert town.found(site, bee, project_roles="PROJECT.ADMIN") == []
    assert town.found(site, project_roles="PROJECT.ADMIN") == ["mari"]
    assert town.found(site, bee, organization_roles="CUSTOMER.OWNER") == ["mari"]


def test_an_outsider_finds_themselves_only(site: Site, town: Town, world: World) -> None:
    eve = world.person("eve")
    assert town.found(site, eve, query="mari") == []
    assert town.found(site, eve, username_list="mari,eve,bob") == ["eve"]
    assert town.found(site, eve, email="@") == ["eve"]
    assert town.found(site, eve, customer_uuid=town.org.uuid) == []
