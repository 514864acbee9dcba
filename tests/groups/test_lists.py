"""Lists of the BrainSTEM API: filters, orders, invalid parameters, number of statements."""

from __future__ import annotations

from itertools import product
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from collegium.api.brainstem import accounts, invitations, join_requests
from collegium.api.brainstem import groups as group_routes
from collegium.api.brainstem.query import BOOLEAN, INTEGER, TEXT, UUID, Table
from tests.groups.scene import Groups, ask_many
from tests.support.site import record_statements
from tests.support.world import Person


def values(response: httpx.Response, key: str, field: str = "id") -> list[Any]:
    assert response.status_code == 200, response.text
    return [row[field] for row in response.json()[key]]


def encode(**parameters: str) -> str:
    """Return a query as client 0.2.0 encodes it."""
    pairs = (f"{quote(name)}={quote(text)}" for name, text in parameters.items())
    return "?" + "&".join(pairs)


NAMES = ("Alpha Lab", "alphabet", "Beta_Lab", "Größe", "b%c")
NAME_FILTERS: tuple[tuple[str, str, set[str]], ...] = (
    ("name", "alphabet", {"alphabet"}),
    ("name.iexact", "ALPHABET", {"alphabet"}),
    ("name.contains", "Lab", {"Alpha Lab", "Beta_Lab"}),
    ("name.contains", "%", {"b%c"}),
    ("name.contains", "_", {"Beta_Lab"}),
    ("name.contains", "", set(NAMES)),
    ("name.icontains", "LAB", {"Alpha Lab", "Beta_Lab"}),
    ("name.icontains", "größe", {"Größe"}),
    ("name.icontains", "GRÖ", {"Größe"}),
    ("name.startswith", "alpha", {"alphabet"}),
    ("name.istartswith", "ALPHA", {"Alpha Lab", "alphabet"}),
    ("name.endswith", "Lab", {"Alpha Lab", "Beta_Lab"}),
    ("name.endswith", "much longer than any name of a group", set()),
    ("name.iendswith", "LAB", {"Alpha Lab", "Beta_Lab"}),
    ("name.in", "alphabet", {"alphabet"}),
    ("name.isnull", "False", set(NAMES)),
    ("name.isnull", "1", set()),
)


def test_filters_support_all_documented_operators(groups: Groups) -> None:
    olga = groups.world.person("olga")
    ids = [groups.create(olga, name) for name in NAMES]
    for name, text, expected in NAME_FILTERS:
        for portal in ("private", "public"):
            query = encode(**{f"filter{{{name}}}": text})
            response = groups.get(olga, "group", query=query, portal=portal)
            assert set(values(response, "groups", "name")) == expected, (name, text)
    for query, expected_ids in (
        (encode(**{"filter{id.gt}": str(ids[2])}), ids[3:]),
        (encode(**{"filter{id.gte}": str(ids[2])}), ids[2:]),
        (encode(**{"filter{id.lt}": str(ids[2])}), ids[:2]),
        (encode(**{"filter{id.lte}": str(ids[2])}), ids[:3]),
        (
            f"?filter%7Bid.in%7D={ids[0]}&filter%7Bid.in%7D={ids[4]}&sort%5B%5D=-id",
            [ids[4], ids[0]],
        ),
        (encode(**{"filter{name.icontains}": "lab", "filter{id.gt}": str(ids[0])}), [ids[2]]),
    ):
        assert values(groups.get(olga, "group", query=query), "groups") == expected_ids


ORDERED = ("A", "Alpha", "Beta", "Z", "alpine", "beach", "\u00c4ther", "\u00e4lter", "\u03a9")


