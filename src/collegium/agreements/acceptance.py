"""Agree to the current texts."""

from __future__ import annotations

from collections.abc import Collection

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.agreements import queries as agreement_queries
from collegium.agreements.rules import choose
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Invalid


def accept(tx: WriteTransaction, actor: Actor, shown: Collection[int]) -> None:
    """Record that the actor agrees to the texts that a page has shown.

    Args:
        shown: ids of the versions.

    Raises:
        Invalid: ``agreement.changed``: there are newer texts, or other kinds, to agree to.
    """
    access_queries.lock_account(tx, actor.id)
    texts = agreement_queries.pending(tx, actor.id)
    chosen = [text.id for text in texts if text.id in shown]
    if {text.kind for text in texts} != {text.kind for text in texts if text.id in shown}:
        raise Invalid("agreement.changed", field="agrees")
    account_queries.change(tx, actor.id, {"agreed_at": tx.now, "must_agree": False})
    record(tx, actor, chosen)


def accept_in_language(tx: WriteTransaction, actor: Actor, language: str) -> None:
    """Record that the actor agrees to the current texts, without having been shown them by us.

    A front end has shown them. The account must be locked; the caller records the time in it.

    Args:
        language: the preferred language of the account, possibly empty.
    """
    texts = choose(agreement_queries.pending(tx, actor.id), [language] if language else [])
    record(tx, actor, [text.id for text in texts])


def record(tx: WriteTransaction, actor: Actor, agreements: Collection[int]) -> None:
    """Record that the actor agrees to versions, given by id. The account must be locked or new."""
    new = agreement_queries.accept(tx, actor.id, agreements)
    texts = [text for text in agreement_queries.current(tx) if text.id in new] if new else []
    if texts:
        names = [
            f"{text.kind}{f' ({text.language})' if text.language else ''} {text.version}"
            for text in texts
        ]
        event_queries.record(
            tx, actor, events.AgreementsAccepted(account=actor.id, agreements=names)
        )
