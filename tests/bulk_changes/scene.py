"""Bulk changes as a page makes them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from collegium.access import queries as access_queries
from collegium.bulk_changes import actions as bulk_change_actions
from collegium.bulk_changes.rules import Change
from tests.support.world import Person, Place, World


def choose(
    world: World,
    person: Person,
    place: Place | int,
    change: Change,
    uuids: Collection[str] | None = None,
    until: datetime | None = None,
) -> str:
    """Choose rows as the page does; return the UUID of the bulk change.

    Args:
        place: or its id, for a group.
        uuids: of the ticked rows; None for all.
    """
    scope = place if isinstance(place, int) else place.id
    with world.database.read() as tx:
        access = access_queries.get_visible_by_id(tx, person.actor, scope)
        ids = bulk_change_actions.find_rows(tx, person.actor, access, change, {}, uuids)
    with world.database.write() as tx:
        return bulk_change_actions.create(
            tx, person.actor, world.settings, access, change, ids, until
        ).uuid
