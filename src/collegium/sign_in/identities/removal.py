"""Remove identities from the accounts of other people: by the operator, and by staff.

What a removed provider vouched for is taken back here too.
"""

from __future__ import annotations

from collections.abc import Collection

from collegium.access.rules import Actor, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.refusals import Conflict, NotFound
from collegium.settings import Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.identities import linking, profiles
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities.queries import ListedIdentity
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow


def unlink_as_operator(
    tx: WriteTransaction,
    settings: Settings,
    account: AccountRow,
    provider: ProviderRow,
    *,
    force: bool,
) -> int:
    """Remove the identities of an account at a provider.

    It is for a person whom the provider calls by another subject now. What came of them ends, and
    the person is recognised again as at the first sign-in: the accounts of staff and those with
    two-factor authentication are not.

    Args:
        force: whether to remove the last way in too.

    Returns:
        The number of identities.

    Raises:
        Conflict: ``identity.last_way_of``: the person could not sign in any more.
    """
    rows = _of_issuer(tx, account.id, provider.issuer)
    locked = profiles.lock_for_removal(tx, account.id, rows)
    # Another one may have been added before the lock.
    rows = _of_issuer(tx, account.id, provider.issuer)
    if not rows:
        return 0
    _remove(tx, settings, account, rows, force=force)
    event = events.IdentityUnlinked(
        account=account.id,
        provider=provider.name,
        issuer=provider.issuer,
        because=notices.OPERATOR,
    )
    event_queries.record(tx, None, event)
    profiles.withdraw(tx, settings, None, account.id, rows, locked)
    notices.send_notice(tx, mails.IdentityChanged, account, None, name=provider.label, removed=True)
    return len(rows)


def unlink_as_staff(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, identity: str, *, force: bool
) -> str:
    """Remove an identity of somebody else, as its owner could; return the name of the provider.

    What came of it ends. The provider does not recognise the person again by an address or a claim:
    the owner adds the method while signed in, or by a link in an e-mail.

    Args:
        uuid: of the account, 32 hex digits.
        identity: UUID of the identity.
        force: whether to remove the last way in too.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor. ``identity.none``.
        Forbidden: ``permission.missing``: the actor is not staff.
        Conflict: ``identity.own``: it is the actor's own account. ``identity.last_way_of``: the
            person could not sign in any more.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    if account.id == actor.id:
        raise Conflict("identity.own")
    rows = [row for row in identity_queries.of_account(tx, account.id) if row.uuid == identity]
    locked = profiles.lock_for_removal(tx, account.id, rows)
    account = account_queries.lock_account_and_recheck(tx, actor, account)
    rows = [row for row in identity_queries.of_account(tx, account.id) if row.uuid == identity]
    if not rows:
        raise NotFound("identity.none")
    _remove(tx, settings, account, rows, force=force)
    (row,) = rows
    event = events.IdentityUnlinked(
        account=account.id, provider=row.provider_name or "", issuer=row.issuer
    )
    event_queries.record(tx, actor, event)
    profiles.withdraw(tx, settings, actor, account.id, rows, locked)
    name = row.provider_label or row.issuer
    notices.send_notice(tx, mails.IdentityChanged, account, actor, name=name, removed=True)
    return name


def _remove(
    tx: WriteTransaction,
    settings: Settings,
    account: AccountRow,
    rows: Collection[ListedIdentity],
    *,
    force: bool,
) -> None:
    """Remove identities of a locked account, and end what came of them."""
    for row in rows:
        identity_queries.end_tokens_of(tx, row.id, kept_token=0)
        identity_queries.remove(tx, account.id, row.uuid)
    if not force and not linking.ways_to_sign_in(tx, account.id, settings):
        raise Conflict("identity.last_way_of")
    credentials.cancel_pending(tx, account.id)
    # The identity may belong to somebody else, and an address that it has stated too.
    email_change_queries.cancel(tx, account.id)


def withdraw_released(tx: WriteTransaction, settings: Settings, identity: int) -> int:
    """Take back what a removed provider vouched for, for one person. Return 1.

    Nothing is taken back if another active provider speaks for the issuer: it was replaced.

    Args:
        identity: id of the identity, of ``identity_queries.released``.
    """
    row = identity_queries.by_id(tx, identity)
    is_released = row is not None and row.provider_id is None
    if row is not None and is_released and not provider_queries.of_issuer(tx, row.issuer):
        gone = _without_provider(tx, row.account_id, row.issuer)
        locked = profiles.lock_for_removal(tx, row.account_id, gone)
        # A sign-in may have come before the lock.
        gone = _without_provider(tx, row.account_id, row.issuer)
        if gone:
            profiles.withdraw(tx, settings, None, row.account_id, gone, locked)
    identity_queries.forget_released(tx, identity)
    return 1


def _of_issuer(tx: ReadTransaction, account: int, issuer: str) -> list[ListedIdentity]:
    return [row for row in identity_queries.of_account(tx, account) if row.issuer == issuer]


def _without_provider(tx: ReadTransaction, account: int, issuer: str) -> list[ListedIdentity]:
    return [row for row in _of_issuer(tx, account, issuer) if row.provider_id is None]
