"""Responses that are made while they are sent: places for them, and how they ended.

A client that reads slowly holds a thread for as long. So a process sends few of them at once, and
the server ends those that stall (docs/decisions/0064-streamed-responses.md).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Any, Final
from wsgiref.types import WSGIEnvironment

from collegium.integrations.waiting import BusyError
from collegium.refusals import Limited, Refusal
from collegium.settings import THREADS

STREAMS: Final = THREADS // 8
"""Maximum number of streams of a process."""

STREAMS_ACCOUNT: Final = 4
"""Maximum number of streams of one account in a process."""

RETRY_SECONDS: Final = 5
"""Seconds after which somebody who was refused may try again, for the header ``Retry-After``."""

ENDING: Final = "collegium.stream_ending"
"""Key in the WSGI environment under which the server says how a stream ended, before it closes
it; the middleware says here that it has logged an error."""


STATUS: Final = "collegium.stream_status"
"""Key in the WSGI environment under which the server says the status that it sends instead of that
of the stream, because nothing of it was sent before it failed."""


class Ending(StrEnum):
    """How a streamed response ended."""

    COMPLETE = "complete"
    CLIENT = "client"
    """The client closed the connection."""
    STALLED = "stalled"
    """The client did not read for too long."""
    LATE = "late"
    """The whole response took too long."""
    STOPPED = "stopped"
    """The service was stopped."""
    REFUSED = "refused"
    """The reader lost the right meanwhile."""
    FAILED = "failed"
    """There was an error, which was logged."""


class Places:
    """The streams of this process.

    Args:
        total: maximum number.
        per_account: maximum number of one account.
    """

    def __init__(self, total: int = STREAMS, per_account: int = STREAMS_ACCOUNT) -> None:
        self._total = total
        self._per_account = per_account
        self._lock = threading.Lock()
        self._accounts: Counter[int] = Counter()

    @contextmanager
    def place(self, account: int) -> Iterator[None]:
        """Hold a place for a stream.

        Args:
            account: id of the reader.

        Raises:
            Limited: ``tries.wait``: the reader has too many streams.
            BusyError: No place is free.
        """
        with self._lock:
            if self._accounts[account] >= self._per_account:
                raise Limited("tries.wait", seconds=RETRY_SECONDS)
            if self._accounts.total() >= self._total:
                raise BusyError("too many downloads at once")
            self._accounts[account] += 1
        try:
            yield
        finally:
            with self._lock:
                self._accounts[account] -= 1
                if not self._accounts[account]:
                    del self._accounts[account]


places: Final = Places()
"""The one instance of the process."""


class Stream(Iterator[bytes]):
    """The parts of a response, with what must be released when it has ended.

    Args:
        parts: the parts; the first one exists already, so that its errors have a response of their
            own.
        held: closed once, by ``close``.
    """

    def __init__(self, parts: Iterator[bytes], held: ExitStack) -> None:
        self._parts = parts
        self._held = held

    def __next__(self) -> bytes:
        return next(self._parts)

    def close(self) -> None:
        """Release everything. The server calls this in every case."""
        self._held.close()


class StreamedBody(Iterator[bytes]):
    """The body of a streamed response, whose end is reported once.

    Args:
        parts: the parts. Their ``close`` is called before the report.
        env: the WSGI environment of the request, where the server says how the stream ended.
        report: called with this object when it is closed.
        note_error: called with an error of the parts, if there is one.
    """

    def __init__(
        self,
        parts: Iterable[bytes],
        env: WSGIEnvironment,
        report: Callable[[StreamedBody], None],
        note_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.size = 0
        self.ending: Ending | None = None
        self._close: Callable[[], Any] | None = getattr(parts, "close", None)
        self._parts = iter(parts)
        self._env = env
        self._report: Callable[[StreamedBody], None] | None = report
        self._note_error = note_error

    def __next__(self) -> bytes:
        try:
            part = next(self._parts)
        except StopIteration:
            self.ending = Ending.COMPLETE
            raise
        except Exception as error:
            self.ending = Ending.REFUSED if isinstance(error, Refusal) else Ending.FAILED
            if self._note_error is not None:
                self._note_error(error)
                self._env[ENDING] = self.ending
            raise
        self.size += len(part)
        return part

    def close(self) -> None:
        """Close the parts and report the end, once."""
        report, self._report = self._report, None
        if report is None:
            return
        if self.ending is None:
            # A server that closes it without a reason has lost the client.
            self.ending = self._env.get(ENDING, Ending.CLIENT)
        try:
            if self._close is not None:
                self._close()
        finally:
            report(self)
