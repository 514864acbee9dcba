"""What all dialects share: a request, who makes it, one transaction, the table of routes.

Types of the web framework stop in this room. It is WSGI all the way: our code is synchronous,
and handing each request from an event loop to a thread and back cost more than most answers
(docs/decisions/0015-wsgi.md).
"""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import structlog
from falcon import (
    HTTPContentTooLarge,
    HTTPUnsupportedMediaType,
)

from collegium import hosts
from collegium.api.request_bodies import Bodies
from collegium.db.database import StorageFullError, UnavailableError
from collegium.refusals import Limited, NotFound, Refusal, Unauthenticated
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.settings import THREADS
from collegium.sign_in import credentials
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import actor_of
from collegium.sign_in.tokens.rules import BEARERS, TokenKind, expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from falcon import App, Request, Response

    from collegium.access.rules import Actor
    from collegium.db.database import Database, ReadTransaction, WriteTransaction
    from collegium.db.statements import Row
    from collegium.hosts import Network
    from collegium.security.crypto import Vault
    from collegium.security.rate_limits.rules import RateLimit
    from collegium.settings import Settings

_log = structlog.get_logger()

TOUCH_EVERY: Final = timedelta(seconds=60)
"""A token's sliding lifetime is written this often at most."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

BODY_MAX: Final = 2 * 1024 * 1024
"""Bytes of the largest body that is read; the largest thing anybody sends is a picture."""

SENDERS: Final = THREADS // 2
"""Bodies that arrive at once; half of the threads are for requests without a body."""

SENDERS_NETWORK: Final = 32
"""Bodies that arrive at once from one address, or from one network of IPv6."""

ESCAPES_MAX: Final = 200_000
"""Percent signs in the largest form; reading one takes longer than reading a plain character."""

NESTED_MAX: Final = 30_000
"""Lists and objects in the largest JSON; each of them is an object to make and to throw away."""

_ASKING: Final = frozenset({"GET", "HEAD"})

_BUSY: Final = "The service is busy. Please try again in a moment.", 5
_FULL: Final = (
    "The service cannot store anything: the disk of its database is full. Nothing was changed.",
    60,
)

REQUEST_ID: Final = "collegium.request"
"""Where the front leaves the request's id in the environment of a request."""

BASE: Final = "collegium.base"
"""Where the front leaves what addresses of this service begin with, for this caller."""

ROUTED: Final = "collegium.routed"
"""Where the environment of a request tells that one of our routes has its path."""


@dataclass(frozen=True)
class AppContext:
    """Everything a request needs that outlives it; put together in ``app``."""

    settings: Settings
    database: Database
    vault: Vault
    wake: Callable[[], None]
    # What this process has recorded already, or may not try again before a moment.
    recorded_impersonations: dict[str, datetime] = field(default_factory=dict, compare=False)


@dataclass(slots=True)
class Answer:
    """What goes back: status, body in bytes, headers; cookies as their header says them."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media: str = "application/json"
    cookies: list[str] = field(default_factory=list)


_HEX: Final = re.compile(r"[0-9a-f]{32}")
_UUID_MAX: Final = 64
"""Characters of the longest spelling of a UUID, with some to spare."""


def is_nested(body: bytes) -> bool:
    """Tell whether JSON holds so many lists and objects that reading it takes long."""
    return body.count(b"[") + body.count(b"{") > NESTED_MAX


def is_escaped(body: bytes) -> bool:
    """Tell whether a form holds so many percent signs that reading it takes long."""
    return body.count(b"%") > ESCAPES_MAX


def hex_uuid(text: object) -> str | None:
    """Read a UUID in any form and give its 32 hex digits; None when it is none."""
    if not isinstance(text, str) or not text or len(text) > _UUID_MAX:
        return None
    if _HEX.fullmatch(text):
        return text
    try:
        return UUID(text).hex
    except ValueError:
        return None


T = TypeVar("T")


class lazy_property(Generic[T]):  # noqa: N801 - used like ``property``
    """A property that is worked out once.

    ``functools.cached_property`` takes a lock on Python 3.11, longer than what is worked out here.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, call: Any, _owner: type) -> T:
        made = vars(call)[self._name] = self._make(call)
        return made


