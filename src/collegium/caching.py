"""A cache for functions whose arguments come from callers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

SHORT: Final = 500
"""Maximum total length of the arguments, in characters, for which a result is cached."""

T = TypeVar("T")


def cache_short(maxsize: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator like ``functools.lru_cache`` that caches no results of long arguments.

    A header may have 128 KiB. A thousand different ones would stay in memory for ever.

    Args:
        maxsize: Maximum number of cached results.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        cached = lru_cache(maxsize)(function)

        @wraps(function)
        def call(*texts: str) -> T:
            return cached(*texts) if sum(map(len, texts)) <= SHORT else function(*texts)

        return call

    return decorate
