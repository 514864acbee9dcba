"""The users list runs a fixed number of SQL statements, however long its page is."""

from __future__ import annotations

from typing import Any

import pytest

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.memberships import actions as membership_actions
from tests.support.site import Site, counted_statements
from tests.support.world import Place, World

FEW, MANY = 10, 300


def crowd(world: World, place: Place, size: int) -> None:
    """Seat people in a place, in one transaction."""
    staff, role = world.staff.actor, world.role("CUSTOMER.OWNER")
    with world.database.write() as tx:
        reached = access_queries.get_visible(tx, staff, place.kind, place.uuid)
        for at in range(size):
            name = f"m{size}-{at}"
            values = {"username": name, "email": f"{name}@example.org", "first_name": "Mem"}
            number = account_actions.create(tx, None, world.settings, world.vault, values)
            account: Any = account_queries.by_id(tx, number)
            membership_actions.add(
                tx, staff, membership_actions.RoleAssignment(reached, role, account), None
            )


def test_the_users_list_runs_as_many_statements_for_three_hundred_rows_as_for_ten(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = {size: world.person(f"owner{size}") for size in (FEW, MANY)}
    for size, owner in owners.items():
        crowd(world, world.organisation(owner=owner), size)
    for query in ("", "&query=mem", "&organization_roles=CUSTOMER.OWNER&full_name=mem&o=email"):
        for by_staff in (True, False):
            numbers = set()
            for size, owner in owners.items():
                who = world.staff if by_staff else owner
                path = f"/api/users/?page_size={size}{query}"
                site.get(path, who)
                with counted_statements(monkeypatch) as seen:
                    answer = site.get(path, who)
                assert len(answer.json()) == size, (path, answer.text[:200])
                numbers.add(len(seen))
            assert len(numbers) == 1, (query, by_staff, numbers)