class RequestContext:
    """One request, with the house it came to.

    Args:
        body: the raw bytes; empty for methods without a body.
    """

    actor: Actor

    def __init__(
        self, app_context: AppContext, request: Request, body: bytes, segments: Mapping[str, str]
    ) -> None:
        self.app = app_context
        self.settings = app_context.settings
        self.method = request.method
        self.path = text(request.env["PATH_INFO"])
        self.segments = segments
        self.body = body
        self.request_id: str = request.env.get(REQUEST_ID, "")
        self.impersonator: Actor | None = None
        self.token_id = 0
        self.account: Row | None = None
        self.now: datetime = datetime.now(UTC)
        self._env = request.env
        self._stale: int | None = None
        # Of whoever only asks, from the first question to the end of the answer. What changes
        # something may wait for others, for a password or for the disk, and must keep nobody.
        self._turn = app_context.database.read_slot() if request.method in _ASKING else None

    def header(self, name: str, default: str = "") -> str:
        """Give a header of the request, as Latin-1 text, whatever the case of its name."""
        return header(self._env, name, default)

    @lazy_property
    def query(self) -> dict[str, list[str]]:
        """Give the query parameters, each with all its values in order of appearance."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.raw_query, keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found

    @lazy_property
    def address(self) -> str:
        """Give the caller's address, as a trusted proxy says it or as the socket does."""
        return client_address(self._env, self.settings.trusted_proxies)

    @property
    def network(self) -> str:
        """Give what counts as one caller: the address, of IPv6 the 64 bits that one is given."""
        return network_of(self.address)

    @lazy_property
    def base(self) -> str:
        """Return ``scheme://host/path`` as the caller used it."""
        return str(self._env[BASE])

    @lazy_property
    def root(self) -> str:
        """Return the path that stands before ours; empty, or begins with a slash."""
        return urlsplit(self.base).path

    @property
    def raw_query(self) -> str:
        """Give the query string as it came."""
        return str(self._env["QUERY_STRING"])

    def uuid(self, noun: str) -> str:
        """Give the UUID in the path as 32 hex digits.

        Refuses: NotFound ``<noun>.unknown`` for a segment that is no UUID.
        """
        found = hex_uuid(self.segments["uuid"])
        if found is None:
            raise NotFound(f"{noun}.unknown")
        return found

    def read(self) -> AbstractContextManager[ReadTransaction]:
        """Open questions to the database."""
        if self._turn is not None:
            self._turn.acquire()
        return self.app.database.read()

    def release_read_slot(self) -> None:
        """Let others ask."""
        if self._turn is not None:
            self._turn.release()

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """Open the one transaction of this request; it is committed when the block ends.

        Refuses: Unauthenticated ``token.unknown`` when the token was revoked meanwhile.
        """
        self.release_read_slot()
        with self.app.database.write() as tx:
            tx.request = self.request_id
            if self.token_id:
                # Revoked since the request was authenticated, by another password perhaps.
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
        """Find out whose token it is.

        Args:
            kinds: of tokens, that count here; one of another kind is unknown.
            shown: whether the account will be shown, as ``account``: it is the same question.

        Refuses: Unauthenticated ``token.unknown``, ``token.inactive``, ``token.expired``.
        """
        account = token_queries.owner(tx, self.app.vault.digest(token), shown=shown)
        if account is None:
            raise Unauthenticated("token.unknown")
        is_of_kind = account.token_kind in kinds
        if not account.is_active and (is_of_kind or account.token_kind == TokenKind.SPENT):
            raise Unauthenticated("token.inactive")
        if not is_of_kind:
            raise Unauthenticated("token.unknown")
        ends = expiry(
            account.issued,
            account.used,
            account.lifetime,
            self.settings.token_max_age,
            account.ends,
        )
        if ends is not None and ends < tx.now:
            raise Unauthenticated("token.expired")
        if account.used < tx.now - TOUCH_EVERY:
            self._stale = account.token_id
        self.token_id = account.token_id
        self.account = account if shown else None
        self.actor = actor_of(
            account,
            self.address,
            self.request_id,
            token=account.token_id,
            token_kind=account.token_kind,
        )

    def check_rate_limits(self, *subjects: str) -> None:
        """Let nobody go on who has to wait after too many tries.

        Refuses: Limited ``tries.wait`` with the seconds to wait.
        """
        if not self.settings.rate_limits:
            return
        with self.read() as tx:
            ends = rate_limit_queries.blocked_until(tx, subjects)
        if ends:
            raise Limited("tries.wait", seconds=self.seconds_until(max(ends.values())))

    def seconds_until(self, moment: datetime) -> int:
        """Return how many whole seconds the caller has to wait for a moment, at least one."""
        return max(1, ceil((moment - self.now).total_seconds()))

    def count_attempt(
        self, tx: WriteTransaction, subject: str, limit: RateLimit, many: int = 1
    ) -> timedelta:
        """Count so many tries, in one statement; return the delay that follows.

        In the transaction of the action that is tried, or in one of its own when it failed.
        """
        if not self.settings.rate_limits or not many:
            return timedelta()
        return rate_limit_queries.record_failure(tx, subject, limit, many)

    @contextmanager
    def rate_limited(self, subject: str, limit: RateLimit) -> Iterator[None]:
        """Count every refusal that the block meets, and refuse at once when there were too many.

        Refuses: Limited ``tries.wait``.
        """
        self.check_rate_limits(subject)
        try:
            yield
        except Refusal:
            with self.write() as tx:
                self.count_attempt(tx, subject, limit)
            raise

    def touch_token(self) -> None:
        """Move the token's lifetime on, after the answer is made and outside its transaction."""
        if self._stale is not None:
            self.release_read_slot()
            # A busy database must not turn a good answer into a bad one; the next request
            # will find the token just as stale and try again.
            with suppress(UnavailableError), self.app.database.write() as tx:
                token_queries.touch(tx, self._stale, TOUCH_EVERY)


