"""Create the schema: tables, indexes, search tables, triggers and the built-in roles.

It is frozen: it imports nothing that later releases change, except the column types.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0001_initial"
down_revision = None

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")
# The collation makes both databases sort by code points.
SortKey: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Create everything in an empty database."""
    _accounts()
    _idempotency_keys()
    _mail_budgets()
    _outbox()
    _pictures()
    _rate_limits()
    _roles()
    _row_counts()
    _scopes()
    _slugs()
    _account_texts()
    _denied_ranges()
    _devices()
    _email_changes()
    _events()
    _grants()
    _groups()
    _invitations()
    _invite_links()
    _organisations()
    _projects()
    _recovery_codes()
    _role_permissions()
    _ssh_keys()
    _tokens()
    _two_factor()
    _join_requests()
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SEARCH_SQLITE if is_sqlite else _SEARCH_POSTGRESQL:
        op.execute(statement)
    _count_rows(is_sqlite=is_sqlite)
    _add_roles()


def _where(condition: str) -> dict[str, Any]:
    """Return the arguments that make an index partial on both databases."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("username", sa.String(128), nullable=False),
        sa.Column("slug", sa.String(64), nullable=False),
        sa.Column("password", sa.String(255)),
        sa.Column("credentials_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("email_comparable", sa.Text(), server_default="", nullable=False),
        sa.Column("first_name", sa.String(100), server_default="", nullable=False),
        sa.Column("last_name", sa.String(100), server_default="", nullable=False),
        sa.Column("native_name", sa.String(100), server_default="", nullable=False),
        sa.Column("job_title", sa.String(120), server_default="", nullable=False),
        sa.Column("phone_number", sa.String(255), server_default="", nullable=False),
        sa.Column("organization", sa.String(255), server_default="", nullable=False),
        sa.Column("civil_number", sa.String(50)),
        sa.Column("description", sa.String(2000), server_default="", nullable=False),
        sa.Column("birth_date", sa.Date()),
        sa.Column("preferred_language", sa.String(10), server_default="", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("is_staff", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_support", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_identity_manager", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("notifications_enabled", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("token_lifetime", sa.Integer()),
        sa.Column("registration_method", sa.String(50), server_default="default", nullable=False),
        sa.Column("identity_source", sa.String(50), server_default="", nullable=False),
        sa.Column("affiliations", JsonColumn, nullable=False),
        sa.Column("joined_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("agreed_at", UtcDateTime()),
        sa.Column("last_login_at", UtcDateTime()),
        sa.Column("last_synced_at", UtcDateTime()),
        sa.Column("details", JsonColumn, server_default="{}", nullable=False),
        sa.Column("disabled_by_staff", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("picture", UuidHex()),
        sa.Column("deleted_at", UtcDateTime()),
        sa.Column("profile", JsonColumn, server_default="{}", nullable=False),
        sa.Column("search", sa.Text(), server_default="", nullable=False),
        sa.Column("first_name_sort", SortKey, server_default="", nullable=False),
        sa.Column("last_name_sort", SortKey, server_default="", nullable=False),
        sa.Column("native_name_sort", SortKey, server_default="", nullable=False),
        sa.Column("organization_sort", SortKey, server_default="", nullable=False),
        sa.CheckConstraint(
            "token_lifetime IS NULL OR token_lifetime >= 60",
            name=op.f("ck_accounts_token_lifetime"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("civil_number", name=op.f("uq_accounts_civil_number")),
        sa.UniqueConstraint("slug", name=op.f("uq_accounts_slug")),
        sa.UniqueConstraint("username", name=op.f("uq_accounts_username")),
        sa.UniqueConstraint("uuid", name=op.f("uq_accounts_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_accounts_agreed_at", "accounts", ["agreed_at"])
    op.create_index(
        "ix_accounts_username", "accounts", ["username", "deleted_at"], postgresql_include=["id"]
    )
    op.create_index(
        "ix_accounts_is_active",
        "accounts",
        ["is_active", "username", "deleted_at"],
        postgresql_include=["id"],
    )
    op.create_index(
        "ix_accounts_is_staff",
        "accounts",
        ["is_staff", "username", "deleted_at"],
        postgresql_include=["id"],
    )
    op.create_index(
        "ix_accounts_is_support",
        "accounts",
        ["is_support", "username", "deleted_at"],
        postgresql_include=["id"],
    )
    op.create_index(
        "ix_accounts_registration_method",
        "accounts",
        ["registration_method", "username", "deleted_at"],
        postgresql_include=["id"],
    )
    op.create_index("ix_accounts_email", "accounts", ["email", "username"])
    op.create_index("ix_accounts_phone_number", "accounts", ["phone_number", "username"])
    op.create_index("ix_accounts_joined_at", "accounts", ["joined_at"])
    op.create_index("ix_accounts_last_synced_at", "accounts", ["last_synced_at"])
    op.create_index("ix_accounts_modified_at", "accounts", ["modified_at"])
    op.create_index("ix_accounts_job_title", "accounts", ["job_title", "username"])
    op.create_index(
        "ix_accounts_description", "accounts", [sa.text("substr(description, 1, 500)"), "username"]
    )
    op.create_index("ix_accounts_email_comparable", "accounts", ["email_comparable"])
    op.create_index(
        "ix_accounts_name", "accounts", ["first_name_sort", "last_name_sort", "username"]
    )
    op.create_index("ix_accounts_native_name", "accounts", ["native_name_sort", "username"])
    op.create_index("ix_accounts_organization", "accounts", ["organization_sort", "username"])


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("response", sa.Text()),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"])


def _mail_budgets() -> None:
    op.create_table(
        "mail_budgets",
        sa.Column("recipient", sa.String(64), nullable=False),
        sa.Column("sent_at", sa.Text(), server_default="", nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("recipient", name=op.f("pk_mail_budgets")),
    )
    op.create_index("ix_mail_budgets_last_at", "mail_budgets", ["last_at"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("payload", JsonColumn, nullable=False),
        sa.Column("state", sa.String(16), server_default="queued", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=False),
        sa.Column("locked_until", UtcDateTime()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("finished_at", UtcDateTime()),
        sa.Column("account_id", BigInt),
        sa.CheckConstraint(
            "state IN ('queued', 'sent', 'obsolete', 'failed')", name=op.f("ck_outbox_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_queued", "outbox", ["next_attempt_at"], **_where("state = 'queued'"))
    op.create_index(
        "ix_outbox_failed", "outbox", ["finished_at", "id"], **_where("state = 'failed'")
    )
    op.create_index(
        "ix_outbox_delivered", "outbox", ["finished_at"], **_where("state IN ('sent', 'obsolete')")
    )
    op.create_index("ix_outbox_recipient", "outbox", ["recipient"])
    op.create_index(
        "ix_outbox_account_id", "outbox", ["account_id"], **_where("account_id IS NOT NULL")
    )


def _pictures() -> None:
    op.create_table(
        "pictures",
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("media_type", sa.String(32), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_pictures")),
    )


def _rate_limits() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_attempt_at", UtcDateTime(), nullable=False),
        sa.Column("blocked_until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_rate_limits")),
    )
    op.create_index("ix_rate_limits_last_attempt_at", "rate_limits", ["last_attempt_at"])


def _roles() -> None:
    op.create_table(
        "roles",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("name", sa.String(150), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("descriptions", JsonColumn, nullable=False),
        sa.Column("is_system", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("name_sort", SortKey, server_default="", nullable=False),
        sa.CheckConstraint(
            "kind IN ('organisation', 'project', 'group')", name=op.f("ck_roles_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roles")),
        sa.UniqueConstraint("name", name=op.f("uq_roles_name")),
        sa.UniqueConstraint("uuid", name=op.f("uq_roles_uuid")),
    )


def _row_counts() -> None:
    op.create_table(
        "row_counts",
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("count", BigInt, nullable=False),
    )


def _scopes() -> None:
    op.create_table(
        "scopes",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("parent_id", BigInt),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("slug", sa.String(64), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("deleted_at", UtcDateTime()),
        sa.Column("name_sort", SortKey, server_default="", nullable=False),
        sa.CheckConstraint(
            "(kind = 'project') = (parent_id IS NOT NULL)", name=op.f("ck_scopes_parent")
        ),
        sa.CheckConstraint(
            "kind IN ('organisation', 'project', 'group')", name=op.f("ck_scopes_kind")
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["scopes.id"], name=op.f("fk_scopes_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scopes")),
        sa.UniqueConstraint("kind", "slug", name=op.f("uq_scopes_kind_slug")),
        sa.UniqueConstraint("uuid", name=op.f("uq_scopes_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_scopes_kind_name", "scopes", ["kind", "name", "id"])
    op.create_index(op.f("ix_scopes_parent_id"), "scopes", ["parent_id"])
    op.create_index("ix_scopes_kind_name_sort", "scopes", ["kind", "name_sort", "id"])


def _slugs() -> None:
    op.create_table(
        "slugs",
        sa.Column("prefix", sa.String(64), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_slugs")),
    )


def _account_texts() -> None:
    op.create_table(
        "account_texts",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("people", sa.Text(), server_default="", nullable=False),
        sa.Column("username", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("civil_number", sa.Text(), server_default="", nullable=False),
        sa.Column("first_name", sa.Text(), server_default="", nullable=False),
        sa.Column("last_name", sa.Text(), server_default="", nullable=False),
        sa.Column("plain_name", sa.Text(), server_default="", nullable=False),
        sa.Column("full_name", sa.Text(), server_default="", nullable=False),
        sa.Column("native_name", sa.Text(), server_default="", nullable=False),
        sa.Column("organization", sa.Text(), server_default="", nullable=False),
        sa.Column("job_title", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_account_texts_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account_texts")),
    )


def _denied_ranges() -> None:
    op.create_table(
        "denied_ranges",
        sa.Column("scope_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("low", sa.LargeBinary(16), nullable=False),
        sa.Column("high", sa.LargeBinary(16), nullable=False),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_denied_ranges_scope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scope_id", "low", name=op.f("pk_denied_ranges")),
    )


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("device_code_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("user_code_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("user_code_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(150), server_default="", nullable=False),
        sa.Column("ip_address", sa.String(64), server_default="", nullable=False),
        sa.Column("lifetime", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("account_id", BigInt),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'denied', 'used')", name=op.f("ck_devices_state")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_devices_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("uuid", name=op.f("uq_devices_uuid")),
        sa.UniqueConstraint("device_code_hash", name=op.f("uq_devices_device_code_hash")),
        sa.UniqueConstraint("user_code_hash", name=op.f("uq_devices_user_code_hash")),
    )
    op.create_index(op.f("ix_devices_expires_at"), "devices", ["expires_at"])
    op.create_index(op.f("ix_devices_account_id"), "devices", ["account_id"])


def _email_changes() -> None:
    op.create_table(
        "email_changes",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("email_comparable", sa.Text(), server_default="", nullable=False),
        sa.Column("code_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("cancel_code_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_email_changes_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_email_changes")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_email_changes_code_hash")),
    )
    op.create_index("ix_email_changes_email_comparable", "email_changes", ["email_comparable"])
    op.create_index(
        "uq_email_changes_cancel_code_hash", "email_changes", ["cancel_code_hash"], unique=True
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("actor_id", BigInt),
        sa.Column("actor_name", sa.Text(), server_default="", nullable=False),
        sa.Column("ip_address", sa.String(64), server_default="", nullable=False),
        sa.Column("request_id", sa.String(64), server_default="", nullable=False),
        sa.Column("scope_id", BigInt),
        sa.Column("account_id", BigInt),
        sa.Column("payload", JsonColumn, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_events_account_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["actor_id"], ["accounts.id"], name=op.f("fk_events_actor_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_events_scope_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_events_uuid", "events", ["uuid"], unique=True)
    op.create_index("ix_events_created_at", "events", ["created_at", "id"])
    op.create_index("ix_events_kind", "events", ["kind", "created_at", "id"])
    op.create_index("ix_events_actor_id", "events", ["actor_id", "created_at", "id"])
    op.create_index("ix_events_account_id", "events", ["account_id", "created_at", "id"])
    op.create_index("ix_events_scope_id", "events", ["scope_id", "created_at", "id"])


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=False),
        sa.Column("valid_until", UtcDateTime()),
        sa.Column("granted_by", BigInt),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("ended_by", BigInt),
        sa.CheckConstraint(
            "ended_at IS NULL OR ended_at >= valid_from", name=op.f("ck_grants_ended_at")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_grants_account_id")),
        sa.ForeignKeyConstraint(
            ["ended_by"], ["accounts.id"], name=op.f("fk_grants_ended_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["granted_by"], ["accounts.id"], name=op.f("fk_grants_granted_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_grants_role_id")),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_grants_scope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
        sa.UniqueConstraint("uuid", name=op.f("uq_grants_uuid")),
    )
    op.create_index(
        "ix_grants_valid_from_active", "grants", ["valid_from", "id"], **_where("ended_at IS NULL")
    )
    op.create_index(
        "ix_grants_scope_active",
        "grants",
        ["scope_id", "account_id", "valid_until"],
        **_where("ended_at IS NULL"),
    )
    op.create_index(
        "uq_grants_active",
        "grants",
        ["account_id", "scope_id", "role_id"],
        unique=True,
        **_where("ended_at IS NULL"),
    )
    op.create_index(
        "ix_grants_valid_until_active",
        "grants",
        ["valid_until"],
        **_where("ended_at IS NULL AND valid_until IS NOT NULL"),
    )
    op.create_index(
        "ix_grants_role_id",
        "grants",
        ["role_id", "account_id", "scope_id", "valid_until", "ended_at"],
    )


def _groups() -> None:
    op.create_table(
        "groups",
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("name_casefolded", sa.String(500)),
        sa.Column("founder_id", BigInt),
        sa.ForeignKeyConstraint(
            ["founder_id"], ["accounts.id"], name=op.f("fk_groups_founder_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_groups_scope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_groups")),
        sa.UniqueConstraint("name_casefolded", name=op.f("uq_groups_name_casefolded")),
    )
    op.create_index(op.f("ix_groups_founder_id"), "groups", ["founder_id"])


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("email_comparable", sa.Text(), server_default="", nullable=False),
        sa.Column("email_search", sa.Text(), server_default="", nullable=False),
        sa.Column("full_name", sa.String(100), server_default="", nullable=False),
        sa.Column("native_name", sa.String(100), server_default="", nullable=False),
        sa.Column("phone_number", sa.String(255), server_default="", nullable=False),
        sa.Column("organization", sa.String(255), server_default="", nullable=False),
        sa.Column("job_title", sa.String(120), server_default="", nullable=False),
        sa.Column("civil_number", sa.String(50), server_default="", nullable=False),
        sa.Column("extra_text", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("link_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", BigInt),
        sa.Column("sponsor_id", BigInt),
        sa.Column("approved_by", BigInt),
        sa.Column("accepted_by", BigInt),
        sa.Column("account_id", BigInt),
        sa.Column("accepted_at", UtcDateTime()),
        sa.Column("mail_id", BigInt),
        sa.Column("mailed_at", UtcDateTime()),
        sa.Column("reminded_at", UtcDateTime()),
        sa.Column("expiry_notified_at", UtcDateTime()),
        sa.Column("renewal_requested_version", sa.Integer()),
        sa.Column("invitee_deactivated_at", UtcDateTime()),
        sa.CheckConstraint(
            "state IN ('held', 'requested', 'pending', 'accepted', 'rejected', 'canceled')",
            name=op.f("ck_invitations_state"),
        ),
        sa.ForeignKeyConstraint(
            ["accepted_by"],
            ["accounts.id"],
            name=op.f("fk_invitations_accepted_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_invitations_account_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["approved_by"],
            ["accounts.id"],
            name=op.f("fk_invitations_approved_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["accounts.id"],
            name=op.f("fk_invitations_created_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["mail_id"], ["outbox.id"], name=op.f("fk_invitations_mail_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_invitations_role_id")),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_invitations_scope_id")),
        sa.ForeignKeyConstraint(
            ["sponsor_id"],
            ["accounts.id"],
            name=op.f("fk_invitations_sponsor_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("uuid", name=op.f("uq_invitations_uuid")),
    )
    op.create_index("ix_invitations_created_at", "invitations", ["created_at", "id"])
    op.create_index("ix_invitations_scope_id", "invitations", ["scope_id", "created_at"])
    op.create_index(
        "ix_invitations_expiring",
        "invitations",
        ["expires_at"],
        **_where("state = 'pending' AND expiry_notified_at IS NULL"),
    )
    op.create_index("ix_invitations_held", "invitations", ["scope_id"], **_where("state = 'held'"))
    op.create_index("ix_invitations_state", "invitations", ["state", "created_at", "id"])
    op.create_index(
        "ix_invitations_civil_number",
        "invitations",
        ["civil_number"],
        **_where("civil_number != ''"),
    )
    op.create_index("ix_invitations_role_id", "invitations", ["role_id", "created_at", "id"])
    op.create_index(
        "ix_invitations_accepted_at",
        "invitations",
        ["accepted_at", "created_at"],
        **_where("accepted_at IS NOT NULL"),
    )
    op.create_index("ix_invitations_email_comparable", "invitations", ["email_comparable"])
    op.create_index(
        "ix_invitations_account_id",
        "invitations",
        ["account_id"],
        **_where("account_id IS NOT NULL"),
    )
    op.create_index(
        "ix_invitations_mail_id", "invitations", ["mail_id"], **_where("mail_id IS NOT NULL")
    )


def _invite_links() -> None:
    op.create_table(
        "invite_links",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", BigInt),
        sa.Column("canceled_at", UtcDateTime()),
        sa.Column("is_public", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("auto_approve", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("auto_create_project", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("template", sa.String(255)),
        sa.Column("project_role_id", BigInt),
        sa.Column("allow_multiple_requests", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("custom_text", sa.Text(), server_default="", nullable=False),
        sa.Column("affiliations", JsonColumn, nullable=False),
        sa.Column("email_patterns", JsonColumn, nullable=False),
        sa.Column("sponsor_id", BigInt),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["accounts.id"],
            name=op.f("fk_invite_links_created_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["project_role_id"], ["roles.id"], name=op.f("fk_invite_links_project_role_id")
        ),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_invite_links_role_id")),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_invite_links_scope_id")),
        sa.ForeignKeyConstraint(
            ["sponsor_id"],
            ["accounts.id"],
            name=op.f("fk_invite_links_sponsor_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invite_links")),
        sa.UniqueConstraint("uuid", name=op.f("uq_invite_links_uuid")),
    )
    op.create_index("ix_invite_links_scope_id", "invite_links", ["scope_id", "created_at"])
    op.create_index("ix_invite_links_created_at", "invite_links", ["created_at", "id"])
    op.create_index(op.f("ix_invite_links_role_id"), "invite_links", ["role_id"])
    op.create_index(
        "ix_invite_links_public",
        "invite_links",
        ["created_at", "id"],
        sqlite_where=sa.text("is_public = 1"),
        postgresql_where=sa.text("is_public"),
    )


def _organisations() -> None:
    op.create_table(
        "organisations",
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("native_name", sa.String(160), server_default="", nullable=False),
        sa.Column("abbreviation", sa.String(12), server_default="", nullable=False),
        sa.Column("contact_details", sa.String(500), server_default="", nullable=False),
        sa.Column("agreement_number", sa.String(160), server_default="", nullable=False),
        sa.Column("registration_code", sa.String(160), server_default="", nullable=False),
        sa.Column("email", sa.String(75), server_default="", nullable=False),
        sa.Column("phone_number", sa.String(255), server_default="", nullable=False),
        sa.Column("access_subnets", sa.String(140), server_default="", nullable=False),
        sa.Column("homepage", sa.String(255), server_default="", nullable=False),
        sa.Column("domain", sa.String(255), server_default="", nullable=False),
        sa.Column("vat_code", sa.String(20), server_default="", nullable=False),
        sa.Column("postal", sa.String(20), server_default="", nullable=False),
        sa.Column("address", sa.String(300), server_default="", nullable=False),
        sa.Column("bank_name", sa.String(150), server_default="", nullable=False),
        sa.Column("bank_account", sa.String(50), server_default="", nullable=False),
        sa.Column("latitude", sa.Float()),
        sa.Column("longitude", sa.Float()),
        sa.Column("country", sa.String(2), server_default="", nullable=False),
        sa.Column("backend_id", sa.String(255), server_default="", nullable=False),
        sa.Column("blocked", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("archived", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("default_tax_percent", sa.String(8), server_default="0.00", nullable=False),
        sa.Column("accounting_started_at", UtcDateTime()),
        sa.Column("sponsor_number", sa.Integer()),
        sa.Column("max_service_accounts", sa.Integer()),
        sa.Column("grace_period_days", sa.Integer()),
        sa.Column("notification_emails", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "display_billing_info_in_projects", sa.Boolean(), server_default="1", nullable=False
        ),
        sa.Column("native_name_sort", SortKey, server_default="", nullable=False),
        sa.Column("abbreviation_sort", SortKey, server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_organisations_scope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_organisations")),
    )


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("backend_id", sa.String(255), server_default="", nullable=False),
        sa.Column("start_date", sa.Date()),
        sa.Column("end_date", sa.Date()),
        sa.Column("end_date_requested_by", BigInt),
        sa.Column("oecd_fos_2007_code", sa.String(80), server_default="", nullable=False),
        sa.Column("is_industry", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("kind", sa.String(16), server_default="default", nullable=False),
        sa.Column("max_service_accounts", sa.Integer()),
        sa.Column("grace_period_days", sa.Integer()),
        sa.Column("staff_notes", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "kind IN ('default', 'course', 'public')", name=op.f("ck_projects_kind")
        ),
        sa.ForeignKeyConstraint(
            ["end_date_requested_by"],
            ["accounts.id"],
            name=op.f("fk_projects_end_date_requested_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_projects_scope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_projects")),
    )


def _recovery_codes() -> None:
    op.create_table(
        "recovery_codes",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("code_hash", sa.LargeBinary(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_recovery_codes_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", "code_hash", name=op.f("pk_recovery_codes")),
    )


def _role_permissions() -> None:
    op.create_table(
        "role_permissions",
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("permission", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["role_id"], ["roles.id"], name=op.f("fk_role_permissions_role_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("role_id", "permission", name=op.f("pk_role_permissions")),
    )


def _ssh_keys() -> None:
    op.create_table(
        "ssh_keys",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("name", sa.String(150), server_default="", nullable=False),
        sa.Column("public_key", sa.String(2000), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("fingerprint_md5", sa.String(47), nullable=False),
        sa.Column("fingerprint_sha256", sa.String(64), nullable=False),
        sa.Column("fingerprint_sha512", sa.String(128), nullable=False),
        sa.Column("is_shared", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("name_sort", SortKey, server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_ssh_keys_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ssh_keys")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_ssh_keys_account_id_name")),
        sa.UniqueConstraint("uuid", name=op.f("uq_ssh_keys_uuid")),
    )
    op.create_index(op.f("ix_ssh_keys_fingerprint_md5"), "ssh_keys", ["fingerprint_md5"])
    op.create_index(op.f("ix_ssh_keys_fingerprint_sha256"), "ssh_keys", ["fingerprint_sha256"])
    op.create_index(op.f("ix_ssh_keys_fingerprint_sha512"), "ssh_keys", ["fingerprint_sha512"])
    op.create_index("ix_ssh_keys_shared", "ssh_keys", ["id"], **_where("is_shared"))
    op.create_index("ix_ssh_keys_name", "ssh_keys", ["name_sort", "id"])


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("token_encrypted", sa.LargeBinary()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(16), server_default="api", nullable=False),
        sa.Column("name", sa.String(150), server_default="", nullable=False),
        sa.Column("lifetime", sa.Integer()),
        sa.Column("expires_at", UtcDateTime()),
        sa.Column("family", UuidHex()),
        sa.CheckConstraint(
            "kind IN ('api', 'session', 'personal', 'device', 'access', 'refresh', 'spent')",
            name=op.f("ck_tokens_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_tokens_token_hash")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tokens_account_id", "tokens", ["account_id", "kind"])
    op.create_index(
        "uq_tokens_api", "tokens", ["account_id"], unique=True, **_where("kind = 'api'")
    )


def _two_factor() -> None:
    op.create_table(
        "two_factor",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("secret_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("confirmed_at", UtcDateTime()),
        sa.Column("last_step", BigInt, server_default="0", nullable=False),
        sa.Column("wrong_codes", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_two_factor_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_two_factor")),
    )


def _join_requests() -> None:
    op.create_table(
        "join_requests",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("invite_link_id", BigInt),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("decided_at", UtcDateTime()),
        sa.Column("decided_by", BigInt),
        sa.Column("comment", sa.Text()),
        sa.Column("is_automatic", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("project_id", BigInt),
        sa.Column("exclusive_key", BigInt),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'rejected', 'canceled')",
            name=op.f("ck_join_requests_state"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_join_requests_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"],
            ["accounts.id"],
            name=op.f("fk_join_requests_decided_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["invite_link_id"], ["invite_links.id"], name=op.f("fk_join_requests_invite_link_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["scopes.id"], name=op.f("fk_join_requests_project_id")
        ),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_join_requests_role_id")),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_join_requests_scope_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_requests")),
        sa.UniqueConstraint("uuid", name=op.f("uq_join_requests_uuid")),
    )
    op.create_index(op.f("ix_join_requests_invite_link_id"), "join_requests", ["invite_link_id"])
    op.create_index(op.f("ix_join_requests_role_id"), "join_requests", ["role_id"])
    op.create_index("ix_join_requests_account_id", "join_requests", ["account_id", "created_at"])
    op.create_index("ix_join_requests_scope_id", "join_requests", ["scope_id", "created_at"])
    op.create_index("ix_join_requests_created_at", "join_requests", ["created_at", "id"])
    op.create_index(
        "uq_join_requests_exclusive_key",
        "join_requests",
        ["account_id", "scope_id", "exclusive_key"],
        unique=True,
        **_where("state = 'pending'"),
    )
    op.create_index(
        "ix_join_requests_pending",
        "join_requests",
        ["created_at", "id"],
        **_where("state = 'pending'"),
    )
    op.create_index(
        "ix_join_requests_decided_at",
        "join_requests",
        ["decided_at"],
        **_where("decided_at IS NOT NULL"),
    )


# The full-text tables contain no text of their own. Triggers keep them equal to the rows.
_SEARCH_SQLITE: Final = (
    """CREATE VIRTUAL TABLE account_search USING fts5(
        search, content='accounts', content_rowid='id', tokenize='trigram')""",
    """CREATE TRIGGER account_search_insert AFTER INSERT ON accounts BEGIN
        INSERT INTO account_search(rowid, search) VALUES (new.id, new.search);
    END""",
    """CREATE TRIGGER account_search_delete AFTER DELETE ON accounts BEGIN
        INSERT INTO account_search(account_search, rowid, search)
        VALUES ('delete', old.id, old.search);
    END""",
    """CREATE TRIGGER account_search_update AFTER UPDATE OF search ON accounts
    WHEN old.search IS NOT new.search BEGIN
        INSERT INTO account_search(account_search, rowid, search)
        VALUES ('delete', old.id, old.search);
        INSERT INTO account_search(rowid, search) VALUES (new.id, new.search);
    END""",
    """CREATE VIRTUAL TABLE invitation_search USING fts5(
        email_search, content='invitations', content_rowid='id', tokenize='trigram')""",
    """CREATE TRIGGER invitation_search_insert AFTER INSERT ON invitations BEGIN
        INSERT INTO invitation_search(rowid, email_search) VALUES (new.id, new.email_search);
    END""",
    """CREATE TRIGGER invitation_search_delete AFTER DELETE ON invitations BEGIN
        INSERT INTO invitation_search(invitation_search, rowid, email_search)
        VALUES ('delete', old.id, old.email_search);
    END""",
    """CREATE TRIGGER invitation_search_update AFTER UPDATE OF email_search ON invitations
    WHEN old.email_search IS NOT new.email_search BEGIN
        INSERT INTO invitation_search(invitation_search, rowid, email_search)
        VALUES ('delete', old.id, old.email_search);
        INSERT INTO invitation_search(rowid, email_search) VALUES (new.id, new.email_search);
    END""",
)
_SEARCH_POSTGRESQL: Final = (
    # The cost is that of making the trigrams again for a row: an index is always preferred.
    """CREATE FUNCTION collegium_trigrams(value text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
        SELECT coalesce(array_agg(DISTINCT substr(value, i, 3)), ARRAY[]::text[])
        FROM generate_series(1, length(value) - 2) AS i
    $$""",
    "CREATE INDEX ix_accounts_search ON accounts USING gin (collegium_trigrams(search))",
    """CREATE INDEX ix_invitations_search ON invitations
    USING gin (collegium_trigrams(email_search))""",
)

_IN_ORGANISATION: Final = "(SELECT kind FROM scopes WHERE id = {row}.scope_id) <> 'group'"
# Table, event, change of the row count, condition.
_COUNTED: Final = (
    ("accounts", "INSERT", 1, "NEW.deleted_at IS NULL"),
    (
        "accounts",
        "UPDATE OF deleted_at",
        -1,
        "OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL",
    ),
    (
        "accounts",
        "UPDATE OF deleted_at",
        1,
        "OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL",
    ),
    ("accounts", "DELETE", -1, "OLD.deleted_at IS NULL"),
    ("invitations", "INSERT", 1, _IN_ORGANISATION.format(row="NEW")),
    ("invitations", "DELETE", -1, _IN_ORGANISATION.format(row="OLD")),
    ("join_requests", "INSERT", 1, _IN_ORGANISATION.format(row="NEW")),
    ("join_requests", "DELETE", -1, _IN_ORGANISATION.format(row="OLD")),
)


def _count_rows(*, is_sqlite: bool) -> None:
    """Create the triggers that maintain ``row_counts``; see ``collegium.lists.row_counts``."""
    for table in sorted({table for table, *_ in _COUNTED}):
        op.execute(f"INSERT INTO row_counts (name, count) VALUES ('{table}', 0)")
    for at, (table, event, change, condition) in enumerate(_COUNTED):
        name = f"row_counts_{table}_{at}"
        trigger = f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW"
        if is_sqlite:
            op.execute(
                f"{trigger} WHEN {condition} BEGIN"
                f" UPDATE row_counts SET count = count + ({change}) WHERE name = '{table}'; END"
            )
        else:
            # The condition is in the function, because the condition of a trigger cannot read
            # another table.
            op.execute(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$"
                f" BEGIN IF {condition} THEN"
                f" INSERT INTO row_counts VALUES ('{table}', {change}); END IF;"
                " RETURN NULL; END $$"
            )
            op.execute(f"{trigger} EXECUTE FUNCTION {name}()")


# Name, kind of scope, description, whether it is active, permissions.
_ROLES: Final = (
    (
        "CUSTOMER.OWNER",
        "organisation",
        "Organisation owner",
        True,
        (
            "ACCESS_SUBNET.CREATE",
            "ACCESS_SUBNET.DELETE",
            "ACCESS_SUBNET.UPDATE",
            "CUSTOMER.CREATE",
            "CUSTOMER.DELETE",
            "CUSTOMER.UPDATE",
            "INVITATION.LIST",
            "PROJECT.CREATE",
            "PROJECT.CREATE_PERMISSION",
            "PROJECT.DELETE",
            "PROJECT.DELETE_PERMISSION",
            "PROJECT.LIST",
            "PROJECT.UPDATE",
            "PROJECT.UPDATE_PERMISSION",
        ),
    ),
    ("CUSTOMER.MANAGER", "organisation", "Organisation manager", False, ()),
    ("CUSTOMER.SUPPORT", "organisation", "Organisation support", False, ()),
    (
        "PROJECT.MANAGER",
        "project",
        "Project manager",
        True,
        (
            "PROJECT.CREATE_PERMISSION",
            "PROJECT.DELETE_PERMISSION",
            "PROJECT.UPDATE",
            "PROJECT.UPDATE_PERMISSION",
        ),
    ),
    ("PROJECT.ADMIN", "project", "Project administrator", True, ()),
    ("PROJECT.MEMBER", "project", "Project member", True, ()),
    (
        "GROUP.LEAD",
        "group",
        "Group lead",
        True,
        (
            "GROUP.CREATE_PERMISSION",
            "GROUP.DELETE",
            "GROUP.DELETE_PERMISSION",
            "GROUP.UPDATE",
            "GROUP.UPDATE_PERMISSION",
        ),
    ),
    (
        "GROUP.OWNER",
        "group",
        "Group owner",
        True,
        (
            "GROUP.CREATE_PERMISSION",
            "GROUP.DELETE",
            "GROUP.DELETE_PERMISSION",
            "GROUP.UPDATE",
            "GROUP.UPDATE_PERMISSION",
        ),
    ),
    (
        "GROUP.MANAGER",
        "group",
        "Group manager",
        True,
        ("GROUP.CREATE_PERMISSION", "GROUP.DELETE_PERMISSION"),
    ),
    ("GROUP.MEMBER", "group", "Group member", True, ()),
)


def _add_roles() -> None:
    roles = sa.table(
        "roles",
        sa.column("id", BigInt),
        sa.column("uuid", UuidHex),
        *(sa.column(name, sa.Text()) for name in ("name", "kind", "description", "name_sort")),
        sa.column("descriptions", JsonColumn),
        *(sa.column(name, sa.Boolean()) for name in ("is_system", "is_active")),
    )
    permissions = sa.table(
        "role_permissions", sa.column("role_id", BigInt), sa.column("permission", sa.Text())
    )
    connection = op.get_bind()
    for name, kind, description, is_active, allowed in _ROLES:
        number = connection.execute(
            sa.insert(roles)
            .values(
                uuid=uuid4().hex,
                name=name,
                kind=kind,
                description=description,
                descriptions={},
                is_system=True,
                is_active=is_active,
                name_sort=name.lower(),
            )
            .returning(roles.c.id)
        ).scalar_one()
        for permission in allowed:
            connection.execute(sa.insert(permissions).values(role_id=number, permission=permission))
