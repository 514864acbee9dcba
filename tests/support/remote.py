"""Servers on a local socket that answer correctly or misbehave; one is a remote directory."""

from __future__ import annotations

import json
import ssl
import threading
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collegium.integrations.http_client import Timeouts

SECRET = "what-nobody-may-read-7071"
"""Part of every failed response and of the URL; no output may contain it."""

HASTE = Timeouts(connect=1.0, read=0.4, total=0.8)


def new_key(comment: str = "") -> str:
    """Create an SSH key, as one line of OpenSSH."""
    public = Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{line} {comment}".strip()


def claims(username: str, **others: Any) -> dict[str, Any]:
    """Return the claims of a complete directory entry."""
    return {
        "sub": username,
        "mail": [f"{username.split('@', maxsplit=1)[0]}@example.org"],
        "given_name": "Ada",
        "family_name": "Lovelace",
        "voperson_external_affiliation": ["member@example.org"],
        "eduperson_assurance": ["https://refeds.org/assurance/IAP/low"],
        "ssh_public_key": [],
        **others,
    }


class Asked(BaseHTTPRequestHandler):
    """One request to the directory."""

    protocol_version = "HTTP/1.1"
    form: dict[str, list[str]]
    body: bytes

    @property
    def remote(self) -> Answering:
        return cast("Server", self.server).remote

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.form, self.body = {}, b""
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self.body = self.rfile.read(length)
        self.form = parse_qs(self.body.decode())
        self._answer()

    def _answer(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # the client may have closed the connection
            self.remote.answer(self)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


Temper = Callable[[Asked], None]


def says(value: Any, status: int = 200, **headers: str) -> Temper:
    """Respond with JSON or with bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda asked: asked.send(status, body, **headers)


def hangs(asked: Asked) -> None:
    """Accept the request and never respond."""
    asked.remote.gone.wait(20)


def _drip(asked: Asked, beginning: bytes) -> None:
    asked.wfile.write(beginning)
    while not asked.remote.gone.wait(0.05):
        asked.wfile.write(b"x")


def drips(asked: Asked) -> None:
    """Send an endless body, one byte at a time."""
    _drip(asked, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")


def drips_chunks(asked: Asked) -> None:
    """Send small parts of a body without an end."""
    asked.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not asked.remote.gone.wait(0.05):
        asked.wfile.write(b"1\r\n \r\n")


def drips_headers(asked: Asked) -> None:
    """Send an endless header."""
    _drip(asked, b"HTTP/1.1 200 OK\r\nX-Slow: ")


def floods(asked: Asked) -> None:
    """Send ten megabytes of good JSON."""
    asked.send(200, b'{"sub": "' + b"x" * 10_000_000 + b'"}')


def floods_without_end(asked: Asked) -> None:
    """Send without saying how much, and without an end."""
    asked.wfile.write(b'HTTP/1.1 200 OK\r\n\r\n{"sub": "')
    while not asked.remote.gone.is_set():
        asked.wfile.write(b"x" * 65536)


def breaks_off(asked: Asked) -> None:
    """Promise more than is sent."""
    asked.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"sub": ')


def talks_nonsense(asked: Asked) -> None:
    """Speak another protocol."""
    asked.wfile.write(b"220 mail.example.org ESMTP " + SECRET.encode() + b"\r\n")


class Server(ThreadingHTTPServer):
    """The listening socket; its threads end with the test."""

    daemon_threads = True
    block_on_close = True
    remote: Answering

    def handle_error(self, *_where: object) -> None:
        """Ignore errors: the client may have closed the connection."""


class Answering(ABC):
    """A server on a local socket."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self._server = Server(("127.0.0.1", 0), Asked)
        self._server.remote = self
        self.base = f"http://127.0.0.1:{self._server.server_port}/{SECRET}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @abstractmethod
    def answer(self, asked: Asked) -> None:
        """Answer a request."""

    def speak_tls(self, certificate: Path) -> None:
        """Expect TLS from now on.

        Args:
            certificate: file with the certificate and its key.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.base = self.base.replace("http:", "https:")

    def running(self) -> Iterator[Self]:
        """Listen until the generator goes on."""
        self._thread.start()
        try:
            yield self
        finally:
            self.gone.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class Remote(Answering):
    """The directory.

    ``people`` maps user names to claims or to a handler; other names answer 404.
    ``token`` and ``feed`` are handlers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, Any] = {}
        self.token: Temper = says({"access_token": "good-token", "expires_in": 3600})
        self.feed: Temper = says({"data": {}})
        self.taken = {"good-token"}
        self.asked: list[str] = []
        self.forms: list[dict[str, list[str]]] = []

    def settings(self, base: str = "", *, feed: bool = False) -> dict[str, str]:
        """The settings that lead here."""
        base = base or self.base
        named = {
            "enabled": "true",
            "token_url": f"{base}/token",
            "userinfo_url": f"{base}/userinfo",
            "client_id": "collegium",
            "secret": f"client {SECRET}",
            "refresh_token": f"refresh {SECRET}",
            "ssh_api_username": "keys",
            "ssh_api_password": SECRET,
        } | ({"ssh_api_url": base} if feed else {})
        return {f"remote_eduteams_{name}": value for name, value in named.items()}

    def answer(self, asked: Asked) -> None:
        path = unquote(asked.path.removeprefix(f"/{SECRET}"))
        self.asked.append(path)
        self.forms.append(asked.form)
        scheme, _, credentials = asked.headers.get("Authorization", "").partition(" ")
        if path == "/token":
            assert asked.command == "POST"
            right = b64encode(f"collegium:client {SECRET}".encode()).decode()
            self.token(asked) if (scheme, credentials) == ("Basic", right) else asked.send(401, b"")
        elif path == "/api/vo/puhuri/ssh_keys":
            right = b64encode(f"keys:{SECRET}".encode()).decode()
            self.feed(asked) if (scheme, credentials) == ("Basic", right) else asked.send(401, b"")
        elif scheme != "Bearer" or credentials not in self.taken:
            asked.send(401, SECRET.encode())
        else:
            self._send_account(asked, path.removeprefix("/userinfo/"))

    def _send_account(self, asked: Asked, username: str) -> None:
        known = self.people.get(username)
        if callable(known):
            known(asked)
        elif known is None:
            asked.send(404, SECRET.encode())
        else:
            says(known)(asked)
