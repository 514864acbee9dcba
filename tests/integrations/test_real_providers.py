"""Our client with two independent OpenID providers: ``oidc-provider`` and ``canaille``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from queue import Queue
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from collegium.integrations.openid import client, discovery
from collegium.sign_in.providers.values import Claims, Problem, Provider, ProviderError
from tests.support.openid.real import RealProvider
from tests.support.remote import Answering, Asked
from tests.support.serving import TLS

HERE: Final = "http://127.0.0.1:9/api-auth/real/complete/"
GOODBYE: Final = "http://127.0.0.1:9/goodbye/"
VERIFIER: Final = "v" * 43
NUMBERS: Final = count()


@pytest.fixture(params=["oidc_provider", "canaille"])
def real(request: pytest.FixtureRequest) -> RealProvider:
    """Return each of the providers."""
    discovery.clear_caches()
    provider: RealProvider = request.getfixturevalue(request.param)
    return provider


@pytest.fixture
def provider(real: RealProvider) -> Provider:
    """Return a provider with a client of its own."""
    return real.provider(*real.register(HERE))


def authorization_url(provider: Provider, **options: str) -> str:
    metadata = discovery.metadata_of(provider)
    return client.authorization_url(
        provider,
        metadata,
        redirect_uri=HERE,
        state="s",
        nonce=f"n{next(NUMBERS)}",  # canaille refuses one that it has seen
        code_verifier=VERIFIER,
        **options,
    )


def complete(provider: Provider, back: str, **changes: Any) -> Claims:
    """Use the URL by which the browser came back."""
    assert back.startswith(f"{HERE}?")
    given = {name: one[0] for name, one in parse_qs(urlsplit(back).query).items()}
    assert given["state"] == "s"
    values: dict[str, Any] = {
        "code": given["code"],
        "redirect_uri": HERE,
        "code_verifier": VERIFIER,
        "is_nonce": lambda nonce: nonce.startswith("n"),
        "iss": given.get("iss"),
        "now": datetime.now(UTC),
    } | changes
    return client.complete(provider, discovery.metadata_of(provider), **values)


def test_people_sign_in_as_themselves(real: RealProvider, provider: Provider) -> None:
    for name in ("ada", "ben"):
        claims = complete(provider, real.sign_in(authorization_url(provider), name))
        assert (claims.issuer, claims.subject) == (real.issuer, name)
        assert claims.claims["email"] == f"{name}@university.example"
        assert claims.claims["given_name"] == name.capitalize()


def test_recent_sign_in_is_reported_when_it_was_asked_for(
    real: RealProvider, provider: Provider
) -> None:
    with httpx.Client(verify=TLS) as browser:
        complete(provider, real.browse(authorization_url(provider), "ada", browser))
        url = authorization_url(provider, **client.SIGN_IN_AGAIN)
        claims = complete(provider, real.browse(url, "ada", browser), max_age=300)
    assert claims.authenticated_at is not None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"code_verifier": "x" * 43}, Problem.CODE_REFUSED),
        ({"redirect_uri": HERE + "?"}, Problem.CODE_REFUSED),
        ({"is_nonce": "other".__eq__}, Problem.WRONG_NONCE),
        ({"iss": "https://elsewhere.example"}, Problem.WRONG_ISSUER),
        ({"iss": None}, Problem.WRONG_ISSUER),
    ],
    ids=["verifier", "redirect", "nonce", "other issuer", "no issuer"],
)
def test_wrong_end_of_a_sign_in_is_refused(
    real: RealProvider, provider: Provider, changes: dict[str, Any], expected: Problem
) -> None:
    back = real.sign_in(authorization_url(provider), "ada")
    with pytest.raises(ProviderError) as caught:
        complete(provider, back, **changes)
    assert caught.value.problem is expected


def test_wrong_secret_and_spent_code_are_told_apart(real: RealProvider, provider: Provider) -> None:
    wrong = real.provider(provider.client_id, "wrong")
    back = real.sign_in(authorization_url(provider), "ada")
    with pytest.raises(ProviderError, match="client_refused"):
        complete(wrong, back)
    assert complete(provider, back).subject == "ada"
    with pytest.raises(ProviderError, match="code_refused"):
        complete(provider, back)


def test_provider_with_new_keys_is_believed_again(
    real: RealProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = real.provider(*real.register(HERE))
    before = complete(provider, real.sign_in(authorization_url(provider), "ada"))
    real.stop()
    # Known as it was, although it is down.
    assert discovery.metadata_of(provider).issuer == real.issuer
    with pytest.raises(ProviderError, match="unreachable"):
        discovery.metadata_of(provider, fresh=True)
    real.rotate_keys()
    real.start()
    monkeypatch.setattr(discovery, "REFRESH_INTERVAL", 0)
    provider = real.provider(*real.register(HERE))
    after = complete(provider, real.sign_in(authorization_url(provider), "ada"))
    assert (after.issuer, after.subject) == (before.issuer, before.subject)


class Listener(Answering):
    """Our endpoint for back-channel logout."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: Queue[str] = Queue()

    def answer(self, asked: Asked) -> None:
        self.tokens.put(asked.form["logout_token"][0])
        asked.send(200, b"")


@pytest.fixture
def listener() -> Iterator[Listener]:
    yield from Listener().running()


def test_sign_out_there_leads_back_and_tells_us(
    oidc_provider: RealProvider, listener: Listener
) -> None:
    discovery.clear_caches()
    credentials = oidc_provider.register(
        HERE,
        post_logout_redirect_uris=[GOODBYE],
        backchannel_logout_uri=listener.base,
        backchannel_logout_session_required=True,
    )
    provider = oidc_provider.provider(*credentials)
    metadata = discovery.metadata_of(provider)
    with httpx.Client(verify=TLS) as browser:
        back = oidc_provider.browse(authorization_url(provider), "ada", browser)
        claims = complete(provider, back)
        url = client.sign_out_url(
            provider,
            metadata,
            id_token=claims.id_token,
            post_logout_redirect_uri=GOODBYE,
            state="bye",
        )
        assert oidc_provider.browse(url, "ada", browser) == f"{GOODBYE}?state=bye"
    token = client.read_logout_token(
        provider, metadata, listener.tokens.get(timeout=10), datetime.now(UTC)
    )
    assert token.sid == claims.sid
    assert token.subject == claims.subject
    assert claims.sid
