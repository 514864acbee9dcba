"""What no client sends: bytes on a real socket, and a server that keeps its head and its memory."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from select import select
from threading import Event

import pytest
from falcon import HTTPBadRequest, HTTPContentTooLarge, HTTPError
from PIL import Image

from collegium import server
from collegium.api import request_bodies
from collegium.api.request import BODY_MAX, SENDERS_NETWORK
from collegium.api.request_bodies import STALE_SECONDS, Bodies
from collegium.settings import THREADS
from tests.hostile.conftest import Running
from tests.hostile.raw import Said, connect, listen, request, say

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
PART = (
    b'--b\r\nContent-Disposition: form-data; name="%s"\r\n'
    b"Content-Type: text/plain; charset=%s\r\n\r\n%s\r\n--b--\r\n"
)
PARTS = "Content-Type: multipart/form-data; boundary=b"
GROWTH = 96 * 1024 * 1024
"""Bytes that all of it together may leave the server with; a picture needs a quarter of that."""

KEPT_GROWTH = 40 * 1024 * 1024
"""Bytes that the server may need more after requests whose headers have three times as many."""


def bomb() -> bytes:
    """A picture of a few kilobytes that would be a hundred million pixels."""
    file = BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "png")
    return file.getvalue()


WRITES = (("/api/customers/", "waldur"), ("/api/token/", "brainstem"), ("/sign_in/", "web"))
"""A path of each dialect that takes a body."""


@pytest.mark.parametrize(("path", "dialect"), WRITES)
def test_a_body_can_be_anything(running: Running, path: str, dialect: str) -> None:
    token = running.token if dialect == "waldur" else ""
    deep = b'{"a":' * 300_000
    many = b'{"name":[' + b"{}," * 600_000 + b"1]}"
    for body in (
        b"[" * 1_000_000,
        deep,
        deep + b"1" + b"}" * 300_000,
        many,
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
        for kind in (JSON, "Content-Type: application/x-www-form-urlencoded", PARTS):
            said = say(running.port, request("POST", path, kind, body=body, token=token))
            # A page takes no more than its form, and none of these has the token of one.
            assert said.status in ({403} if dialect == "web" else {400, 415}), (kind, body[:60])
    running.alive()


@pytest.mark.parametrize(("path", "dialect"), WRITES)
@pytest.mark.parametrize(
    "charset",
    [b"utf-7", b"unicode_escape", b"raw_unicode_escape", b"utf-16-le", b"idna", b"hex", b"\xff"],
    ids=str,
)
def test_a_part_can_claim_any_encoding(
    running: Running, path: str, dialect: str, charset: bytes
) -> None:
    for name in (b"name", b"csrf", b"username", b"password", b"token"):
        body = PART % (name, charset, b"\\ud800+2AA-")
        said = say(running.port, request("POST", path, PARTS, body=body, token=running.token))
        assert 200 <= said.status < 500, said


@pytest.mark.parametrize(("path", "dialect"), WRITES)
def test_a_body_that_is_too_large_is_told_the_limit_and_never_held(
    running: Running, path: str, dialect: str
) -> None:
    before = running.memory
    size = 50 * 1024 * 1024
    declared = request("POST", path, JSON, f"Content-Length: {size}", sized=False)
    chunks = [b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * 50
    for said in (
        say(running.port, declared),
        say(running.port, request("POST", path, JSON, CHUNKED, sized=False), *chunks),
        say(running.port, request("GET", path, JSON, f"Content-Length: {size}", sized=False)),
    ):
        assert said.status == 413, said
        assert str(BODY_MAX).encode() in said.body
    assert running.memory - before < 16 * 1024 * 1024


def test_lengths_that_are_wrong_are_refused(running: Running) -> None:
    body = b'{"name":"x"}'
    for headers, status in (
        (("Content-Length: -1",), 400),
        (("Content-Length: x",), 400),
        (("Content-Length: 99999999999999999999999",), 400),
        (("Content-Length: 12", "Content-Length: 13"), 400),
        (("Transfer-Encoding: x",), 400),
        (("Transfer-Encoding: chunked, identity",), 400),
        (("Content-Length: 3",), 400),  # the rest is taken for another request
    ):
        sent = request(
            "POST", "/api/customers/", JSON, *headers, body=body, token=running.token, sized=False
        )
        assert say(running.port, sent).status == status, headers
    for chunk in (
        b"zz\r\n{}\r\n",
        b"-2\r\n{}\r\n",
        b"2;" + b"x" * 100_000 + b"\r\n{}\r\n",
        b"2\r\n{}x",
    ):
        head = request("POST", "/api/customers/", JSON, CHUNKED, token=running.token, sized=False)
        assert say(running.port, head, chunk + b"0\r\n\r\n").status == 400, chunk[:20]
    # The length that chunks give counts, not the one beside it.
    both = request(
        "POST",
        "/api/customers/",
        JSON,
        CHUNKED,
        "Content-Length: 4",
        token=running.token,
        sized=False,
        body=b"2\r\n{}\r\n0\r\n\r\n",
    )
    assert say(running.port, both).body == b'{"name":["This field is required."]}'


def test_a_body_that_breaks_off_is_nobodys_fault(running: Running) -> None:
    for path, _dialect in WRITES:
        with connect(running.port) as line:
            head = request("POST", path, JSON, "Content-Length: 1000", sized=False)
            line.sendall(head + b'{"name":')
    running.alive()


def test_long_addresses_and_many_headers_are_refused_or_borne(running: Running) -> None:
    ten_thousand = "&".join(f"a{number}=1" for number in range(10_000))
    five = "&".join(["{}"] * 5_000)
    for path, statuses in (
        (f"/api/users/?{ten_thousand}", {414}),
        (f"/api/users/?{five.format(*['o=x'] * 5_000)}", {400}),
        (f"/api/users/?{five.format(*['o=email'] * 5_000)}", {200}),
        (f"/api/users/?{five.format(*['field=x'] * 5_000)}", {200}),
        (f"/api/users/?username_list={','.join(map(str, range(9_000)))}", {200}),
        (f"/api/customers/?query={'a' * 60_000}", {400}),
        (f"/api/customers/?query={'a' * 2_000}", {200}),
        (f"/api/private/users/group/?filter{{name.icontains}}={'a' * 60_000}", {400}),
        (f"/api/users/{'a' * 60_000}/", {404}),
        (f"/{'a/' * 30_000}", {404}),
        (f"/{'a' * 500_000}", {414, 431}),
        (f"/api/private/users/group/?{five.format(*['sort[]=x'] * 5_000)}", {400, 401}),
    ):
        began = time.perf_counter()
        said = say(running.port, request("GET", path, token=running.token))
        assert said.status in statuses, (path[:60], said)
        assert len(said.body) < 100_000, path[:60]
        assert time.perf_counter() - began < 5, path[:60]
    for headers, statuses in (
        ([f"X-{number}: 1" for number in range(1_000)], {431}),
        (["X-Long: " + "a" * 1_000_000], {431}),
        (["X-Long: " + "a" * 100_000], {200}),
        (["Authorization: Token " + "a" * 100_000], {401}),
        (["Cookie: " + "collegium_session=a; " * 4_000], {200}),
        (["X-Forwarded-For: " + "192.0.2.1," * 5_000], {200}),
    ):
        token = "" if "Authorization" in headers[0] else running.token
        said = say(running.port, request("GET", "/api/users/me/", *headers, token=token))
        assert said.status in statuses, headers[0][:40]


def test_bytes_that_are_no_text_are_refused_in_whatever_header_they_stand(running: Running) -> None:
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
        for method, path in (
            ("GET", "/api/users/me/"),
            ("POST", "/api/customers/"),
            ("GET", "/api/private/users/group/"),
            ("POST", "/api/token/"),
            ("GET", "/"),
            ("POST", "/sign_in/"),
        ):
            said = say(running.port, request(method, path, header, body=b""))
            assert 100 <= said.status < 500, (header, method, path)
    running.alive()


def test_paths_and_queries_can_hold_any_byte(running: Running) -> None:
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
        said = say(running.port, request("GET", path, token=running.token))
        assert 200 <= said.status < 500, (path, said)
        assert "x-evil" not in said.headers
        assert "evil.example" not in said.headers.get("location", "")
        assert b"root:" not in said.body


def test_what_is_no_http_gets_no_answer_of_ours(running: Running) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"GET /api/\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"\r\n" * 1000,
        b"A" * 100_000,
    ):
        assert say(running.port, sent, seconds=0.5).status in {0, 400, 414, 431}, sent[:40]
    for method in ("A" * 5_000, "get", "TRACE", "PROPFIND"):
        said = say(running.port, request(method, "/api/users/me/", token=running.token))
        assert said.status == 405
    running.alive()


def test_an_odd_host_names_nobody(running: Running) -> None:
    for host in (
        "a b<>\"'",
        "\xff\xfe",
        '"><script>',
        "a:x",
        "a:99999",
        "[::1",
        "[a",
        "a_b.example:80",
        "",
    ):
        sent = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
        said = say(running.port, sent)
        # With BASE_URL set, only its host is answered.
        assert said.status == 400, host
        assert "\xff" not in said.body.decode("latin-1")
    two = request("GET", "/api/configuration/", "Host: evil.example")
    assert say(running.port, two).status == 400


def test_nobody_writes_a_line_of_the_log(running: Running) -> None:
    forged = "2026-01-01T00:00:00Z [info] request status=200"
    say(running.port, request("GET", f"/x%0d%0a{forged.replace(' ', '%20')}%1b[2J"))
    for header in (f"X-Request-Id: a {forged}", f"User-Agent: {forged}"):
        say(running.port, request("GET", "/here/", header))
    end = time.monotonic() + 20
    while forged not in (log := running.service.log.read_text()):
        assert time.monotonic() < end, "the line is written once the answer is sent"
        time.sleep(0.05)
    lines = log.splitlines()
    assert any("/x" in line and forged in line for line in lines)  # quoted, on a line of its own
    assert not any(line.startswith(forged) for line in lines)
    assert "\x1b" not in "".join(lines)


HALF = request("POST", "/api/token/", JSON, "Content-Length: 99", sized=False)


def test_slow_bodies_keep_nobody_waiting(running: Running) -> None:
    with ExitStack() as lines:
        slow = [lines.enter_context(connect(running.port)) for _ in range(THREADS // 2 + 2)]
        for line in slow:
            line.sendall(HALF + b"{")
        began = time.perf_counter()
        for _ in range(10):
            running.alive()
        assert time.perf_counter() - began < 10
        # From one address so many may be on their way; the others are told to come again.
        told, _, _ = select(slow, [], [], 0)
        refused = [listen(line) for line in told]
        assert {one.status for one in refused} <= {0, 429}
        assert len([one for one in refused if one.status == 429]) == len(slow) - SENDERS_NETWORK
        # Those that stall are ended soon, for there is no room; and then somebody can sign in.
        body = b'{"username":"nobody","password":"x"}'
        sent = request("POST", "/api/token/", JSON, body=body)
        time.sleep(2 * STALE_SECONDS)
        for _ in range(5):
            assert say(running.port, sent).status == 401
        # Each of them took the room of one that was still, which is told so.
        told, _, _ = select(slow, [], [], 1)
        assert {listen(line).status for line in told} <= {0, 408, 429}
    running.alive()


def test_bodies_of_many_networks_keep_nobody_waiting(running: Running) -> None:
    """Half of the threads are for requests without a body; the rest is not for those who stall."""
    body = b'{"username":"nobody","password":"x"}'
    sent = request("POST", "/api/token/", JSON, body=body)
    with ExitStack() as lines:
        for number in range(THREADS // 2 + 9):
            source = (f"127.0.{number // 20 + 1}.1", 0)
            line = socket.create_connection(("127.0.0.1", running.port), 10, source)
            lines.enter_context(line)
            line.sendall(HALF + b"{")
        time.sleep(2 * STALE_SECONDS)
        began = time.perf_counter()
        for _ in range(3):
            running.alive()
            assert say(running.port, sent).status == 401
        assert time.perf_counter() - began < 20


def test_a_body_that_stalls_is_ended(running: Running) -> None:
    """Three kinds of it wait side by side, each for as long as the program says."""

    def stall(sent: bytes) -> tuple[float, bytes]:
        header = "Accept: */*" if sent else "Expect: 100-continue"
        with connect(running.port, 3 * server.PAUSE_SECONDS) as stalled:
            began = time.monotonic()
            head = request("POST", "/api/token/", JSON, header, "Content-Length: 99", sized=False)
            stalled.sendall(head + sent)
            seen = b""
            while b"HTTP/1.1 408" not in seen:
                more = stalled.recv(1000)
                assert more, seen
                seen += more
            return time.monotonic() - began, seen

    kinds = (b"", b"{", b" " * 50)
    with ThreadPoolExecutor(len(kinds)) as threads:
        for sent, (took, seen) in zip(kinds, threads.map(stall, kinds), strict=True):
            assert server.PAUSE_SECONDS - 1 < took < 2 * server.PAUSE_SECONDS, (sent, seen)
    running.alive()


class Source:
    """A body that comes in parts."""

    def __init__(self, parts: list[bytes], wait: float = 0.0) -> None:
        self.parts = parts
        self.wait = wait

    def read(self, size: int) -> bytes:
        time.sleep(self.wait)
        part = self.parts.pop(0) if self.parts else b""
        assert len(part) <= size
        return part


def test_a_body_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = Bodies(2, 1)

    def read(source: Source, length: int | None) -> bytes:
        return all_of_them.read(source, length, 9_000, "192.0.2.1")

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


def test_one_network_takes_no_more_than_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them, held, statuses = Bodies(2, 1), Event(), []

    class Held:
        def read(self, _size: int) -> bytes:
            held.wait()
            return b""

    def read(network: str) -> None:
        try:
            all_of_them.read(Held(), None, 9, network)
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


def test_long_headers_and_queries_do_not_stay_in_memory(running: Running) -> None:
    """What is looked up for each request is remembered, but nothing long: anybody sends it."""

    def send(at: int, host: str = "localhost", origin: str = "http://a", name: str = "x") -> None:
        sent = (
            f"POST /sign_in/?{at} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n"
            f"{name}: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert say(running.port, sent.encode()).status in {400, 403}

    send(0)
    before = running.memory
    long = "a" * 60_000
    for at in range(400):
        send(at, host=f"{at}{long}")
        send(at, origin=f"http://{at}{long}")
        send(at, name=f"{long}{at}")
        asked = request("GET", f"/api/roles/?x={at}{long}", "Connection: close")
        assert say(running.port, asked).status == 200
    assert running.memory - before < KEPT_GROWTH


def test_memory_stays_bounded_under_all_at_once(running: Running) -> None:
    """Bodies that grow when they are read, sixteen at a time, and pictures that would explode."""
    many = b'{"name":[' + b"{}," * 600_000 + b"1]}"
    picture = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + bomb() + b"\r\n--b--\r\n"
    )
    me = json.loads(say(running.port, request("GET", "/api/users/me/", token=running.token)).body)
    at = f"/api/users/{me['uuid']}/"

    def send(number: int) -> Said:
        if number % 8 == 0:
            sent = request("PATCH", at, PARTS, body=picture, token=running.token)
        else:
            sent = request("POST", "/api/customers/", JSON, body=many, token=running.token)
        return say(running.port, sent, seconds=60)

    with ThreadPoolExecutor(16) as threads:
        warm = list(threads.map(send, range(16)))
        before = running.memory
        said = list(threads.map(send, range(32)))
    assert {one.status for one in [*warm, *said]} == {400}
    assert running.memory - before < GROWTH
    running.alive()
