"""Search for accounts, compared with a plain implementation in Python."""

import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.api.waldur import accounts as accounts_api
from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import account_texts, grants, scopes
from collegium.db.tables import accounts as table
from collegium.lists import account_search
from collegium.lists.listing import Listing, SearchPlan
from tests.support.world import World

Person = dict[str, Any]
on_both = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LETTERS = st.one_of(
    st.sampled_from("aAbeEéÉäÄßẞıİſKΣσςЖж李한'\"\\%_*-.@ "),  # noqa: RUF001 - special cases of folding
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
    # A value without ASCII letters is not reduced to ASCII.
    return has(bare(name), bare(value)) if bare(value).strip() else has(name, value)


def by_query(person: Person, value: str) -> bool:
    fields = ("first_name", "last_name", "civil_number", "username", "email")
    if any(has(person[name] or "", value) for name in fields):
        return True
    words = value.split()
    return len(words) > 1 and (
        has(person["first_name"], words[0]) or has(person["last_name"], words[1])
    )


def by_keyword(person: Person, value: str) -> bool:
    return by_name(person, value) or any(has(person[name], value) for name in ("email", "username"))


def by_field(name: str) -> Callable[[Person, str], bool]:
    return lambda person, value: has(person[name], value)


REFERENCE: dict[str, Callable[[Person, str], bool]] = {
    "query": by_query,
    "full_name": by_name,
    "user_keyword": by_keyword,
    "email": by_field("email"),
    "native_name": by_field("native_name"),
    "organization": by_field("organization"),
    "job_title": by_field("job_title"),
}


class RollbackError(Exception):
    pass


@contextmanager
def rolled_back(database: Database) -> Iterator[WriteTransaction]:
    with suppress(RollbackError), database.write() as tx:
        yield tx
        raise RollbackError


def add(tx: WriteTransaction, person: Person) -> int:
    uuid = uuid4().hex
    more = {"uuid": uuid, "slug": uuid, "affiliations": [], "joined_at": tx.now}
    return account_queries.add(tx, {**more, "modified_at": tx.now, **person})


def search_ids(tx: WriteTransaction, world: World, **filters: Any) -> set[int]:
    """Search with each plan and with the chosen one; return the ids, without the staff account."""
    results = []
    for plan in (None, *SearchPlan):
        choose = Listing._choose_plan if plan is None else lambda *_, plan=plan: plan
        with patch.object(Listing, "_choose_plan", choose):
            rows = accounts_api.LIST.listing.page(tx, world.staff.actor, filters, (), 300, 0)
            assert accounts_api.LIST.listing.count(tx, world.staff.actor, filters) == len(rows), (
                plan
            )
        results.append([row.id for row in rows])
    assert results == results[:1] * len(results)
    return set(results[0]) - {world.staff.id}


@on_both
@given(
    people=st.lists(PEOPLE, min_size=1, max_size=4, unique_by=lambda person: person["username"]),
    others=st.lists(TEXTS.filter(str.strip), max_size=2),
    data=st.data(),
)
def test_search_finds_the_same_as_python(
    database: Database, world: World, people: list[Person], others: list[str], data: st.DataObject
) -> None:
    def check(tx: WriteTransaction) -> None:
        by_id = {add(tx, person): person for person in people}
        for name, matches in REFERENCE.items():
            number, person = list(by_id.items())[data.draw(st.integers(0, len(people) - 1))]
            own = person["first_name" if name in {"query", "full_name", "user_keyword"} else name]
            start = data.draw(st.integers(0, len(own)))
            part = own[start : data.draw(st.integers(start, len(own)))].strip()
            whole = f"{person['first_name']} {person['last_name']}".strip()
            for value in filter(None, (*others, part, whole)):
                expected = {key for key, each in by_id.items() if matches(each, value)}
                assert search_ids(tx, world, **{name: value}) == expected, (name, value)
            if part:
                assert number in search_ids(tx, world, **{name: part})

    with rolled_back(database) as tx:
        check(tx)


@pytest.fixture
def ada(world: World) -> int:
    values = {"first_name": "Änne", "last_name": "Öz", "native_name": "Ж", "email": "q@xyz"}
    with world.database.write() as tx:
        return add(tx, {**values, "username": "ann", "organization": "ab", "job_title": "cd"})


def test_search_does_not_match_across_two_fields(world: World, ada: int) -> None:
    with world.database.write() as tx:
        for value in ("änneöz", "neöz", "zann", "annq", "nnq@x"):
            assert search_ids(tx, world, query=value) == set(), value
        for control in map(chr, range(0x20)):
            for value in (f"nn{control}q", f"ann{control}q@", f"{control}q@x", f"ann{control}"):
                assert search_ids(tx, world, user_keyword=value) == set(), (control, value)
            assert search_ids(tx, world, organization=f"b{control}c") == set()
        assert search_ids(tx, world, organization="cd") == set()
        assert search_ids(tx, world, job_title="cd") == {ada}
        assert search_ids(tx, world, query="ab") == set()


def test_search_ignores_the_case_of_unicode_letters(world: World, ada: int) -> None:
    with world.database.write() as tx:
        for value in ("ÄNNE", "ä", "ÖZ", "Q@XYZ"):
            assert search_ids(tx, world, query=value) == {ada}, value
        assert search_ids(tx, world, native_name="ж") == {ada}
        for value in ("ANNE OZ", "anne öz", "ÄNNE", "nn"):
            assert search_ids(tx, world, full_name=value) == {ada}, value
        assert search_ids(tx, world, full_name="Ж") == set()


def test_search_finds_the_new_name_after_a_change(world: World, ada: int) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, ada, {"first_name": "Bertha"})
        assert search_ids(tx, world, query="bertha") == {ada}
        assert search_ids(tx, world, query="änne") == set()
        assert search_ids(tx, world, full_name="bertha oz") == {ada}


