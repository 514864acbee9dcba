"""Record every request of a test run with its response, and compare two recordings.

A change of structure must not change what clients see. Record before and after it, then compare:

    RECORD=var/before.jsonl script/test -n 0 -p no:randomly tests/matrix tests/clients
    RECORD=var/after.jsonl script/test -n 0 -p no:randomly tests/matrix tests/clients
    .venv/bin/python -m tests.support.recording var/before.jsonl var/after.jsonl

Each line is one exchange. What differs from run to run (UUIDs, tokens, times, ports) is replaced
by a placeholder, so equal behaviour gives equal lines. Exchanges are compared by their requests
and not by the names of tests, so tests may be renamed and moved in between. For requests to the
application in this process the number of SQL statements is recorded too.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

import httpx
import pytest

from collegium.db.database import ReadTransaction
from tests.support import serving, site
from tests.support.serving import Service

RECORD: Final = "RECORD"
"""The environment variable that names the file to write."""

_PLACEHOLDERS: Final = (
    (re.compile(r"(?:https?(?::|%3A)(?:/|%2F){2})?127\.0\.0\.1(?::|%3A)\d+"), "<host>"),
    (
        re.compile(
            r"\d{4}-\d\d-\d\d[T ]\d\d(?::|%3A)\d\d(?:[\d:.]|%3A)*"
            r"(?:Z|(?:[+-]|%2B)\d\d(?::|%3A)?\d\d)?"
        ),
        "<time>",
    ),
    (re.compile(r"\b(ssh-ed25519[ +])(?:[\w+/=]|%2[BF]|%3D)+"), r"\1<key>"),
    (re.compile(r"\bSHA(256|512):[\w+/=]+"), r"SHA\1:<fingerprint>"),
    (re.compile(r"\b(?:[0-9a-f]{2}:){15}[0-9a-f]{2}\b"), "<fingerprint>"),
    (re.compile(r"\b[B-DF-HJ-NP-TV-Z]{4}-\d{4}\b"), "<user code>"),
    (re.compile(r"name=\\?\"submission\\?\" value=\\?\"[\w-]+"), "name=submission value=<secret>"),
    (re.compile(r" d=\\?\"M[^\"]+"), " d=<drawing>"),
    (re.compile(r"-<secret>"), "<secret>"),
    (re.compile(r"\b\d{1,2} [A-Z][a-z]+ \d{4}, \d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32,64}\b"), "<id>"),
    (re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}(?:\.[\w-]+)*"), "<secret>"),
)
# They name the moment, the request, the connection or the length of what stands above.
_UNSTABLE: Final = frozenset({"x-request-id", "date", "content-length", "connection", "server"})
_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "host"})


def normalise(text: str) -> str:
    """Return the text with placeholders for what differs from run to run."""
    for pattern, placeholder in _PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return text


class Recorder:
    """Write exchanges to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        path.write_text("", "utf-8")

    def write(
        self,
        source: str,
        request: tuple[str, str, Mapping[str, str], bytes],
        response: tuple[int, Iterable[tuple[str, str]], bytes],
        statements: int | None = None,
    ) -> None:
        """Record one exchange.

        Args:
            source: the database or the client it belongs to, so that equal requests of two
                databases stay apart.
            request: method, path with query, headers, body.
            response: status, headers, body.
            statements: number of SQL statements, where it is known.
        """
        method, path, sent, body = request
        status, headers, answer = response
        credentials = next((v.split(" ")[0] for k, v in sent.items() if k == "authorization"), "")
        exchange = {
            "request": [source, method, normalise(path), credentials, _readable(body)],
            "response": [
                status,
                sorted([k, normalise(v)] for k, v in headers if k not in _UNSTABLE),
                _readable(answer),
                statements,
            ],
        }
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(exchange, ensure_ascii=False) + "\n")


def _readable(body: bytes) -> str:
    return normalise(body.decode("utf-8", "replace"))


