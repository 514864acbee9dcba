"""The end of a grant is not before its start, even if the clock of an action is behind."""

from __future__ import annotations

from datetime import timedelta

from collegium.memberships import queries as membership_queries
from tests.support.world import World


def test_grant_can_be_ended_before_its_start(world: World) -> None:
    ada, scope = world.person("ada"), world.organisation()
    world.give_role(ada, "CUSTOMER.OWNER", scope)
    (row,) = world.grants_in(scope)
    with world.database.write(row.valid_from - timedelta(seconds=1)) as tx:
        assert membership_queries.end(tx, row.id, None)
    world.give_role(ada, "CUSTOMER.OWNER", scope)
    (row,) = world.grants_in(scope)
    with world.database.write(row.valid_from - timedelta(seconds=1)) as tx:
        assert membership_queries.end_all(tx, scope.id, None) == [ada.id]
    assert world.grants_in(scope) == []
