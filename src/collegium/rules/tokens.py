"""How long a token counts."""

from __future__ import annotations

from datetime import datetime, timedelta


def end(
    issued: datetime, used: datetime, lifetime: int | None, max_age: int | None
) -> datetime | None:
    """Give the moment after which a token no longer counts; None: it has no end.

    Args:
        issued: when it was made.
        used: when it was last used, to a minute.
        lifetime: seconds it lives without being used; None: for ever.
        max_age: seconds it lives at most, used or not; None: no limit.
    """
    ends = [
        since + timedelta(seconds=seconds)
        for since, seconds in ((used, lifetime), (issued, max_age))
        if seconds is not None
    ]
    return min(ends, default=None)
