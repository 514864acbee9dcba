"""Mail budgets: limit the invitation e-mails to one address, by default to 20 a day.

All senders and scopes count together. The budget counts first invitations, repeated ones and
reminders, and e-mails that confirm a new address. E-mails that reset a password do not count:
otherwise an attacker could fill a budget and keep the owner from their account. An acceptance
from the address resets its budget.
"""

from __future__ import annotations

from datetime import datetime
from math import ceil

from collegium.access.rules import Actor
from collegium.db.database import WriteTransaction
from collegium.invitations.mail_budgets import queries as mail_budget_queries
from collegium.invitations.mail_budgets.rules import next_slot
from collegium.refusals import Limited
from collegium.settings import Settings


def spend(tx: WriteTransaction, settings: Settings, email: str, actor: Actor) -> None:
    """Count an e-mail to an address that an actor sends now.

    E-mails that staff send count, but are never refused.

    Raises:
        Limited: ``mail_budget.spent`` with ``email`` and ``seconds`` until the next e-mail may
            go.
    """
    if not _is_counted(settings):
        return
    sent = mail_budget_queries.lock(tx, email)
    slot = next_slot(sent, tx.now, settings.recipient_mail_limit)
    if slot > tx.now and not actor.is_staff:
        seconds = max(1, ceil((slot - tx.now).total_seconds()))
        raise Limited("mail_budget.spent", address=email, seconds=seconds)
    mail_budget_queries.set_times(tx, email, [*sent, tx.now])


def plan(tx: WriteTransaction, settings: Settings, email: str, until: datetime) -> datetime:
    """Count an e-mail that the service sends itself; return when it may be sent, now or later.

    Args:
        until: the time from which the e-mail is pointless, UTC. If the budget only allows it
            then, it is never sent, so it is not counted. Otherwise many scheduled invitations of
            one sender could block an address for all others for longer than that.
    """
    if not _is_counted(settings):
        return tx.now
    sent = mail_budget_queries.lock(tx, email)
    slot = next_slot(sent, tx.now, settings.recipient_mail_limit)
    if slot < until:
        mail_budget_queries.set_times(tx, email, [*sent, slot])
    return slot


def restore(tx: WriteTransaction, email: str) -> None:
    """Reset the budget of an address, because its owner has accepted an invitation sent there."""
    mail_budget_queries.reset(tx, email)


def _is_counted(settings: Settings) -> bool:
    return settings.rate_limits
