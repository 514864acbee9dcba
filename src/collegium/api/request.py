"""The parts of a request that all protocols share: context, transactions, routes.

Types of the web framework are used only in ``collegium.api`` and ``collegium.app``. ``Response`` is
ours; the framework's is written ``falcon.Response``. ``pipeline`` runs the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from math import ceil
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

import falcon
import msgspec
import structlog

from collegium import hosts
from collegium.access.rules import ANONYMOUS, Actor
from collegium.accounts.queries import AccountDetails
from collegium.api.streams import Stream
from collegium.caching import cache_short
from collegium.db.database import (
    Database,
    DisconnectedError,
    ReadTransaction,
    StorageFullError,
    UnavailableError,
    WriteTransaction,
)
from collegium.hosts import Network
from collegium.integrations.waiting import BusyError
from collegium.refusals import Forbidden, Limited, Refusal, Unauthenticated, or_not_found
from collegium.security.crypto import Vault
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import Limit, RateLimit
from collegium.settings import Settings
from collegium.sign_in import credentials
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import actor_of
from collegium.sign_in.tokens.rules import BEARERS, TokenKind, expiry
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor import rules as two_factor_rules
from collegium.site import queries as site_queries
from collegium.values import hex_uuid, whole_number

_log = structlog.get_logger()

TOUCH_EVERY: Final = timedelta(seconds=60)
"""Minimum time between two writes of a token's sliding lifetime."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

READ_METHODS: Final = frozenset({"GET", "HEAD"})

_PREFETCH_HEADERS: Final = ("sec-purpose", "purpose", "x-purpose", "x-moz")

_BUSY: Final = "The service is busy. Please try again in a moment.", 5
_FULL: Final = (
    "The service cannot store anything: the disk of its database is full. Nothing was changed.",
    60,
)

_DISCONNECTED: Final = "The service cannot reach its database. Please try again in a moment.", 5

REQUEST_ID: Final = "collegium.request"
"""Key in the WSGI environment under which the middleware stores the request id."""

BASE: Final = "collegium.base"
"""Key in the WSGI environment for the base URL of this service, as this caller reaches it."""

ROOT: Final = "collegium.root"
"""Key in the WSGI environment for the base path of this service."""

APP_CONTEXT: Final = "collegium.app_context"
"""Key of the WSGI environment: the ``AppContext`` of the application."""

ROUTED: Final = "collegium.routed"
"""Key in the WSGI environment of the route that has the path of the request, if one has."""


@dataclass(eq=False)
class AppContext:
    """Everything a request needs that outlives it; built in ``app``."""

    settings: Settings
    database: Database
    vault: Vault
    wake: Callable[[], None]
    # Whether no account was seen yet. The service may then be set up by another process.
    awaits_setup: bool = True
    # Impersonations that this process need not record now: key of staff, account and hour to the
    # time (UTC) until which recording is skipped. They were recorded already, or recording failed a
    # moment ago.
    recorded_impersonations: dict[str, datetime] = field(default_factory=dict)

    def finish_setup(self, tx: ReadTransaction) -> None:
        """Take over the name of the service once there is an account."""
        settings = site_queries.settings_in_effect(tx, self.settings)
        if settings is not None:
            self.settings = settings
            self.awaits_setup = False


@dataclass(slots=True)
class Response:
    """A response: status, body in bytes, headers, media type and ``Set-Cookie`` values.

    With a ``stream`` it has no ``body``: the parts are made while the response is sent.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media: str = "application/json"
    cookies: list[str] = field(default_factory=list)
    stream: Stream | None = None


class BadRequestError(Exception):
    """The request cannot be parsed or is not valid.

    Args:
        errors: name of a field or parameter to its errors; ``detail`` to one message; or a list.
        status: HTTP status code.
    """

    def __init__(self, errors: Any, status: int = 400) -> None:
        super().__init__(status)
        self.errors = errors
        self.status = status


T = TypeVar("T")


class lazy_property(Generic[T]):  # noqa: N801 - used like ``property``
    """A property that is computed once per instance.

    ``functools.cached_property`` takes a lock on Python 3.11, which takes longer than the values
    computed here.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, _owner: type) -> T:
        value = vars(instance)[self._name] = self._make(instance)
        return value


