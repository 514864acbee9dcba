"""What can be done to SSH keys."""

from __future__ import annotations

import secrets
from itertools import islice
from typing import TYPE_CHECKING, Final

from collegium.rules.keys import MIRRORED_MAX, NAME_MAX, check_few
from collegium.rules.refusals import Forbidden, NotFound
from collegium.settings import DEFAULTS
from collegium.store import access, events, keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collegium.rules.access import Actor
    from collegium.rules.keys import PublicKey
    from collegium.settings import Settings
    from collegium.store.db import Write
    from collegium.store.statements import Row

REMOTE: Final = "eduteams_"
"""How the names of keys begin that a remote directory gave us, and may take away again."""


def name_of(key: PublicKey, given: str | None) -> str:
    """Give the name a key is kept under: the given one, else its comment."""
    return (key.comment if given is None else given)[:NAME_MAX].strip()


def create(
    tx: Write,
    actor: Actor,
    key: PublicKey,
    name: str | None = None,
    *,
    settings: Settings = DEFAULTS,
) -> str:
    """Keep a key of the actor; give its UUID.

    Args:
        name: None when none was given.

    Refuses: Invalid ``key.name_taken``, Conflict ``key.too_many``.
    """
    access.lock_account(tx, actor.id)
    check_few(keys.count(tx, actor.id), settings.max_keys)
    return _add(tx, actor, actor.id, name_of(key, name), key)


def delete(tx: Write, actor: Actor, uuid: str) -> None:
    """Forget a key.

    Refuses: NotFound ``key.unknown``; Forbidden ``key.shared`` for a shared key to anybody but
    staff, ``permission.missing`` to whoever sees somebody else's key.
    """
    key = keys.reach(tx, actor, uuid)
    if not actor.is_staff:
        if key.is_shared:
            raise Forbidden("key.shared")
        if key.account_id != actor.id:
            raise Forbidden("permission.missing")
    if not _remove(tx, actor, key.account_id, key):
        raise NotFound("key.unknown")


def mirror(tx: Write, actor: Actor | None, account: int, wanted: Iterable[PublicKey]) -> None:
    """Give an account the keys that a remote directory says it has.

    What the directory gave before and no longer names is forgotten; keys that the person added
    here stay, and are not doubled. The caller holds the lock on the account.
    """
    missing = {key.sha256: key for key in islice(wanted, MIRRORED_MAX)}
    there = keys.of_account(tx, account)
    for row in there:
        if row.name.startswith(REMOTE) and row.fingerprint_sha256 not in missing:
            _remove(tx, actor, account, row)
    for row in there:
        missing.pop(row.fingerprint_sha256, None)
    for key in missing.values():
        _add(tx, actor, account, f"{REMOTE}key_{secrets.token_hex(5)}", key)


def _add(tx: Write, actor: Actor | None, account: int, name: str, key: PublicKey) -> str:
    uuid = keys.add(tx, account, name, key)
    events.record(
        tx, "key.created", actor, account=account, key=uuid, name=name, fingerprint=key.sha256
    )
    return uuid


def _remove(tx: Write, actor: Actor | None, account: int, row: Row) -> bool:
    gone = keys.remove(tx, row.id)
    if gone:
        events.record(
            tx,
            "key.deleted",
            actor,
            account=account,
            key=row.uuid,
            name=row.name,
            fingerprint=row.fingerprint_sha256,
        )
    return gone
