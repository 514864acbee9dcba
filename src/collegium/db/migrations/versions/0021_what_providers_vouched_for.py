"""Keep what a provider states until a code is entered, and what a removed one has vouched for.

A provider speaks for the institutions for which it has spoken before scopes were compared.
"""

from __future__ import annotations

import re
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021_what_providers_vouched_for"
down_revision = "0020_link_claims"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")

_SCOPED: Final = frozenset(
    {"edupersonscopedaffiliation", "vopersonscopedaffiliation", "vopersonexternalaffiliation"}
)
_ENOUGH: Final = 2
_SCOPE: Final = re.compile(r"[a-z0-9.-]{1,60}")

_providers: Final = sa.table(
    "identity_providers",
    sa.column("id", BigInt),
    sa.column("name", sa.Text),
    *(sa.column(name, JsonColumn) for name in ("vouched_claims", "trusted_domains")),
    sa.column("attribute_mapping", JsonColumn),
)
_identities: Final = sa.table(
    "identities",
    sa.column("id", BigInt),
    sa.column("provider_id", BigInt),
    sa.column("claims", JsonColumn),
)
_accounts: Final = sa.table(
    "accounts", sa.column("registration_method", sa.Text), sa.column("affiliations", JsonColumn)
)


def upgrade() -> None:
    """Add the column and the table; let proxies go on speaking for their institutions."""
    op.add_column("exchange_codes", sa.Column("stated_encrypted", sa.LargeBinary()))
    op.create_table(
        "released_identities",
        sa.Column("identity_id", BigInt, nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["identities.id"],
            name=op.f("fk_released_identities_identity_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("identity_id", name=op.f("pk_released_identities")),
    )
    released = sa.table("released_identities", sa.column("identity_id", BigInt))
    without = sa.select(_identities.c.id).where(_identities.c.provider_id.is_(None))
    op.execute(sa.insert(released).from_select(["identity_id"], without))
    connection: Any = op.get_bind()
    for provider in connection.execute(sa.select(_providers)).all():
        entries = [
            f"{claim}@{scope}"
            for claim, scopes in sorted(_spoken_for(connection, provider).items())
            for scope in (scopes if len(scopes) == 1 else "*")
        ]
        if entries:
            op.execute(
                sa.update(_providers)
                .where(_providers.c.id == provider.id)
                .values(vouched_claims=[*provider.vouched_claims, *entries])
            )


def _spoken_for(connection: Any, provider: Any) -> dict[str, set[str]]:
    """Return the claims with which a provider has spoken for more than its trusted domains.

    They have the institutions, of which two are enough to see that it is a proxy. A provider that
    has spoken for one alone does not begin to speak for others.
    """
    found: dict[str, set[str]] = {}
    named = {_plain(e.partition("@")[0]) for e in provider.vouched_claims if "@" in e}
    candidates = {c for c in provider.vouched_claims if _plain(c) in _SCOPED - named}
    names = provider.attribute_mapping.get("affiliations", "").split()
    mapped = [name for name in names if _plain(name) not in named]

    def add(claim: str, value: Any) -> None:
        for scope in _scopes(value) - {"", *provider.trusted_domains}:
            if len(found.get(claim, ())) < _ENOUGH:
                found.setdefault(claim, set()).add(scope if _SCOPE.fullmatch(scope) else "*")

    stored = sa.select(_identities.c.claims).where(_identities.c.provider_id == provider.id)
    with connection.execute(stored.execution_options(yield_per=1000)) as rows:
        for (claims,) in rows:
            for claim in candidates:
                add(claim, claims.get(claim))
    profiles = sa.select(_accounts.c.affiliations).where(
        _accounts.c.registration_method == provider.name
    )
    with connection.execute(profiles.execution_options(yield_per=1000)) as rows:
        for (affiliations,) in rows:
            for claim in mapped:
                add(claim, affiliations)
    return found


def _scopes(value: Any) -> set[str]:
    values = value if isinstance(value, list) else [value]
    texts = (text.lower() for text in values if isinstance(text, str))
    return {text.partition("@")[2] for text in texts}


def _plain(claim: str) -> str:
    return claim.lower().replace("_", "").replace("-", "")
