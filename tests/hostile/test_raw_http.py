"""Invalid HTTP on a real socket: the server refuses it, stays alive and keeps its memory."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from itertools import count, islice
from select import select
from threading import Event

import pytest
from falcon import HTTPBadRequest, HTTPContentTooLarge, HTTPError
from PIL import Image

from collegium import server
from collegium.api import request_bodies
from collegium.api.request_bodies import BODY_MAX, SENDERS_NETWORK, STALE_SECONDS, Bodies
from collegium.settings import THREADS
from tests.hostile.conftest import Running
from tests.hostile.raw import RawResponse, connect, listen, request, say

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
PART = (
    b'--b\r\nContent-Disposition: form-data; name="%s"\r\n'
    b"Content-Type: text/plain; charset=%s\r\n\r\n%s\r\n--b--\r\n"
)
PARTS = "Content-Type: multipart/form-data; boundary=b"
MANY_ITEMS = b'{"name":[' + b"{}," * 600_000 + b"1]}"
GROWTH = 96 * 1024 * 1024
"""Bytes of memory for many requests at once; one picture needs a quarter of it."""

KEPT_GROWTH = 16 * 1024 * 1024
"""Bytes of memory; 300 requests of one kind have more in their headers or their query."""


def bomb() -> bytes:
    """Return a file of a few kilobytes with a hundred million pixels."""
    file = BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "png")
    return file.getvalue()


WRITES = (("/api/customers/", "waldur"), ("/api/token/", "brainstem"), ("/sign_in/", "web"))
"""A path of each protocol that accepts a body."""


@pytest.mark.parametrize(("path", "protocol"), WRITES)
def test_invalid_body_is_refused(running: Running, path: str, protocol: str) -> None:
    token = running.token if protocol == "waldur" else ""
    deep = b'{"a":' * 300_000
    for body in (
        b"[" * 1_000_000,
        deep,
        deep + b"1" + b"}" * 300_000,
        MANY_ITEMS,
        b'{"name":' + b"9" * 1_000_000 + b"}",
        b'{"name":"' + b"\\ud800" * 1000 + b'"}',
        b'{"\\ud800":1}',
        b'{"name":"x"' + b',"name":[]' * 100_000 + b"}",
        '{"name":"\ud800"}'.encode("utf-16", "surrogatepass"),
        '{"name":[]}'.encode("utf-32"),
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b\x08\x00" * 100,
        b"\x00" * 100_000,
        b"&=" * 500_000,
        b"a=" + b"%00" * 300_000,
        PART % (b"name", b"utf-8", b"x" * 1_000_000),
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n' * 10_000,
    ):
        for header in (JSON, "Content-Type: application/x-www-form-urlencoded", PARTS):
            response = say(running.port, request("POST", path, header, body=body, token=token))
            # A page refuses a body without a form token.
            expected = {403} if protocol == "web" else {400, 415}
            assert response.status in expected, (header, body[:60])
    running.check_alive()


@pytest.mark.parametrize(("path", "protocol"), WRITES)
@pytest.mark.parametrize(
    "charset",
    [b"utf-7", b"unicode_escape", b"raw_unicode_escape", b"utf-16-le", b"idna", b"hex", b"\xff"],
    ids=str,
)
def test_part_in_another_encoding_is_no_server_error(
    running: Running, path: str, protocol: str, charset: bytes
) -> None:
    for name in (b"name", b"csrf", b"username", b"password", b"token"):
        body = PART % (name, charset, b"\\ud800+2AA-")
        response = say(running.port, request("POST", path, PARTS, body=body, token=running.token))
        assert 200 <= response.status < 500, response


@pytest.mark.parametrize(("path", "protocol"), WRITES)
def test_large_body_is_refused_with_the_limit_and_not_kept_in_memory(
    running: Running, path: str, protocol: str
) -> None:
    before = running.memory
    size = 50 * 1024 * 1024
    declared = request("POST", path, JSON, f"Content-Length: {size}", sized=False)
    chunks = [b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * 50
    for response in (
        say(running.port, declared),
        say(running.port, request("POST", path, JSON, CHUNKED, sized=False), *chunks),
        say(running.port, request("GET", path, JSON, f"Content-Length: {size}", sized=False)),
    ):
        assert response.status == 413, response
        assert str(BODY_MAX).encode() in response.body
    assert running.memory - before < 16 * 1024 * 1024


def test_invalid_content_length_is_refused(running: Running) -> None:
    def send(*headers: str, body: bytes) -> RawResponse:
        path, token = "/api/customers/", running.token
        payload = request("POST", path, JSON, *headers, body=body, token=token, sized=False)
        return say(running.port, payload)

    body = b'{"name":"x"}'
    for headers, status in (
        (("Content-Length: -1",), 400),
        (("Content-Length: x",), 400),
        (("Content-Length: 99999999999999999999999",), 400),
        (("Content-Length: 12", "Content-Length: 13"), 400),
        (("Transfer-Encoding: x",), 400),
        (("Transfer-Encoding: chunked, identity",), 400),
        (("Content-Length: 3",), 400),  # the rest is read as another request
    ):
        assert send(*headers, body=body).status == status, headers
    extension = b"2;" + b"x" * 100_000 + b"\r\n{}\r\n"
    for chunk in (b"zz\r\n{}\r\n", b"-2\r\n{}\r\n", extension, b"2\r\n{}x"):
        assert send(CHUNKED, body=chunk + b"0\r\n\r\n").status == 400, chunk[:20]
    # The length of the chunks counts.
    both = send(CHUNKED, "Content-Length: 4", body=b"2\r\n{}\r\n0\r\n\r\n")
    assert both.body == b'{"name":["This field is required."]}'


def test_incomplete_body_does_not_harm_the_server(running: Running) -> None:
    for path, _protocol in WRITES:
        with connect(running.port) as connection:
            head = request("POST", path, JSON, "Content-Length: 1000", sized=False)
            connection.sendall(head + b'{"name":')
    running.check_alive()


def test_long_urls_and_many_headers_are_refused_or_served_quickly(running: Running) -> None:
    parameters = "&".join(f"a{number}=1" for number in range(10_000))

    def repeated(parameter: str) -> str:
        return "&".join([parameter] * 5_000)

    for path, statuses in (
        (f"/api/users/?{parameters}", {414}),
        (f"/api/users/?{repeated('o=x')}", {400}),
        (f"/api/users/?{repeated('o=email')}", {200}),
        (f"/api/users/?{repeated('field=x')}", {200}),
        (f"/api/users/?username_list={','.join(map(str, range(9_000)))}", {200}),
        (f"/api/customers/?query={'a' * 60_000}", {400}),
        (f"/api/customers/?query={'a' * 2_000}", {200}),
        (f"/api/private/users/group/?filter{{name.icontains}}={'a' * 60_000}", {400}),
        (f"/api/users/{'a' * 60_000}/", {404}),
        (f"/{'a/' * 30_000}", {404}),
        (f"/{'a' * 500_000}", {414, 431}),
        (f"/api/private/users/group/?{repeated('sort[]=x')}", {400, 401}),
    ):
        start = time.perf_counter()
        response = say(running.port, request("GET", path, token=running.token))
        assert response.status in statuses, (path[:60], response)
        assert len(response.body) < 100_000, path[:60]
        assert time.perf_counter() - start < 5, path[:60]
    for headers, statuses in (
        ([f"X-{number}: 1" for number in range(1_000)], {431}),
        (["X-Long: " + "a" * 1_000_000], {431}),
        (["X-Long: " + "a" * 100_000], {200}),
        (["Authorization: Token " + "a" * 100_000], {401}),
        (["Cookie: " + "collegium_session=a; " * 4_000], {200}),
        (["X-Forwarded-For: " + "192.0.2.1," * 5_000], {200}),
    ):
        token = "" if "Authorization" in headers[0] else running.token
        response = say(running.port, request("GET", "/api/users/me/", *headers, token=token))
        assert response.status in statuses, headers[0][:40]


def test_invalid_bytes_in_a_header_are_no_server_error(running: Running) -> None:
    requests = (
        *(("GET", "/api/users/me/"), ("GET", "/api/private/users/group/"), ("GET", "/")),
        *(("POST", "/api/customers/"), ("POST", "/api/token/"), ("POST", "/sign_in/")),
    )
    for header in (
        "Authorization: Token \xff\xfe",
        "Authorization: Bearer \xff\xfe",
        "Authorization: Token",
        "Authorization: Token a b",
        "Cookie: collegium_session=\xff\xfe; collegium_flash=\xff; collegium_half=\xff",
        "Cookie: ;;;=;=a;",
        'Content-Type: \xff\xfe;;;="',
        "Content-Type: multipart/form-data; boundary=" + "b" * 50_000,
        "Accept: \xff,,,;q=x",
        'X-Request-Id: \xff"{}',
        "X-Impersonated-User-Uuid: \xff",
        "X-Forwarded-For: \xff, ::1%25, 999.1.1.1",
        "X-Forwarded-Proto: javascript",
        "Origin: \xff",
        "User-Agent: \xff{{7*7}}",
        "Sec-Purpose: \xff",
        "Content-Encoding: gzip",
        "Expect: 100-continue",
        "Range: bytes=0-1,2-3,-1",
        "Upgrade: websocket",
    ):
        for method, path in requests:
            response = say(running.port, request(method, path, header, body=b""))
            assert 100 <= response.status < 500, (header, method, path)
    running.check_alive()


def test_any_byte_in_a_path_or_query_is_no_server_error(running: Running) -> None:
    for path in (
        "/api/users/\xff\xfe/",
        "/api/users/a\0b/",
        "/api/users/%00/",
        "/api/users/%/%zz/",
        "/api/%ed%a0%80/",
        "/invitation/%ed%a0%80%00/",
        "/api/users/?query=\xff\xfe",
        "/api/users/?query=%ff%fe&o=%ed%a0%80",
        "/api/users/?%ed%a0%80=%ed%a0%80",
        "/api/users/?a=%0d%0aX-Evil:1",
        "/api/private/users/group/?filter{%ed%a0%80}=1&sort[]=%ed%a0%80",
        "/sign_in/?next=%0d%0aX-Evil:1",
        "/sign_in/?next=//evil.example/%ed%a0%80",
        "//evil.example/account/",
        "/..%2f..%2fetc/passwd",
        "/static/..%2f..%2fpage.py",
        "/static/../../etc/passwd",
        "http://evil.example/api/users/me/",
        "*",
    ):
        response = say(running.port, request("GET", path, token=running.token))
        assert 200 <= response.status < 500, (path, response)
        assert "x-evil" not in response.headers
        assert "evil.example" not in response.headers.get("location", "")
        assert b"root:" not in response.body


def test_invalid_http_is_refused(running: Running) -> None:
    for payload in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"GET /api/\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"\r\n" * 1000,
        b"A" * 100_000,
    ):
        assert say(running.port, payload, seconds=0.5).status in {0, 400, 414, 431}, payload[:40]
    for method in ("A" * 5_000, "get", "TRACE", "PROPFIND"):
        response = say(running.port, request(method, "/api/users/me/", token=running.token))
        assert response.status == 405
    running.check_alive()


def test_invalid_host_is_refused(running: Running) -> None:
    hosts = ("a b<>\"'", "\xff\xfe", '"><script>', "a:x", "a:99999", "[::1", "[a", "a_b.example:80")
    for host in (*hosts, ""):
        payload = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
        response = say(running.port, payload)
        assert response.status == 400, host
        assert "\xff" not in response.body.decode("latin-1")
    two = request("GET", "/api/configuration/", "Host: evil.example")
    assert say(running.port, two).status == 400


def test_client_cannot_forge_a_line_of_the_log(running: Running) -> None:
    forged = "2026-01-01T00:00:00Z [info] request status=200"
    say(running.port, request("GET", f"/x%0d%0a{forged.replace(' ', '%20')}%1b[2J"))
    for header in (f"X-Request-Id: a {forged}", f"User-Agent: {forged}"):
        say(running.port, request("GET", "/here/", header))
    end = time.monotonic() + 20
    while forged not in (log := running.service.log.read_text()):
        assert time.monotonic() < end, "the line is written after the response"
        time.sleep(0.05)
    lines = log.splitlines()
    assert any("/x" in line and forged in line for line in lines)  # quoted
    assert not any(line.startswith(forged) for line in lines)
    assert "\x1b" not in "".join(lines)


HALF = request("POST", "/api/token/", JSON, "Content-Length: 99", sized=False)
SIGN_IN = request("POST", "/api/token/", JSON, body=b'{"username":"nobody","password":"x"}')


def test_slow_bodies_do_not_block_other_requests(running: Running) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(running.port)) for _ in range(THREADS // 2 + 2)]
        for connection in slow:
            connection.sendall(HALF + b"{")
        start = time.perf_counter()
        for _ in range(10):
            running.check_alive()
        assert time.perf_counter() - start < 10
        # One network may send a limited number of bodies at once.
        refused = len(slow) - SENDERS_NETWORK
        while len(answered := select(slow, [], [], 0)[0]) < refused:
            assert time.perf_counter() - start < 10
            time.sleep(0.02)
        statuses = [listen(connection).status for connection in answered]
        # On a busy machine they arrive slowly, and one that is stalled gives way to the next.
        assert set(statuses) <= {0, 408, 429}
        too_many = statuses.count(429)
        assert too_many <= refused <= too_many + statuses.count(408)
        # Stalled bodies are ended soon, and others can sign in.
        time.sleep(2 * STALE_SECONDS)
        for _ in range(5):
            assert say(running.port, SIGN_IN).status == 401
        # Each sign-in ended a stalled body with a response.
        answered, _, _ = select(slow, [], [], 1)
        assert {listen(connection).status for connection in answered} <= {0, 408, 429}
    running.check_alive()


def test_slow_bodies_of_many_networks_do_not_block_other_requests(running: Running) -> None:
    with ExitStack() as stack:
        for number in range(THREADS // 2 + 9):
            source = (f"127.0.{number // 20 + 1}.1", 0)
            connection = socket.create_connection(("127.0.0.1", running.port), 10, source)
            stack.enter_context(connection).sendall(HALF + b"{")
        time.sleep(2 * STALE_SECONDS)
        start = time.perf_counter()
        for _ in range(3):
            running.check_alive()
            assert say(running.port, SIGN_IN).status == 401
        assert time.perf_counter() - start < 20


def test_stalled_body_is_ended_after_a_pause(running: Running) -> None:
    def stall(payload: bytes) -> tuple[float, bytes]:
        header = "Accept: */*" if payload else "Expect: 100-continue"
        with connect(running.port, 3 * server.PAUSE_SECONDS) as stalled:
            start = time.monotonic()
            head = request("POST", "/api/token/", JSON, header, "Content-Length: 99", sized=False)
            stalled.sendall(head + payload)
            data = b""
            while b"HTTP/1.1 408" not in data:
                more = stalled.recv(1000)
                assert more, data
                data += more
            return time.monotonic() - start, data

    parts = (b"", b"{", b" " * 50)
    with ThreadPoolExecutor(len(parts)) as threads:
        for payload, (seconds, data) in zip(parts, threads.map(stall, parts), strict=True):
            assert server.PAUSE_SECONDS - 1 < seconds < 2 * server.PAUSE_SECONDS, (payload, data)
    running.check_alive()


class Source:
    """A body that arrives in parts."""

    def __init__(self, parts: list[bytes], wait: float = 0.0) -> None:
        self.parts = parts
        self.wait = wait

    def read(self, size: int) -> bytes:
        time.sleep(self.wait)
        part = self.parts.pop(0) if self.parts else b""
        assert len(part) <= size
        return part


def test_body_is_limited_in_size_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = Bodies(2, 1)

    def read(source: Source, length: int | None) -> bytes:
        return bodies.read(source, length, 9_000, "192.0.2.1")

    assert read(Source([b"x"] * 9), 9) == b"x" * 9
    assert read(Source([b"x"] * 9), None) == b"x" * 9
    with pytest.raises(HTTPBadRequest):
        read(Source([b"x"]), 9)
    with pytest.raises(HTTPContentTooLarge):
        read(Source([b"x" * 4000] * 3), None)
    monkeypatch.setattr(request_bodies, "BODY_SECONDS", 0.05)
    with pytest.raises(HTTPError) as late:
        read(Source([b"x"] * 20, 0.01), 20)
    assert late.value.status_code == 408


def test_one_network_uses_only_its_share_of_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies, held, statuses = Bodies(2, 1), Event(), []

    class Held:
        def read(self, _size: int) -> bytes:
            held.wait()
            return b""

    def read(network: str) -> None:
        try:
            bodies.read(Held(), None, 9, network)
            statuses.append(200)
        except HTTPError as error:
            statuses.append(error.status_code)

    monkeypatch.setattr(request_bodies, "STALE_SECONDS", 60)
    with ThreadPoolExecutor(4) as threads:
        for network, count in (("192.0.2.1", 0), ("192.0.2.1", 1), ("192.0.2.2", 1)):
            threads.submit(read, network)
            while len(statuses) < count:
                time.sleep(0.01)
            time.sleep(0.1)
        read("192.0.2.3")
        assert statuses == [429, 503]
        held.set()
    assert statuses == [429, 503, 200, 200]


def test_long_headers_and_queries_are_not_cached(running: Running) -> None:

    def send(at: int, host: str = "localhost", origin: str = "http://a", name: str = "x") -> None:
        payload = (
            f"POST /sign_in/?{at} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n"
            f"{name}: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert say(running.port, payload.encode()).status in {400, 403}

    long, numbers = "a" * 60_000, count()

    def send_many(times: int) -> int:
        """Return the bytes by which the memory grew."""
        before = running.memory
        for at in islice(numbers, times):
            send(at, host=f"{at}{long}")
            send(at, origin=f"http://{at}{long}")
            send(at, name=f"{long}{at}")
            query = request("GET", f"/api/roles/?x={at}{long}", "Connection: close")
            assert say(running.port, query).status == 200
        return running.memory - before

    send_many(100)  # afterwards all buffers have their size
    # A cache grows every time. Once the memory may grow because another thread answers.
    assert any(send_many(300) < KEPT_GROWTH for _ in range(3))


def test_memory_stays_bounded_under_many_requests(running: Running) -> None:
    """Send bodies that grow when they are parsed, and pictures that grow when they are decoded."""
    picture = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + bomb() + b"\r\n--b--\r\n"
    )
    me = json.loads(say(running.port, request("GET", "/api/users/me/", token=running.token)).body)
    account = f"/api/users/{me['uuid']}/"

    def send(number: int) -> RawResponse:
        if number % 8 == 0:
            payload = request("PATCH", account, PARTS, body=picture, token=running.token)
        else:
            payload = request("POST", "/api/customers/", JSON, body=MANY_ITEMS, token=running.token)
        return say(running.port, payload, seconds=60)

    with ThreadPoolExecutor(16) as threads:
        first = list(threads.map(send, range(16)))
        before = running.memory
        second = list(threads.map(send, range(32)))
    assert {response.status for response in [*first, *second]} == {400}
    assert running.memory - before < GROWTH
    running.check_alive()
