"""States and lifetimes of device sign-ins."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from collegium.refusals import Invalid, NotFound

LIFETIME: Final = 15 * 60
"""Seconds after which a device sign-in expires."""

INTERVAL: Final = 5
"""Seconds that a program must wait between two polls."""


class State(StrEnum):
    """The states of a device sign-in."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    """The program has fetched its token. It does not get a second one."""


def check_open(state: str, expires_at: datetime, now: datetime) -> None:
    """Check that a device sign-in is pending and not expired.

    Raises:
        NotFound: ``device.unknown``.
    """
    if state != State.PENDING or expires_at <= now:
        raise NotFound("device.unknown")


def check_lifetime(seconds: int, limit: int) -> None:
    """Check the requested lifetime of a token.

    Args:
        seconds: the requested lifetime.
        limit: the maximum that the operator allows, in seconds.

    Raises:
        Invalid: ``device.lifetime``.
    """
    if seconds > limit:
        raise Invalid("device.lifetime", field="token_lifetime", longest=limit)


def lifetime(requested: int, limit: int, max_age: int | None) -> int:
    """Return the lifetime of the token of a program in seconds.

    Args:
        requested: requested lifetime in seconds.
        limit: present maximum of the operator in seconds.
        max_age: maximum of all tokens in seconds; None for no limit.
    """
    return min(requested, limit, *([] if max_age is None else [max_age]))


def plain(user_code: str) -> str:
    """Return a user code in comparable form. People type small letters, spaces and other dashes."""
    return "".join(char for char in user_code.upper() if char.isascii() and char.isalnum())
