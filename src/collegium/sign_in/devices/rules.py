"""Programs that wait until a person lets them in from a browser: their states, and how long."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from collegium.refusals import Invalid, NotFound

if TYPE_CHECKING:
    from datetime import datetime

LIFETIME: Final = 15 * 60
"""Seconds that a program waits."""

INTERVAL: Final = 5
"""Seconds after which it may ask again."""


class State(StrEnum):
    """The states of a waiting program."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    """It has fetched its token; there is no second one."""


def check_open(state: str, expires: datetime, now: datetime) -> None:
    """Let a person decide only on a program that still waits.

    Refuses: NotFound ``device.unknown``.
    """
    if state != State.PENDING or expires <= now:
        raise NotFound("device.unknown")


def check_lifetime(seconds: int, longest: int) -> None:
    """Let a program ask for a token only that lives no longer than the operator allows.

    Args:
        longest: seconds.

    Refuses: Invalid ``device.lifetime``.
    """
    if seconds > longest:
        raise Invalid("device.lifetime", field="token_lifetime", longest=longest)


def lifetime(asked: int | None, usual: int, longest: int, max_age: int | None) -> int:
    """Return the seconds that the token of a program lives.

    Args:
        asked: what the program asked for; None in rows of an earlier release.
        usual: what holds where it asked for nothing.
        longest: the operator's bound, as it is now.
        max_age: the bound of all tokens; None: no limit.
    """
    return min(asked or usual, longest, *([] if max_age is None else [max_age]))


def plain(user_code: str) -> str:
    """Give a code as it is compared: people type small letters, spaces, other dashes."""
    return "".join(sign for sign in user_code.upper() if sign.isascii() and sign.isalnum())
