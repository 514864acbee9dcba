"""Sign-ins at OpenID providers: what a correct one gives, and every wrong answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from collegium.integrations.openid import cache, client, discovery
from collegium.sign_in.providers.values import (
    DISCOVERY_PATH,
    Claims,
    Problem,
    Provider,
    ProviderError,
)
from tests.support import remote
from tests.support.openid.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider
from tests.support.remote import HASTE, SECRET, says
from tests.support.tls import write_certificate

HERE: Final = "https://members.example.org/api-auth/hostile/complete/"
NONCE: Final = "nonce-of-this-sign-in"
# The example of RFC 7636, appendix B.
VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


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
    assert SECRET not in f"{caught.value} {caught.value!r}"
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
        "sub": "ada-0001",
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
    "of tomorrow, valid today": ({"iat": NOW + 86400, "nbf": NOW}, Problem.EXPIRED),
    "not yet": ({"nbf": NOW + 86400}, Problem.EXPIRED),
    "other nonce": ({"nonce": "of another sign-in"}, Problem.WRONG_NONCE),
    "no nonce": ({"nonce": None}, Problem.WRONG_NONCE),
    "nonce is a list": ({"nonce": [NONCE]}, Problem.WRONG_NONCE),
    "other access token": ({"at_hash": "x" * 22}, Problem.WRONG_ACCESS_TOKEN),
    "hash is a number": ({"at_hash": 5}, Problem.WRONG_ACCESS_TOKEN),
    "hash is not ASCII": ({"at_hash": "ä"}, Problem.WRONG_ACCESS_TOKEN),
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
    "subject", [None, "", "x" * 256, 7, ["ada"], "ada\n0001"], ids=lambda one: str(one)[:5]
)
def test_invalid_subject_is_refused(hostile: HostileProvider, subject: object) -> None:
    hostile.person["sub"] = subject
    assert problem(hostile) is Problem.WRONG_SUBJECT


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


def test_clock_of_the_provider_may_be_a_minute_slow(hostile: HostileProvider) -> None:
    """Its ID tokens are valid for five minutes."""
    now = datetime.now(UTC)
    assert sign_in(hostile, now=now + timedelta(seconds=340)).subject == "ada-0001"
    assert problem(hostile, now=now + timedelta(seconds=380)) is Problem.EXPIRED


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
        ("ES256", hostile.key, {"crit": ["policy"], "policy": "x"}, Problem.UNREADABLE),
        ("ES256", hostile.key, {"kid": "x" * 9000}, Problem.UNREADABLE),
    ]
    for algorithm, key, header, expected in cases:
        hostile.algorithm, hostile.sign_with, hostile.header = algorithm, key, header
        assert problem(hostile) is expected, (algorithm, header)
    hostile.algorithm, hostile.sign_with, hostile.header = "ES256", None, {"typ": None}
    assert sign_in(hostile).subject == "ada-0001"


ANSWERS: dict[str, remote.Temper] = {
    "hangs": remote.hangs,
    "drips": remote.drips,
    "floods": remote.floods,
    "breaks off": remote.breaks_off,
    "nonsense": remote.talks_nonsense,
    "error": says(SECRET.encode(), 500),
    "redirect": says(b"", 302, Location="/jwks"),
}
DOCUMENTS: dict[str, bytes] = {
    "HTML": f"<html>{SECRET}</html>".encode(),
    "empty": b"",
    "list": b"[]",
    "text": b'"x"',
    "deep": b'{"x":' * 20_000,
    "latin-1": b'{"x": "\xe4"}',
}
PATHS: Final = (DISCOVERY_PATH, "/jwks", "/token", "/userinfo")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", ANSWERS)
def test_slow_endless_or_failed_response_ends_the_sign_in_in_time(
    hostile: HostileProvider, path: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (client, discovery):
        monkeypatch.setattr(module, "TIMEOUTS", HASTE)
    hostile.tempers[path] = ANSWERS[case]
    began = time.monotonic()
    assert problem(hostile) is Problem.UNREACHABLE
    assert time.monotonic() - began < 5 * HASTE.total


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", DOCUMENTS)
def test_unreadable_response_ends_the_sign_in(
    hostile: HostileProvider, path: str, case: str
) -> None:
    hostile.tempers[path] = says(DOCUMENTS[case])
    assert problem(hostile) is Problem.UNREADABLE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"issuer": FOREIGN}, Problem.WRONG_ISSUER),
        ({"issuer": "{base}{path}"}, Problem.WRONG_ISSUER),
        ({"issuer": None}, Problem.UNREADABLE),
        ({"issuer": 5}, Problem.UNREADABLE),
        ({"token_endpoint": "http://login.example/token"}, Problem.INSECURE),
        ({"token_endpoint": "{base}/token#x"}, Problem.INSECURE),
        ({"jwks_uri": "file:///etc/passwd"}, Problem.INSECURE),
        ({"jwks_uri": None}, Problem.UNREADABLE),
        ({"jwks_uri": ""}, Problem.INSECURE),
        ({"userinfo_endpoint": "http://127.0.0.1:1/userinfo"}, Problem.INSECURE),
        ({"userinfo_endpoint": "https://user:password@login.example/"}, Problem.INSECURE),
        ({"end_session_endpoint": "https://login.example/\n"}, Problem.INSECURE),
        ({"authorization_endpoint": "javascript:alert(1)"}, Problem.INSECURE),
        ({"authorization_endpoint": "https://login.example/" + "x" * 2000}, Problem.INSECURE),
        ({"response_types_supported": ["id_token"]}, Problem.UNSUPPORTED),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, Problem.UNSUPPORTED),
        ({"scopes_supported": "openid"}, Problem.UNREADABLE),
    ],
    ids=str,
)
def test_unusable_metadata_are_refused(
    hostile: HostileProvider, changes: dict[str, Any], expected: Problem
) -> None:
    hostile.metadata = {
        name: value.format(base=hostile.base, path=DISCOVERY_PATH)
        if isinstance(value, str)
        else value
        for name, value in changes.items()
    }
    with pytest.raises(ProviderError) as caught:
        discovery.fetch_metadata(hostile.discovery_url, internal_hosts=(hostile.host,))
    assert caught.value.problem is expected


def test_secret_is_not_sent_in_a_way_that_the_provider_does_not_know(
    hostile: HostileProvider,
) -> None:
    hostile.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    assert problem(hostile) is Problem.UNSUPPORTED
    assert "/token" not in hostile.asked


@pytest.mark.parametrize(
    "changes",
    [
        *({"id_token": None}, {"id_token": 5}, {"access_token": None}, {"access_token": ["x"]}),
        *({"token_type": None}, {"token_type": "mac"}, {"token_type": ["Bearer"]}),
        *({"access_token": "two words"}, {"access_token": "line\nfeed"}, {"access_token": ""}),
    ],
    ids=str,
)
def test_unusable_tokens_are_refused(hostile: HostileProvider, changes: dict[str, Any]) -> None:
    hostile.tokens, hostile.id_token = changes, {"at_hash": None}
    assert problem(hostile) is Problem.UNREADABLE


def test_issuer_may_end_with_a_slash(hostile: HostileProvider) -> None:
    issuer = hostile.issuer + "/"
    hostile.metadata = hostile.id_token = hostile.response = {"issuer": issuer, "iss": issuer}
    assert sign_in(hostile, hostile.provider(issuer=issuer)).issuer == issuer
    assert problem(hostile) is Problem.WRONG_ISSUER


def test_provider_on_an_internal_host_needs_the_setting(hostile: HostileProvider) -> None:
    assert problem(hostile, hostile.provider(internal_hosts=())) is Problem.INSECURE
    # Plain http is for loopback alone, and the guard stands behind https too.
    for url, internal_hosts in (
        ("http://login.example", ("login.example",)),
        (hostile.issuer.replace("http", "https"), ()),
        ("https://169.254.169.254", ()),
    ):
        with pytest.raises(ProviderError) as caught:
            discovery.fetch_metadata(url, internal_hosts=internal_hosts)
        assert caught.value.problem is Problem.INSECURE
    assert hostile.asked == []


def test_certificate_is_verified_unless_staff_turn_it_off(
    hostile: HostileProvider, tmp_path: Path
) -> None:
    hostile.speak_tls(write_certificate(tmp_path, "127.0.0.1"))
    assert problem(hostile) is Problem.UNREACHABLE
    assert sign_in(hostile, hostile.provider(verify_tls=False)).issuer.startswith("https://")


def test_provider_that_names_itself_differently_than_at_the_beginning_is_refused(
    hostile: HostileProvider,
) -> None:
    assert problem(hostile, hostile.provider(issuer=FOREIGN)) is Problem.WRONG_ISSUER


def test_response_of_another_provider_is_refused_before_the_code_is_sent(
    hostile: HostileProvider,
) -> None:
    """A mix-up must not send the code of one provider to another one (RFC 9207)."""
    for iss in (FOREIGN, hostile.issuer + "/", "", None):
        assert problem(hostile, iss=iss) is Problem.WRONG_ISSUER
    assert "/token" not in hostile.asked
    hostile.metadata = {"authorization_response_iss_parameter_supported": None}
    discovery.clear_caches()
    assert sign_in(hostile, iss=None).subject == "ada-0001"
    assert problem(hostile, iss=FOREIGN) is Problem.WRONG_ISSUER


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"code": "of nobody"}, Problem.CODE_REFUSED),
        ({"code_verifier": "x" * 43}, Problem.CODE_REFUSED),
        ({"redirect_uri": HERE + "?"}, Problem.CODE_REFUSED),
        ({"provider": {"client_secret": "wrong"}}, Problem.CLIENT_REFUSED),
        ({"provider": {"client_secret": ""}}, Problem.CLIENT_REFUSED),
    ],
    ids=["code", "verifier", "redirect", "secret", "no secret"],
)
def test_refused_code_or_client_is_told_apart(
    hostile: HostileProvider, changes: dict[str, Any], expected: Problem
) -> None:
    provider = hostile.provider(**changes.pop("provider", {}))
    assert problem(hostile, provider, **changes) is expected


def test_code_works_once(hostile: HostileProvider) -> None:
    code = (
        hostile.authorize(
            client.authorization_url(
                hostile.provider(),
                discovery.metadata_of(hostile.provider()),
                redirect_uri=HERE,
                state="s",
                nonce=NONCE,
                code_verifier=VERIFIER,
            )
        )
        .partition("code=")[2]
        .partition("&")[0]
    )
    assert sign_in(hostile, code=code).subject == "ada-0001"
    assert problem(hostile, code=code) is Problem.CODE_REFUSED


@pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_basic"], None])
def test_secret_with_special_characters_is_understood(
    hostile: HostileProvider, methods: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a%2B+b/c=:d ~ä"
    monkeypatch.setattr("tests.support.openid.hostile.CLIENT_SECRET", secret)
    hostile.metadata = {"token_endpoint_auth_methods_supported": methods}
    provider = hostile.provider()
    assert provider.client_secret == secret
    assert sign_in(hostile, provider).subject == "ada-0001"


def test_userinfo_of_somebody_else_is_refused(hostile: HostileProvider) -> None:
    for subject in ("eve", None, ["ada-0001"]):
        hostile.userinfo = {"sub": subject}
        assert problem(hostile) is Problem.WRONG_SUBJECT
    hostile.metadata = {"userinfo_endpoint": None}
    discovery.clear_caches()
    assert sign_in(hostile).claims["given_name"] == "Ada"


@pytest.mark.parametrize(
    ("token", "info", "expected"),
    [
        ({"email_verified": True}, {}, "ada@example.org"),
        ({"email_verified": "true"}, {"email_verified": "true"}, "ada@example.org"),
        ({"email_verified": False}, {"email_verified": None, "email": None}, ""),
        # Userinfo gives an address, and says nothing of it; the ID token vouched for another one.
        ({"email": "old@example.org"}, {"email_verified": None}, ""),
        ({"email_verified": False}, {"email": None, "email_verified": True}, ""),
        ({"email_verified": None}, {"email": None, "email_verified": True}, ""),
        ({}, {"email_verified": False}, ""),
        ({}, {"email_verified": 1}, ""),
        ({}, {"email_verified": ["true"]}, ""),
        ({}, {"email": ["ada@example.org"]}, ""),
    ],
    ids=[
        "yes",
        "text",
        "no",
        "other",
        "crossed",
        "unsaid",
        "changed",
        "number",
        "list",
        "addresses",
    ],
)
def test_only_a_verified_address_counts_as_verified(
    hostile: HostileProvider, token: dict[str, Any], info: dict[str, Any], expected: str
) -> None:
    hostile.id_token, hostile.userinfo = token, info
    assert sign_in(hostile).verified_email == expected


def test_recent_sign_in_that_was_asked_for_is_demanded(hostile: HostileProvider) -> None:
    hostile.id_token = {"auth_time": int(time.time()) - 600}
    assert problem(hostile, max_age=300) is Problem.NOT_RECENT
    assert sign_in(hostile, max_age=900).subject == "ada-0001"
    hostile.id_token = {"auth_time": None}
    assert problem(hostile, max_age=900) is Problem.NOT_RECENT


def test_rotated_key_is_fetched_but_not_in_a_storm(
    hostile: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(hostile)
    hostile.rotate()
    # The keys are too new to be fetched again.
    assert problem(hostile) is Problem.UNKNOWN_KEY
    assert hostile.asked.count("/jwks") == 1
    monkeypatch.setattr(discovery, "REFRESH_INTERVAL", 0.2)
    time.sleep(0.2)
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(lambda _: sign_in(hostile), range(6)))) == 6
    assert hostile.asked.count("/jwks") == 2
    # The same id with another key.
    hostile.key = hostile.published[hostile.kid] = ECKey.generate_key("P-256")
    time.sleep(0.2)
    assert sign_in(hostile).subject == "ada-0001"
    assert hostile.asked.count("/jwks") == 3


def test_metadata_and_keys_are_fetched_once_by_many_at_once(hostile: HostileProvider) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(lambda _: sign_in(hostile), range(12)))) == 12
    assert (hostile.asked.count(DISCOVERY_PATH), hostile.asked.count("/jwks")) == (1, 1)


def test_outage_is_bridged_and_not_asked_about_all_the_time(
    hostile: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(hostile)
    monkeypatch.setattr(discovery, "LIFETIME", 0.01)
    time.sleep(0.02)
    for path in (DISCOVERY_PATH, "/jwks"):
        hostile.tempers[path] = says(b"", 503)
    for _ in range(3):
        assert sign_in(hostile).subject == "ada-0001"
    assert (hostile.asked.count(DISCOVERY_PATH), hostile.asked.count("/jwks")) == (2, 2)
    # A check of the provider shows its present state.
    with pytest.raises(ProviderError, match="unreachable"):
        discovery.metadata_of(hostile.provider(), fresh=True)
    # An old answer is better than none for a day, a wrong answer is not.
    monkeypatch.setattr(cache, "STALE_LIFETIME", 0.01)
    assert problem(hostile) is Problem.UNREACHABLE
    monkeypatch.setattr(cache, "STALE_LIFETIME", 86400)
    monkeypatch.setattr(cache, "RETRY_INTERVAL", 0)
    hostile.tempers[DISCOVERY_PATH] = says(b"<html>")
    assert problem(hostile) is Problem.UNREADABLE
    hostile.tempers.clear()
    assert sign_in(hostile).subject == "ada-0001"


def test_nobody_waits_for_a_provider_that_is_down(
    hostile: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = hostile.provider()
    arrived, leave = Event(), Event()

    def stall(asked: remote.Asked) -> None:
        arrived.set()
        leave.wait(5)
        asked.send(503, b"")

    discovery.metadata_of(provider)
    monkeypatch.setattr(discovery, "LIFETIME", 1e-6)
    monkeypatch.setattr(cache, "RETRY_INTERVAL", 0)
    hostile.tempers[DISCOVERY_PATH] = says(b"", 503)
    discovery.metadata_of(provider)
    hostile.tempers[DISCOVERY_PATH] = stall
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(discovery.metadata_of, provider)
        arrived.wait(5)
        assert discovery.metadata_of(provider).issuer == hostile.issuer
        assert not asking.done()
        leave.set()
        assert asking.result().issuer == hostile.issuer


def test_many_providers_are_fetched_once(hostile: HostileProvider) -> None:
    urls = [f"{hostile.issuer}/{number}" for number in range(66)]
    for number, url in enumerate(urls):
        metadata = {"issuer": url, "jwks_uri": f"{hostile.issuer}/jwks"}
        names = ("authorization_endpoint", "token_endpoint")
        metadata |= {name: f"{hostile.issuer}/{name}" for name in names}
        hostile.tempers[f"/{number}{DISCOVERY_PATH}"] = says(metadata)
    for url in urls * 2:
        assert discovery.fetch_metadata(url, internal_hosts=(hostile.host,)).issuer == url
    assert len(hostile.asked) == len(urls)


def test_cache_of_many_providers_is_bounded(
    hostile: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SIZE", 8)
    urls = [f"{hostile.issuer}/{number}" for number in range(cache.SIZE + 5)]
    for url in urls:
        with pytest.raises(ProviderError):
            discovery.fetch_metadata(url, internal_hosts=(hostile.host,))
    assert len(discovery._metadata._entries) == cache.SIZE


def test_unusable_keys_are_ignored_and_counted_out(hostile: HostileProvider) -> None:
    metadata = discovery.metadata_of(hostile.provider())
    good = hostile.key.as_dict(private=False)
    small, large = ({"kty": "RSA", "n": "_" * length, "e": "AQAB"} for length in (171, 1400))
    bad: list[Any] = [
        *("text", 5, None, {}, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": ["EC"]}, small, large),
        *({**good, "use": "enc"}, {**good, "key_ops": ["sign"]}, {**good, "x": 5}),
        *({"kty": "RSA", "n": 5, "e": "AQAB"}, {"kty": "EC", "crv": "P-0", "x": "", "y": ""}),
    ]
    hostile.tempers["/jwks"] = says({"keys": [*bad, {**good, "kid": hostile.kid}]})
    assert discovery.check_keys(hostile.provider(), metadata) == 1
    assert sign_in(hostile).subject == "ada-0001"
    hostile.tempers["/jwks"] = says({"keys": bad})
    with pytest.raises(ProviderError, match="unsupported"):
        discovery.check_keys(hostile.provider(), metadata)


def test_key_is_used_for_its_own_algorithm_and_chosen_without_an_id_only_if_alone(
    hostile: HostileProvider,
) -> None:
    key = RSAKey.generate_key(2048)
    hostile.algorithm, hostile.key, hostile.header = "RS256", key, {"kid": None}
    hostile.published = {"": key, "other": hostile.published["key-1"]}
    assert sign_in(hostile).subject == "ada-0001"
    discovery.clear_caches()
    hostile.published = {"one": key, "two": RSAKey.generate_key(2048)}
    assert problem(hostile) is Problem.UNKNOWN_KEY
    discovery.clear_caches()
    entry = {**key.as_dict(private=False), "kid": "one", "alg": "PS256"}
    hostile.tempers["/jwks"] = says({"keys": [entry]})
    hostile.header = {"kid": "one"}
    assert problem(hostile) is Problem.UNKNOWN_KEY


LOGOUTS: dict[str, tuple[dict[str, Any], Problem]] = {
    "no event": ({"events": None}, Problem.WRONG_LOGOUT),
    "other event": ({"events": {"http://other.example/event": {}}}, Problem.WRONG_LOGOUT),
    "events are a list": ({"events": []}, Problem.WRONG_LOGOUT),
    "a nonce": ({"nonce": "n"}, Problem.WRONG_LOGOUT),
    "no id": ({"jti": None}, Problem.WRONG_LOGOUT),
    "id is a number": ({"jti": 5}, Problem.WRONG_LOGOUT),
    "nobody": ({"sub": None, "sid": None}, Problem.WRONG_LOGOUT),
    "subject is a list": ({"sub": ["ada-0001"]}, Problem.WRONG_LOGOUT),
    "other issuer": ({"iss": FOREIGN}, Problem.WRONG_ISSUER),
    "other audience": ({"aud": "other"}, Problem.WRONG_AUDIENCE),
    "expired": ({"exp": NOW - 61}, Problem.EXPIRED),
    "no expiry": ({"exp": None}, Problem.UNREADABLE),
    "no time": ({"iat": None}, Problem.UNREADABLE),
}


@pytest.mark.parametrize("case", LOGOUTS)
def test_wrong_logout_token_is_refused(hostile: HostileProvider, case: str) -> None:
    changes, expected = LOGOUTS[case]
    assert logout_problem(hostile, hostile.logout_token(**changes)) is expected


def logout_problem(hostile: HostileProvider, token: str) -> Problem:
    provider = hostile.provider()
    with pytest.raises(ProviderError) as caught:
        client.read_logout_token(
            provider, discovery.metadata_of(provider), token, datetime.now(UTC)
        )
    return caught.value.problem


def test_logout_token_names_the_session_or_the_person(hostile: HostileProvider) -> None:
    provider, now = hostile.provider(), datetime.now(UTC)
    metadata = discovery.metadata_of(provider)
    cases: tuple[tuple[dict[str, Any], tuple[str, str]], ...] = (
        ({}, ("ada-0001", "session-1")),
        ({"sid": None}, ("ada-0001", "")),
        ({"sub": None}, ("", "session-1")),
    )
    for changes, expected in cases:
        token = client.read_logout_token(
            provider, metadata, hostile.logout_token(jti="j", **changes), now
        )
        assert (token.issuer, token.jti) == (hostile.issuer, "j")
        assert (token.subject, token.sid) == expected
        assert timedelta(minutes=2) < token.expires_at - now < timedelta(minutes=4)


def test_unsigned_or_foreign_token_ends_no_session(hostile: HostileProvider) -> None:
    secret = OctKey.import_key(CLIENT_SECRET)
    for token, expected in (
        (hostile.logout_token(algorithm="HS256", key=secret), Problem.WRONG_ALGORITHM),
        (hostile.logout_token(algorithm="none"), Problem.WRONG_ALGORITHM),
        (hostile.logout_token(key=ECKey.generate_key("P-256")), Problem.WRONG_SIGNATURE),
        # The ID token of somebody's own sign-in.
        (sign_in(hostile).id_token, Problem.WRONG_LOGOUT),
        ("", Problem.UNREADABLE),
        ("a.b.c", Problem.UNREADABLE),
        ("x" * 40_000, Problem.UNREADABLE),
    ):
        assert logout_problem(hostile, token) is expected


def test_secret_is_in_no_log_line(hostile: HostileProvider) -> None:
    assert SECRET not in repr(hostile.provider(discovery_url="", issuer=""))
    assert sign_in(hostile).id_token not in repr(sign_in(hostile))


def test_sign_out_url_leads_back_here(hostile: HostileProvider) -> None:
    provider, metadata = hostile.provider(), discovery.metadata_of(hostile.provider())
    url = client.sign_out_url(
        provider, metadata, id_token="hint", post_logout_redirect_uri=HERE, state="s"
    )
    assert url.startswith(f"{hostile.base}/logout?")
    assert parse_qs(urlsplit(url).query) == {
        "id_token_hint": ["hint"],
        "client_id": [CLIENT_ID],
        "post_logout_redirect_uri": [HERE],
        "state": ["s"],
    }
    hostile.metadata = {"end_session_endpoint": None}
    metadata = discovery.metadata_of(provider, fresh=True)
    assert client.sign_out_url(provider, metadata, id_token="hint") == ""
