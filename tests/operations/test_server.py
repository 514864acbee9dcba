"""The HTTP server: headers, paths and bodies before the application sees them, and stopping."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from collegium import app, server
from collegium.api.middleware import RAW_PATH
from collegium.api.streams import Ending
from collegium.server_streams import ResponseStream
from tests.hostile.raw import connect, listen, read_all, request, say
from tests.support import slow_app
from tests.support.serving import PATIENCE, Service

A_FEW_SECONDS = 6.0


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    service = make_service(trusted_proxies="127.0.0.1", authentication_methods="X")
    service.start()
    return service


RARELY_USED = """
    PIL aiosmtplib alembic authlib babel httpx joserfc nh3 openpyxl opentelemetry psycopg pygments
    rich segno webauthn zxcvbn
    collegium.accounts.data_access collegium.statistics.queries
"""


def test_new_service_loads_no_module_that_few_requests_use(tmp_path: Path) -> None:
    """Each takes 0.3 to 8 MB in every worker process, which is a fork of the one that migrates."""
    program = """
import sys
import threading
from collegium import app, bootstrap, cli, server, settings
from collegium.db import schema
with cli._app_context(settings.load({})) as (database, _):
    assert schema.status(database) is schema.SchemaStatus.CURRENT
app.build()
print(*sorted(set(sys.argv[1:]) & set(sys.modules)))
import rich
"""
    url = {"COLLEGIUM_DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}
    done = subprocess.run(
        [sys.executable, "-c", program.replace("load({})", f"load({url})"), *RARELY_USED.split()],
        capture_output=True,
        check=True,
        env=os.environ | url,
        text=True,
    )
    assert done.stdout.split() == []


def test_worker_in_the_service_lets_requests_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    intervals: list[float] = []
    found: SimpleQueue[int] = SimpleQueue()
    monkeypatch.setattr(app, "Finalize", lambda *_, **__: None)
    monkeypatch.setattr(sys, "setswitchinterval", intervals.append)
    before = niceness()
    app._run_worker(Mock(run=lambda _: found.put(niceness())), Mock())
    assert found.get(timeout=5) == max(before, 7)
    assert niceness() == before
    assert intervals == [0.001]


def test_probes_answer_without_a_host(make_service: Callable[..., Service]) -> None:
    service = make_service(base_url="https://members.example.org")
    service.start()
    # The first as old load balancers do, the others as scripts do.
    for host in ("", "Host:\r\n", "Host: \r\nX-Forwarded-Host: \r\n"):
        for path, status in (("healthz", 200), ("readyz", 200), ("metrics", 200), ("", 400)):
            response = say(service.port, f"GET /{path} HTTP/1.0\r\n{host}\r\n".encode())
            assert response.status == status, (path, host)
    empty = b"GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"
    assert say(service.port, empty).status == 200


def _send(port: int, data: bytes) -> socket.socket:
    connection = connect(port, 20)
    connection.sendall(data)
    return connection


def test_header_with_an_underscore_is_not_one_with_a_hyphen() -> None:
    def variables(*headers: tuple[bytes, bytes]) -> dict[str, str]:
        scope = {
            "method": "GET",
            "raw_path": b"/a%2Fb",
            "query_string": b"x=%2f",
            "http_version": "1.1",
            "server": ("127.0.0.1", "8000"),
            "client": ("127.0.0.1", "1"),
            "scheme": "http",
            "headers": list(headers),
        }
        return server.environment(scope, None)

    genuine = (b"x-forwarded-for", b"192.0.2.1")
    for name in (b"x_forwarded_for", b"x-forwarded_for", b"x_forwarded-for"):
        forged = (name, b"198.51.100.1")
        for headers in ((genuine, forged), (forged, genuine)):
            assert variables(*headers)["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
        assert "HTTP_X_FORWARDED_FOR" not in variables(forged)
    assert "CONTENT_TYPE" not in variables((b"content_type", b"a/b"))
    assert variables(genuine, genuine)["HTTP_X_FORWARDED_FOR"] == "192.0.2.1,192.0.2.1"
    assert variables((b"cookie", b"a=1"), (b"cookie", b"b=2"))["HTTP_COOKIE"] == "a=1;b=2"
    assert variables()["PATH_INFO"] == "/a/b"
    assert variables()[RAW_PATH] == "/a%2Fb"
    assert "HTTP_" + "X" * 101 not in variables((b"x" * 101, b"1"))
    assert variables()["QUERY_STRING"] == "x=%2f"


def test_stop_finishes_running_requests_only() -> None:
    """SIGTERM with half a head, half a body, an idle connection and a stream open."""
    with slow_app.started() as (port, process):
        # More than fits into the queues between the server and a client that does not read.
        stream = _send(port, request("GET", "/parts/150"))
        assert stream.recv(100).startswith(b"HTTP/1.1 200")
        busy = _send(port, request("GET", "/slow"))
        half_a_body = _send(port, request("POST", "/", "Content-Length: 9", sized=False) + b"abc")
        half_a_head = _send(port, b"GET / HTTP/1.1\r\nHo")
        idle = _send(port, request("GET", "/"))
        assert listen(idle).status == 200
        time.sleep(0.3)
        started = time.monotonic()
        process.terminate()
        assert read_all(stream).endswith(b"\r\n0\r\n\r\n")
        response = listen(busy)
        assert (response.status, response.body) == (200, b"done ")
        assert listen(half_a_body).body == b"done ConnectionError"
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - started < slow_app.SECONDS + A_FEW_SECONDS
        for connection in (stream, busy, half_a_body, half_a_head, idle):
            connection.close()


def test_stop_ends_streams_that_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(server, "FLUSH_SECONDS", 0)
    monkeypatch.setattr(server, "_RESET_SECONDS", 0.1)
    drain, future = server._Drain(), Future[None]()
    protocol = SimpleNamespace(receive=Future[None], send=lambda _message: future)
    scope = {"client": ("127.0.0.1", "1"), "server": ("127.0.0.1", "2")}
    stream = ResponseStream(protocol, scope)
    with ThreadPoolExecutor(1) as threads:
        # Its client does not read: the future of the first part is never done.
        running = threads.submit(stream.run, 200, [], [b"a", b"b"], [])
        drain.active.add(server._Body(drain, protocol.receive))
        drain.streams.add(stream)
        drain.run()
        assert running.result(PATIENCE) is Ending.STOPPED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_repeated_stop_signal_loses_no_response(number: signal.Signals) -> None:
    """Ctrl-C reaches every process of the group, and people press it again."""
    with slow_app.started() as (port, process):
        busy = _send(port, request("GET", "/slow"))
        time.sleep(0.3)
        for _ in range(4):
            os.killpg(process.pid, number)
            time.sleep(0.2)
        with busy:
            assert listen(busy).status == 200
        assert process.wait(timeout=PATIENCE) == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHo",
        b"POST /api-auth/password/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na",
    ],
    ids=["head", "body"],
)
def test_service_stops_in_seconds_with_half_a_request_open(service: Service, sent: bytes) -> None:
    with _send(service.port, sent):
        time.sleep(0.3)
        started = time.monotonic()
        service.stop()
        assert time.monotonic() - started < A_FEW_SECONDS


def test_other_spellings_of_a_path_are_404(service: Service) -> None:
    """Nor does such a path write a token of its link to the log."""
    token = service.staff()
    for path, status in (
        ("/api/users/me/", 200),
        ("//api/users/me/", 404),
        ("/api%2fusers/me/", 404),
        ("/api/users%2Fme/", 404),
        ("/api/users/me%2f", 404),
        ("/api/%2e/users/me/", 404),
        ("/api/x/%2e%2E/users/me/", 404),
        ("/api/./users/me/", 404),
        ("/api/%75sers/me/", 200),
        ("/sign_in%2f", 404),
        ("//healthz", 404),
        ("/invitation%2fs3cr3t-T0ken/", 404),
        ("/invitation%252fs3cr3t-T0ken/", 404),
        ("//invitation/s3cr3t-T0ken/", 404),
        ("/./invitation//s3cr3t-T0ken", 404),
        ("/%69nvitation/s3cr3t-T0ken/", 404),
    ):
        response = say(service.port, request("GET", path, "Connection: close", token=token))
        assert response.status == status, path
        kind = "application/json" if path.lstrip("/").startswith("api") else "text/html"
        assert response.headers["content-type"].startswith(kind), path
    assert "s3cr3t" not in service.log.read_text()


def test_head_of_a_list_claims_no_empty_body(service: Service) -> None:
    token = service.staff()
    for path, length in (("/api/users/", None), ("/api/users/me/", "GET")):
        head, full = (
            say(service.port, request(method, path, "Connection: close", token=token))
            for method in ("HEAD", "GET")
        )
        assert (head.status, head.body) == (200, b"")
        assert "transfer-encoding" not in head.headers
        expected = length and full.headers["content-length"]
        assert head.headers.get("content-length") == expected, path
        assert head.headers["x-result-count"] == full.headers["x-result-count"] == "1"


def test_client_cannot_set_its_address_with_an_underscore(service: Service) -> None:
    token = service.staff()
    genuine, forged = "X-Forwarded-For: 192.0.2.1", "X_Forwarded_For: 198.51.100.1"
    for headers, address in (
        ((genuine,), "192.0.2.1"),
        ((forged,), "127.0.0.1"),
        ((genuine, forged), "192.0.2.1"),
        ((forged, genuine), "192.0.2.1"),
        (("X-Forwarded_For: 198.51.100.1", genuine), "192.0.2.1"),
        (("X-Forwarded-For: 198.51.100.1", genuine), "192.0.2.1"),
        (("X-Forwarded-For: [::ffff:192.0.2.1]:4711",), "192.0.2.1"),
    ):
        assert seen_address(service, token, *headers) == address, headers


def seen_address(service: Service, token: str, *headers: str) -> str:
    """Return the address of the caller as the service sees it."""
    response = say(service.port, request("GET", "/api/users/me/", *headers, token=token))
    return str(json.loads(response.body)["ip_address"])


def test_trusted_ipv4_proxy_is_known_on_an_ipv6_listener(
    make_service: Callable[..., Service],
) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    service = make_service(trusted_proxies="127.0.0.1")
    service.start("--host", "::")
    header = "X-Forwarded-For: 192.0.2.1"
    assert seen_address(service, service.staff(), header) == "192.0.2.1"


def test_libraries_and_the_server_log_in_our_format() -> None:
    """One line each, on standard error."""
    program = """
