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

_PART: Final = 16 * 1024


class _Arrival:
    """One body that is being received.

    Args:
        network: network of the client, taking trusted proxies into account.
    """

    def __init__(self, source: Any, network: str) -> None:
        self.network = network
        self.began = self.moved = monotonic()
        self._source = source
        self._is_dropped = False

    def read(self, length: int | None, most: int) -> bytes:
        """Read the body; see ``Bodies.read``."""
        parts = []
        size = 0
        while size != length:
            part = self._part(_PART if length is None else min(_PART, length - size))
            self.moved = monotonic()
            parts.append(part)
            size += len(part)
            if size > most:
                raise HTTPContentTooLarge
            if not part:
                if length is not None:
                    raise HTTPBadRequest  # the client closed the connection early
                break
            if self._is_dropped or self.moved > self.began + BODY_SECONDS:
                raise HTTPError(HTTP_408)
        return b"".join(parts)

    def _part(self, size: int) -> bytes:
        try:
            part: bytes = self._source.read(size)
        except TimeoutError:
            raise HTTPError(HTTP_408) from None
        except ConnectionAbortedError:
            raise HTTPBadRequest from None  # the client closed the connection early
        except ConnectionError:
            if self._is_dropped:
                raise HTTPError(HTTP_408) from None
            raise HTTPServiceUnavailable from None  # the server is shutting down
        return part

    def drop(self) -> None:
        """Abort the read; the thread that reads answers 408."""
        self._is_dropped = True
        self._source.cancel()


class Bodies:
    """All bodies that this process is receiving.

    If all slots are in use, the body that has been idle for longest is dropped. A body that arrives
    together with its request is therefore always read.

    Args:
        most: maximum number of bodies at once.
        most_network: maximum number of bodies at once from one network.
    """

    def __init__(self, most: int, most_network: int) -> None:
        self._most = most
        self._most_network = most_network
        self._lock = Lock()
        self._here: set[_Arrival] = set()
        self._networks: dict[str, set[_Arrival]] = {}

    def read(self, source: Any, length: int | None, most: int, network: str) -> bytes:
        """Return a body as bytes.

        Args:
            source: file-like object; its ``read`` may return less than requested, and its
                ``cancel`` aborts a read.
            length: announced length in bytes; None: read to the end.
            most: maximum length in bytes.
            network: network of the client, taking trusted proxies into account.

        Raises:
            HTTPTooManyRequests: 429, if the network sends too many bodies.
            HTTPServiceUnavailable: 503, if too many bodies arrive at all, or the server is shutting
                down.
            HTTPError: 408, if the body took too long or was dropped for another one.
            HTTPBadRequest: 400, if the connection was closed early.
            HTTPContentTooLarge: 413, if there are more than ``most`` bytes.
        """
        arrival = _Arrival(source, network)
        self._enter(arrival)
        try:
            return arrival.read(length, most)
        finally:
            with self._lock:
                self._remove(arrival)

    def _enter(self, arrival: _Arrival) -> None:
        with self._lock:
            same = self._networks.get(arrival.network, ())
            if len(same) >= self._most_network and not self._drop(same):
                raise HTTPTooManyRequests
            if len(self._here) >= self._most and not self._drop(self._here):
                raise HTTPServiceUnavailable
            self._here.add(arrival)
            self._networks.setdefault(arrival.network, set()).add(arrival)

    def _drop(self, arrivals: Iterable[_Arrival]) -> bool:
        """Drop the body that has been idle for longest; return False if none was idle."""
        stalest = min(arrivals, key=lambda one: one.moved)
        if monotonic() - stalest.moved < STALE_SECONDS:
            return False
        self._remove(stalest)
        stalest.drop()
        return True

    def _remove(self, arrival: _Arrival) -> None:
        self._here.discard(arrival)
        same = self._networks.get(arrival.network)
        if same is not None:
            same.discard(arrival)
            if not same:
                del self._networks[arrival.network]
