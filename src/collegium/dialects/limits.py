"""How often people may be mailed or asked, and accounts be made: counted together in all dialects.

What tells who has an account is counted here as well, by the unknown addresses that it names.

Each limit holds for the account and for the address that it comes from; another account from
another address goes on. Staff are not counted: who may do everything needs no mails to do harm,
and their programs invite by the thousand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.rules.refusals import Limited
from collegium.rules.tries import (
    ASK_ADDRESS,
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

    from collegium.dialects.http import Call
    from collegium.store.db import Write

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
