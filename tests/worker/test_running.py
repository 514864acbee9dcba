"""The worker at work: with mail servers, and in its loop."""

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
from tests.worker.scene import VAULT, Clock, Mailbox, Recorder, mail_server, owe, owed, worker


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_a_server_refuses_is_told_to_people(database: Database, clock: Clock) -> None:
    mail = owe(database)
    with mail_server(Mailbox(rcpt="550 5.1.1 No\x07 such person")) as port:
        worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}")).once()
    row = owed(database, mail)
    assert (row.state, row.error) == (
        "failed",
        "The mail server refused the e-mail: 550 5.1.1 No such person",
    )


@pytest.mark.parametrize("temper", [{"rcpt": "451 4.3.0 Later"}, {"drops": True}])
def test_mails_survive_a_server_that_fails(
    database: Database, clock: Clock, temper: dict[str, Any]
) -> None:
    mails = [owe(database) for _ in range(2)]
    with mail_server(Mailbox(**temper)) as port:
        paying = worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}"))
        assert paying.once() == 0
    assert [owed(database, mail).attempts for mail in mails] == [1, 1]
    box = Mailbox()
    clock.forward(minutes=1)
    with mail_server(box) as port:
        assert worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}")).once() == 2
    assert len(box.envelopes) == 2


def test_all_that_is_due_goes_over_one_connection(database: Database, clock: Clock) -> None:
    for _ in range(10):
        owe(database)
    box = Mailbox()
    with mail_server(box) as port:
        assert worker(database, clock, open_transport(f"smtp://127.0.0.1:{port}")).once() == 10
    assert len(box.connections) == 1


# The loop.


class _Running:
    """A worker in a thread, on the true clock."""

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


def _soon(said: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def _owe_now(database: Database) -> None:
    with database.read() as tx:
        now = tx.now
    owe(database, now)


def test_run_sends_at_once_when_it_is_woken(database: Database) -> None:
    out = Recorder()
    with _Running(database, out) as running:
        time.sleep(0.1)
        _owe_now(database)
        running.wake()
        _soon(lambda: out.sent, seconds=3)


def test_what_ends_by_itself_does_not_wait_for_all_the_mails(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collegium.worker.worker._AT_ONCE", 0.2)
    monkeypatch.setattr("collegium.worker.worker._LOOK_EVERY", 0.1)
    for _ in range(40):
        _owe_now(database)
    out = Recorder(before=lambda: time.sleep(0.1))
    running = _Running(database, out)
    looked: list[int] = []
    monkeypatch.setattr(running.worker._time, "run", lambda _seconds: looked.append(len(out.sent)))
    with running:
        _soon(lambda: len(looked) >= 4)
        assert looked[0] == 0
        assert 0 < looked[1] < looked[3] < 40


def test_run_finds_what_nobody_woke_it_for(database: Database) -> None:
    out = Recorder()
    with _Running(database, out):
        time.sleep(0.1)
        _owe_now(database)
        _soon(lambda: out.sent, seconds=8)


def test_run_outlives_an_outage_of_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, failures = Recorder(), iter([UnavailableError("gone"), RuntimeError("odd")])
    claim_mails = outbox_queries.claim

    def fail_twice(*given: Any) -> Any:
        for failure in failures:
            raise failure
        return claim_mails(*given)

    monkeypatch.setattr(outbox_queries, "claim", fail_twice)
    _owe_now(database)
    with capture_logs() as logs, _Running(database, out) as running:

        def woken() -> bool:
            running.wake()
            return bool(out.sent)

        _soon(woken)
    assert [entry["event"] for entry in logs][:2] == [
        "outbox is waiting for the database",
        "outbox failed",
    ]


def test_run_stops_between_two_mails(database: Database) -> None:
    for _ in range(5):
        _owe_now(database)
    stop = threading.Event()
    out = Recorder(before=stop.set)
    Worker(database, Settings(), VAULT, out).run(stop)
    assert len(out.sent) == 1
    assert out.closed