_encode = msgspec.json.Encoder().encode


def json_response(status: int, value: Any, headers: dict[str, str] | None = None) -> Response:
    """Return a response with a value as JSON."""
    return Response(status, _encode(value), headers or {})


def error_response(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """Return a response with one sentence under ``detail``."""
    return json_response(status, {"detail": text}, headers)


class RequestContext:
    """One request, with the application context that serves it.

    Args:
        body: the raw bytes; empty for methods without a body.
    """

    actor: Actor = ANONYMOUS

    def __init__(
        self,
        app_context: AppContext,
        request: falcon.Request,
        body: bytes,
        segments: Mapping[str, str],
    ) -> None:
        self.app = app_context
        self.settings = app_context.settings
        self.method = request.method
        self.path = text(request.env["PATH_INFO"])
        self.segments = segments
        self.body = body
        self.request_id: str = request.env.get(REQUEST_ID, "")
        self.impersonator: Actor | None = None
        self.token = ""  # never logged
        self.token_id = 0
        self.confirmed_at: datetime | None = None
        self.has_second_factor = False
        self.must_agree = False
        self.preferred_language = ""
        self.account: AccountDetails | None = None
        self._env = request.env
        self._stale_token_id: int | None = None
        # Read requests hold a read slot from their first query to the end of the response. Other
        # requests get none: they may wait for a lock, for password hashing or for the disk, and
        # would block readers meanwhile.
        self._read_slot = (
            app_context.database.read_slot() if request.method in READ_METHODS else None
        )

    @lazy_property
    def now(self) -> datetime:
        """Return the time (UTC) at which this was asked for first."""
        return datetime.now(UTC)

    def header(self, name: str, default: str = "") -> str:
        """Return a header of the request, decoded as Latin-1. Names are case-insensitive."""
        return header(self._env, name, default)

    @lazy_property
    def query(self) -> Mapping[str, Sequence[str]]:
        """Return the query parameters, each with all its values in order of appearance."""
        return _parsed_query(self.raw_query)

    @lazy_property
    def ip_address(self) -> str:
        """Return the client's IP address, from a trusted proxy's header or from the socket."""
        return client_ip_address(self._env, self.settings.trusted_proxies)

    @property
    def is_prefetch(self) -> bool:
        """Tell whether a browser sends this in advance, before anybody has followed the link."""
        purposes = " ".join(self.header(name).lower() for name in _PREFETCH_HEADERS)
        return "prefetch" in purposes or "prerender" in purposes or "preview" in purposes

    @property
    def network(self) -> str:
        """Return the network that counts as one client: the IPv4 address or the IPv6 /64."""
        return network_of(self.ip_address)

    @lazy_property
    def base(self) -> str:
        """Return ``scheme://host/path`` as the caller used it."""
        return str(self._env[BASE])

    @property
    def root(self) -> str:
        """Return the base path of the service; empty, or starting with a slash."""
        return str(self._env[ROOT])

    @property
    def raw_query(self) -> str:
        """Return the query string as it was sent."""
        return str(self._env["QUERY_STRING"])

    def uuid(self, noun: str, segment: str = "uuid") -> str:
        """Return a UUID in the path as 32 hex digits.

        Args:
            segment: name of the segment.

        Raises:
            NotFound: ``<noun>.unknown`` if the segment is no UUID.
        """
        return or_not_found(hex_uuid(self.segments[segment]), f"{noun}.unknown")

    def number(self, noun: str, segment: str = "id") -> int:
        """Return an id in the path.

        Args:
            segment: name of the segment.

        Raises:
            NotFound: ``<noun>.unknown`` if the segment is no number.
        """
        return or_not_found(whole_number(self.segments[segment]), f"{noun}.unknown")

    def finish_setup(self, tx: ReadTransaction) -> None:
        """Ask for the name of the service until it is known: once in the life of a process."""
        if self.app.awaits_setup:
            self.app.finish_setup(tx)
            self.settings = self.app.settings

    def read(self) -> AbstractContextManager[ReadTransaction]:
        """Open a read transaction; read requests wait for a read slot first."""
        if self._read_slot is not None:
            self._read_slot.acquire()
        return self.app.database.read()

    def release_read_slot(self) -> None:
        """Release the read slot, so that another read request can run."""
        if self._read_slot is not None:
            self._read_slot.release()

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """Open the one write transaction of this request; it is committed when the block ends.

        The worker is woken after the commit if an e-mail was queued.

        Raises:
            Unauthenticated: ``token.unknown`` if the token was revoked meanwhile.
        """
        self.release_read_slot()
        with self.app.database.write() as tx:
            tx.request = self.request_id
            if self.token_id:
                # The token may have been revoked since the request was authenticated, for example
                # by a password change.
                credentials.check(tx, self.actor)
            yield tx
        if tx.mail_enqueued:
            self.app.wake()

    def authenticate(
        self,
        tx: ReadTransaction,
        token: str,
        kinds: Collection[str] = BEARERS,
        *,
        shown: bool = False,
    ) -> None:
        """Authenticate the request by a token and set ``actor``.

        Args:
            kinds: kinds of token that are accepted here; a token of another kind is unknown.
            shown: whether the response shows the account. The same query then loads it into
                ``account``.

        Raises:
            Unauthenticated: ``token.unknown``, ``token.inactive`` or ``token.expired``.
            Forbidden: ``second_factor.required``: the account must set up two-factor authentication
                first. Sessions are not refused here.
        """
        token_hash = self.app.vault.keyed_hash(token)
        profile = token_queries.owner_profile(tx, token_hash) if shown else None
        account = profile if shown else token_queries.owner(tx, token_hash)
        if account is None:
            raise Unauthenticated("token.unknown")
        is_of_kind = account.token_kind in kinds
        if not account.is_active and (is_of_kind or account.token_kind == TokenKind.SPENT):
            raise Unauthenticated("token.inactive")
        if not is_of_kind:
            raise Unauthenticated("token.unknown")
        ends = expiry(
            account.created_at,
            account.last_used_at,
            account.lifetime,
            self.settings.token_max_age,
            account.expires_at,
        )
        if ends is not None and ends < tx.now:
            raise Unauthenticated("token.expired")
        if account.last_used_at < tx.now - TOUCH_EVERY:
            self._stale_token_id = account.token_id
        self.token, self.token_id = token, account.token_id
        self.account = profile
        self.actor = actor_of(
            account,
            self.ip_address,
            self.request_id,
            token=account.token_id,
            token_kind=account.token_kind,
        )
        self.confirmed_at = account.confirmed_at
        self.has_second_factor = account.has_second_factor
        self.must_agree = account.must_agree
        self.preferred_language = account.preferred_language
        if account.token_kind != TokenKind.SESSION and self.lacks_second_factor(tx):
            raise Forbidden("second_factor.required")

    def lacks_second_factor(self, tx: ReadTransaction) -> bool:
        """Return whether the operator requires a second factor that this sign-in did not need."""
        required_of = self.settings.two_factor_required
        return (
            required_of != "nobody"
            and two_factor_rules.is_required(required_of, sees_all=self.actor.sees_all)
            and not self.has_second_factor
            and not two_factor_queries.is_on(tx, self.actor.id)
        )

    def check_limits(self, *limits: Limit, target: str = "") -> None:
        """Refuse a caller who has to wait after too many attempts.

        Args:
            target: what the attempt aims at, for limits that count by it.

        Raises:
            Limited: ``tries.wait``, with the ``seconds`` to wait.
        """
        keys = self.limit_keys(*limits, target=target)
        if keys and self.settings.rate_limits:
            with self.read() as tx:
                ends = self.blocked_until(tx, keys)
            if ends is not None:
                raise Limited("tries.wait", seconds=self.seconds_until(ends))

    def limit_keys(self, *limits: Limit, target: str = "") -> dict[str, RateLimit]:
        """Return the keys under which an attempt of this caller counts."""
        keys: dict[str, RateLimit] = {}
        for limit in limits:
            if not (limit.exempts_staff and self.actor.is_staff):
                keys |= limit.keys(self.actor.id, self.network, target)
        return keys

    def blocked_until(self, tx: ReadTransaction, keys: Iterable[str]) -> datetime | None:
        """Return the time (UTC) until which a caller must wait; None if no key is blocked."""
        if not self.settings.rate_limits:
            return None
        return max(rate_limit_queries.blocked_until(tx, keys).values(), default=None)

    def seconds_until(self, moment: datetime) -> int:
        """Return the whole seconds until a moment (UTC), at least one."""
        return max(1, ceil((moment - self.now).total_seconds()))

    def count_attempts(
        self, tx: WriteTransaction, *limits: Limit, attempts: int = 1, target: str = ""
    ) -> timedelta:
        """Count attempts and return the delay that follows.

        Use the transaction of the action that is attempted, or a new one if the action failed.
        """
        if not self.settings.rate_limits or not attempts:
            return timedelta()
        delays = [
            rate_limit_queries.record_failure(tx, key, rate, attempts)
            for key, rate in self.limit_keys(*limits, target=target).items()
        ]
        return max(delays, default=timedelta())

    def reset_limits(self, tx: WriteTransaction, *limits: Limit, target: str) -> None:
        """Delete the counts of limits, after a success."""
        rate_limit_queries.reset(tx, self.limit_keys(*limits, target=target))

    @contextmanager
    def rate_limited(self, limit: Limit, target: str = "") -> Iterator[None]:
        """Count every refusal that the block raises; refuse at once after too many.

        Raises:
            Limited: ``tries.wait``, with the ``seconds`` to wait.
        """
        self.check_limits(limit, target=target)
        try:
            yield
        except Refusal:
            with self.write() as tx:
                self.count_attempts(tx, limit, target=target)
            raise

    def touch_token(self) -> None:
        """Extend the token's sliding lifetime.

        Call it after the response is made and outside its transaction.
        """
        if self._stale_token_id is not None:
            self.release_read_slot()
            # A busy database must not turn a successful response into an error. The next request
            # finds the token just as stale and tries again.
            with suppress(UnavailableError), self.app.database.write() as tx:
                token_queries.touch(tx, self._stale_token_id, TOUCH_EVERY)


@cache_short(maxsize=1024)
def _parsed_query(query: str) -> Mapping[str, Sequence[str]]:
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, []).append(value)
    return values


