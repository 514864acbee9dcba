"""The list of accounts runs the same number of SQL statements for every page size."""

from __future__ import annotations

from typing import Any

import pytest

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.memberships import actions as membership_actions
from tests.support.site import Site, record_statements
from tests.support.world import Place, World

SIZES = (10, 300)


def add_owners(world: World, organisation: Place, count: int) -> None:
    """Create accounts that own an organisation, in one transaction."""
    staff, role = world.staff.actor, world.role("CUSTOMER.OWNER")
    with world.database.write() as tx:
        access = access_queries.get_visible(tx, staff, organisation.kind, organisation.uuid)
        for number in range(count):
            name = f"m{count}-{number}"
            values = {"username": name, "email": f"{name}@example.org", "first_name": "Mem"}
            account_id = account_actions.create(tx, None, world.settings, world.vault, values)
            account: Any = account_queries.by_id(tx, account_id)
            assignment = membership_actions.RoleAssignment(access, role, account)
            membership_actions.add(tx, staff, assignment, None)


@pytest.mark.slow
def test_account_list_runs_equally_many_statements_for_ten_and_300_rows(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = {size: world.person(f"owner{size}") for size in SIZES}
    for size, owner in owners.items():
        add_owners(world, world.organisation(owner=owner), size)
    for query in ("", "&query=mem", "&organization_roles=CUSTOMER.OWNER&full_name=mem&o=email"):
        for by_staff in (True, False):
            counts = set()
            for size, owner in owners.items():
                caller = world.staff if by_staff else owner
                path = f"/api/users/?page_size={size}{query}"
                site.get(path, caller)
                with record_statements(monkeypatch) as statements:
                    response = site.get(path, caller)
                assert len(response.json()) == size, (path, response.text[:200])
                counts.add(len(statements))
            assert len(counts) == 1, (query, by_staff, counts)
