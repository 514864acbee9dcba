"""Sign-ins at a provider that are under way: begin one, and use it up when it comes back."""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import Any, Final, NamedTuple

import structlog

from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.security.crypto import Vault
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities.queries import StartedSignIn
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import SIGN_IN_SECONDS, Purpose

_log: Final[Any] = structlog.get_logger()


class Begun(NamedTuple):
    """The parameters of a request to the authorization endpoint.

    Args:
        verifier: of PKCE (RFC 7636); only its digest is sent.
    """

    state: str
    nonce: str
    verifier: str


class ClaimedSignIn(NamedTuple):
    """A sign-in that came back, and the verifier of its code."""

    row: StartedSignIn
    verifier: str


def begin(
    tx: WriteTransaction,
    vault: Vault,
    provider: ProviderRow,
    browser_secret: str,
    purpose: Purpose,
    return_to: str,
    actor: Actor | None = None,
) -> Begun:
    """Begin a sign-in at a provider, which only this browser can complete, once.

    Args:
        browser_secret: the value of a cookie of the browser.
        return_to: where to continue: a path here, or an address of a front end that the provider
            allows.
        actor: who links an identity or confirms to be present; None for a sign-in.
    """
    begun = Begun(*(secrets.token_urlsafe(32) for _ in range(3)))
    state_hash = vault.keyed_hash(begun.state)
    identity_queries.begin(
        tx,
        {
            "state_hash": state_hash,
            "browser_hash": vault.keyed_hash(browser_secret),
            "provider_id": provider.id,
            "nonce_hash": vault.keyed_hash(begun.nonce),
            "code_verifier_encrypted": vault.encrypt(begun.verifier, state_hash),
            "purpose": purpose.value,
            "account_id": None if actor is None else actor.id,
            "token_id": None if actor is None else actor.token,
            "return_to": return_to,
            "created_at": tx.now,
            "expires_at": tx.now + timedelta(seconds=SIGN_IN_SECONDS),
        },
    )
    return begun


class Returned(NamedTuple):
    """What came back from a provider.

    Args:
        sign_in: the sign-in that this browser has begun; None if there is none.
        is_known: whether somebody has begun it.
    """

    sign_in: ClaimedSignIn | None
    is_known: bool


def claim(tx: WriteTransaction, vault: Vault, state: str, browser_secret: str) -> Returned:
    """Use up a sign-in that this browser has begun.

    A sign-in of another browser is used up too, because somebody else knows its state.

    Args:
        state: the parameter ``state`` of the request that came back.
        browser_secret: the value of the cookie of the browser.
    """
    state_hash = vault.keyed_hash(state)
    row = identity_queries.claim(tx, state_hash)
    if row is None or not _is_of(tx, vault, row, browser_secret):
        return Returned(None, is_known=row is not None)
    verifier = vault.decrypt(row.code_verifier_encrypted, state_hash)
    return Returned(ClaimedSignIn(row, verifier), is_known=True)


def provider_of(tx: ReadTransaction, vault: Vault, state: str, browser_secret: str) -> int | None:
    """Return the id of the provider at which this browser has begun a sign-in; None otherwise.

    The sign-in is not used up.
    """
    row = identity_queries.get_sign_in(tx, vault.keyed_hash(state))
    return row.provider_id if row is not None and _is_of(tx, vault, row, browser_secret) else None


def _is_of(tx: ReadTransaction, vault: Vault, row: StartedSignIn, browser_secret: str) -> bool:
    """Return whether a browser has begun a sign-in, less than ten minutes ago."""
    return (
        row.expires_at >= tx.now
        and bool(browser_secret)
        and hmac.compare_digest(bytes(row.browser_hash), vault.keyed_hash(browser_secret))
    )


def is_nonce(vault: Vault, sign_in: StartedSignIn, nonce: str) -> bool:
    """Return whether a text is the nonce of a sign-in."""
    return hmac.compare_digest(bytes(sign_in.nonce_hash), vault.keyed_hash(nonce))


def record_refused(
    tx: WriteTransaction, provider: str, reason: str, ip_address: str, account: int | None = None
) -> None:
    """Record that a sign-in at a provider failed, and why.

    Args:
        provider: name of the provider.
        reason: code of the refusal. Nothing that the provider said is stored.
        account: id of the account that the person has here, if it is known.
    """
    # The person sees nothing of the reason, and the operator has to find it.
    _log.warning("sign-in failed", provider=provider, reason=reason)
    event_queries.record(
        tx,
        None,
        events.ProviderSignInFailed(
            account=account, provider=provider, reason=reason, address=ip_address
        ),
    )
