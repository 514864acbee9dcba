"""Add OpenID providers, identities and sign-ins with them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0002_identity_providers"
down_revision = "0001_initial"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    _identity_providers()
    _identities()
    _provider_sign_ins()
    _identity_sessions()
    _exchange_codes()
    _used_logout_tokens()


def _identity_providers() -> None:
    op.create_table(
        "identity_providers",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("label", sa.String(255), server_default="", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("client_id", sa.String(255), server_default="", nullable=False),
        sa.Column("client_secret_encrypted", sa.LargeBinary()),
        sa.Column("discovery_url", sa.String(2000), server_default="", nullable=False),
        sa.Column("issuer", sa.String(2000), server_default="", nullable=False),
        sa.Column("metadata", JsonColumn, server_default="{}", nullable=False),
        sa.Column("verify_ssl", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("management_url", sa.String(2000), server_default="", nullable=False),
        sa.Column("extra_scope", sa.String(1000), server_default="", nullable=False),
        sa.Column("user_field", sa.String(50), server_default="", nullable=False),
        sa.Column("user_claim", sa.String(100), server_default="", nullable=False),
        sa.Column("attribute_mapping", JsonColumn, server_default="{}", nullable=False),
        sa.Column("extra_fields", sa.String(1000), server_default="", nullable=False),
        sa.Column("protected_fields", JsonColumn, server_default="[]", nullable=False),
        sa.Column("allowed_redirects", JsonColumn, server_default="[]", nullable=False),
        sa.Column("enable_post_logout_redirect", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("token_in_url", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("registration", sa.String(16), server_default="invited", nullable=False),
        sa.Column("trusted_domains", JsonColumn, server_default="[]", nullable=False),
        sa.Column("second_factor_values", JsonColumn, server_default="[]", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "registration IN ('off', 'invited', 'open')",
            name=op.f("ck_identity_providers_registration"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_providers")),
        sa.UniqueConstraint("name", name=op.f("uq_identity_providers_name")),
        sa.UniqueConstraint("uuid", name=op.f("uq_identity_providers_uuid")),
    )


def _identities() -> None:
    op.create_table(
        "identities",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("provider_id", BigInt),
        sa.Column("issuer", sa.String(2000), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("email", sa.String(320), server_default="", nullable=False),
        sa.Column("claims", JsonColumn, server_default="{}", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_identities_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["identity_providers.id"],
            name=op.f("fk_identities_provider_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_identities_issuer_subject")),
        sa.UniqueConstraint("uuid", name=op.f("uq_identities_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_identities_account_id", "identities", ["account_id", "created_at"])
    op.create_index(op.f("ix_identities_provider_id"), "identities", ["provider_id"])


def _provider_sign_ins() -> None:
    op.create_table(
        "provider_sign_ins",
        sa.Column("state_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("provider_id", BigInt, nullable=False),
        sa.Column("nonce_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("code_verifier_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("account_id", BigInt),
        sa.Column("token_id", BigInt),
        sa.Column("return_to", sa.String(2000), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "purpose IN ('sign_in', 'accept', 'link', 'confirm')",
            name=op.f("ck_provider_sign_ins_purpose"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_provider_sign_ins_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["identity_providers.id"],
            name=op.f("fk_provider_sign_ins_provider_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_provider_sign_ins")),
    )
    op.create_index(op.f("ix_provider_sign_ins_account_id"), "provider_sign_ins", ["account_id"])
    op.create_index(op.f("ix_provider_sign_ins_expires_at"), "provider_sign_ins", ["expires_at"])
    op.create_index(op.f("ix_provider_sign_ins_provider_id"), "provider_sign_ins", ["provider_id"])


def _identity_sessions() -> None:
    op.create_table(
        "identity_sessions",
        sa.Column("token_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("identity_id", BigInt, nullable=False),
        sa.Column("sid_hash", sa.LargeBinary(32)),
        sa.Column("id_token_encrypted", sa.LargeBinary()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_identity_sessions_identity_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["tokens.id"],
            name=op.f("fk_identity_sessions_token_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_identity_sessions")),
    )
    op.create_index(
        "ix_identity_sessions_identity_id", "identity_sessions", ["identity_id", "sid_hash"]
    )


def _exchange_codes() -> None:
    op.create_table(
        "exchange_codes",
        sa.Column("code_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("identity_id", BigInt, nullable=False),
        sa.Column("credentials_version", sa.Integer(), nullable=False),
        sa.Column("sid_hash", sa.LargeBinary(32)),
        sa.Column("id_token_encrypted", sa.LargeBinary()),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_exchange_codes_identity_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_exchange_codes")),
    )
    op.create_index(op.f("ix_exchange_codes_expires_at"), "exchange_codes", ["expires_at"])
    op.create_index(op.f("ix_exchange_codes_identity_id"), "exchange_codes", ["identity_id"])


def _used_logout_tokens() -> None:
    op.create_table(
        "used_logout_tokens",
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_used_logout_tokens")),
    )
    op.create_index(op.f("ix_used_logout_tokens_expires_at"), "used_logout_tokens", ["expires_at"])
