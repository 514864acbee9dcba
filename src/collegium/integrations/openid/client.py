"""A sign-in at an OpenID provider, step by step, and the way out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus

from collegium.integrations.http_client import Timeouts, is_header_safe
from collegium.integrations.openid import discovery
from collegium.integrations.waiting import waiting
from collegium.sign_in.providers.values import (
    Claims,
    LogoutToken,
    Metadata,
    Problem,
    Provider,
    ProviderError,
)

TIMEOUTS: Final = Timeouts(total=20.0)
"""Timeouts of the end of a sign-in; the total covers its requests together."""

SIGN_IN_AGAIN: Final = {"prompt": "login", "max_age": "60"}
"""Parameters that have a person sign in again at a provider, and their time stated.

Some providers compare the age of each sign-in with ``max_age``, that of the new one too. With 0
they would ask for the password for ever.
"""

_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
# Claims about the token or the session, which say nothing about the person. ``sub`` stays: it was
# verified, userinfo has the same, and an account may be recognised by it.
_OF_TOKEN: Final = frozenset(
    {
        *("iss", "aud", "exp", "nbf", "iat", "jti", "nonce", "azp", "at_hash", "c_hash"),
        *("s_hash", "auth_time", "acr", "amr", "sid", "typ"),
    }
)


def authorization_url(
    provider: Provider,
    metadata: Metadata,
    *,
    redirect_uri: str,
    state: str,
    nonce: str,
    code_verifier: str,
    scope: str = "openid profile email",
    **options: str,
) -> str:
    """Return the URL at the provider to which a browser is sent (OpenID Connect Core, 3.1.2.1).

    Args:
        code_verifier: the secret of which the provider sees the hash (RFC 7636, S256), 43 to 128
            characters.
        scope: the scopes, separated by spaces; one of them is ``openid``.
        options: further parameters, such as ``prompt``, ``max_age``, ``ui_locales``, ``login_hint``
            and ``acr_values``; empty ones are omitted.
    """
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415 - see openid.tokens
    from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415 - see openid.tokens

    url: str = prepare_grant_uri(
        metadata.authorization_endpoint,
        provider.client_id,
        "code",
        redirect_uri=redirect_uri,
        scope=scope,
        state=state,
        nonce=nonce,
        code_challenge=create_s256_code_challenge(code_verifier),
        code_challenge_method="S256",
        **{name: value for name, value in options.items() if value},
    )
    return url


def check_response_issuer(metadata: Metadata, iss: str | None, *, is_error: bool = False) -> None:
    """Check who sent the browser back (RFC 9207), before anything else of the response is used.

    Args:
        iss: the parameter ``iss`` of the response; None if it is missing.
        is_error: whether the response is an error. Some providers leave the issuer out of those,
            and nothing is done with them.

    Raises:
        ProviderError: ``WRONG_ISSUER``.
    """
    if iss is None:
        if metadata.authorization_response_iss_parameter_supported and not is_error:
            raise ProviderError(Problem.WRONG_ISSUER)
    elif iss != metadata.issuer:
        raise ProviderError(Problem.WRONG_ISSUER)


def complete(
    provider: Provider,
    metadata: Metadata,
    *,
    code: str,
    redirect_uri: str,
    code_verifier: str,
    is_nonce: Callable[[str], bool],
    iss: str | None,
    now: datetime,
    max_age: float | None = None,
) -> Claims:
    """Exchange the code of a response for tokens, check them, and return the person's claims.

    Args:
        redirect_uri: the same as in the authorization URL.
        is_nonce: whether a text is the nonce of this sign-in.
        iss: the parameter ``iss`` of the response; None if it is missing.
        max_age: seconds that were asked for with ``max_age``, if any.

    Raises:
        ProviderError: One of the problems; nothing of the response is used then.
        BusyError: Too many threads wait for the provider, or for all. It was not asked.
    """
    check_response_issuer(metadata, iss)
    with waiting.at(discovery.service_of(provider)):
        return _complete(
            provider, metadata, code, redirect_uri, code_verifier, is_nonce, now, max_age
        )


def _complete(
    provider: Provider,
    metadata: Metadata,
    code: str,
    redirect_uri: str,
    code_verifier: str,
    is_nonce: Callable[[str], bool],
    now: datetime,
    max_age: float | None,
) -> Claims:
    from collegium.integrations.openid import tokens  # noqa: PLC0415 - see there

    deadline = time.monotonic() + TIMEOUTS.total
    answer = _exchange(provider, metadata, code, redirect_uri, code_verifier, deadline)
    id_token, access_token = answer.get("id_token"), answer.get("access_token")
    if not isinstance(id_token, str) or not isinstance(access_token, str):
        raise ProviderError(Problem.UNREADABLE)
    claims, algorithm = _verify(provider, metadata, id_token, {"", "jwt"}, deadline)
    tokens.check_claims(claims, metadata.issuer, provider.client_id, now)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not is_nonce(nonce):
        raise ProviderError(Problem.WRONG_NONCE)
    tokens.check_access_token(claims, algorithm, access_token)
    subject = tokens.subject(claims)
    authenticated_at = tokens.seconds(claims, "auth_time") if "auth_time" in claims else None
    if max_age is not None and (
        authenticated_at is None or now.timestamp() - authenticated_at > max_age + tokens.LEEWAY
    ):
        raise ProviderError(Problem.NOT_RECENT)
    info = _request_userinfo(provider, metadata, access_token, subject, deadline)
    amr = claims.get("amr")
    return Claims(
        issuer=metadata.issuer,
        subject=subject,
        claims=_merge(claims, info),
        acr=_text(claims, "acr"),
        amr=tuple(one for one in amr if isinstance(one, str)) if isinstance(amr, list) else (),
        authenticated_at=(
            None if authenticated_at is None else datetime.fromtimestamp(authenticated_at, UTC)
        ),
        sid=_text(claims, "sid"),
        id_token=id_token,
    )


def read_logout_token(
    provider: Provider, metadata: Metadata, token: str, now: datetime
) -> LogoutToken:
    """Check a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6).

    The caller checks that its ``jti`` was not used before.

    Raises:
        ProviderError: One of the problems.
        BusyError: Too many threads wait for the provider, or for all.
    """
    from collegium.integrations.openid import tokens  # noqa: PLC0415 - see there

    deadline = time.monotonic() + TIMEOUTS.total
    claims, _ = _verify(provider, metadata, token, {"", "jwt", "logout+jwt"}, deadline)
    tokens.check_claims(claims, metadata.issuer, provider.client_id, now)
    tokens.check_logout(claims)
    return LogoutToken(
        issuer=metadata.issuer,
        subject=_text(claims, "sub"),
        sid=_text(claims, "sid"),
        jti=_text(claims, "jti"),
        expires_at=datetime.fromtimestamp(tokens.seconds(claims, "exp") + tokens.LEEWAY, UTC),
    )


def sign_out_url(
    provider: Provider,
    metadata: Metadata,
    *,
    id_token: str,
    post_logout_redirect_uri: str = "",
    state: str = "",
) -> str:
    """Return the URL at which a browser ends the session at the provider; empty if it has none.

    It follows OpenID Connect RP-Initiated Logout 1.0.
    """
    from authlib.common.urls import add_params_to_uri  # noqa: PLC0415 - see openid.tokens

    if not metadata.end_session_endpoint:
        return ""
    given = {
        "id_token_hint": id_token,
        "client_id": provider.client_id,
        "post_logout_redirect_uri": post_logout_redirect_uri,
        "state": state if post_logout_redirect_uri else "",
    }
    url: str = add_params_to_uri(
        metadata.end_session_endpoint, [(name, value) for name, value in given.items() if value]
    )
    return url


def _exchange(
    provider: Provider,
    metadata: Metadata,
    code: str,
    redirect_uri: str,
    code_verifier: str,
    deadline: float,
) -> dict[str, Any]:
    """Exchange a code for tokens (RFC 6749, section 4.1.3)."""
    from authlib.oauth2.auth import ClientAuth  # noqa: PLC0415 - see openid.tokens
    from authlib.oauth2.rfc6749.parameters import prepare_token_request  # noqa: PLC0415 - see openid.tokens

    from collegium.integrations.openid.tokens import decode  # noqa: PLC0415 - see there

    body = prepare_token_request(
        "authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=code_verifier
    )
    method = _client_authentication(provider, metadata)
    # RFC 6749, section 2.3.1: both are form-encoded before they become a header.
    encode = quote_plus if method == "client_secret_basic" else str
    client = ClientAuth(encode(provider.client_id), encode(provider.client_secret), method)
    url, headers, body = client.prepare("POST", metadata.token_endpoint, {}, body)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    tokens = decode(discovery.call(provider, "POST", url, deadline, headers=headers, content=body))
    if str(tokens.get("token_type", "")).lower() != "bearer":
        raise ProviderError(Problem.UNREADABLE)
    return tokens


def _client_authentication(provider: Provider, metadata: Metadata) -> str:
    """Return how we prove who we are at the token endpoint.

    Raises:
        ProviderError: ``UNSUPPORTED``.
    """
    methods = metadata.token_endpoint_auth_methods_supported
    if not provider.client_secret:
        return "none"
    basic, post = "client_secret_basic", "client_secret_post"
    # Not every provider decodes the characters that must be encoded in a header.
    is_plain = set(provider.client_id + provider.client_secret) <= _PLAIN
    for method in (basic, post) if is_plain else (post, basic):
        if method in methods:
            return method
    raise ProviderError(Problem.UNSUPPORTED)


def _verify(
    provider: Provider, metadata: Metadata, token: str, types: Collection[str], deadline: float
) -> tuple[dict[str, Any], str]:
    """Verify a token; ask for the keys again, not too often, if its key is unknown."""
    from collegium.integrations.openid.tokens import verify  # noqa: PLC0415 - see there

    keys = discovery.fetch_keys(provider, metadata, discovery.LIFETIME, deadline)
    try:
        return verify(token, keys, discovery.algorithms(metadata), types=types)
    except ProviderError as error:
        # A provider may also replace a key under its old id.
        if error.problem not in {Problem.UNKNOWN_KEY, Problem.WRONG_SIGNATURE}:
            raise
    keys = discovery.fetch_keys(provider, metadata, discovery.REFRESH_INTERVAL, deadline)
    return verify(token, keys, discovery.algorithms(metadata), types=types)


def _request_userinfo(
    provider: Provider, metadata: Metadata, access_token: str, subject: str, deadline: float
) -> dict[str, Any]:
    """Return the claims of userinfo (OpenID Connect Core, section 5.3); none without an endpoint.

    Raises:
        ProviderError: ``WRONG_SUBJECT`` if they describe somebody else, and others.
    """
    from collegium.integrations.openid.tokens import decode  # noqa: PLC0415 - see there

    if not metadata.userinfo_endpoint:
        return {}
    if not is_header_safe(access_token):
        raise ProviderError(Problem.UNREADABLE)
    headers = {"Authorization": f"Bearer {access_token}"}
    info = decode(
        discovery.call(provider, "GET", metadata.userinfo_endpoint, deadline, headers=headers)
    )
    if info.get("sub") != subject:
        raise ProviderError(Problem.WRONG_SUBJECT)
    return info


def _merge(claims: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    merged = {name: value for name, value in {**claims, **info}.items() if name not in _OF_TOKEN}
    # One document must not vouch for the address of the other one.
    with_address = info if "email" in info else claims
    if "email_verified" not in with_address:
        merged.pop("email_verified", None)
    else:
        merged["email_verified"] = with_address["email_verified"]
    return merged


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""
