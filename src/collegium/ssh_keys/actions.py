"""Actions on SSH keys: create, delete, synchronise with a remote directory."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from itertools import islice
from typing import Final

from collegium.access.rules import Actor
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Forbidden, NotFound, check_quota
from collegium.settings import DEFAULTS, Settings
from collegium.sign_in import credentials
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.queries import AccountKey
from collegium.ssh_keys.rules import NAME_MAX, SYNCED_MAX, PublicKey

REMOTE: Final = "eduteams_"
"""Prefix of the names of keys from a remote directory. Only such keys are removed by it."""


def name_of(key: PublicKey, name: str | None) -> str:
    """Return the stored name of a key: the given name, or else its comment."""
    return (key.comment if name is None else name)[:NAME_MAX].strip()


def create(
    tx: WriteTransaction,
    actor: Actor,
    key: PublicKey,
    name: str | None = None,
    *,
    settings: Settings = DEFAULTS,
) -> str:
    """Store a key of the actor. Return its UUID.

    Args:
        name: None for the comment of the key.

    Raises:
        Invalid: ``key.name_taken``: the account has a key with this name.
        Conflict: ``key.too_many``: the account has ``settings.max_keys`` keys.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    credentials.confirm(tx, actor)
    check_quota(ssh_key_queries.count(tx, actor.id), settings.max_keys, "key.too_many")
    return _record_new(tx, actor, actor.id, name_of(key, name), key)


def delete(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Delete a key.

    Raises:
        NotFound: ``key.unknown``: there is no such key, or it is hidden from the actor.
        Forbidden: ``key.shared``: the key is shared and the actor is not staff.
            ``permission.missing``: it is the key of another account and the actor is not staff.
    """
    key = ssh_key_queries.get_visible(tx, actor, uuid)
    if not actor.is_staff:
        if key.is_shared:
            raise Forbidden("key.shared")
        if key.account_id != actor.id:
            raise Forbidden("permission.missing")
    if not _delete_key(tx, actor, key.account_id, key):
        raise NotFound("key.unknown")


def sync_keys(
    tx: WriteTransaction, actor: Actor | None, account: int, directory_keys: Iterable[PublicKey]
) -> None:
    """Make the keys of an account match those of a remote directory.

    Keys that the directory added earlier and no longer lists are deleted. Keys that the person
    added stay, and are not added twice. The caller must hold the lock on the account.
    """
    missing = {key.sha256: key for key in islice(directory_keys, SYNCED_MAX)}
    rows = ssh_key_queries.of_account(tx, account)
    for row in rows:
        if row.name.startswith(REMOTE) and row.fingerprint_sha256 not in missing:
            _delete_key(tx, actor, account, row)
    for row in rows:
        missing.pop(row.fingerprint_sha256, None)
    for key in missing.values():
        _record_new(tx, actor, account, f"{REMOTE}key_{secrets.token_hex(5)}", key)


def _record_new(
    tx: WriteTransaction, actor: Actor | None, account: int, name: str, key: PublicKey
) -> str:
    uuid = ssh_key_queries.add(tx, account, name, key)
    event_queries.record(
        tx, actor, events.KeyCreated(account=account, key=uuid, name=name, fingerprint=key.sha256)
    )
    return uuid


def _delete_key(tx: WriteTransaction, actor: Actor | None, account: int, row: AccountKey) -> bool:
    is_deleted = ssh_key_queries.remove(tx, row.id)
    if is_deleted:
        event_queries.record(
            tx,
            actor,
            events.KeyDeleted(
                account=account, key=row.uuid, name=row.name, fingerprint=row.fingerprint_sha256
            ),
        )
    return is_deleted
