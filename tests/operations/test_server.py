"""What the server does with a request before the application sees it, and when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from collegium import server
from collegium.api.middleware import RAW_PATH
from tests.hostile.raw import connect, listen, request, say
from tests.support import slow_app
from tests.support.serving import PATIENCE, Service, free_port

A_FEW_SECONDS = 6.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, {"trusted_proxies": "127.0.0.1", "authentication_methods": "X"})
    service.start()
    yield service
    service.stop()


@contextmanager
def slow() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a server whose ``/slow`` takes two seconds; give its port and process."""
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
        # Its worker too, which outlives it otherwise.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _begin(port: int, data: bytes) -> socket.socket:
    line = connect(port, 20)
    line.sendall(data)
    return line


def test_header_with_an_underscore_is_never_taken_for_one_with_a_hyphen() -> None:
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

    ours = (b"x-forwarded-for", b"192.0.2.1")
    for name in (b"x_forwarded_for", b"x-forwarded_for", b"x_forwarded-for"):
        theirs = (name, b"198.51.100.1")
        for headers in ((ours, theirs), (theirs, ours)):
            assert variables(*headers)["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
        assert "HTTP_X_FORWARDED_FOR" not in variables(theirs)
    assert "CONTENT_TYPE" not in variables((b"content_type", b"a/b"))
    assert variables(ours, ours)["HTTP_X_FORWARDED_FOR"] == "192.0.2.1,192.0.2.1"
    assert variables((b"cookie", b"a=1"), (b"cookie", b"b=2"))["HTTP_COOKIE"] == "a=1;b=2"
    assert variables()["PATH_INFO"] == "/a/b"
    assert variables()[RAW_PATH] == "/a%2Fb"
    assert "HTTP_" + "X" * 101 not in variables((b"x" * 101, b"1"))
    assert variables()["QUERY_STRING"] == "x=%2f"


def test_stopping_finishes_what_is_worked_on_and_waits_for_nothing_else() -> None:
    """SIGTERM with half a head, half a body and an idle connection open."""
    with slow() as (port, process):
        busy = _begin(port, request("GET", "/slow"))
        half_a_body = _begin(port, request("POST", "/", "Content-Length: 9", sized=False) + b"abc")
        half_a_head = _begin(port, b"GET / HTTP/1.1\r\nHo")
        idle = _begin(port, request("GET", "/"))
        assert listen(idle).status == 200
        time.sleep(0.3)
        began = time.monotonic()
        process.terminate()
        done = listen(busy)
        assert (done.status, done.body) == (200, b"done ")
        assert listen(half_a_body).body == b"done ConnectionError"
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - began < slow_app.SECONDS + A_FEW_SECONDS
        for line in (busy, half_a_body, half_a_head, idle):
            line.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_told_again_to_stop_loses_no_answer(number: signal.Signals) -> None:
    """Ctrl-C reaches every process of the group, and impatient people press it again."""
    with slow() as (port, process):
        busy = _begin(port, request("GET", "/slow"))
        time.sleep(0.3)
        for _ in range(4):
            os.killpg(process.pid, number)
            time.sleep(0.2)
        with busy:
            assert listen(busy).status == 200
        assert process.wait(timeout=PATIENCE) == 0


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHo",
        b"POST /api-auth/password/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na",
    ],
    ids=["head", "body"],
)
def test_service_stops_in_seconds_with_half_a_request_open(service: Service, said: bytes) -> None:
    with _begin(service.port, said):
        time.sleep(0.3)
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < A_FEW_SECONDS


def test_path_with_an_escaped_slash_is_no_other_spelling(service: Service) -> None:
    """Only the server knows how a path was spelled; no such spelling leaves a secret in the log."""
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
        said = say(service.port, request("GET", path, "Connection: close", token=token))
        assert said.status == status, path
        kind = "application/json" if path.lstrip("/").startswith("api") else "text/html"
        assert said.headers["content-type"].startswith(kind), path
    assert "s3cr3t" not in service.log.read_text()


def test_caller_cannot_choose_an_address_with_an_underscore(service: Service) -> None:
    token = service.staff()
    theirs = "198.51.100.1"
    for headers, address in (
        (("X-Forwarded-For: 192.0.2.1",), "192.0.2.1"),
        (("X_Forwarded_For: " + theirs,), "127.0.0.1"),
        (("X-Forwarded-For: 192.0.2.1", "X_Forwarded_For: " + theirs), "192.0.2.1"),
        (("X_Forwarded_For: " + theirs, "X-Forwarded-For: 192.0.2.1"), "192.0.2.1"),
        (("X-Forwarded_For: " + theirs, "X-Forwarded-For: 192.0.2.1"), "192.0.2.1"),
        (("X-Forwarded-For: " + theirs, "X-Forwarded-For: 192.0.2.1"), "192.0.2.1"),
        (("X-Forwarded-For: [::ffff:192.0.2.1]:4711",), "192.0.2.1"),
    ):
        said = say(service.port, request("GET", "/api/users/me/", *headers, token=token))
        assert json.loads(said.body)["ip_address"] == address, headers


def test_trusted_ipv4_proxy_is_known_on_an_ipv6_listener(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    service = Service(tmp_path, {"trusted_proxies": "127.0.0.1"})
    service.start("--host", "::")
    try:
        headers = "X-Forwarded-For: 192.0.2.1"
        said = say(service.port, request("GET", "/api/users/me/", headers, token=service.staff()))
        assert json.loads(said.body)["ip_address"] == "192.0.2.1"
    finally:
        service.stop()


def test_body_that_is_too_large_is_answered_although_it_is_still_coming(service: Service) -> None:
    """A proxy that passes it on gets the answer, and no closed connection."""
    body = b"x" * 4_000_000
    said = say(service.port, request("POST", "/api-auth/password/", body=body))
    assert said.status == 413


def test_body_that_stalls_is_given_up() -> None:
    """The pause between two parts is bounded, not only the whole."""
    with slow() as (port, _process):
        began = time.monotonic()
        head = request("POST", "/", "Content-Length: 9", sized=False)
        said = say(port, head, b"abc", seconds=slow_app.PAUSE_SECONDS + 10)
        assert said.body == b"done TimeoutError"
        assert slow_app.PAUSE_SECONDS - 1 < time.monotonic() - began < slow_app.PAUSE_SECONDS + 5
