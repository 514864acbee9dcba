"""How often people may be mailed or asked, and accounts be made: counted together in all dialects.

Each limit holds for the account and for the address that it comes from; another account from
another address goes on. Staff are not counted: who may do everything needs no mails to do harm,
and their programs invite by the thousand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.rules.tries import (
    ASK_ADDRESS,
    INVITE_ACCOUNT,
    INVITE_ADDRESS,
    JOIN_ACCOUNT,
    JOIN_ADDRESS,
    MAIL_ACCOUNT,
    Limit,
)

if TYPE_CHECKING:
    from collegium.dialects.http import Call
    from collegium.store.db import Write

INVITE: Final = "invite"
"""Having somebody mailed an invitation, for the first time or again."""

ASK: Final = "ask"
"""Asking by a link for many, which mails those who decide."""

JOIN: Final = "join"
"""Asking a group."""

_LIMITS: Final[dict[str, tuple[Limit, Limit]]] = {
    INVITE: (INVITE_ACCOUNT, INVITE_ADDRESS),
    ASK: (MAIL_ACCOUNT, ASK_ADDRESS),
    JOIN: (JOIN_ACCOUNT, JOIN_ADDRESS),
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
        for subject, limit in zip(_subjects(call, what), _LIMITS[what], strict=True):
            for _ in range(many):
                call.count(tx, subject, limit)
