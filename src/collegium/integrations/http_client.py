"""HTTP client for other services, which may answer slowly, endlessly or not at all.

Never call it inside a transaction: it would hold locks while it waits.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self

OK: Final = 200
_TOKEN_MAX: Final = 16 * 1024


class Timeouts(NamedTuple):
    """Timeouts in seconds: to connect, for each further byte, and for the whole request."""

    connect: float = 5.0
    read: float = 5.0
    total: float = 10.0


class RequestFailedError(Exception):
    """There is no usable response. It contains neither the address nor the response."""


class Deadline:
    """Cuts connections when the time is over, whatever the server does.

    The timeouts of the client library count from byte to byte. A server that sends one byte every
    other second could keep a connection open for ever.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._end = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut_connections)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()

    def seconds_left(self) -> float:
        """Return the seconds that are left; negative afterwards."""
        return self._end - time.monotonic()

    def watch(self, sock: socket.socket) -> None:
        """Cut this connection too when the time is over."""
        # A duplicate, because TLS takes over the original socket.
        with self._lock:
            self._sockets.append(sock.dup())
        if self.is_over:
            self._cut_connections()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Register new connections; httpx calls this at every step of a request."""
        if event == "connection.connect_tcp.complete":
            self.watch(info["return_value"].get_extra_info("socket"))

    def _cut_connections(self) -> None:
        self.is_over = True
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def send_request(
    method: str,
    url: str,
    timeouts: Timeouts,
    deadline: float,
    body_max: int | None,
    *,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[int, bytes]:
    """Send one request; return the status, and the body if the status is 200.

    Redirects are not followed. Compressed responses are refused, because their size is unknown.

    Args:
        timeouts: timeouts of the request.
        deadline: the time, of ``time.monotonic()``, by which everything must be done.
        body_max: maximum bytes of the body; None to ignore the body.

    Raises:
        RequestFailedError: for every failure.
    """
    import httpx  # noqa: PLC0415 - slow to import, and few installations use it

    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise RequestFailedError
    httpx_timeouts = httpx.Timeout(
        min(timeouts.read, seconds), connect=min(timeouts.connect, seconds)
    )
    all_headers = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
    try:
        with (
            Deadline(seconds) as cutter,
            httpx.Client(timeout=httpx_timeouts, follow_redirects=False) as client,
            client.stream(
                method, url, headers=all_headers, extensions={"trace": cutter.trace}, **options
            ) as response,
        ):
            if body_max is None or response.status_code != OK:
                return response.status_code, b""
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > body_max:
                    raise RequestFailedError
            if cutter.is_over or response.headers.get("content-encoding", "identity") != "identity":
                raise RequestFailedError
            return response.status_code, bytes(body)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError):
        # The original error names the address, so it is suppressed.
        raise RequestFailedError from None


def is_header_safe(token: str) -> bool:
    """Return whether a token may be sent in a header."""
    return (
        token.isascii()
        and token.isprintable()
        and " " not in token
        and 0 < len(token) <= _TOKEN_MAX
    )
