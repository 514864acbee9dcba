"""A group at whose door many people wait."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from sqlalchemy import bindparam, insert

from collegium.accounts import actions as account_actions
from collegium.db.statements import Statement
from collegium.db.tables import join_requests
from collegium.roles import queries as role_queries
from collegium.scopes.groups import rules as group_rules
from tests.support.world import World

_ROW = (
    "uuid",
    "scope_id",
    "role_id",
    "account_id",
    "state",
    "message",
    "created_at",
    "exclusive_key",
)
_ASK = Statement(insert(join_requests).values({name: bindparam(name) for name in _ROW}))


def ask_many(world: World, group: int, many: int) -> None:
    """So many people ask to be let in."""
    with world.database.write() as tx:
        role: Any = role_queries.named(tx, group_rules.MEMBER, None, groups=True)
        for number in range(many):
            name = f"asker{number}"
            person = account_actions.create(
                tx,
                None,
                world.settings,
                world.vault,
                {"username": name, "email": f"{name}@example.org"},
            )
            values = (uuid4().hex, group, role.id, person, "pending", "", tx.now, 0)
            tx.execute(_ASK, **dict(zip(_ROW, values, strict=True)))
