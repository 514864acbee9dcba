"""Receive request bodies with limits on their number, their source and their duration."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from time import monotonic
from typing import Any, Final

from falcon import (
    HTTP_408,
    HTTPBadRequest,
    HTTPContentTooLarge,
    HTTPError,
    HTTPServiceUnavailable,
    HTTPTooManyRequests,
)

BODY_SECONDS: Final = 60
"""Maximum time for a body to arrive; the largest accepted body then needs 35 kB a second."""

STALE_SECONDS: Final = 0.2
"""A body that received nothing for this long may be dropped for another one if slots run out."""

_CHUNK_BYTES: Final = 16 * 1024


class _IncomingBody:
    """One body that is being received.

    Args:
        network: network of the client, taking trusted proxies into account.
    """

    def __init__(self, source: Any, network: str) -> None:
        self.network = network
        self.started_at = self.last_read_at = monotonic()
        self._source = source
        self._is_dropped = False

    def read(self, length: int | None, max_length: int) -> bytes:
        """Read the body; see ``Bodies.read``."""
        chunks = []
        size = 0
        while size != length:
            chunk = self._read_chunk(
                _CHUNK_BYTES if length is None else min(_CHUNK_BYTES, length - size)
            )
            self.last_read_at = monotonic()
            chunks.append(chunk)
            size += len(chunk)
            if size > max_length:
                raise HTTPContentTooLarge
            if not chunk:
                if length is not None:
                    raise HTTPBadRequest  # the client closed the connection early
                break
            if self._is_dropped or self.last_read_at > self.started_at + BODY_SECONDS:
                raise HTTPError(HTTP_408)
        return b"".join(chunks)

    def _read_chunk(self, size: int) -> bytes:
        try:
            chunk: bytes = self._source.read(size)
        except TimeoutError:
            raise HTTPError(HTTP_408) from None
        except ConnectionAbortedError:
            raise HTTPBadRequest from None  # the client closed the connection early
        except ConnectionError:
            if self._is_dropped:
                raise HTTPError(HTTP_408) from None
            raise HTTPServiceUnavailable from None  # the server is shutting down
        return chunk

    def drop(self) -> None:
        """Abort the read; the thread that reads answers 408."""
        self._is_dropped = True
        self._source.cancel()


class Bodies:
    """All bodies that this process is receiving.

    If all slots are in use, the body that has been idle for longest is dropped. A body that arrives
    together with its request is therefore always read.

    Args:
        max_bodies: maximum number of bodies at once.
        max_per_network: maximum number of bodies at once from one network.
    """

    def __init__(self, max_bodies: int, max_per_network: int) -> None:
        self._max_bodies = max_bodies
        self._max_per_network = max_per_network
        self._lock = Lock()
        self._active: set[_IncomingBody] = set()
        self._networks: dict[str, set[_IncomingBody]] = {}

    def read(self, source: Any, length: int | None, max_length: int, network: str) -> bytes:
        """Return a body as bytes.

        Args:
            source: file-like object; its ``read`` may return less than requested, and its
                ``cancel`` aborts a read.
            length: announced length in bytes; None: read to the end.
            max_length: maximum length in bytes.
            network: network of the client, taking trusted proxies into account.

        Raises:
            HTTPTooManyRequests: 429, if the network sends too many bodies.
            HTTPServiceUnavailable: 503, if too many bodies arrive at all, or the server is shutting
                down.
            HTTPError: 408, if the body took too long or was dropped for another one.
            HTTPBadRequest: 400, if the connection was closed early.
            HTTPContentTooLarge: 413, if there are more than ``max_length`` bytes.
        """
        body = _IncomingBody(source, network)
        self._register(body)
        try:
            return body.read(length, max_length)
        finally:
            with self._lock:
                self._unregister(body)

    def _register(self, body: _IncomingBody) -> None:
        with self._lock:
            from_network = self._networks.get(body.network, ())
            if len(from_network) >= self._max_per_network and not self._drop_idlest(from_network):
                raise HTTPTooManyRequests
            if len(self._active) >= self._max_bodies and not self._drop_idlest(self._active):
                raise HTTPServiceUnavailable
            self._active.add(body)
            self._networks.setdefault(body.network, set()).add(body)

    def _drop_idlest(self, bodies: Iterable[_IncomingBody]) -> bool:
        """Drop the body that has been idle for longest; return False if none was idle."""
        idlest = min(bodies, key=lambda body: body.last_read_at)
        if monotonic() - idlest.last_read_at < STALE_SECONDS:
            return False
        self._unregister(idlest)
        idlest.drop()
        return True

    def _unregister(self, body: _IncomingBody) -> None:
        self._active.discard(body)
        from_network = self._networks.get(body.network)
        if from_network is not None:
            from_network.discard(body)
            if not from_network:
                del self._networks[body.network]
