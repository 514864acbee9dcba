"""Second factors, recovery codes, the wish for a new link, an index of what waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime
from collegium.db.tables import BigInt

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "second_factors",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("confirmed", UtcDateTime, nullable=True),
        sa.Column("step", BigInt, server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_second_factors_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_second_factors")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_recovery_codes_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", "digest", name=op.f("pk_recovery_codes")),
    )
    waiting = sa.text("state = 'pending'")
    op.create_index(
        "ix_requests_waiting",
        "requests",
        ["created", "id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.add_column("invitations", sa.Column("wished", sa.Integer(), nullable=True))
