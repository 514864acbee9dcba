"""Accounts kept in step with a remote directory: eduTEAMS.

Asking takes its time and happens outside any transaction; what was answered is then applied
in one. Whatever goes wrong out there is a refusal that says neither where we asked nor what
we were told.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.accounts import queries as account_queries
from collegium.accounts.actions import set_active
from collegium.accounts.profiles import actions as profile_actions
from collegium.events import queries as event_queries
from collegium.integrations.eduteams import queries as eduteams_queries
from collegium.integrations.eduteams.rules import NAME, Claims, Grant, KeyFeed, decode, why_invalid
from collegium.integrations.eduteams.rules import person as person_of
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
from collegium.sign_in.tokens import actions as token_actions
from collegium.ssh_keys import actions as ssh_key_actions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction
    from collegium.db.statements import Row
    from collegium.integrations.eduteams.rules import Person
    from collegium.security.crypto import Vault
    from collegium.settings import Settings
    from collegium.ssh_keys.rules import PublicKey

TOKEN_SECONDS: Final = 30 * 60
"""How long an access token is used."""

PATIENCE: Final = Timeouts()
FEED_PATIENCE: Final = Timeouts(total=30.0)

_SIZE: Final = 256 * 1024
_FEED_SIZE: Final = 16 * 1024 * 1024
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404


def check_may_add(actor: Actor) -> None:
    """Let staff and identity managers bring people in from the directory.

    Refuses: Forbidden ``permission.missing``.
    """
    if not (actor.is_staff or actor.is_identity_manager):
        raise Forbidden("permission.missing")


def check_may_pull(actor: Actor, account: Row) -> None:
    """Let staff, and everybody for themselves, ask the directory about an account.

    Refuses: Forbidden ``permission.missing``, Conflict ``directory.not_managed``.
    """
    if not actor.is_staff and actor.id != account.id:
        raise Forbidden("permission.missing")
    if not eduteams_queries.is_managed(account):
        raise Conflict("directory.not_managed")


def fetch(settings: Settings, username: str, patience: Timeouts = PATIENCE) -> Person | None:
    """Ask the directory about somebody; None: it knows nobody of that name.

    Never call it inside a transaction.

    Refuses: Conflict ``directory.disabled``; ``directory.no_token`` and
    ``directory.token_unreadable`` when it does not let us in; ``directory.unreachable`` and
    ``directory.unreadable``, and Invalid ``directory.invalid``, when its answer cannot be had
    or taken.
    """
    if not settings.remote_eduteams_enabled:
        raise Conflict("directory.disabled")
    if not NAME.fullmatch(username):
        raise why_invalid("sub")
    end = time.monotonic() + patience.total
    status, body = _user_info(settings, username, patience, end)
    if status == _UNAUTHORIZED:
        # A token that should have been good for longer; it is dropped, so the next is new.
        status, body = _user_info(settings, username, patience, end)
    if status == _NOT_FOUND:
        return None
    if status != OK:
        raise Conflict("directory.unreachable")
    claims = decode(body, Claims, "directory.unreadable")
    # Where another source speaks of keys, silence about them is no word on them.
    return person_of(claims, speaks_of_keys=not settings.remote_eduteams_ssh_api_url)


def _user_info(
    settings: Settings, username: str, patience: Timeouts, end: float
) -> tuple[int, bytes]:
    token = _tokens.give(settings, patience, end)
    url = f"{settings.remote_eduteams_userinfo_url}/{quote(username, safe='@+')}"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        status, body = send_request("GET", url, patience, end, _SIZE, headers=headers)
    except RequestFailedError:
        raise Conflict("directory.unreachable") from None
    if status == _UNAUTHORIZED:
        _tokens.drop(settings, token)
    return status, body


def fetch_keys(settings: Settings, patience: Timeouts = FEED_PATIENCE) -> dict[str, list[Any]]:
    """Ask for the SSH keys of everybody: user name to what is listed there.

    Never call it inside a transaction.

    Refuses: Conflict ``directory.disabled``, ``directory.unreachable``,
    ``directory.unreadable``; Invalid ``directory.invalid``.
    """
    if not (settings.remote_eduteams_enabled and settings.remote_eduteams_ssh_api_url):
        raise Conflict("directory.disabled")
    try:
        status, body = send_request(
            "GET",
            f"{settings.remote_eduteams_ssh_api_url}/api/vo/puhuri/ssh_keys",
            patience,
            time.monotonic() + patience.total,
            _FEED_SIZE,
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


class _Tokens:
    """The access tokens we hold, each for as long as it is good; one thread gets a new one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, ...], tuple[str, float]] = {}

    def give(self, settings: Settings, patience: Timeouts, end: float) -> str:
        """Give the token for some settings.

        Refuses: Conflict ``directory.no_token``, ``directory.token_unreadable``.
        """
        if not self._lock.acquire(timeout=max(end - time.monotonic(), 0)):
            raise Conflict("directory.no_token")
        try:
            token, until = self._held.get(_credentials(settings), ("", 0.0))
            if not token or time.monotonic() >= until:
                token = _new_token(settings, patience, end)
                self._held[_credentials(settings)] = (token, time.monotonic() + TOKEN_SECONDS)
            return token
        finally:
            self._lock.release()

    def drop(self, settings: Settings, token: str) -> None:
        """Forget a token that is no longer taken, unless another has come in its place."""
        with self._lock:
            if self._held.get(_credentials(settings), ("", 0.0))[0] == token:
                del self._held[_credentials(settings)]


