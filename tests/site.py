"""The whole application in this process, called as a server would call it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from anyio.from_thread import start_blocking_portal

from collegium import app
from collegium.store.db import Read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar import Litestar

    from collegium.settings import Settings
    from collegium.store.db import Database
    from collegium.store.vault import Vault
    from tests.world import Person

BASE = "http://collegium.test"
_FREE: list[Litestar] = []
"""Applications of sites that are closed: to build one takes longer than to run most tests."""


class Site:
    """Calls routes: ``site.get("/api/users/", ada)``; without a person as nobody."""

    def __init__(self, settings: Settings, database: Database, vault: Vault) -> None:
        self._app = _FREE.pop() if _FREE else app.routed()
        application = app.application(settings, database, vault, None, "", self._app)
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=BASE)
        self._portal = start_blocking_portal()
        self._call = self._portal.__enter__().call

    def close(self) -> None:
        self._call(self._client.aclose)
        self._portal.__exit__(None, None, None)
        _FREE.append(self._app)

    def request(
        self,
        method: str,
        path: str,
        who: Person | str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request as a person, with a token, or as nobody."""
        sent = dict(headers or {})
        token = who if isinstance(who, str) or who is None else who.token
        if token is not None:
            sent.setdefault("Authorization", f"Token {token}")
        return self._call(partial(self._client.request, method, path, headers=sent, **options))

    def get(self, path: str, who: Person | str | None = None, **options: Any) -> httpx.Response:
        return self.request("GET", path, who, **options)

    def post(self, path: str, who: Person | str | None = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, who, **options)


@contextmanager
def counted_statements(monkeypatch: Any) -> Iterator[list[str]]:
    """Collect the text of every statement that the block runs."""
    seen: list[str] = []
    execute = Read._execute

    def noted(self: Read, prepared: Any, given: dict[str, Any]) -> Any:
        seen.append(prepared.compiled(self._dialect).text)
        return execute(self, prepared, given)

    with monkeypatch.context() as patch:
        patch.setattr(Read, "_execute", noted)
        yield seen
