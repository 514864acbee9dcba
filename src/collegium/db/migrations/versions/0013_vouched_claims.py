"""Add the claims that a provider vouches for, and the second factor of one-time codes."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013_vouched_claims"
down_revision = "0012_organisation_roles"

JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")

_DEFAULT: Final = (
    *("eduperson_affiliation", "eduperson_primary_affiliation", "eduperson_scoped_affiliation"),
    *("eduperson_assurance", "eduperson_entitlement", "eduperson_unique_id"),
    *("entitlements", "groups", "roles", "is_member_of"),
    *("schac_country_of_citizenship", "schac_home_organization", "schac_home_organization_type"),
    *("voperson_affiliation", "voperson_external_affiliation", "voperson_id"),
    *("voperson_scoped_affiliation", "subject_id", "pairwise_id"),
    *("sub", "oid", "tid", "hd"),
)
_OF_CONDITIONS: Final = {
    "nationalities": ("nationality", "nationalities", "citizenship", "citizenships"),
    "organisation_types": ("organization_type",),
    "assurance_levels": ("assurance",),
}


def upgrade() -> None:
    """Add the columns. Claims of existing rules go on counting, so that nobody loses a role."""
    op.add_column(
        "identity_providers",
        sa.Column("vouched_claims", JsonColumn, server_default="[]", nullable=False),
    )
    op.add_column(
        "exchange_codes",
        sa.Column("has_second_factor", sa.Boolean(), server_default="0", nullable=False),
    )
    names = [sa.column(name, JsonColumn) for name in ("claims", *_OF_CONDITIONS)]
    rules: Any = op.get_bind().execute(sa.select(*names).select_from(sa.table("claim_rules"))).all()
    asked = {claim for rule in rules for claim in rule.claims}
    for condition, claims in _OF_CONDITIONS.items():
        if any(getattr(rule, condition) for rule in rules):
            asked.update(claims)
    further = sorted(asked - {*_DEFAULT, "iss", "acr", "amr"})
    providers = sa.table("identity_providers", sa.column("vouched_claims", JsonColumn))
    op.execute(sa.update(providers).values(vouched_claims=[*_DEFAULT, *further]))
