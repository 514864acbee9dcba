"""Send a response part by part, as fast as its client reads: the half of a stream in the server.

Granian queues a few parts for each connection. When the queue is full, ``send`` of its protocol
returns a future, which is done as soon as there is room. The thread that makes the response waits
for it. So the memory that a stream needs does not grow with the response.

Granian ends a response normally whenever its protocol object goes away. A client would take what it
has got for the whole. So a stream that ends early resets its connection
(docs/decisions/0064-streamed-responses.md).
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

from collegium.api.streams import Ending
from collegium.hosts import comparable_ip_address

WHOLE_BYTES: Final = 64 * 1024
"""Maximum size of a response that is sent whole, with its length in the header."""

PART_BYTES: Final = 16 * 1024
"""Maximum size of a part. It bounds the memory of the queue."""

STALL_SECONDS: Final = 60
"""Longest wait for a client to make room for the next part, in seconds."""

STREAM_SECONDS: Final = 1800
"""Longest time for a whole response, in seconds."""

_NO_ADDRESS: Final = struct.pack("H14x", socket.AF_UNSPEC)
_DESCRIPTORS: Final = Path("/dev/fd")


class _EndedError(Exception):
    """Nobody needs the rest of the response."""


def begin(parts: Iterator[bytes]) -> tuple[list[bytes], bool]:
    """Take the first parts, and tell whether they are the whole of a small response."""
    begun: list[bytes] = []
    size = 0
    for part in parts:
        begun.append(part)
        size += len(part)
        if size > WHOLE_BYTES:
            return begun, False
    return begun, True


class ResponseStream:
    """One response that is being sent.

    Args:
        protocol: Granian's protocol object of the request.
        scope: ASGI scope of the request.
    """

    def __init__(self, protocol: Any, scope: dict[str, Any]) -> None:
        self._protocol = protocol
        self._scope = scope
        self._ending: Ending | None = None
        self._wake = threading.Event()
        self._is_gone = threading.Event()
        self._deadline = time.monotonic() + STREAM_SECONDS

    def watch(self) -> None:
        """Notice from now on when the client goes away. The request body must have been read."""
        self._protocol.receive().add_done_callback(self._disconnected)

    def _disconnected(self, _future: Any) -> None:
        self._is_gone.set()
        self.end(Ending.CLIENT)

    def end(self, ending: Ending) -> None:
        """End the stream early. Any thread may call this; the first reason counts."""
        if self._ending is None:
            self._ending = ending
        self._wake.set()

    def run(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        begun: Iterable[bytes],
        rest: Iterable[bytes],
    ) -> Ending:
        """Send a response and return how it ended.

        If it ended early, the connection was reset.

        Args:
            begun: the first parts.
            rest: the other parts, which are made while they are sent.

        Raises:
            Exception: What ``rest`` raises.
        """
        try:
            self._protocol.send(
                {"type": "http.response.start", "status": status, "headers": headers}
            )
            for part in chain(begun, rest):
                for start in range(0, len(part), PART_BYTES):
                    self._send(part[start : start + PART_BYTES])
            self.end(Ending.COMPLETE)
            if self._ending is Ending.COMPLETE:
                self._protocol.send({"type": "http.response.body", "body": b""})
        except _EndedError:
            pass
        finally:
            if self._ending is not Ending.COMPLETE and not self._is_gone.is_set():
                self._reset()
        return self._ending or Ending.COMPLETE

    def _send(self, part: bytes) -> None:
        """Send a part, and wait until there is room for the next one.

        Raises:
            _EndedError: The stream has ended.
        """
        self._wake.clear()
        if self._ending is None:
            future = self._protocol.send(
                {"type": "http.response.body", "body": part, "more_body": True}
            )
            left = self._deadline - time.monotonic()
            if left < 0:
                self.end(Ending.LATE)
            elif hasattr(future, "add_done_callback"):
                future.add_done_callback(lambda _future: self._wake.set())
                if not self._wake.wait(min(STALL_SECONDS, left)):
                    self.end(Ending.LATE if left < STALL_SECONDS else Ending.STALLED)
        if self._ending is not None:
            raise _EndedError

    def _reset(self) -> None:
        """Reset the connection. The client sees an error, not an end."""
        with suppress(OSError):
            for connection in _sockets():
                with connection, suppress(OSError):
                    if self._is_ours(connection):
                        # ``socket`` cannot express this: to connect to no address resets a socket.
                        # Elsewhere than on Linux it does nothing.
                        ctypes.CDLL(None).connect(
                            connection.fileno(), _NO_ADDRESS, len(_NO_ADDRESS)
                        )
                        connection.shutdown(socket.SHUT_RDWR)

    def _is_ours(self, connection: socket.socket) -> bool:
        if connection.family not in {socket.AF_INET, socket.AF_INET6}:
            return False
        (address, port, *_), (_, own_port, *_) = connection.getpeername(), connection.getsockname()
        # Granian gives ports as texts.
        return (str(port), str(own_port)) == (
            str(self._scope["client"][1]),
            str(self._scope["server"][1]),
        ) and comparable_ip_address(address) == comparable_ip_address(self._scope["client"][0])


def _sockets() -> Iterator[socket.socket]:
    """Yield every socket of this process under a descriptor of its own, which the caller closes.

    No file is opened a second time: closing it would release the locks of SQLite.
    """
    for path in list(_DESCRIPTORS.iterdir()):
        with suppress(OSError):  # closed meanwhile
            if not stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                continue
            number = os.dup(int(path.name))
            # Should the number have become that of a file meanwhile, its copy stays open.
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield socket.socket(fileno=number)