def network_of(ip_address: str) -> str:
    """Return the network that counts as one client: an IPv4 address or an IPv6 /64."""
    if ":" not in ip_address:
        return ip_address
    parsed = IPv6Address(ip_address)
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))


def outage_words(outage: UnavailableError) -> tuple[str, int]:
    """Return the message for an outage and the seconds until a retry; log the outage.

    It is one of the database, or other services or slow readers keep too many threads waiting.
    """
    if isinstance(outage, BusyError):
        _log.warning(str(outage))
        return _BUSY
    if isinstance(outage, StorageFullError):
        _log.error("the disk of the database is full", reason=str(outage))
        return _FULL
    _log.warning("database unavailable", reason=str(outage))
    return _DISCONNECTED if isinstance(outage, DisconnectedError) else _BUSY


def header(env: Mapping[str, Any], name: str, default: str = "") -> str:
    """Return a header of a request, or ``default``. Names are case-insensitive."""
    value: str = env.get(_variable(name), default)
    return value


@lru_cache(maxsize=64)
def _variable(header: str) -> str:
    key = header.upper().replace("-", "_")
    return key if key == "CONTENT_TYPE" else f"HTTP_{key}"


def text(wire: str) -> str:
    """Decode a WSGI string, which holds the bytes of UTF-8 text as Latin-1 (PEP 3333)."""
    return wire if wire.isascii() else wire.encode("latin-1").decode("utf-8", "replace")


