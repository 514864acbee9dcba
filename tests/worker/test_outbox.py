"""Claims, leases and what is said of them: one worker at a time has a mail."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from collegium.db.database import Database
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import UndeliverableError
from collegium.worker.worker import LEASE_SECONDS
from tests.worker.scene import START, Clock, Recorder, Unknown, claim, owe, owed, worker


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_claims_of_many_mails_do_not_overlap(database: Database, clock: Clock) -> None:
    mails = {owe(database) for _ in range(60)}
    together = threading.Barrier(6)

    def take(_: int) -> list[int]:
        together.wait()
        taken: list[int] = []
        while batch := claim(database, clock, 7):
            assert len(batch) <= 7
            taken += [row.id for row in batch]
        return taken

    with ThreadPoolExecutor(6) as pool:
        claimed = Counter(mail for batch in pool.map(take, range(6)) for mail in batch)
    assert claimed == Counter(mails)


@pytest.mark.parametrize(
    "settle",
    [
        lambda tx, row: outbox_queries.mark_sent(tx, row.id, row.attempts),
        lambda tx, row: outbox_queries.mark_obsolete(tx, row.id, row.attempts, "late"),
        lambda tx, row: outbox_queries.mark_failed(tx, row.id, row.attempts, "late", tx.now),
        lambda tx, row: outbox_queries.mark_failed(tx, row.id, row.attempts, "late", None),
    ],
    ids=["sent", "obsolete", "retried", "failed"],
)
def test_whoever_lost_the_lease_cannot_settle(
    database: Database, clock: Clock, settle: Callable[[Any, Any], bool]
) -> None:
    mail = owe(database)
    (slow,) = claim(database, clock)
    clock.forward(seconds=LEASE_SECONDS)
    (quick,) = claim(database, clock)
    before = owed(database, mail)
    with database.write(clock.now) as tx:
        assert not settle(tx, slow)
    assert owed(database, mail) == before
    with database.write(clock.now) as tx:
        assert settle(tx, quick)


def test_counts_what_is_owed_overdue_and_abandoned(database: Database, clock: Clock) -> None:
    with database.read(START) as tx:
        assert tuple(outbox_queries.counts(tx)) == (0, 0, 0)
        assert outbox_queries.next_due(tx) is None
    for _ in range(3):
        owe(database)
    worker(database, clock, Recorder(UndeliverableError("no", permanent=True))).once()
    owe(database)
    owe(database, START + timedelta(minutes=2))
    with database.read(START + timedelta(seconds=59)) as tx:
        assert outbox_queries.counts(tx)._asdict() == {"queued": 2, "overdue": 0, "failed": 3}
    with database.read(START + timedelta(seconds=60)) as tx:
        assert outbox_queries.counts(tx).overdue == 1
        assert outbox_queries.next_due(tx) == START
    claim(database, clock)
    with database.read(START + timedelta(seconds=60)) as tx:
        assert outbox_queries.counts(tx).overdue == 0
        assert outbox_queries.next_due(tx) == START + timedelta(minutes=2)


def test_a_mail_is_owed_by_the_commit_and_not_before(database: Database, clock: Clock) -> None:
    out = Recorder()
    with contextlib.suppress(RuntimeError), database.write(START) as tx:
        outbox_queries.enqueue(tx, Unknown("bob@example.org"))
        raise RuntimeError
    assert worker(database, clock, out).once() == 0
