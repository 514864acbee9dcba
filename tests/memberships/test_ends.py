"""A grant ends no earlier than it began, whatever the clocks of two actions say."""

from __future__ import annotations

from datetime import timedelta

from collegium.memberships import queries as membership_queries
from tests.support.world import World


def test_a_deed_that_waited_ends_a_grant_that_was_written_meanwhile(world: World) -> None:
    ada, place = world.person("ada"), world.organisation()
    world.seat(ada, "CUSTOMER.OWNER", place)
    (row,) = world.grants_in(place)
    with world.database.write(row.valid_from - timedelta(seconds=1)) as tx:
        assert membership_queries.end(tx, row.id, None)
    world.seat(ada, "CUSTOMER.OWNER", place)
    (row,) = world.grants_in(place)
    with world.database.write(row.valid_from - timedelta(seconds=1)) as tx:
        assert membership_queries.end_all(tx, place.id, None) == [ada.id]
    assert world.grants_in(place) == []
