"""When a failed delivery is tried again, and how a failure is logged."""

from __future__ import annotations

import random
import traceback
from datetime import datetime, timedelta
from typing import Final

RETRY_DELAYS: Final = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
    timedelta(hours=24),
)
"""Delay before the next attempt, after the first, second, … failed one."""

MAX_ATTEMPTS: Final = len(RETRY_DELAYS) + 1
"""Nine attempts, the last some 41 hours after the first. Then the delivery has failed."""

JITTER: Final = 0.2
"""Random part of a delay, in either direction, so that what failed together spreads out."""


def retry_at(now: datetime, attempts: int, *, permanent: bool) -> datetime | None:
    """Return the time of the next attempt; None if there is none.

    Args:
        attempts: How many there were.
        permanent: Whether another attempt would fail as well.
    """
    if permanent or attempts >= MAX_ATTEMPTS:
        return None
    return now + RETRY_DELAYS[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing


def log_reason(error: Exception) -> str:
    """Return a traceback as plain text. A rich one would show local variables, among them links."""
    return "".join(traceback.format_exception(error))
