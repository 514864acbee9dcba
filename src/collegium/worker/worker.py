"""The worker that pays the outbox: claim, write, send, settle.

Most of it leaves as mails; what an operator's own service is to tell, that is told instead.

Each mail goes out at least once. It is claimed and settled in two short transactions, and
written and sent in between, outside both; a worker that dies there leaves a lease that runs out.

Mails are claimed one at a time, though many go over one connection: a lease then covers just the
mail that is being sent, and none waits behind another for the lease of a worker that died.
"""

import random
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final

import structlog

from collegium.db import idempotency
from collegium.db.database import Database, ReadTransaction, UnavailableError, WriteTransaction
from collegium.db.statements import Row
from collegium.integrations.eduteams.sync import DirectorySync
from collegium.invitations import invited_accounts
from collegium.invitations.mail_budgets import queries as mail_budget_queries
from collegium.lists import row_counts
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import InvitationCreated
from collegium.outbox.outcomes import ObsoleteError, UndeliverableError, UnreachableError
from collegium.refusals import Conflict
from collegium.security.crypto import Vault
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.settings import Settings
from collegium.text.plain import one_line, short
from collegium.worker import mails, webhook
from collegium.worker.scheduler import Scheduler
from collegium.worker.transport import Transport, open_transport

RETRY_DELAYS: Final = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
    timedelta(hours=24),
)
"""How long a mail waits after its first, second, … attempt has failed."""

MAX_ATTEMPTS: Final = len(RETRY_DELAYS) + 1
"""Nine attempts, the last some 41 hours after the first; then the mail is abandoned."""

JITTER: Final = 0.2
"""Delays vary by so much either way, so that mails that failed together come back apart."""

LEASE_SECONDS: Final = 120

OUTAGE_DELAYS: Final = RETRY_DELAYS[:3]
"""How long nothing is tried after the way out was found closed once, twice, and ever after."""

_POLL_INTERVAL: Final = 5.0  # seconds; another process may owe a mail without waking us
_OPTIMIZE_EVERY: Final = 3600.0  # seconds
_MEASURE_EVERY: Final = 5.0  # seconds; a database that has grown is tended at once
_SWEEP_EVERY: Final = 600.0  # seconds
_SWEPT: Final = 500  # mails that are deleted in one transaction
_COMPACT_EVERY: Final = 60.0  # seconds; counts have one part more for each row since
_LOOK_EVERY: Final = 1.0  # seconds; how late the news of an ended invitation may be
_AT_ONCE: Final = 2.0  # seconds; how long mails keep what ends by itself waiting
_MIN_SLEEP: Final = 0.1  # seconds; what is due may be in somebody else's hands
_LONGEST_REASON: Final = 300

_log = structlog.get_logger()


@dataclass
class _Channel:
    """A way out.

    Args:
        write: what makes of a row what ``out`` takes.
        outages: how often in a row it was found closed.
    """

    write: Callable[[ReadTransaction, Settings, Vault, Row], Any]
    out: Any
    outages: int = 0


