"""Hidden fields of accounts influence no list: neither a filter nor an order reveals them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

import pytest
from sqlalchemy import update

from collegium.accounts import queries as account_queries
from collegium.api.brainstem import accounts as brainstem_accounts
from collegium.api.waldur import accounts, customer_users, memberships
from collegium.db.statements import Statement
from collegium.db.tables import accounts as accounts_table
from collegium.scopes.groups import rules as group_rules
from collegium.settings import Settings
from collegium.web import sorting
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST: dict[str, Any] = {
    "first_name": "Anna",
    "last_name": "Abel",
    "native_name": "Anna native",
    "job_title": "Archer",
    "phone_number": "111",
    "organization": "Acme",
    "civil_number": "100",
    "description": "A text",
    "birth_date": date(1970, 1, 1),
    "is_active": True,
    "is_support": False,
    "registration_method": "default",
    **dict.fromkeys(("joined_at", "modified_at", "agreed_at"), NOW),
}
LAST: dict[str, Any] = {
    "first_name": "Zoe",
    "last_name": "Zorn",
    "native_name": "Zoe native",
    "job_title": "Zoologist",
    "phone_number": "999",
    "organization": "Zeta",
    "civil_number": "900",
    "description": "Z text",
    "birth_date": date(1990, 1, 1),
    "is_active": True,
    "is_support": True,
    "registration_method": "eduteams",
    **dict.fromkeys(("joined_at", "modified_at", "agreed_at"), NOW + timedelta(days=9)),
}
API_NAMES = {"joined_at": "date_joined", "agreed_at": "agreement_date"}


def queries(
    filters: Mapping[str, Any], orders: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a query for each order, and for each filter with the values of an account."""
    for order in orders:
        yield f"o={order}"
        yield f"o=-{order}"
    columns = {API_NAMES.get(column, column): column for column in values}
    for name in filters:
        if name in columns:
            value = values[columns[name]]
            text = value.isoformat().replace("+", "%2B") if hasattr(value, "isoformat") else value
            yield f"{name}={text}"
    for text in map(str, values.values()):
        for name in ("query", "user_keyword", "search_string", "full_name"):
            if name in filters and "+" not in text:
                yield f"{name}={text}"


OF_STAFF: Final = (FIRST | {"civil_number": "101"}, LAST | {"civil_number": "901"})
"""The same for staff, but a civil number is unique."""


