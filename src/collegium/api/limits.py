"""How often people may be mailed or asked, and accounts be made: counted together in all dialects.

What tells who has an account is counted here as well, by the unknown addresses that it names.

Each limit holds for the account and for the address that it comes from; another account from
another address goes on. Staff are not counted: who may do everything needs no mails to do harm,
and their programs invite by the thousand.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from collegium import hosts
from collegium.db.database import UnavailableError
from collegium.refusals import Limited
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import (
    ASK_ADDRESS,
    FORWARDED,
    INVITE_ACCOUNT,
    INVITE_ADDRESS,
    JOIN_ACCOUNT,
    JOIN_ADDRESS,
    MAIL_ACCOUNT,
    PEOPLE_ACCOUNT,
    PEOPLE_ADDRESS,
    RateLimit,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from collegium.api.request import RequestContext
    from collegium.db.database import Database, WriteTransaction

_log = structlog.get_logger()

INVITE: Final = "invite"
"""Having somebody mailed an invitation, for the first time or again."""

ASK: Final = "ask"
"""Asking by a link for many, which mails those who decide."""

JOIN: Final = "join"
"""Asking a group."""

PEOPLE: Final = "people"
"""Naming an address that nobody has here, where the answer tells it."""

_LIMITS: Final[dict[str, tuple[RateLimit, RateLimit]]] = {
    INVITE: (INVITE_ACCOUNT, INVITE_ADDRESS),
    ASK: (MAIL_ACCOUNT, ASK_ADDRESS),
    JOIN: (JOIN_ACCOUNT, JOIN_ADDRESS),
    PEOPLE: (PEOPLE_ACCOUNT, PEOPLE_ADDRESS),
}


def _subjects(context: RequestContext, what: str) -> tuple[str, str]:
    return f"{what} account {context.actor.id}", f"{what} address {context.network}"[:128]


def check(context: RequestContext, what: str) -> None:
    """Let nobody go on who has done it too often.

    Refuses: Limited ``tries.wait``.
    """
    if not context.actor.is_staff:
        context.check_rate_limits(*_subjects(context, what))


def count(context: RequestContext, tx: WriteTransaction, what: str, many: int = 1) -> None:
    """Count that it was done, so many times, in the transaction that does it."""
    if not context.actor.is_staff:
        _count(context, tx, what, many)


def _count(context: RequestContext, tx: WriteTransaction, what: str, many: int) -> timedelta:
    return max(
        context.count_attempt(tx, subject, limit, many)
        for subject, limit in zip(_subjects(context, what), _LIMITS[what], strict=True)
    )


def count_unknown(context: RequestContext, many: int) -> None:
    """Count addresses that a request has named and nobody has, before its answer tells which.

    In a transaction of its own: that of the action was rolled back, or never begun. What goes
    beyond the limit is refused as a whole, so that no request is worth more than what is free.

    Refuses: Limited ``tries.wait``.
    """
    if context.actor.is_staff or not many:
        return
    with context.write() as tx:
        delay = _count(context, tx, PEOPLE, many)
    if delay:
        raise Limited("tries.wait", seconds=context.seconds_until(context.now + delay))


UNKNOWN_ADDRESSES: Final = "forwarded by "
"""What a proxy that is not trusted is counted as, with its address behind."""

_LOG_AGAIN_SECONDS: Final = 3600.0
_LOGGED_MAX: Final = 20


class UntrustedProxyLog:
    """Notes, for ``collegium doctor``, which addresses send the headers of a proxy in vain.

    Each once an hour and few in all, for anybody can send such a header.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, float] = {}

    def __call__(self, given: str) -> None:
        """Note an address."""
        now = monotonic()
        if now - self._noted.get(given, -_LOG_AGAIN_SECONDS) < _LOG_AGAIN_SECONDS:
            return
        if len(self._noted) >= _LOGGED_MAX:
            kept = {one: at for one, at in self._noted.items() if now - at < _LOG_AGAIN_SECONDS}
            self._noted = kept
            if len(kept) >= _LOGGED_MAX:
                return
        self._noted[given] = now
        address = hosts.address(given) or ""
        _log.warning("headers of a proxy that is not trusted were ignored", address=address)
        with suppress(UnavailableError), self._database.write() as tx:
            rate_limit_queries.record_failure(tx, UNKNOWN_ADDRESSES + address, FORWARDED)
