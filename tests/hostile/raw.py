"""Bytes to a socket, and whatever comes back: what no client library would send."""

from __future__ import annotations

import socket
from typing import NamedTuple


class Said(NamedTuple):
    """What a server has said: status 0, when it said nothing and closed."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(port: int, seconds: float = 10) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def listen(line: socket.socket) -> Said:
    """Read one answer; of one that is cut short, what there was of it."""
    seen = b""
    try:
        while b"\r\n\r\n" not in seen and (more := line.recv(65_536)):
            seen += more
        head, _, body = seen.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(each.lower().split(": ", 1) for each in lines if ": " in each)
        while len(body) < int(headers.get("content-length", "0")) and (more := line.recv(65_536)):
            body += more
    except (ConnectionError, TimeoutError):
        return Said(0, {}, seen)
    return Said(int(first.split(" ")[1]) if " " in first else 0, headers, body)


def say(port: int, *parts: bytes, seconds: float = 10) -> Said:
    """Send bytes, as far as they are taken, and give the first answer."""
    with connect(port, seconds) as line:
        try:
            for part in parts:
                line.sendall(part)
        except (ConnectionError, TimeoutError):
            pass  # it has answered before all was said
        return listen(line)


def request(
    method: str, path: str, *headers: str, body: bytes = b"", token: str = "", sized: bool = True
) -> bytes:
    """Put a request together; nothing in it is checked."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if token:
        lines.append(f"Authorization: Token {token}")
    if sized and (body or method not in {"GET", "HEAD"}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
