"""Plans of the list of accounts at 100,000 accounts.

A search with few results uses an index, other searches read the narrow table ``account_texts``,
never ``accounts``. The plans are tested; the time limits are wide, because the machine may be busy.
"""

import re
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import func, literal, select

from collegium.access.rules import Actor
from collegium.api.waldur import accounts as accounts_api
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts as table
from collegium.memberships import history
from collegium.memberships import queries as membership_queries
from collegium.scopes.organisations import queries as organisation_queries
from collegium.sign_in.tokens.actions import actor_of
from tests.db.plans import best, explain, plans_of, reads_all, seconds
from tests.support import bulk_data

pytestmark = pytest.mark.timeout(300)

LIMIT: Final = 0.05
TEXTS_LIMIT: Final = 1.0
"""The same for searches that read all texts, on a busy machine."""
LATE: Final = bulk_data.START + timedelta(minutes=10 * (bulk_data.ACCOUNTS - 100))
STAFF, ACCOUNT = 5000, 77_777
EARLY: Final = bulk_data.START - timedelta(days=1)
SEARCHES: Final = {
    "email": "example",
    "full_name": "ma",
    "job_title": "st",
    "native_name": "0",
    "organization": "institute",
    "query": "example",
    "user_keyword": "example",
}
"""For each filter by a part of a text, a value that many accounts match."""
MANY: Final = {
    "agreement_date": EARLY,
    "date_joined": EARLY,
    "is_active": True,
    "is_staff": False,
    "is_support": False,
    "modified": EARLY,
    "organization_roles": ["CUSTOMER.OWNER"],
    "project_roles": ["PROJECT.MEMBER"],
    "registration_method": "default",
}
"""The same for other filters that many accounts can match."""


@pytest.fixture
def tx(big_tx: ReadTransaction) -> ReadTransaction:
    return big_tx


def person(tx: ReadTransaction, number: int) -> Any:
    return tx.fetch_one(Statement[Any](select(table).where(table.c.id == number)))


def selective(account: Any) -> dict[str, Any]:
    """Return for each filter a value that few accounts match."""
    return {
        "agreement_date": LATE,
        "civil_number": account.civil_number,
        "customer_uuid": f"{7:032x}",
        "date_joined": LATE,
        "description": "Remark on 500",
        "email": account.email[3:-3],
        "full_name": f"{account.first_name} {account.last_name}",
        "is_active": False,
        "is_staff": True,
        "is_support": True,
        "job_title": " 5004",
        "modified": LATE + timedelta(days=1),
        "native_name": " 500",
        "organization": account.organization.upper(),
        "organization_roles": ["CUSTOMER.SUPPORT"],
        "phone_number": account.phone_number,
        "project_roles": ["PROJECT.MANAGER"],
        "project_uuid": f"{bulk_data.ORGANISATIONS + 2:032x}",
        "query": f"{account.first_name} {account.last_name}",
        "registration_method": "saml2",
        "user_keyword": account.username[:9],
        "username": account.username,
        "username_list": [account.username, "nobody"],
    }


def plans(
    tx: ReadTransaction, actor: Actor, filters: dict[str, Any], *order: str
) -> tuple[str, str]:
    return plans_of(accounts_api.LIST.listing, tx, actor, filters, *order)


def test_filter_with_few_matches_reads_few_rows(tx: ReadTransaction) -> None:
    account, staff = person(tx, ACCOUNT), actor_of(person(tx, STAFF))
    filters_by_name = selective(account)
    assert set(filters_by_name) == set(accounts_api.LIST.listing.filters)
    listing, durations = accounts_api.LIST.listing, {}
    for name, value in [*filters_by_name.items(), ("query", account.username)]:
        filters = {name: value}
        assert 0 < listing.count(tx, staff, filters) < 1000, name
        for plan in plans(tx, staff, filters):
            assert not reads_all(tx, plan, "accounts"), (name, plan)
        durations[name] = seconds(listing, tx, staff, filters, LIMIT)
    assert max(durations.values()) < LIMIT, durations


