"""Asking somebody else over HTTP, who may answer slowly, endlessly, or not at all.

Never inside a transaction.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

OK: Final = 200
_TOKEN_MAX: Final = 16 * 1024


class Timeouts(NamedTuple):
    """How many seconds are waited: to connect, for each next byte, and for all of it."""

    connect: float = 5.0
    read: float = 5.0
    total: float = 10.0


class RequestFailedError(Exception):
    """There is no answer that can be used. Says nothing of whom we asked, nor of what came."""


class Deadline:
    """Cuts connections when the time is up, whatever the other end is doing.

    The client libraries' own time-outs count from byte to byte: whoever sends one every other
    second could hold us for ever.
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
        """Give the seconds until the time is up; fewer than none afterwards."""
        return self._end - time.monotonic()

    def watch(self, wire: socket.socket) -> None:
        """Cut this connection too when the time is up."""
        # A duplicate, for TLS will take the original over.
        with self._lock:
            self._wires.append(wire.dup())
        if self.rang:
            self._ring()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of a connection; the client library calls it at every step."""
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
    """Send one request; give the status, and the body when the status is 200.

    Redirects are not followed, and nothing compressed is taken: it could be of any size.

    Args:
        end: the moment, of ``time.monotonic()``, by which all of it must be done.
        size: bytes of the longest body that is read; None: the status says it all.

    Raises Unanswered for whatever comes in the way.
    """
    import httpx  # noqa: PLC0415 - dear to load, and few installations ask anybody

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
        # What went wrong names the address, so it goes no further.
        raise RequestFailedError from None


def is_header_safe(token: str) -> bool:
    """Tell whether what was given as a token can stand in a header."""
    return (
        token.isascii()
        and token.isprintable()
        and " " not in token
        and 0 < len(token) <= _TOKEN_MAX
    )
