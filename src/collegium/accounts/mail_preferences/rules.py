"""Name the e-mails that people may turn off, and when those come that come at intervals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

DIGEST: Final = "role_digest"

OPTIONAL: Final[Mapping[str, bool]] = {
    "role_granted": True,
    "role_changed": True,
    "role_ending": True,
    "role_ended": True,
    "role_removed": True,
    DIGEST: False,
}
"""Kind of e-mail → whether people get it who have not chosen."""

UNSUBSCRIBE: Final = "unsubscribe"
"""The signing purpose of links that turn off one kind of e-mail, and the name of their path."""

_MONDAY: Final = timedelta(hours=6)


def next_digest(now: datetime) -> datetime:
    """Return when the next weekly e-mail comes: on Monday at 6 o'clock, UTC."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = midnight - timedelta(days=now.weekday()) + _MONDAY
    return monday if monday > now else monday + timedelta(days=7)
