"""What happens to every request before a dialect sees it, and to every answer after.

A request id in and out, the host's name, security headers, the log line, the counters.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = structlog.get_logger("collegium.access")

_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST: Final = re.compile(rb"(?:[\w.~-]+|\[[0-9a-fA-F:.]+\])?(?::([0-9]{0,5}))?", re.ASCII)
_PORT_MAX: Final = 65535
_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
            b"base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"cache-control", b"no-store"),
)
# For a year, and of this host alone: what else is below its name is not ours to speak for.
_TLS: Final = (b"strict-transport-security", b"max-age=31536000")

BODY_SECONDS: Final = 60
"""How long a body may take to arrive; the largest one that is read needs 35 kB a second."""

registry: Final = CollectorRegistry()
_requests: Final = Counter(
    "collegium_requests", "Requests answered.", ("method", "status"), registry=registry
)
_seconds: Final = Histogram(
    "collegium_request_seconds", "Time to the answer, in seconds.", registry=registry
)
# Probes come every few seconds and say nothing about what happened.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Anybody can make up a method, and a counter that is once made is kept for good.
_COUNTED: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Front:
    """Wraps the application.

    Args:
        hosts: names this service answers to, lower case, without port; empty: to any.
        is_secure: whether people reach it through TLS.
    """

    def __init__(self, app: App, hosts: frozenset[str], *, is_secure: bool = False) -> None:
        self._app = app
        self._hosts = hosts
        self._guards = (*_SECURITY, _TLS) if is_secure else _SECURITY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request = given if _ID.fullmatch(given) else secrets.token_hex(8).encode()
        scope["collegium.request"] = request.decode()
        # The framework's router takes the final slash off the path in the scope.
        path = scope["collegium.path"] = scope["path"]
        began = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given_names = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in self._guards if pair[0] not in given_names),
                    (b"x-request-id", request),
                ]
            await send(message)

        try:
            if b"content-length" in headers or b"transfer-encoding" in headers:
                receive = _bounded(receive)
            if not self._is_meant(scope["headers"], headers.get(b"host", b"")):
                await _misdirected(answer)
            else:
                await self._app(scope, receive, answer)
        finally:
            took = time.perf_counter() - began
            method = scope["method"] if scope["method"] in _COUNTED else "?"
            _requests.labels(method, status).inc()
            _seconds.observe(took)
            if path not in _QUIET:
                # The path only: a query may hold somebody's address, and some paths a secret.
                _log.info(
                    "request",
                    method=method,
                    path=without_secrets(path),
                    status=status,
                    ms=round(took * 1000, 1),
                    request=scope["collegium.request"],
                )

    def _is_meant(self, headers: Collection[tuple[bytes, bytes]], host: bytes) -> bool:
        """Tell whether a request names one host, rightly spelled, and ours."""
        spelled = _HOST.fullmatch(host)
        return (
            spelled is not None
            and int(spelled[1] or 0) <= _PORT_MAX
            and sum(name == b"host" for name, _ in headers) <= 1
            and (not self._hosts or _host(host) in self._hosts)
        )


_SECRET_PATH: Final = re.compile(
    r"^(/(?:invitation|invitation_approve|invitation_reject|user_email_change|password_reset)/)[^/]+"
)


class Cut(Exception):  # noqa: N818 - says what is the case
    """A body did not arrive as a whole."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status_code = status


def _bounded(receive: Receive) -> Receive:
    """Wait for a body so long and no longer; one that breaks off is no fault of ours."""
    end = asyncio.get_running_loop().time() + BODY_SECONDS

    async def part() -> Message:
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise Cut(408) from None
        if message["type"] == "http.disconnect":
            raise Cut(400)
        return message

    return part


def without_secrets(path: str) -> str:
    """Give a path as it may be logged: without the secret that some carry, on one line."""
    told = _SECRET_PATH.sub(r"\1…", path)
    return told if told.isprintable() else told.encode("unicode_escape").decode()


def _host(header: bytes) -> str:
    name = header.decode("latin-1").lower()
    if name.startswith("["):
        return name.split("]")[0] + "]"
    return name.split(":")[0]


async def _misdirected(send: Send) -> None:
    body = b'{"detail":"This service does not answer to that host name."}'
    await send(
        {
            "type": "http.response.start",
            "status": 400,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
