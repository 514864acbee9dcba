"""``collegium`` with points where it kills itself, and with another clock. Only tests start it.

Environment:

* ``PROOF_KILL=point:n``: the process kills itself when it reaches the point for the n-th time;
* ``PROOF_LATER=seconds``: the clock is ahead by this time;
* ``PROOF_CLOCK=file``: the time is read from the file, in ISO 8601;
* ``PROOF_FILE_SIZE=bytes``: maximum size of files, as on a full disk.
"""

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from aiosmtplib.protocol import SMTPProtocol

from collegium.cli import main
from collegium.db.database import Database, ReadTransaction, WriteTransaction
from collegium.worker.smtp import SmtpTransport
from collegium.worker.worker import Worker

WRITES: Final = ("begun", "statement", "commit", "committed")
"""Points around a commit: begun, after a statement, just before the commit, just after it."""

MAILS: Final = ("claimed", "written", "sending", "accepted", "recorded")
"""Points of an e-mail: claimed, rendered, half sent, accepted by the server, recorded as sent.

The first and the last are points of the batch that it belongs to.
"""

_point, _, _nth = os.environ.get("PROOF_KILL", "").partition(":")
_later = timedelta(seconds=float(os.environ.get("PROOF_LATER", "0")))
_clock = os.environ.get("PROOF_CLOCK")
_left = int(_nth or 0)
_lock = threading.Lock()


def _is_here(point: str) -> bool:
    """Return whether the process ends at this point."""
    global _left  # noqa: PLW0603 - a counter of the process
    if point != _point:
        return False
    with _lock:
        _left -= 1
        return _left == 0


def _kill_at(point: str) -> None:
    if _is_here(point):
        os.kill(os.getpid(), signal.SIGKILL)


_read, _write, _execute = Database.read, Database.write, ReadTransaction._execute
_claim, _send, _talk = Worker._record_and_claim, SmtpTransport.send, SMTPProtocol.write


def moment() -> datetime:
    if _clock:
        return datetime.fromisoformat(Path(_clock).read_text("ascii"))
    return datetime.now(UTC) + _later


def read(self: Database, now: datetime | None = None) -> Any:
    return _read(self, now or moment())


@contextmanager
def write(self: Database, now: datetime | None = None) -> Iterator[WriteTransaction]:
    with _write(self, now or moment()) as tx:
        _kill_at("begun")
        yield tx
        _kill_at("commit")
    _kill_at("committed")


def execute(self: ReadTransaction, *given: Any) -> Any:
    result = _execute(self, *given)
    if isinstance(self, WriteTransaction):
        _kill_at("statement")
    return result


def claim(self: Worker, limit: int) -> Any:
    has_results = bool(self._results)
    rows = _claim(self, limit)
    if has_results:
        _kill_at("recorded")
    if rows:
        _kill_at("claimed")
    return rows


def send(self: SmtpTransport, message: Any) -> None:
    _kill_at("written")
    _send(self, message)
    _kill_at("accepted")


def talk(self: SMTPProtocol, data: bytes) -> None:
    if data.endswith(b"\r\n.\r\n") and _is_here("sending"):
        _talk(self, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    _talk(self, data)


Database.read, Database.write = read, write  # type: ignore[method-assign]
ReadTransaction._execute = execute  # type: ignore[method-assign, assignment]
Worker._record_and_claim = claim  # type: ignore[method-assign]
SmtpTransport.send, SMTPProtocol.write = send, talk  # type: ignore[method-assign]

if size := os.environ.get("PROOF_FILE_SIZE"):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))

if __name__ == "__main__":
    main()
