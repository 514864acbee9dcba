"""Send bytes to a socket and read the response: requests that no client library sends."""

import socket
from typing import NamedTuple


class RawResponse(NamedTuple):
    """A response; status 0 if the server closed the connection without one."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(port: int, seconds: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def listen(connection: socket.socket) -> RawResponse:
    """Read one response, or the part of it that arrives."""
    data = b""
    try:
        while b"\r\n\r\n" not in data and (more := connection.recv(65_536)):
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        while len(body) < int(headers.get("content-length", "0")) and (
            more := connection.recv(65_536)
        ):
            body += more
    except (ConnectionError, TimeoutError):
        return RawResponse(0, {}, data)
    return RawResponse(int(first.split(" ")[1]) if " " in first else 0, headers, body)


def read_all(connection: socket.socket) -> bytes:
    """Read until the end of a chunked response or of the connection.

    Raises:
        ConnectionResetError: The connection was reset.
    """
    data = bytearray()
    while not data.endswith(b"\r\n0\r\n\r\n") and (more := connection.recv(1 << 20)):
        data += more
    return bytes(data)


def say(port: int, *parts: bytes, seconds: float = 10) -> RawResponse:
    """Send bytes until the server closes, and return the first response."""
    with connect(port, seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (ConnectionError, TimeoutError):
            pass  # it has responded already
        return listen(connection)


def request(
    method: str, path: str, *headers: str, body: bytes = b"", token: str = "", sized: bool = True
) -> bytes:
    """Build a request without checking it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if token:
        lines.append(f"Authorization: Token {token}")
    if sized and (body or method not in {"GET", "HEAD"}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
