"""Rules of two-factor authentication: valid codes, and limits for wrong ones (TOTP, RFC 6238)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits.rules import Limit, Per, RateLimit

STEP_SECONDS: Final = 30
"""Seconds for which an authenticator shows the same code."""

DRIFT: Final = 1
"""Number of steps by which the clock of an authenticator may be wrong, in either direction."""

RECOVERY_CODES: Final = 10

NOTIFY_AT: Final = 3
"""Number of wrong codes since the last correct one after which the owner is notified."""

LOCKED_AT: Final = 20
"""Number of wrong codes after which codes of the authenticator are refused.

At any moment three of a million codes are correct, so twenty guesses succeed for one in about
16,700 accounts. Only somebody who knows the password can cause the lock. A recovery code or staff
end it.
"""

TRIES: Final = RateLimit(5, timedelta(seconds=30), timedelta(minutes=10), timedelta(minutes=10))
"""One account whose password is already known. Guessing six digits must take too long."""

CODES: Final = Limit("second factor", {Per.TARGET: TRIES})
"""Wrong codes. The target is the id of the account."""


def steps(seconds: int) -> range:
    """Return the time steps whose codes are accepted at a Unix time in seconds, earliest first."""
    now = seconds // STEP_SECONDS
    return range(now - DRIFT, now + DRIFT + 1)


def check_step(step: int | None, last_step: int) -> int:
    """Return the time step of a correct code, if neither it nor a later one was used before.

    Args:
        step: the step whose code was entered; None if the code matches no step.
        last_step: the latest step that was ever used.

    Raises:
        Invalid: ``second_factor.wrong``, for a wrong and for a used code alike.
    """
    if step is None or step <= last_step:
        raise Invalid("second_factor.wrong", field="code")
    return step


def check_unlocked(wrong_codes: int) -> None:
    """Check that there were not too many wrong codes. Otherwise even a correct code is refused.

    Args:
        wrong_codes: number of wrong codes since the last correct one.

    Raises:
        Invalid: ``second_factor.locked``.
    """
    if wrong_codes >= LOCKED_AT:
        raise Invalid("second_factor.locked", field="code")


def check_off(*, is_on: bool) -> None:
    """Check that two-factor authentication is off, so that it can be set up.

    Raises:
        Conflict: ``second_factor.exists``.
    """
    if is_on:
        raise Conflict("second_factor.exists")


def is_required(required_of: str, *, sees_all: bool) -> bool:
    """Return whether an account must have two-factor authentication.

    Args:
        required_of: the setting ``TWO_FACTOR_REQUIRED``: ``nobody``, ``staff`` or ``everybody``.
        sees_all: whether the account is staff or support.
    """
    return required_of == "everybody" or (required_of == "staff" and sees_all)


def check_optional(required_of: str, *, sees_all: bool) -> None:
    """Check that an account may turn two-factor authentication off.

    Args:
        required_of: the setting ``TWO_FACTOR_REQUIRED``.
        sees_all: whether the account is staff or support.

    Raises:
        Conflict: ``second_factor.mandatory``.
    """
    if is_required(required_of, sees_all=sees_all):
        raise Conflict("second_factor.mandatory")


def plain(code: str) -> str:
    """Return a code in comparable form, without spaces and dashes."""
    return "".join(char for char in code.lower() if char.isalnum())


def is_recovery(code: str) -> bool:
    """Return whether a code in comparable form looks like a recovery code."""
    return not code.isdigit() or len(code) > 8  # noqa: PLR2004 - authenticators show at most 8 digits


def format_codes(codes: Iterable[str]) -> list[str]:
    """Return recovery codes in groups of four characters, which are easier to copy."""
    return ["-".join(code[start : start + 4] for start in range(0, len(code), 4)) for code in codes]
