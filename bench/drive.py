"""Load: a closed loop over a few connections, by ``wrk`` where there is one, else by our own."""

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


class Failed(Exception):  # noqa: N818 - says what is the case
    """Not every answer was a good one: nothing is measured then."""


@dataclass(frozen=True)
class Round:
    """What one round of load has shown; times in milliseconds.

    Args:
        cpu: milliseconds of processor that the program used for one request.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


def wrk() -> str | None:
    """Give the place of ``wrk``, if it is there."""
    return shutil.which("wrk")


def request(method: str, path: str, token: str, body: Any = None) -> bytes:
    """Give a request as it goes over the socket."""
    sent = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
    if token:
        lines.append(f"Authorization: Token {token}")
    if sent or method != "GET":
        lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
    return "\r\n".join([*lines, "", ""]).encode() + sent


class Wrk:
    """``wrk``, begun; ``end`` waits for what it has seen."""

    def __init__(self, port: int, path: str, token: str, seconds: float, connections: int) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
            script.write(_LUA)
        self._script = Path(script.name)
        self._process = subprocess.Popen(  # noqa: S603 - as it was found
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
        """Give what it has seen."""
        _, said = self._process.communicate()
        self._script.unlink()
        found = json.loads(said[said.index("{") :])
        if found.pop("failed") or not found["requests"]:
            raise Failed(f"wrk: {said}")
        return Round(**found)


@dataclass
class _Tally:
    """What a few connections have seen."""

    goes_on: Callable[[], bool]
    began: float = field(default_factory=time.perf_counter)
    taken: list[float] = field(default_factory=list)
    failures: list[bytes] = field(default_factory=list)
    last: float = 0.0

    def round(self) -> Round:
        """Give what it comes to."""
        if self.failures or not self.taken:
            raise Failed(f"{len(self.failures)} failed: {self.failures[:2]!r}")
        times = sorted(self.taken)
        return Round(
            len(times),
            self.last - self.began,
            median(times) * 1e3,
            times[min(len(times) - 1, len(times) * 99 // 100)] * 1e3,
        )


class _Connection(asyncio.Protocol):
    """One connection: the next request as soon as the answer is there."""

    def __init__(
        self, requests: Iterator[bytes], tally: _Tally, done: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._tally = tally
        self._done = done
        self._buffer = b""
        self._transport: Any = None
        self._began = 0.0
        self._bare = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        sent = next(self._requests, None) if self._tally.goes_on() else None
        if sent is None:
            self._end()
            return
        self._bare = sent.startswith(b"HEAD")
        self._began = time.perf_counter()
        self._transport.write(sent)

    def _end(self) -> None:
        self._transport.close()
        if not self._done.done():
            self._done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 and not self._bare else 0
        if len(body) < length:
            return
        self._buffer = b""
        self._tally.last = time.perf_counter()
        self._tally.taken.append(self._tally.last - self._began)
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


def own(
    port: int, requests: Iterator[bytes], seconds: float, connections: int = CONNECTIONS
) -> Round:
    """Send requests, each once, until they or the time are over."""
    until = time.perf_counter() + seconds
    tally = _Tally(lambda: time.perf_counter() < until)
    asyncio.run(_load(port, requests, tally, connections))
    return tally.round()


def beside(port: int, again: bytes, at_once: list[bytes]) -> tuple[Round, Round]:
    """Send one request again and again while others, all at once, are under way."""

    async def load() -> tuple[_Tally, _Tally]:
        few = _Tally(lambda: True)
        others = asyncio.ensure_future(_load(port, iter(at_once), few, len(at_once)))
        many = _Tally(lambda: not others.done())
        await _load(port, repeat(again), many, CONNECTIONS)
        await others
        return many, few

    many, few = asyncio.run(load())
    return many.round(), few.round()


def read(port: int, path: str, token: str, seconds: float, connections: int = CONNECTIONS) -> Round:
    """Ask for the same again and again."""
    if wrk():
        return Wrk(port, path, token, seconds, connections).end()
    sent = request("GET", path, token)
    return own(port, repeat(sent), seconds, connections)
