"""Send invitations to a webhook of the operator, which notifies the invited people in its own way.

The invitation is sent as JSON. An OAuth 2.0 token authenticates us, if the service requires one
(client credentials grant, RFC 6749, section 4.4). No error text names an e-mail address or repeats
a response.
"""

import time
from typing import Final, NamedTuple

import msgspec

from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.integrations.http_client import (
    OK,
    RequestFailedError,
    Timeouts,
    is_header_safe,
    send_request,
)
from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.worker import mails

TIMEOUTS: Final = Timeouts(connect=5.0, read=10.0, total=20.0)
"""Timeouts in seconds; ``total`` covers a whole delivery with all its requests."""

_SIZE: Final = 64 * 1024
_MARGIN: Final = 30.0  # seconds; a token must outlive the request that carries it
_UNSAID: Final = 300.0  # seconds a token is used if it has no expires_in
_LONGEST: Final = 86400.0
_UNAUTHORIZED: Final = 401
_FOR_NOW: Final = frozenset({408, 429})
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


def render(tx: ReadTransaction, settings: Settings, vault: Vault, row: Row) -> Notice:
    """Return the JSON document of an invitation, with the facts as they are at ``tx.now``.

    Args:
        row: ``id kind recipient payload`` of the outbox.

    Raises:
        ObsoleteError: The invitation is no longer pending, or no longer exists.
    """
    facts = mails.LOADERS[row.kind](tx, settings, vault, row.payload)
    said = {
        "email": row.recipient,
        "role_name": facts["role_name"],
        "role_description": facts["role_description"],
        "scope_type": _SCOPES[facts["scope_kind"]],
        "scope_name": facts["scope_name"],
        "scope_uuid": facts["scope_uuid"],
        "scope_slug": facts["scope_slug"],
        "extra_invitation_text": facts["extra_invitation_text"],
        "created_by_full_name": facts["inviter_name"],
        "created_by_username": facts["inviter_username"],
        "expires": facts["expires"],
        "redirect_scope_url": facts["scope_link"],
        "redirect_url": facts["link"],
        "invitation_uuid": facts["invitation_uuid"],
    }
    return Notice(mails.key(settings, row.id), row.kind, msgspec.json.encode(said))


class Webhook:
    """The service that ``INVITATION_WEBHOOK_URL`` names. Not thread-safe.

    Args:
        patience: Timeouts of a delivery.
    """

    def __init__(self, settings: Settings, patience: Timeouts = TIMEOUTS) -> None:
        self._settings = settings
        self._patience = patience
        self._token = ""
        self._until = 0.0

    def send(self, notice: Notice) -> None:
        """Post an invitation to the service.

        Raises:
            UndeliverableError: The service refused this invitation.
            UnreachableError: The service does not respond, or does not accept our token.
        """
        end = time.monotonic() + self._patience.total
        status = self._post(notice, end)
        if status == _UNAUTHORIZED and self._settings.invitation_webhook_token_url:
            # The service rejected the token before the end of its lifetime, so a new one is fetched
            # once.
            self._until = 0.0
            status = self._post(notice, end)
        if status // 100 == 2:  # noqa: PLR2004 - 2xx
            return
        if status == _UNAUTHORIZED:
            raise UnreachableError(f"The webhook rejected our token ({status}).")
        raise UndeliverableError(
            f"The webhook refused the invitation ({status}).",
            permanent=status // 100 == 4 and status not in _FOR_NOW,  # noqa: PLR2004 - 4xx
        )

    def close(self) -> None:
        """Do nothing: no connection is kept open."""

    def _post(self, notice: Notice, end: float) -> int:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": notice.key,
            "X-Collegium-Mail": notice.kind,
        }
        if self._settings.invitation_webhook_token_url:
            headers["Authorization"] = f"Bearer {self._bearer(end)}"
        url = self._settings.invitation_webhook_url
        try:
            status, _ = send_request(
                "POST", url, self._patience, end, None, headers=headers, content=notice.body
            )
        except RequestFailedError:
            raise UnreachableError("The webhook did not answer.") from None
        return status

    def _bearer(self, end: float) -> str:
        """Return the access token. Request a new one shortly before the old one expires.

        Args:
            end: Deadline of the delivery, as a value of ``time.monotonic()``.

        Raises:
            UnreachableError: The service issues no token.
        """
        if not time.monotonic() < self._until:
            asked = time.monotonic()
            token = self._new_token(end)
            lasts = _UNSAID if token.expires_in is None else min(token.expires_in, _LONGEST)
            self._token = token.access_token
            self._until = asked + lasts - min(_MARGIN, lasts / 10)
        return self._token

    def _new_token(self, end: float) -> _Token:
        try:
            status, body = send_request(
                "POST",
                self._settings.invitation_webhook_token_url,
                self._patience,
                end,
                _SIZE,
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
