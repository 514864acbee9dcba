"""The worker that delivers the outbox: claim, render, send, mark as done.

Entries are e-mails. Invitations may be configured to be sent to a webhook of the operator instead.
Calls of people's hooks are made by ``hook_calls``, in threads of their own.

Each entry is delivered at least once. A short transaction records the results of a batch and claims
the next one. Rendering reads in a transaction of its own, and sending happens outside of every
transaction. The lease of a worker that dies in between runs out, and another worker tries again.

A batch is small and ends soon, because after a crash it is sent again as far as it was sent, and
the rest of it waits until its lease expires. What cannot be tried soon is given back at once: a
lease covers the entry that is being sent and those that are sent within a moment.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final, NamedTuple

import structlog

from collegium import tracing
from collegium.accounts import views
from collegium.bulk_changes import actions as bulk_change_actions
from collegium.db import idempotency
from collegium.db.database import Database, ReadTransaction, UnavailableError, WriteTransaction
from collegium.hooks import actions as hook_actions
from collegium.imports import actions as import_actions
from collegium.integrations.eduteams.sync import DirectorySync
from collegium.invitations.mail_budgets import queries as mail_budget_queries
from collegium.lists import row_counts
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EventNotification, InvitationCreated
from collegium.outbox.outcomes import ObsoleteError, UndeliverableError, UnreachableError
from collegium.outbox.queries import ClaimedMail
from collegium.refusals import Conflict
from collegium.security.crypto import Vault
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.settings import Settings
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.site import queries as site_queries
from collegium.text.plain import one_line, short
from collegium.worker import invited_accounts, mail_language, mails, webhook
from collegium.worker.hook_calls import HookCalls
from collegium.worker.retries import MAX_ATTEMPTS, RETRY_DELAYS, log_reason, retry_at
from collegium.worker.scheduler import Scheduler
from collegium.worker.transport import Transport, open_transport

LEASE_SECONDS: Final = 120

OUTAGE_DELAYS: Final = RETRY_DELAYS[:3]
"""Pause of a channel after it was unreachable once, twice, and every further time."""

BATCH: Final = 10
"""Entries that are claimed together, and the most that are sent again after a crash."""

_POLL_INTERVAL: Final = 5.0  # seconds; another process may queue an e-mail without waking us
_OPTIMIZE_EVERY: Final = 3600.0  # seconds
_MEASURE_EVERY: Final = 5.0  # seconds; a database that has grown is optimised at once
_PURGE_EVERY: Final = 600.0  # seconds
_PURGE_BATCH: Final = 500  # entries that are deleted in one transaction
_PURGED_IMPORTS: Final = 5  # in one transaction, as bulk changes; each may have 20,000 rows
_YIELD: Final = 0.001  # seconds
_COMPACT_EVERY: Final = 60.0  # seconds; a count gets one part for each new row
_SCHEDULE_EVERY: Final = 1.0  # seconds; maximum delay of a notice about an expired invitation
_MAX_BATCH_SECONDS: Final = 2.0  # seconds; how long e-mails may delay the schedule
_BESIDE_SECONDS: Final = 0.5  # seconds; how long they may delay an import that goes on
_BATCH_SECONDS: Final = 0.2  # after this time no further entry of a batch is tried
_MIN_SLEEP: Final = 0.1  # seconds; another worker may hold what is due
_REASON_MAX: Final = 300

_log = structlog.get_logger()


@dataclass
class _Channel:
    """A channel for deliveries: e-mail or the webhook.

    Args:
        render: Turns an outbox entry into the message that ``transport`` sends.
        transport: Sends e-mails, or calls the webhook.
        outages: How many times in a row it was unreachable.
    """

    render: Callable[[ReadTransaction, Settings, Vault, ClaimedMail], Any]
    transport: Any
    outages: int = 0


class _Result(NamedTuple):
    """What became of an entry that was tried; ``outcome`` is None if it was sent."""

    row: ClaimedMail
    channel: _Channel
    outcome: ObsoleteError | UndeliverableError | None
    log: Any


class Worker:
    """Delivers the outbox, in one thread. Several workers may share a database.

    Args:
        transport: Transport of e-mails; that of ``MAIL_URL`` when None.
        clock: Returns the current time; the clock of the transaction when None.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        vault: Vault,
        transport: Transport | None = None,
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._awaits_setup = True
        self._vault = vault
        self._mail = _Channel(mails.render, transport or open_transport(settings.mail_url))
        # Channels of the kinds that are not sent by e-mail.
        self._channels: dict[str, _Channel] = {}
        if settings.invitation_use_webhooks:
            channel = _Channel(webhook.render, webhook.Webhook(settings))
            self._channels[InvitationCreated.kind] = channel
        # The last batch as far as the database does not know of it yet.
        self._results: list[_Result] = []
        self._untried: list[ClaimedMail] = []
        self._looked_up: dict[Any, Any] = {}
        self._clock = clock
        self._scheduler = Scheduler(database, settings, clock)
        self._next_schedule = self._next_optimize = self._next_compact = self._next_purge = 0.0
        self._next_growth_check = 0.0
        self._hook_calls = HookCalls(database, settings, clock)
        self._directory_sync = DirectorySync(database, settings, vault, clock=clock)
        self._wake_event = threading.Event()

    def once(self) -> int:
        """Try everything that is due now, and return the number of entries that were sent.

        This ends, because a failed entry becomes due in the future only.

        Raises:
            UnavailableError: The database is not available.
        """
        self._database.optimize()
        self._purge()
        self._compact()
        self._scheduler.run()
        self._run_long_work(threading.Event())
        sent = self._deliver_all(threading.Event())
        sent += self._hook_calls.run(threading.Event())
        while self._directory_sync.due():
            self._directory_sync.run_once()
        return sent

    def run(self, stop: threading.Event) -> None:
        """Deliver what becomes due until ``stop`` is set. To stop it, set it and call ``wake()``.

        No error ends it early: errors are logged, and the work is tried again after a pause.
        """
        while not stop.is_set():
            pause = _POLL_INTERVAL
            try:
                self._optimize()
                if time.monotonic() >= self._next_purge:
                    is_done = self._purge(_MAX_BATCH_SECONDS)
                    self._next_purge = time.monotonic() + (_PURGE_EVERY if is_done else 0)
                if time.monotonic() >= self._next_compact:
                    self._next_compact = time.monotonic() + _COMPACT_EVERY
                    self._compact()
                if time.monotonic() >= self._next_schedule:
                    self._next_schedule = time.monotonic() + _SCHEDULE_EVERY
                    # Limited, so that many expiries do not delay e-mails.
                    self._scheduler.run(_SCHEDULE_EVERY)
                    self._hook_calls.start(stop)
                has_more = self._run_long_work(stop, _MAX_BATCH_SECONDS)
                if self._results or self._untried or self._seconds_until_due() <= 0:
                    self._deliver_all(stop, _BESIDE_SECONDS if has_more else _MAX_BATCH_SECONDS)
                pause = max(self._seconds_until_due(), _MIN_SLEEP)
                if self._directory_sync.due():
                    self._directory_sync.run_once()
                    pause = 0.0
                pause = min(pause, max(self._next_schedule - time.monotonic(), _MIN_SLEEP))
                if has_more:
                    pause = 0.0
            except UnavailableError as error:
                _log.warning("outbox is waiting for the database", reason=str(error))
            except Exception as error:  # noqa: BLE001 - no error may end the loop; e-mails stay queued
                _log.error("outbox failed", traceback=log_reason(error))
            self._wake_event.wait(pause)
            self._wake_event.clear()

    def _optimize(self) -> None:
        """Optimise the database every hour, and soon after it has grown."""
        now = time.monotonic()
        if now >= self._next_growth_check:
            self._next_growth_check = now + _MEASURE_EVERY
            if self._database.has_grown():
                self._next_optimize = 0.0
        if now >= self._next_optimize:
            self._next_optimize = now + _OPTIMIZE_EVERY
            self._database.optimize()

    def _purge(self, seconds: float = inf) -> bool:
        """Delete old e-mails and records of views, and expired keys, limits, budgets and sign-ins.

        Args:
            seconds: After this time no further batch begins.

        Returns:
            Whether everything was deleted.
        """
        end = time.monotonic() + seconds
        with self._database.write(self._now()) as tx:
            rate_limit_queries.purge(tx)
            idempotency.purge(tx)
            mail_budget_queries.purge(tx)
            identity_queries.purge(tx)
            passkey_queries.purge(tx)
            import_actions.purge(tx, self._settings, _PURGED_IMPORTS)
            bulk_change_actions.purge(tx, self._settings, _PURGED_IMPORTS)
        kept = (
            (outbox_queries.purge, self._settings.outbox_retention),
            (views.purge, self._settings.view_records_retention),
        )
        return all(self._purge_batches(purge, retention, end) for purge, retention in kept)

    def _purge_batches(
        self, purge: Callable[[WriteTransaction, datetime, int], int], retention: int, end: float
    ) -> bool:
        """Delete old rows in batches, each in a transaction; return whether all were deleted.

        Args:
            purge: deletes rows from before a time, up to a number, and returns their number.
            retention: seconds for which rows are kept.
            end: after this time of the monotonic clock no further batch begins.
        """
        while True:
            with self._database.write(self._now()) as tx:
                deleted = purge(tx, tx.now - timedelta(seconds=retention), _PURGE_BATCH)
            if deleted < _PURGE_BATCH:
                return True
            if time.monotonic() > end:
                return False

    def _run_long_work(self, stop: threading.Event, seconds: float = inf) -> bool:
        """Do a batch of an import and one of a bulk change in turn, in short transactions.

        A bug in one kind of work must stop neither the other nor the e-mails. The work that fails
        is tried again the next time.

        Args:
            stop: Once it is set, no further batch begins.
            seconds: After this time no further batch begins.

        Returns:
            Whether there may be more to do.
        """
        end = time.monotonic() + seconds
        kinds = {"import": import_actions.run_next, "bulk change": bulk_change_actions.run_next}
        while not stop.is_set() and time.monotonic() < end:
            has_worked = False
            for kind, run_next in list(kinds.items()):
                try:
                    with self._database.write(self._now()) as tx:
                        has_worked |= run_next(tx, self._settings)
                except UnavailableError:
                    raise
                except Exception as error:  # noqa: BLE001 - see above
                    _log.error("long work failed", work=kind, traceback=log_reason(error))
                    del kinds[kind]
                # Other writers of this process take the lock meanwhile.
                stop.wait(_YIELD)
            if not has_worked:
                return False
        return True

    def _compact(self) -> None:
        if not self._database.is_sqlite:
            with self._database.write() as tx:
                row_counts.compact(tx)

    def wake(self) -> None:
        """Make ``run`` look for work at once. Call it after the commit that queued an e-mail.

        Thread-safe.
        """
        self._wake_event.set()

    def _now(self) -> datetime | None:
        return self._clock() if self._clock else None

    def _seconds_until_due(self) -> float:
        with self._database.read(self._now()) as tx:
            due = outbox_queries.next_due(tx)
        return (
            _POLL_INTERVAL if due is None else min((due - tx.now).total_seconds(), _POLL_INTERVAL)
        )

    def _deliver_all(self, stop: threading.Event, seconds: float = inf) -> int:
        """Deliver what is due, and return how many entries were sent.

        Args:
            stop: Once it is set, no further entry is tried.
            seconds: After this time no further entry is claimed.
        """
        sent = 0
        end = time.monotonic() + seconds
        try:
            while True:
                goes_on = not stop.is_set() and time.monotonic() < end
                rows = self._record_and_claim(BATCH if goes_on else 0)
                if not rows:
                    break
                sent += self._deliver(rows, stop)
        finally:
            for channel in (self._mail, *self._channels.values()):
                channel.transport.close()
        return sent

    def _record_and_claim(self, limit: int) -> list[ClaimedMail]:
        """Record the results of the last batch and claim the next one, in one transaction.

        Args:
            limit: Maximum number of entries; 0 to claim none.

        Raises:
            UnavailableError: The database is not available. The results are recorded next time.
        """
        if not limit and not self._results and not self._untried:
            return []
        try:
            with self._database.write(self._now()) as tx:
                outbox_queries.give_back(tx, self._untried)
                late = self._record(tx, self._results)
                rows = outbox_queries.claim(tx, limit, LEASE_SECONDS) if limit else []
        except UnavailableError:
            raise
        except Exception:
            self._record_separately()
            raise
        self._results, self._untried = [], []
        for result in late:
            result.log.warning(
                "mail result arrived too late: it was claimed again or discarded meanwhile"
            )
        return rows

    def _record_separately(self) -> None:
        """Record what can be recorded: a bug in one result must not stop the others.

        The lease of an entry whose result cannot be recorded expires.
        """
        while self._results:
            result = self._results[0]
            try:
                with self._database.write(self._now()) as tx:
                    self._record(tx, [result])
            except UnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - see above
                result.log.error("mail result cannot be recorded", traceback=log_reason(error))  # noqa: TRY400 - see log_reason
            self._results.pop(0)

    def _record(self, tx: WriteTransaction, results: list[_Result]) -> list[_Result]:
        """Record results; return those whose entry was claimed again or discarded meanwhile."""
        sent = [result.row for result in results if result.outcome is None]
        recorded = outbox_queries.mark_sent(tx, sent)
        # Hooks are locked in the order of their ids everywhere.
        in_order = sorted(results, key=lambda result: int(result.row.payload.get("hook", 0)))
        for row, channel, outcome, _log in in_order:
            if isinstance(outcome, ObsoleteError):
                is_recorded = outbox_queries.mark_obsolete(tx, row.id, row.attempts, outcome.reason)
            elif outcome is not None:
                is_recorded = self._fail(tx, row, channel, outcome)
            else:
                is_recorded = row.id in recorded
            if is_recorded:
                recorded.add(row.id)
            if (
                is_recorded
                and row.kind == EventNotification.kind
                and not isinstance(outcome, (ObsoleteError, UnreachableError))
            ):
                hook: int = row.payload["hook"]
                hook_actions.record_outcome(tx, hook, is_delivered=outcome is None)
        return [result for result in results if result.row.id not in recorded]

    def _deliver(self, rows: list[ClaimedMail], stop: threading.Event) -> int:
        """Try claimed entries one after the other; return how many were sent.

        What is not tried soon is given back: when a channel is unreachable, after
        ``_BATCH_SECONDS``, and once ``stop`` is set.

        Raises:
            UnavailableError: The database is not available.
        """
        sent = 0
        self._untried = list(rows)
        with self._database.read(self._now()) as tx:
            mail_language.look_up(tx, rows)
            self._looked_up = tx.cache
        end = time.monotonic() + _BATCH_SECONDS
        while self._untried:
            row = self._untried[0]
            log = _log.bind(mail=row.id, kind=row.kind, attempt=row.attempts)
            if outbox_queries.REQUEST in row.payload:
                log = log.bind(request=row.payload[outbox_queries.REQUEST])
            channel = self._channels.get(row.kind, self._mail)
            with tracing.client_span("deliver", {"collegium.kind": row.kind}) as span:
                outcome = self._try(row, channel, log)
                span.set_attribute("collegium.sent", outcome is None)
            self._untried.pop(0)
            self._results.append(_Result(row, channel, outcome, log))
            sent += outcome is None
            if isinstance(outcome, UnreachableError) or stop.is_set() or time.monotonic() >= end:
                break
        return sent

    def _try(
        self, row: ClaimedMail, channel: _Channel, log: Any
    ) -> ObsoleteError | UndeliverableError | None:
        """Render and send an entry; return the error that prevented it, or None.

        Raises:
            UnavailableError: The database is not available.
        """
        try:
            self._send(row, channel)
        except ObsoleteError as obsolete:
            log.info("mail obsolete", reason=obsolete.reason)
            return obsolete
        except UndeliverableError as error:
            log.warning("mail not sent", reason=_reason(error), permanent=error.permanent)
            if isinstance(error, UnreachableError):
                channel.outages += 1
            return error
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in one mail must not stop the others
            log.error("mail cannot be rendered", traceback=log_reason(error))  # noqa: TRY400 - see log_reason
            return UndeliverableError(
                "The e-mail could not be rendered. See the log.", permanent=False
            )
        channel.outages = 0
        log.info("mail sent")
        return None

    def _send(self, row: ClaimedMail, channel: _Channel) -> None:
        if row.attempts > MAX_ATTEMPTS:
            # The worker died in every attempt. Perhaps this e-mail kills it.
            raise UndeliverableError("No attempt to send the e-mail was completed.", permanent=True)
        if channel is self._mail and row.kind in invited_accounts.MAIL_KINDS:
            row = self._ensure_account(row)
        with self._database.read(self._now()) as tx:
            if self._awaits_setup:
                self._finish_setup(tx)
            tx.cache |= self._looked_up
            message = channel.render(tx, self._settings, self._vault, row)
        channel.transport.send(message)

    def _finish_setup(self, tx: ReadTransaction) -> None:
        """Take over the name of the service, which may have been chosen since the start."""
        settings = site_queries.settings_in_effect(tx, self._settings)
        if settings is not None:
            self._settings, self._awaits_setup = settings, False

    def _ensure_account(self, row: ClaimedMail) -> ClaimedMail:
        """Create the account of the invited person if needed, and return the entry as it is then.

        Raises:
            UndeliverableError: Another worker has claimed the entry since.
        """
        try:
            return invited_accounts.ensure_invited_account(
                self._database, self._settings, self._vault, row, self._now()
            )
        except Conflict as refusal:
            if refusal.code != "mail.overtaken":
                raise
            raise UndeliverableError(
                "Another worker has claimed the e-mail.", permanent=False
            ) from None

    def _fail(
        self, tx: WriteTransaction, row: ClaimedMail, channel: _Channel, error: UndeliverableError
    ) -> bool:
        reason = _reason(error)
        is_recorded = outbox_queries.mark_failed(
            tx,
            row.id,
            row.attempts,
            reason,
            retry_at(tx.now, row.attempts, permanent=error.permanent),
        )
        if isinstance(error, UnreachableError):
            # One entry has used an attempt to find the outage. The others of the same channel are
            # postponed without using one, and get the reason, so that staff can read it on each of
            # them.
            delay = OUTAGE_DELAYS[min(channel.outages, len(OUTAGE_DELAYS)) - 1]
            outbox_queries.postpone(
                tx, tx.now + delay, reason, self._channels, only=channel is not self._mail
            )
        return is_recorded


def _reason(error: UndeliverableError) -> str:
    return short(one_line(error.reason), _REASON_MAX)
