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
from collegium.db.database import Unavailable
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
    Limit,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from collegium.api.request import Call
    from collegium.db.database import Database, Write

_log = structlog.get_logger()

INVITE: Final = "invite"
"""Having somebody mailed an invitation, for the first time or again."""

ASK: Final = "ask"
"""Asking by a link for many, which mails those who decide."""

JOIN: Final = "join"
"""Asking a group."""

PEOPLE: Final = "people"
"""Naming an address that nobody has here, where the answer tells it."""

_LIMITS: Final[dict[str, tuple[Limit, Limit]]] = {
    INVITE: (INVITE_ACCOUNT, INVITE_ADDRESS),
    ASK: (MAIL_ACCOUNT, ASK_ADDRESS),
    JOIN: (JOIN_ACCOUNT, JOIN_ADDRESS),
    PEOPLE: (PEOPLE_ACCOUNT, PEOPLE_ADDRESS),
}


def _subjects(call: Call, what: str) -> tuple[str, str]:
    return f"{what} account {call.actor.id}", f"{what} address {call.network}"[:128]


def check(call: Call, what: str) -> None:
    """Let nobody go on who has done it too often.

    Refuses: Limited ``tries.wait``.
    """
    if not call.actor.is_staff:
        call.check_tries(*_subjects(call, what))


def count(call: Call, tx: Write, what: str, many: int = 1) -> None:
    """Count that it was done, so many times, in the transaction that does it."""
    if not call.actor.is_staff:
        _count(call, tx, what, many)


def _count(call: Call, tx: Write, what: str, many: int) -> timedelta:
    return max(
        call.count(tx, subject, limit, many)
        for subject, limit in zip(_subjects(call, what), _LIMITS[what], strict=True)
    )


def count_unknown(call: Call, many: int) -> None:
    """Count addresses that a request has named and nobody has, before its answer tells which.

    In a transaction of its own: that of the action was rolled back, or never begun. What goes
    beyond the limit is refused as a whole, so that no request is worth more than what is free.

    Refuses: Limited ``tries.wait``.
    """
    if call.actor.is_staff or not many:
        return
    with call.write() as tx:
        delay = _count(call, tx, PEOPLE, many)
    if delay:
        raise Limited("tries.wait", seconds=call.seconds_until(call.now + delay))


NOTED: Final = "forwarded by "
"""What a proxy that is not trusted is counted as, with its address behind."""

_NOTED_AGAIN: Final = 3600.0
_NOTED_MOST: Final = 20


class Untrusted:
    """Notes, for ``collegium doctor``, which addresses send the headers of a proxy in vain.

    Each once an hour and few in all, for anybody can send such a header.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, float] = {}

    def __call__(self, given: str) -> None:
        """Note an address."""
        now = monotonic()
        if now - self._noted.get(given, -_NOTED_AGAIN) < _NOTED_AGAIN:
            return
        if len(self._noted) >= _NOTED_MOST:
            kept = {one: at for one, at in self._noted.items() if now - at < _NOTED_AGAIN}
            self._noted = kept
            if len(kept) >= _NOTED_MOST:
                return
        self._noted[given] = now
        address = hosts.address(given) or ""
        _log.warning("headers of a proxy that is not trusted were ignored", address=address)
        with suppress(Unavailable), self._database.write() as tx:
            rate_limit_queries.failed(tx, NOTED + address, FORWARDED)
