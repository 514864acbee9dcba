"""Rule of the mail budget: how many invitation e-mails an address gets in a day."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(days=1)


def next_slot(sent: Collection[datetime], now: datetime, limit: int) -> datetime:
    """Return when the next e-mail to an address may be sent, ``now`` or later.

    No window of 24 hours then contains more e-mails than the limit, planned ones included.

    Args:
        sent: times of sent and planned e-mails, UTC.
        limit: e-mails in 24 hours; at least 1.
    """
    latest = sorted(sent)[-limit:]
    return now if len(latest) < limit else max(now, latest[0] + WINDOW)
