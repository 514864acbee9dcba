"""Closed-loop load: each connection sends the next request after the response."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import repeat
from math import inf
from statistics import median
from typing import Any, Final

from bench import data
from bench.machine import HERE, HOST, Program

CONNECTIONS: Final = 8
_TIMEOUT: Final = 300.0


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

    def rounded(self) -> dict[str, float]:
        """Return the figures that are stored."""
        return {name: round(value, 4) for name, value in (vars(self) | {"rate": self.rate}).items()}


@dataclass(frozen=True)
class Case:
    """A request that is measured.

    Args:
        name: name in the results.
        who: id of the calling account; 0 for nobody.
        target: bound of the ratio; 0 for no target.
    """

    name: str
    who: int
    path: str
    target: float = 0.0
    method: str = "GET"
    body: Any = None

    @property
    def token(self) -> str:
        """The API token of the caller."""
        return data.token_of(self.who)

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        return b"" if self.body is None else json.dumps(self.body).encode()

    @property
    def sent(self) -> bytes:
        """The HTTP request as bytes."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {HOST}"]
        if self.who:
            lines.append(f"Authorization: Token {self.token}")
        if self.method != "GET":
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.content


class _Connection:
    def __init__(self, port: int, number: int) -> None:
        # Each from another address, because the service limits what one address sends at once.
        self.socket = socket.create_connection(
            (HERE, port), source_address=(f"127.0.1.{number}", 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.close = self.socket.close
        self._received = b""
        self._is_head = False
        self._began = 0.0

    def send(self, request: bytes) -> None:
        self._is_head = request.startswith(b"HEAD")
        self._began = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> float | None:
        """Return the time of the response in seconds when all of it has arrived."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise LoadError("the connection was closed")
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 and not self._is_head else 0
        if not separator or len(body) < length:
            return None
        if head[9:10] != b"2":
            raise LoadError(f"failed: {self._received[:300]!r}")
        self._received = b""
        return time.perf_counter() - self._began


def _send(
    port: int, requests: Iterator[bytes], continues: Callable[[], bool], connections: int
) -> Round:
    times: list[float] = []
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector, ExitStack() as stack:

        def connect(number: int) -> _Connection:
            connection = stack.enter_context(closing(_Connection(port, number)))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            return connection

        idle: Iterable[_Connection] = map(connect, range(1, connections + 1))
        while True:
            for connection in idle:
                sent = next(requests, None) if continues() else None
                if sent is None:
                    selector.unregister(connection.socket)
                else:
                    connection.send(sent)
            if not selector.get_map():
                break
            ready = selector.select(_TIMEOUT)
            if not ready:
                raise LoadError("no response")
            responses = [(key.data, key.data.receive()) for key, _ in ready]
            times += [took for _, took in responses if took is not None]
            idle = [connection for connection, took in responses if took is not None]
        seconds = time.perf_counter() - began
    if not times:
        raise LoadError("no request was sent")
    times.sort()
    return Round(len(times), seconds, median(times) * 1e3, times[len(times) * 99 // 100] * 1e3)


def send(
    program: Program, requests: Iterator[bytes], seconds: float, connections: int = CONNECTIONS
) -> Round:
    """Send requests until the iterator or the time ends."""
    until, before = time.perf_counter() + seconds, program.cpu()
    one = _send(program.port, requests, lambda: time.perf_counter() < until, connections)
    return replace(one, cpu=(program.cpu() - before) * 1e3 / one.requests)


def send_during(program: Program, repeated: bytes, at_once: list[bytes]) -> tuple[Round, Round]:
    """Repeat one request while others, all started at once, are in progress."""
    with ThreadPoolExecutor(1) as thread:
        others = thread.submit(send, program, iter(at_once), inf, len(at_once))
        seen = _send(program.port, repeat(repeated), lambda: not others.done(), CONNECTIONS)
        return seen, others.result()


def compare(
    *sides: tuple[Program, Iterator[bytes]],
    seconds: float,
    rounds: int,
    connections: int = CONNECTIONS,
) -> list[list[Round]]:
    """Measure programs alternately; return the rounds of each.

    They start in turns, because the other load of the machine varies.
    """
    seen: list[list[Round]] = [[] for _ in sides]
    for program, requests in sides:  # warm up
        send(program, requests, min(1.0, seconds), connections)
    order = list(zip(seen, sides, strict=True))
    for _ in range(rounds):
        for rounds_of_side, (program, requests) in order:
            rounds_of_side.append(send(program, requests, seconds, connections))
        order.reverse()
    return seen


def ratio(ours: list[Round], theirs: list[Round]) -> float:
    """Return the median of the ratios of the request rates."""
    return median(one.rate / other.rate for one, other in zip(ours, theirs, strict=True))