def network_of(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 that an IPv6 address is in."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address)
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))


def outage_words(outage: UnavailableError) -> tuple[str, int]:
    """Return what to say while the database is not to be had, and when to come back."""
    if isinstance(outage, StorageFullError):
        _log.error("the disk of the database is full", reason=str(outage))
        return _FULL
    _log.warning("database unavailable", reason=str(outage))
    return _BUSY


def header(env: Mapping[str, Any], name: str, default: str = "") -> str:
    """Give a header of a request."""
    found: str = env.get(_variable(name), default)
    return found


@lru_cache(maxsize=64)
def _variable(header: str) -> str:
    key = header.upper().replace("-", "_")
    return key if key == "CONTENT_TYPE" else f"HTTP_{key}"


def text(wire: str) -> str:
    """Read what WSGI gives as Latin-1, and means as UTF-8."""
    return wire if wire.isascii() else wire.encode("latin-1").decode("utf-8", "replace")


def trusted(env: Mapping[str, Any], proxies: tuple[Network, ...]) -> bool:
    """Tell whether the socket's other end is a proxy whose headers are believed."""
    return bool(proxies) and hosts.is_within(
        hosts.address(env.get("REMOTE_ADDR", "")) or "", proxies
    )


def client_address(env: Mapping[str, Any], proxies: tuple[Network, ...]) -> str:
    """Return the address of the caller: the last one in the chain that no trusted proxy has."""
    found = hosts.address(env.get("REMOTE_ADDR", "")) or ""
    if trusted(env, proxies):
        for hop in reversed(header(env, "x-forwarded-for").split(",")):
            address = hosts.address(hop)
            if address is None:
                break
            found = address
            if not hosts.is_within(found, proxies):
                break
    return found


class PublicUrl:
    """Where the service is reached: host names, path, proxies.

    Args:
        names: host names that are answered, in their comparable form; empty: any.
        url: ``BASE_URL``; empty where nobody has set it.
        proxies: whose headers are believed.
    """

    def __init__(self, names: frozenset[str], url: str, proxies: tuple[Network, ...]) -> None:
        self.names = names
        self.proxies = proxies
        self.url = url
        parts = urlsplit(url)
        self.path = parts.path
        """What stands before our own paths; empty, or begins with a slash."""
        self._own = hosts.host(parts.netloc)
        default = 443 if parts.scheme == "https" else 80
        self._ports = {None, (self._own.port if self._own else None) or default}

    def base(self, env: Mapping[str, Any]) -> str | None:
        """Return ``scheme://host/path`` as the caller used it; None for a host that is not ours.

        Behind the host of ``BASE_URL`` it is ``BASE_URL``, whatever the proxy says of the scheme.
        """
        scheme: str = env["wsgi.url_scheme"]
        named: str = env.get("HTTP_HOST", "")
        if trusted(env, self.proxies):
            scheme = header(env, "x-forwarded-proto", scheme).partition(",")[0].strip().lower()
            named = header(env, "x-forwarded-host", named).partition(",")[0].strip()
        found = hosts.host(_utf8(named)) if named else hosts.Host("localhost")
        if found is None or scheme not in {"http", "https"}:
            return None
        if self.names and (not named or found.name not in self.names):
            return None
        if self._own is not None and found.name == self._own.name and found.port in self._ports:
            return self.url
        return found.origin(scheme) + self.path


