"""``collegium``, with points at which it can be killed and a clock that can be set forward.

The program is the one that people run; only tests begin it like this. The environment says what
is to happen:

* ``PROOF_KILL=point:n``: the process kills itself where it comes to the point for the n-th time;
* ``PROOF_LATER=seconds``: so much later it is, as the database's clock has it;
* ``PROOF_CLOCK=file``: it is the moment that stands in the file, ISO 8601, and nothing else;
* ``PROOF_FILE_SIZE=bytes``: no file can become larger, as on a disk that is full.
"""

from __future__ import annotations

import os
import resource
import signal
import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from collegium.cli import main
from collegium.db.database import Database, ReadTransaction, WriteTransaction
from collegium.worker.transport import SmtpTransport
from collegium.worker.worker import Worker

WRITES: Final = ("begun", "statement", "commit", "committed")
"""Points around a commit: begun, after a statement, just before the commit, just after it."""

MAILS: Final = ("claimed", "written", "sending", "accepted", "recorded")
"""Points of an e-mail: claimed, rendered, half sent, accepted by the server, recorded as sent."""

_point, _, _nth = os.environ.get("PROOF_KILL", "").partition(":")
_later = timedelta(seconds=float(os.environ.get("PROOF_LATER", "0")))
_clock = os.environ.get("PROOF_CLOCK")
_left = int(_nth or 0)
_lock = threading.Lock()


def _is_here(point: str) -> bool:
    """Tell whether it is here that the process ends."""
    global _left  # noqa: PLW0603 - one process, one death
    if point != _point:
        return False
    with _lock:
        _left -= 1
        return _left == 0


def _pass(point: str) -> None:
    if _is_here(point):
        os.kill(os.getpid(), signal.SIGKILL)


_read, _write, _execute = Database.read, Database.write, ReadTransaction._execute
_claim, _pay, _send, _data = Worker._claim, Worker._deliver, SmtpTransport.send, smtplib.SMTP.data


def moment() -> datetime:
    if _clock:
        return datetime.fromisoformat(Path(_clock).read_text("ascii"))
    return datetime.now(UTC) + _later


def read(self: Database, now: datetime | None = None) -> Any:
    return _read(self, now or moment())


@contextmanager
def write(self: Database, now: datetime | None = None) -> Iterator[WriteTransaction]:
    with _write(self, now or moment()) as tx:
        _pass("begun")
        yield tx
        _pass("commit")
    _pass("committed")


def execute(self: ReadTransaction, *given: Any) -> Any:
    done = _execute(self, *given)
    if isinstance(self, WriteTransaction):
        _pass("statement")
    return done


def claim(self: Worker) -> Any:
    row = _claim(self)
    if row is not None:
        _pass("claimed")
    return row


def pay(self: Worker, row: Any) -> bool:
    paid = _pay(self, row)
    _pass("recorded")
    return paid


def send(self: SmtpTransport, message: Any) -> None:
    _pass("written")
    _send(self, message)
    _pass("accepted")


def data(self: smtplib.SMTP, msg: Any) -> Any:
    if _is_here("sending"):
        self.putcmd("data")
        self.getreply()
        self.send(msg[: len(msg) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return _data(self, msg)


Database.read, Database.write = read, write  # type: ignore[method-assign]
ReadTransaction._execute = execute  # type: ignore[method-assign, assignment]
Worker._claim, Worker._deliver = claim, pay  # type: ignore[method-assign]
SmtpTransport.send, smtplib.SMTP.data = send, data  # type: ignore[method-assign]

if size := os.environ.get("PROOF_FILE_SIZE"):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))

if __name__ == "__main__":
    main()
