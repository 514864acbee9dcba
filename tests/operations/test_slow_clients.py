"""Clients that send or read slowly, or go away; responses that are sent while they are made."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from collegium import server_streams
from tests.hostile.raw import connect, read_all, request, say
from tests.support import slow_app
from tests.support.serving import PATIENCE


class Streams:
    """The server of ``slow_app``."""

    def __init__(self, port: int) -> None:
        self.port = port

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(say(self.port, request("GET", "/streams")).body)
        return found

    def set(self, name: str, value: float) -> None:
        assert say(self.port, request("GET", f"/set/{name}/{value}")).status == 200

    def open(self, path: str, version: str = "1.1", then: bytes = b"") -> Any:
        """Ask for a stream, read its first bytes, and return the connection."""
        connection = connect(self.port, PATIENCE)
        head = request("GET", path).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
        connection.sendall(head + then)
        assert connection.recv(12).endswith(b" 200")
        return connection

    def ending(self, before: int) -> str:
        """Wait for the end of the stream after so many others, and say how it ended."""
        end = time.monotonic() + PATIENCE
        while len(endings := self.facts()["endings"]) == before:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert len(endings) == before + 1
        return str(endings[-1])

    @property
    def ended(self) -> int:
        return len(self.facts()["endings"])


@pytest.fixture(scope="module")
def server() -> Iterator[Streams]:
    with slow_app.started() as (port, _):
        yield Streams(port)


def test_stalled_body_times_out(server: Streams) -> None:
    started = time.monotonic()
    head = request("POST", "/", "Content-Length: 9", sized=False)
    response = say(server.port, head, b"abc", seconds=slow_app.PAUSE_SECONDS + 10)
    assert response.body == b"done TimeoutError"
    assert slow_app.PAUSE_SECONDS - 1 < time.monotonic() - started < slow_app.PAUSE_SECONDS + 5


def test_memory_of_the_server_does_not_grow_with_the_response(server: Streams) -> None:
    """A reader that pauses holds the producer back."""
    ended = server.ended
    with server.open("/parts/20") as connection:
        read_all(connection)
    assert server.ending(ended) == "complete"
    before = server.facts()
    with server.open("/parts/300") as connection:
        time.sleep(0.2)
        # The queues of Granian and of both sockets take some of the 40 MB.
        assert server.facts()["made"] - before["made"] < 150
        received = read_all(connection)
    assert len(received) > 300 * len(slow_app.PART)
    assert server.ending(ended + 1) == "complete"
    assert server.facts()["peak"] - before["peak"] < 10_000_000


def test_small_response_is_sent_whole(server: Streams) -> None:
    ended = server.ended
    response = say(server.port, request("GET", "/parts/0"))
    assert (response.status, response.headers["content-length"]) == (200, "0")
    assert "transfer-encoding" not in response.headers
    assert server.ending(ended) == "whole"
    # An error before the first byte has a response of its own.
    assert say(server.port, request("GET", "/fail/0")).status == 500


def test_client_that_goes_away_ends_the_stream(server: Streams) -> None:
    ended = server.ended
    server.open("/parts/100000").close()
    assert server.ending(ended) == "client"


@pytest.mark.parametrize(
    ("limit", "ending"), [("STALL_SECONDS", "stalled"), ("STREAM_SECONDS", "late")]
)
def test_client_that_does_not_read_loses_the_connection(
    server: Streams, limit: str, ending: str
) -> None:
    before = float(vars(server_streams)[limit])
    server.set(limit, 0.3)
    try:
        ended = server.ended
        with server.open("/parts/100000") as connection:
            assert server.ending(ended) == ending
            with pytest.raises(ConnectionResetError):
                read_all(connection)
    finally:
        server.set(limit, before)


@pytest.mark.parametrize(
    ("version", "then"),
    [("1.0", b""), ("1.1", b""), ("1.1", request("GET", "/"))],
    ids=["1.0", "1.1", "pipelined"],
)
def test_error_in_the_middle_resets_the_connection(
    server: Streams, version: str, then: bytes
) -> None:
    """Nobody takes half a file for the whole: not even where its end is that of the connection."""
    ended = server.ended
    with server.open("/fail/9", version, then) as connection, pytest.raises(ConnectionResetError):
        read_all(connection)
    assert server.ending(ended) == "failed"