def test_very_long_search_is_compared_completely(world: World, ada: int) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, ada, {"organization": "x" * 200 + "y"})
        assert search_ids(tx, world, organization="X" * 200 + "Y") == {ada}
        assert search_ids(tx, world, organization="x" * 201) == set()
        assert search_ids(tx, world, organization="x" * 50_000) == set()


def test_only_staff_search_civil_numbers(world: World) -> None:
    bob = world.person("bob")
    values = {"first_name": "C", "last_name": "D", "email": "c@d", "civil_number": "38502"}
    with world.database.write() as tx:
        add(tx, {**values, "username": "cd"})
        listing = accounts_api.LIST.listing
        assert listing.count(tx, world.staff.actor, {"query": "850"}) == 1
        assert listing.count(tx, bob.actor, {"query": "850"}) == 0


def stored_texts(tx: WriteTransaction) -> dict[int, dict[str, str]]:
    rows = [row._asdict() for row in tx.fetch_all(Statement[Any](select(account_texts)))]
    return {row.pop("account_id"): row for row in rows}


def expected_texts(tx: WriteTransaction) -> dict[int, dict[str, str]]:
    rows = tx.fetch_all(Statement[Any](select(table).where(table.c.deleted_at.is_(None))))
    return {row.id: account_search.texts_of(row._asdict()) for row in rows}


def test_search_texts_follow_changes_and_deletions(world: World, ada: int) -> None:
    bob = world.person("bob")
    with world.database.write() as tx:
        assert set(stored_texts(tx)) == {world.staff.id, ada, bob.id}
        assert stored_texts(tx) == expected_texts(tx)
        changes: dict[str, Any] = {name: f"{name} É" for name in account_search.COLUMNS}
        for name, value in changes.items():
            account_queries.change(tx, ada, {name: value})
            assert stored_texts(tx) == expected_texts(tx), name
        account_actions.delete(tx, world.staff.actor, bob.uuid)
        assert set(stored_texts(tx)) == {world.staff.id, ada}
        assert stored_texts(tx) == expected_texts(tx)


def test_concurrent_changes_of_an_account_keep_both_search_texts(world: World, ada: int) -> None:
    barrier = Barrier(2)

    def change(name: str) -> None:
        barrier.wait()
        with world.database.write() as tx:
            account_queries.change(tx, ada, {name: f"new {name}"})

    for _ in range(10):
        with world.database.write() as tx:
            old = dict.fromkeys(("first_name", "organization", "email"), "old")
            account_queries.change(tx, ada, old)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(change, ("first_name", "organization")))
        with world.database.write() as tx:
            assert stored_texts(tx) == expected_texts(tx)
            assert search_ids(tx, world, organization="new o") == {ada}
            assert search_ids(tx, world, full_name="new f") == {ada}


