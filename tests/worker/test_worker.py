"""The worker sends every queued mail once, or fails it with a reason."""

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, text, update
from structlog.testing import capture_logs

from collegium.db.database import Database, UnavailableError
from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.worker.retries import JITTER, MAX_ATTEMPTS, RETRY_DELAYS
from collegium.worker.worker import BATCH, LEASE_SECONDS, OUTAGE_DELAYS
from tests.support.site import record_statements
from tests.worker.scene import (
    START,
    Clock,
    Recorder,
    UnknownMail,
    claim,
    enqueue,
    outbox_row,
    rendered,
    rows,
    words,
    worker,
)

TEMPORARY = UndeliverableError("451 Come back later", permanent=False)
PERMANENT = UndeliverableError("550 No such person", permanent=True)


def test_worker_sends_every_due_mail_and_nothing_else(database: Database, clock: Clock) -> None:
    mails = [enqueue(database) for _ in range(3)]
    tomorrow = enqueue(database, START + timedelta(days=1))
    out = Recorder()
    assert worker(database, clock, out).once() == 3
    assert [message["Message-ID"] for message in out.sent] == [
        f"<outbox.{mail}@127.0.0.1>" for mail in mails
    ]
    assert [outbox_row(database, mail).state for mail in mails] == ["sent"] * 3
    assert outbox_row(database, mails[0]).finished_at == START
    assert outbox_row(database, tomorrow).state == "queued"
    assert worker(database, clock, out).once() == 0


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_worker_updates_the_statistics_of_sqlite(database: Database, clock: Clock) -> None:
    for _ in range(3):
        enqueue(database)
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM sqlite_stat1"))
    worker(database, clock, Recorder()).once()
    with database.engine.connect() as connection:
        statistics = text("SELECT 1 FROM sqlite_stat1 WHERE tbl = 'outbox'")
        assert connection.execute(statistics).all()


@pytest.mark.parametrize("count", [2, 6])
def test_several_workers_send_each_mail_once(database: Database, clock: Clock, count: int) -> None:
    mails = [enqueue(database) for _ in range(60)]
    outs = [Recorder() for _ in range(count)]
    barrier = threading.Barrier(count)

    def send(out: Recorder) -> int:
        barrier.wait()
        return worker(database, clock, out).once()

    with ThreadPoolExecutor(count) as pool:
        assert sum(pool.map(send, outs)) == 60
    sent = Counter(message["Message-ID"] for out in outs for message in out.sent)
    assert sent == Counter(f"<outbox.{mail}@127.0.0.1>" for mail in mails)
    assert {(row.state, row.attempts) for row in rows(database).values()} == {("sent", 1)}


def test_leased_mail_is_not_sent_until_the_lease_expires(database: Database, clock: Clock) -> None:
    mail = enqueue(database)
    assert [row.id for row in claim(database, clock)] == [mail]
    clock.forward(seconds=LEASE_SECONDS - 0.001)
    assert worker(database, clock, out := Recorder()).once() == 0
    clock.forward(seconds=0.001)
    assert worker(database, clock, out).once() == 1
    assert outbox_row(database, mail).attempts == 2


def test_retries_follow_the_table_until_the_mail_fails(database: Database, clock: Clock) -> None:
    mail = enqueue(database, expires_at=START + timedelta(days=90))
    out = Recorder(TEMPORARY)
    sending = worker(database, clock, out)
    for attempt, delay in enumerate(RETRY_DELAYS, start=1):
        assert sending.once() == 0
        row = outbox_row(database, mail)
        assert (row.state, row.attempts, row.error) == ("queued", attempt, TEMPORARY.reason)
        assert row.locked_until is None
        assert delay * (1 - JITTER) <= row.next_attempt_at - clock.now <= delay * (1 + JITTER)
        clock.now = row.next_attempt_at
    assert sending.once() == 0
    row = outbox_row(database, mail)
    assert (row.state, row.attempts, row.error) == ("failed", MAX_ATTEMPTS, TEMPORARY.reason)
    assert out.attempts == MAX_ATTEMPTS
    clock.forward(days=30)
    assert sending.once() == 0
    assert out.attempts == MAX_ATTEMPTS


def test_retry_delays_are_as_documented() -> None:
    seconds = [delay.total_seconds() for delay in RETRY_DELAYS]
    assert seconds == [10, 60, 300, 900, 3_600, 14_400, 43_200, 86_400]
    assert MAX_ATTEMPTS == 9


def test_retry_delays_have_jitter(database: Database, clock: Clock) -> None:
    mails = [enqueue(database) for _ in range(20)]
    worker(database, clock, Recorder(TEMPORARY)).once()
    assert len({outbox_row(database, mail).next_attempt_at for mail in mails}) > 10


