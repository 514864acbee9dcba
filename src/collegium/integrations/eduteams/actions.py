"""Actions on accounts of a remote directory, eduTEAMS: fetch, then apply.

Fetching takes time and happens outside any transaction. One transaction then applies the
response. Every failure is a refusal that reveals neither the address nor the response.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.actions import set_active
from collegium.accounts.profiles import actions as profile_actions
from collegium.db.database import WriteTransaction
from collegium.db.statements import Row
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.integrations.eduteams import queries as eduteams_queries
from collegium.integrations.eduteams.rules import (
    NAME,
    Claims,
    Grant,
    KeyFeed,
    Person,
    decode,
    invalid_field,
    validate_person,
)
from collegium.integrations.http_client import (
    OK,
    RequestFailedError,
    Timeouts,
    is_header_safe,
    send_request,
)
from collegium.lists import slugs
from collegium.refusals import Conflict, Forbidden, Invalid
from collegium.scopes.actions import change_account
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens import actions as token_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import PublicKey

TOKEN_SECONDS: Final = 30 * 60
"""Seconds for which an access token is used."""

TIMEOUTS: Final = Timeouts()
FEED_TIMEOUTS: Final = Timeouts(total=30.0)

_BODY_MAX: Final = 256 * 1024
_FEED_BODY_MAX: Final = 16 * 1024 * 1024
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404


def check_may_add(actor: Actor) -> None:
    """Require that the actor may add people from the directory: staff and identity managers.

    Raises:
        Forbidden: ``permission.missing``.
    """
    if not (actor.is_staff or actor.is_identity_manager):
        raise Forbidden("permission.missing")


def check_may_pull(actor: Actor, account: Row) -> None:
    """Require that the actor may update an account from the directory: staff, and its owner.

    Raises:
        Forbidden: ``permission.missing``.
        Conflict: ``directory.not_managed``.
    """
    if not actor.is_staff and actor.id != account.id:
        raise Forbidden("permission.missing")
    if not eduteams_queries.is_managed(account):
        raise Conflict("directory.not_managed")


def fetch(settings: Settings, username: str, timeouts: Timeouts = TIMEOUTS) -> Person | None:
    """Return a person from the directory; None if it knows no such user name.

    Never call it inside a transaction.

    Args:
        timeouts: timeouts; the total applies to all requests together.

    Raises:
        Conflict: ``directory.disabled``; ``directory.no_token`` or ``directory.token_unreadable``
            if the directory grants no access; ``directory.unreachable``; ``directory.unreadable``.
        Invalid: ``directory.invalid`` if the user name or a field of the response is invalid.
    """
    if not settings.remote_eduteams_enabled:
        raise Conflict("directory.disabled")
    if not NAME.fullmatch(username):
        raise invalid_field("sub")
    deadline = time.monotonic() + timeouts.total
    status, body = _request_user_info(settings, username, timeouts, deadline)
    if status == _UNAUTHORIZED:
        # The directory has revoked the token early. It was dropped, so the second try gets a new
        # one.
        status, body = _request_user_info(settings, username, timeouts, deadline)
    if status == _NOT_FOUND:
        return None
    if status != OK:
        raise Conflict("directory.unreachable")
    claims = decode(body, Claims, "directory.unreadable")
    # If the key feed is configured, it alone decides about keys. A response without keys then says
    # nothing about them.
    return validate_person(claims, keys_are_complete=not settings.remote_eduteams_ssh_api_url)


def _request_user_info(
    settings: Settings, username: str, timeouts: Timeouts, deadline: float
) -> tuple[int, bytes]:
    token = _token_cache.give(settings, timeouts, deadline)
    url = f"{settings.remote_eduteams_userinfo_url}/{quote(username, safe='@+')}"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        status, body = send_request("GET", url, timeouts, deadline, _BODY_MAX, headers=headers)
    except RequestFailedError:
        raise Conflict("directory.unreachable") from None
    if status == _UNAUTHORIZED:
        _token_cache.drop(settings, token)
    return status, body


def fetch_keys(settings: Settings, timeouts: Timeouts = FEED_TIMEOUTS) -> dict[str, list[Any]]:
    """Return the SSH keys of all people: the listed entries by user name.

    Never call it inside a transaction.

    Raises:
        Conflict: ``directory.disabled``, ``directory.unreachable``, ``directory.unreadable``.
        Invalid: ``directory.invalid``.
    """
    if not (settings.remote_eduteams_enabled and settings.remote_eduteams_ssh_api_url):
        raise Conflict("directory.disabled")
    try:
        status, body = send_request(
            "GET",
            f"{settings.remote_eduteams_ssh_api_url}/api/vo/puhuri/ssh_keys",
            timeouts,
            time.monotonic() + timeouts.total,
            _FEED_BODY_MAX,
            auth=(
                settings.remote_eduteams_ssh_api_username,
                settings.remote_eduteams_ssh_api_password,
            ),
        )
    except RequestFailedError:
        raise Conflict("directory.unreachable") from None
    if status != OK:
        raise Conflict("directory.unreachable")
    return {
        username: entry["ssh_keys"]
        for username, entry in decode(body, KeyFeed, "directory.unreadable").data.items()
        if NAME.fullmatch(username)
        and isinstance(entry, dict)
        and isinstance(entry.get("ssh_keys"), list)
    }


class _TokenCache:
    """A cache of access tokens until they expire; one thread at a time fetches a new one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, ...], tuple[str, float]] = {}

    def give(self, settings: Settings, timeouts: Timeouts, deadline: float) -> str:
        """Return the access token for these settings.

        Raises:
            Conflict: ``directory.no_token``, ``directory.token_unreadable``.
        """
        if not self._lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise Conflict("directory.no_token")
        try:
            token, expires_at = self._entries.get(_cache_key(settings), ("", 0.0))
            if not token or time.monotonic() >= expires_at:
                token = _request_token(settings, timeouts, deadline)
                self._entries[_cache_key(settings)] = (token, time.monotonic() + TOKEN_SECONDS)
            return token
        finally:
            self._lock.release()

    def drop(self, settings: Settings, token: str) -> None:
        """Forget a token that is no longer accepted, unless a newer one has replaced it."""
        with self._lock:
            if self._entries.get(_cache_key(settings), ("", 0.0))[0] == token:
                del self._entries[_cache_key(settings)]


