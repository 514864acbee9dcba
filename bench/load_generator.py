"""Closed-loop load over a few connections, by ``wrk`` if installed, else by our own client."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.machine import HERE, HOST, LOAD_CORE

CONNECTIONS: Final = 8

_LUA: Final = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"seconds":%.6f,"failed":%d,"p50":%.4f,"p99":%.4f}',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class LoadError(Exception):
    """A response was not 2xx, or the programs are not comparable."""


@dataclass(frozen=True)
class Round:
    """Results of one round; times in milliseconds.

    Args:
        cpu: CPU time of the program per request, in milliseconds.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def wrk() -> str | None:
    """Return the path of ``wrk`` if it is installed."""
    return shutil.which("wrk")


def request(method: str, path: str, token: str, body: Any = None) -> bytes:
    """Return an HTTP request as bytes."""
    sent = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
    if token:
        lines.append(f"Authorization: Token {token}")
    if sent or method != "GET":
        lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
    return "\r\n".join([*lines, "", ""]).encode() + sent


class Wrk:
    """A running ``wrk``; ``end`` waits for its results."""

    def __init__(self, port: int, path: str, token: str, seconds: float, connections: int) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
            script.write(_LUA)
        self._script = Path(script.name)
        self._process = subprocess.Popen(  # noqa: S603 - constants
            [
                *(["taskset", "-c", str(LOAD_CORE)] if shutil.which("taskset") else []),
                str(wrk()),
                "-t1",
                f"-c{connections}",
                f"-d{max(1, round(seconds))}s",
                "--timeout=30s",
                f"-HHost: {HOST}",
                f"-HAuthorization: Token {token}",
                f"-s{self._script}",
                f"http://{HERE}:{port}{path}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> Round:
        """Wait for ``wrk`` and return the results."""
        _, output = self._process.communicate()
        self._script.unlink()
        results = json.loads(output[output.index("{") :])
        if results.pop("failed") or not results["requests"]:
            raise LoadError(f"wrk: {output}")
        return Round(**results)


@dataclass
class _Tally:
    """Response times and failures of some connections."""

    continues: Callable[[], bool]
    began: float = field(default_factory=time.perf_counter)
    times: list[float] = field(default_factory=list)
    failures: list[bytes] = field(default_factory=list)
    last: float = 0.0

    def round(self) -> Round:
        """Return the results."""
        if self.failures or not self.times:
            raise LoadError(f"{len(self.failures)} failed: {self.failures[:2]!r}")
        ordered = sorted(self.times)
        return Round(
            len(ordered),
            self.last - self.began,
            median(ordered) * 1e3,
            ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3,
        )


class _Connection(asyncio.Protocol):
    """One connection: sends the next request after each response."""

    def __init__(
        self, requests: Iterator[bytes], tally: _Tally, done: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._tally = tally
        self._done = done
        self._buffer = b""
        self._transport: Any = None
        self._began = 0.0
        self._is_head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        sent = next(self._requests, None) if self._tally.continues() else None
        if sent is None:
            self._end()
            return
        self._is_head = sent.startswith(b"HEAD")
        self._began = time.perf_counter()
        self._transport.write(sent)

    def _end(self) -> None:
        self._transport.close()
        if not self._done.done():
            self._done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 and not self._is_head else 0
        if len(body) < length:
            return
        self._buffer = b""
        self._tally.last = time.perf_counter()
        self._tally.times.append(self._tally.last - self._began)
        if head[9:10] != b"2":
            self._tally.failures.append(head[:60] + body[:200])
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._tally.failures.append(f"the connection was closed: {exc}".encode())
            self._done.set_result(None)


async def _load(port: int, requests: Iterator[bytes], tally: _Tally, connections: int) -> None:
    loop = asyncio.get_running_loop()
    ends: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    for end in ends:
        await loop.create_connection(partial(_Connection, requests, tally, end), HERE, port)
    await asyncio.gather(*ends)


def send(
    port: int, requests: Iterator[bytes], seconds: float, connections: int = CONNECTIONS
) -> Round:
    """Send requests until the iterator or the time ends."""
    until = time.perf_counter() + seconds
    tally = _Tally(lambda: time.perf_counter() < until)
    asyncio.run(_load(port, requests, tally, connections))
    return tally.round()


def send_during(port: int, repeated: bytes, at_once: list[bytes]) -> tuple[Round, Round]:
    """Repeat one request while others, all started at once, are in progress."""

    async def load() -> tuple[_Tally, _Tally]:
        few = _Tally(lambda: True)
        others = asyncio.ensure_future(_load(port, iter(at_once), few, len(at_once)))
        many = _Tally(lambda: not others.done())
        await _load(port, repeat(repeated), many, CONNECTIONS)
        await others
        return many, few

    many, few = asyncio.run(load())
    return many.round(), few.round()


def read(port: int, path: str, token: str, seconds: float, connections: int = CONNECTIONS) -> Round:
    """Repeat one GET request."""
    if wrk():
        return Wrk(port, path, token, seconds, connections).end()
    sent = request("GET", path, token)
    return send(port, repeat(sent), seconds, connections)
