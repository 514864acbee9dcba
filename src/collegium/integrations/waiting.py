"""How many threads wait for other services at once; the next one is refused at once.

A service that answers slowly holds the thread of every request that asks it. Without a bound a few
hundred visitors of one slow identity provider would take all threads of the process.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from collegium.db.database import UnavailableError
from collegium.settings import THREADS

TOTAL: Final = THREADS // 4
"""Maximum number of threads of a process that wait for all other services together."""

PER_SERVICE: Final = THREADS // 16
"""Maximum number of threads of a process that wait for one service."""

PER_HOST: Final = THREADS // 8
"""Maximum number of threads of a process that wait for the services of one host: half of all
places. A host with many providers leaves the rest to the others."""

RETRY_SECONDS: Final = 5
"""Seconds after which somebody who was refused may try again, for the header ``Retry-After``."""


class BusyError(UnavailableError):
    """Too many requests wait for something slow: this one must not wait too.

    The message says for what.
    """


class Waiting:
    """The threads of this process that wait for other services.

    Args:
        total: maximum number of threads.
        per_service: maximum number of threads for one service.
        per_host: maximum number of threads for all services of one host.
    """

    def __init__(
        self, total: int = TOTAL, per_service: int = PER_SERVICE, per_host: int = PER_HOST
    ) -> None:
        self._total = total
        self._per_service = per_service
        self._per_host = per_host
        self._lock = threading.Lock()
        self._services: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._thread = threading.local()

    @contextmanager
    def at(self, service: str) -> Iterator[None]:
        """Hold a place while the thread asks a service, and waits for others that ask it.

        A thread that holds a place needs no second one, so what has begun can be finished.

        Args:
            service: its URL, whose host is counted too; or its name.

        Raises:
            BusyError: No place is free.
        """
        if getattr(self._thread, "holds_place", False):
            yield
            return
        host = urlsplit(service).hostname or service
        with self._lock:
            if (
                self._services[service] >= self._per_service
                or self._hosts[host] >= self._per_host
                or self._hosts.total() >= self._total
            ):
                raise BusyError("too many requests wait for other services")
            self._services[service] += 1
            self._hosts[host] += 1
        self._thread.holds_place = True
        try:
            yield
        finally:
            self._thread.holds_place = False
            with self._lock:
                for counts, name in ((self._services, service), (self._hosts, host)):
                    counts[name] -= 1
                    if not counts[name]:
                        del counts[name]


waiting: Final = Waiting()
"""The one instance of the process."""