def test_list_of_few_visible_rows_does_not_read_all(tx: ReadTransaction) -> None:
    listing, durations = accounts_api.LIST.listing, {}
    actors = (actor_of(person(tx, number)) for number in range(ACCOUNT, ACCOUNT + 100))
    member = next(actor for actor in actors if 20 < listing.count(tx, actor, {}) < 1000)
    filters_by_name = selective(person(tx, ACCOUNT))
    for filters in ({}, *({name: value} for name, value in filters_by_name.items())):
        if tx.backend == "postgresql":
            for plan in plans(tx, member, filters):
                assert not reads_all(tx, plan, "accounts"), (filters, plan)
                # The grants of the actor, and the subnets of each, are read once.
                reads = plan.count(f"(account_id = '{member.id}'")
                assert reads == 1 or filters, plan
        durations[str(filters)] = seconds(listing, tx, member, filters, LIMIT)
    assert max(durations.values()) < LIMIT, durations


def test_search_of_a_member_looks_up_only_matching_accounts(tx: ReadTransaction) -> None:
    """It compares the narrow texts of the visible people first, and not those of each account."""
    listing, member = accounts_api.LIST.listing, actor_of(person(tx, ACCOUNT))
    for plan in plans(tx, member, {"query": "an"}):
        assert "account_texts" in plan, plan
        assert not reads_all(tx, plan, "account_texts", "accounts"), plan
        assert "EXISTS(SubPlan" not in plan, plan  # once for each account, on PostgreSQL
    everybody = {row.id for row in listing.page(tx, member, {}, (), 1000, 0)}
    found = listing.page(tx, member, {"query": "an"}, (), 1000, 0)
    matching = {number for number in everybody if is_match(person(tx, number), "an")}
    assert {row.id for row in found} == matching
    assert listing.count(tx, member, {"query": "an"}) == len(matching) > 0


def is_match(account: Any, text: str) -> bool:
    fields = (account.first_name, account.last_name, account.username, account.email)
    return any(text in field.casefold() for field in fields)


def test_search_of_the_members_of_a_scope_compares_narrow_texts(tx: ReadTransaction) -> None:
    listing, staff = membership_queries.of_scope, actor_of(person(tx, STAFF))
    for filters in ({"full_name": "an"}, {"search_string": "a@"}, {"full_name": "mira"}):
        for plan in plans_of(listing, tx, staff, {**filters, "scope": 7}):
            assert "account_texts" in plan, plan
            assert not reads_all(tx, plan, "account_texts", "accounts", "grants"), plan
    everybody = listing.page(tx, staff, {"scope": 7}, (), 1000, 0)
    found = listing.page(tx, staff, {"scope": 7, "search_string": "an"}, (), 1000, 0)
    matching = [row.id for row in everybody if is_match(person(tx, row.account_id), "an")]
    assert [row.id for row in found] == matching
    assert listing.count(tx, staff, {"scope": 7, "search_string": "an"}) == len(matching) > 0


def test_search_without_matches_reads_only_the_texts(tx: ReadTransaction) -> None:
    """Among them are values that an index finds in many accounts, but in other fields."""
    staff, listing = actor_of(person(tx, STAFF)), accounts_api.LIST.listing
    searches = [(name, value) for name in SEARCHES for value in ("q", "qx", "qx xq")]
    elsewhere = ("job_title", "native_name", "organization", "full_name")
    for name, value in (*searches, *((name, "example") for name in elsewhere)):
        for plan in plans(tx, staff, {name: value}):
            if value != "qx xq":
                assert reads_all(tx, plan, "account_texts"), (name, value, plan)
            assert not reads_all(tx, plan, "accounts"), (name, value, plan)
        assert listing.count(tx, staff, {name: value}) == 0
        assert seconds(listing, tx, staff, {name: value}, TEXTS_LIMIT) < TEXTS_LIMIT, (
            name,
            value,
        )


