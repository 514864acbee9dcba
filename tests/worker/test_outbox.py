"""The outbox: claims, leases and counts."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from collegium.db.database import Database
from collegium.db.statements import as_dict
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import UndeliverableError
from collegium.worker.worker import LEASE_SECONDS
from tests.worker.scene import (
    START,
    Clock,
    Recorder,
    UnknownMail,
    claim,
    enqueue,
    outbox_row,
    rows,
    worker,
)


def test_concurrent_claims_do_not_overlap(database: Database, clock: Clock) -> None:
    mails = {enqueue(database) for _ in range(60)}
    barrier = threading.Barrier(6)

    def claim_all(_: int) -> list[int]:
        barrier.wait()
        claimed: list[int] = []
        while batch := claim(database, clock, 7):
            assert len(batch) <= 7
            claimed += [row.id for row in batch]
        return claimed

    with ThreadPoolExecutor(6) as pool:
        counts = Counter(mail for batch in pool.map(claim_all, range(6)) for mail in batch)
    assert counts == Counter(mails)


@pytest.mark.parametrize(
    "finish",
    [
        lambda tx, row: bool(outbox_queries.mark_sent(tx, [row])),
        lambda tx, row: outbox_queries.mark_obsolete(tx, row.id, row.attempts, "late"),
        lambda tx, row: outbox_queries.mark_failed(tx, row.id, row.attempts, "late", tx.now),
        lambda tx, row: outbox_queries.mark_failed(tx, row.id, row.attempts, "late", None),
    ],
    ids=["sent", "obsolete", "retried", "failed"],
)
def test_worker_that_lost_its_lease_cannot_finish_the_mail(
    database: Database, clock: Clock, finish: Callable[[Any, Any], bool]
) -> None:
    mail = enqueue(database)
    (slow,) = claim(database, clock)
    clock.forward(seconds=LEASE_SECONDS)
    (quick,) = claim(database, clock)
    before = outbox_row(database, mail)
    with database.write(clock.now) as tx:
        assert not finish(tx, slow)
    assert outbox_row(database, mail) == before
    with database.write(clock.now) as tx:
        assert finish(tx, quick)


def test_counts_queued_overdue_and_failed_mails(database: Database, clock: Clock) -> None:
    with database.read(START) as tx:
        assert set(as_dict(outbox_queries.counts(tx)).values()) == {0}
        assert outbox_queries.next_due(tx) is None
    for _ in range(3):
        enqueue(database)
    worker(database, clock, Recorder(UndeliverableError("no", permanent=True))).once()
    enqueue(database)
    enqueue(database, START + timedelta(minutes=2))
    with database.read(START + timedelta(seconds=59)) as tx:
        assert as_dict(outbox_queries.counts(tx)) == {"queued": 2, "overdue": 0, "failed": 3}
    with database.read(START + timedelta(seconds=60)) as tx:
        assert outbox_queries.counts(tx).overdue == 1
        assert outbox_queries.next_due(tx) == START
    claim(database, clock)
    with database.read(START + timedelta(seconds=60)) as tx:
        assert outbox_queries.counts(tx).overdue == 0
        assert outbox_queries.next_due(tx) == START + timedelta(minutes=2)


def test_mail_of_a_rolled_back_transaction_is_not_sent(database: Database, clock: Clock) -> None:
    with contextlib.suppress(RuntimeError), database.write(START) as tx:
        outbox_queries.enqueue(tx, UnknownMail("bob@example.org"))
        raise RuntimeError
    assert not rows(database)
    assert worker(database, clock, Recorder()).once() == 0
