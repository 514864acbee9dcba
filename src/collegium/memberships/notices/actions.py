"""Notify people of changes of their roles: add notices, and make e-mails of them.

Each action that changes grants adds a notice here, in the same transaction and with one statement,
however many grants change. The worker makes e-mails of the notices. There is none of what people
did themselves, and of what another e-mail says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

from collegium.access.rules import Actor
from collegium.accounts.mail_preferences import queries as preference_queries
from collegium.accounts.mail_preferences.rules import next_digest
from collegium.db.database import WriteTransaction
from collegium.memberships.notices import queries as notice_queries
from collegium.memberships.notices.queries import NoticeRow
from collegium.memberships.notices.rules import COLLECT, LISTED, Item, Kind, is_late, select_items
from collegium.memberships.queries import GrantRow
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.settings import Settings

BATCH = 100
"""Maximum number of people who get e-mails from one transaction of the worker."""

_NOTICES_MAX = 2000
_MAILS = {
    Kind.GRANTED: mails.RoleGranted,
    Kind.CHANGED: mails.RoleChanged,
    Kind.ENDING: mails.RoleEnding,
    Kind.ENDED: mails.RoleEnded,
    Kind.REMOVED: mails.RoleRemoved,
}


def granted(
    tx: WriteTransaction, actor: Actor | None, grant: int, former: int | None = None
) -> None:
    """Add a notice that a role was given.

    Args:
        actor: the account that acts; None for claim rules.
        grant: id of the grant.
        former: id of the grant that this one replaces; None if it replaces none.
    """
    kind = Kind.GRANTED if former is None else Kind.CHANGED
    notice_queries.add(tx, kind, grant, *_people(actor), former)


def end_changed(tx: WriteTransaction, actor: Actor, grant: int) -> None:
    """Add a notice that a grant has another end."""
    notice_queries.add(tx, Kind.CHANGED, grant, *_people(actor))


def removed(tx: WriteTransaction, actor: Actor | None, grant: int) -> None:
    """Add a notice that a role was taken away; otherwise as ``granted``."""
    notice_queries.add(tx, Kind.REMOVED, grant, *_people(actor))


def removed_all(tx: WriteTransaction, actor: Actor, grants: Collection[int]) -> None:
    """Add notices that several roles were taken away.

    Args:
        grants: ids of the grants.
    """
    notice_queries.add_many(tx, Kind.REMOVED, grants, *_people(actor))


def removing_all(tx: WriteTransaction, actor: Actor, scope: int) -> None:
    """Add notices that all roles in a scope are removed. Call it before they are.

    Args:
        scope: id of the locked scope.
    """
    notice_queries.add_removals(tx, scope, *_people(actor))


def granted_all(tx: WriteTransaction, actor: Actor, scope: int) -> None:
    """Add notices of all roles in a scope that begin in this transaction."""
    notice_queries.add_grants(tx, scope, *_people(actor))


def ended(tx: WriteTransaction, grant: GrantRow) -> None:
    """Add a notice that a role has ended because its time was over."""
    if grant.valid_until is not None and not is_late(grant.valid_until, tx.now):
        notice_queries.add(tx, Kind.ENDED, grant.id, None, None)


def _people(actor: Actor | None) -> tuple[int | None, int | None]:
    """Return whom the e-mail may name, and who is not told.

    Members of staff who act as somebody else stay unnamed, and so does that account: it did
    nothing, and so is told what happened to itself.
    """
    if actor is None or actor.impersonator is not None:
        return None, None
    return actor.id, actor.id


def remind(tx: WriteTransaction) -> int:
    """Add reminders of ends of roles that are near, each once; return how many."""
    grants = notice_queries.take_reminders(tx, BATCH)
    if grants:
        notice_queries.add_many(tx, Kind.ENDING, grants)
    return len(grants)


def enqueue_mails(tx: WriteTransaction, settings: Settings) -> int:
    """Make e-mails of the notices, one of each kind for a person.

    The notices are removed in the same transaction, so each takes effect once. Return their number.
    """
    notices = notice_queries.take(tx, tx.now - COLLECT, BATCH, _NOTICES_MAX)
    if notices and settings.role_notifications:
        by_account: dict[int, list[NoticeRow]] = {}
        for notice in notices:
            by_account.setdefault(notice.account_id, []).append(notice)
        numbers = {one for row in notices for one in (row.grant_id, row.former_id) if one}
        grants = notice_queries.states(tx, numbers)
        wanted = preference_queries.wanted(tx, by_account)
        for account in preference_queries.recipients(tx, by_account).values():
            items = select_items(by_account[account.id], grants, tx.now)
            for kind in Kind:
                of_kind = [one for one in items if one.kind is kind]
                if of_kind and kind.value in wanted[account.id]:
                    roles, more = _listed(of_kind)
                    mail = _MAILS[kind](account.email, account.id, roles, more)
                    outbox_queries.enqueue(tx, mail)
    return len(notices)


def _listed(items: Iterable[Item[NoticeRow]]) -> tuple[list[mails.RoleItem], int]:
    """Return the data of the roles that an e-mail names, and the number of further ones."""
    roles = [
        mails.RoleItem(
            grant=one.grant,
            former=one.former,
            actor=one.notice.actor_id,
            scope_name=one.notice.scope_name,
        )
        for one in items
    ]
    return roles[:LISTED], len(roles[LISTED:])


def send_digests(tx: WriteTransaction) -> int:
    """Queue the weekly e-mails that are due, and plan the next ones; return how many were due.

    Weeks in which no worker ran are left out.
    """
    due = preference_queries.take_due(tx, next_digest(tx.now), BATCH)
    for account in preference_queries.recipients(tx, due).values():
        outbox_queries.enqueue(tx, mails.RoleDigest(account.email, account.id))
    return len(due)


SOON = timedelta(days=14)
"""The weekly e-mail names the roles that end within this time."""