def test_strings_are_compared_by_code_point_on_both_databases(groups: Groups) -> None:
    assert list(ORDERED) == sorted(ORDERED)
    olga = groups.world.person("olga", first_name="beta")
    group = groups.create(olga, ORDERED[0])
    for name in ORDERED[1:]:
        groups.create(olga, name)
    for index, text in enumerate(ORDERED):
        for operator, expected in (
            ("gt", ORDERED[index + 1 :]),
            ("gte", ORDERED[index:]),
            ("lt", ORDERED[:index]),
            ("lte", ORDERED[: index + 1]),
        ):
            for portal in ("private", "public"):
                query = encode(**{f"filter{{name.{operator}}}": text})
                response = groups.get(olga, "group", query=query, portal=portal)
                assert set(values(response, "groups", "name")) == set(expected), (operator, text)
    groups.ask(group, groups.world.person("bob"))
    for model, query, number in (
        ("user", "filter{first_name.gt}=Z", 1),
        ("user", "filter{first_name.gt}=beta", 0),
        ("user", "filter{email.lt}=p&filter{email.gte}=olga@example.org", 1),
        ("request", "filter{authgroup.name.lte}=A", 1),
        ("request", "filter{authgroup.name.gt}=A", 0),
        ("request", "filter{user_account_request.email.gte}=bob@example.org", 1),
        ("request", "filter{user_account_request.email.lt}=bob@example.org", 0),
    ):
        key = "users" if model == "user" else "group_membership_requests"
        rows = values(groups.get(olga, model, query=f"?{query}"), key)
        assert len(rows) == number, query


def test_filters_by_id_exist_only_for_objects(groups: Groups) -> None:
    olga, bob = groups.people("olga", "bob")
    group = groups.create(olga)
    groups.ask(group, bob)
    groups.invite(group, olga, bob)
    for model, person in (
        ("request", "user_account_request"),
        ("invitation", "user_account_invitation"),
    ):
        for name in ("authgroup.id", "authgroup.id.gt", f"{person}.id", f"{person}.id.in"):
            response = groups.get(bob, model, query=f"?filter{{{name}}}=1")
            assert response.status_code == 200, (model, name)
        for name in (
            "authgroup.id.id",
            "authgroup.id.id.id",
            "authgroup.id.id.gt",
            "authgroup.gt.id",
            "authgroup.name.id",
            "authgroup.id.name",
            f"{person}.email.id.contains",
            "id.id",
            "id.id.in",
            "authgroup.",
            "authgroup.id.",
            ".authgroup",
            ".id",
            "id.",
        ):
            response = groups.get(bob, model, query=f"?filter{{{name}}}=1")
            assert response.status_code == 400, (model, name)
            assert list(response.json()) == [f"filter{{{name}}}"]
    for name in ("name.id", "id.id", "name.", "name.id.contains"):
        assert groups.get(olga, "group", query=f"?filter{{{name}}}=1").status_code == 400, name
        assert groups.get(olga, "user", query=f"?filter{{first_{name}}}=1").status_code == 400


INVALID = (
    "filter{nosuch}=1",
    "filter{id.nosuch}=1",
    "filter{id.regex}=1",
    "filter{-id}=1",
    "filter{id}=x",
    "filter{id}=1&filter{id}=2",
    "filter{id}=99999999999999999999999",
    "filter{name}=%00",
    "filter{}=1",
    "filter{id=1",
    "filter{name.isnull}=perhaps",
    "sort[]=nosuch",
    "sort[]=users",
    "include[]=users",
    "limit=101",
    "limit=0",
    "offset=-1",
    "offset=x",
    "page=0",
    "per_page=101",
)


def test_invalid_parameter_is_named_in_the_error(groups: Groups) -> None:
    olga = groups.world.person("olga")
    for query in INVALID:
        response = groups.get(olga, "group", query=f"?{query}")
        assert response.status_code == 400, query
        assert list(response.json()) == [query.split("=")[0]]
    errors = groups.get(olga, "group", query="?filter{a}=1&sort[]=b&limit=x").json()
    assert list(errors) == ["filter{a}", "sort[]", "limit"]