_token_cache: Final = _TokenCache()


def _cache_key(settings: Settings) -> tuple[str, ...]:
    return (
        settings.remote_eduteams_token_url,
        settings.remote_eduteams_client_id,
        settings.remote_eduteams_secret,
        settings.remote_eduteams_refresh_token,
    )


def _request_token(settings: Settings, timeouts: Timeouts, deadline: float) -> str:
    try:
        status, body = send_request(
            "POST",
            settings.remote_eduteams_token_url,
            timeouts,
            deadline,
            _BODY_MAX,
            auth=(settings.remote_eduteams_client_id, settings.remote_eduteams_secret),
            data={
                "grant_type": "refresh_token",
                "refresh_token": settings.remote_eduteams_refresh_token,
                "scope": "openid",
            },
        )
        token = decode(body, Grant, "directory.token_unreadable").access_token if body else ""
    except (RequestFailedError, Invalid):
        raise Conflict("directory.no_token") from None
    if status != OK or not is_header_safe(token):
        raise Conflict("directory.no_token")
    return token


def apply(
    tx: WriteTransaction,
    actor: Actor | None,
    settings: Settings,
    vault: Vault,
    username: str,
    person: Person | None,
    *,
    creates: bool = False,
) -> str | None:
    """Make an account equal to the directory's answer; return its UUID, or None if there is none.

    Args:
        actor: who asked; None for the scheduled synchronisation.
        username: the user name that was looked up.
        person: the directory's answer; None if it knows no such name: the account is deactivated.
        creates: whether to create an account if there is none.

    Raises:
        Conflict: ``directory.not_managed`` for an account that does not belong to the directory.
        Invalid: ``directory.invalid`` if the answer is about another person, or has no address for
            a new account.
    """
    account = _lock_by_username(tx, username)
    if person is None:
        return None if account is None else _deactivate(tx, actor, account)
    if account is not None and username != person.username and username not in person.others:
        raise invalid_field("sub")
    if account is None and not creates:
        return None
    if account is None and username != person.username:
        # The directory knows this person by two names and prefers the other one.
        account = _lock_by_username(tx, person.username)
    if account is None:
        try:
            return _create(tx, actor, settings, vault, person)
        except Invalid as refusal:
            if refusal.code != "account.username_taken":
                raise
            # A concurrent transaction has created it first.
            account = _lock_by_username(tx, person.username)
            if account is None:
                raise
    return _update(tx, actor, settings, account, person)


