"""Build the WSGI application. This is the only module that puts all the parts together.

The server's worker processes, the command line and ``doctor`` load it. No other module imports it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.util import Finalize
from typing import Final
from urllib.parse import urlsplit

import falcon
import structlog
from falcon.routing import CompiledRouter

from collegium import bootstrap, hosts, logs, tracing
from collegium.api import cors, limits, openapi, pipeline, request_bodies
from collegium.api import request as http
from collegium.api.brainstem import routes as brainstem
from collegium.api.middleware import Middleware, without_secrets
from collegium.api.waldur import homeport, icons
from collegium.api.waldur import routes as waldur
from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import Settings, SettingsError, load
from collegium.text import languages
from collegium.threads import lower_priority
from collegium.web import routes as web
from collegium.worker import presence
from collegium.worker.worker import Worker

_PR_SET_PDEATHSIG: Final = 1
_WATCH_SECONDS: Final = 0.5
_SWITCH_SECONDS: Final = 0.001
"""How long a thread runs while others wait, where the worker is a thread of the service."""

_COLLECT_AFTER: Final = 20_000
"""Threshold of the cyclic garbage collector: allocations minus deallocations before it runs."""

_TEXTS: Final = {
    404: "Not found.",
    405: 'Method "{method}" not allowed.',
    408: f"The request took too long to arrive (maximum {request_bodies.BODY_SECONDS} seconds).",
    429: "Too many requests from this network address. Please try again in a moment.",
    503: "The service is busy. Please try again in a moment.",
    415: "Compressed request bodies are not supported. Send it without Content-Encoding.",
    413: f"The request is too large (maximum {request_bodies.BODY_MAX} bytes).",
}

_log = structlog.get_logger()


def build() -> Middleware:
    """Return the application of one worker process, which Granian calls for each request.

    Settings come from the environment. ``serve`` also says there whether this process runs the
    outbox worker in a thread.

    Raises:
        SettingsError: A setting is wrong, or the key file of the database is unusable.
    """
    _exit_with_parent(int(os.environ.get(bootstrap.PARENT, "0")))
    settings = load(os.environ)
    logs.configure(settings)
    database, vault = bootstrap.load_settings(settings)
    # Granian's worker processes end without running ``atexit`` handlers.
    Finalize(None, tracing.start(settings), exitpriority=5)
    worker = Worker(database, settings, vault) if os.environ.get(bootstrap.RUNS_WORKER) else None
    if worker is not None:
        presence.take_over(database, settings.database_path)
        _run_worker(worker, database)
    wake = worker.wake if worker else _no_op
    app = application(settings, database, vault, wake, os.environ.get(bootstrap.SERVE_HOST, ""))
    # Everything that exists now stays for the life of the process. Scanning it in every collection
    # took a tenth of the time of a long list. Objects of a request are in no reference cycle, so
    # they are freed as soon as the response is sent.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    return app


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent, the ``serve`` process, has ended for any reason.

    A ``serve`` process that is killed with SIGKILL cannot stop its workers. They would keep the
    port, and the service could not be started again.

    Args:
        parent: Process id of ``serve``; 0 when nobody has to be watched.
    """
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    if sys.platform == "linux":
        # The kernel kills this process at once. The thread below covers a parent that ended before
        # this call, and systems other than Linux.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="parent", daemon=True).start()


def application(
    settings: Settings,
    database: Database,
    vault: Vault,
    wake: Callable[[], None],
    host: str,
) -> Middleware:
    """Return the WSGI application that serves both APIs and the web pages.

    Args:
        wake: Tells the outbox worker that an e-mail was queued.
        host: Address that the server listens on; empty when it is not known.

    Raises:
        SettingsError: See ``check_path``.
    """
    app = falcon.App(router=_router())
    app.req_options.strip_url_path_trailing_slash = True

    def failed(
        request: falcon.Request, response: falcon.Response, error: Exception, _segments: object
    ) -> None:
        _respond_failed(settings, request, response, error)

    app.add_error_handler(Exception, failed)
    app.add_error_handler(falcon.HTTPError, failed)
    is_secure = settings.base_url.startswith("https:")
    url = "" if bootstrap.is_guessed(settings) else settings.base_url
    site = http.PublicUrl(allowed_hosts(settings, host), url, settings.trusted_proxies)
    check_path(settings)
    app_context = http.AppContext(settings, database, vault, wake)
    note = limits.UntrustedProxyLog(database)
    policy = cors.policy(settings.cors_allowed_origins, settings.homeport_url)
    return Middleware(app, app_context, site, note, policy, is_secure=is_secure)


