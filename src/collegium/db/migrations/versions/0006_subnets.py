"""Access subnets as ranges, so that a statement can judge them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.access.subnets.rules import denied_ranges
from collegium.db.tables import BigInt

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "closed_ranges",
        sa.Column("scope_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("low", sa.LargeBinary(length=16), nullable=False),
        sa.Column("high", sa.LargeBinary(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["scope_id"],
            ["scopes.id"],
            name=op.f("fk_closed_ranges_scope_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scope_id", "low", name=op.f("pk_closed_ranges")),
    )
    _fill()


def _fill() -> None:
    connection = op.get_bind()
    organisations = sa.table(
        "organisations", sa.column("scope_id", BigInt), sa.column("access_subnets")
    )
    ranges = sa.table(
        "closed_ranges",
        sa.column("scope_id", BigInt),
        sa.column("low", sa.LargeBinary),
        sa.column("high", sa.LargeBinary),
    )
    rows = connection.execute(
        sa.select(organisations).where(organisations.c.access_subnets != "")
    ).all()
    found = [
        {"scope_id": row.scope_id, "low": low, "high": high}
        for row in rows
        for low, high in denied_ranges(row.access_subnets)
    ]
    if found:
        connection.execute(sa.insert(ranges), found)
