"""What a viewer is not shown of somebody changes no list: no filter and no order tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from collegium.accounts import queries as account_queries
from collegium.accounts.organisation_users import listing as people
from collegium.api.waldur import accounts, customer_users, memberships
from collegium.db.statements import Statement
from collegium.db.tables import accounts as table
from collegium.memberships.queries import team
from tests.support.site import Site
from tests.support.world import Person, Place, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLY: dict[str, Any] = {
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
    "joined_at": NOW,
    "modified_at": NOW,
    "agreed_at": NOW,
}
LATE: dict[str, Any] = {
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
    "joined_at": NOW + timedelta(days=9),
    "modified_at": NOW + timedelta(days=9),
    "agreed_at": NOW + timedelta(days=9),
}
SHOWN_AS = {"joined_at": "date_joined", "agreed_at": "agreement_date"}
AS_ASKED = {"joined_at": "date_joined", "agreed_at": "agreement_date"}


def write(world: World, person: Person, values: Mapping[str, Any]) -> None:
    """Give an account these values, and whatever is kept of them for searching."""
    with world.database.write() as tx:
        account_queries.change(tx, person.id, dict(values))
        tx.execute(Statement(update(table).where(table.c.id == person.id).values(values)))


def questions(
    filters: Mapping[str, Any], orders: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a query for each order and each filter there is, with values of an account."""
    for order in orders:
        yield f"o={order}"
        yield f"o=-{order}"
    for name in filters:
        column = next((c for c, shown in AS_ASKED.items() if shown == name), name)
        if column in values:
            value = values[column]
            text = value.isoformat().replace("+", "%2B") if hasattr(value, "isoformat") else value
            yield f"{name}={text}"
    for text in map(str, values.values()):
        for name in ("query", "user_keyword", "search_string", "full_name"):
            if name in filters and "+" not in text:
                yield f"{name}={text}"


class Scene:
    """An organisation with two people whose values are swapped, one of staff, and viewers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.viewers = {
            "owner": world.person("owner"),
            "member": world.person("member"),
            "manager": world.person("manager"),
        }
        self.place: Place = world.organisation(owner=self.viewers["owner"])
        self.project = world.project(self.place)
        self.people = [world.person("one"), world.person("two")]
        self.staff = [world.person("three"), world.person("four")]
        world.seat(self.viewers["member"], "PROJECT.MEMBER", self.project)
        world.seat(self.viewers["manager"], "PROJECT.MANAGER", self.project)
        for person in (*self.people, *self.staff):
            world.seat(person, "PROJECT.MEMBER", self.project)
            world.seat(person, "CUSTOMER.OWNER", self.place)
        with world.database.write() as tx:
            for person in self.staff:
                tx.execute(
                    Statement(update(table).where(table.c.id == person.id).values(is_staff=True))
                )
        self.support = world.person("support", is_support=True)
        self.viewers |= {"support": self.support, "staff": world.staff}

    def write(self, pair: list[Person], values: tuple[dict[str, Any], dict[str, Any]]) -> None:
        for person in pair:
            write(self.world, person, {"civil_number": None})  # no two have the same one
        for person, given in zip(pair, values, strict=True):
            write(self.world, person, given)


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


LISTS: dict[str, tuple[Any, Any]] = {
    "/api/users/": (accounts.FILTERS, account_queries.listing.orders),
    "list_users/": (memberships.TEAM_FILTERS, team.orders),
    "users/": (customer_users._FILTERS, people.orders),
}


@pytest.mark.parametrize("kind", ["people", "staff"])
@pytest.mark.parametrize("name", LISTS)
def test_no_list_depends_on_what_its_viewer_is_not_shown(
    site: Site, scene: Scene, name: str, kind: str
) -> None:
    filters, orders = LISTS[name]
    path = name if name.startswith("/") else scene.place.path + name
    pair = scene.people if kind == "people" else scene.staff
    told_to: dict[str, set[str]] = {}
    for who, viewer in scene.viewers.items():
        if site.get(path, viewer).status_code == 403:
            continue
        scene.write(pair, (EARLY, LATE))
        shown = site.get(f"/api/users/{pair[0].uuid}/", viewer).json()
        listed = site.get(f"{path}?page_size=300", viewer).json()
        ours = {person.uuid for person in pair}
        in_list = {
            key.removeprefix("user_")
            for one in listed
            if one.get("user_uuid", one["uuid"]) in ours
            for key in one
        }
        seen = {
            column
            for column in EARLY
            if SHOWN_AS.get(column, column) in {*shown, *in_list}
            or column in {"first_name", "last_name"}
            # History, which these read, tells when an account was changed.
            or (column == "modified_at" and who in {"support", "staff"})
        }
        hidden = {column: EARLY[column] for column in EARLY if column not in seen}
        swapped = {column: LATE[column] for column in hidden}
        asked = list(
            dict.fromkeys((*questions(filters, orders, EARLY), *questions(filters, orders, LATE)))
        )
        first = {query: answer(site, path, query, viewer) for query in asked}
        scene.write(pair, ({**EARLY, **swapped}, {**LATE, **hidden}))
        second = {query: answer(site, path, query, viewer) for query in asked}
        told_to[who] = {query for query in asked if first[query] != second[query]}
        assert not told_to[who], (who, path, told_to[who])
        if who == "member":
            assert {"description", "civil_number", "is_support", "modified_at"} <= set(hidden)


def answer(site: Site, path: str, query: str, viewer: Person) -> tuple[int, str, list[str]]:
    """The UUIDs of a list in their order, and how many are counted."""
    found = site.get(f"{path}?page_size=300&{query}", viewer)
    assert found.status_code == 200, (query, found.text)
    head = site.request("HEAD", f"{path}?page_size=300&{query}", viewer)
    uuids = [one.get("user_uuid") or one["uuid"] for one in found.json()]
    return int(found.headers["x-result-count"]), head.headers["x-result-count"], uuids


@pytest.mark.parametrize(
    ("query", "reverses"),
    [("o=is_support", True), ("o=-description", True), ("o=description", True), ("o=email", False)],
)
def test_those_who_are_shown_it_do_order_by_it(
    site: Site,
    scene: Scene,
    query: str,
    reverses: bool,
) -> None:
    pair = {person.uuid for person in scene.people}

    def ordered(viewer: Person) -> list[str]:
        return [one for one in answer(site, "/api/users/", query, viewer)[2] if one in pair]

    for viewer, counts in (
        (scene.world.staff, True),
        (scene.support, True),
        (scene.viewers["owner"], False),
        (scene.viewers["member"], False),
    ):
        scene.write(scene.people, (EARLY, LATE))
        first = ordered(viewer)
        swapped = {name: LATE[name] for name in ("description", "is_support")}
        back = {name: EARLY[name] for name in swapped}
        scene.write(scene.people, ({**EARLY, **swapped}, {**LATE, **back}))
        assert len(first) == len(pair)
        assert (ordered(viewer) != first) is (counts and reverses), query


def test_an_order_by_what_is_hidden_is_the_usual_one(site: Site, scene: Scene) -> None:
    member = scene.viewers["member"]
    usual = answer(site, "/api/users/", "o=username", member)
    for name in ("description", "is_staff", "is_support", "is_active"):
        for sign in ("", "-"):
            assert answer(site, "/api/users/", f"o={sign}{name}", member) == usual, name
    # What is asked besides still counts.
    backwards = answer(site, "/api/users/", "o=is_support,-username", member)
    assert backwards[2] == usual[2][::-1]
    assert answer(site, "/api/users/", "o=-username,is_support", member) == backwards
