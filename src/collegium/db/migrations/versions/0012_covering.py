"""Indexes that answer alone on PostgreSQL: there the key of a row is none of their columns."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

_SORTED = {
    "username": ["username", "deleted"],
    **{
        name: [name, "username", "deleted"]
        for name in ("is_active", "is_staff", "is_support", "registration_method")
    },
}


def upgrade() -> None:
    """Go forward."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for name, columns in _SORTED.items():
        op.drop_index(f"ix_accounts_{name}", "accounts")
        op.create_index(f"ix_accounts_{name}", "accounts", columns, postgresql_include=["id"])