class Worker:
    """Pays the outbox, in one thread; any number of workers may share a database.

    Args:
        transport: the way out for mails, if not the one that ``MAIL_URL`` names.
        clock: what gives now, if not the database's own reading of the clock.
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
        self._vault = vault
        self._mail = _Channel(mails.render, transport or open_transport(settings.mail_url))
        # The kinds that leave another way, and which.
        self._others: dict[str, _Channel] = {}
        if settings.invitation_use_webhooks:
            way = _Channel(webhook.render, webhook.Webhook(settings))
            self._others[InvitationCreated.kind] = way
        self._clock = clock
        self._time = Scheduler(database, settings, clock)
        self._next_look = self._next_tending = self._next_folding = self._next_sweeping = 0.0
        self._next_measuring = 0.0
        self._puller = DirectorySync(database, settings, vault, clock=clock)
        self._woken = threading.Event()

    def once(self) -> int:
        """Try everything that is due now, and give the number of mails that went out.

        What fails is due again in the future only, so this comes to an end.

        Raises Unavailable while the database is out of reach.
        """
        self._database.optimize()
        self._purge()
        self._compact()
        self._time.run()
        sent = self._deliver_all(threading.Event())
        while self._puller.due():
            self._puller.run_once()
        return sent

    def run(self, stop: threading.Event) -> None:
        """Pay whatever becomes due until ``stop`` is set; set it, then ``wake()``.

        Nothing ends it early: what goes wrong is logged, and tried again after a pause.
        """
        while not stop.is_set():
            pause = _POLL_INTERVAL
            try:
                self._optimize()
                if time.monotonic() >= self._next_sweeping:
                    is_done = self._purge(_AT_ONCE)
                    self._next_sweeping = time.monotonic() + (_SWEEP_EVERY if is_done else 0)
                if time.monotonic() >= self._next_folding:
                    self._next_folding = time.monotonic() + _COMPACT_EVERY
                    self._compact()
                if time.monotonic() >= self._next_look:
                    self._next_look = time.monotonic() + _LOOK_EVERY
                    # Mails are not to wait for the end of everything that ends.
                    self._time.run(_LOOK_EVERY)
                if self._seconds_until_due() <= 0:
                    self._deliver_all(stop, _AT_ONCE)
                pause = max(self._seconds_until_due(), _MIN_SLEEP)
                if self._puller.due():
                    self._puller.run_once()
                    pause = 0.0
                pause = min(pause, max(self._next_look - time.monotonic(), _MIN_SLEEP))
            except UnavailableError as error:
                _log.warning("outbox waits for the database", reason=str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, mails stay owed
                _log.error("outbox failed", traceback=_log_reason(error))
            self._woken.wait(pause)
            self._woken.clear()

    def _optimize(self) -> None:
        """Tend the database now and then, and soon after it has grown."""
        now = time.monotonic()
        if now >= self._next_measuring:
            self._next_measuring = now + _MEASURE_EVERY
            if self._database.has_grown():
                self._next_tending = 0.0
        if now >= self._next_tending:
            self._next_tending = now + _OPTIMIZE_EVERY
            self._database.optimize()

    def _purge(self, seconds: float = inf) -> bool:
        """Delete what is not needed any more, and begin no batch after so many seconds.

        Tells whether everything is done.
        """
        end = time.monotonic() + seconds
        with self._database.write(self._now()) as tx:
            rate_limit_queries.purge(tx)
            idempotency.purge(tx)
            mail_budget_queries.purge(tx)
        while True:
            with self._database.write(self._now()) as tx:
                before = tx.now - timedelta(seconds=self._settings.outbox_retention)
                deleted = outbox_queries.purge(tx, before, _SWEPT)
            if deleted < _SWEPT:
                return True
            if time.monotonic() > end:
                return False

    def _compact(self) -> None:
        if not self._database.is_sqlite:
            with self._database.write() as tx:
                row_counts.compact(tx)

    def wake(self) -> None:
        """Have ``run`` look at once; for any thread, after the commit that owes a mail."""
        self._woken.set()

    def _now(self) -> datetime | None:
        return self._clock() if self._clock else None

    def _seconds_until_due(self) -> float:
        with self._database.read(self._now()) as tx:
            due = outbox_queries.next_due(tx)
        return (
            _POLL_INTERVAL if due is None else min((due - tx.now).total_seconds(), _POLL_INTERVAL)
        )

    def _deliver_all(self, stop: threading.Event, seconds: float = inf) -> int:
        """Pay what is due, and begin no more after so many seconds."""
        sent = 0
        end = time.monotonic() + seconds
        try:
            while not stop.is_set() and time.monotonic() < end:
                row = self._claim()
                if row is None:
                    break
                sent += self._deliver(row)
        finally:
            for way in (self._mail, *self._others.values()):
                way.out.close()
        return sent

    def _claim(self) -> Row | None:
        with self._database.write(self._now()) as tx:
            return next(iter(outbox_queries.claim(tx, 1, LEASE_SECONDS)), None)

    def _deliver(self, row: Row) -> bool:
        """Try one claimed mail; tell whether it went out. Lets only Unavailable through."""
        log = _log.bind(mail=row.id, kind=row.kind, attempt=row.attempts)
        if outbox_queries.REQUEST in row.facts:
            log = log.bind(request=row.facts[outbox_queries.REQUEST])
        way = self._others.get(row.kind, self._mail)
        outcome = self._try(row, way, log)
        with self._database.write(self._now()) as tx:
            if isinstance(outcome, ObsoleteError):
                settled = outbox_queries.mark_obsolete(tx, row.id, row.attempts, outcome.reason)
            elif outcome is not None:
                settled = self._fail(tx, row, way, outcome)
            else:
                settled = outbox_queries.mark_sent(tx, row.id, row.attempts)
        if not settled:
            log.warning("mail settled too late: another worker has claimed it since")
        return outcome is None

    def _try(self, row: Row, way: _Channel, log: Any) -> ObsoleteError | UndeliverableError | None:
        """Write and send a mail; give what came in the way."""
        try:
            self._send(row, way)
        except ObsoleteError as void:
            log.info("mail void", reason=void.reason)
            return void
        except UndeliverableError as error:
            log.warning("mail not sent", reason=_reason(error), permanent=error.permanent)
            return error
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in one mail must not stop the others
            log.error("mail cannot be written", traceback=_log_reason(error))  # noqa: TRY400 - see _told
            return UndeliverableError(
                "The mail could not be written; the log says why.", permanent=False
            )
        way.outages = 0
        log.info("mail sent")
        return None

    def _send(self, row: Row, way: _Channel) -> None:
        if row.attempts > MAX_ATTEMPTS:
            # The worker died each time; perhaps it is this mail that kills it.
            raise UndeliverableError("No attempt to send it ever came to an end.", permanent=True)
        if way is self._mail and row.kind in invited_accounts.MAIL_KINDS:
            row = self._ensure_account(row)
        with self._database.read(self._now()) as tx:
            message = way.write(tx, self._settings, self._vault, row)
        way.out.send(message)

    def _ensure_account(self, row: Row) -> Row:
        """Give the mail of an invitation as it is once the person has an account."""
        try:
            return invited_accounts.ensure_invited_account(
                self._database, self._settings, self._vault, row, self._now()
            )
        except Conflict as refusal:
            if refusal.code != "mail.overtaken":
                raise
            raise UndeliverableError(
                "Another worker has claimed it since.", permanent=False
            ) from None

    def _fail(
        self, tx: WriteTransaction, row: Row, way: _Channel, error: UndeliverableError
    ) -> bool:
        reason = _reason(error)
        settled = outbox_queries.mark_failed(
            tx, row.id, row.attempts, reason, self._retry_at(tx.now, row.attempts, error)
        )
        if isinstance(error, UnreachableError):
            # One mail has paid with an attempt to find out; the others that go the same way wait
            # without paying, and whoever looks at one of them reads why.
            delay = OUTAGE_DELAYS[min(way.outages, len(OUTAGE_DELAYS) - 1)]
            way.outages += 1
            outbox_queries.postpone(
                tx, tx.now + delay, reason, self._others, those=way is not self._mail
            )
        return settled

    def _retry_at(self, now: datetime, attempts: int, error: UndeliverableError) -> datetime | None:
        if error.permanent or attempts >= MAX_ATTEMPTS:
            return None
        return now + RETRY_DELAYS[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing


def _reason(error: UndeliverableError) -> str:
    return short(one_line(error.reason), _LONGEST_REASON)


def _log_reason(error: Exception) -> str:
    """Give a traceback as plain text: a prettier one shows local variables, links among them."""
    return "".join(traceback.format_exception(error))
