"""Claim rules, and what they have given."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from collegium.claim_rules import actions as claim_rule_actions
from collegium.claim_rules import queries as claim_rule_queries
from collegium.db.statements import Statement
from collegium.db.tables import scopes
from collegium.memberships import queries as membership_queries
from tests.support.world import Person, Place, World

GROUPS = {"extra_fields": "groups", "registration": "open"}
"""A provider whose claim ``groups`` is kept, and that lets everybody in."""

PHYSICS = {"groups": ["physics"]}


def add_rule(
    world: World,
    place: Place,
    role: str = "",
    *,
    project_role: str = "",
    template: str = "",
    claims: Any = PHYSICS,
    **values: Any,
) -> str:
    """Add a rule; return its UUID."""
    given = {
        "name": "Physicists",
        "organisation_id": place.id,
        "organisation_role_id": world.role(role).id if role else None,
        "project_role_id": world.role(project_role).id if project_role else None,
        "creates_project": bool(project_role),
        "template": template,
        "claims": claims,
        **values,
    }
    with world.database.write() as tx:
        return claim_rule_actions.create(tx, world.staff.actor, given)


def change_rule(world: World, uuid: str, **changes: Any) -> None:
    with world.database.write() as tx:
        claim_rule_actions.update(tx, world.staff.actor, uuid, changes)


def remove_rule(world: World, uuid: str) -> None:
    with world.database.write() as tx:
        claim_rule_actions.remove(tx, world.staff.actor, uuid)


def held(world: World, person: Person | int) -> list[tuple[str, str]]:
    """Return the active roles of an account, each with the name of its scope."""
    account = person if isinstance(person, int) else person.id
    with world.database.read() as tx:
        rows = membership_queries.of_account(tx, account)
        return sorted((row.scope_name, row.role_name) for row in rows)


def projects_of(world: World, place: Place) -> list[str]:
    """Return the names of the projects of an organisation."""
    with world.database.read() as tx:
        rows = tx.fetch_all(
            Statement[str](
                select(scopes.c.name).where(
                    scopes.c.parent_id == place.id, scopes.c.deleted_at.is_(None)
                )
            )
        )
        return sorted(rows)


def people_of(world: World, uuid: str) -> int:
    """Return the number of people with a role from a rule."""
    with world.database.read() as tx:
        rule = claim_rule_queries.get_visible(tx, world.staff.actor, uuid)
        return claim_rule_queries.count_people(tx, rule.id)


def rule_uuid(world: World) -> str:
    """Return the UUID of the only rule."""
    with world.database.read() as tx:
        (rule,) = claim_rule_queries.all_rules(tx)
    return rule.uuid
