"""What all dialects share: a request, who makes it, one transaction, the table of routes.

Types of the web framework stop in this room.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from litestar import HttpMethod, Request, route
from litestar.params import RawBody
from litestar.response.base import ASGIResponse

from collegium.actions.tokens import actor_of
from collegium.rules.refusals import Limited, NotFound, Refusal, Unauthenticated
from collegium.rules.tokens import BEARERS, end
from collegium.store import tokens, tries
from collegium.store.db import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from ipaddress import IPv4Network

    from litestar.handlers import HTTPRouteHandler

    from collegium.rules.access import Actor
    from collegium.rules.tries import Limit
    from collegium.settings import Settings
    from collegium.store.db import Database, Read, Write
    from collegium.store.vault import Vault

TOUCH_EVERY: Final = timedelta(seconds=60)
"""A token's sliding lifetime is written this often at most."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class House:
    """Everything a request needs that outlives it; put together in ``app``."""

    settings: Settings
    database: Database
    vault: Vault
    wake: Callable[[], None]


@dataclass(slots=True)
class Answer:
    """What goes back: status, body in bytes, headers; cookies as their header says them."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media: str = "application/json"
    cookies: list[str] = field(default_factory=list)


def hex_uuid(text: object) -> str | None:
    """Read a UUID in any form and give its 32 hex digits; None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        return UUID(text).hex
    except ValueError:
        return None