def check_path(settings: Settings) -> None:
    """Refuse a path in BASE_URL whose first segment is also the first segment of one of our routes.

    The service could not tell its own paths from the prefix.

    Raises:
        SettingsError: The first segments are equal.
    """
    path = urlsplit(settings.base_url).path
    first = path.split("/")[1] if path else ""
    routes = (*waldur.ROUTES, *homeport.ROUTES, *brainstem.ROUTES, *web.ROUTES, "/schema/")
    if first and any(route.split("/")[1] == first for route in routes):
        raise SettingsError(
            f"COLLEGIUM_BASE_URL has the path {path!r}, and the service has one of that name "
            "itself; choose another, such as /members"
        )


@cache
def _router() -> CompiledRouter:
    """Return the routes of all protocols.

    They are the same for every application of a process; building the router takes 30 ms.
    """
    described = waldur.ROUTES | brainstem.DESCRIBED | web.DESCRIBED
    description = web.description_routes(lambda: openapi.describe(described))
    router = CompiledRouter()
    pipeline.add_routes(router, waldur.ROUTES, waldur.PROTOCOL)
    pipeline.add_routes(router, icons.ROUTES, waldur.PROTOCOL)
    pipeline.add_routes(router, homeport.ROUTES, waldur.HOMEPORT_PROTOCOL)
    pipeline.add_routes(router, brainstem.ROUTES, brainstem.PROTOCOL)
    pipeline.add_routes(router, web.ROUTES | description, web.PROTOCOL)
    return router


def _run_worker(worker: Worker, database: Database) -> None:
    """Deliver the outbox in a thread of this process until the process is told to end."""
    stop = threading.Event()

    def run() -> None:
        lower_priority()
        worker.run(stop)

    # A request waits for the interpreter several times, each time as long as this. Of a hundred
    # requests beside an import the slowest took 9 ms with the defaults of both, and take 5 ms.
    sys.setswitchinterval(_SWITCH_SECONDS)
    thread = threading.Thread(target=run, name="worker", daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        worker.wake()
        thread.join(timeout=5)
        database.close()

    # Granian's worker processes end without running ``atexit`` handlers.
    Finalize(None, end, exitpriority=10)


def _no_op() -> None:
    """Do nothing: the separate worker process polls the outbox by itself."""


def allowed_hosts(settings: Settings, host: str) -> frozenset[str]:
    """Return the host names that are accepted in requests; an empty set accepts every name.

    Args:
        host: Address that the server listens on; empty when it is not known.
    """
    is_guessed = bootstrap.is_guessed(settings)
    if "*" in settings.allowed_hosts:
        return frozenset()
    own = hosts.host(urlsplit(settings.base_url).netloc)
    names = {*settings.allowed_hosts, *([own.name] if own and not is_guessed else [])}
    if not names:
        if not host or hosts.is_loopback(host):
            return frozenset()
        names = {own.name} if own else set()
    # A service that accepts one loopback name of this machine accepts all of them.
    return frozenset(names | hosts.LOOPBACK if names & hosts.LOOPBACK else names)


def _respond_failed(
    settings: Settings,
    request: falcon.Request,
    falcon_response: falcon.Response,
    error: Exception,
) -> None:
    """Answer a request that no route answered: unknown path, body too large, internal error."""
    status = error.status_code if isinstance(error, falcon.HTTPError) else 500
    if status == 400 and request.method not in http.METHODS:  # noqa: PLR2004 - HTTP
        status = 405  # Falcon treats an unknown method as a malformed request.
    path = request.path
    if status == 500:  # noqa: PLR2004 - HTTP
        _log.error("request failed", path=without_secrets(path), exc_info=error)
        text = "Something went wrong. The error was logged."
    else:
        text = _TEXTS.get(status, "Bad request.").format(method=request.method[:20])
    wire = path.startswith(("/api", "/schema"))
    if wire:
        response = http.error_response(status, text)
    else:
        accepted = languages.accepted(request.get_header("Accept-Language") or "")
        with languages.using(languages.first_available(*accepted, settings.language)):
            response = web.plain(settings, status, text)
    if status in {429, 503}:  # too many slow uploads
        response.headers["Retry-After"] = str(1)
    if status == 415:  # noqa: PLR2004 - HTTP
        response.headers["Accept-Encoding"] = "identity"
    if status == 405:  # noqa: PLR2004 - HTTP; no path here has this method
        response.headers["Allow"] = ", ".join(http.METHODS)
    root = request.env.get(http.ROOT, "")
    pipeline.fill_falcon_response(
        falcon_response, response, root=root, head=request.method == "HEAD"
    )
