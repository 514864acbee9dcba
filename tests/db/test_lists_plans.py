"""At a hundred thousand invitations and two hundred thousand grants no filter reads them all."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import select

from collegium.db.database import ReadTransaction
from collegium.db.statements import Row, Statement
from collegium.db.tables import accounts, grants, roles
from collegium.invitations import queries as invitation_queries
from collegium.lists.listing import Listing
from collegium.memberships import queries as membership_queries
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.projects import queries as project_queries
from collegium.sign_in.tokens.actions import actor_of
from tests.support import big
from tests.support.plans import best, plans_of

pytestmark = pytest.mark.timeout(300)

LIMIT: Final = 0.25
"""Seconds; plans are judged, the clock only says when something is wrong by far."""
STAFF, SOMEBODY = 5000, 77_000
END: Final = big.START + timedelta(minutes=10 * big.INVITATIONS)


def person(tx: ReadTransaction, number: int) -> Row:
    return tx.fetch_one(Statement(select(accounts).where(accounts.c.id == number)))


def somebody_with_a_role(tx: ReadTransaction) -> Row:
    """Somebody with a native name, whose grants last."""
    held = select(grants.c.account_id).where(
        grants.c.ended_at.is_(None), grants.c.valid_until.is_(None)
    )
    here = (accounts.c.id.in_(held), accounts.c.native_name != "", accounts.c.deleted_at.is_(None))
    return tx.fetch_one(Statement(select(accounts).where(*here, accounts.c.id > SOMEBODY)))


def role(tx: ReadTransaction, name: str) -> str:
    return str(tx.scalar(Statement(select(roles.c.uuid).where(roles.c.name == name))))


def selective(tx: ReadTransaction) -> dict[str, tuple[Listing, dict[str, Any]]]:
    """One value a filter, each of which few rows meet."""
    somebody = somebody_with_a_role(tx)
    organisation, project = f"{7:032x}", f"{big.ORGANISATIONS + 7:032x}"
    who = {
        "full_name": f"{somebody.first_name} {somebody.last_name}",
        "native_name": somebody.native_name,
        "user": somebody.uuid,
        "user_slug": somebody.slug[1:].upper(),
        "user_url": somebody.uuid,
        "username": somebody.username,
    }
    place = {"customer_uuid": organisation, "scope_name": "%EY 1007%"}
    return {
        "invitations": (
            invitation_queries.listing,
            {
                **place,
                "civil_number": f"{somebody.id:011}",
                "email": somebody.email[3:-3].upper(),
                "email_exact": somebody.email.upper(),
                "role_name": "PROJECT.MANAGER",
                "role_uuid": role(tx, "CUSTOMER.SUPPORT"),
                "scope": ("project", project),
                "state": ["requested", "held"],
            },
        ),
        "grants": (
            membership_queries.listing,
            {
                **who,
                **place,
                "role_name": "%CT.MANAG%",
                "role_uuid": role(tx, "CUSTOMER.SUPPORT"),
                "scope_uuid": project,
            },
        ),
    }


# What many meet, or none of those written in bulk.
UNSELECTIVE: Final = {
    "invitations": {"scope_type", "scope_description"},
    "grants": {"scope_type", "created", "modified", "expiration_time"},
}
# How many hold a role neither database foresees: it may read all, and must be quick about it.
UNFORESEEN: Final = {("grants", "role_name"), ("grants", "role_uuid")}


def reads_all(tx: ReadTransaction, plan: str, table: str) -> bool:
    """Tell whether a plan reads every row of a table."""
    if tx.backend == "sqlite":
        return re.search(rf"SCAN {table}\b", plan) is not None
    return f"Seq Scan on {table}" in plan


def test_a_filter_that_few_meet_reads_few_and_takes_no_time(big_tx: ReadTransaction) -> None:
    tx, staff, slow = big_tx, actor_of(person(big_tx, STAFF)), {}
    for name, (listing, wanted) in selective(tx).items():
        assert set(wanted) | UNSELECTIVE[name] == set(listing.filters), name
        for parameter, value in wanted.items():
            asked = {parameter: value}
            assert 0 < listing.count(tx, staff, asked) < 1000, (name, parameter)
            for plan in plans_of(listing, tx, staff, asked):
                whole = reads_all(tx, plan, name)
                assert not whole or (name, parameter) in UNFORESEEN, (name, parameter, plan)
            taken = (
                best(lambda asked=asked, of=listing: of.page(tx, staff, asked, (), 10, 0)),
                best(lambda asked=asked, of=listing: of.count(tx, staff, asked)),
            )
            if max(taken) > LIMIT:
                slow[name, parameter] = (*taken, *plans_of(listing, tx, staff, asked))
    assert slow == {}


def test_what_nobody_has_is_missed_as_fast(big_tx: ReadTransaction) -> None:
    tx, staff, slow = big_tx, actor_of(person(big_tx, STAFF)), {}
    late = END + timedelta(days=9000)
    for listing, missed in (
        (
            invitation_queries.listing,
            {
                "civil_number": "x",
                "email": "qqq",
                "email_exact": "x@example.org",
                "scope_description": "%x%",
                "scope_name": "%xx%",
                "state": ["canceled"],
            },
        ),
        (
            membership_queries.listing,
            {
                "created": late,
                "expiration_time": late,
                "full_name": "qqq",
                "modified": late,
                "role_name": "%xx%",
                "user_slug": "qqq",
            },
        ),
    ):
        for parameter, value in missed.items():
            asked = {parameter: value}
            assert listing.count(tx, staff, asked) == 0, parameter
            taken = (
                best(lambda asked=asked, of=listing: of.page(tx, staff, asked, (), 10, 0)),
                best(lambda asked=asked, of=listing: of.count(tx, staff, asked)),
            )
            if max(taken) > LIMIT:
                slow[parameter] = (*taken, *plans_of(listing, tx, staff, asked))
    assert slow == {}


def test_names_of_places_are_found_by_reading_the_places_alone(big_tx: ReadTransaction) -> None:
    tx, staff = big_tx, actor_of(person(big_tx, STAFF))
    for listing, asked in (
        (organisation_queries.listing, {"name": "%E 77%"}),
        (organisation_queries.listing, {"query": "E 77"}),
        (project_queries.listing, {"name": "%Y 177%"}),
        (project_queries.listing, {"customer_name": "%E 77%"}),
    ):
        assert listing.count(tx, staff, asked) > 0
        assert best(lambda asked=asked, of=listing: of.page(tx, staff, asked, (), 10, 0)) < LIMIT
        assert best(lambda asked=asked, of=listing: of.count(tx, staff, asked)) < LIMIT
