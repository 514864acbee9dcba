"""How long a token counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from collegium.rules.refusals import Forbidden


class Kind(StrEnum):
    """What a token is for."""

    API = "api"
    """The one that the Waldur wire shows: one an account."""
    SESSION = "session"
    """What a browser holds; counts for the pages alone."""
    PERSONAL = "personal"
    """Made by a person for a program of theirs."""
    ACCESS = "access"
    REFRESH = "refresh"
    """Good for another pair of the two, and for nothing else."""


BEARERS: Final = frozenset({Kind.API, Kind.PERSONAL, Kind.ACCESS})
"""What a program may show to be let in."""

PERSONAL_LIFETIME: Final = 365 * 24 * 3600
ACCESS_LIFETIME: Final = 3600
REFRESH_LIFETIME: Final = 30 * 24 * 3600
SESSION_LIFETIME: Final = 12 * 3600
SESSION_AGE: Final = 30 * 24 * 3600
"""How long a browser stays signed in at most, however much it is used."""


def check_is_own(kind: str) -> None:
    """Let nothing pass that was handed to a program: whoever changes the address has the account.

    Refuses: Forbidden ``token.delegated``.
    """
    if kind != Kind.API:
        raise Forbidden("token.delegated")


def end(
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
