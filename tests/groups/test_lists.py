"""How lists are asked: every operator, in a fixed number of statements; what is wrong is told."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from collegium.api.brainstem import accounts, invitations, join_requests
from collegium.api.brainstem import groups as group_routes
from collegium.api.brainstem.query import BooleanFilter, IntegerFilter, TextFilter, UuidFilter
from tests.groups.many import ask_many
from tests.groups.scene import Groups
from tests.support.site import counted_statements
from tests.support.world import Person


def found(answer: httpx.Response, key: str, field: str = "id") -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [one[field] for one in answer.json()[key]]


def asked(**given: str) -> str:
    """A query as client 0.2.0 writes it."""
    pairs = (f"{quote(name)}={quote(text)}" for name, text in given.items())
    return "?" + "&".join(pairs)


NAMES = ("Alpha Lab", "alphabet", "Beta_Lab", "Größe", "b%c")
BY_NAME = {
    "filter{name}": ("alphabet", {"alphabet"}),
    "filter{name.iexact}": ("ALPHABET", {"alphabet"}),
    "filter{name.contains}": ("Lab", {"Alpha Lab", "Beta_Lab"}),
    "filter{name.icontains}": ("LAB", {"Alpha Lab", "Beta_Lab"}),
    "filter{name.startswith}": ("alpha", {"alphabet"}),
    "filter{name.istartswith}": ("ALPHA", {"Alpha Lab", "alphabet"}),
    "filter{name.endswith}": ("Lab", {"Alpha Lab", "Beta_Lab"}),
    "filter{name.iendswith}": ("LAB", {"Alpha Lab", "Beta_Lab"}),
    "filter{name.in}": ("alphabet", {"alphabet"}),
    "filter{name.isnull}": ("False", set(NAMES)),
}
EXACT = {
    ("filter{name.icontains}", "größe"): {"Größe"},
    ("filter{name.icontains}", "GRÖ"): {"Größe"},
    ("filter{name.contains}", "%"): {"b%c"},
    ("filter{name.contains}", "_"): {"Beta_Lab"},
    ("filter{name.contains}", ""): set(NAMES),
    ("filter{name.endswith}", "much longer than any name of a group"): set(),
    ("filter{name.isnull}", "1"): set(),
}


def test_texts_and_numbers_are_compared_in_every_documented_way(groups: Groups) -> None:
    olga = groups.world.person("olga")
    numbers = [groups.found(olga, name) for name in NAMES]
    for (name, text), wanted in {
        **{(name, text): wanted for name, (text, wanted) in BY_NAME.items()},
        **EXACT,
    }.items():
        for portal in ("private", "public"):
            answer = groups.get(olga, "group", query=asked(**{name: text}), portal=portal)
            assert set(found(answer, "groups", "name")) == wanted, (name, text)
    for operator, those in (
        ("gt", numbers[3:]),
        ("gte", numbers[2:]),
        ("lt", numbers[:2]),
        ("lte", numbers[:3]),
    ):
        query = asked(**{f"filter{{id.{operator}}}": str(numbers[2])})
        assert found(groups.get(olga, "group", query=query), "groups") == those
    several = f"?filter%7Bid.in%7D={numbers[0]}&filter%7Bid.in%7D={numbers[4]}&sort%5B%5D=-id"
    assert found(groups.get(olga, "group", query=several), "groups") == [numbers[4], numbers[0]]
    both = asked(**{"filter{name.icontains}": "lab", "filter{id.gt}": str(numbers[0])})
    assert found(groups.get(olga, "group", query=both), "groups") == [numbers[2]]


COMPARED = ("A", "Alpha", "Beta", "Z", "alpine", "beach", "\u00c4ther", "\u00e4lter", "\u03a9")


def test_texts_are_more_or_less_than_others_alike_on_both_databases(groups: Groups) -> None:
    """By code point, whatever order of letters a database was made with."""
    assert list(COMPARED) == sorted(COMPARED)
    olga = groups.world.person("olga", first_name="beta")
    group = groups.found(olga, COMPARED[0])
    for name in COMPARED[1:]:
        groups.found(olga, name)
    for at, text in enumerate(COMPARED):
        for operator, those in (
            ("gt", COMPARED[at + 1 :]),
            ("gte", COMPARED[at:]),
            ("lt", COMPARED[:at]),
            ("lte", COMPARED[: at + 1]),
        ):
            for portal in ("private", "public"):
                query = asked(**{f"filter{{name.{operator}}}": text})
                answer = groups.get(olga, "group", query=query, portal=portal)
                assert set(found(answer, "groups", "name")) == set(those), (operator, text)
    bob = groups.world.person("bob")
    groups.ask(group, bob)
    for query, number in (
        ("filter{first_name.gt}=Z", 1),
        ("filter{first_name.gt}=beta", 0),
        ("filter{email.lt}=p&filter{email.gte}=olga@example.org", 1),
    ):
        assert len(found(groups.get(olga, "user", query=f"?{query}"), "users")) == number, query
    for query, number in (
        ("filter{authgroup.name.lte}=A", 1),
        ("filter{authgroup.name.gt}=A", 0),
        ("filter{user_account_request.email.gte}=bob@example.org", 1),
        ("filter{user_account_request.email.lt}=bob@example.org", 0),
    ):
        rows = found(groups.get(olga, "request", query=f"?{query}"), "group_membership_requests")
        assert len(rows) == number, query


def test_only_what_is_named_has_an_id(groups: Groups) -> None:
    olga, bob = groups.world.person("olga"), groups.world.person("bob")
    group = groups.found(olga)
    groups.ask(group, bob)
    groups.invite(group, olga, bob)
    for model, person in (
        ("request", "user_account_request"),
        ("invitation", "user_account_invitation"),
    ):
        for name in ("authgroup.id", "authgroup.id.gt", f"{person}.id", f"{person}.id.in"):
            answer = groups.get(bob, model, query=f"?filter{{{name}}}=1")
            assert answer.status_code == 200, (model, name)
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
            answer = groups.get(bob, model, query=f"?filter{{{name}}}=1")
            assert answer.status_code == 400, (model, name)
            (told,) = answer.json()
            assert told == f"filter{{{name}}}"
    for name in ("name.id", "id.id", "name.", "name.id.contains"):
        assert groups.get(olga, "group", query=f"?filter{{{name}}}=1").status_code == 400, name
        assert groups.get(olga, "user", query=f"?filter{{first_{name}}}=1").status_code == 400


WRONG = (
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


def test_what_cannot_be_asked_is_named(groups: Groups) -> None:
    olga = groups.world.person("olga")
    for query in WRONG:
        answer = groups.get(olga, "group", query=f"?{query}")
        assert answer.status_code == 400, query
        (name,) = answer.json()
        assert name == query.split("=")[0]
    both = groups.get(olga, "group", query="?filter{a}=1&sort[]=b&limit=x").json()
    assert list(both) == ["filter{a}", "sort[]", "limit"]


def test_requests_and_invitations_are_found_by_group_and_by_person(groups: Groups) -> None:
    olga, alice, bob = (groups.world.person(name) for name in ("olga", "alice", "bob"))
    first, second = groups.found(olga, "First"), groups.found(olga, "Second")
    one, two = groups.ask(first, alice), groups.ask(second, bob)
    del two
    for query in (
        f"filter{{authgroup}}={first}",
        f"filter{{authgroup.id}}={first}",
        f"filter{{authgroup.id.in}}={first}",
        "filter{authgroup.name}=First",
        "filter{authgroup.name.icontains}=irs",
        f"filter{{user_account_request.id}}={alice.id}",
        "filter{user_account_request.email}=alice@example.org",
        "filter{user_account_request.email.iexact}=ALICE@example.org",
        f"filter{{id}}={one}",
        f"filter{{id.in}}={one}",
    ):
        listed = found(groups.get(olga, "request", query=f"?{query}"), "group_membership_requests")
        assert [text.replace("-", "") for text in listed] == [one], query
    groups.invite(first, olga, bob, is_manager=True)
    groups.invite(second, olga, alice)
    for query in (
        f"filter{{user_account_invitation}}={bob.id}",
        "filter{user_account_invitation.email.istartswith}=BOB",
        "filter{new_manager}=True",
        "filter{new_owner}=false&filter{authgroup.name}=First",
    ):
        listed = found(
            groups.get(olga, "invitation", query=f"?{query}"),
            "group_membership_invitations",
            "user_account_invitation",
        )
        assert listed == [bob.id], query


def test_people_are_found_by_what_may_be_seen_of_them(groups: Groups) -> None:
    olga, alone = groups.world.person("olga"), groups.world.person("alone")
    groups.found(olga)
    query = "?filter{email}=olga@example.org"
    assert found(groups.get(olga, "user", query=query), "users") == [olga.id]
    # Somebody without a group in common is nobody's business but their own.
    assert found(groups.get(alone, "user", query=query), "users") == []
    assert found(groups.get(olga, "user"), "users") == [olga.id]
    assert found(groups.get(alone, "user"), "users") == [alone.id]
    assert groups.get(olga, "user", alone.id).status_code == 404
    assert groups.get(None, "user", alone.id, portal="public").status_code == 404
    # Where addresses are hidden, nobody is found by one.
    assert groups.get(None, "user", query=query, portal="public").status_code == 400


def test_a_list_runs_as_many_statements_for_a_hundred_rows_as_for_one(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = groups.world
    olga, few = world.person("olga"), world.person("few")
    crowded = groups.found(olga, "Crowded")
    small = groups.found(few, "Small")
    ask_many(world, crowded, 110)
    groups.ask(small, olga)
    embed = "&include[]=authgroup&include[]=user_account_request"
    assert count(groups, few, f"request?limit=1{embed}", monkeypatch) == count(
        groups, olga, f"request?limit=100{embed}", monkeypatch
    )
    with world.database.read() as tx:
        asked_by = world.person("late")
        del tx
    for number in range(30):
        member = world.person(f"member{number}")
        groups.seat(crowded, member)
        groups.found(member, f"Own {number}")
    for model in ("group", "user"):
        for portal in ("private", "public"):
            for who in (asked_by, olga) if model == "group" else (olga,):
                path = f"{model}?limit="
                assert count(groups, who, path + "1", monkeypatch, portal) == count(
                    groups, who, path + "30", monkeypatch, portal
                )


def count(
    groups: Groups,
    who: Person,
    asked_for: str,
    monkeypatch: pytest.MonkeyPatch,
    portal: str = "private",
) -> int:
    model, query = asked_for.split("?")
    groups.get(who, model, query=f"?{query}", portal=portal)
    with counted_statements(monkeypatch) as seen:
        answer = groups.get(who, model, query=f"?{query}", portal=portal)
    size = int(query.split("limit=")[1].split("&")[0])
    (rows,) = [value for value in answer.json().values() if isinstance(value, list)]
    assert len(rows) == size, answer.text
    return len(seen)


TABLES = {
    "request": join_requests._TABLE,
    "invitation": invitations._TABLE,
    "group": group_routes._TABLE,
    "user": accounts._TABLE,
}
SAMPLES = {IntegerFilter: "1", TextFilter: "a", UuidFilter: "0" * 32, BooleanFilter: "true"}


def test_every_comparison_and_every_order_is_understood(groups: Groups) -> None:
    olga, bob = groups.world.person("olga"), groups.world.person("bob")
    group = groups.found(olga)
    groups.ask(group, bob)
    groups.invite(group, olga, bob)
    tried = 0
    for who in (olga, groups.world.staff):
        for model, table in TABLES.items():
            for order in table.orders:
                for sign in ("", "-"):
                    answer = groups.get(who, model, query=f"?sort[]={sign}{order}")
                    assert answer.status_code == 200, (model, order)
                    assert answer.json()["count"] > 0
            for known in table.listing.filters:
                fields = [one for one in table.fields if known.startswith(one.replace(".", "__"))]
                field = max(fields, key=len)
                operator = known.removeprefix(field.replace(".", "__")).strip("_")
                text = "1" if operator == "isnull" else SAMPLES[type(table.fields[field])]
                name = f"{field}.{operator}" if operator else field
                asked_for = f"?filter{{{name}}}={text}"
                assert groups.get(who, model, query=asked_for).status_code == 200, (model, name)
                tried += 1
    assert tried > 100
