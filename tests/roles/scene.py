"""A role that exists in one organisation only, and one that it does not use."""

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.roles.availability import actions as availability_actions
from collegium.roles.availability import queries as availability_queries
from tests.support.world import Place, World


def add_availability(world: World, organisation: Place) -> tuple[str, str]:
    """Copy a role into an organisation and conceal it there; return the UUIDs of both records."""
    staff, role = world.staff.actor, world.role("CUSTOMER.SUPPORT").uuid
    with world.database.write() as tx:
        access = access_queries.get_visible(tx, staff, ScopeKind.ORGANISATION, organisation.uuid)
        copy = availability_actions.clone(tx, staff, role, access, conceals=False)
        concealment = availability_actions.conceal(tx, staff, role, access)
        rows = availability_queries.availabilities.page(tx, staff, {}, (), 100, 0)
        (availability,) = (row.uuid for row in rows if row.role_uuid == copy)
    return availability, concealment
