"""Choose which e-mails one wants, with or without a session."""

from __future__ import annotations

from collections.abc import Collection

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.mail_preferences import queries as preference_queries
from collegium.accounts.mail_preferences.rules import DIGEST, OPTIONAL, UNSUBSCRIBE, next_digest
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import NotFound, or_not_found
from collegium.security.crypto import Vault
from collegium.settings import Settings


def wanted(tx: ReadTransaction, actor: Actor) -> set[str]:
    """Return the kinds of e-mail that the actor wants."""
    return preference_queries.wanted(tx, [actor.id])[actor.id]


def choose(tx: WriteTransaction, actor: Actor, kinds: Collection[str]) -> None:
    """Store which of the e-mails that can be turned off the actor wants.

    Args:
        kinds: those that are wanted; all others are turned off.
    """
    lock_account(tx, actor.id)
    before = wanted(tx, actor)
    for kind in OPTIONAL:
        if (kind in kinds) != (kind in before):
            _choose(tx, actor.id, kind, is_wanted=kind in kinds)


def link(settings: Settings, vault: Vault, account: str, kind: str) -> str:
    """Return the URL that turns off one kind of e-mail for an account.

    It leads to our own page, also where another front end is configured.

    Args:
        account: UUID of the account.
    """
    token = vault.sign(UNSUBSCRIBE, account, kind)
    return f"{settings.base_url.rstrip('/')}/{UNSUBSCRIBE}/{token}/"


def read_link(vault: Vault, token: str) -> tuple[str, str]:
    """Return the UUID of the account and the kind of e-mail that a link names.

    Raises:
        NotFound: ``unsubscribe.unknown``: nobody was given such a link.
    """
    match vault.unsign(UNSUBSCRIBE, token):
        case [str(account), str(kind)] if kind in OPTIONAL:
            return account, kind
    raise NotFound("unsubscribe.unknown")


def unsubscribe(tx: WriteTransaction, vault: Vault, token: str) -> str:
    """Turn off the kind of e-mail that a link names; return the kind.

    Doing it again changes nothing.

    Raises:
        NotFound: ``unsubscribe.unknown``, also for a deleted account.
    """
    uuid, kind = read_link(vault, token)
    account = or_not_found(account_queries.by_uuid(tx, uuid), "unsubscribe.unknown")
    lock_account(tx, account.id)
    if account_queries.by_uuid(tx, uuid) is None:
        # It was deleted while this waited.
        raise NotFound("unsubscribe.unknown")
    _choose(tx, account.id, kind, is_wanted=False)
    return kind


def _choose(tx: WriteTransaction, account: int, kind: str, *, is_wanted: bool) -> None:
    next_at = next_digest(tx.now) if kind == DIGEST and is_wanted else None
    preference_queries.choose(tx, account, kind, next_at, is_wanted=is_wanted)
