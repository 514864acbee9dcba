"""Whatever the mail server does, every mail goes out, and how often it may come twice is known."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from collegium.db.database import Database
from collegium.worker.transport import SmtpTransport
from tests.proof.crashing import numbers
from tests.proof.record import record
from tests.worker.scene import Clock, Mailbox, mail_server, owe, rows, worker

MAILS = 12
ROUNDS = int(os.environ.get("PROOF_ROUNDS", "1"))
SEED = int(os.environ.get("PROOF_SEED", "1"))


class Moody(Mailbox):
    """A mail server that is in another mood for every mail.

    ``cut`` breaks the line off once it has the mail; ``later`` and ``never`` are refusals of the
    recipient, for now or for good; ``slow`` lets everybody wait too long.
    """

    def __init__(self, draw: random.Random, moods: dict[str, float]) -> None:
        super().__init__()
        self.cut = 0
        self._draw = draw
        self._moods = moods

    def _mood(self) -> str:
        names, weights = zip(*self._moods.items(), strict=True)
        return str(self._draw.choices(names, weights)[0])

    async def handle_RCPT(  # noqa: N802 - its name in the protocol
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        mood = self._mood()
        never = address.startswith("never")
        self.rcpt = "550 5.1.1 Nobody" if never else "451 4.3.0 Later" if mood == "later" else ""
        self.drops = mood == "cut"
        self.data = "452 4.3.1 Full" if mood == "full" else ""
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.cut += self.drops and not self.data
        return await super().handle_DATA(server, session, envelope)


@contextmanager
def served(box: Mailbox, **times: float) -> Iterator[SmtpTransport]:
    with (
        mail_server(box) as port,
        closing(SmtpTransport("127.0.0.1", port, **times)) as way,  # type: ignore[arg-type]
    ):
        yield way


def test_a_moody_mail_server_gets_every_mail_and_no_more_than_it_cut_off_twice(
    database: Database,
) -> None:
    clock, draw = Clock(), random.Random(SEED)  # noqa: S311 - draws moods
    came: Counter[int] = Counter()
    cut, began = 0, time.monotonic()
    for turn in range(ROUNDS):
        for number in range(MAILS):
            name = "never" if number % 4 == 0 else "bob"
            owe(database, clock.now, email=f"{name}{turn}-{number}@example.org")
        moods = {"well": 4.0, "later": 2.0, "full": 1.0, "cut": 2.0}
        for _ in range(6):
            moody = Moody(draw, moods)
            with served(moody) as way:
                worker(database, clock, way).once()
            came.update(numbers(moody.envelopes))
            cut += moody.cut
            clock.forward(hours=5)
            moods = {"well": moods["well"] * 2, "later": 1.0, "full": 1.0, "cut": 1.0}
        box = Mailbox()
        clock.forward(hours=20)
        with served(box) as way:
            # What is refused for good is not asked for again, whoever answers now.
            worker(database, clock, way).once()
        came.update(numbers(box.envelopes))
    states: Counter[str] = Counter()
    for number, row in rows(database).items():
        never = row.recipient.startswith("never")
        states[row.state] += 1
        assert row.state == ("failed" if never else "sent"), (row.recipient, row.error)
        assert came[number] == 0 if never else 1 <= came[number] <= row.attempts
    twice = sum(many - 1 for many in came.values())
    assert twice == cut, "twice only where the line broke after the mail was taken"
    record(
        f"failing mail server, {database.dialect.name}",
        seconds=round(time.monotonic() - began),
        seed=SEED,
        connections_cut=cut,
        duplicates=twice,
        **states,
    )


@pytest.mark.parametrize("temper", ["dead", "slow"])
def test_mails_outlast_a_mail_server_that_is_gone_for_a_day(
    database: Database, temper: str
) -> None:
    clock = Clock()
    for number in range(MAILS):
        owe(database, clock.now, email=f"bob{number}@example.org")
    slow = Mailbox()
    slow.pause = 0.3
    for _ in range(6):
        with served(slow, timeout=0.1, deadline=0.15) as way:
            if temper == "dead":
                way._port = 1
            assert worker(database, clock, way).once() == 0
            time.sleep(slow.pause if temper == "slow" else 0)  # it has something to finish
        clock.forward(hours=2)
    assert not slow.envelopes
    # One mail at a time pays with an attempt to find out; none has used up its own.
    assert {row.state for row in rows(database).values()} == {"queued"}
    box = Mailbox()
    clock.forward(hours=24)
    with served(box) as way:
        assert worker(database, clock, way).once() == MAILS
    assert Counter(numbers(box.envelopes)) == dict.fromkeys(rows(database), 1)
