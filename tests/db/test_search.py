"""Finding people by a part of what is known of them, against the same said plainly in Python."""

from __future__ import annotations

import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import account_texts, grants, scopes
from collegium.db.tables import accounts as table
from collegium.lists import account_search
from collegium.lists.listing import Listing, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from collegium.db.database import Database, WriteTransaction
    from tests.support.world import World

    Person = dict[str, Any]

on_both = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LETTERS = st.one_of(
    st.sampled_from("aAbeEéÉäÄßẞıİſKΣσςЖж李한'\"\\%_*-.@ "),  # noqa: RUF001 - the trying ones
    st.characters(exclude_categories=("Cs", "Cc")),
)
TEXTS = st.text(LETTERS, max_size=12)
PEOPLE = st.fixed_dictionaries(
    {
        "first_name": TEXTS,
        "last_name": TEXTS,
        "civil_number": st.none(),
        "username": st.text("abc.", min_size=1, max_size=9),
        "email": st.text("abc.@", min_size=1, max_size=9),
        "native_name": TEXTS,
        "organization": TEXTS,
        "job_title": TEXTS,
    }
)


def has(text: str, part: str) -> bool:
    return part.casefold() in text.casefold()


def bare(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def by_name(person: Person, value: str) -> bool:
    name = f"{person['first_name']} {person['last_name']}".strip()
    # What has nothing of ASCII in it is looked for as it is.
    return has(bare(name), bare(value)) if bare(value).strip() else has(name, value)


def by_query(person: Person, value: str) -> bool:
    looked = ("first_name", "last_name", "civil_number", "username", "email")
    if any(has(person[name] or "", value) for name in looked):
        return True
    words = value.split()
    return len(words) > 1 and (
        has(person["first_name"], words[0]) or has(person["last_name"], words[1])
    )


def by_keyword(person: Person, value: str) -> bool:
    return by_name(person, value) or any(has(person[name], value) for name in ("email", "username"))


def by_field(name: str) -> Callable[[Person, str], bool]:
    return lambda person, value: has(person[name], value)


MEANING: dict[str, Callable[[Person, str], bool]] = {
    "query": by_query,
    "full_name": by_name,
    "user_keyword": by_keyword,
    "email": by_field("email"),
    "native_name": by_field("native_name"),
    "organization": by_field("organization"),
    "job_title": by_field("job_title"),
}


class Undone(Exception):  # noqa: N818 - says what is the case
    pass


@contextmanager
def undone(database: Database) -> Iterator[WriteTransaction]:
    """Write, look, and leave nothing behind."""
    with suppress(Undone), database.write() as tx:
        yield tx
        raise Undone


def add(tx: WriteTransaction, person: Person) -> int:
    number = uuid4().hex
    more = {"uuid": number, "slug": number, "affiliations": [], "joined_at": tx.now}
    return account_queries.add(tx, {**more, "modified_at": tx.now, **person})


def found(tx: WriteTransaction, world: World, **filters: Any) -> set[int]:
    """Look in every way, whichever the list would choose, and as it would choose."""
    answers = []
    for way in (None, *SearchPlan):
        chosen = Listing._way if way is None else lambda *_, way=way: way
        with patch.object(Listing, "_way", chosen):
            rows = account_queries.listing.page(tx, world.staff.actor, filters, (), 300, 0)
            assert account_queries.listing.count(tx, world.staff.actor, filters) == len(rows), way
        answers.append([row.id for row in rows])
    assert answers == answers[:1] * len(answers)
    return set(answers[0]) - {world.staff.id}


@on_both
@given(
    people=st.lists(PEOPLE, min_size=1, max_size=4, unique_by=lambda one: one["username"]),
    others=st.lists(TEXTS.filter(str.strip), max_size=2),
    data=st.data(),
)
def test_a_search_finds_what_python_finds_and_any_part_of_a_name_finds_its_account(
    database: Database, world: World, people: list[Person], others: list[str], data: st.DataObject
) -> None:
    def check(tx: WriteTransaction) -> None:
        numbers = {add(tx, person): person for person in people}
        for name, meaning in MEANING.items():
            number, person = list(numbers.items())[data.draw(st.integers(0, len(people) - 1))]
            own = person["first_name" if name in {"query", "full_name", "user_keyword"} else name]
            start = data.draw(st.integers(0, len(own)))
            part = own[start : data.draw(st.integers(start, len(own)))].strip()
            whole = f"{person['first_name']} {person['last_name']}"
            for value in filter(None, (*others, part, whole)):
                expected = {at for at, one in numbers.items() if meaning(one, value)}
                assert found(tx, world, **{name: value}) == expected, (name, value)
            if part:
                assert number in found(tx, world, **{name: part})

    with undone(database) as tx:
        check(tx)


@pytest.fixture
def ada(world: World) -> int:
    values = {"first_name": "Änne", "last_name": "Öz", "native_name": "Ж", "email": "q@xyz"}
    with world.database.write() as tx:
        return add(tx, {**values, "username": "ann", "organization": "ab", "job_title": "cd"})


def test_nothing_is_found_across_the_border_of_two_fields(world: World, ada: int) -> None:
    with world.database.write() as tx:
        for value in ("änneöz", "neöz", "zann", "annq", "nnq@x"):
            assert found(tx, world, query=value) == set(), value
        for sign in map(chr, range(0x20)):
            for value in (f"nn{sign}q", f"ann{sign}q@", f"{sign}q@x", f"ann{sign}"):
                assert found(tx, world, user_keyword=value) == set(), (sign, value)
            assert found(tx, world, organization=f"b{sign}c") == set()
        assert found(tx, world, organization="cd") == set()
        assert found(tx, world, job_title="cd") == {ada}
        assert found(tx, world, query="ab") == set()


def test_the_case_of_letters_beyond_ascii_makes_no_difference(world: World, ada: int) -> None:
    with world.database.write() as tx:
        for value in ("ÄNNE", "ä", "ÖZ", "Q@XYZ"):
            assert found(tx, world, query=value) == {ada}, value
        assert found(tx, world, native_name="ж") == {ada}
        for value in ("ANNE OZ", "anne öz", "ÄNNE", "nn"):
            assert found(tx, world, full_name=value) == {ada}, value
        assert found(tx, world, full_name="Ж") == set()


def test_a_change_of_the_name_is_found_and_the_old_one_is_not(world: World, ada: int) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, ada, {"first_name": "Bertha"})
        assert found(tx, world, query="bertha") == {ada}
        assert found(tx, world, query="änne") == set()
        assert found(tx, world, full_name="bertha oz") == {ada}


