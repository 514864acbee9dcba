"""Add imports, and the end and the language of invitations."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0015_imports"
down_revision = "0014_site"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column("invitations", sa.Column("grant_until", UtcDateTime()))
    op.add_column(
        "invitations",
        sa.Column("language", sa.String(10), server_default="", nullable=False),
    )
    op.create_table(
        "imports",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("file_name", sa.String(255), server_default="", nullable=False),
        sa.Column("columns", Json, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", BigInt),
        sa.Column("started_by", BigInt),
        sa.Column("impersonator_id", BigInt),
        sa.Column("ip_address", sa.String(64), server_default="", nullable=False),
        sa.Column("request_id", sa.String(64), server_default="", nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.CheckConstraint(
            "state IN ('judged', 'running', 'done', 'canceled', 'undoing', 'undone')",
            name=op.f("ck_imports_state"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [name], ["accounts.id"], name=op.f(f"fk_imports_{name}"), ondelete="SET NULL"
            )
            for name in ("created_by", "started_by", "impersonator_id")
        ),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_imports_scope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.UniqueConstraint("scope_id", "digest", name=op.f("uq_imports_scope_id_digest")),
        sa.UniqueConstraint("uuid", name=op.f("uq_imports_uuid")),
        sqlite_autoincrement=True,
    )
    for name in ("created_by", "started_by", "impersonator_id"):
        op.create_index(op.f(f"ix_imports_{name}"), "imports", [name])
    op.create_index("ix_imports_scope_id", "imports", ["scope_id", "created_at"])
    op.create_index("ix_imports_created_at", "imports", ["created_at", "id"])
    busy = sa.text("state = 'running' OR state = 'undoing'")
    op.create_index("ix_imports_busy", "imports", ["id"], sqlite_where=busy, postgresql_where=busy)
    op.create_table(
        "import_rows",
        sa.Column("import_id", BigInt, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cells", Json, nullable=False),
        sa.Column("email_comparable", sa.Text(), server_default="", nullable=False),
        sa.Column("role_uuid", UuidHex()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("problem", Json, server_default="{}", nullable=False),
        sa.Column("invitation_id", BigInt),
        sa.CheckConstraint(
            "state IN ('ready', 'malformed', 'repeated', 'invited', 'member', 'refused', "
            "'waiting', 'created', 'withdrawn')",
            name=op.f("ck_import_rows_state"),
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["imports.id"],
            name=op.f("fk_import_rows_import_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["invitation_id"],
            ["invitations.id"],
            name=op.f("fk_import_rows_invitation_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f("pk_import_rows")),
    )
    op.create_index("ix_import_rows_state", "import_rows", ["import_id", "state", "number"])
    op.create_index("ix_import_rows_email_comparable", "import_rows", ["email_comparable"])
    created = sa.text("invitation_id IS NOT NULL")
    op.create_index(
        "ix_import_rows_invitation_id",
        "import_rows",
        ["invitation_id"],
        sqlite_where=created,
        postgresql_where=created,
    )
