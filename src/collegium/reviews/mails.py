"""The e-mail about pending reviews."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from collegium.accounts.mails import load_account, name_of
from collegium.db.database import ReadTransaction
from collegium.outbox.mails import ReviewsPending
from collegium.outbox.outcomes import ObsoleteError
from collegium.reviews import queries as review_queries
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of
from collegium.text.plain import name_line

Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]

_LISTED: Final = 20
"""Maximum number of reviews that an e-mail names."""


def _load_pending(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account = load_account(tx, payload["account"])
    actor = actor_of(account)
    total = review_queries.pending.count(tx, actor, {})
    rows = review_queries.pending.page(tx, actor, {}, (), _LISTED, 0)
    if not rows:
        raise ObsoleteError("No review is pending any more.")
    return {
        "name": name_of(account),
        "reviews": [
            {
                "scope_kind": row.scope_kind,
                "scope_name": name_line(row.scope_name),
                "organisation_name": name_line(row.organisation_name)
                if row.scope_kind == "project"
                else "",
                "since": row.created_at,
            }
            for row in rows
        ],
        "more": total - len(rows),
        "link": f"{settings.homeport_url.rstrip('/')}/"
        if settings.homeport_url
        else f"{settings.base_url.rstrip('/')}/account/reviews/",
    }


LOADERS: Final[dict[str, Loader]] = {ReviewsPending.kind: _load_pending}