def test_permanent_refusal_fails_at_once(database: Database, clock: Clock) -> None:
    mail = enqueue(database)
    worker(database, clock, out := Recorder(PERMANENT)).once()
    row = outbox_row(database, mail)
    assert (row.state, row.attempts, row.error) == ("failed", 1, PERMANENT.reason)
    assert out.attempts == 1


def test_only_one_mail_is_tried_during_an_outage(database: Database, clock: Clock) -> None:
    first, *others = [enqueue(database) for _ in range(5)]
    out = Recorder(UnreachableError("Connection refused."))
    sending = worker(database, clock, out)
    for outage, delay in enumerate([*OUTAGE_DELAYS, OUTAGE_DELAYS[-1]], start=1):
        sending.once()
        assert out.attempts == outage
        waiting = outbox_row(database, others[-1])
        assert (waiting.attempts, waiting.error) == (0, "Connection refused.")
        assert waiting.next_attempt_at == clock.now + delay
        clock.now = waiting.next_attempt_at
    assert outbox_row(database, first).attempts >= 1
    out.error = None
    clock.forward(hours=1)
    assert sending.once() == 5
    assert {(row.state, row.error) for row in rows(database).values()} == {("sent", "")}


def test_outage_delay_starts_again_after_a_success(database: Database, clock: Clock) -> None:
    refused = UnreachableError("Connection refused.")
    sending = worker(database, clock, out := Recorder())
    for _ in range(2):
        enqueue(database, clock.now)
        out.error = refused
        sending.once()
        clock.forward(hours=1)
        out.error = None
        sending.once()
    enqueue(database, clock.now)
    waiting = enqueue(database, clock.now)
    out.error = refused
    sending.once()
    assert outbox_row(database, waiting).next_attempt_at == clock.now + OUTAGE_DELAYS[0]


def test_mail_whose_worker_always_crashes_fails(database: Database, clock: Clock) -> None:
    mail = enqueue(database)
    for _ in range(MAX_ATTEMPTS):
        assert claim(database, clock)
        clock.forward(seconds=LEASE_SECONDS)
    worker(database, clock, out := Recorder()).once()
    assert outbox_row(database, mail).state == "failed"
    assert out.attempts == 0


def test_mail_that_kills_its_worker_costs_others_one_attempt(
    database: Database, clock: Clock
) -> None:
    deadly, *others = [enqueue(database) for _ in range(5)]
    assert [row.id for row in claim(database, clock, 10)] == [deadly, *others]
    for _ in range(MAX_ATTEMPTS - 1):
        clock.forward(seconds=LEASE_SECONDS)
        assert [row.id for row in claim(database, clock, 10)] == [deadly]
    worker(database, clock, out := Recorder()).once()
    assert len(out.sent) == 4
    assert {outbox_row(database, mail).attempts for mail in others} == {2}
    clock.forward(seconds=LEASE_SECONDS)
    new = enqueue(database, clock.now)
    worker(database, clock, out).once()
    assert outbox_row(database, deadly).state == "failed"
    assert outbox_row(database, new).state == "sent"


