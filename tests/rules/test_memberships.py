"""End dates of grants, owners, and who may list members."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from collegium.access.rules import SYSTEM_ROLES, ScopeKind
from collegium.memberships.rules import (
    check_end,
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
