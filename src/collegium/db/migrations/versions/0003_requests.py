"""Open invitations and requests, what the clock waits for, and the roles of groups."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from collegium.access.rules import SYSTEM_ROLES
from collegium.db.statements import UtcDateTime, UuidHex
from collegium.db.tables import BigInt, JsonColumn, role_permissions, roles

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "open_invitations",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.Column("expires", UtcDateTime(), nullable=False),
        sa.Column("created_by", BigInt, nullable=True),
        sa.Column("canceled", UtcDateTime(), nullable=True),
        *(
            sa.Column(name, sa.Boolean(), server_default="0", nullable=False)
            for name in ("is_public", "auto_approve", "auto_create_project")
        ),
        sa.Column("template", sa.String(length=255), nullable=True),
        sa.Column("project_role_id", BigInt, nullable=True),
        sa.Column("allow_multiple_requests", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("custom_text", sa.Text(), server_default="", nullable=False),
        sa.Column("affiliations", JsonColumn, nullable=False),
        sa.Column("email_patterns", JsonColumn, nullable=False),
        _to("scopes", "open_invitations", "scope_id"),
        _to("roles", "open_invitations", "role_id"),
        _to("roles", "open_invitations", "project_role_id"),
        _to("accounts", "open_invitations", "created_by", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_open_invitations")),
        sa.UniqueConstraint("uuid", name=op.f("uq_open_invitations_uuid")),
    )
    op.create_table(
        "requests",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("open_invitation_id", BigInt, nullable=True),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.Column("decided", UtcDateTime(), nullable=True),
        sa.Column("decided_by", BigInt, nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("is_automatic", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("project_id", BigInt, nullable=True),
        sa.Column("sole", BigInt, nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'rejected', 'canceled')",
            name=op.f("ck_requests_state"),
        ),
        _to("open_invitations", "requests", "open_invitation_id"),
        _to("scopes", "requests", "scope_id"),
        _to("scopes", "requests", "project_id"),
        _to("roles", "requests", "role_id"),
        _to("accounts", "requests", "account_id"),
        _to("accounts", "requests", "decided_by", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
        sa.UniqueConstraint("uuid", name=op.f("uq_requests_uuid")),
    )
    op.add_column("invitations", sa.Column("reminded", UtcDateTime(), nullable=True))
    op.add_column("invitations", sa.Column("told", UtcDateTime(), nullable=True))
    for table, *columns in (
        ("open_invitations", "scope_id", "created"),
        ("open_invitations", "created", "id"),
        ("open_invitations", "role_id"),
        ("requests", "open_invitation_id"),
        ("requests", "role_id"),
        ("requests", "account_id", "created"),
        ("requests", "scope_id", "created"),
        ("requests", "created", "id"),
        ("invitations", "role_id"),
    ):
        op.create_index(f"ix_{table}_{columns[0]}", table, columns, unique=False)
    op.create_index(
        "ix_open_invitations_public",
        "open_invitations",
        ["created", "id"],
        unique=False,
        sqlite_where=sa.text("is_public = 1"),
        postgresql_where=sa.text("is_public"),
    )
    _index(
        "ix_invitations_untold", "invitations", ["expires"], "state = 'pending' AND told IS NULL"
    )
    _index("ix_invitations_held", "invitations", ["scope_id"], "state = 'held'")
    _index("ix_grants_until_active", "grants", ["until"], "ended IS NULL AND until IS NOT NULL")
    op.create_index(
        "uq_requests_sole",
        "requests",
        ["account_id", "scope_id", "sole"],
        unique=True,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    _tell_nothing_old()
    _missing_roles()


def _to(
    target: str, table: str, column: str, ondelete: str | None = None
) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete=ondelete
    )


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=False,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _tell_nothing_old() -> None:
    """Count what expired before there was anybody to tell it as told."""
    invitations = sa.table(
        "invitations",
        sa.column("state"),
        sa.column("expires", UtcDateTime()),
        sa.column("told", UtcDateTime()),
    )
    op.get_bind().execute(
        sa.update(invitations)
        .where(invitations.c.state == "pending", invitations.c.expires <= datetime.now(UTC))
        .values(told=invitations.c.expires)
    )


def _missing_roles() -> None:
    connection = op.get_bind()
    there = set(connection.execute(sa.select(roles.c.name)).scalars())
    for role in SYSTEM_ROLES:
        if role.name in there:
            continue
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