def test_batch_is_recorded_when_the_next_one_is_claimed(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collegium.worker.worker._BATCH_SECONDS", 60.0)
    for _ in range(2 * BATCH + 1):
        enqueue(database)
    transactions = []
    write = Database.write

    def count(self: Database, now: datetime | None = None) -> AbstractContextManager[Any]:
        transactions.append(now)
        return write(self, now)

    sending = worker(database, clock, Recorder())
    monkeypatch.setattr(Database, "write", count)
    with record_statements(monkeypatch) as statements:
        assert sending._deliver_all(threading.Event()) == 2 * BATCH + 1
    assert len(transactions) == 4
    # The invitations and languages of a batch are read together.
    assert sum(one.startswith("SELECT") for one in statements) == 3
    assert {row.state for row in rows(database).values()} == {"sent"}


def test_mail_about_something_unreadable_stops_no_other_of_its_batch(
    database: Database, clock: Clock
) -> None:
    first, unreadable, last = (enqueue(database) for _ in range(3))
    with database.write(START) as tx:
        outbox_queries.set_payloads(tx, {unreadable: {"invitation": "x", "version": 1}})
    worker(database, clock, Recorder()).once()
    assert [outbox_row(database, mail).state for mail in (first, last)] == ["sent", "sent"]
    assert outbox_row(database, unreadable).state in {"queued", "obsolete"}


def test_slow_mail_server_makes_no_other_mail_wait_for_a_lease(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collegium.worker.worker._BATCH_SECONDS", 0.0)
    mails = [enqueue(database) for _ in range(4)]
    out = Recorder()
    assert worker(database, clock, out).once() == 4
    found = rows(database).values()
    assert {(row.state, row.attempts, row.locked_until) for row in found} == {("sent", 1, None)}
    assert [message["Message-ID"] for message in out.sent] == [
        f"<outbox.{mail}@127.0.0.1>" for mail in mails
    ]


def test_batch_is_recorded_after_a_failure_of_the_database(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        enqueue(database)

    def fail(_tx: object, sent: list[Any]) -> set[int]:
        if sent:
            raise UnavailableError("gone")
        return set()

    sending = worker(database, clock, out := Recorder())
    with monkeypatch.context() as patch:
        patch.setattr(outbox_queries, "mark_sent", fail)
        with pytest.raises(UnavailableError):
            sending.once()
    sending.once()
    clock.forward(seconds=LEASE_SECONDS)
    sending.once()
    assert len(out.sent) == 3
    assert {(row.state, row.attempts) for row in rows(database).values()} == {("sent", 1)}


def test_result_that_cannot_be_recorded_stops_no_other(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collegium.worker.worker._BATCH_SECONDS", 60.0)
    first, obsolete, last = (enqueue(database) for _ in range(3))
    with database.write(START) as tx:
        canceled = update(invitations).where(invitations.c.id == bindparam("id"))
        invitation = outbox_row(database, obsolete).payload["invitation"]
        tx.execute(Statement(canceled.values(state="canceled")), id=invitation)

    def fail(*_arguments: object) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(outbox_queries, "mark_obsolete", fail)
    sending = worker(database, clock, out := Recorder())
    with pytest.raises(RuntimeError):
        sending.once()
    sending.once()
    assert len(out.sent) == 2
    states = [outbox_row(database, mail).state for mail in (first, obsolete, last)]
    assert states == ["sent", "queued", "sent"]


def test_mail_of_a_cancelled_invitation_is_obsolete(database: Database, clock: Clock) -> None:
    mail = enqueue(database)
    with database.write(START) as tx:
        tx.execute(Statement(update(invitations).values(state="canceled")))
    assert worker(database, clock, out := Recorder()).once() == 0
    row = outbox_row(database, mail)
    assert (row.state, row.finished_at) == ("obsolete", START)
    assert row.error == "The invitation is no longer pending: it is canceled."
    assert out.attempts == 0


def test_rendering_error_is_logged_and_retried(
    database: Database, clock: Clock, tmp_path: Path
) -> None:
    template = tmp_path / "invitation_created.txt"
    template.write_text("{{ link }}{{ lnik }}")
    mail, out = enqueue(database), Recorder()
    sending = worker(database, clock, out, templates=tmp_path)
    with capture_logs() as logs:
        assert sending.once() == 0
    assert any("UndefinedError" in entry.get("traceback", "") for entry in logs)
    row = outbox_row(database, mail)
    assert (row.state, row.error) == ("queued", "The e-mail could not be rendered. See the log.")
    template.write_text("{{ link }}")
    clock.now = row.next_attempt_at
    assert sending.once() == 1


def test_unknown_kind_of_mail_stays_queued_and_blocks_no_other(
    database: Database, clock: Clock
) -> None:
    with database.write(START) as tx:
        unknown = outbox_queries.enqueue(tx, UnknownMail("bob@example.org"))
    enqueue(database)
    assert worker(database, clock, Recorder()).once() == 1
    assert outbox_row(database, unknown).state == "queued"


@pytest.mark.parametrize("error", [None, TEMPORARY])
def test_log_has_no_link_or_address(
    database: Database, clock: Clock, tmp_path: Path, error: UndeliverableError | None
) -> None:
    mail = enqueue(database)
    (link,) = re.findall(r"/invitation/(\S+)/", words(rendered(database, mail), "plain"))
    template = tmp_path / "invitation_created.html"
    with capture_logs() as logs:
        worker(database, clock, Recorder(error)).once()
        enqueue(database)
        template.write_text("{{ link + 1 }}{{ lnik }}")
        worker(database, clock, Recorder(), templates=tmp_path).once()
    assert len(logs) == 2
    for private in (link, "/invitation/", "bob@example.org"):
        assert private not in str(logs)


def test_resent_mail_has_the_same_message_id(database: Database, clock: Clock) -> None:
    enqueue(database)
    out = Recorder()

    def lose_the_lease() -> None:
        clock.forward(seconds=LEASE_SECONDS)
        claim(database, clock)
        out.before = lambda: None

    out.before = lose_the_lease
    sending = worker(database, clock, out)
    sending.once()
    clock.forward(seconds=LEASE_SECONDS)
    sending.once()
    assert len(out.sent) == 2
    assert len({message["Message-ID"] for message in out.sent}) == 1
