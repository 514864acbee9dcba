"""Bodies as they arrive: how many at once, from whom, and for how long."""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from falcon import (
    HTTP_408,
    HTTPBadRequest,
    HTTPContentTooLarge,
    HTTPError,
    HTTPServiceUnavailable,
    HTTPTooManyRequests,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

BODY_SECONDS: Final = 60
"""How long a body may take to arrive; the largest one that is read needs 35 kB a second."""

STALE_SECONDS: Final = 0.2
"""A body of which nothing came for so long gives way to another one, where there is no room."""

_PART: Final = 16 * 1024


class _Arrival:
    """One body on its way.

    Args:
        network: where it comes from, as a trusted proxy says it.
    """

    def __init__(self, source: Any, network: str) -> None:
        self.network = network
        self.began = self.moved = monotonic()
        self._source = source
        self._is_dropped = False

    def read(self, length: int | None, most: int) -> bytes:
        """Read the body, as ``Bodies.read`` says."""
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
                    raise HTTPBadRequest  # it broke off
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
            raise HTTPBadRequest from None  # it broke off
        except ConnectionError:
            if self._is_dropped:
                raise HTTPError(HTTP_408) from None
            raise HTTPServiceUnavailable from None  # we are being stopped
        return part

    def drop(self) -> None:
        """Have the thread that reads this answer that it took too long."""
        self._is_dropped = True
        self._source.cancel()


class Bodies:
    """All bodies that arrive in this process.

    Where there is no room for another one, the one that has been still for longest gives way: a
    body that is there when its request comes is always read.

    Args:
        most: how many at once.
        most_network: how many of them from one network.
    """

    def __init__(self, most: int, most_network: int) -> None:
        self._most = most
        self._most_network = most_network
        self._lock = Lock()
        self._here: set[_Arrival] = set()
        self._networks: dict[str, set[_Arrival]] = {}

    def read(self, source: Any, length: int | None, most: int, network: str) -> bytes:
        """Read a body.

        Args:
            source: has ``read`` as a file has, which may give less, and ``cancel`` to end a read.
            length: bytes that were announced; None: as many as come.
            most: bytes that may come.
            network: where it comes from, as a trusted proxy says it.

        Raises HTTPError: 429 when too many arrive from the same network, 503 when too many
        arrive at all, 408 when it takes too long or gave way, 400 when it broke off, 413.
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
        """End the body that has been still for longest; tell whether one was still at all."""
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
