"""Rules for delays after too many failures (exponential backoff).

Nobody is locked out permanently. Delays that a stranger can cause for another account stay short.
Long delays apply only to an address, and to an account from one address.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple


class RateLimit(NamedTuple):
    """How many failures are allowed, and the delays after them.

    Args:
        allowed: number of failures without a delay.
        initial_delay: delay after the next failure; each further failure doubles it.
        max_delay: maximum delay.
        window: the count starts anew after this time without a failure.
    """

    allowed: int
    initial_delay: timedelta
    max_delay: timedelta
    window: timedelta


_TEN_MINUTES: Final = timedelta(minutes=10)

LOGIN_PAIR: Final = RateLimit(3, _TEN_MINUTES, _TEN_MINUTES, _TEN_MINUTES)
"""One account from one address. The fourth failure locks it for ten minutes."""

LOGIN_ACCOUNT: Final = RateLimit(10, timedelta(seconds=1), timedelta(seconds=30), _TEN_MINUTES)
"""One account from all addresses. The delays are short, because strangers can cause them."""

LOGIN_ADDRESS: Final = RateLimit(30, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One address, for all accounts."""

CODE_ADDRESS: Final = RateLimit(10, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One address that guesses codes or invitations."""

MAIL_ACCOUNT: Final = RateLimit(10, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1))
"""One account that makes the service send e-mails to addresses of its choice."""

JOIN_ACCOUNT: Final = RateLimit(20, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One account that makes many join requests."""

PEOPLE_ACCOUNT: Final = RateLimit(60, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""Unknown addresses that one account enters. Each response reveals whether there is an account."""

PEOPLE_ADDRESS: Final = RateLimit(60, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""The same for one network address."""

INVITE_ACCOUNT: Final = RateLimit(
    200, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1)
)
"""One account that invites people. Whole laboratories are invited at once."""

INVITE_ADDRESS: Final = RateLimit(
    1000, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1)
)
"""One network address that may serve a whole institution."""

ASK_ADDRESS: Final = RateLimit(100, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1))
"""One network address with many join requests, for instance from a class that got a link."""

JOIN_ADDRESS: Final = RateLimit(200, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""The same for groups."""

SIGN_UP_LINK: Final = RateLimit(20, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One invitation with which an account is created. Each attempt reveals whether a name is taken."""

SIGN_UP_ADDRESS: Final = RateLimit(100, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One network address from which accounts are created. A whole course may sign up in one room."""

DEVICE_ADDRESS: Final = RateLimit(30, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One network address from which device sign-ins are started."""

MAIL_INVITEE: Final = RateLimit(5, timedelta(minutes=1), timedelta(hours=1), timedelta(hours=1))
"""One invitation whose e-mail is sent repeatedly."""

FORWARDED: Final = RateLimit(
    allowed=1_000_000,
    initial_delay=timedelta(seconds=1),
    max_delay=timedelta(seconds=1),
    window=timedelta(days=1),
)
"""Forwarding headers of an untrusted proxy. They are counted for the operator, without a delay."""


def backoff(limit: RateLimit, count: int) -> timedelta:
    """Return the delay after a number of failures."""
    excess = count - limit.allowed
    if excess <= 0:
        return timedelta()
    # After twenty doublings every limit has reached its maximum. More would overflow a float.
    return min(limit.initial_delay * int(2 ** min(excess - 1, 20)), limit.max_delay)
