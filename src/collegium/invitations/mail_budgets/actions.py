"""The budget of an address: 20 mails of invitations a day, while none of them was accepted.

Counted for all senders and scopes together. The mails of invitations count, first ones,
repeated ones and reminders, and those that ask to confirm a new address. Mails to set a password
do not: whoever fills a budget must not keep an account from its owner.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from collegium.invitations.mail_budgets import queries as mail_budget_queries
from collegium.invitations.mail_budgets.rules import next_slot
from collegium.refusals import Limited

if TYPE_CHECKING:
    from datetime import datetime

    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction
    from collegium.settings import Settings


def spend(tx: WriteTransaction, settings: Settings, address: str, actor: Actor) -> None:
    """Count a mail to an address, which somebody has sent now.

    Mails that staff send count, and are never refused.

    Refuses: Limited ``mail_budget.spent`` with ``address`` and ``seconds``.
    """
    if not _is_counted(settings):
        return
    sent = mail_budget_queries.lock(tx, address)
    slot = next_slot(sent, tx.now, settings.recipient_mail_limit)
    if slot > tx.now and not actor.is_staff:
        seconds = max(1, ceil((slot - tx.now).total_seconds()))
        raise Limited("mail_budget.spent", address=address, seconds=seconds)
    mail_budget_queries.put(tx, address, [*sent, tx.now])


def plan(tx: WriteTransaction, settings: Settings, address: str, until: datetime) -> datetime:
    """Count a mail that the service sends by itself; return when it may go, now or later.

    Args:
        until: when the mail loses its point. One that is due only then is never sent, so it is
            not counted: invitations that wait for their project, as many as somebody likes, must
            not keep an address from everybody else for longer than that.
    """
    if not _is_counted(settings):
        return tx.now
    sent = mail_budget_queries.lock(tx, address)
    slot = next_slot(sent, tx.now, settings.recipient_mail_limit)
    if slot < until:
        mail_budget_queries.put(tx, address, [*sent, slot])
    return slot


def restore(tx: WriteTransaction, address: str) -> None:
    """Begin anew for an address whose person has accepted what was mailed there."""
    mail_budget_queries.forget(tx, address)


def _is_counted(settings: Settings) -> bool:
    return settings.rate_limits