def start(path: Path) -> None:
    """Record every request of this test run from now on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(path)
    _record_site(recorder)
    _record_services(recorder)


def _record_site(recorder: Recorder) -> None:
    """Record what is asked of the application in this process."""
    handle, execute = site._Server.handle, ReadTransaction._execute
    run = [0]

    def counted(self: ReadTransaction, *args: Any) -> Any:
        run[0] += 1
        return execute(self, *args)

    def recorded(self: Any, request: httpx.Request) -> httpx.Response:
        body = request.read()
        run[0] = 0
        response: httpx.Response = handle(self, request)
        recorder.write(
            "site",
            (request.method, request.url.raw_path.decode(), _lower(request.headers), body),
            (response.status_code, response.headers.items(), response.content),
            run[0],
        )
        return response

    patch = pytest.MonkeyPatch()
    patch.setattr(ReadTransaction, "_execute", counted)
    patch.setattr(site._Server, "handle", recorded)


def _record_services(recorder: Recorder) -> None:
    """Put a proxy that records before every service that a test starts."""
    make_service = serving.Service.__init__

    def made(
        self: Service, folder: Path, settings: Mapping[str, str], *, is_forked: bool = True
    ) -> None:
        make_service(self, folder, settings, is_forked=is_forked)
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), _proxy(recorder, self.port))
        proxy.daemon_threads = True
        Thread(target=proxy.serve_forever, daemon=True).start()
        # Clients and links lead to the proxy; the service itself keeps its port.
        base = f"http://127.0.0.1:{proxy.server_port}"
        if self.environment["COLLEGIUM_BASE_URL"] == self.base:
            self.environment["COLLEGIUM_BASE_URL"] = base
        self.base = base

    pytest.MonkeyPatch().setattr(serving.Service, "__init__", made)


def _proxy(recorder: Recorder, port: int) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            upstream = HTTPConnection("127.0.0.1", port, timeout=60)
            sent = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            sent["Host"] = self.headers.get("host", "")
            try:
                upstream.request(self.command, self.path, body or None, sent)
                answer = upstream.getresponse()
                content = answer.read()
            except OSError:
                self.close_connection = True
                return
            finally:
                upstream.close()
            headers = [(k.lower(), v) for k, v in answer.getheaders()]
            recorder.write(
                "service",
                (self.command, self.path, _lower(self.headers), body),
                (answer.status, headers, content),
            )
            self.send_response_only(answer.status, answer.reason)
            length = dict(headers).get("content-length", str(len(content)))
            for name, value in headers:
                if name not in _HOP:
                    self.send_header(name, value)
            self.send_header("content-length", length)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content)

    return Proxy


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _load(path: Path) -> dict[str, set[str]]:
    """Return the different responses of each request: a test that polls asks more or less often."""
    found: dict[str, set[str]] = defaultdict(set)
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            exchange = json.loads(line)
            found[json.dumps(exchange["request"])].add(json.dumps(exchange["response"]))
    return found


def differences(before: Path, after: Path) -> list[str]:
    """Return a paragraph for each request whose responses are not the same in both files."""
    old, new = _load(before), _load(after)
    found = []
    for request in sorted(old.keys() | new.keys()):
        gone, come = old[request] - new[request], new[request] - old[request]
        if gone or come:
            lines = [f"  - {response}" for response in sorted(gone)]
            lines += [f"  + {response}" for response in sorted(come)]
            found.append("\n".join([request, *lines]))
    return found


def main() -> int:
    """Print the differences of two recordings; exit with 1 when there are any."""
    found = differences(Path(sys.argv[1]), Path(sys.argv[2]))
    for sentence in found:
        print(sentence)  # noqa: T201 - a command prints its result
    print(f"{len(found)} requests differ")  # noqa: T201 - as above
    return 1 if found else 0


def start_if_wanted() -> None:
    """Start to record when the environment names a file."""
    if os.environ.get(RECORD):
        start(Path(os.environ[RECORD]))


if __name__ == "__main__":
    sys.exit(main())
