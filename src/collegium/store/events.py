"""History: one row a deed, written in the transaction of the deed and never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert

from collegium.store.db import Prepared
from collegium.store.tables import events

if TYPE_CHECKING:
    from collegium.rules.access import Actor
    from collegium.store.db import Write

_RECORD = Prepared(
    insert(events).values(
        {
            name: bindparam(name)
            for name in (
                "at",
                "kind",
                "actor_id",
                "actor_name",
                "address",
                "request",
                "scope_id",
                "account_id",
                "facts",
            )
        }
    )
)


def record(
    tx: Write,
    kind: str,
    actor: Actor | None,
    *,
    scope: int | None = None,
    account: int | None = None,
    **facts: Any,
) -> None:
    """Write down what happened.

    Args:
        kind: in the past and dotted, ``invitation.accepted``.
        actor: who did it; None when nobody is logged in.
        scope: number of the scope it happened in.
        account: number of the account it happened to.
        facts: names as they are now, and what changed; JSON values, never a secret.
    """
    if actor is not None and actor.behind is not None:
        facts["impersonated_by"] = actor.behind.name or actor.behind.username
    tx.run(
        _RECORD,
        at=tx.now,
        kind=kind,
        actor_id=actor.id if actor else None,
        actor_name=(actor.name or actor.username) if actor else "",
        address=actor.address if actor else "",
        request=actor.request if actor else "",
        scope_id=scope,
        account_id=account,
        facts=facts,
    )
