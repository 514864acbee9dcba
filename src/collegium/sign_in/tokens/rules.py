"""Kinds and lifetimes of tokens, and what each kind may do."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Final

from collegium.refusals import Forbidden, Limited


class TokenKind(StrEnum):
    """What a token is for."""

    API = "api"
    """The API token that the Waldur API shows. Each account has one."""
    SESSION = "session"
    """Session of a browser. Valid for the web pages only."""
    PERSONAL = "personal"
    """Created by a person for one of their programs."""
    DEVICE = "device"
    """Issued to a program that a person approved in a browser."""
    ACCESS = "access"
    REFRESH = "refresh"
    """Can be exchanged for the next pair of access and refresh token, and for nothing else."""
    SPENT = "spent"
    """The former API token of an account that was deactivated. It never becomes valid again."""


DELEGATED: Final = frozenset({TokenKind.PERSONAL, TokenKind.DEVICE, TokenKind.ACCESS})
"""Bearer tokens of programs. They must not change the credentials of their account."""

BEARERS: Final = DELEGATED | {TokenKind.API}
"""Tokens that authenticate API requests."""

COUNTED: Final = frozenset({TokenKind.PERSONAL, TokenKind.DEVICE})
"""Tokens whose number per account is limited. At the limit no more are issued."""

PERSONAL_LIFETIME: Final = 365 * 24 * 3600
ACCESS_LIFETIME: Final = 3600
REFRESH_LIFETIME: Final = 30 * 24 * 3600
SESSION_LIFETIME: Final = 12 * 3600
"""Seconds without use after which a browser is signed out. Each use extends the session."""
SESSION_AGE: Final = 30 * 24 * 3600
"""Seconds that a browser stays signed in at most, however much it is used."""


CONFIRMED_FOR: Final = timedelta(minutes=15)
"""Time after a sign-in or a confirmation in which a session can make sensitive changes."""

LOGINS_WINDOW: Final = timedelta(minutes=10)
"""The period in which the successful sign-ins of an account are counted."""


def check_logins(first: datetime | None, now: datetime) -> None:
    """Check the number of recent sign-ins of an account.

    Args:
        first: the earliest of the allowed number of sign-ins in the window; None if there were
            fewer.

    Raises:
        Limited: ``tries.wait`` with the seconds until that sign-in is outside the window.
    """
    if first is not None:
        wait = first + LOGINS_WINDOW - now
        raise Limited("tries.wait", seconds=max(1, ceil(wait.total_seconds())))


def may_manage_api_token(kind: str | None) -> bool:
    """Return whether a token may be used to show, renew and change the API token of its account.

    Args:
        kind: kind of the token that authenticated the request; None for no token.
    """
    return kind is None or kind == TokenKind.API


def check_not_delegated(kind: str | None) -> None:
    """Check that the request was authenticated with the API token, not the token of a program.

    A program must not change the e-mail address, because the holder of the address can take over
    the account.

    Raises:
        Forbidden: ``token.delegated``.
    """
    if kind != TokenKind.API:
        raise Forbidden("token.delegated")


def is_confirmed(confirmed_at: datetime | None, now: datetime) -> bool:
    """Return whether the person behind a session has proved recently who they are.

    Args:
        confirmed_at: when they did it last; None if that is unknown.
    """
    return confirmed_at is not None and now - confirmed_at < CONFIRMED_FOR


def expiry(
    created_at: datetime,
    last_used_at: datetime,
    lifetime: int | None,
    max_age: int | None,
    expires_at: datetime | None = None,
) -> datetime | None:
    """Return when a token expires; None if it never does.

    Args:
        created_at: when it was created.
        last_used_at: when it was last used, to the minute.
        lifetime: seconds that it lives without being used; None for ever.
        max_age: seconds that it lives at most, used or not; None for no limit.
        expires_at: when it expires at the latest, if that was set when it was created.
    """
    # Called for every row of a list, so it avoids building a list itself.
    earliest = expires_at
    if lifetime is not None:
        idle_end = last_used_at + timedelta(seconds=lifetime)
        earliest = idle_end if earliest is None else min(earliest, idle_end)
    if max_age is not None:
        old = created_at + timedelta(seconds=max_age)
        earliest = old if earliest is None else min(earliest, old)
    return earliest
