"""Sign-ins at OpenID providers: what a correct one gives, and every wrong answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from collegium.integrations.openid import client, discovery
from collegium.sign_in.providers.values import (
    DISCOVERY_PATH,
    Claims,
    Problem,
    Provider,
    ProviderError,
)
from tests.support.openid.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider
from tests.support.remote import SECRET

HERE: Final = "https://members.example.org/api-auth/hostile/complete/"
NONCE: Final = "nonce-of-this-sign-in"
# The example of RFC 7636, appendix B.
VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    discovery.clear_caches()
    yield from HostileProvider().running()


def sign_in(hostile: HostileProvider, provider: Provider | None = None, **changes: Any) -> Claims:
    """Sign in from the beginning to the end; return the claims."""
    provider = provider or hostile.provider()
    metadata = discovery.metadata_of(provider)
    url = client.authorization_url(
        provider, metadata, redirect_uri=HERE, state="s", nonce=NONCE, code_verifier=VERIFIER
    )
    returned = {
        name: one[0] for name, one in parse_qs(urlsplit(hostile.authorize(url)).query).items()
    }
    assert returned["state"] == "s"
    values: dict[str, Any] = {
        "code": returned["code"],
        "redirect_uri": HERE,
        "code_verifier": VERIFIER,
        "is_nonce": NONCE.__eq__,
        "iss": returned.get("iss"),
        "now": datetime.now(UTC),
    } | changes
    return client.complete(provider, metadata, **values)


def problem(hostile: HostileProvider, provider: Provider | None = None, **changes: Any) -> Problem:
    """Sign in; return why it failed, which reveals nothing."""
    with pytest.raises(ProviderError) as caught:
        sign_in(hostile, provider, **changes)
    assert SECRET not in f"{caught.value} {caught.value!r} {provider!r}"
    assert caught.value.__cause__ is None
    return caught.value.problem


def test_sign_in_gives_the_claims_of_token_and_userinfo(hostile: HostileProvider) -> None:
    hostile.id_token = {"acr": "mfa", "amr": ["pwd", "otp"], "given_name": "Old"}
    hostile.userinfo = {"eduperson_assurance": ["high"], "acr": "invented", "sid": "invented"}
    claims = sign_in(hostile)
    assert (claims.issuer, claims.subject) == (hostile.issuer, "ada-0001")
    assert (claims.acr, claims.amr, claims.sid) == ("mfa", ("pwd", "otp"), "session-1")
    assert claims.verified_email == "ada@example.org"
    assert claims.claims == {
        "email": "ada@example.org",
        "email_verified": True,
        "given_name": "Ada",
        "family_name": "Lovelace",
        "eduperson_assurance": ["high"],
    }
    assert claims.authenticated_at is not None
    assert abs(claims.authenticated_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert hostile.asked == [DISCOVERY_PATH, "/token", "/jwks", "/userinfo"]


def test_authorization_url_has_every_protection(hostile: HostileProvider) -> None:
    url = client.authorization_url(
        hostile.provider(),
        discovery.metadata_of(hostile.provider()),
        redirect_uri=HERE,
        state="s",
        nonce="n",
        code_verifier=VERIFIER,
        prompt="login",
        ui_locales="",
    )
    assert parse_qs(urlsplit(url).query) == {
        "response_type": ["code"],
        "client_id": [CLIENT_ID],
        "redirect_uri": [HERE],
        "scope": ["openid profile email"],
        "state": ["s"],
        "nonce": ["n"],
        "code_challenge": [CHALLENGE],
        "code_challenge_method": ["S256"],
        "prompt": ["login"],
    }
    assert VERIFIER not in url


NOW: Final = int(time.time())
FOREIGN: Final = "https://elsewhere.example"
ID_TOKENS: dict[str, tuple[dict[str, Any], Problem]] = {
    "other issuer": ({"iss": FOREIGN}, Problem.WRONG_ISSUER),
    "no issuer": ({"iss": None}, Problem.WRONG_ISSUER),
    "issuer with a slash": ({"iss": "{issuer}/"}, Problem.WRONG_ISSUER),
    "other audience": ({"aud": "other"}, Problem.WRONG_AUDIENCE),
    "no audience": ({"aud": None}, Problem.WRONG_AUDIENCE),
    "empty audience": ({"aud": []}, Problem.WRONG_AUDIENCE),
    "two audiences, no party": ({"aud": [CLIENT_ID, "other"]}, Problem.WRONG_AUDIENCE),
    "other party": ({"azp": "other"}, Problem.WRONG_AUDIENCE),
    "expired": ({"exp": NOW - 61}, Problem.EXPIRED),
    "no expiry": ({"exp": None}, Problem.UNREADABLE),
    "expiry is a text": ({"exp": str(NOW + 300)}, Problem.UNREADABLE),
    "expiry is true": ({"exp": True}, Problem.UNREADABLE),
    "of tomorrow": ({"iat": NOW + 86400}, Problem.EXPIRED),
    "no time": ({"iat": None}, Problem.UNREADABLE),
    "not yet": ({"nbf": NOW + 86400}, Problem.EXPIRED),
    "other nonce": ({"nonce": "of another sign-in"}, Problem.WRONG_NONCE),
    "no nonce": ({"nonce": None}, Problem.WRONG_NONCE),
    "nonce is a list": ({"nonce": [NONCE]}, Problem.WRONG_NONCE),
    "other access token": ({"at_hash": "x" * 22}, Problem.WRONG_ACCESS_TOKEN),
    "hash is a number": ({"at_hash": 5}, Problem.WRONG_ACCESS_TOKEN),
    "hash is not ASCII": ({"at_hash": "ä"}, Problem.WRONG_ACCESS_TOKEN),
    "no subject": ({"sub": None}, Problem.WRONG_SUBJECT),
    "empty subject": ({"sub": ""}, Problem.WRONG_SUBJECT),
    "long subject": ({"sub": "x" * 256}, Problem.WRONG_SUBJECT),
    "subject is a number": ({"sub": 7}, Problem.WRONG_SUBJECT),
    "subject with a line": ({"sub": "ada\n0001"}, Problem.WRONG_SUBJECT),
    "other subject than in userinfo": ({"sub": "eve"}, Problem.WRONG_SUBJECT),
    "a null character": ({"name": "A\0da"}, Problem.UNREADABLE),
    "half a character": ({"name": "\ud800"}, Problem.UNREADABLE),
    "endless": ({"name": "x" * 40_000}, Problem.UNREADABLE),
}


@pytest.mark.parametrize("case", ID_TOKENS)
def test_wrong_claim_in_the_id_token_is_refused(hostile: HostileProvider, case: str) -> None:
    changes, expected = ID_TOKENS[case]
    hostile.id_token = {
        name: value.format(issuer=hostile.issuer) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    assert problem(hostile) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID},
        {"azp": CLIENT_ID},
        {"exp": NOW + 10**30, "iat": NOW - 30},
        {"at_hash": None},
        {"auth_time": None, "amr": "pwd"},
    ],
    ids=["list", "two", "party", "for ever", "no hash", "odd"],
)
def test_unusual_but_valid_id_token_is_accepted(
    hostile: HostileProvider, changes: dict[str, Any]
) -> None:
    hostile.id_token = changes
    assert sign_in(hostile).subject == "ada-0001"


def _keys() -> dict[str, Any]:
    return {
        "RS256": RSAKey.generate_key(2048),
        "PS256": RSAKey.generate_key(2048),
        "ES256": ECKey.generate_key("P-256"),
        "ES384": ECKey.generate_key("P-384"),
        "EdDSA": OKPKey.generate_key("Ed25519"),
    }


def test_every_allowed_algorithm_is_verified(hostile: HostileProvider) -> None:
    hostile.id_token = {"at_hash": None}
    hostile.metadata = {"id_token_signing_alg_values_supported": list(_keys())}
    for algorithm, key in _keys().items():
        hostile.algorithm, hostile.kid, hostile.key = algorithm, algorithm, key
        hostile.published = {algorithm: key}
        discovery.clear_caches()
        assert sign_in(hostile).subject == "ada-0001"


def test_unsigned_and_wrongly_signed_tokens_are_refused(hostile: HostileProvider) -> None:
    public = hostile.key.as_pem(private=False)
    cases: list[tuple[str, Any, dict[str, Any], Problem]] = [
        ("none", None, {}, Problem.WRONG_ALGORITHM),
        ("HS256", OctKey.import_key(CLIENT_SECRET), {}, Problem.WRONG_ALGORITHM),
        ("HS256", OctKey.import_key(public.hex()), {}, Problem.WRONG_ALGORITHM),
        # Not among those that the provider announces.
        ("ES384", ECKey.generate_key("P-384"), {}, Problem.WRONG_ALGORITHM),
        ("ES256", ECKey.generate_key("P-256"), {}, Problem.WRONG_SIGNATURE),
        ("RS256", RSAKey.generate_key(2048), {}, Problem.UNKNOWN_KEY),
        ("ES256", hostile.key, {"kid": "unknown"}, Problem.UNKNOWN_KEY),
        ("ES256", hostile.key, {"typ": "logout+jwt"}, Problem.UNREADABLE),
        ("ES256", hostile.key, {"kid": "x" * 9000}, Problem.UNREADABLE),
    ]
    for algorithm, key, header, expected in cases:
        hostile.algorithm, hostile.sign_with, hostile.header = algorithm, key, header
        assert problem(hostile) is expected, (algorithm, header)
    hostile.algorithm, hostile.sign_with, hostile.header = "ES256", None, {"typ": None}
    assert sign_in(hostile).subject == "ada-0001"
