"""Rules for delays after too many attempts (exponential backoff).

Some limits count failures, such as wrong passwords, others every attempt, such as sent e-mails.

Nobody is locked out permanently. Delays that a stranger can cause for another account stay short.
Long delays apply only to an address, and to an account from one address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
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


_SECOND: Final = timedelta(seconds=1)
_TEN_MINUTES: Final = timedelta(minutes=10)
_HOUR: Final = timedelta(hours=1)


def _in_minutes(allowed: int) -> RateLimit:
    """Return a limit with delays of 5 seconds to 10 minutes, which is forgotten as soon."""
    return RateLimit(allowed, 5 * _SECOND, _TEN_MINUTES, _TEN_MINUTES)


def _in_hours(allowed: int, initial_delay: timedelta = 30 * _SECOND) -> RateLimit:
    """Return a limit with delays of up to an hour, which is forgotten as soon."""
    return RateLimit(allowed, initial_delay, _HOUR, _HOUR)


class Per(Enum):
    """Whose attempts count together; the value is a part of the key."""

    ACCOUNT = "account"
    NETWORK = "address"
    TARGET = "target"
    TARGET_AND_NETWORK = "pair"


_KEY_MAX: Final = 128


@dataclass(frozen=True)
class Limit:
    """What is limited. All protocols count it together.

    Args:
        name: first word of the keys.
        rates: how many attempts are allowed, by account, by network, by what they aim at.
        exempts_staff: whether staff may do it without a limit. They may do everything anyway, and
            their programs send invitations by the thousand.
    """

    name: str
    rates: Mapping[Per, RateLimit]
    exempts_staff: bool = False

    def keys(self, account: int, network: str, target: str) -> dict[str, RateLimit]:
        """Return the keys under which an attempt counts, in the order of ``rates``.

        Args:
            account: id of the account that tries.
            network: network of the client.
            target: what the attempt aims at, for example the UUID of an invitation.
        """
        subjects = {
            Per.ACCOUNT: account,
            Per.NETWORK: network,
            Per.TARGET: target,
            Per.TARGET_AND_NETWORK: f"{target} {network}",
        }
        return {
            f"{self.name} {per.value} {subjects[per]}"[:_KEY_MAX]: rate
            for per, rate in self.rates.items()
        }


LOGIN_HERE: Final = Limit(
    "login", {Per.TARGET_AND_NETWORK: RateLimit(3, _TEN_MINUTES, _TEN_MINUTES, _TEN_MINUTES)}
)
"""Failed password sign-ins with one user name from one network; the fourth locks it.

The target of a sign-in is a digest of the user name.
"""

LOGIN_NAME: Final = Limit("login", {Per.TARGET: RateLimit(10, _SECOND, 30 * _SECOND, _TEN_MINUTES)})
"""The same from all networks. The delays are short, because strangers can cause them."""

LOGIN_NETWORK: Final = Limit("login", {Per.NETWORK: _in_minutes(30)})
"""The same from one network with all user names."""

CODE: Final = Limit("code", {Per.NETWORK: _in_minutes(10)})
"""Wrong codes, links and UUIDs, wherever they are guessed."""

PROVIDER: Final = Limit(
    # A whole institution may come from one network.
    "provider",
    {Per.NETWORK: _in_minutes(300)},
)
"""Sign-ins at identity providers that are begun, and those that fail."""

STRAY_RETURN: Final = Limit("stray return", PROVIDER.rates)
"""Returns from identity providers in browsers that were never sent there. They count apart, so
that nobody prevents the sign-ins of a network with requests that need no sign-in."""

REFRESH: Final = Limit("refresh", CODE.rates)
"""Wrong refresh tokens. Programs send them by mistake, so they count apart from guesses."""

DEVICE: Final = Limit("device", {Per.NETWORK: _in_minutes(30)})
"""Device sign-ins that are begun."""

PASSKEY: Final = Limit("passkey", {Per.NETWORK: _in_minutes(60)})
"""Sign-ins with a passkey that are begun, and answers that are refused."""

INVITE: Final = Limit(
    "invite",
    {
        # Whole laboratories are invited at once, and a network may be that of an institution.
        Per.ACCOUNT: _in_hours(200),
        Per.NETWORK: _in_hours(1000),
    },
    exempts_staff=True,
)
"""Sending an invitation e-mail, for the first time or again."""

IMPORT: Final = Limit(
    # A file takes some seconds to judge, and as many people are invited as it has rows. A file is
    # uploaded again when it was corrected.
    "import",
    {Per.ACCOUNT: _in_hours(20), Per.NETWORK: _in_hours(100)},
    exempts_staff=True,
)
"""Uploading a file with people to invite."""

IMPORT_START: Final = Limit(
    "import start", {Per.ACCOUNT: _in_hours(5, 60 * _SECOND)}, exempts_staff=True
)
"""Starting an import, however many people it invites."""

BULK_CHANGE: Final = Limit(
    "bulk change", {Per.ACCOUNT: _in_hours(30, 60 * _SECOND)}, exempts_staff=True
)
"""Choosing rows of a list that are changed together, however many."""

EXPORT: Final = Limit("export", {Per.ACCOUNT: _in_hours(30)})
"""Downloading the members, invitations or audit log of a scope, all of them at once."""

RESEND: Final = Limit("send", {Per.TARGET: _in_hours(5, 60 * _SECOND)})
"""Sending the e-mail of one invitation again, no matter which account does."""

ASK: Final = Limit(
    "ask",
    {
        Per.ACCOUNT: _in_hours(10),
        # A whole class may get a link.
        Per.NETWORK: _in_hours(100),
    },
    exempts_staff=True,
)
"""Making a join request through an invite link, which e-mails those who decide on it."""

JOIN: Final = Limit(
    "join", {Per.ACCOUNT: _in_minutes(20), Per.NETWORK: _in_minutes(200)}, exempts_staff=True
)
"""Making a join request to a group."""

_PEOPLE: Final = _in_minutes(60)
PEOPLE: Final = Limit(
    "people", dict.fromkeys((Per.ACCOUNT, Per.NETWORK), _PEOPLE), exempts_staff=True
)
"""Naming an e-mail address that no account has, where the response reveals that."""

_MAIL: Final = _in_hours(10)
MAIL: Final = Limit("mail", {Per.ACCOUNT: _MAIL})
"""E-mails to a new address, which the account chooses."""

PASSWORD_MAIL: Final = Limit("password", dict.fromkeys((Per.TARGET, Per.NETWORK), _MAIL))
"""E-mails to set a new password. The target is a digest of the address."""

SIGN_UP: Final = Limit(
    "sign up",
    {
        # Each attempt reveals whether a user name is taken.
        Per.TARGET: _in_minutes(20),
        # A whole course may sign up in one room.
        Per.NETWORK: _in_minutes(100),
    },
)
"""Attempts to create an account with an invitation, which is the target."""

FORWARDED: Final = RateLimit(1_000_000, _SECOND, _SECOND, timedelta(days=1))
"""Forwarding headers of an untrusted proxy. They are counted for the operator, without a delay."""


def backoff(limit: RateLimit, count: int) -> timedelta:
    """Return the delay after a number of failures."""
    excess = count - limit.allowed
    if excess <= 0:
        return timedelta()
    # After twenty doublings every limit has reached its maximum. More would overflow a float.
    return min(limit.initial_delay * int(2 ** min(excess - 1, 20)), limit.max_delay)
