"""An application that takes its time: what the server does with requests that are not finished."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from granian.server import Server

from collegium import server

SECONDS = 2.0
PAUSE_SECONDS = 3
"""Seconds that the next part of a body may take here; ``tests/hostile/test_raw_http.py`` has the
true time."""


def build() -> WSGIApplication:
    """Return the application."""
    vars(server)["PAUSE_SECONDS"] = PAUSE_SECONDS  # in the worker alone
    return _answer


def _answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/slow":
        time.sleep(SECONDS)
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
