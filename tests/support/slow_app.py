"""An application that takes its time: what the server does with requests that are not finished.

``/parts/9`` streams nine parts, ``/fail/9`` fails after them, ``/streams`` says what became of
streams, and ``/set/NAME/1.5`` changes a limit of ``server_streams``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from granian.server import Server

from collegium import server, server_streams
from collegium.api.streams import ENDING
from tests.hostile.raw import connect
from tests.support.serving import PATIENCE, free_port

SECONDS = 2.0
PART = b"0123456789abcde\n" * 8192
"""A part of a stream: 128 KiB."""
PAUSE_SECONDS = 3
"""Seconds that the next part of a body may take here; ``tests/hostile/test_raw_http.py`` has the
true time."""


@contextmanager
def started() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a server with this application; yield its port and process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.slow_app"],
        env=os.environ | {"PORT": str(port)},
        start_new_session=True,
    )
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connect(port).close()
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
    try:
        yield port, process
    finally:
        # The worker process too, which outlives it otherwise.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def build() -> WSGIApplication:
    """Return the application."""
    vars(server)["PAUSE_SECONDS"] = PAUSE_SECONDS  # in the worker alone
    return _answer


class _Parts:
    """A stream of some parts that may fail in the end."""

    made = 0
    endings: tuple[str, ...] = ()

    def __init__(self, environ: WSGIEnvironment, count: int, *, fails: bool) -> None:
        self._environ, self._left, self._fails = environ, count, fails

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            if self._fails:
                self._environ[ENDING] = "failed"  # as the middleware says when it has logged it
                raise RuntimeError
            raise StopIteration
        self._left -= 1
        _Parts.made += 1
        return PART

    def close(self) -> None:
        _Parts.endings += (str(self._environ.get(ENDING, "whole")),)


def _answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    action, _, value = environ["PATH_INFO"][1:].partition("/")
    if action == "slow":
        time.sleep(SECONDS)
    if action in {"parts", "fail"}:
        start_response("200 OK", [("content-type", "text/plain")])
        return _Parts(environ, int(value), fails=action == "fail")
    if action == "set":
        name, _, value = value.partition("/")
        vars(server_streams)[name] = float(value)
    if action == "streams":
        facts = {"made": _Parts.made, "endings": _Parts.endings}
        facts["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        start_response("200 OK", [("content-type", "application/json")])
        return [json.dumps(facts).encode()]
    body, length = b"", int(environ.get("CONTENT_LENGTH") or 0)
    try:
        while len(body) < length and (part := environ["wsgi.input"].read(length - len(body))):
            body += part
    except OSError as error:
        body = type(error).__name__.encode()
    start_response("200 OK", [("content-length", str(len(body) + 5))])
    return [b"done ", body]


if __name__ == "__main__":
    options = server.options("127.0.0.1", int(os.environ["PORT"]), 1)
    Server("tests.support.slow_app:build", **options).serve(spawn_target=server.worker)
