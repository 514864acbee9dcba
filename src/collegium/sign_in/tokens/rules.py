"""How long a token counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Final

from collegium.refusals import Conflict, Forbidden, Limited


class TokenKind(StrEnum):
    """What a token is for."""

    API = "api"
    """The one that the Waldur wire shows: one an account."""
    SESSION = "session"
    """What a browser holds; counts for the pages alone."""
    PERSONAL = "personal"
    """Made by a person for a program of theirs."""
    DEVICE = "device"
    """Given to a program that a person let in from a browser."""
    ACCESS = "access"
    REFRESH = "refresh"
    """Good for another pair of the two, and for nothing else."""
    SPENT = "spent"
    """What was the API token of an account before it was deactivated. It opens nothing again."""


DELEGATED: Final = frozenset({TokenKind.PERSONAL, TokenKind.DEVICE, TokenKind.ACCESS})
"""Bearer tokens of programs: they do not change how the account itself is protected."""

BEARERS: Final = DELEGATED | {TokenKind.API}
"""Tokens that authenticate API requests."""

COUNTED: Final = frozenset({TokenKind.PERSONAL, TokenKind.DEVICE})
"""Tokens that one account may have a limited number of; when it is reached, no more are issued."""

PERSONAL_LIFETIME: Final = 365 * 24 * 3600
ACCESS_LIFETIME: Final = 3600
REFRESH_LIFETIME: Final = 30 * 24 * 3600
SESSION_LIFETIME: Final = 12 * 3600
SESSION_AGE: Final = 30 * 24 * 3600
"""How long a browser stays signed in at most, however much it is used."""


LOGINS_WINDOW: Final = timedelta(minutes=10)
"""The time in which the successful logins of an account are counted."""


def check_token_quota(count: int, most: int) -> None:
    """Let an account have another token for a program only while it has few enough.

    Refuses: Conflict ``token.too_many``.
    """
    if count >= most:
        raise Conflict("token.too_many", most=most)


def check_logins(first: datetime | None, now: datetime) -> None:
    """Let an account log in again only when it has not done so too often just now.

    Args:
        first: the earliest of so many logins as one may have in the window; None: there are fewer.

    Refuses: Limited ``tries.wait`` with the seconds until that login is out of the window.
    """
    if first is not None:
        left = first + LOGINS_WINDOW - now
        raise Limited("tries.wait", seconds=max(1, ceil(left.total_seconds())))


def may_hold_api_token(kind: str | None) -> bool:
    """Tell whether the API token of an account is shown, renewed and changed with this token.

    Args:
        kind: of the token that authenticated the request; None where it was none.
    """
    return kind is None or kind == TokenKind.API


def check_is_own(kind: str | None) -> None:
    """Let nothing pass that was handed to a program: whoever changes the address has the account.

    Refuses: Forbidden ``token.delegated``.
    """
    if kind != TokenKind.API:
        raise Forbidden("token.delegated")


def expiry(
    issued: datetime,
    used: datetime,
    lifetime: int | None,
    max_age: int | None,
    ends: datetime | None = None,
) -> datetime | None:
    """Give the moment after which a token no longer counts; None: it has no end.

    Args:
        issued: when it was made.
        used: when it was last used, to a minute.
        lifetime: seconds it lives without being used; None: for ever.
        max_age: seconds it lives at most, used or not; None: no limit.
        ends: the moment that was set when it was made, if one was.
    """
    # Asked for every row of a list, so without a list of its own.
    bound = ends
    if lifetime is not None:
        unused = used + timedelta(seconds=lifetime)
        bound = unused if bound is None or unused < bound else bound
    if max_age is not None:
        old = issued + timedelta(seconds=max_age)
        bound = old if bound is None or old < bound else bound
    return bound
