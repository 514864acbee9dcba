"""Every e-mail is sent, whatever the mail server does; duplicates are counted."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from collegium.db.database import Database
from collegium.worker.smtp import SmtpTransport
from tests.proof.crashing import numbers
from tests.proof.record import record
from tests.worker.scene import Clock, Mailbox, enqueue, mail_server, rows, worker

MAILS = 12
ROUNDS = int(os.environ.get("PROOF_ROUNDS", "1"))
SEED = int(os.environ.get("PROOF_SEED", "1"))


class FailingMailbox(Mailbox):
    """A mail server that chooses a behaviour for each mail.

    ``cut`` drops the connection after it has the mail, ``later`` and ``full`` refuse temporarily.
    Recipients that begin with ``is_refused`` are refused permanently.
    """

    def __init__(self, rng: random.Random, weights: dict[str, float]) -> None:
        super().__init__()
        self.cut = 0
        self._draw = rng
        self._weights = weights

    def _choose_behaviour(self) -> str:
        names, weights = zip(*self._weights.items(), strict=True)
        return str(self._draw.choices(names, weights)[0])

    async def handle_RCPT(  # noqa: N802 - its name in the protocol
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        behaviour = self._choose_behaviour()
        is_refused = address.startswith("never")
        self.rcpt = (
            "550 5.1.1 Nobody" if is_refused else "451 4.3.0 Later" if behaviour == "later" else ""
        )
        self.drops = behaviour == "cut"
        self.data = "452 4.3.1 Full" if behaviour == "full" else ""
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.cut += self.drops and not self.data
        return await super().handle_DATA(server, session, envelope)


@contextmanager
def transport_to(box: Mailbox, **times: float) -> Iterator[SmtpTransport]:
    with (
        mail_server(box) as port,
        closing(SmtpTransport("127.0.0.1", port, **times)) as transport,  # type: ignore[arg-type]
    ):
        yield transport


def test_failing_mail_server_gets_every_mail_and_few_duplicates(database: Database) -> None:
    clock, rng = Clock(), random.Random(SEED)  # noqa: S311 - draws weights
    received: Counter[int] = Counter()
    cut, started = 0, time.monotonic()
    for round_number in range(ROUNDS):
        for number in range(MAILS):
            name = "never" if number % 4 == 0 else "bob"
            enqueue(database, clock.now, email=f"{name}{round_number}-{number}@example.org")
        weights = {"well": 4.0, "later": 2.0, "full": 1.0, "cut": 2.0}
        for _ in range(6):
            failing = FailingMailbox(rng, weights)
            with transport_to(failing) as transport:
                worker(database, clock, transport).once()
            received.update(numbers(failing.envelopes))
            cut += failing.cut
            clock.forward(hours=5)
            weights = {"well": weights["well"] * 2, "later": 1.0, "full": 1.0, "cut": 1.0}
        box = Mailbox()
        clock.forward(hours=20)
        with transport_to(box) as transport:
            # A permanent refusal is not tried again.
            worker(database, clock, transport).once()
        received.update(numbers(box.envelopes))
    states: Counter[str] = Counter()
    for number, row in rows(database).items():
        is_refused = row.recipient.startswith("never")
        states[row.state] += 1
        assert row.state == ("failed" if is_refused else "sent"), (row.recipient, row.error)
        assert received[number] == 0 if is_refused else 1 <= received[number] <= row.attempts
    duplicates = sum(times - 1 for times in received.values())
    assert duplicates == cut, "duplicates only after a connection dropped after the mail"
    record(
        f"failing mail server, {database.dialect.name}",
        seconds=round(time.monotonic() - started),
        seed=SEED,
        connections_cut=cut,
        duplicates=duplicates,
        **states,
    )


@pytest.mark.parametrize("failure", ["dead", "slow"])
def test_mails_survive_a_mail_server_outage_of_a_day(database: Database, failure: str) -> None:
    clock = Clock()
    for number in range(MAILS):
        enqueue(database, clock.now, email=f"bob{number}@example.org")
    slow = Mailbox()
    slow.pause = 0.3
    for _ in range(6):
        with transport_to(slow, timeout=0.1, deadline=0.15) as transport:
            if failure == "dead":
                transport._port = 1
            assert worker(database, clock, transport).once() == 0
            time.sleep(slow.pause if failure == "slow" else 0)  # the server finishes its response
        clock.forward(hours=2)
    assert not slow.envelopes
    # One mail at a time is tried; none has used up its attempts.
    assert {row.state for row in rows(database).values()} == {"queued"}
    box = Mailbox()
    clock.forward(hours=24)
    with transport_to(box) as transport:
        assert worker(database, clock, transport).once() == MAILS
    assert Counter(numbers(box.envelopes)) == dict.fromkeys(rows(database), 1)