class Call:
    """One request, with the house it came to.

    Args:
        body: the raw bytes; empty for methods without a body.
    """

    actor: Actor

    def __init__(self, house: House, request: Request[Any, Any, Any], body: bytes) -> None:
        self.house = house
        self.settings = house.settings
        self.method: str = request.method
        self.headers = request.headers
        self.path = str(request.scope.get("collegium.path", request.scope["path"]))
        self.segments: Mapping[str, str] = request.path_params
        self.body = body
        self.request_id = str(request.scope.get("collegium.request", ""))
        self.impersonator: Actor | None = None
        self.token_id = 0
        self.now: datetime = datetime.now(UTC)
        self._request = request
        self._stale: int | None = None

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """Give the query parameters, each with all its values in order of appearance."""
        found: dict[str, list[str]] = {}
        for name, value in self._request.query_params.multi_items():
            found.setdefault(name, []).append(value)
        return found

    @cached_property
    def address(self) -> str:
        """Give the caller's address, as a trusted proxy says it or as the socket does."""
        return client_address(self._request, self.settings.trusted_proxies)

    @property
    def network(self) -> str:
        """Give what counts as one caller: the address, of IPv6 the 64 bits that one is given."""
        if ":" not in self.address:
            return self.address
        address = IPv6Address(self.address)
        return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))

    @cached_property
    def base(self) -> str:
        """Give ``scheme://host`` as the caller used it."""
        scheme = self._request.url.scheme
        host = self.headers.get("host", "localhost")
        if trusted(self._request, self.settings.trusted_proxies):
            scheme = self.headers.get("x-forwarded-proto", scheme).split(",")[0].strip()
            host = self.headers.get("x-forwarded-host", host).split(",")[0].strip()
        return f"{scheme}://{host}"

    @property
    def raw_query(self) -> str:
        """Give the query string as it came."""
        return bytes(self._request.scope["query_string"]).decode("ascii", "replace")

    def uuid(self, noun: str) -> str:
        """Give the UUID in the path as 32 hex digits.

        Refuses: NotFound ``<noun>.unknown`` for a segment that is no UUID.
        """
        found = hex_uuid(self.segments["uuid"])
        if found is None:
            raise NotFound(f"{noun}.unknown")
        return found

    @contextmanager
    def read(self) -> Iterator[Read]:
        """Open questions to the database."""
        with self.house.database.read() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Write]:
        """Open the one transaction of this request; it is committed when the block ends."""
        with self.house.database.write() as tx:
            yield tx
        if tx.owes:
            self.house.wake()

    def authenticate(self, tx: Read, token: str, kinds: Collection[str] = BEARERS) -> None:
        """Find out whose token it is.

        Args:
            kinds: of tokens, that count here; one of another kind is unknown.

        Refuses: Unauthenticated ``token.unknown``, ``token.inactive``, ``token.expired``.
        """
        account = tokens.owner(tx, self.house.vault.digest(token))
        if account is None or account.token_kind not in kinds:
            raise Unauthenticated("token.unknown")
        if not account.is_active:
            raise Unauthenticated("token.inactive")
        ends = end(
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
        self.actor = actor_of(account, self.address, self.request_id)

    def check_tries(self, *subjects: str) -> None:
        """Let nobody go on who has to wait after too many tries.

        Refuses: Limited ``tries.wait`` with the seconds to wait.
        """
        if not self.settings.rate_limits:
            return
        with self.read() as tx:
            ends = tries.blocked(tx, subjects)
        if ends:
            left = max(ends.values()) - self.now
            raise Limited("tries.wait", seconds=max(1, ceil(left.total_seconds())))

    def count(self, tx: Write, subject: str, limit: Limit) -> None:
        """Count a try; in its own deed's transaction, or in one of its own when it failed."""
        if self.settings.rate_limits:
            tries.failed(tx, subject, limit)

    @contextmanager
    def guarded(self, subject: str, limit: Limit) -> Iterator[None]:
        """Count every refusal that the block meets, and refuse at once when there were too many.

        Refuses: Limited ``tries.wait``.
        """
        self.check_tries(subject)
        try:
            yield
        except Refusal:
            with self.write() as tx:
                self.count(tx, subject, limit)
            raise

    def settle(self) -> None:
        """Move the token's lifetime on, after the answer is made and outside its transaction."""
        if self._stale is not None:
            # A busy database must not turn a good answer into a bad one; the next request
            # will find the token just as stale and try again.
            with suppress(Unavailable), self.house.database.write() as tx:
                tokens.touch(tx, self._stale, TOUCH_EVERY)


def trusted(request: Request[Any, Any, Any], proxies: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Tell whether the socket's other end is a proxy whose headers are believed."""
    if not proxies or request.client is None:
        return False
    return _within(request.client.host, proxies)


def _within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address.strip())
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def client_address(
    request: Request[Any, Any, Any], proxies: Sequence[IPv4Network | IPv6Network]
) -> str:
    """Give the address of the caller: the last one in the chain that no trusted proxy owns."""
    address = request.client.host if request.client else ""
    if trusted(request, proxies):
        for hop in reversed(request.headers.get("x-forwarded-for", "").split(",")):
            try:
                address = str(ip_address(hop.strip()))
            except ValueError:
                break
            if not _within(address, proxies):
                break
    return address


@dataclass(frozen=True, slots=True)
class Operation:
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
    """

    run: Callable[..., Answer]
    summary: str
    open: bool = False
    form: Mapping[str, Any] | None = None
    answers: Any = None
    status: int = 200
    many: bool = False
    whole: bool = False
    partial: bool = False
    asks: bool = False
    filters: Mapping[str, Any] | None = None
    orders: Collection[str] = ()
    sparse: bool = False
    acts: bool = False


Routes = dict[str, dict[str, Operation]]
"""Path to method to operation; ``{uuid}`` stands for a path segment."""


def handlers(
    routes: Routes, perform: Callable[[Call, dict[str, Operation]], Answer]
) -> list[HTTPRouteHandler]:
    """Turn a dialect's routes into the framework's handlers.

    Args:
        perform: what the dialect does with a call that met the path, whatever its method.
    """
    return [_handler(path, operations, perform) for path, operations in routes.items()]


def _handler(
    path: str,
    operations: dict[str, Operation],
    perform: Callable[[Call, dict[str, Operation]], Answer],
) -> HTTPRouteHandler:
    def handle(request: Request[Any, Any, Any], body: RawBody) -> ASGIResponse:
        call = Call(request.app.state.house, request, body)
        return respond(perform(call, operations), head=request.method == "HEAD")

    return route(
        path.replace("}", ":str}"),
        http_method=[HttpMethod(method) for method in METHODS],
        name=path,
        sync_to_thread=True,
        include_in_schema=False,
    )(handle)


def respond(answer: Answer, *, head: bool = False) -> ASGIResponse:
    """Turn an answer into what the server sends."""
    return ASGIResponse(
        body=b"" if head else answer.body,
        status_code=answer.status,
        headers=[*answer.headers.items(), *(("set-cookie", one) for one in answer.cookies)],
        media_type=answer.media,
        is_head_response=head,
    )