def _utf8(wire: str) -> str:
    """Read what WSGI gives as Latin-1; what is no UTF-8 stays, and is no host."""
    try:
        return wire if wire.isascii() else wire.encode("latin-1").decode("utf-8")
    except ValueError:
        return "?"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one method does on one path.

    Args:
        run: takes the call, gives the answer.
        summary: a sentence for the published description.
        open: whether somebody without credentials may call it.
        form: the names and kinds of the body's fields, for the description.
        answers: what a good answer holds, and its status.
        many: whether it answers a list.
        whole: whether the list is short, and given without pages.
        partial: whether fields may be left out.
        asks: whether an open operation is given a reading transaction.
        filters: the names and kinds of a list's query parameters, for the description.
        orders: what a list can be sorted by.
        sparse: whether the parameter ``field`` leaves fields out.
        acts: whether it changes something although it is called by GET.
        own: whether it shows the account that asks.
    """

    handler: Callable[..., Answer]
    summary: str
    public: bool = False
    body: Mapping[str, Any] | None = None
    response_type: Any = None
    status: int = 200
    is_list: bool = False
    unpaginated: bool = False
    partial: bool = False
    reads_db: bool = False
    filters: Mapping[str, Any] | None = None
    orders: Collection[str] = ()
    sparse_fields: bool = False
    mutates: bool = False
    returns_self: bool = False


Routes = dict[str, dict[str, Endpoint]]
"""Path to method to operation; ``{uuid}`` stands for a path segment."""


def serve(
    app: App[Any, Any],
    app_context: AppContext,
    routes: Routes,
    perform: Callable[[RequestContext, dict[str, Endpoint]], Answer],
) -> None:
    """Have an application answer a dialect's routes.

    Args:
        perform: what the dialect does with a call that met the path, whatever its method.
    """
    for path, operations in routes.items():
        # With or without the final slash: the router is given neither.
        app.add_route(path.rstrip("/") or "/", _Resource(app_context, operations, perform))


_bodies: Final = Bodies(SENDERS, SENDERS_NETWORK)


class _Resource:
    """A path, as the router wants it: the dialect decides about the method."""

    def __init__(
        self,
        app_context: AppContext,
        operations: dict[str, Endpoint],
        perform: Callable[[RequestContext, dict[str, Endpoint]], Answer],
    ) -> None:
        self._house = app_context
        self._operations = operations
        self._perform = perform

    def on_get(self, request: Request, response: Response, **segments: str) -> None:
        request.env[ROUTED] = True
        body = _body(request, self._house.settings.trusted_proxies)
        call = RequestContext(self._house, request, body, segments)
        try:
            answer = self._perform(call, self._operations)
            fill_falcon_response(response, answer, root=call.root, head=request.method == "HEAD")
        finally:
            call.release_read_slot()

    on_head = on_post = on_put = on_patch = on_delete = on_options = on_get


def _body(request: Request, proxies: tuple[Network, ...]) -> bytes:
    env = request.env
    length = env.get("CONTENT_LENGTH") or ""
    if not length and "HTTP_TRANSFER_ENCODING" not in env:
        return b""
    if length.isdigit() and int(length) > BODY_MAX:
        raise HTTPContentTooLarge
    if length.isdigit() and int(length) == 0:
        return b""
    if env.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in {"", "identity"}:
        raise HTTPUnsupportedMediaType
    return _bodies.read(
        env["wsgi.input"],
        int(length) if length.isdigit() else None,
        BODY_MAX,
        network_of(client_address(env, proxies)),
    )


_LOCAL: Final = re.compile(rb'(?<=\s)((?:href|action|src|formaction)=")/(?!/)')


def fill_falcon_response(
    response: Response, answer: Answer, *, root: str = "", head: bool = False
) -> None:
    """Turn an answer into what the server sends.

    Args:
        root: what stands before our paths for this caller. Pages and redirects know nothing of it,
            and get it here. A quote that somebody has typed is escaped in a page, so that nothing
            but our own attributes is met.
    """
    response.status = answer.status
    response.set_headers(answer.headers)
    for cookie in answer.cookies:
        response.append_header("set-cookie", cookie)
    is_text = answer.media.startswith("text/")
    response.content_type = f"{answer.media}; charset=utf-8" if is_text else answer.media
    body = answer.body
    if root:
        if answer.headers.get("Location", "").startswith("/"):
            response.set_header("location", root + answer.headers["Location"])
        if answer.media == "text/html":
            body = _LOCAL.sub(rb"\1" + root.encode() + b"/", body)
    if not head:
        response.data = body
    elif body:
        response.content_length = len(body)
    else:
        # What was only counted has no length that would be worth the work of making it, and the
        # framework would say that it is zero.
        response.stream = iter(())
