"""The worker with mail servers, and its loop."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from collegium.db.database import Database, UnavailableError
from collegium.outbox import queries as outbox_queries
from collegium.settings import Settings
from collegium.worker.transport import open_transport
from collegium.worker.worker import Worker
from tests.worker.scene import (
    VAULT,
    Clock,
    Mailbox,
    Recorder,
    enqueue,
    mail_server,
    outbox_row,
    rows,
    worker,
)


def test_refusal_of_the_mail_server_is_stored_in_plain_text(
    database: Database, clock: Clock
) -> None:
    mail = enqueue(database)
    with mail_server(Mailbox(rcpt="550 5.1.1 No\x07 such person")) as port:
        worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}")).once()
    row = outbox_row(database, mail)
    assert (row.state, row.error) == (
        "failed",
        "The mail server refused the e-mail: 550 5.1.1 No such person",
    )


@pytest.mark.parametrize("failure", [{"rcpt": "451 4.3.0 Later"}, {"drops": True}])
def test_mails_are_retried_after_a_failure_of_the_mail_server(
    database: Database, clock: Clock, failure: dict[str, Any]
) -> None:
    mails = [enqueue(database) for _ in range(2)]
    with mail_server(Mailbox(**failure)) as port:
        assert worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}")).once() == 0
    assert [outbox_row(database, mail).attempts for mail in mails] == [1, 1]
    box = Mailbox()
    clock.forward(minutes=1)
    with mail_server(box) as port:
        assert worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}")).once() == 2
    assert len(box.envelopes) == 2


@pytest.mark.parametrize("kind", ["import", "bulk_change"])
def test_mails_are_sent_although_an_import_fails(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def fail(*_given: Any) -> bool:
        raise ValueError("a bug")

    monkeypatch.setattr(f"collegium.{kind}s.actions.run_next", fail)
    enqueue(database)
    assert worker(database, clock, Recorder()).once() == 1


def test_due_mails_share_one_connection(database: Database, clock: Clock) -> None:
    for _ in range(10):
        enqueue(database)
    box = Mailbox()
    with mail_server(box) as port:
        assert worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}")).once() == 10
    assert len(box.connections) == 1


class _WorkerThread:
    """A worker in a thread, with the real clock."""

    def __init__(self, database: Database, out: Recorder) -> None:
        self.worker = Worker(database, Settings(), VAULT, out)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.worker.run, args=(self._stop,))

    def __enter__(self) -> Worker:
        self._thread.start()
        return self.worker

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.worker.wake()
        self._thread.join(10)
        assert not self._thread.is_alive()


def _wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _enqueue_now(database: Database) -> None:
    with database.read() as tx:
        now = tx.now
    enqueue(database, now)


def test_woken_worker_sends_at_once(database: Database) -> None:
    out = Recorder()
    with _WorkerThread(database, out) as running:
        time.sleep(0.1)
        _enqueue_now(database)
        running.wake()
        _wait_until(lambda: out.sent, seconds=3)


def test_schedule_runs_between_mails(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collegium.worker.worker._MAX_BATCH_SECONDS", 0.2)
    monkeypatch.setattr("collegium.worker.worker._SCHEDULE_EVERY", 0.1)
    for _ in range(40):
        _enqueue_now(database)
    out = Recorder(before=lambda: time.sleep(0.1))
    running = _WorkerThread(database, out)
    sent_before: list[int] = []
    monkeypatch.setattr(
        running.worker._scheduler, "run", lambda _seconds: sent_before.append(len(out.sent))
    )
    with running:
        _wait_until(lambda: len(sent_before) >= 4)
        assert sent_before[0] == 0
        assert 0 < sent_before[1] < sent_before[3] < 40


def test_worker_finds_mails_without_being_woken(database: Database) -> None:
    out = Recorder()
    with _WorkerThread(database, out):
        time.sleep(0.1)
        _enqueue_now(database)
        _wait_until(lambda: out.sent, seconds=8)


def test_worker_survives_database_errors(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, failures = Recorder(), iter([UnavailableError("gone"), RuntimeError("odd")])
    claim_mails = outbox_queries.claim

    def fail_twice(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return claim_mails(*arguments)

    monkeypatch.setattr(outbox_queries, "claim", fail_twice)
    _enqueue_now(database)
    with capture_logs() as logs, _WorkerThread(database, out) as running:

        def woken() -> bool:
            running.wake()
            return bool(out.sent)

        _wait_until(woken)
    assert [entry["event"] for entry in logs][:2] == [
        "outbox is waiting for the database",
        "outbox failed",
    ]


def test_worker_stops_between_two_mails(database: Database) -> None:
    for _ in range(5):
        _enqueue_now(database)
    stop = threading.Event()
    out = Recorder(before=stop.set)
    Worker(database, Settings(), VAULT, out).run(stop)
    assert len(out.sent) == 1
    assert out.closed
    found = sorted((row.state, row.attempts, row.locked_until) for row in rows(database).values())
    assert found == [("queued", 0, None)] * 4 + [("sent", 1, None)]
