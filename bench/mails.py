"""Send e-mails: how many a worker delivers to a local SMTP server in a second."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import closing
from itertools import cycle, islice
from typing import Any, Final, Self

from sqlalchemy import select

from bench import data
from bench.databases import Part
from bench.machine import COMMAND, HERE, Program, free_port
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import invitations
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import InvitationCreated

MAILS: Final = 3000
RATE_TARGET: Final = 200.0
_TIMEOUT: Final = 300.0
_PENDING: Final = Statement[Any](
    select(invitations.c.id, invitations.c.email, invitations.c.link_version).where(
        invitations.c.state == "pending"
    )
)


class Sink:
    """A mail server that accepts everything at once, in a thread of its own.

    It does little, because it shares the core with the database.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[float] = []
        """When each message was received, in seconds of ``time.perf_counter()``."""
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        started = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        self._thread.start()
        started.result(10)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _serve(self) -> None:
        self._loop.run_forever()

    async def _start(self) -> None:
        await self._loop.create_server(lambda: _Conversation(self), HERE, self.port)


class _Conversation(asyncio.Protocol):
    """One connection: SMTP as far as a client with good e-mails needs it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._in_message = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._sink.connections += 1
        transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, received: bytes) -> None:
        self._buffer += received
        while True:
            end = b"\r\n.\r\n" if self._in_message else b"\r\n"
            part, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            if self._in_message:
                self._in_message = False
                self._sink.received.append(time.perf_counter())
                self._transport.write(b"250 OK\r\n")
                continue
            self._in_message = part.upper() == b"DATA"
            self._transport.write(_REPLIES.get(part[:4].upper(), b"250 OK\r\n"))


_REPLIES: Final = {
    b"DATA": b"354 Go on\r\n",
    b"EHLO": b"250-sink\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n",
    b"QUIT": b"221 Bye\r\n",
}


def run(part: Part) -> dict[str, Any]:
    """Return the e-mails a second, and the processor time of each in milliseconds."""
    url = part.copy(part.size, "mails")
    with closing(Database(url, size=1)) as database, Sink() as sink:
        data.refresh(database, [1])
        with database.write() as tx:
            pending = tx.fetch_all(_PENDING)
            outbox_queries.enqueue_all(
                tx,
                [
                    InvitationCreated(row.email, row.id, row.link_version, reminder=False)
                    for row in islice(cycle(pending), MAILS)
                ],
            )
        more = {"COLLEGIUM_MAIL_URL": f"smtp://{HERE}:{sink.port}"}
        began = time.perf_counter()
        with Program(*COMMAND, "worker", url=url, more=more, serves=False) as program:
            while len(sink.received) < MAILS and time.perf_counter() - began < _TIMEOUT:
                time.sleep(0.05)
            cpu, memory = program.cpu(), program.memory()
        times = sink.received
    part.databases.drop(url)
    rate = (len(times) - 1) / (times[-1] - times[0])
    part.say(
        f"{len(times):,} e-mails, {rate:.0f} a second, {cpu / len(times) * 1000:.1f} ms of CPU "
        f"time each, {sink.connections} connections, memory {memory['peak']:.0f} MB"
    )
    return {
        "mails": len(times),
        "rate": rate,
        "cpu": cpu / len(times) * 1000,
        "connections": sink.connections,
        "memory": memory,
        "busy": round(os.getloadavg()[0], 1),
    }
