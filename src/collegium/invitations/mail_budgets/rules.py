"""How many mails of invitations an address gets in a day, whoever has them sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

WINDOW: Final = timedelta(days=1)


def next_slot(sent: Collection[datetime], now: datetime, limit: int) -> datetime:
    """Return when the next mail may go to an address: now, or when the window has moved on.

    No window of 24 hours then holds more than the limit, planned mails included.

    Args:
        sent: when mails went there, or are planned to go.
        limit: mails in 24 hours; at least 1.
    """
    recent = sorted(at for at in sent if at > now - WINDOW)
    return now if len(recent) < limit else recent[-limit] + WINDOW
