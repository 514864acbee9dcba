"""Add identity sources to invite links, and the projects that requesters describe themselves."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011_invite_link_details"
down_revision = "0010_reviews"

JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns. Each has a constant default, so the rows are not written again."""
    _add("invite_links", sa.Column("identity_sources", JsonColumn, server_default="[]"))
    _add(
        "invite_links",
        sa.Column("allow_custom_project_details", sa.Boolean(), server_default="0"),
    )
    _add("join_requests", sa.Column("custom_project_name", sa.String(500), server_default=""))
    _add("join_requests", sa.Column("custom_project_description", sa.Text(), server_default=""))


def _add(table: str, column: sa.Column[object]) -> None:
    column.nullable = False
    op.add_column(table, column)
