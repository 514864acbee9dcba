"""Signed tokens of OpenID providers: signatures by joserfc, and the claims that every token needs.

The first token that is verified imports this module, because the libraries take memory that a
service without OpenID providers does not need.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from hmac import compare_digest
from typing import Any, Final, NamedTuple

import msgspec
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.registry import JWS_HEADER_REGISTRY
from joserfc.util import base64_to_int

from collegium.sign_in.providers.values import Problem, ProviderError

TOKEN_MAX: Final = 32 * 1024
"""Maximum length of a token in characters."""

LEEWAY: Final = 60.0
"""Seconds by which the clock of a provider may be wrong."""

SUBJECT_MAX: Final = 255
"""Maximum length of a subject (OpenID Connect Core, section 2), in characters."""

# Later times exceed the calendar of Python.
_TIME_MAX: Final = 250_000_000_000
_KEYS_MAX: Final = 100
_RSA_BITS: Final = range(2048, 8192 + 1)
_HEADER_MAX: Final = 8 * 1024
_KEY_TYPES: Final[Mapping[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
# Ed25519 with its older and its newer name (RFC 9864).
_EDWARDS: Final = frozenset({"EdDSA", "Ed25519"})
_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"


class SigningKey(NamedTuple):
    """A public key of a provider.

    Args:
        kid: its id; empty if it has none.
        algorithm: the only algorithm for which it may be used; empty if there is no such limit.
    """

    kid: str
    algorithm: str
    key: RSAKey | ECKey | OKPKey


class _Registry(JWSRegistry):
    """The allowed algorithms, and nothing else even if there are none."""

    max_header_length = _HEADER_MAX

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise ProviderError(Problem.WRONG_ALGORITHM)
        return self.algorithms[name]


def import_keys(document: bytes) -> tuple[SigningKey, ...]:
    """Return the keys of a JSON Web Key Set (RFC 7517) that can verify signatures.

    Keys of other types or uses, and keys that are too short, are ignored.

    Raises:
        ProviderError: The document is not a key set.
    """
    entries = decode(document).get("keys")
    if not isinstance(entries, list):
        raise ProviderError(Problem.UNREADABLE)
    keys = []
    for entry in entries[:_KEYS_MAX]:
        # A key that no library understands makes the others no worse.
        with suppress(JoseError, TypeError, ValueError, AttributeError, KeyError):
            if (
                isinstance(entry, dict)
                and entry.get("use", "sig") == "sig"
                and "verify" in entry.get("key_ops", ["verify"])
                and _length(entry) in _RSA_BITS
            ):
                public = {
                    name: entry[name]
                    for name in ("kty", "n", "e", "crv", "x", "y")
                    if name in entry
                }
                key = _KEY_TYPES[entry["kty"]].import_key(public)
                keys.append(SigningKey(_text(entry, "kid"), _text(entry, "alg"), key))
    return tuple(keys)


def _length(entry: dict[str, Any]) -> int:
    """Return the bits of an RSA modulus; a good length for the other types."""
    if entry["kty"] != "RSA":
        return _RSA_BITS.start
    return base64_to_int(entry["n"]).bit_length()


def verify(
    token: str,
    keys: Sequence[SigningKey],
    algorithms: Collection[str],
    *,
    types: Collection[str],
) -> tuple[dict[str, Any], str]:
    """Verify the signature of a token (RFC 7515); return its claims and the algorithm.

    Args:
        algorithms: the allowed algorithms.
        types: values of the header ``typ`` in lower case that are accepted; "" for none.

    Raises:
        ProviderError: ``UNREADABLE``, ``WRONG_ALGORITHM``, ``UNKNOWN_KEY``, ``WRONG_SIGNATURE``.
    """
    if len(token) > TOKEN_MAX or not token.isascii():
        raise ProviderError(Problem.UNREADABLE)
    registry = _Registry(
        JWS_HEADER_REGISTRY, algorithms=list(algorithms), strict_check_header=False
    )
    try:
        header = jws.extract_compact(token.encode(), registry=registry).headers()
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not (isinstance(algorithm, str) and isinstance(kid, str)):
            raise ProviderError(Problem.UNREADABLE)
        registry.get_alg(algorithm)
        if str(header.get("typ", "")).lower() not in types:
            raise ProviderError(Problem.UNREADABLE)
        key = _choose(keys, algorithm, kid)
        payload = jws.deserialize_compact(token, key, registry=registry).payload
    except BadSignatureError:
        raise ProviderError(Problem.WRONG_SIGNATURE) from None
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ProviderError(Problem.UNREADABLE) from None
    return decode(payload or b""), algorithm


def _choose(keys: Sequence[SigningKey], algorithm: str, kid: str) -> RSAKey | ECKey | OKPKey:
    """Return the key with this id; without an id, the only key that fits."""
    kty = {"R": "RSA", "P": "RSA"}.get(algorithm[0], "OKP" if algorithm in _EDWARDS else "EC")
    found = [
        one.key
        for one in keys
        if one.key.key_type == kty
        and (one.kid == kid or not kid)
        and (one.algorithm in {"", algorithm} or {one.algorithm, algorithm} == _EDWARDS)
    ]
    if len(found) != 1:
        raise ProviderError(Problem.UNKNOWN_KEY)
    return found[0]


def decode(body: bytes) -> dict[str, Any]:
    """Return a JSON object without null characters, which no database stores.

    Raises:
        ProviderError: It is something else.
    """
    try:
        value = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ProviderError(Problem.UNREADABLE) from None
    if b"\\u0000" in body.lower():
        raise ProviderError(Problem.UNREADABLE)
    return value


def check_claims(claims: Mapping[str, Any], issuer: str, client_id: str, now: datetime) -> None:
    """Check the claims that ID tokens and logout tokens have in common.

    Raises:
        ProviderError: ``WRONG_ISSUER``, ``WRONG_AUDIENCE``, ``EXPIRED``.
    """
    if claims.get("iss") != issuer:
        raise ProviderError(Problem.WRONG_ISSUER)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    # We trust no other client, so the token must be for us alone; a second audience is accepted
    # only if the provider names us as the party that asked (OpenID Connect Core, 3.1.3.7).
    azp = claims.get("azp")
    if (
        client_id not in audiences
        or (azp is not None and azp != client_id)
        or (len(audiences) > 1 and azp is None)
    ):
        raise ProviderError(Problem.WRONG_AUDIENCE)
    at = now.timestamp()
    expires_at, issued_at = (seconds(claims, name) for name in ("exp", "iat"))
    not_before = seconds(claims, "nbf") if "nbf" in claims else issued_at
    if expires_at + LEEWAY <= at or max(issued_at, not_before) - LEEWAY > at:
        raise ProviderError(Problem.EXPIRED)


def seconds(claims: Mapping[str, Any], name: str) -> float:
    """Return a time as seconds since 1970.

    Raises:
        ProviderError: ``UNREADABLE`` if it is missing or no number.
    """
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProviderError(Problem.UNREADABLE)
    return float(min(max(value, 0), _TIME_MAX))


def check_access_token(claims: Mapping[str, Any], algorithm: str, access_token: str) -> None:
    """Check ``at_hash``, if it is there (OpenID Connect Core, section 3.1.3.6).

    Raises:
        ProviderError: ``WRONG_ACCESS_TOKEN``.
    """
    given = claims.get("at_hash")
    if given is None:
        return
    # The hash of Ed25519 is SHA-512.
    size = algorithm[-3:] if algorithm not in _EDWARDS else "512"
    digest = hashlib.new(f"sha{size}", access_token.encode()).digest()
    expected = urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(given, str) or not compare_digest(given.encode(), expected):
        raise ProviderError(Problem.WRONG_ACCESS_TOKEN)


def subject(claims: Mapping[str, Any]) -> str:
    """Return the subject.

    Raises:
        ProviderError: ``WRONG_SUBJECT``.
    """
    value = claims.get("sub")
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= SUBJECT_MAX:
        raise ProviderError(Problem.WRONG_SUBJECT)
    return value


def check_logout(claims: Mapping[str, Any]) -> None:
    """Check what makes a token a logout token.

    Raises:
        ProviderError: ``WRONG_LOGOUT``.
    """
    events, jti, sid, sub = (claims.get(name) for name in ("events", "jti", "sid", "sub"))
    if (
        not isinstance(events, dict)
        or not isinstance(events.get(_EVENT), dict)
        or "nonce" in claims
        or not (isinstance(jti, str) and jti)
        or not (sid or sub)
        or not all(one is None or isinstance(one, str) for one in (sid, sub))
    ):
        raise ProviderError(Problem.WRONG_LOGOUT)


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name, "")
    return value if isinstance(value, str) else ""