def test_a_very_long_search_is_narrowed_by_its_beginning_and_compared_whole(
    world: World, ada: int
) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, ada, {"organization": "x" * 200 + "y"})
        assert found(tx, world, organization="X" * 200 + "Y") == {ada}
        assert found(tx, world, organization="x" * 201) == set()
        assert found(tx, world, organization="x" * 50_000) == set()


def test_whoever_does_not_see_all_searches_no_civil_number(world: World) -> None:
    bob = world.person("bob")
    values = {"first_name": "C", "last_name": "D", "email": "c@d", "civil_number": "38502"}
    with world.database.write() as tx:
        add(tx, {**values, "username": "cd"})
        place = account_queries.listing
        assert place.count(tx, world.staff.actor, {"query": "850"}) == 1
        assert place.count(tx, bob.actor, {"query": "850"}) == 0


def texts(tx: WriteTransaction) -> dict[int, dict[str, str]]:
    rows = [row._asdict() for row in tx.fetch_all(Statement(select(account_texts)))]
    return {row.pop("account_id"): row for row in rows}


def told(tx: WriteTransaction) -> dict[int, dict[str, str]]:
    here = select(table).where(table.c.deleted_at.is_(None))
    return {row.id: account_search.texts_of(row._asdict()) for row in tx.fetch_all(Statement(here))}


def test_the_texts_are_those_of_the_accounts_that_are_not_deleted(world: World, ada: int) -> None:
    bob = world.person("bob")
    with world.database.write() as tx:
        assert set(texts(tx)) == {world.staff.id, ada, bob.id}
        assert texts(tx) == told(tx)
        changes: dict[str, Any] = {name: f"{name} É" for name in account_search.COLUMNS}
        for name, value in changes.items():
            account_queries.change(tx, ada, {name: value})
            assert texts(tx) == told(tx), name
        account_actions.delete(tx, world.staff.actor, bob.uuid)
        assert set(texts(tx)) == {world.staff.id, ada}
        assert texts(tx) == told(tx)


