"""Metadata and keys of OpenID providers: fetched, checked, kept for an hour."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from collegium.hosts import is_loopback
from collegium.integrations.http_client import (
    OK,
    InternalAddressError,
    RequestFailedError,
    Timeouts,
    is_named,
    send_request,
)
from collegium.integrations.openid.cache import Cache
from collegium.sign_in.providers.values import (
    Metadata,
    Problem,
    Provider,
    ProviderError,
    to_discovery_url,
)

if TYPE_CHECKING:
    from collegium.integrations.openid.tokens import SigningKey

TIMEOUTS: Final = Timeouts()

LIFETIME: Final = 3600.0
"""Seconds for which metadata and keys are used without asking again."""

REFRESH_INTERVAL: Final = 60.0
"""Minimum seconds between two requests for the keys because of a token with an unknown key."""

ALGORITHMS: Final = frozenset(
    {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
    }
)
"""Algorithms of signatures that are accepted; never ``none`` and none with a shared secret."""

_BODY_MAX: Final = 256 * 1024
_URL_MAX: Final = 2000
_UNAUTHORIZED: Final = 401
_REFUSED: Final = frozenset({400, 401, 403})
_REQUIRED: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL: Final = ("userinfo_endpoint", "end_session_endpoint")

_metadata: Final[Cache[Metadata]] = Cache()
_keys: Final[Cache[tuple[SigningKey, ...]]] = Cache()


def clear_caches() -> None:
    """Forget the metadata and keys of all providers."""
    _metadata.clear()
    _keys.clear()


def fetch_metadata(
    discovery_url: str,
    *,
    internal_hosts: Collection[str],
    verify_tls: bool = True,
    fresh: bool = False,
) -> Metadata:
    """Return the metadata of a provider, from the cache if they are there.

    Args:
        discovery_url: URL of the metadata, or of the issuer.
        internal_hosts: ``OUTGOING_INTERNAL_HOSTS``.
        fresh: whether to ask the provider now, as ``check`` does.

    Raises:
        ProviderError: ``INSECURE``, ``UNREACHABLE``, ``UNREADABLE``, ``WRONG_ISSUER``,
            ``UNSUPPORTED``.
        BusyError: Too many threads wait for the provider, or for all.
    """
    url = to_discovery_url(discovery_url)
    _check_url(url, internal_hosts)
    deadline = time.monotonic() + TIMEOUTS.total

    def fetch() -> Metadata:
        body = _request("GET", url, internal_hosts, verify_tls, deadline)
        return _read_metadata(body, url, internal_hosts)

    key = (url, verify_tls, tuple(internal_hosts))
    return _metadata.get(key, fetch, 0.0 if fresh else LIFETIME, deadline, url)


def metadata_of(provider: Provider, *, fresh: bool = False) -> Metadata:
    """Return the metadata of a provider that was set up.

    Raises:
        ProviderError: As ``fetch_metadata``; ``WRONG_ISSUER`` if it names itself differently now.
        BusyError: As ``fetch_metadata``.
    """
    metadata = fetch_metadata(
        provider.discovery_url,
        internal_hosts=provider.internal_hosts,
        verify_tls=provider.verify_tls,
        fresh=fresh,
    )
    if metadata.issuer != provider.issuer:
        raise ProviderError(Problem.WRONG_ISSUER)
    return metadata


def _read_metadata(body: bytes, url: str, internal_hosts: Collection[str]) -> Metadata:
    try:
        # The URLs are not null in any provider, but optional ones may be.
        given = msgspec.json.decode(body, type=dict[str, Any])
        metadata = msgspec.convert(
            {name: value for name, value in given.items() if value is not None}, Metadata
        )
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError):
        raise ProviderError(Problem.UNREADABLE) from None
    if to_discovery_url(metadata.issuer) != url or metadata.issuer == url:
        raise ProviderError(Problem.WRONG_ISSUER)
    for name in (*_REQUIRED, *_OPTIONAL):
        if (url := getattr(metadata, name)) or name in _REQUIRED:
            _check_url(url, internal_hosts)
    types = metadata.response_types_supported
    if (types and "code" not in types) or not algorithms(metadata):
        raise ProviderError(Problem.UNSUPPORTED)
    return metadata


def _check_url(url: str, internal_hosts: Collection[str]) -> None:
    """Refuse a URL that is not https, or http on a loopback host that is named as meant.

    Raises:
        ProviderError: ``INSECURE``.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ProviderError(Problem.INSECURE) from None
    is_plain_allowed = (
        parts.scheme == "http" and is_loopback(host) and is_named(url, internal_hosts)
    )
    if (
        not (parts.scheme == "https" or is_plain_allowed)
        or not host
        or "@" in parts.netloc
        or "#" in url
        or len(url) > _URL_MAX
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise ProviderError(Problem.INSECURE)


def algorithms(metadata: Metadata) -> frozenset[str]:
    """Return the algorithms by which a provider may sign."""
    return ALGORITHMS.intersection(metadata.id_token_signing_alg_values_supported)


def check_keys(provider: Provider, metadata: Metadata) -> int:
    """Ask the provider for its keys now; return how many of them can verify signatures.

    Raises:
        ProviderError: ``UNREACHABLE``, ``UNREADABLE``; ``UNSUPPORTED`` if there are none.
    """
    keys = fetch_keys(provider, metadata, 0.0, time.monotonic() + TIMEOUTS.total)
    if not keys:
        raise ProviderError(Problem.UNSUPPORTED)
    return len(keys)


def fetch_keys(
    provider: Provider, metadata: Metadata, max_age: float, deadline: float
) -> tuple[SigningKey, ...]:
    """Return the keys of a provider, from the cache unless they are older than ``max_age`` seconds.

    Raises:
        ProviderError: ``UNREACHABLE``, ``UNREADABLE``.
        BusyError: Too many threads wait for the provider, or for all.
    """
    from collegium.integrations.openid.tokens import import_keys  # noqa: PLC0415 - see there

    def fetch() -> tuple[SigningKey, ...]:
        return import_keys(call(provider, "GET", metadata.jwks_uri, deadline))

    key = (metadata.jwks_uri, provider.verify_tls, tuple(provider.internal_hosts))
    return _keys.get(key, fetch, max_age, deadline, service_of(provider))


def service_of(provider: Provider) -> str:
    """Return the name under which threads that wait for a provider are counted."""
    return to_discovery_url(provider.discovery_url)


def call(provider: Provider, method: str, url: str, deadline: float, **options: Any) -> bytes:
    """Send a request to a provider that was set up; return the body of a response with status 200.

    Raises:
        ProviderError: ``UNREACHABLE``, ``INSECURE``; after a POST also ``CLIENT_REFUSED`` and
            ``CODE_REFUSED``.
    """
    return _request(
        method,
        url,
        provider.internal_hosts,
        provider.verify_tls,
        deadline,
        **options,
    )


def _request(
    method: str,
    url: str,
    internal_hosts: Collection[str],
    verify_tls: bool,
    deadline: float,
    **options: Any,
) -> bytes:
    try:
        status, body = send_request(
            method,
            url,
            TIMEOUTS,
            deadline,
            _BODY_MAX,
            internal_hosts=internal_hosts,
            verify_tls=verify_tls,
            **options,
        )
    except InternalAddressError:
        raise ProviderError(Problem.INSECURE) from None
    except RequestFailedError:
        raise ProviderError(Problem.UNREACHABLE) from None
    if method == "POST" and status in _REFUSED:
        is_client = status == _UNAUTHORIZED
        raise ProviderError(Problem.CLIENT_REFUSED if is_client else Problem.CODE_REFUSED)
    if status != OK:
        raise ProviderError(Problem.UNREACHABLE)
    return body
