"""Add passkeys, the time of the last confirmation, and the second factor of a token."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0003_passkeys"
down_revision = "0002_identity_providers"


BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column("tokens", sa.Column("confirmed_at", UtcDateTime()))
    for table in ("tokens", "devices"):
        op.add_column(
            table,
            sa.Column("has_second_factor", sa.Boolean(), server_default="0", nullable=False),
        )
    # Turning two-factor authentication on has always revoked all other tokens of the account.
    op.execute(
        sa.text(
            "UPDATE tokens SET has_second_factor = :on WHERE account_id IN"
            " (SELECT account_id FROM two_factor WHERE confirmed_at IS NOT NULL)"
        ).bindparams(sa.bindparam("on", True, sa.Boolean()))
    )
    _passkeys()
    _passkey_ceremonies()


def _passkeys() -> None:
    op.create_table(
        "passkeys",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("credential_id", sa.LargeBinary(1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", BigInt, nullable=False),
        sa.Column("aaguid", sa.String(36), server_default="", nullable=False),
        sa.Column("transports", JsonColumn, server_default="[]", nullable=False),
        sa.Column("attachment", sa.String(16), server_default="", nullable=False),
        sa.Column("rp_id", sa.String(255), server_default="", nullable=False),
        sa.Column("is_backup_eligible", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_backed_up", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_discoverable", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_user_verified", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("name", sa.String(150), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime()),
        sa.Column("use_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revoked_at", UtcDateTime()),
        sa.Column("revoked_by_id", BigInt),
        sa.Column("revocation_reason", sa.String(500), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_passkeys_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["revoked_by_id"],
            ["accounts.id"],
            name=op.f("fk_passkeys_revoked_by_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
        sa.UniqueConstraint("uuid", name=op.f("uq_passkeys_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_passkeys_account_id", "passkeys", ["account_id", "revoked_at"])
    op.create_index("ix_passkeys_revoked_by_id", "passkeys", ["revoked_by_id"])


def _passkey_ceremonies() -> None:
    op.create_table(
        "passkey_ceremonies",
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("challenge", sa.LargeBinary(32), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("account_id", BigInt),
        sa.Column("browser_hash", sa.LargeBinary(32)),
        sa.Column("credentials_version", sa.Integer()),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "purpose IN ('registration', 'sign_in', 'second_factor', 'confirm')",
            name=op.f("ck_passkey_ceremonies_purpose"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_passkey_ceremonies_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_passkey_ceremonies")),
    )
    op.create_index(op.f("ix_passkey_ceremonies_account_id"), "passkey_ceremonies", ["account_id"])
    op.create_index(op.f("ix_passkey_ceremonies_expires_at"), "passkey_ceremonies", ["expires_at"])
