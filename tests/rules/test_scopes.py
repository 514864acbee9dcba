"""Limits of scopes: projects of an organisation, open invite links of a scope."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collegium.refusals import Conflict
from collegium.scopes.rules import check_invite_link_quota, check_project_quota
from tests.rules.refusing import refused

QUOTAS = [
    (check_project_quota, "organisation.too_many_projects"),
    (check_invite_link_quota, "invite_link.too_many"),
]


@pytest.mark.parametrize(("check", "code"), QUOTAS)
def test_quota_allows_numbers_below_the_limit(check: Callable[[int, int], None], code: str) -> None:
    check(0, 1)
    check(4, 5)
    for count in (5, 6):
        with refused(Conflict, code, {"most": 5}):
            check(count, 5)
