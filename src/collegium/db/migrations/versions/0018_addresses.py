"""Add the parts of the address of an organisation."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0018_addresses"
down_revision = "0017_role_notices"

_PARTS: Final = ("city", "state", "parish", "street", "house_nr", "apartment_nr", "household")


def upgrade() -> None:
    """Add the columns. Each has a constant default, so the rows are not written again."""
    for name in _PARTS:
        op.add_column(
            "organisations", sa.Column(name, sa.String(255), server_default="", nullable=False)
        )
