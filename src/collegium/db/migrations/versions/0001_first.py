"""The first schema, with the roles that every installation has."""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from collegium.access.rules import SYSTEM_ROLES
from collegium.db.statements import UtcDateTime, UuidHex
from collegium.db.tables import BigInt, JsonColumn, role_permissions, roles

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "accounts",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("username", sa.String(length=128), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("password", sa.String(length=255), nullable=True),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("first_name", sa.String(length=100), server_default="", nullable=False),
        sa.Column("last_name", sa.String(length=100), server_default="", nullable=False),
        sa.Column("native_name", sa.String(length=100), server_default="", nullable=False),
        sa.Column("job_title", sa.String(length=120), server_default="", nullable=False),
        sa.Column("phone_number", sa.String(length=255), server_default="", nullable=False),
        sa.Column("organization", sa.String(length=255), server_default="", nullable=False),
        sa.Column("civil_number", sa.String(length=50), nullable=True),
        sa.Column("description", sa.String(length=2000), server_default="", nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("preferred_language", sa.String(length=10), server_default="", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("is_staff", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_support", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_identity_manager", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("notifications_enabled", sa.Boolean(), server_default="1", nullable=False),
        sa.Column("token_lifetime", sa.Integer(), nullable=True),
        sa.Column(
            "registration_method", sa.String(length=50), server_default="default", nullable=False
        ),
        sa.Column("identity_source", sa.String(length=50), server_default="", nullable=False),
        sa.Column("affiliations", JsonColumn, nullable=False),
        sa.Column("joined", UtcDateTime(), nullable=False),
        sa.Column("modified", UtcDateTime(), nullable=False),
        sa.Column("agreed", UtcDateTime(), nullable=True),
        sa.Column("last_login", UtcDateTime(), nullable=True),
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
    op.create_table(
        "outbox",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("facts", JsonColumn, nullable=False),
        sa.Column("state", sa.String(length=16), server_default="owed", nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.Column("due", UtcDateTime(), nullable=False),
        sa.Column("leased", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("settled", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('owed', 'sent', 'void', 'abandoned')", name=op.f("ck_outbox_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_outbox_owed",
        "outbox",
        ["due"],
        unique=False,
        sqlite_where=sa.text("state = 'owed'"),
        postgresql_where=sa.text("state = 'owed'"),
    )
    op.create_table(
        "roles",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("name", sa.String(length=150), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("descriptions", JsonColumn, nullable=False),
        sa.Column("is_system", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "kind IN ('organisation', 'project', 'group')", name=op.f("ck_roles_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roles")),
        sa.UniqueConstraint("name", name=op.f("uq_roles_name")),
        sa.UniqueConstraint("uuid", name=op.f("uq_roles_uuid")),
    )
    op.create_table(
        "scopes",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("parent_id", BigInt, nullable=True),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.Column("removed", UtcDateTime(), nullable=True),
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
    op.create_index("ix_scopes_kind_name", "scopes", ["kind", "name", "id"], unique=False)
    op.create_index(op.f("ix_scopes_parent_id"), "scopes", ["parent_id"], unique=False)
    op.create_table(
        "slugs",
        sa.Column("prefix", sa.String(length=64), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_slugs")),
    )
    op.create_table(
        "events",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("actor_id", BigInt, nullable=True),
        sa.Column("actor_name", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.String(length=64), server_default="", nullable=False),
        sa.Column("request", sa.String(length=64), server_default="", nullable=False),
        sa.Column("scope_id", BigInt, nullable=True),
        sa.Column("account_id", BigInt, nullable=True),
        sa.Column("facts", JsonColumn, nullable=False),
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
    op.create_index("ix_events_account_id", "events", ["account_id", "id"], unique=False)
    op.create_index("ix_events_scope_id", "events", ["scope_id", "id"], unique=False)
    op.create_table(
        "grants",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("given_by", BigInt, nullable=True),
        sa.Column("ended", UtcDateTime(), nullable=True),
        sa.Column("ended_by", BigInt, nullable=True),
        sa.CheckConstraint("ended IS NULL OR ended >= since", name=op.f("ck_grants_ended")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_grants_account_id")),
        sa.ForeignKeyConstraint(
            ["ended_by"], ["accounts.id"], name=op.f("fk_grants_ended_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["given_by"], ["accounts.id"], name=op.f("fk_grants_given_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_grants_role_id")),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_grants_scope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
        sa.UniqueConstraint("uuid", name=op.f("uq_grants_uuid")),
    )
    op.create_index(
        "ix_grants_since_active",
        "grants",
        ["since", "id"],
        sqlite_where=sa.text("ended IS NULL"),
        postgresql_where=sa.text("ended IS NULL"),
    )
    op.create_index("ix_grants_role_id", "grants", ["role_id"], unique=False)
    op.create_index(
        "ix_grants_scope_active",
        "grants",
        ["scope_id", "account_id", "until"],
        unique=False,
        sqlite_where=sa.text("ended IS NULL"),
        postgresql_where=sa.text("ended IS NULL"),
    )
    op.create_index(
        "uq_grants_active",
        "grants",
        ["account_id", "scope_id", "role_id"],
        unique=True,
        sqlite_where=sa.text("ended IS NULL"),
        postgresql_where=sa.text("ended IS NULL"),
    )
    op.create_table(
        "invitations",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("full_name", sa.String(length=100), server_default="", nullable=False),
        sa.Column("native_name", sa.String(length=100), server_default="", nullable=False),
        sa.Column("phone_number", sa.String(length=255), server_default="", nullable=False),
        sa.Column("organization", sa.String(length=255), server_default="", nullable=False),
        sa.Column("job_title", sa.String(length=120), server_default="", nullable=False),
        sa.Column("civil_number", sa.String(length=50), server_default="", nullable=False),
        sa.Column("extra_text", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.Column("expires", UtcDateTime(), nullable=False),
        sa.Column("created_by", BigInt, nullable=True),
        sa.Column("vouched_by", BigInt, nullable=True),
        sa.Column("approved_by", BigInt, nullable=True),
        sa.Column("accepted_by", BigInt, nullable=True),
        sa.Column("mail_id", BigInt, nullable=True),
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
            ["vouched_by"],
            ["accounts.id"],
            name=op.f("fk_invitations_vouched_by"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("uuid", name=op.f("uq_invitations_uuid")),
    )
    op.create_index("ix_invitations_created", "invitations", ["created", "id"], unique=False)
    op.create_index("ix_invitations_scope_id", "invitations", ["scope_id", "created"], unique=False)
    op.create_table(
        "organisations",
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("native_name", sa.String(length=160), server_default="", nullable=False),
        sa.Column("abbreviation", sa.String(length=12), server_default="", nullable=False),
        sa.Column("contact_details", sa.String(length=500), server_default="", nullable=False),
        sa.Column("agreement_number", sa.String(length=160), server_default="", nullable=False),
        sa.Column("registration_code", sa.String(length=160), server_default="", nullable=False),
        sa.Column("email", sa.String(length=75), server_default="", nullable=False),
        sa.Column("phone_number", sa.String(length=255), server_default="", nullable=False),
        sa.Column("access_subnets", sa.String(length=140), server_default="", nullable=False),
        sa.Column("homepage", sa.String(length=255), server_default="", nullable=False),
        sa.Column("domain", sa.String(length=255), server_default="", nullable=False),
        sa.Column("vat_code", sa.String(length=20), server_default="", nullable=False),
        sa.Column("postal", sa.String(length=20), server_default="", nullable=False),
        sa.Column("address", sa.String(length=300), server_default="", nullable=False),
        sa.Column("bank_name", sa.String(length=150), server_default="", nullable=False),
        sa.Column("bank_account", sa.String(length=50), server_default="", nullable=False),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("country", sa.String(length=2), server_default="", nullable=False),
        sa.Column("backend_id", sa.String(length=255), server_default="", nullable=False),
        sa.Column("blocked", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("archived", sa.Boolean(), server_default="0", nullable=False),
        sa.Column(
            "default_tax_percent", sa.String(length=8), server_default="0.00", nullable=False
        ),
        sa.Column("accounting_started", UtcDateTime(), nullable=True),
        sa.Column("sponsor_number", sa.Integer(), nullable=True),
        sa.Column("max_service_accounts", sa.Integer(), nullable=True),
        sa.Column("grace_period_days", sa.Integer(), nullable=True),
        sa.Column("notification_emails", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "display_billing_info_in_projects", sa.Boolean(), server_default="1", nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_organisations_scope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_organisations")),
    )
    op.create_table(
        "projects",
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("backend_id", sa.String(length=255), server_default="", nullable=False),
        sa.Column("starts", sa.Date(), nullable=True),
        sa.Column("ends", sa.Date(), nullable=True),
        sa.Column("ends_requested_by", BigInt, nullable=True),
        sa.Column("oecd_fos_2007_code", sa.String(length=80), server_default="", nullable=False),
        sa.Column("is_industry", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="default", nullable=False),
        sa.Column("max_service_accounts", sa.Integer(), nullable=True),
        sa.Column("grace_period_days", sa.Integer(), nullable=True),
        sa.Column("staff_notes", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "kind IN ('default', 'course', 'public')", name=op.f("ck_projects_kind")
        ),
        sa.ForeignKeyConstraint(
            ["ends_requested_by"],
            ["accounts.id"],
            name=op.f("fk_projects_ends_requested_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_projects_scope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_projects")),
    )
    op.create_table(
        "role_permissions",
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("permission", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["role_id"], ["roles.id"], name=op.f("fk_role_permissions_role_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("role_id", "permission", name=op.f("pk_role_permissions")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("issued", UtcDateTime(), nullable=False),
        sa.Column("used", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("account_id", name=op.f("uq_tokens_account_id")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index("ix_accounts_email_folded", "accounts", [sa.text("lower(email)")])
    op.create_index("ix_invitations_email_folded", "invitations", [sa.text("lower(email)")])
    _system_roles()


def _system_roles() -> None:
    connection = op.get_bind()
    for role in SYSTEM_ROLES:
        number = connection.execute(
            sa.insert(roles)
            .values(
                uuid=uuid4().hex,
                name=role.name,
                kind=role.kind.value,
                description=role.description,
                descriptions={},
                is_system=True,
                is_active=role.is_active,
            )
            .returning(roles.c.id)
        ).scalar_one()
        for permission in role.permissions:
            connection.execute(
                sa.insert(role_permissions).values(role_id=number, permission=permission.value)
            )