def apply_keys(tx: WriteTransaction, username: str, directory_keys: Iterable[PublicKey]) -> None:
    """Set the keys that the directory lists for an active account; nothing else changes.

    Raises:
        Conflict: ``directory.not_managed``.
    """
    account = _lock_by_username(tx, username)
    if account is not None and account.is_active:
        ssh_key_actions.sync_keys(tx, None, account.id, directory_keys)


def _lock_by_username(tx: WriteTransaction, username: str) -> Row | None:
    """Lock the account with this user name, and return it as it is under the lock.

    Raises:
        Conflict: ``directory.not_managed``.
    """
    account = eduteams_queries.by_username(tx, username)
    if account is None:
        return None
    access_queries.lock_account(tx, account.id)
    account = eduteams_queries.by_username(tx, username)
    if account is not None and not eduteams_queries.is_managed(account):
        raise Conflict("directory.not_managed")
    return account


def _create(
    tx: WriteTransaction, actor: Actor | None, settings: Settings, vault: Vault, person: Person
) -> str:
    if not person.email:
        raise invalid_field("mail")
    uuid = uuid4().hex
    account_id = account_queries.add(
        tx,
        {
            "uuid": uuid,
            "username": person.username,
            "slug": slugs.new(tx, "user", person.username),
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "affiliations": person.affiliations,
            "details": {"eduperson_assurance": person.assurance},
            "registration_method": eduteams_queries.SOURCE,
            "identity_source": eduteams_queries.SOURCE,
            "notifications_enabled": False,
            "token_lifetime": settings.token_lifetime,
            "joined_at": tx.now,
            "modified_at": tx.now,
            "last_synced_at": tx.now,
        },
    )
    event_queries.record(
        tx,
        actor,
        events.AccountCreated(
            account=account_id, username=person.username, by=eduteams_queries.SOURCE
        ),
    )
    token_actions.issue_api_token(tx, vault, actor, account_id)
    ssh_key_actions.sync_keys(tx, actor, account_id, person.keys or ())
    return uuid


def _update(
    tx: WriteTransaction, actor: Actor | None, settings: Settings, account: Row, person: Person
) -> str:
    columns = {
        "email": person.email or account.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "affiliations": person.affiliations,
        "details": {**account.details, "eduperson_assurance": person.assurance},
        # An account that staff have deactivated stays so.
        "is_active": account.is_active if account.disabled_by_staff else True,
    }
    _write_changes(tx, actor, account, columns)
    profile_actions.notify_operator(tx, actor, settings, account, columns)
    if person.keys is not None:
        ssh_key_actions.sync_keys(tx, actor, account.id, person.keys)
    return str(account.uuid)


def _deactivate(tx: WriteTransaction, actor: Actor | None, account: Row) -> str:
    _write_changes(tx, actor, account, {"is_active": False})
    return str(account.uuid)


def _write_changes(
    tx: WriteTransaction, actor: Actor | None, account: Row, columns: Mapping[str, Any]
) -> None:
    """Update the columns that differ, and the time of the synchronisation."""
    changed = {name: value for name, value in columns.items() if getattr(account, name) != value}
    timestamps = {"last_synced_at": tx.now} | ({"modified_at": tx.now} if changed else {})
    change_account(tx, account.id, changed | timestamps)
    if "is_active" in changed:
        set_active(tx, actor, account.id, is_active=changed["is_active"])
    if changed:
        event_queries.record(
            tx,
            actor,
            events.AccountUpdated(
                account=account.id,
                username=account.username,
                changes={name: [getattr(account, name), value] for name, value in changed.items()},
                by=eduteams_queries.SOURCE,
            ),
        )
    if "is_active" in changed:
        event = events.AccountActivated if changed["is_active"] else events.AccountDeactivated
        event_queries.record(tx, actor, event(account=account.id, username=account.username))