_tokens: Final = _Tokens()


def _credentials(settings: Settings) -> tuple[str, ...]:
    return (
        settings.remote_eduteams_token_url,
        settings.remote_eduteams_client_id,
        settings.remote_eduteams_secret,
        settings.remote_eduteams_refresh_token,
    )


def _new_token(settings: Settings, patience: Timeouts, end: float) -> str:
    try:
        status, body = send_request(
            "POST",
            settings.remote_eduteams_token_url,
            patience,
            end,
            _SIZE,
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
    adds: bool = False,
) -> str | None:
    """Make an account what the directory says it is; give its UUID, None where there is none.

    Args:
        actor: who asked; None: nobody, it was time to.
        username: who was asked about.
        person: what was answered; None: there is nobody of that name, and an account of it
            goes out of use.
        adds: whether an account is made where there is none.

    Refuses: Conflict ``directory.not_managed`` for an account that is not the directory's;
    Invalid ``directory.invalid`` for an answer about somebody else, or without an address
    where an account is to be made.
    """
    account = _locked(tx, username)
    if person is None:
        return None if account is None else _retire(tx, actor, account)
    if account is not None and username != person.username and username not in person.others:
        raise why_invalid("sub")
    if account is None and not adds:
        return None
    if account is None and username != person.username:
        # The directory knows somebody by two names and prefers the other one.
        account = _locked(tx, person.username)
    if account is None:
        try:
            return _create(tx, actor, settings, vault, person)
        except Invalid as refusal:
            if refusal.code != "account.username_taken":
                raise
            # Another one was faster.
            account = _locked(tx, person.username)
            if account is None:
                raise
    return _update(tx, actor, settings, account, person)


def apply_keys(tx: WriteTransaction, username: str, wanted: Iterable[PublicKey]) -> None:
    """Give an account in use the keys that the directory lists for it; nothing else is touched."""
    account = _locked(tx, username)
    if account is not None and account.is_active:
        ssh_key_actions.sync_keys(tx, None, account.id, wanted)


def _locked(tx: WriteTransaction, username: str) -> Row | None:
    """Hold the account of that name, and give it as it is then."""
    account = eduteams_queries.named(tx, username)
    if account is None:
        return None
    access_queries.lock_account(tx, account.id)
    account = eduteams_queries.named(tx, username)
    if account is not None and not eduteams_queries.is_managed(account):
        raise Conflict("directory.not_managed")
    return account


def _create(
    tx: WriteTransaction, actor: Actor | None, settings: Settings, vault: Vault, person: Person
) -> str:
    if not person.email:
        raise why_invalid("mail")
    uuid = uuid4().hex
    number = account_queries.add(
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
            "joined": tx.now,
            "modified": tx.now,
            "last_synced": tx.now,
        },
    )
    event_queries.record(
        tx,
        "account.created",
        actor,
        account=number,
        username=person.username,
        by=eduteams_queries.SOURCE,
    )
    token_actions.issue(tx, vault, actor, number)
    ssh_key_actions.sync_keys(tx, actor, number, person.keys or ())
    return uuid


def _update(
    tx: WriteTransaction, actor: Actor | None, settings: Settings, account: Row, person: Person
) -> str:
    said = {
        "email": person.email or account.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "affiliations": person.affiliations,
        "details": {**account.details, "eduperson_assurance": person.assurance},
        # What staff switched off stays off.
        "is_active": account.is_active if account.is_barred else True,
    }
    _write(tx, actor, account, said)
    profile_actions.notify_operator(tx, actor, settings, account, said)
    if person.keys is not None:
        ssh_key_actions.sync_keys(tx, actor, account.id, person.keys)
    return str(account.uuid)


def _retire(tx: WriteTransaction, actor: Actor | None, account: Row) -> str:
    _write(tx, actor, account, {"is_active": False})
    return str(account.uuid)


def _write(
    tx: WriteTransaction, actor: Actor | None, account: Row, said: Mapping[str, Any]
) -> None:
    """Write what differs, and that the directory was asked."""
    changed = {name: value for name, value in said.items() if getattr(account, name) != value}
    moments = {"last_synced": tx.now} | ({"modified": tx.now} if changed else {})
    change_account(tx, account.id, changed | moments)
    if "is_active" in changed:
        set_active(tx, actor, account.id, is_active=changed["is_active"])
    if changed:
        event_queries.record(
            tx,
            "account.updated",
            actor,
            account=account.id,
            username=account.username,
            changes={name: [getattr(account, name), value] for name, value in changed.items()},
            by=eduteams_queries.SOURCE,
        )
    if "is_active" in changed:
        kind = "account.activated" if changed["is_active"] else "account.deactivated"
        event_queries.record(tx, kind, actor, account=account.id, username=account.username)
