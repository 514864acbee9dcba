"""How long somebody waits who has failed too often.

Nobody is shut out for good: a delay that a stranger can cause on another's account stays short,
and only the pair of account and address, and the address itself, wait long.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple


class RateLimit(NamedTuple):
    """How often something may fail, and what follows.

    Args:
        free: failures that cost nothing.
        first: the delay after the next one; each further failure doubles it.
        longest: the delay that no failure exceeds.
        forgotten: failures older than this no longer count.
    """

    allowed: int
    initial_delay: timedelta
    max_delay: timedelta
    window: timedelta


_TEN_MINUTES: Final = timedelta(minutes=10)

LOGIN_PAIR: Final = RateLimit(3, _TEN_MINUTES, _TEN_MINUTES, _TEN_MINUTES)
"""One account from one address: the fourth failure within ten minutes locks for ten."""

LOGIN_ACCOUNT: Final = RateLimit(10, timedelta(seconds=1), timedelta(seconds=30), _TEN_MINUTES)
"""One account from anywhere: short delays, since a stranger can cause them."""

LOGIN_ADDRESS: Final = RateLimit(30, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One address, whatever accounts it tries."""

CODE_ADDRESS: Final = RateLimit(10, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One address that guesses codes or invitations."""

MAIL_ACCOUNT: Final = RateLimit(10, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1))
"""One account that has mails sent to addresses of its choice."""

JOIN_ACCOUNT: Final = RateLimit(20, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One account that asks to be let in, again and again."""

PEOPLE_ACCOUNT: Final = RateLimit(60, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""Unknown addresses that one account names: each answer tells who has an account."""

PEOPLE_ADDRESS: Final = RateLimit(60, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""The same for one network address."""

INVITE_ACCOUNT: Final = RateLimit(
    200, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1)
)
"""One account that has people mailed: whole laboratories are invited at once."""

INVITE_ADDRESS: Final = RateLimit(
    1000, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1)
)
"""One address, behind which a whole institution may be."""

ASK_ADDRESS: Final = RateLimit(100, timedelta(seconds=30), timedelta(hours=1), timedelta(hours=1))
"""One address from which many ask, as a class does that was given a link."""

JOIN_ADDRESS: Final = RateLimit(200, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""The same for groups."""

SIGN_UP_LINK: Final = RateLimit(20, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One invitation by which an account is to be made: each try tells whether a name is taken."""

SIGN_UP_ADDRESS: Final = RateLimit(100, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One address from which accounts are made; a course signs up from one room."""

DEVICE_ADDRESS: Final = RateLimit(30, timedelta(seconds=5), _TEN_MINUTES, _TEN_MINUTES)
"""One address from which programs wait to be let in."""

MAIL_INVITEE: Final = RateLimit(5, timedelta(minutes=1), timedelta(hours=1), timedelta(hours=1))
"""One invitation that is mailed again and again."""

FORWARDED: Final = RateLimit(
    allowed=1_000_000,
    initial_delay=timedelta(seconds=1),
    max_delay=timedelta(seconds=1),
    window=timedelta(days=1),
)
"""Headers of a proxy that is not trusted: noted for the operator, and nobody waits for it."""


def backoff(limit: RateLimit, count: int) -> timedelta:
    """Give the delay after so many failures."""
    over = count - limit.allowed
    if over <= 0:
        return timedelta()
    # Beyond twenty doublings every limit is at its longest, and a float at its end.
    return min(limit.initial_delay * int(2 ** min(over - 1, 20)), limit.max_delay)