import logging
from granian.log import LogLevels, configure_logging
from collegium import logs, server
from collegium.settings import load
logs.configure(load({"COLLEGIUM_LOG_FORMAT": "json"}))
configure_logging(LogLevels.error, server.options("127.0.0.1", 1, 1)["log_dictconfig"])
for name in ("_granian", "a.library"):
    logging.getLogger(name).error("two\\n%s", "lines")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(entry["logger"], entry["event"], entry["level"]) for entry in entries] == [
        ("_granian", "two\nlines", "error"),
        ("a.library", "two\nlines", "error"),
    ]


def test_refused_body_is_read_before_the_response(service: Service) -> None:
    """A proxy that still forwards it gets the response, not a closed connection."""
    body = b"x" * 20_000_000
    for path, status in (("/api-auth/password/", 413), ("/api/nowhere/", 404)):
        with connect(service.port) as connection:
            connection.sendall(request("POST", path, body=body))
            response = listen(connection)
            assert (response.status, response.headers.get("connection")) == (status, None)
            connection.sendall(request("GET", "/healthz"))
            assert listen(connection).body == b"ok\n"


def test_refused_client_that_waits_for_100_continue_need_not_send_its_body(
    service: Service,
) -> None:
    """Apache would send the body if the response did not end the connection."""
    wait = ("Expect: 100-continue", "Content-Length: 3000000")
    for path, status in (("/api-auth/password/", 413), ("/api/nowhere/", 404)):
        with connect(service.port) as connection:
            connection.sendall(request("POST", path, *wait, sized=False))
            response = listen(connection)
            assert (response.status, response.headers.get("connection")) == (status, "close")
            assert connection.recv(1) == b""
