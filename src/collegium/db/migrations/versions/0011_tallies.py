"""Kept counts of the long lists, and the triggers that keep them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.tables import BigInt

revision = "0011"
down_revision = "0010"

_IN_TREE = "(SELECT kind FROM scopes WHERE id = {row}.scope_id) <> 'group'"
# Table, what happens to a row, by how much its count changes, when it does.
_CHANGES = (
    ("accounts", "INSERT", 1, "NEW.deleted IS NULL"),
    ("accounts", "UPDATE OF deleted", -1, "OLD.deleted IS NULL AND NEW.deleted IS NOT NULL"),
    ("accounts", "UPDATE OF deleted", 1, "OLD.deleted IS NOT NULL AND NEW.deleted IS NULL"),
    ("accounts", "DELETE", -1, "OLD.deleted IS NULL"),
    ("invitations", "INSERT", 1, _IN_TREE.format(row="NEW")),
    ("invitations", "DELETE", -1, _IN_TREE.format(row="OLD")),
    ("requests", "INSERT", 1, _IN_TREE.format(row="NEW")),
    ("requests", "DELETE", -1, _IN_TREE.format(row="OLD")),
)
_COUNTED = {
    "accounts": "deleted IS NULL",
    "invitations": "scope_id IN (SELECT id FROM scopes WHERE kind <> 'group')",
    "requests": "scope_id IN (SELECT id FROM scopes WHERE kind <> 'group')",
}


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("n", BigInt, nullable=False),
    )
    for table, listed in _COUNTED.items():
        op.execute(f"INSERT INTO tallies SELECT '{table}', count(*) FROM {table} WHERE {listed}")
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for at, (table, happens, by, when) in enumerate(_CHANGES):
        begin = f"CREATE TRIGGER tally_{table}_{at} AFTER {happens} ON {table} FOR EACH ROW"
        if is_sqlite:
            op.execute(
                f"{begin} WHEN {when} BEGIN"
                f" UPDATE tallies SET n = n + ({by}) WHERE name = '{table}'; END"
            )
        else:
            # In the function, since a condition of a trigger cannot ask another table.
            op.execute(
                f"CREATE FUNCTION tally_{table}_{at}() RETURNS trigger LANGUAGE plpgsql AS $$"
                f" BEGIN IF {when} THEN INSERT INTO tallies VALUES ('{table}', {by}); END IF;"
                " RETURN NULL; END $$"
            )
            op.execute(f"{begin} EXECUTE FUNCTION tally_{table}_{at}()")
