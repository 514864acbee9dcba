"""Add the claims that an invite link asks for; keep what rules believe about institutions."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020_link_claims"
down_revision = "0019_hook_queue"

JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")

_DOMAINS: Final = frozenset({"schachomeorganization", "hd"})
_SCOPED: Final = _DOMAINS | {
    *("edupersonuniqueid", "edupersonprincipalname", "subjectid", "pairwiseid"),
}
"""Claims that count from now on for the institutions alone for which a provider speaks."""


def upgrade() -> None:
    """Add the column. Claims of existing rules go on counting, so that nobody loses a role."""
    op.add_column(
        "invite_links", sa.Column("claims", JsonColumn, server_default="{}", nullable=False)
    )
    connection = op.get_bind()
    rules = sa.table("claim_rules", sa.column("claims", JsonColumn))
    asked = {
        _plain(claim) for (claims,) in connection.execute(sa.select(rules)) for claim in claims
    }
    providers = sa.table(
        "identity_providers",
        sa.column("id"),
        sa.column("vouched_claims", JsonColumn),
        sa.column("attribute_mapping", JsonColumn),
    )
    rows: Any = connection.execute(sa.select(providers)).all()
    for row in rows:
        mapped = row.attribute_mapping.get("affiliations", "").split()
        wanted = (asked & _SCOPED) | (set(map(_plain, mapped)) & _DOMAINS)
        further = [f"{name}@*" for name in row.vouched_claims if _plain(name) in wanted]
        if further:
            op.execute(
                sa.update(providers)
                .where(providers.c.id == row.id)
                .values(vouched_claims=[*row.vouched_claims, *further])
            )


def _plain(claim: str) -> str:
    return claim.lower().replace("_", "").replace("-", "")