def test_requests_and_invitations_are_filtered_by_group_and_account(groups: Groups) -> None:
    olga, alice, bob = groups.people("olga", "alice", "bob")
    first, second = groups.create(olga, "First"), groups.create(olga, "Second")
    uuid = groups.ask(first, alice)
    groups.ask(second, bob)
    for query in (
        f"filter{{authgroup}}={first}",
        f"filter{{authgroup.id}}={first}",
        f"filter{{authgroup.id.in}}={first}",
        "filter{authgroup.name}=First",
        "filter{authgroup.name.icontains}=irs",
        f"filter{{user_account_request.id}}={alice.id}",
        "filter{user_account_request.email}=alice@example.org",
        "filter{user_account_request.email.iexact}=ALICE@example.org",
        f"filter{{id}}={uuid}",
        f"filter{{id.in}}={uuid}",
    ):
        ids = values(groups.get(olga, "request", query=f"?{query}"), "group_membership_requests")
        assert [text.replace("-", "") for text in ids] == [uuid], query
    groups.invite(first, olga, bob, is_manager=True)
    groups.invite(second, olga, alice)
    for query in (
        f"filter{{user_account_invitation}}={bob.id}",
        "filter{user_account_invitation.email.istartswith}=BOB",
        "filter{new_manager}=True",
        "filter{new_owner}=false&filter{authgroup.name}=First",
    ):
        response = groups.get(olga, "invitation", query=f"?{query}")
        key, field = "group_membership_invitations", "user_account_invitation"
        assert values(response, key, field) == [bob.id], query


def test_number_of_statements_does_not_depend_on_the_number_of_rows(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = groups.world

    def count(
        person: Person, model: str, limit: int, query: str = "", portal: str = "private"
    ) -> int:
        query = f"?limit={limit}{query}"
        groups.get(person, model, query=query, portal=portal)
        with record_statements(monkeypatch) as statements:
            response = groups.get(person, model, query=query, portal=portal)
        (rows,) = [value for value in response.json().values() if isinstance(value, list)]
        assert len(rows) == limit, response.text
        return len(statements)

    olga, few, outsider = groups.people("olga", "few", "outsider")
    crowded = groups.create(olga, "Crowded")
    ask_many(world, crowded, 110)
    groups.ask(groups.create(few, "Small"), olga)
    embed = "&include[]=authgroup&include[]=user_account_request"
    assert count(few, "request", 1, embed) == count(olga, "request", 100, embed)
    for number in range(30):
        member = world.person(f"member{number}")
        groups.give_role(crowded, member)
        groups.create(member, f"Own {number}")
    for person, model in ((outsider, "group"), (olga, "group"), (olga, "user")):
        for portal in ("private", "public"):
            one = count(person, model, 1, portal=portal)
            assert one == count(person, model, 30, portal=portal)


TABLES: dict[str, Table[Any]] = {
    "request": join_requests._TABLE,
    "invitation": invitations._TABLE,
    "group": group_routes._TABLE,
    "user": accounts._TABLE,
}
SAMPLES = {INTEGER: "1", TEXT: "a", UUID: "0" * 32, BOOLEAN: "true"}


@pytest.mark.slow
def test_every_declared_filter_and_order_works(groups: Groups) -> None:
    olga, bob = groups.people("olga", "bob")
    group = groups.create(olga)
    groups.ask(group, bob)
    groups.invite(group, olga, bob)
    tried = 0
    for person, (model, table) in product((olga, groups.world.staff), TABLES.items()):
        for order, sign in product(table.orders, ("", "-")):
            response = groups.get(person, model, query=f"?sort[]={sign}{order}")
            assert response.status_code == 200, (model, order)
            assert response.json()["count"] > 0
        for key in table.listing.filters:
            fields = [name for name in table.fields if key.startswith(name.replace(".", "__"))]
            field = max(fields, key=len)
            operator = key.removeprefix(field.replace(".", "__")).strip("_")
            text = "1" if operator == "isnull" else SAMPLES[table.fields[field]]
            name = f"{field}.{operator}" if operator else field
            query = f"?filter{{{name}}}={text}"
            assert groups.get(person, model, query=query).status_code == 200, (model, name)
            tried += 1
    assert tried > 100