def test_two_who_change_one_account_at_once_do_not_undo_each_others_text(
    world: World, ada: int
) -> None:
    met = Barrier(2)

    def change(name: str) -> None:
        met.wait()
        with world.database.write() as tx:
            account_queries.change(tx, ada, {name: f"new {name}"})

    for _ in range(10):
        with world.database.write() as tx:
            account_queries.change(
                tx, ada, {"first_name": "old", "organization": "old", "email": "old"}
            )
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(change, ("first_name", "organization")))
        with world.database.write() as tx:
            assert texts(tx) == told(tx)
            assert found(tx, world, organization="new o") == {ada}
            assert found(tx, world, full_name="new f") == {ada}


def test_a_role_is_found_in_every_way(world: World) -> None:
    ada, bob, place = world.person("ada"), world.person("bob"), world.organisation()
    other = world.organisation()
    world.seat(ada, "CUSTOMER.OWNER", place)
    world.seat(bob, "CUSTOMER.OWNER", other)
    late = update(grants).where(grants.c.account_id == bob.id).values(ended_at=grants.c.valid_from)
    with world.database.write() as tx:
        assert found(tx, world, organization_roles=["CUSTOMER.OWNER"]) == {ada.id, bob.id}
        assert found(tx, world, project_roles=["CUSTOMER.OWNER"]) == set()
        assert found(tx, world, organization_roles=["CUSTOMER.OWNER"], email="ada") == {ada.id}
        tx.execute(Statement(late))
        assert found(tx, world, organization_roles=["CUSTOMER.OWNER"]) == {ada.id}
        remove = (
            update(scopes).where(scopes.c.id == place.id).values(removed_at=scopes.c.created_at)
        )
        tx.execute(Statement(remove))
        assert found(tx, world, organization_roles=["CUSTOMER.OWNER"]) == set()


def test_the_longest_description_of_the_widest_letters_can_be_sorted_and_found(
    world: World, ada: int
) -> None:
    with world.database.write() as tx:
        wide = "".join(map(chr, range(0x1F300, 0x1F300 + 1000))) * 2
        account_queries.change(tx, ada, {"description": wide})
        assert found(tx, world, description=wide) == {ada}
        assert found(tx, world, description=wide[:-1]) == set()
        rows = account_queries.listing.page(tx, world.staff.actor, {}, ("-description",), 1, 0)
        assert [row.id for row in rows] == [ada]


@pytest.fixture
def gone(world: World) -> Any:
    bob = world.person("bob")
    mark = update(table).where(table.c.id == bob.id).values(deleted_at=table.c.joined_at)
    texts = delete(account_texts).where(account_texts.c.account_id == bob.id)
    with world.database.write() as tx:
        tx.execute(Statement(mark))
        tx.execute(Statement(texts))
    return bob


def test_a_deleted_account_is_nobody_to_anybody(world: World, gone: Any) -> None:
    with world.database.read() as tx:
        listing, staff = account_queries.listing, world.staff.actor
        assert gone.id not in {row.id for row in listing.page(tx, staff, {}, (), 300, 0)}
        assert listing.count(tx, staff, {}) == 1
        for filters in ({"username": "bob"}, {"query": "bob"}, {"username_list": ["bob"]}):
            assert listing.count(tx, staff, filters) == 0
            assert listing.page(tx, staff, filters, (), 300, 0) == []
        assert account_queries.by_username(tx, "bob") is None
        assert account_queries.by_uuid(tx, gone.uuid) is None
        assert not account_queries.is_taken(tx, "bob")
        for actor in (staff, gone.actor):
            with pytest.raises(Exception, match=r"account\.unknown"):
                account_queries.get_visible(tx, actor, gone.uuid)


def test_an_index_in_many_pieces_is_put_together_and_finds_the_same(world: World) -> None:
    database = world.database
    if not database.is_sqlite:
        database.optimize()  # nothing is to be done
        return
    with database.write() as tx:
        tx._cursor.execute(
            "INSERT INTO account_search (account_search, rank) VALUES ('automerge', 0)"
        )
    people = {world.person(f"piecemeal{number:02}").id for number in range(14)}
    assert database._pieces("account_search") > 8  # one for each transaction
    database.optimize()
    assert database._pieces("account_search") == 1
    with database.write() as tx:
        assert found(tx, world, query="piecemeal") == people
        tx._cursor.execute("INSERT INTO account_search (account_search) VALUES ('integrity-check')")
