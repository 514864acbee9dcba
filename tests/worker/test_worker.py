"""Every mail that is owed goes out, once if all goes well, or is given up with a reason."""

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update
from structlog.testing import capture_logs

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.worker.worker import JITTER, LEASE_SECONDS, MAX_ATTEMPTS, OUTAGE_DELAYS, RETRY_DELAYS
from tests.worker.scene import (
    START,
    Clock,
    Recorder,
    Unknown,
    claim,
    owe,
    owed,
    rows,
    words,
    worker,
    written,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


LATER = UndeliverableError("451 Come back later", permanent=False)
NEVER = UndeliverableError("550 No such person", permanent=True)


def test_once_sends_everything_that_is_due_and_nothing_else(
    database: Database, clock: Clock
) -> None:
    mails = [owe(database) for _ in range(3)]
    tomorrow = owe(database, START + timedelta(days=1))
    out = Recorder()
    assert worker(database, clock, out).once() == 3
    assert [message["Message-ID"] for message in out.sent] == [
        f"<outbox.{mail}@127.0.0.1>" for mail in mails
    ]
    assert [owed(database, mail).state for mail in mails] == ["sent"] * 3
    assert owed(database, mails[0]).finished_at == START
    assert owed(database, tomorrow).state == "queued"
    assert worker(database, clock, out).once() == 0


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_worker_lets_sqlite_learn_how_its_rows_are_spread(
    database: Database, clock: Clock
) -> None:
    for _ in range(3):
        owe(database)
    learned = text("SELECT 1 FROM sqlite_stat1 WHERE tbl = 'outbox'")
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM sqlite_stat1"))
    worker(database, clock, Recorder()).once()
    with database.engine.connect() as connection:
        assert connection.execute(learned).all()


@pytest.mark.parametrize("number", [2, 6])
def test_workers_share_an_outbox_without_sending_twice(
    database: Database, clock: Clock, number: int
) -> None:
    mails = [owe(database) for _ in range(60)]
    outs = [Recorder() for _ in range(number)]
    together = threading.Barrier(number)

    def pay(out: Recorder) -> int:
        together.wait()
        return worker(database, clock, out).once()

    with ThreadPoolExecutor(number) as pool:
        assert sum(pool.map(pay, outs)) == 60
    sent = Counter(message["Message-ID"] for out in outs for message in out.sent)
    assert sent == Counter(f"<outbox.{mail}@127.0.0.1>" for mail in mails)
    assert {(row.state, row.attempts) for row in rows(database).values()} == {("sent", 1)}


def test_a_lease_is_respected_until_it_runs_out(database: Database, clock: Clock) -> None:
    mail = owe(database)
    assert [row.id for row in claim(database, clock)] == [mail]
    clock.forward(seconds=LEASE_SECONDS - 0.001)
    assert worker(database, clock, out := Recorder()).once() == 0
    clock.forward(seconds=0.001)
    assert worker(database, clock, out).once() == 1
    assert owed(database, mail).attempts == 2


def test_retries_follow_the_table_and_end_with_an_abandoned_mail(
    database: Database, clock: Clock
) -> None:
    mail = owe(database, expires_at=START + timedelta(days=90))
    out = Recorder(LATER)
    paying = worker(database, clock, out)
    for attempt, delay in enumerate(RETRY_DELAYS, start=1):
        assert paying.once() == 0
        row = owed(database, mail)
        assert (row.state, row.attempts, row.locked_until, row.error) == (
            "queued",
            attempt,
            None,
            LATER.reason,
        )
        assert delay * (1 - JITTER) <= row.next_attempt_at - clock.now <= delay * (1 + JITTER)
        clock.now = row.next_attempt_at
    assert paying.once() == 0
    row = owed(database, mail)
    assert (row.state, row.attempts, row.error) == ("failed", MAX_ATTEMPTS, LATER.reason)
    assert out.tries == MAX_ATTEMPTS
    clock.forward(days=30)
    assert paying.once() == 0
    assert out.tries == MAX_ATTEMPTS


def test_the_table_is_the_one_that_is_promised() -> None:
    assert [delay.total_seconds() for delay in RETRY_DELAYS] == [
        10,
        60,
        300,
        900,
        3_600,
        14_400,
        43_200,
        86_400,
    ]
    assert MAX_ATTEMPTS == 9


def test_delays_of_mails_that_fail_together_differ(database: Database, clock: Clock) -> None:
    mails = [owe(database) for _ in range(20)]
    worker(database, clock, Recorder(LATER)).once()
    assert len({owed(database, mail).next_attempt_at for mail in mails}) > 10


def test_a_permanent_refusal_is_given_up_at_once(database: Database, clock: Clock) -> None:
    mail = owe(database)
    worker(database, clock, out := Recorder(NEVER)).once()
    row = owed(database, mail)
    assert (row.state, row.attempts, row.error) == ("failed", 1, NEVER.reason)
    assert out.tries == 1


def test_one_mail_pays_for_an_outage_and_the_others_wait_and_say_why(
    database: Database, clock: Clock
) -> None:
    first, *others = [owe(database) for _ in range(5)]
    out = Recorder(UnreachableError("Connection refused."))
    paying = worker(database, clock, out)
    for outage, delay in enumerate([*OUTAGE_DELAYS, OUTAGE_DELAYS[-1]], start=1):
        paying.once()
        assert out.tries == outage
        waiting = owed(database, others[-1])
        assert (waiting.attempts, waiting.error) == (0, "Connection refused.")
        assert waiting.next_attempt_at == clock.now + delay
        clock.now = waiting.next_attempt_at
    assert owed(database, first).attempts >= 1
    out.says_no = None
    clock.forward(hours=1)
    assert paying.once() == 5
    assert {(row.state, row.error) for row in rows(database).values()} == {("sent", "")}


def test_after_an_outage_the_next_one_counts_anew(database: Database, clock: Clock) -> None:
    out = Recorder(UnreachableError("Connection refused."))
    paying = worker(database, clock, out)
    for _ in range(2):
        owe(database, clock.now)
        out.says_no = UnreachableError("Connection refused.")
        paying.once()
        clock.forward(hours=1)
        out.says_no = None
        paying.once()
    owe(database, clock.now)
    waiting = owe(database, clock.now)
    out.says_no = UnreachableError("Connection refused.")
    paying.once()
    assert owed(database, waiting).next_attempt_at == clock.now + OUTAGE_DELAYS[0]


def test_a_mail_that_kills_its_worker_every_time_is_given_up(
    database: Database, clock: Clock
) -> None:
    mail = owe(database)
    for _ in range(MAX_ATTEMPTS):
        assert claim(database, clock)
        clock.forward(seconds=LEASE_SECONDS)
    worker(database, clock, out := Recorder()).once()
    assert owed(database, mail).state == "failed"
    assert out.tries == 0


def test_a_canceled_invitation_leaves_nothing_to_send(database: Database, clock: Clock) -> None:
    mail = owe(database)
    with database.write(START) as tx:
        tx.execute(Statement(update(invitations).values(state="canceled")))
    assert worker(database, clock, out := Recorder()).once() == 0
    row = owed(database, mail)
    assert (row.state, row.finished_at) == ("obsolete", START)
    assert row.error == "The invitation is no longer pending: it is canceled."
    assert out.tries == 0


def test_a_mail_that_cannot_be_written_is_logged_and_tried_again(
    database: Database, clock: Clock, tmp_path: Path
) -> None:
    template = tmp_path / "invitation_created.txt"
    template.write_text("{{ link }}{{ lnik }}")
    mail, out = owe(database), Recorder()
    paying = worker(database, clock, out, templates=tmp_path)
    with capture_logs() as logs:
        assert paying.once() == 0
    assert any("UndefinedError" in entry.get("traceback", "") for entry in logs)
    row = owed(database, mail)
    assert (row.state, row.error) == ("queued", "The e-mail could not be rendered. See the log.")
    template.write_text("{{ link }}")
    clock.now = row.next_attempt_at
    assert paying.once() == 1


def test_a_mail_of_another_version_waits_and_holds_up_no_other(
    database: Database, clock: Clock
) -> None:
    with database.write(START) as tx:
        unknown = outbox_queries.enqueue(tx, Unknown("bob@example.org"))
    owe(database)
    assert worker(database, clock, Recorder()).once() == 1
    assert owed(database, unknown).state == "queued"


@pytest.mark.parametrize("says_no", [None, LATER])
def test_neither_link_nor_address_gets_into_the_log(
    database: Database, clock: Clock, tmp_path: Path, says_no: UndeliverableError | None
) -> None:
    mail = owe(database)
    (link,) = re.findall(r"/invitation/(\S+)/", words(written(database, mail), "plain"))
    broken = tmp_path / "invitation_created.html"
    with capture_logs() as logs:
        worker(database, clock, Recorder(says_no)).once()
        owe(database)
        broken.write_text("{{ link + 1 }}{{ lnik }}")
        worker(database, clock, Recorder(), templates=tmp_path).once()
    assert len(logs) == 2
    assert link not in str(logs)
    assert "/invitation/" not in str(logs)
    assert "bob@example.org" not in str(logs)


def test_a_mail_sent_again_has_the_same_message_id(database: Database, clock: Clock) -> None:
    owe(database)
    out = Recorder()

    def lose_the_lease() -> None:
        clock.forward(seconds=LEASE_SECONDS)
        claim(database, clock)
        out.before = lambda: None

    out.before = lose_the_lease
    paying = worker(database, clock, out)
    paying.once()
    clock.forward(seconds=LEASE_SECONDS)
    paying.once()
    assert len(out.sent) == 2
    assert len({message["Message-ID"] for message in out.sent}) == 1
