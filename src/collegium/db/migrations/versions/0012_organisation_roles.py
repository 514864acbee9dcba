"""Add roles of a single organisation, and roles that an organisation does not use."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UuidHex

revision = "0012_organisation_roles"
down_revision = "0011_invite_link_details"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "organisation_roles",
        sa.Column("role_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("organisation_id", BigInt, nullable=False),
        sa.Column("template_id", BigInt),
        sa.ForeignKeyConstraint(
            ["role_id"],
            ["roles.id"],
            name=op.f("fk_organisation_roles_role_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["scopes.id"], name=op.f("fk_organisation_roles_organisation_id")
        ),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["roles.id"],
            name=op.f("fk_organisation_roles_template_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("role_id", name=op.f("pk_organisation_roles")),
        sa.UniqueConstraint("uuid", name=op.f("uq_organisation_roles_uuid")),
        sa.UniqueConstraint(
            "organisation_id",
            "template_id",
            name=op.f("uq_organisation_roles_organisation_id_template_id"),
        ),
    )
    op.create_index("ix_organisation_roles_template_id", "organisation_roles", ["template_id"])
    op.create_table(
        "role_concealments",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("organisation_id", BigInt, nullable=False),
        sa.Column("role_id", BigInt, nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["scopes.id"], name=op.f("fk_role_concealments_organisation_id")
        ),
        sa.ForeignKeyConstraint(
            ["role_id"],
            ["roles.id"],
            name=op.f("fk_role_concealments_role_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_concealments")),
        sa.UniqueConstraint("uuid", name=op.f("uq_role_concealments_uuid")),
        sa.UniqueConstraint(
            "organisation_id",
            "role_id",
            name=op.f("uq_role_concealments_organisation_id_role_id"),
        ),
    )
    op.create_index("ix_role_concealments_role_id", "role_concealments", ["role_id"])
