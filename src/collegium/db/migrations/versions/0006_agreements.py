"""Add user agreements, and who has agreed to them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0006_agreements"
down_revision = "0005_claim_rules"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column and the tables."""
    op.add_column(
        "accounts", sa.Column("must_agree", sa.Boolean(), server_default="0", nullable=False)
    )
    op.create_table(
        "agreements",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("language", sa.String(10), server_default="", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("content", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("superseded_at", UtcDateTime()),
        sa.CheckConstraint("kind IN ('terms', 'privacy')", name=op.f("ck_agreements_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreements")),
        sqlite_autoincrement=True,
    )
    current = sa.text("superseded_at IS NULL")
    for name, columns in (("current", ["kind", "language"]), ("uuid", ["uuid"])):
        op.create_index(
            f"uq_agreements_{name}",
            "agreements",
            columns,
            unique=True,
            sqlite_where=current,
            postgresql_where=current,
        )
    op.create_table(
        "agreement_acceptances",
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("agreement_id", BigInt, nullable=False),
        sa.Column("accepted_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_agreement_acceptances_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["agreement_id"],
            ["agreements.id"],
            name=op.f("fk_agreement_acceptances_agreement_id"),
        ),
        sa.PrimaryKeyConstraint(
            "account_id", "agreement_id", name=op.f("pk_agreement_acceptances")
        ),
    )
    op.create_index(
        op.f("ix_agreement_acceptances_agreement_id"), "agreement_acceptances", ["agreement_id"]
    )
