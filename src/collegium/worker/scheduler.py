"""Run what is due by time alone: expired invitations, reminders, scheduled starts, ended roles.

Each takes effect once. The end of a role is recorded; nobody gets an e-mail about it. Expiry does
not depend on this: every right is checked when it is used.
"""

from collections.abc import Callable
from datetime import datetime
from math import inf
from time import monotonic
from typing import Final

from collegium.db.database import Database, WriteTransaction
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.settings import Settings

_BATCH: Final = 100


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

    def run(self, seconds: float = inf) -> int:
        """Run every due action, each in its own transaction; return how many took effect.

        Roles that ended are the exception: one batch shares a transaction.

        Args:
            seconds: After this time no further round begins. The rest stays due.

        Raises:
            UnavailableError: The database is not available.
        """
        done = 0
        end = monotonic() + seconds
        while True:
            actions = self._due()
            done_now = 0
            for action in actions:
                with self._database.write(self._now()) as tx:
                    done_now += action(tx)
            done += done_now
            # An action that another worker did first is not due any more. An action that keeps
            # failing to take effect must not cause an endless loop.
            if not done_now or monotonic() > end:
                return done

    def _now(self) -> datetime | None:
        return self._clock() if self._clock else None

    def _due(self) -> list[Callable[[WriteTransaction], int]]:
        settings = self._settings
        with self._database.read(self._now()) as tx:
            ending = membership_queries.expired(tx, _BATCH)
            lapsed = invitation_queries.expired(tx, _BATCH)
            lapsing = invitation_queries.expiring(tx, _BATCH)
            starting = invitation_queries.starting(tx, _BATCH)
        return [
            # In one transaction: each is two short writes, and a commit takes longer than both.
            *(
                [lambda tx: sum(membership_actions.record_expiry(tx, n) for n in ending)]
                * bool(ending)
            ),
            *(lambda tx, n=n: invitation_actions.notify_expired(tx, n) for n in lapsed),
            *(lambda tx, n=n: invitation_actions.remind(tx, settings, n) for n in lapsing),
            *(lambda tx, n=n: invitation_actions.release(tx, settings, n) for n in starting),
        ]
