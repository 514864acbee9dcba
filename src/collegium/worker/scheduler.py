"""What time alone brings about, told once: invitations that end, begin or need a reminder.

What is over is over whether this runs or not: every right is judged when it is used.
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
    """Does what has become due; any number of them may share a database.

    Args:
        now: what gives now, if not the database's own reading of the clock.
    """

    def __init__(
        self, database: Database, settings: Settings, now: Callable[[], datetime] | None = None
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = now

    def run(self, seconds: float = inf) -> int:
        """Do everything that is due now, each deed in a transaction of its own; count them.

        Args:
            seconds: after which no more is begun; what is left stays due.

        Raises Unavailable while the database is out of reach.
        """
        done = 0
        end = monotonic() + seconds
        while True:
            deeds = self._due()
            done_now = 0
            for deed in deeds:
                with self._database.write(self._now()) as tx:
                    done_now += deed(tx)
            done += done_now
            # What another worker did first is not due any more; what nobody could do must not
            # keep us here.
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
            # Together: each is two short writes, and a commit takes longer than both.
            *(
                [lambda tx: sum(membership_actions.record_expiry(tx, n) for n in ending)]
                * bool(ending)
            ),
            *(lambda tx, n=n: invitation_actions.notify_expired(tx, n) for n in lapsed),
            *(lambda tx, n=n: invitation_actions.remind(tx, settings, n) for n in lapsing),
            *(lambda tx, n=n: invitation_actions.release(tx, settings, n) for n in starting),
        ]
