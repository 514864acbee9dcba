"""Run what is due by time alone: expired invitations, reminders, scheduled starts, ended roles.

New events are looked at for hooks, and their deliveries queued. What removed identity providers
vouched for is taken back.

E-mails about roles are made of notices. Reviews of roles are looked for once an hour:
that reads all scopes. Statistics of the whole service are counted once an hour, when nothing else
is due.

Each takes effect once. Expiry does not depend on this: every right is checked when it is used.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from math import inf
from time import monotonic
from typing import Final

import structlog

from collegium.accounts.mail_preferences import queries as preference_queries
from collegium.db.database import Database, ReadTransaction, WriteTransaction
from collegium.hooks import actions as hook_actions
from collegium.hooks import new_events
from collegium.hooks.new_events import Batch
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.notices import queries as notice_queries
from collegium.memberships.notices.rules import COLLECT
from collegium.reviews import actions as review_actions
from collegium.reviews import queries as review_queries
from collegium.reviews.rules import REMIND_EVERY
from collegium.settings import Settings
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import removal

_BATCH: Final = 100
_REVIEWS_EVERY: Final = timedelta(hours=1)
_STATISTICS_EVERY: Final = timedelta(hours=1)
_REMINDERS_EVERY: Final = timedelta(minutes=1)

_log = structlog.get_logger()


class Scheduler:
    """Runs everything that has become due. Several schedulers may share a database.

    Args:
        now: Returns the current time; the clock of the transaction when None.
    """

    def __init__(
        self, database: Database, settings: Settings, now: Callable[[], datetime] | None = None
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = now
        self._gap = new_events.Gap()
        # Nothing was due then.
        self._reviews_checked: datetime | None = None
        self._reminders_checked: datetime | None = None
        self._counted: datetime | None = None

    def run(self, seconds: float = inf) -> int:
        """Run every due action, each in its own transaction; return how many took effect.

        Roles that ended, and e-mails about roles, are the exception: one batch shares a
        transaction.

        Args:
            seconds: After this time no further round begins. The rest stays due.

        Raises:
            UnavailableError: The database is not available.
        """
        total = 0
        end = monotonic() + seconds
        while True:
            actions = self._load_due_actions()
            round_total = 0
            for action in actions:
                with self._database.write(self._now()) as tx:
                    tx.is_bulk = True
                    round_total += action(tx)
            total += round_total
            # An action that another worker did first is not due any more. An action that keeps
            # failing to take effect must not cause an endless loop.
            if not round_total:
                self._count_statistics()
            if not round_total or monotonic() > end:
                return total

    def _now(self) -> datetime | None:
        return self._clock() if self._clock else None

    def _count_statistics(self) -> None:
        """Count and store the statistics of the service if nobody has done it for an hour."""
        from collegium.statistics import queries as statistics_queries  # noqa: PLC0415 - takes memory, and few workers need it

        with self._database.read(self._now()) as tx:
            if not self._is_old(tx.now):
                return
            self._counted = statistics_queries.counted_at(
                tx
            )  # by another worker, or before a start
            if not self._is_old(tx.now):
                return
            found = statistics_queries.of_site(tx)
        with self._database.write(self._now()) as tx:
            statistics_queries.store(tx, found)
        self._counted = found.figures.at

    def _is_old(self, now: datetime) -> bool:
        return self._counted is None or now >= self._counted + _STATISTICS_EVERY

    def _load_due_actions(self) -> list[Callable[[WriteTransaction], int]]:
        settings = self._settings
        with self._database.read(self._now()) as tx:
            reviews = self._load_due_reviews(tx)
            ended = membership_queries.expired(tx, _BATCH)
            expired = invitation_queries.expired(tx, _BATCH)
            expiring = invitation_queries.expiring(tx, _BATCH)
            starting = invitation_queries.starting(tx, _BATCH)
            released = identity_queries.released(tx, _BATCH)
            batch = new_events.read(tx, self._gap)
            notices = self._load_due_notices(tx)
        return [
            *reviews,
            # In one transaction: each is two short writes, and a commit takes longer than both.
            *([lambda tx: sum(membership_actions.end_expired(tx, n) for n in ended)] * bool(ended)),
            *(lambda tx, n=n: invitation_actions.notify_expired(tx, n) for n in expired),
            *(lambda tx, n=n: invitation_actions.remind(tx, settings, n) for n in expiring),
            *(lambda tx, n=n: invitation_actions.release(tx, settings, n) for n in starting),
            *(lambda tx, n=n: removal.withdraw_released(tx, settings, n) for n in released),
            *([lambda tx: self._queue_for_hooks(tx, batch)] if batch else []),
            *notices,
        ]

    def _queue_for_hooks(self, tx: WriteTransaction, batch: Batch) -> int:
        queued = hook_actions.queue(tx, self._settings, batch)
        for hook, count in queued.dropped.items():
            _log.warning("events of a hook dropped: too many are waiting", hook=hook, count=count)
        return queued.deliveries

    def _load_due_notices(self, tx: ReadTransaction) -> list[Callable[[WriteTransaction], int]]:
        settings = self._settings
        due: list[Callable[[WriteTransaction], int]] = []
        if notice_queries.is_any_ready(tx, tx.now - COLLECT):
            due.append(lambda tx: notice_actions.enqueue_mails(tx, settings))
        checked = self._reminders_checked
        if not settings.role_notifications or (
            checked is not None and tx.now < checked + _REMINDERS_EVERY
        ):
            return due
        reminders = notice_queries.is_reminder_due(tx)
        if reminders:
            due.append(notice_actions.remind)
        digests = preference_queries.is_any_due(tx)
        if digests:
            due.append(notice_actions.send_digests)
        if not reminders and not digests:
            self._reminders_checked = tx.now
        return due

    def _load_due_reviews(self, tx: ReadTransaction) -> list[Callable[[WriteTransaction], int]]:
        seconds, checked = self._settings.review_interval, self._reviews_checked
        if seconds is None or (checked is not None and tx.now < checked + _REVIEWS_EVERY):
            return []
        interval = timedelta(seconds=seconds)
        due = review_queries.due(tx, interval, _BATCH)
        forgotten = review_queries.forgotten(tx, REMIND_EVERY, _BATCH)
        if not due and not forgotten:
            self._reviews_checked = tx.now
        return [
            *(lambda tx, n=n: review_actions.open_review(tx, n, interval) for n in due),
            *(lambda tx, n=n: review_actions.remind(tx, n) for n in forgotten),
        ]
