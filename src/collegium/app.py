"""Where everything is put together; the command line is the only one to import it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import structlog
from litestar import Litestar, Response
from litestar.datastructures import State

from collegium import logs, opening
from collegium.dialects import http, openapi
from collegium.dialects.brainstem import routes as brainstem
from collegium.dialects.front import BODY_SECONDS, Front, without_secrets
from collegium.dialects.waldur import errors as waldur_errors
from collegium.dialects.waldur import routes as waldur
from collegium.dialects.web import routes as web
from collegium.post.worker import Worker
from collegium.settings import load
from collegium.store.db import Database
from collegium.store.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar import Request

    from collegium.dialects.front import App
    from collegium.settings import Settings

BODY_MAX: Final = 2 * 1024 * 1024
"""Bytes of the largest body that is read; the largest thing anybody sends is a picture."""

_PR_SET_PDEATHSIG: Final = 1
_WATCH_SECONDS: Final = 0.5

_TEXTS: Final = {
    404: "Not found.",
    405: 'Method "{method}" not allowed.',
    408: f"The request took too long to arrive: {BODY_SECONDS} seconds at most.",
    413: f"The request is too large: {BODY_MAX} bytes at most.",
}

_log = structlog.get_logger()


def build() -> App:
    """Make the application of one worker process; what Granian is given to call."""
    _die_with(int(os.environ.get(opening.PARENT, "0")))
    settings = load(os.environ)
    logs.configure(settings)
    database, vault = opening.assemble(settings)
    worker = Worker(database, settings, vault) if os.environ.get(opening.PAYS_POST) else None
    return application(settings, database, vault, worker, os.environ.get(opening.SERVE_HOST, ""))


def _die_with(parent: int) -> None:
    """End this process when ``serve`` is gone, however it went.

    Killed with SIGKILL it cannot stop its workers; they would keep the port,
    and the service could not be started again.
    """
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    if sys.platform == "linux":
        # The kernel does it at once; the watch is for what came before, and other systems.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="parent", daemon=True).start()


def application(
    settings: Settings, database: Database, vault: Vault, worker: Worker | None, host: str
) -> App:
    """Put the dialects on one application.

    Args:
        worker: pays the outbox in a thread beside it; None: somebody else does.
        host: the address that is listened on.
    """
    house = http.House(settings, database, vault, worker.wake if worker else _nobody_wakes)

    description = web.description_routes(openapi.describe(waldur.ROUTES | brainstem.DESCRIBED))

    @asynccontextmanager
    async def life(_app: Litestar) -> AsyncIterator[None]:
        stop = threading.Event()
        thread = None
        if worker is not None:
            thread = threading.Thread(target=worker.run, args=(stop,), name="post", daemon=True)
            thread.start()
        yield
        stop.set()
        if worker is not None and thread is not None:
            worker.wake()
            thread.join(timeout=5)
        database.close()

    app = Litestar(
        route_handlers=[
            *http.handlers(waldur.ROUTES, waldur.perform),
            *http.handlers(brainstem.ROUTES, brainstem.perform),
            *http.handlers(web.ROUTES | description, web.perform),
        ],
        state=State({"house": house}),
        lifespan=[life],
        openapi_config=None,
        request_max_body_size=BODY_MAX,
        exception_handlers={Exception: _failed},
    )
    return Front(
        cast("App", app),
        allowed_hosts(settings, host),
        is_secure=settings.base_url.startswith("https:"),
    )


def _nobody_wakes() -> None:
    """Leave a posted mail to the separate worker, which looks by itself."""


def allowed_hosts(settings: Settings, host: str) -> frozenset[str]:
    """Give the names that are answered; none given: all of them, on loopback only."""
    if "*" in settings.allowed_hosts:
        return frozenset()
    if settings.allowed_hosts:
        return frozenset(name.lower() for name in settings.allowed_hosts)
    if host in {"", "127.0.0.1", "::1", "localhost"}:
        return frozenset()
    return frozenset({(urlsplit(settings.base_url).hostname or "").lower()})


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer what no route answered: an unknown path, a body too large, a fault of ours."""
    status = getattr(error, "status_code", 500)
    path = request.scope["path"]
    headers = {}
    if status == 500:  # noqa: PLR2004 - HTTP
        _log.error("request failed", path=without_secrets(path), exc_info=error)
        text = "The service met an error; it was written down."
    else:
        text = _TEXTS.get(status, "Bad request.").format(method=request.method[:20])
    if status == 405:  # noqa: PLR2004 - HTTP; a method that no path here has
        headers["Allow"] = ", ".join(http.METHODS)
    wire = path.startswith(("/api", "/schema"))
    answer = waldur_errors.detail(status, text) if wire else web.plain(status, text)
    return Response(
        b"" if request.method == "HEAD" else answer.body,
        status_code=answer.status,
        headers=headers,
        media_type=answer.media,
    )
