"""The whole application in this process, called as a server would call it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import unquote
from wsgiref.types import WSGIApplication

import httpx

from collegium import app
from collegium.db.database import Database, ReadTransaction, WriteTransaction
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.site import queries as site_queries
from tests.support.world import Person

BASE = "http://collegium.test"
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
    "User-Agent": f"python-httpx/{httpx.__version__}",
}


class _Server:
    """Calls the application as a server does: paths and headers are bytes, spelled as Latin-1."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self.took = 0.0

    def handle(self, request: httpx.Request) -> httpx.Response:
        response = self.send(
            request.method, request.url.raw_path, request.headers.raw, request.read()
        )
        response.request = request
        return response

    def begin(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes = b""
    ) -> tuple[Any, Any]:
        """Return the status with the headers, and the body as the server would get it."""
        path, _, query = target.partition(b"?")
        env = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(path.decode("ascii"), "latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.input": BytesIO(body),
        }
        for name, value in headers:
            key = name.decode().upper().replace("-", "_")
            env[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value.decode(
                "latin-1"
            )
        begun: list[Any] = []
        parts = self._application(env, lambda *start: begun.append(start))  # type: ignore[arg-type]
        return begun[0], parts

    def send(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes = b""
    ) -> httpx.Response:
        began = time.thread_time()
        (status, response_headers), parts = self.begin(method, target, headers, body)
        try:
            body = b"".join(parts)
        finally:
            getattr(parts, "close", lambda: None)()
        self.took = time.thread_time() - began
        return httpx.Response(int(status[:3]), headers=response_headers, content=body)


class Site:
    """Calls routes: ``site.get("/api/users/", ada)``; without a person as nobody.

    It keeps no cookies. A client of httpx would, and takes 0.2 ms more for each of the 100,000
    requests of a run.
    """

    def __init__(self, settings: Settings, database: Database, vault: Vault) -> None:
        self.database = database
        self.application = app.application(settings, database, vault, lambda: None, "")
        self._server = _Server(self.application)

    @property
    def took(self) -> float:
        """Seconds of processor time that the last answer took."""
        return self._server.took

    def send(self, method: str, target: bytes, **headers: str) -> httpx.Response:
        """Send a request without a body, whose target no library has looked at."""
        sent = {"host": "collegium.test", **headers}
        answer = self._server.send(
            method, target, [(name.encode(), text.encode()) for name, text in sent.items()]
        )
        answer.request = httpx.Request(method, BASE)
        return answer

    @contextmanager
    def stream(self, path: str, who: Person) -> Iterator[Any]:
        """Yield the parts of a response that is made while it is sent, and close them."""
        sent = {b"host": b"collegium.test", b"authorization": f"Token {who.token}".encode()}
        (status, _), parts = self._server.begin("GET", path.encode(), sent.items())
        assert status.startswith("200")
        with closing(parts):
            yield parts

    def request(
        self,
        method: str,
        path: str,
        who: Person | str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request as a person, with a token, or as nobody."""
        sent = _HEADERS | (headers or {})
        token = who if isinstance(who, str) or who is None else who.token
        if token is not None:
            sent.setdefault("Authorization", f"Token {token}")
        url = path if path.startswith(BASE) else BASE + path
        return self._server.handle(httpx.Request(method, url, headers=sent, **options))

    def get(self, path: str, who: Person | str | None = None, **options: Any) -> httpx.Response:
        return self.request("GET", path, who, **options)

    def post(self, path: str, who: Person | str | None = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, who, **options)


@contextmanager
def record_statements(monkeypatch: Any) -> Iterator[list[str]]:
    """Collect the text of every statement that the block runs.

    The one by which a process learns the name of the service, once in its life, is left out.
    """
    seen: list[str] = []
    execute = ReadTransaction._execute

    def noted(self: ReadTransaction, prepared: Any, given: dict[str, Any]) -> Any:
        if prepared is not site_queries._STATE:
            seen.append(prepared.compiled(self._dialect).text)
        return execute(self, prepared, given)

    execute_many = WriteTransaction.execute_many

    def noted_many(self: WriteTransaction, prepared: Any, rows: Any) -> Any:
        seen.append(prepared.compiled(self._dialect).text)
        return execute_many(self, prepared, rows)

    with monkeypatch.context() as patch:
        patch.setattr(ReadTransaction, "_execute", noted)
        patch.setattr(WriteTransaction, "execute_many", noted_many)
        yield seen