def trusted(env: Mapping[str, Any], proxies: tuple[Network, ...]) -> bool:
    """Return whether the peer of the socket is a proxy whose headers are trusted."""
    return bool(proxies) and hosts.is_within(
        hosts.comparable_ip_address(env.get("REMOTE_ADDR", "")) or "", proxies
    )


def client_ip_address(env: Mapping[str, Any], proxies: tuple[Network, ...]) -> str:
    """Return the client's IP address: the last one in the chain that is not a trusted proxy."""
    client = hosts.comparable_ip_address(env.get("REMOTE_ADDR", "")) or ""
    if trusted(env, proxies):
        for hop in reversed(header(env, "x-forwarded-for").split(",")):
            ip_address = hosts.comparable_ip_address(hop)
            if ip_address is None:
                break
            client = ip_address
            if not hosts.is_within(client, proxies):
                break
    return client


class PublicUrl:
    """The public URL of the service: host names, base path and trusted proxies.

    Args:
        names: accepted host names in their comparable form; empty: any.
        url: ``BASE_URL``; empty if it is not set.
        proxies: networks of proxies whose headers are trusted.
    """

    def __init__(self, names: frozenset[str], url: str, proxies: tuple[Network, ...]) -> None:
        self.names = names
        self.proxies = proxies
        self.url = url
        parts = urlsplit(url)
        self.path = parts.path
        """Base path of the service; empty, or starting with a slash."""
        self._own_host = hosts.host(parts.netloc)
        default = 443 if parts.scheme == "https" else 80
        self._ports = {None, (self._own_host.port if self._own_host else None) or default}
        self._base_of = cache_short(maxsize=1024)(self._find_base)

    def base(self, env: Mapping[str, Any]) -> str | None:
        """Return ``scheme://host/path`` as the caller used it; None for a host that is not ours.

        For the host of ``BASE_URL`` this is ``BASE_URL``, whatever scheme a proxy reports.
        """
        scheme: str = env["wsgi.url_scheme"]
        host_header: str = env.get("HTTP_HOST", "")
        if trusted(env, self.proxies):
            scheme = header(env, "x-forwarded-proto", scheme).partition(",")[0].strip().lower()
            host_header = header(env, "x-forwarded-host", host_header).partition(",")[0].strip()
        return self._base_of(scheme, host_header)

    def _find_base(self, scheme: str, host_header: str) -> str | None:
        host = hosts.host(_utf8(host_header)) if host_header else hosts.Host("localhost")
        if host is None or scheme not in {"http", "https"}:
            return None
        if self.names and (not host_header or host.name not in self.names):
            return None
        if (
            self._own_host is not None
            and host.name == self._own_host.name
            and host.port in self._ports
        ):
            return self.url
        return host.origin(scheme) + self.path


