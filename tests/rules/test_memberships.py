"""What holds of grants, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from collegium.access.rules import SYSTEM_ROLES, ScopeKind
from collegium.memberships.rules import (
    check_end,
    ensure_owner_remains,
    is_owner_role,
    may_list_people,
)
from collegium.refusals import Conflict, Invalid

NOW = datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize("until", [None, NOW + TICK], ids=["never", "in_a_moment"])
def test_a_grant_may_end_never_or_later(until: datetime | None) -> None:
    check_end(until, NOW)


@pytest.mark.parametrize("until", [NOW, NOW - TICK], ids=["this_very_instant", "a_moment_ago"])
def test_a_grant_must_not_end_before_it_is_given(until: datetime) -> None:
    with pytest.raises(Invalid) as refused:
        check_end(until, NOW)
    assert refused.value.code == "grant.ends_in_the_past"
    assert refused.value.facts == {"field": "until"}


def test_the_owner_roles_are_those_of_organisations_and_groups() -> None:
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


def test_the_last_owner_stays() -> None:
    with pytest.raises(Conflict) as refused:
        ensure_owner_remains("organisation", "CUSTOMER.OWNER", 0)
    assert refused.value.code == "scope.last_owner"
    for role in ("GROUP.OWNER", "GROUP.LEAD"):
        with pytest.raises(Conflict):
            ensure_owner_remains("group", role, 0)


@pytest.mark.parametrize(
    ("kind", "role", "others"),
    [
        ("organisation", "CUSTOMER.OWNER", 1),
        ("organisation", "CUSTOMER.SUPPORT", 0),
        ("project", "PROJECT.MANAGER", 0),
        ("project", "CUSTOMER.OWNER", 0),
        ("group", "GROUP.OWNER", 1),
        ("group", "GROUP.MANAGER", 0),
    ],
    ids=["another_owner", "no_owner_role", "project", "role_of_another_kind", "group", "manager"],
)
def test_anybody_else_may_go(kind: str, role: str, others: int) -> None:
    ensure_owner_remains(kind, role, others)


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
def test_people_are_listed_to_owners_and_support_of_the_organisation(
    roles: list[str], *, lists: bool
) -> None:
    assert may_list_people(roles) is lists