def test_accounts_are_found_by_role_with_every_plan(world: World) -> None:
    ada, bob, organisation = world.person("ada"), world.person("bob"), world.organisation()
    other = world.organisation()
    world.give_role(ada, "CUSTOMER.OWNER", organisation)
    world.give_role(bob, "CUSTOMER.OWNER", other)
    ended = update(grants).where(grants.c.account_id == bob.id).values(ended_at=grants.c.valid_from)
    with world.database.write() as tx:
        assert search_ids(tx, world, organization_roles=["CUSTOMER.OWNER"]) == {ada.id, bob.id}
        assert search_ids(tx, world, project_roles=["CUSTOMER.OWNER"]) == set()
        assert search_ids(tx, world, organization_roles=["CUSTOMER.OWNER"], email="ada") == {ada.id}
        tx.execute(Statement[Any](ended))
        assert search_ids(tx, world, organization_roles=["CUSTOMER.OWNER"]) == {ada.id}
        remove = update(scopes).values(deleted_at=scopes.c.created_at)
        tx.execute(Statement[Any](remove.where(scopes.c.id == organisation.id)))
        assert search_ids(tx, world, organization_roles=["CUSTOMER.OWNER"]) == set()


def test_longest_description_can_be_sorted_and_found(world: World, ada: int) -> None:
    with world.database.write() as tx:
        wide = "".join(map(chr, range(0x1F300, 0x1F300 + 1000))) * 2
        account_queries.change(tx, ada, {"description": wide})
        assert search_ids(tx, world, description=wide) == {ada}
        assert search_ids(tx, world, description=wide[:-1]) == set()
        rows = accounts_api.LIST.listing.page(tx, world.staff.actor, {}, ("-description",), 1, 0)
        assert [row.id for row in rows] == [ada]


@pytest.fixture
def deleted(world: World) -> Any:
    bob = world.person("bob")
    mark = update(table).where(table.c.id == bob.id).values(deleted_at=table.c.joined_at)
    stored_texts = delete(account_texts).where(account_texts.c.account_id == bob.id)
    with world.database.write() as tx:
        tx.execute(Statement[Any](mark))
        tx.execute(Statement[Any](stored_texts))
    return bob


def test_deleted_account_is_not_found(world: World, deleted: Any) -> None:
    with world.database.read() as tx:
        listing, staff = accounts_api.LIST.listing, world.staff.actor
        assert deleted.id not in {row.id for row in listing.page(tx, staff, {}, (), 300, 0)}
        assert listing.count(tx, staff, {}) == 1
        for filters in ({"username": "bob"}, {"query": "bob"}, {"username_list": ["bob"]}):
            assert listing.count(tx, staff, filters) == 0
            assert listing.page(tx, staff, filters, (), 300, 0) == []
        assert account_queries.by_username(tx, "bob") is None
        assert account_queries.by_uuid(tx, deleted.uuid) is None
        assert not account_queries.is_username_taken(tx, "bob")
        for actor in (staff, deleted.actor):
            with pytest.raises(Exception, match=r"account\.unknown"):
                account_queries.get_visible(tx, actor, deleted.uuid)


def test_optimize_merges_the_pieces_of_the_search_index(world: World) -> None:
    database = world.database
    if not database.is_sqlite:
        database.optimize()  # does nothing
        return
    with database.write() as tx:
        tx._cursor.execute(
            "INSERT INTO account_search (account_search, rank) VALUES ('automerge', 0)"
        )
    people = {world.person(f"piecemeal{number:02}").id for number in range(14)}
    assert database._count_segments("account_search") > 8  # one per transaction
    database.optimize()
    assert database._count_segments("account_search") == 1
    with database.write() as tx:
        assert search_ids(tx, world, query="piecemeal") == people
        tx._cursor.execute("INSERT INTO account_search (account_search) VALUES ('integrity-check')")