def _utf8(wire: str) -> str:
    """Decode a WSGI string as UTF-8; return ``?``, which is no valid host, if it is not UTF-8."""
    try:
        return wire if wire.isascii() else wire.encode("latin-1").decode("utf-8")
    except ValueError:
        return "?"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Args:
        handler: takes the request context and returns the response. A handler that only reads gets
            a read transaction as its second argument.
        summary: one sentence for the OpenAPI document.
        public: whether it may be called without credentials.
        body: names and types of the body's fields, for the OpenAPI document.
        body_type: media type of the body, for the OpenAPI document.
        response_type: struct of a successful response, or of one item if ``is_list``.
        status: status code of a successful response.
        other_statuses: further status codes with their meaning, for the OpenAPI document.
        is_list: whether the response is a list.
        unpaginated: whether the list is short and returned without pages.
        partial: whether required fields may be left out.
        reads_db: whether a public endpoint gets a read transaction.
        filters: names and types of a list's query parameters, for the OpenAPI document.
        orders: names that a list can be sorted by.
        sparse_fields: whether the parameter ``field`` selects fields.
        mutates: whether it changes something although it is called by GET.
        returns_self: whether it returns the account of the caller.
        limits: what its callers have a budget for. It is checked before the handler, which counts.
        is_large: whether its body is a file with people, which may be larger than other bodies:
            ``IMPORT_MAX_SIZE``.
        guesses: the budget for refusals of the handler, each of which may be a wrong guess.
    """

    handler: Callable[..., Response]
    summary: str
    public: bool = False
    body: Mapping[str, Any] | None = None
    body_type: str = "application/json"
    response_type: Any = None
    status: int = 200
    other_statuses: Mapping[int, str] | None = None
    is_list: bool = False
    unpaginated: bool = False
    partial: bool = False
    reads_db: bool = False
    filters: Mapping[str, Any] | None = None
    orders: Collection[str] = ()
    sparse_fields: bool = False
    mutates: bool = False
    returns_self: bool = False
    limits: tuple[Limit, ...] = ()
    guesses: Limit | None = None
    is_large: bool = False


Routes = dict[str, dict[str, Endpoint]]
"""Path to method to endpoint; ``{uuid}`` stands for a path segment."""
