"""A cache of what OpenID providers publish, which survives their outages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from collegium.integrations.waiting import BusyError, waiting
from collegium.sign_in.providers.values import Problem, ProviderError

STALE_LIFETIME: Final = 86400.0
"""Seconds for which an entry is used while the provider does not respond."""

OLD: Final = 600.0
"""An entry of this age in seconds is good enough while too many threads wait for a newer one, for
a request that would take one of this age anyway."""

RETRY_INTERVAL: Final = 10.0
"""Seconds for which a provider that failed is not asked again."""

SIZE: Final = 1024
"""Maximum number of entries: more than a service has providers. With more, the one unused for
longest is fetched again. An entry has some kilobytes."""

T = TypeVar("T")


@dataclass
class _Entry(Generic[T]):
    value: T | None = None
    fetched_at: float = 0.0
    problem: Problem | None = None
    failed_at: float = 0.0


class Cache(Generic[T]):
    """A bounded cache of what providers publish; one thread at a time fetches an entry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[tuple[object, ...], tuple[threading.Lock, _Entry[T]]] = {}

    def get(
        self,
        key: tuple[object, ...],
        fetch: Callable[[], T],
        max_age: float,
        deadline: float,
        service: str,
    ) -> T:
        """Return an entry; fetch it if it is missing or older than ``max_age`` seconds.

        While the provider does not respond, or too many threads wait for it, an old entry is used
        for ``STALE_LIFETIME``, except with ``max_age`` 0, which asks for the provider's present
        answer.

        Args:
            service: the provider, for the bound on threads that wait for it.

        Raises:
            ProviderError: It cannot be fetched.
            BusyError: Too many threads wait for the provider, or for all.
        """
        lock, entry = self._entry(key)
        if (value := _fresh(entry, max_age)) is not None:
            return value
        began = time.monotonic()
        # Nobody waits for a provider that is down, except the thread that tries it again.
        is_down = entry.problem is not None and _usable(entry, max_age) is not None
        seconds = 0.0 if is_down else max(deadline - began, 0)
        try:
            with waiting.at(service):
                if lock.acquire(timeout=seconds):
                    try:
                        # Another thread may have fetched it meanwhile, or failed.
                        if entry.fetched_at < began and not _must_wait(entry, began, max_age):
                            self._fetch(entry, fetch)
                    finally:
                        lock.release()
                elif not is_down:
                    raise ProviderError(Problem.UNREACHABLE)
        except BusyError:
            # Who asks because of a token with an unknown key is not helped by old keys.
            if max_age < OLD and not is_down:
                raise
            if (value := _stale(entry)) is None:
                raise
            return value
        if (value := _usable(entry, max_age)) is not None:
            return value
        raise ProviderError(entry.problem or Problem.UNREACHABLE)

    def _entry(self, key: tuple[object, ...]) -> tuple[threading.Lock, _Entry[T]]:
        with self._lock:
            found = self._entries.pop(key, None) or (threading.Lock(), _Entry())
            # Used entries move to the end, so the first one is the one unused for longest.
            self._entries[key] = found
            if len(self._entries) > SIZE:
                del self._entries[next(iter(self._entries))]
            return found

    @staticmethod
    def _fetch(entry: _Entry[T], fetch: Callable[[], T]) -> None:
        try:
            entry.value = fetch()
        except ProviderError as error:
            entry.problem, entry.failed_at = error.problem, time.monotonic()
        else:
            entry.problem, entry.fetched_at = None, time.monotonic()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()


def _fresh(entry: _Entry[T], max_age: float) -> T | None:
    age = time.monotonic() - entry.fetched_at
    return entry.value if age < max_age and entry.problem is None else None


def _must_wait(entry: _Entry[T], began: float, max_age: float) -> bool:
    """Return whether the failure of another request counts for this one too."""
    if entry.problem is None:
        return False
    return entry.failed_at >= (began - RETRY_INTERVAL if max_age else began)


def _usable(entry: _Entry[T], max_age: float) -> T | None:
    if entry.problem is None:
        return entry.value
    return _stale(entry) if max_age else None


def _stale(entry: _Entry[T]) -> T | None:
    """Return an old value if the provider has said nothing else since."""
    # Only an outage: a provider whose answer is wrong must not be used any longer.
    is_right = entry.problem in {None, Problem.UNREACHABLE}
    is_young = time.monotonic() - entry.fetched_at < STALE_LIFETIME
    return entry.value if is_right and is_young else None
