"""A cache for functions of what callers send."""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT: Final = 500
"""Characters of the longest arguments whose result is kept; all together."""

T = TypeVar("T")


def cache_short(maxsize: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator: ``functools.lru_cache`` that keeps no result of long arguments.

    A header may have 128 KiB, and a thousand different ones would stay in memory for good.

    Args:
        maxsize: results that are kept.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        kept = lru_cache(maxsize)(function)

        @wraps(function)
        def call(*texts: str) -> T:
            return kept(*texts) if sum(map(len, texts)) <= SHORT else function(*texts)

        return call

    return decorate
