"""Mail budgets: limit the invitation e-mails to one address, by default to 20 a day.

All senders and scopes count together. The budget counts first invitations, repeated ones and
reminders, and e-mails that confirm a new address. E-mails that reset a password do not count:
otherwise an attacker could fill a budget and keep the owner from their account. An acceptance
from the address resets its budget.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from math import ceil

from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
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
    (refusal,) = spend_all(tx, settings, [email], actor)
    if refusal is not None:
        raise refusal


def spend_all(
    tx: WriteTransaction, settings: Settings, emails: Sequence[str], actor: Actor
) -> list[Limited | None]:
    """Count e-mails to several addresses, as ``spend`` does.

    Returns:
        None for each e-mail that may be sent; otherwise the refusal ``mail_budget.spent`` with the
        address and the ``seconds`` until the next e-mail may go.
    """
    if not _is_counted(settings) or not emails:
        return [None] * len(emails)
    sent = mail_budget_queries.lock(tx, emails)
    changed: dict[str, list[datetime]] = {}
    refusals: list[Limited | None] = []
    for email in emails:
        recipient = mail_budget_queries.recipient_of(email)
        refusal = _refusal(sent[recipient], tx.now, settings, email, actor)
        if refusal is None:
            sent[recipient] = changed[recipient] = [*sent[recipient], tx.now]
        refusals.append(refusal)
    mail_budget_queries.set_times(tx, changed)
    return refusals


def refusals(
    tx: ReadTransaction, settings: Settings, emails: Sequence[str], actor: Actor
) -> list[Limited | None]:
    """Return for each address why no e-mail can go there now, and count nothing."""
    if not _is_counted(settings) or actor.is_staff:
        return [None] * len(emails)
    sent = mail_budget_queries.sent_to(tx, emails)
    return [
        _refusal(
            sent.get(mail_budget_queries.recipient_of(email), ()), tx.now, settings, email, actor
        )
        for email in emails
    ]


def _refusal(
    sent: Collection[datetime], now: datetime, settings: Settings, email: str, actor: Actor
) -> Limited | None:
    """Return why an actor cannot send an e-mail to an address now; None if they can.

    Args:
        sent: times of the e-mails to the address, UTC.
    """
    slot = next_slot(sent, now, settings.recipient_mail_limit)
    if slot <= now or actor.is_staff:
        return None
    seconds = max(1, ceil((slot - now).total_seconds()))
    return Limited("mail_budget.spent", address=email, seconds=seconds)


def plan(tx: WriteTransaction, settings: Settings, email: str, until: datetime) -> datetime:
    """Count an e-mail that the service sends itself; return when it may be sent, now or later.

    Args:
        until: the time from which the e-mail is pointless, UTC. If the budget only allows it
            then, it is never sent, so it is not counted. Otherwise many scheduled invitations of
            one sender could block an address for all others for longer than that.
    """
    if not _is_counted(settings):
        return tx.now
    ((recipient, sent),) = mail_budget_queries.lock(tx, [email]).items()
    slot = next_slot(sent, tx.now, settings.recipient_mail_limit)
    if slot < until:
        mail_budget_queries.set_times(tx, {recipient: [*sent, slot]})
    return slot


def plan_for(tx: WriteTransaction, settings: Settings, key: str, earliest: datetime) -> datetime:
    """Count an e-mail of somebody's hooks; return when it may be sent, ``earliest`` or later.

    Args:
        key: names the sender; no address equals it.
    """
    if not _is_counted(settings):
        return earliest
    ((recipient, sent),) = mail_budget_queries.lock(tx, [key]).items()
    slot = next_slot(sent, earliest, settings.hook_mail_limit)
    mail_budget_queries.set_times(tx, {recipient: [*sent, slot]})
    return slot


def restore(tx: WriteTransaction, email: str) -> None:
    """Reset the budget of an address, because its owner has accepted an invitation sent there."""
    mail_budget_queries.reset(tx, email)


def _is_counted(settings: Settings) -> bool:
    return settings.rate_limits
