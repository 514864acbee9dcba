"""Add reviews of roles."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0010_reviews"
down_revision = "0009_admission"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column and the tables."""
    op.add_column("accounts", sa.Column("reviews_mailed_at", UtcDateTime()))
    op.create_table(
        "reviews",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("reminded_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime()),
        sa.Column("closed_by", BigInt),
        sa.ForeignKeyConstraint(
            ["closed_by"],
            ["accounts.id"],
            name=op.f("fk_reviews_closed_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_reviews_scope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("uuid", name=op.f("uq_reviews_uuid")),
        sqlite_autoincrement=True,
    )
    pending = sa.text("closed_at IS NULL")
    op.create_index(
        "uq_reviews_pending",
        "reviews",
        ["scope_id"],
        unique=True,
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_index("ix_reviews_scope_id", "reviews", ["scope_id", "created_at"])
    op.create_index("ix_reviews_created_at", "reviews", ["created_at", "id"])
    op.create_index(op.f("ix_reviews_closed_by"), "reviews", ["closed_by"])
    op.create_table(
        "reviewed_grants",
        sa.Column("review_id", BigInt, nullable=False),
        sa.Column("grant_id", BigInt, nullable=False),
        sa.Column("valid_until", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_reviewed_grants_grant_id")
        ),
        sa.ForeignKeyConstraint(
            ["review_id"],
            ["reviews.id"],
            name=op.f("fk_reviewed_grants_review_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("review_id", "grant_id", name=op.f("pk_reviewed_grants")),
    )
    op.create_index(op.f("ix_reviewed_grants_grant_id"), "reviewed_grants", ["grant_id"])
