"""Scheduled synchronisation with a remote directory, a few accounts at a time.

The worker that delivers the outbox runs one step here in each pass. No e-mail waits longer than
one request to the directory takes.
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from collegium.db.database import Database
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams import client
from collegium.integrations.eduteams import queries as eduteams_queries
from collegium.integrations.eduteams.queries import KeyOfAccount, UncheckedAccount
from collegium.integrations.eduteams.rules import parse_keys
from collegium.integrations.http_client import Timeouts
from collegium.refusals import Invalid, Refusal
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.ssh_keys import actions as ssh_key_actions

PULL_EVERY: Final = timedelta(minutes=5)
"""Interval between synchronisation rounds."""

COOLDOWN: Final = PULL_EVERY / 2
"""Minimum time between two synchronisations of one account, however many workers there are."""

PULL_COUNT: Final = 75
"""Number of accounts per round: those that were synchronised longest ago."""

KEYS_EVERY: Final = timedelta(minutes=3)
"""Interval between downloads of the SSH keys of all people, if the key feed is configured."""

_BATCH: Final = 100
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

_log = structlog.get_logger()


class DirectorySync:
    """Synchronises accounts one after another; several instances may share a database.

    Args:
        timeouts: timeouts of one request.
        clock: returns the current time, UTC; the system clock by default.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        vault: Vault,
        *,
        timeouts: Timeouts = client.TIMEOUTS,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._vault = vault
        self._timeouts = timeouts
        self._clock = clock or (lambda: datetime.now(UTC))
        self._steps: deque[Callable[[], None]] = deque()
        self._next_pull = self._next_keys = _NEVER
        self._has_feed = bool(settings.remote_eduteams_ssh_api_url)

    def due(self) -> bool:
        """Return whether a step is due; never while the directory is disabled."""
        now = self._clock()
        return self._settings.remote_eduteams_enabled and (
            bool(self._steps)
            or now >= self._next_pull
            or (self._has_feed and now >= self._next_keys)
        )

    def run_once(self) -> None:
        """Run one step: begin a round, or synchronise one account of the current round.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        now = self._clock()
        if self._steps:
            self._steps.popleft()()
        elif now >= self._next_pull:
            self._next_pull = now + PULL_EVERY
            with self._database.read(now) as tx:
                rows = eduteams_queries.longest_unchecked(tx, now - COOLDOWN, PULL_COUNT)
            self._steps.extend(partial(self._sync_account, row) for row in rows)
        elif self._has_feed and now >= self._next_keys:
            self._next_keys = now + KEYS_EVERY
            self._begin_key_sync()

    def _sync_account(self, row: UncheckedAccount) -> None:
        """Synchronise an account, unless another worker has claimed it or has just done so."""
        with self._database.write(self._clock()) as tx:
            is_claimed = eduteams_queries.claim(tx, row.id, row.last_synced_at)
        if not is_claimed:
            return
        try:
            person = client.fetch(self._settings, row.username, self._timeouts)
            with self._database.write(self._clock()) as tx:
                eduteams_actions.apply(tx, None, self._settings, self._vault, row.username, person)
        except Invalid as refusal:
            _log.warning("remote account skipped", account=row.id, **_log_reason(refusal))
        except Refusal as refusal:
            _log.warning("remote directory does not answer", account=row.id, **_log_reason(refusal))
            # The other requests would most likely fail too. These accounts wait for the next round.
            self._steps.clear()

    def _begin_key_sync(self) -> None:
        try:
            entries = list(client.fetch_keys(self._settings).items())
        except Refusal as refusal:
            _log.warning("remote keys not available", **_log_reason(refusal))
            return
        for start in range(0, len(entries), _BATCH):
            self._steps.append(partial(self._sync_key_batch, dict(entries[start : start + _BATCH])))

    def _sync_key_batch(self, entries: dict[str, list[Any]]) -> None:
        """Synchronise the keys of some accounts; write only where something differs."""
        with self._database.read(self._clock()) as tx:
            rows = eduteams_queries.keys_of_accounts(tx, entries)
        rows_by_username: dict[str, list[KeyOfAccount]] = {}
        for row in rows:
            rows_by_username.setdefault(row.username, []).append(row)
        for username, account_rows in rows_by_username.items():
            keys = list(parse_keys(entries[username]))
            fingerprints = {key.sha256 for key in keys}
            stored = {row.fingerprint_sha256 for row in account_rows}
            has_removed = any(
                row.fingerprint_sha256 not in fingerprints
                for row in account_rows
                if (row.name or "").startswith(ssh_key_actions.REMOTE)
            )
            if has_removed or not fingerprints <= stored:
                with self._database.write(self._clock()) as tx:
                    eduteams_actions.apply_keys(tx, username, keys)


def _log_reason(refusal: Refusal) -> dict[str, object]:
    return {"reason": refusal.code, **refusal.facts}
