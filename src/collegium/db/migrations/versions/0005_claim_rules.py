"""Add claim rules, and the roles that they have given."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0005_claim_rules"
down_revision = "0004_account_attributes"


BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")

_LISTS: Final = (
    *("email_patterns", "affiliations", "identity_sources", "nationalities"),
    *("organisation_types", "assurance_levels"),
)
_REFERENCES: Final = {
    "organisation_id": "scopes",
    "organisation_role_id": "roles",
    "project_role_id": "roles",
    "project_id": "scopes",
}


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "claim_rules",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("name", sa.String(150), server_default="", nullable=False),
        sa.Column("organisation_id", BigInt, nullable=False),
        sa.Column("organisation_role_id", BigInt),
        sa.Column("project_role_id", BigInt),
        sa.Column("creates_project", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("template", sa.String(255), server_default="", nullable=False),
        sa.Column("project_id", BigInt),
        sa.Column("revokes", sa.Boolean(), server_default="0", nullable=False),
        *(sa.Column(name, JsonColumn, server_default="[]", nullable=False) for name in _LISTS),
        sa.Column("claims", JsonColumn, server_default="{}", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        *(
            sa.ForeignKeyConstraint([name], [f"{table}.id"], name=op.f(f"fk_claim_rules_{name}"))
            for name, table in _REFERENCES.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim_rules")),
        sa.UniqueConstraint("uuid", name=op.f("uq_claim_rules_uuid")),
    )
    for name in _REFERENCES:
        op.create_index(f"ix_claim_rules_{name}", "claim_rules", [name])
    _claim_rule_grants()


def _claim_rule_grants() -> None:
    op.create_table(
        "claim_rule_grants",
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("rule_id", BigInt, nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("grant_id", BigInt, nullable=False),
        sa.Column("is_own_project", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_released", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_claim_rule_grants_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["rule_id"],
            ["claim_rules.id"],
            name=op.f("fk_claim_rule_grants_rule_id"),
            ondelete="CASCADE",
        ),
        *(
            sa.ForeignKeyConstraint(
                [f"{name}_id"], [f"{name}s.id"], name=op.f(f"fk_claim_rule_grants_{name}_id")
            )
            for name in ("scope", "role", "grant")
        ),
        sa.PrimaryKeyConstraint(
            "account_id", "rule_id", "scope_id", "role_id", name=op.f("pk_claim_rule_grants")
        ),
    )
    for name in ("rule_id", "scope_id", "role_id", "grant_id"):
        op.create_index(op.f(f"ix_claim_rule_grants_{name}"), "claim_rule_grants", [name])
