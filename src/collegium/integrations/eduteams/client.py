"""HTTP client of a remote directory, eduTEAMS.

Never call it inside a transaction: a request takes time. Every failure is a refusal that reveals
neither the address nor the response.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final
from urllib.parse import quote

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
    host_and_port,
    is_header_safe,
    send_request,
)
from collegium.refusals import Conflict, Invalid
from collegium.settings import Settings

TOKEN_SECONDS: Final = 30 * 60
"""Seconds for which an access token is used."""

TIMEOUTS: Final = Timeouts()
FEED_TIMEOUTS: Final = Timeouts(total=30.0)

_BODY_MAX: Final = 256 * 1024
_FEED_BODY_MAX: Final = 16 * 1024 * 1024
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404


def fetch(settings: Settings, username: str, timeouts: Timeouts = TIMEOUTS) -> Person | None:
    """Return a person from the directory; None if it knows no such user name.

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
        status, body = send_request(
            "GET",
            url,
            timeouts,
            deadline,
            _BODY_MAX,
            internal_hosts=[host_and_port(url)],
            headers=headers,
        )
    except RequestFailedError:
        raise Conflict("directory.unreachable") from None
    if status == _UNAUTHORIZED:
        _token_cache.drop(settings, token)
    return status, body


def fetch_keys(settings: Settings, timeouts: Timeouts = FEED_TIMEOUTS) -> dict[str, list[Any]]:
    """Return the SSH keys of all people: the listed entries by user name.

    Raises:
        Conflict: ``directory.disabled``, ``directory.unreachable``, ``directory.unreadable``.
        Invalid: ``directory.invalid``.
    """
    if not (settings.remote_eduteams_enabled and settings.remote_eduteams_ssh_api_url):
        raise Conflict("directory.disabled")
    url = f"{settings.remote_eduteams_ssh_api_url}/api/vo/puhuri/ssh_keys"
    try:
        status, body = send_request(
            "GET",
            url,
            timeouts,
            time.monotonic() + timeouts.total,
            _FEED_BODY_MAX,
            internal_hosts=[host_and_port(url)],
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
    url = settings.remote_eduteams_token_url
    try:
        status, body = send_request(
            "POST",
            url,
            timeouts,
            deadline,
            _BODY_MAX,
            internal_hosts=[host_and_port(url)],
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
