"""The second factor: which codes count, once each, and how often one may be wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits.rules import RateLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

STEP_SECONDS: Final = 30
"""How long a code of an authenticator is the current one."""

DRIFT: Final = 1
"""How many steps the clock of an authenticator may be off, either way."""

RECOVERY_CODES: Final = 10

TOLD_AT: Final = 3
"""After so many wrong codes since the last right one, the account's owner gets a mail."""

LOCKED_AT: Final = 20
"""After so many, a code of the authenticator is not accepted any more: three of a million codes are
right at any moment, so twenty guesses find one in 60,000 accounts. Only somebody who knows the
password can cause it, and a recovery code or staff end it."""

TRIES: Final = RateLimit(5, timedelta(seconds=30), timedelta(minutes=10), timedelta(minutes=10))
"""One account whose password is known already: guessing six digits must take for ever."""


def steps(seconds: int) -> range:
    """Give the steps whose codes are taken at a moment, the earliest first."""
    now = seconds // STEP_SECONDS
    return range(now - DRIFT, now + DRIFT + 1)


def check_step(found: int | None, last: int) -> int:
    """Take the step of a right code, unless it, or a later one, was used before.

    Args:
        found: the step whose code was given; None when it is none's.
        last: the latest step that was ever taken.

    Refuses: Invalid ``second_factor.wrong``; the same for a wrong code and a used one.
    """
    if found is None or found <= last:
        raise Invalid("second_factor.wrong", field="code")
    return found


def check_unlocked(wrong: int) -> None:
    """Refuse codes of an authenticator after too many wrong ones, right or not.

    Args:
        wrong: wrong codes since the last right one.

    Refuses: Invalid ``second_factor.locked``.
    """
    if wrong >= LOCKED_AT:
        raise Invalid("second_factor.locked", field="code")


def check_off(*, is_on: bool) -> None:
    """Let a second factor be set up only where there is none.

    Refuses: Conflict ``second_factor.exists``.
    """
    if is_on:
        raise Conflict("second_factor.exists")


def plain(code: str) -> str:
    """Leave of a code what counts, however people write it."""
    return "".join(sign for sign in code.lower() if sign.isalnum())


def is_recovery(code: str) -> bool:
    """Tell whether a plain code has the shape of a recovery code, not of an authenticator's."""
    return not code.isdigit() or len(code) > 8  # noqa: PLR2004 - an authenticator shows at most 8


def shown(codes: Iterable[str]) -> list[str]:
    """Give recovery codes as people copy them best: in groups of four."""
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]
