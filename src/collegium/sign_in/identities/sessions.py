"""Tokens and one-time codes that come of a sign-in at a provider, and their end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountDetails
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Conflict, NotFound, or_not_found
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.identities import linking, profiles
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities.profiles import Stated
from collegium.sign_in.identities.values import METHOD, CodeKind, Origin, SignedIn
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import EXCHANGE_SECONDS, SIGN_IN_SECONDS
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries

_CODE_SECONDS: Final = {
    CodeKind.EXCHANGE: EXCHANGE_SECONDS,
    CodeKind.SECOND_FACTOR: SIGN_IN_SECONDS,
}


def origin_of(vault: Vault, signed_in: SignedIn, claims: Claims) -> Origin:
    """Return what is stored with a token that comes of a sign-in."""
    id_token = claims.id_token
    binding = _binding(vault, signed_in.identity)
    return Origin(
        signed_in.identity,
        _hash_sid(vault, claims.issuer, claims.sid),
        vault.encrypt(id_token, binding) if id_token else None,
        signed_in.has_second_factor,
    )


def _binding(vault: Vault, identity: int) -> bytes:
    return vault.keyed_hash(f"id token of identity {identity}")


def _hash_sid(vault: Vault, issuer: str, sid: str) -> bytes | None:
    return vault.keyed_hash(f"sid {issuer} {sid}") if sid else None


def issue_code(
    tx: WriteTransaction,
    vault: Vault,
    actor: Actor,
    origin: Origin,
    kind: CodeKind,
    stated: str = "",
) -> str:
    """Return a one-time code, a UUID, for a completed sign-in.

    Args:
        actor: the person, with the version of the credentials.
        stated: what the provider states, until a second factor was shown; it is encrypted.
    """
    code = str(uuid4())
    code_hash = _hash_code(vault, kind, code)
    identity_queries.add_code(
        tx,
        {
            "code_hash": code_hash,
            "identity_id": origin.identity,
            "credentials_version": actor.credentials,
            "sid_hash": origin.sid_hash,
            "id_token_encrypted": origin.id_token_encrypted,
            "has_second_factor": origin.has_second_factor,
            "stated_encrypted": vault.encrypt(stated, code_hash) if stated else None,
            "expires_at": tx.now + timedelta(seconds=_CODE_SECONDS[kind]),
        },
    )
    return code


def _hash_code(vault: Vault, kind: CodeKind, code: str) -> bytes:
    return vault.keyed_hash(f"{kind.value} code {UUID(code).hex}")


class Pending(NamedTuple):
    """A sign-in for which only a code is missing.

    Args:
        account: id of the account.
        stated: what the provider states; None if it was changed in the meantime.
    """

    account: int
    provider: ProviderRow
    stated: Stated | None


def pending(tx: ReadTransaction, vault: Vault, code: str) -> Pending | None:
    """Return the sign-in for which a one-time code of ``SECOND_FACTOR`` stands; it may be over."""
    code_hash = _hash_code(vault, CodeKind.SECOND_FACTOR, code)
    row = identity_queries.get_code(tx, code_hash)
    provider = None if row is None else _provider_of(tx, row.identity_id)
    if row is None or provider is None or row.stated_encrypted is None:
        return None
    text = vault.decrypt(row.stated_encrypted, code_hash)
    return Pending(row.account_id, provider, profiles.from_text(text, provider))


def redeem(
    tx: WriteTransaction, vault: Vault, kind: CodeKind, code: str
) -> tuple[AccountDetails, Origin]:
    """Use up a one-time code. Return the account, which is locked, and the origin of its token.

    Raises:
        NotFound: ``identity.code``: the code is unknown, was used, has expired, or the account was
            deactivated or signed out everywhere in the meantime.
    """
    code_hash = _hash_code(vault, kind, code)
    row = or_not_found(identity_queries.get_code(tx, code_hash), "identity.code")
    lock_account(tx, row.account_id)
    account = account_queries.existing(tx, row.account_id)
    if (
        not identity_queries.use_code(tx, code_hash)
        or row.expires_at < tx.now
        or not account.is_active
        or account.credentials_version != row.credentials_version
    ):
        raise NotFound("identity.code")
    return account, Origin(
        row.identity_id, row.sid_hash, row.id_token_encrypted, row.has_second_factor
    )


def record_origin(tx: WriteTransaction, vault: Vault, token: str, origin: Origin) -> None:
    """Record that a token came of an identity, so that the provider can end it."""
    identity_queries.set_session(
        tx,
        {
            "token_id": _id_of(tx, vault, token),
            "identity_id": origin.identity,
            "sid_hash": origin.sid_hash,
            "id_token_encrypted": origin.id_token_encrypted,
            "created_at": tx.now,
        },
    )


def provider_of(tx: ReadTransaction, origin: Origin) -> ProviderRow | None:
    """Return the provider of an identity; None if it was removed or deactivated."""
    return _provider_of(tx, origin.identity)


def _provider_of(tx: ReadTransaction, identity_id: int) -> ProviderRow | None:
    identity = identity_queries.by_id(tx, identity_id)
    if identity is None or identity.provider_id is None:
        return None
    provider = provider_queries.by_id(tx, identity.provider_id)
    return provider if provider is not None and provider.is_active else None


def exchange(
    tx: WriteTransaction, vault: Vault, settings: Settings, code: str, **request: Any
) -> str:
    """Exchange a one-time code for the API token of the person who has signed in.

    Args:
        request: ``ip_address`` and ``request_id`` of the request.

    Raises:
        NotFound: ``identity.code``.
        Forbidden: ``second_factor.required``: as ``token_actions.log_in``.
        Limited: ``tries.wait``: too many sign-ins.
    """
    account, origin = redeem(tx, vault, CodeKind.EXCHANGE, code)
    if provider_of(tx, origin) is None:
        raise NotFound("identity.code")
    actor = token_actions.actor_of(account, **request, credentials=account.credentials_version)
    return issue_api_token(tx, vault, settings, actor, origin)


def issue_api_token(
    tx: WriteTransaction, vault: Vault, settings: Settings, actor: Actor, origin: Origin
) -> str:
    """Sign in a person whom a provider has vouched for. Return the API token.

    Raises:
        Unauthenticated: ``login.failed``: the credentials have changed in the meantime.
        Forbidden: ``second_factor.required``: as ``token_actions.log_in``.
        Limited: ``tries.wait``: too many sign-ins.
    """
    token = token_actions.log_in(
        tx, vault, settings, actor, METHOD, has_second_factor=origin.has_second_factor
    )
    record_origin(tx, vault, token, origin)
    return token


def _id_of(tx: ReadTransaction, vault: Vault, token: str) -> int:
    owner = token_queries.owner(tx, vault.keyed_hash(token))
    assert owner is not None  # noqa: S101 - the caller has just issued it
    return owner.token_id


def session_at_provider(
    tx: ReadTransaction, vault: Vault, token: int
) -> tuple[ProviderRow, str] | None:
    """Return the provider from which a token came, and the ID token; None if it came of none.

    Args:
        token: id of the token.
    """
    session = identity_queries.session_of(tx, token)
    if session is None or session.provider_id is None:
        return None
    provider = provider_queries.by_id(tx, session.provider_id)
    if provider is None or not provider.is_active:
        return None
    encrypted = session.id_token_encrypted
    if encrypted is None:
        return provider, ""
    return provider, vault.decrypt(encrypted, _binding(vault, session.identity_id))


def end_sessions_of_provider(
    tx: WriteTransaction,
    vault: Vault,
    provider: ProviderRow,
    jti: str,
    subject: str | None,
    sid: str | None,
    expires_at: datetime,
) -> int:
    """End what came of a session at a provider, when it says so (back-channel logout).

    Args:
        jti: id of the logout token, which works once.
        subject: the person; None for everybody with the session.
        sid: the session; None for all sessions of the person.
        expires_at: until when the logout token would be accepted, UTC.

    Returns:
        The number of tokens that were revoked.

    Raises:
        NotFound: ``provider.unknown``: the provider was removed or deactivated in the meantime.
        Conflict: ``identity.logout_used``: the logout token was used before.
    """
    provider = linking.current(tx, provider)
    token_hash = vault.keyed_hash(f"logout token {provider.issuer} {jti}")
    if not identity_queries.use_logout_token(tx, token_hash, expires_at):
        raise Conflict("identity.logout_used")
    sid_hash = _hash_sid(vault, provider.issuer, sid or "")
    accounts = identity_queries.end_sessions(tx, provider.issuer, subject, sid_hash)
    ended = (events.LoggedOut(account=account) for account in sorted(set(accounts)))
    event_queries.record_all(tx, None, ended)
    return len(accounts)
