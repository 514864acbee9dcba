"""End dates of grants, owners, and who may list members."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from collegium.access.rules import SYSTEM_ROLES, ScopeKind
from collegium.memberships.rules import (
    UNDO,
    Applicant,
    GrantSource,
    Restrictions,
    check_end,
    is_active,
    is_admitted,
    is_owner_role,
    may_list_people,
)
from collegium.refusals import Invalid
from tests.rules.refusing import refused

NOW = datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def test_end_of_a_grant_must_be_in_the_future() -> None:
    for until in (None, NOW + TICK):
        check_end(until, NOW)
    for until in (NOW, NOW - TICK):
        with refused(Invalid, "grant.ends_in_the_past", {"field": "until"}):
            check_end(until, NOW)


def test_owner_roles_exist_in_organisations_and_groups() -> None:
    owners = {
        (kind, role.name)
        for kind in ScopeKind
        for role in SYSTEM_ROLES
        if is_owner_role(kind.value, role.name)
    }
    assert owners == {
        (ScopeKind.ORGANISATION, "CUSTOMER.OWNER"),
        (ScopeKind.GROUP, "GROUP.OWNER"),
        (ScopeKind.GROUP, "GROUP.LEAD"),
    }


@pytest.mark.parametrize(
    ("roles", "lists"),
    [
        (["CUSTOMER.OWNER"], True),
        (["CUSTOMER.SUPPORT"], True),
        (["CUSTOMER.MANAGER", "CUSTOMER.SUPPORT"], True),
        (["CUSTOMER.MANAGER"], False),
        (["GROUP.OWNER", "PROJECT.MANAGER"], False),
        ([], False),
    ],
)
def test_members_are_listed_for_owners_and_support_of_the_organisation(
    roles: list[str], *, lists: bool
) -> None:
    assert may_list_people(roles) is lists


@pytest.mark.parametrize(
    ("ended", "until", "active"),
    [
        (None, None, True),
        (None, NOW + TICK, True),
        (None, NOW, False),
        (NOW + TICK, None, False),
        (NOW - TICK, NOW + TICK, False),
    ],
)
def test_grant_is_active_until_it_is_ended_or_its_end(
    ended: datetime | None, until: datetime | None, *, active: bool
) -> None:
    assert is_active(ended, until, NOW) is active


@pytest.mark.parametrize(
    ("restrictions", "admitted"),
    [
        (Restrictions(), True),
        (Restrictions(email_patterns=["ada@.*"]), True),
        (Restrictions(affiliations=["staff@uni.example"]), True),
        (Restrictions(identity_sources=["uni"]), True),
        (Restrictions(["x"], ["x"], ["uni"]), True),
        (Restrictions(email_patterns=["staff@uni.example"]), False),
        (Restrictions(affiliations=["uni", "ada@uni.example"]), False),
        (Restrictions(identity_sources=["staff@uni.example"]), False),
    ],
)
def test_scope_admits_people_who_meet_one_restriction(
    restrictions: Restrictions, *, admitted: bool
) -> None:
    ada = Applicant("ada@uni.example", ("staff@uni.example",), "uni")
    assert is_admitted(restrictions, ada) is admitted


def test_removed_role_can_be_given_back_for_fifteen_minutes() -> None:
    assert UNDO.total_seconds() == 15 * 60


def test_names_of_sources_are_stored() -> None:
    assert " ".join(GrantSource) == "manual invitation join_request rule"
