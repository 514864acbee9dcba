"""No filter reads all rows of 100,000 invitations or 200,000 grants."""

import re
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import select

from collegium.api.waldur import invitations, memberships, organisations, projects
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts, grants, roles
from collegium.invitations import queries as invitation_queries
from collegium.lists.listing import Listing
from collegium.memberships import queries as membership_queries
from collegium.sign_in.tokens.actions import actor_of
from tests.db.plans import explain, plans_of, reads_all, seconds
from tests.support import bulk_data

pytestmark = pytest.mark.timeout(300)

LIMIT: Final = 0.25
"""Seconds. The limit is wide: the plans are tested, not the machine."""
STAFF, ACCOUNT = 5000, 77_000
END: Final = bulk_data.START + timedelta(minutes=10 * bulk_data.INVITATIONS)


def person(tx: ReadTransaction, number: int) -> Any:
    return tx.fetch_one(Statement[Any](select(accounts).where(accounts.c.id == number)))


def account_with_a_role(tx: ReadTransaction) -> Any:
    """Return an account with a native name and an active grant without end."""
    active = (grants.c.ended_at.is_(None), grants.c.valid_until.is_(None))
    members = select(grants.c.account_id).where(*active)
    named = (accounts.c.native_name != "", accounts.c.deleted_at.is_(None))
    statement = select(accounts).where(accounts.c.id.in_(members), *named)
    return tx.fetch_one(Statement[Any](statement.where(accounts.c.id > ACCOUNT)))


def role(tx: ReadTransaction, name: str) -> str:
    return tx.fetch_only(Statement[str](select(roles.c.uuid).where(roles.c.name == name)))


def selective(tx: ReadTransaction) -> dict[str, tuple[Listing[Any], dict[str, Any]]]:
    """Return for each list and filter a value that few rows match."""
    account = account_with_a_role(tx)
    organisation, project = f"{7:032x}", f"{bulk_data.ORGANISATIONS + 7:032x}"
    by_account = {
        "full_name": f"{account.first_name} {account.last_name}",
        "native_name": account.native_name,
        "user": account.uuid,
        "user_slug": account.slug[1:].upper(),
        "user_url": account.uuid,
        "username": account.username,
    }
    by_scope = {"customer_uuid": organisation, "scope_name": "EY 1007"}
    return {
        "invitations": (
            invitations.LIST.listing,
            {
                **by_scope,
                "civil_number": f"{account.id:011}",
                "email": account.email[3:-3].upper(),
                "email_exact": account.email.upper(),
                "role_name": "PROJECT.MANAGER",
                "role_uuid": role(tx, "CUSTOMER.SUPPORT"),
                "scope": ("project", project),
                "state": ["requested", "held"],
            },
        ),
        "grants": (
            memberships.LIST.listing,
            {
                **by_account,
                **by_scope,
                "role_name": "CT.MANAG",
                "role_uuid": role(tx, "CUSTOMER.SUPPORT"),
                "scope_uuid": project,
            },
        ),
    }


# Many rows match, or none of the large database.
UNSELECTIVE: Final = {
    "invitations": {"scope_type", "scope_description"},
    "grants": {
        *("scope_type", "created", "created_before", "modified", "modified_before"),
        *("expiration_time", "is_active", "show_inactive"),
    },
}
# No database can estimate how many accounts have a role: reading all rows is allowed, if quick.
NOT_ESTIMATED: Final = {("grants", "role_name"), ("grants", "role_uuid")}


def test_filter_with_few_matches_reads_few_rows(big_tx: ReadTransaction) -> None:
    tx, staff, durations = big_tx, actor_of(person(big_tx, STAFF)), {}
    for name, (listing, filters_by_name) in selective(tx).items():
        assert set(filters_by_name) | UNSELECTIVE[name] == set(listing.filters), name
        for parameter, value in filters_by_name.items():
            filters = {parameter: value}
            assert 0 < listing.count(tx, staff, filters) < 1000, (name, parameter)
            for plan in plans_of(listing, tx, staff, filters):
                is_full_scan = reads_all(tx, plan, name)
                assert not is_full_scan or (name, parameter) in NOT_ESTIMATED, (
                    name,
                    parameter,
                    plan,
                )
            durations[name, parameter] = seconds(listing, tx, staff, filters, LIMIT)
    assert max(durations.values()) < LIMIT, durations


def test_filter_without_matches_is_fast(big_tx: ReadTransaction) -> None:
    tx, staff, durations = big_tx, actor_of(person(big_tx, STAFF)), {}
    late, early = END + timedelta(days=9000), END - timedelta(days=9000)
    for listing, unmatched in (
        (
            invitations.LIST.listing,
            {
                "civil_number": "x",
                "email": "qqq",
                "email_exact": "x@example.org",
                "scope_description": "x",
                "scope_name": "xx",
                "state": ["canceled"],
            },
        ),
        (
            memberships.LIST.listing,
            {
                "created": late,
                "expiration_time": late,
                "full_name": "qqq",
                "modified": late,
                "role_name": "xx",
                "user_slug": "qqq",
            },
        ),
        (memberships.LIST.listing, {"created_before": early, "modified_before": early}),
        (
            memberships.HISTORY.listing,
            {"created": late, "created_before": early, "modified": late, "modified_before": early},
        ),
    ):
        for parameter, value in unmatched.items():
            assert listing.count(tx, staff, {parameter: value}) == 0, parameter
            durations[parameter] = seconds(listing, tx, staff, {parameter: value}, LIMIT)
    assert max(durations.values()) < LIMIT, durations


@pytest.mark.parametrize("big_tx", ["sqlite", "postgresql"], indirect=True)
def test_batch_of_a_download_is_found_by_its_keys(big_tx: ReadTransaction) -> None:
    """However long the list of the scope is, and however far in it."""
    staff = actor_of(person(big_tx, STAFF))
    for table, listing, filters in (
        ("grants", membership_queries.of_scope, {"scope": 7}),
        ("invitations", invitation_queries.of_scope, {"scope_id": 7}),
    ):
        found: Any = listing
        keys = range(1, 1001)
        plan = explain(big_tx, partial(found.batch, actor=staff, filters=filters, keys=keys))[-1]
        assert not re.search(rf"\bix_{table}_\w+", plan), plan
        assert not reads_all(big_tx, plan, table), plan


def test_search_for_names_of_scopes_is_fast(big_tx: ReadTransaction) -> None:
    tx, staff = big_tx, actor_of(person(big_tx, STAFF))
    for listing, filters in (
        (organisations.LIST.listing, {"name": "E 77"}),
        (organisations.LIST.listing, {"query": "E 77"}),
        (projects.LIST.listing, {"name": "Y 177"}),
        (projects.LIST.listing, {"customer_name": "E 77"}),
    ):
        assert listing.count(tx, staff, filters) > 0
        assert seconds(listing, tx, staff, filters, LIMIT) < LIMIT
