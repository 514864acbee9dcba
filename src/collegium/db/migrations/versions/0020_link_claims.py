"""Add the claims that an invite link asks for."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020_link_claims"
down_revision = "0019_hook_queue"

JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the column. Existing links ask for none."""
    op.add_column(
        "invite_links", sa.Column("claims", JsonColumn, server_default="{}", nullable=False)
    )
