"""Send invitations to a webhook of the operator, which notifies the invited people in its own way.

The invitation is sent as JSON. An OAuth 2.0 token authenticates us, if the service requires one
(client credentials grant, RFC 6749, section 4.4). No error text names an e-mail address or repeats
a response.
"""

import time
from typing import Final, NamedTuple

import msgspec

from collegium.db.database import ReadTransaction
from collegium.integrations.http_client import (
    OK,
    RequestFailedError,
    Timeouts,
    host_and_port,
    is_header_safe,
    send_request,
)
from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.outbox.queries import ClaimedMail
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.worker import mails

TIMEOUTS: Final = Timeouts(connect=5.0, read=10.0, total=20.0)
"""Timeouts in seconds; ``total`` covers a whole delivery with all its requests."""

_MAX_RESPONSE_BYTES: Final = 64 * 1024
_EXPIRY_MARGIN: Final = 30.0  # seconds; a token must outlive the request that carries it
_LIFETIME: Final = 300.0  # seconds a token is used if it has no expires_in
_LIFETIME_MAX: Final = 86400.0
_UNAUTHORIZED: Final = 401
_TEMPORARY: Final = frozenset({408, 429})
_SCOPES: Final = {"organisation": "customer", "project": "project", "group": "group"}


class Notice(NamedTuple):
    """An invitation as JSON.

    Args:
        key: Idempotency key: the same on every attempt, so that the service recognises a repeat.
        kind: Kind of the outbox entry.
        body: The JSON document.
    """

    key: str
    kind: str
    body: bytes


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float | None = None


def render(tx: ReadTransaction, settings: Settings, vault: Vault, row: ClaimedMail) -> Notice:
    """Return the JSON document of an invitation, with the facts as they are at ``tx.now``.

    Args:
        row: ``id kind recipient payload`` of the outbox.

    Raises:
        ObsoleteError: The invitation is no longer pending, or no longer exists.
    """
    variables = mails.LOADERS[row.kind](tx, settings, vault, row.payload)
    document = {
        "email": row.recipient,
        "role_name": variables["role_name"],
        "role_description": variables["role_description"],
        "scope_type": _SCOPES[variables["scope_kind"]],
        "scope_name": variables["scope_name"],
        "scope_uuid": variables["scope_uuid"],
        "scope_slug": variables["scope_slug"],
        "extra_invitation_text": variables["extra_invitation_text"],
        "created_by_full_name": variables["inviter_name"],
        "created_by_username": variables["inviter_username"],
        "expires": variables["expires"],
        "redirect_scope_url": variables["scope_path_link"],
        "redirect_url": variables["link"],
        "invitation_uuid": variables["invitation_uuid"],
    }
    return Notice(mails.message_key(settings, row.id), row.kind, msgspec.json.encode(document))


class Webhook:
    """The service that ``INVITATION_WEBHOOK_URL`` names. Not thread-safe.

    Args:
        timeouts: Timeouts of a delivery.
    """

    def __init__(self, settings: Settings, timeouts: Timeouts = TIMEOUTS) -> None:
        self._settings = settings
        self._timeouts = timeouts
        self._token = ""
        self._token_expires_at = 0.0

    def send(self, notice: Notice) -> None:
        """Post an invitation to the service.

        Raises:
            UndeliverableError: The service refused this invitation.
            UnreachableError: The service does not respond, or does not accept our token.
        """
        deadline = time.monotonic() + self._timeouts.total
        status = self._post_notice(notice, deadline)
        if status == _UNAUTHORIZED and self._settings.invitation_webhook_token_url:
            # The service rejected the token before the end of its lifetime, so a new one is fetched
            # once.
            self._token_expires_at = 0.0
            status = self._post_notice(notice, deadline)
        if status // 100 == 2:  # noqa: PLR2004 - 2xx
            return
        if status == _UNAUTHORIZED:
            raise UnreachableError(f"The webhook rejected our token ({status}).")
        raise UndeliverableError(
            f"The webhook refused the invitation ({status}).",
            permanent=status // 100 == 4 and status not in _TEMPORARY,  # noqa: PLR2004 - 4xx
        )

    def close(self) -> None:
        """Do nothing: no connection is kept open."""

    def _post_notice(self, notice: Notice, deadline: float) -> int:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": notice.key,
            "X-Collegium-Mail": notice.kind,
        }
        if self._settings.invitation_webhook_token_url:
            headers["Authorization"] = f"Bearer {self._get_token(deadline)}"
        url = self._settings.invitation_webhook_url
        try:
            status, _ = send_request(
                "POST",
                url,
                self._timeouts,
                deadline,
                None,
                internal_hosts=[host_and_port(url)],
                headers=headers,
                content=notice.body,
            )
        except RequestFailedError:
            raise UnreachableError("The webhook did not answer.") from None
        return status

    def _get_token(self, deadline: float) -> str:
        """Return the access token. Request a new one shortly before the old one expires.

        Args:
            deadline: Deadline of the delivery, as a value of ``time.monotonic()``.

        Raises:
            UnreachableError: The service issues no token.
        """
        if not time.monotonic() < self._token_expires_at:
            requested_at = time.monotonic()
            token = self._request_token(deadline)
            lifetime = (
                _LIFETIME if token.expires_in is None else min(token.expires_in, _LIFETIME_MAX)
            )
            self._token = token.access_token
            self._token_expires_at = requested_at + lifetime - min(_EXPIRY_MARGIN, lifetime / 10)
        return self._token

    def _request_token(self, deadline: float) -> _Token:
        url = self._settings.invitation_webhook_token_url
        try:
            status, body = send_request(
                "POST",
                url,
                self._timeouts,
                deadline,
                _MAX_RESPONSE_BYTES,
                internal_hosts=[host_and_port(url)],
                auth=(
                    self._settings.invitation_webhook_token_client_id,
                    self._settings.invitation_webhook_token_secret,
                ),
                data={"grant_type": "client_credentials"},
            )
            # Not strict: some services write the number of seconds as a string.
            token = msgspec.json.decode(body, type=_Token, strict=False) if body else None
        except (RequestFailedError, msgspec.DecodeError, UnicodeError, RecursionError):
            token = None
        if token is None or status != OK or not is_header_safe(token.access_token):
            raise UnreachableError("The token for the webhook could not be obtained.")
        return token
