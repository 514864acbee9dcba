"""Programs that wait until a person lets them in from a browser: their states, and how long."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from collegium.rules.refusals import NotFound

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


def plain(user_code: str) -> str:
    """Give a code as it is compared: people type small letters, spaces, other dashes."""
    return "".join(sign for sign in user_code.upper() if sign.isascii() and sign.isalnum())
