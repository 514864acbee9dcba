"""Add further facts about people, and why an account is deactivated."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004_account_attributes"
down_revision = "0003_passkeys"

JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")
_TEXTS: Final = {
    "personal_title": 50,
    "place_of_birth": 255,
    "address": 255,
    "country_of_residence": 2,
    "nationality": 2,
    "organization_country": 2,
    "organization_type": 255,
    "organization_registry_code": 255,
    "organization_vat_code": 20,
    "organization_address": 255,
    "deactivation_reason": 255,
}
_LISTS: Final = ("nationalities", "eduperson_assurance", "managed_isds", "active_isds")

# Until now the assurance was stored among the details alone.
_COPY_ASSURANCE: Final = {
    "postgresql": """
        UPDATE accounts SET eduperson_assurance = details -> 'eduperson_assurance'
        WHERE jsonb_typeof(details -> 'eduperson_assurance') = 'array'
    """,
    "sqlite": """
        UPDATE accounts SET eduperson_assurance = json_extract(details, '$.eduperson_assurance')
        WHERE json_type(details, '$.eduperson_assurance') = 'array'
    """,
}


def upgrade() -> None:
    """Add the columns, and fill one from the details of remote directories."""
    # Each column has a constant default or none, so the rows are not written again.
    for name, length in _TEXTS.items():
        _add(sa.Column(name, sa.String(length), server_default="", nullable=False))
    for name in _LISTS:
        _add(sa.Column(name, JsonColumn, server_default="[]", nullable=False))
    _add(sa.Column("attribute_sources", JsonColumn, server_default="{}", nullable=False))
    _add(sa.Column("gender", sa.String(10)))
    _add(sa.Column("uid_number", sa.BigInteger()))
    _add(sa.Column("primary_gid", sa.BigInteger()))
    _add(
        sa.Column(
            "can_use_personal_access_tokens", sa.Boolean(), server_default="0", nullable=False
        )
    )
    op.execute(_COPY_ASSURANCE[op.get_bind().dialect.name])


def _add(column: sa.Column[object]) -> None:
    op.add_column("accounts", column)