def test_search_with_many_matches_counts_texts_and_lists_in_order(tx: ReadTransaction) -> None:
    staff, listing = actor_of(person(tx, STAFF)), accounts_api.LIST.listing
    for name, value in SEARCHES.items():
        page, count = plans(tx, staff, {name: value})
        assert reads_all(tx, count, "account_texts"), (name, count)
        assert not re.search(r"\baccounts\b", count), (name, count)
        if name != "native_name":  # few accounts have one
            assert re.search("(ix|uq)_accounts_username", page), (name, page)
            assert not re.search("Sort|USE TEMP B-TREE", page), (name, page)
        assert listing.count(tx, staff, {name: value}) > 1000, name
        assert seconds(listing, tx, staff, {name: value}, TEXTS_LIMIT) < TEXTS_LIMIT, name
    for name, other in MANY.items():
        assert listing.count(tx, staff, {name: other}) > 10_000, name
        assert seconds(listing, tx, staff, {name: other}, TEXTS_LIMIT) < TEXTS_LIMIT, name


def test_every_filter_is_tested(tx: ReadTransaction) -> None:
    few = selective(person(tx, ACCOUNT))
    single = {"civil_number", "description", "phone_number", "username", "username_list"}
    scopes = {"customer_uuid", "project_uuid"}
    assert (
        set(few) == set(accounts_api.LIST.listing.filters) == {*SEARCHES, *MANY, *single, *scopes}
    )


def test_first_page_uses_an_index_in_every_order(tx: ReadTransaction) -> None:
    staff, listing = actor_of(person(tx, STAFF)), accounts_api.LIST.listing
    for name in listing.orders:
        for order in (name, f"-{name}"):
            page, count = plans(tx, staff, {}, order)
            assert not re.search("Sort|USE TEMP B-TREE", page), (order, page)
            duration = best(partial(listing.page, tx, staff, {}, (order,), 10, 0), LIMIT)
            assert duration < LIMIT, order
        assert "row_counts" in count, count
        assert not reads_all(tx, count, "accounts"), count


def test_flag_of_nearly_all_accounts_is_counted_by_the_others(tx: ReadTransaction) -> None:
    staff, listing = actor_of(person(tx, STAFF)), accounts_api.LIST.listing
    not_deleted = select(func.count().label("n")).where(table.c.deleted_at.is_(None))
    for name, value in (("is_active", True), ("is_staff", False), ("is_support", False)):
        _, count = plans(tx, staff, {name: value})
        assert "row_counts" in count, (name, count)
        counted = tx.fetch_only(Statement[int](not_deleted.where(table.c[name] == literal(value))))
        assert listing.count(tx, staff, {name: value}) == counted, name
        others = listing.count(tx, staff, {name: not value})
        assert 0 < others == listing.count(tx, staff, {}) - counted, name
        both = {name: value, "organization": "institute"}
        assert 0 < listing.count(tx, staff, both) < counted, name
    member = actor_of(person(tx, ACCOUNT))
    seen = listing.page(tx, member, {"is_active": True}, (), 1000, 0)
    assert listing.count(tx, member, {"is_active": True}) == len(seen) < 1000


def test_page_far_into_the_list_skips_rows_in_the_index_only(tx: ReadTransaction) -> None:
    actor = actor_of(person(tx, STAFF))
    page, _ = plans_of(accounts_api.LIST.listing, tx, actor, {}, offset=bulk_data.ACCOUNTS - 1000)
    index_only = "USING COVERING INDEX" if tx.backend == "sqlite" else "Index Only Scan"
    assert index_only in page, page


def test_people_of_organisations_are_counted_without_reading_all_grants(
    tx: ReadTransaction,
) -> None:
    (plan,) = explain(tx, lambda tx: organisation_queries.count_people(tx, [7, 8]))
    assert not reads_all(tx, plan, "grants", "accounts", "scopes"), plan
    duration = best(lambda: organisation_queries.count_people(tx, [7, 8]), LIMIT)
    assert duration < LIMIT, plan


def test_members_by_day_read_the_grants_of_one_organisation_only(tx: ReadTransaction) -> None:
    days = [tx.now.date() - timedelta(days=ago) for ago in range(30, -1, -1)]
    plans = explain(tx, lambda tx: history.people_per_day(tx, 7, days))
    assert len(plans) == 2
    for plan in plans:
        assert not reads_all(tx, plan, "grants", "accounts", "scopes"), plan
    duration = best(lambda: history.people_per_day(tx, 7, days), LIMIT)
    assert duration < LIMIT
