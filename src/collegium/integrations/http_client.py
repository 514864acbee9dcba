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
        self.rang = False
        self._end = time.monotonic() + seconds
        self._wires: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        with self._lock:
            for wire in self._wires:
                wire.close()
            self._wires.clear()

    def left(self) -> float:
        """Return the seconds that are left; negative afterwards."""
        return self._end - time.monotonic()

    def watch(self, wire: socket.socket) -> None:
        """Cut this connection too when the time is over."""
        # A duplicate, because TLS takes over the original socket.
        with self._lock:
            self._wires.append(wire.dup())
        if self.rang:
            self._ring()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Register new connections; httpx calls this at every step of a request."""
        if event == "connection.connect_tcp.complete":
            self.watch(info["return_value"].get_extra_info("socket"))

    def _ring(self) -> None:
        self.rang = True
        with self._lock:
            for wire in self._wires:
                with suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)


def send_request(
    method: str,
    url: str,
    patience: Timeouts,
    end: float,
    size: int | None,
    *,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[int, bytes]:
    """Send one request; return the status, and the body if the status is 200.

    Redirects are not followed. Compressed responses are refused, because their size is unknown.

    Args:
        patience: timeouts of the request.
        end: the time, of ``time.monotonic()``, by which everything must be done.
        size: maximum bytes of the body; None to ignore the body.

    Raises:
        RequestFailedError: for every failure.
    """
    import httpx  # noqa: PLC0415 - slow to import, and few installations use it

    left = end - time.monotonic()
    if left <= 0:
        raise RequestFailedError
    times = httpx.Timeout(min(patience.read, left), connect=min(patience.connect, left))
    sent = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
    try:
        with (
            Deadline(left) as alarm,
            httpx.Client(timeout=times, follow_redirects=False) as client,
            client.stream(
                method, url, headers=sent, extensions={"trace": alarm.trace}, **options
            ) as response,
        ):
            if size is None or response.status_code != OK:
                return response.status_code, b""
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) > size:
                    raise RequestFailedError
            if alarm.rang or response.headers.get("content-encoding", "identity") != "identity":
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