def swap(
    columns: list[str], pair: tuple[dict[str, Any], dict[str, Any]] = (FIRST, LAST)
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of both accounts with some columns exchanged."""
    first, last = ({column: values[column] for column in columns} for values in pair)
    return pair[0] | last, pair[1] | first


class Setup:
    """An organisation with two pairs of people, one pair of them staff, and viewers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.viewers = {name: world.person(name) for name in ("owner", "member", "manager")}
        self.organisation = world.organisation(owner=self.viewers["owner"])
        self.project = project = world.project(self.organisation)
        self.people = [world.person("one"), world.person("two")]
        self.staff = [world.person("three"), world.person("four")]
        world.give_role(self.viewers["member"], "PROJECT.MEMBER", project)
        world.give_role(self.viewers["manager"], "PROJECT.MANAGER", project)
        for person in (*self.people, *self.staff):
            world.give_role(person, "PROJECT.MEMBER", project)
            world.give_role(person, "CUSTOMER.OWNER", self.organisation)
        with world.database.write() as tx:
            for person in self.staff:
                same = update(accounts_table).where(accounts_table.c.id == person.id)
                tx.execute(Statement(same.values(is_staff=True)))
        self.viewers |= {"support": world.person("support", is_support=True), "staff": world.staff}

    def set_values(self, pair: list[Person], *values: dict[str, Any]) -> None:
        """Set columns of two accounts, and what is stored of them for searching."""
        unset: dict[str, Any] = {"civil_number": None}  # it is unique
        for person, columns in zip([*pair, *pair], [unset, unset, *values], strict=True):
            same = update(accounts_table).where(accounts_table.c.id == person.id)
            with self.world.database.write() as tx:
                account_queries.change(tx, person.id, dict(columns))
                tx.execute(Statement(same.values(columns)))


@pytest.fixture
def setup(world: World) -> Setup:
    return Setup(world)


def get_list(site: Site, path: str, query: str, viewer: Person) -> tuple[int, list[str]]:
    """Return the count of a list, and its UUIDs in their order."""
    response = site.get(f"{path}?page_size=300&{query}", viewer)
    assert response.status_code == 200, (query, response.text)
    uuids = [row.get("user_uuid") or row["uuid"] for row in response.json()]
    return int(response.headers["x-result-count"]), uuids


def count_list(site: Site, path: str, query: str, viewer: Person) -> int:
    """Return the count of a list that a HEAD request gets."""
    head = site.request("HEAD", f"{path}?page_size=300&{query}", viewer)
    return int(head.headers["x-result-count"])


LISTS: dict[str, tuple[Any, Any]] = {
    "/api/users/": (accounts.LIST.parameters, accounts.LIST.orders),
    "list_users/": (memberships.TEAM.parameters, memberships.TEAM.orders),
    "users/": (customer_users.LIST.parameters, customer_users.LIST.orders),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_no_filter_or_order_reveals_hidden_fields(site: Site, setup: Setup, name: str) -> None:
    filters, orders = LISTS[name]
    path = name if name.startswith("/") else setup.organisation.path + name
    pairs = ((setup.people, (FIRST, LAST)), (setup.staff, OF_STAFF))
    every = [queries(filters, orders, values) for _, pair in pairs for values in pair]
    tried = list(dict.fromkeys(chain.from_iterable(every)))
    for who, viewer in setup.viewers.items():
        if site.get(path, viewer).status_code == 403:
            continue
        for people, values in pairs:
            setup.set_values(people, *values)
        before = {query: get_list(site, path, query, viewer) for query in tried}
        rows = site.get(f"{path}?page_size=300", viewer).json()
        for people, values in pairs:
            uuids = {person.uuid for person in people}
            shown = [row for row in rows if row.get("user_uuid", row["uuid"]) in uuids]
            shown.append(site.get(f"/api/users/{people[0].uuid}/", viewer).json())
            visible = {key.removeprefix("user_") for row in shown for key in row}
            visible |= {"first_name", "last_name"}
            if who in {"support", "staff"}:
                visible.add("modified_at")  # the audit log, which they read, has it
            hidden = [column for column in FIRST if API_NAMES.get(column, column) not in visible]
            setup.set_values(people, *swap(hidden, values))
            if who == "member":
                assert {"description", "civil_number", "is_support", "modified_at"} <= set(hidden)
        after = {query: get_list(site, path, query, viewer) for query in tried}
        revealing = [query for query in tried if before[query] != after[query]]
        assert not revealing, (who, path, revealing)
        # A count of HEAD that reveals a field would count other rows than GET.
        counts = {query: count_list(site, path, query, viewer) for query in tried}
        assert counts == {query: after[query][0] for query in tried}, (who, path)


@pytest.mark.parametrize(
    ("query", "reverses"),
    [("o=is_support", True), ("o=-description", True), ("o=description", True), ("o=email", False)],
)
def test_order_by_a_privileged_field_works_for_staff_and_support_only(
    site: Site, setup: Setup, query: str, reverses: bool
) -> None:
    uuids = {person.uuid for person in setup.people}

    def ordered(viewer: Person) -> list[str]:
        return [uuid for uuid in get_list(site, "/api/users/", query, viewer)[1] if uuid in uuids]

    for name in ("staff", "support", "owner", "member"):
        viewer, is_privileged = setup.viewers[name], name in {"staff", "support"}
        setup.set_values(setup.people, FIRST, LAST)
        before = ordered(viewer)
        setup.set_values(setup.people, *swap(["description", "is_support"]))
        assert len(before) == len(uuids)
        assert (ordered(viewer) != before) is (is_privileged and reverses), query


def test_order_by_a_hidden_field_is_ignored(site: Site, setup: Setup) -> None:
    def ordered(order: str) -> tuple[int, list[str]]:
        return get_list(site, "/api/users/", f"o={order}", setup.viewers["member"])

    default = ordered("username")
    for name in ("description", "is_staff", "is_support", "is_active"):
        for sign in ("", "-"):
            assert ordered(f"{sign}{name}") == default, name
    # Other orders of the same query count.
    backwards = ordered("is_support,-username")
    assert backwards[1] == default[1][::-1]
    assert ordered("-username,is_support") == backwards


VALUES = [quote(str(value)) for values in (FIRST, LAST) for value in values.values()]


@pytest.mark.slow
def test_brainstem_lists_reveal_no_hidden_fields(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], setup: Setup
) -> None:
    site = make_site(make_settings(brainstem_public_portal="true"))
    groups, member = Groups(setup.world, site), setup.viewers["member"]
    group = groups.create(setup.viewers["owner"])
    for person in (*setup.people, member):
        groups.give_role(group, person, group_rules.MEMBER)
    listing = brainstem_accounts._TABLE.listing
    tried = [f"sort[]={sign}{name}" for name in listing.orders for sign in ("", "-")]
    for name in listing.filters:
        if name.endswith("__icontains"):
            tried += [f"filter{{{name.replace('__', '.')}}}={value}" for value in VALUES]
    hidden = [column for column in FIRST if column not in {"first_name", "last_name"}]

    def load(portal: str, query: str) -> Any:
        headers = {"Authorization": f"Bearer {member.token}"} if portal == "private" else {}
        body = site.get(f"/api/{portal}/users/user/?{query}", headers=headers).json()
        return [user["id"] for user in body["users"]] if "users" in body else body

    for portal in ("private", "public"):
        setup.set_values(setup.people, FIRST, LAST)
        before = {query: load(portal, query) for query in tried}
        assert {person.id for person in setup.people} < set(before["sort[]=id"])
        setup.set_values(setup.people, *swap(hidden))
        revealing = [query for query in tried if load(portal, query) != before[query]]
        assert not revealing, (portal, revealing)


@pytest.mark.parametrize(
    ("who", "place", "page"),
    [("owner", "organisation", ""), ("manager", "project", ""), ("manager", "project", "add/")],
)
def test_pages_of_members_reveal_no_hidden_fields(
    site: Site, setup: Setup, who: str, place: str, page: str
) -> None:
    viewer, path = setup.viewers[who], f"/{place}/{getattr(setup, place).uuid}/{page}"
    browser = Browser(site).sign_in(setup.world, viewer)
    tried = [f"q={value}" for value in VALUES] + [
        f"sort={sign}{order}" for order in sorting.MEMBERS.columns for sign in ("", "-")
    ]
    setup.set_values(setup.people, FIRST, LAST)
    visible = {*site.get(f"/api/users/{setup.people[0].uuid}/", viewer).json(), "first_name"}
    hidden = [column for column in FIRST if API_NAMES.get(column, column) not in visible]

    def load(query: str) -> list[str]:
        return re.findall("Anna Abel|Zoe Zorn", text(browser.open(f"{path}?{query}")))

    before = {query: load(query) for query in tried}
    assert set(before["q=Abel"]) == {"Anna Abel"}
    setup.set_values(setup.people, *swap(hidden))
    revealing = [query for query in tried if load(query) != before[query]]
    assert not revealing, (hidden, revealing)
    assert {"description", "civil_number", "is_support"} <= set(hidden)
