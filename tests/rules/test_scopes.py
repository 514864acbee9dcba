"""Scopes have bounds: projects of an organisation, open invite links of a scope."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collegium.refusals import Conflict
from collegium.scopes.rules import check_invite_link_quota, check_project_quota

QUOTAS = [
    (check_project_quota, "organisation.too_many_projects"),
    (check_invite_link_quota, "open_invitation.too_many"),
]


@pytest.mark.parametrize(("check", "code"), QUOTAS)
def test_last_place_below_the_bound_can_be_taken(
    check: Callable[[int, int], None], code: str
) -> None:
    check(0, 1)
    check(4, 5)
    for count in (5, 6):
        with pytest.raises(Conflict) as refused:
            check(count, 5)
        assert refused.value.code == code
        assert refused.value.facts == {"most": 5}
