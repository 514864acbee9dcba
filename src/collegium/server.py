"""The HTTP server: Granian, with each request run in the thread that Granian gives it.

Granian's WSGI interface hides two things that matter: it decodes the path, so that ``%2f`` looks
like ``/``, and it maps ``X_Forwarded_For`` to the variable of ``X-Forwarded-For``, so that a caller
can speak for the proxy. Its ASGI interface shows both, but runs everything in one event loop.
The worker here takes the request from the ASGI interface and calls the WSGI application in the
thread where Granian would have scheduled the coroutine. The event loop only waits for bodies and
for signals (docs/decisions/0031-server.md).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from asyncio.tasks import _enter_task, _leave_task
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from granian import _granian
from granian._granian import CallbackScheduler, WorkerSignal
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from granian.server.common import WORKERS_METHODS
from granian.server.mp import WorkerProcess

from collegium import bootstrap
from collegium.api.middleware import RAW_PATH
from collegium.settings import THREADS

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIApplication

HEADER_SECONDS: Final = 15
"""How long the head of a request may take to arrive."""

PAUSE_SECONDS: Final = 15
"""How long the next part of a body may take to arrive."""

DRAIN_SECONDS: Final = 10
"""How long requests that are being worked on may take after SIGTERM."""

FLUSH_SECONDS: Final = 2.0
"""How long finished answers may take to be sent after the last request has ended."""

_DISCARD_MAX: Final = 4 * 1024 * 1024
_DISCARD_SECONDS: Final = 2.0

_KILL_SECONDS: Final = 15
_NAME_MAX: Final = 100
_PLAIN: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
_FAILED: Final = b'{"detail":"The service met an error; it was written down."}'


def run(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    os.environ[bootstrap.PARENT] = str(os.getpid())
    Server("collegium.app:build", **options(host, port, workers)).serve(spawn_target=worker)
    # Python would look for garbage once more, for more than a second.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def options(host: str, port: int, workers: int) -> dict[str, Any]:
    """Return the options that Granian is started with."""
    return {
        "address": host,
        "port": port,
        # What Granian checks the options by; the worker below replaces its own for WSGI.
        "interface": Interfaces.WSGI,
        "blocking_threads": THREADS,
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
        "workers": workers,
        "factory": True,
        "websockets": False,
        # It warns of threads, most of which only ever wait.
        "log_level": LogLevels.error,
        "respawn_failed_workers": workers > 1,
        "workers_kill_timeout": _KILL_SECONDS,
    }


class _InlineExecutor(CallbackScheduler):
    """Runs a request where it is scheduled: in a thread of Granian's pool."""

    __slots__ = ()

    def __init__(
        self,
        _loop: object,
        run: Callable[[Any], None],
        _task: object,
        _enter: object,
        _leave: object,
    ) -> None:
        super().__init__()
        self._schedule_fn = run


class _Pending:
    """What a read waits for; it can be cancelled from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._future: Any = None
        self._cancelled = False

    def hold(self, future: Any) -> None:
        """Note what is waited for now."""
        with self._lock:
            self._future = future
            if self._cancelled:
                future.cancel()

    def cancel(self) -> None:
        """Cancel what is waited for, now or later."""
        with self._lock:
            self._cancelled = True
            if self._future is not None:
                self._future.cancel()


class _Body:
    """The body of a request, read as WSGI wants it; waits in the event loop, and not for ever."""

    def __init__(self, bridge: _Bridge, receive: Callable[[], Any]) -> None:
        self._bridge = bridge
        self._receive = receive
        self._kept = b""
        self._ended = False
        self._pending = _Pending()

    def read(self, size: int = -1) -> bytes:
        """Return what has come, at most ``size`` bytes; none at the end.

        Raises:
            TimeoutError: nothing came for ``PAUSE_SECONDS``.
            ConnectionAbortedError: the connection broke, or what came is no body.
            ConnectionError: the service is being stopped, or the read was cancelled.
        """
        while not self._ended and size and (size < 0 or not self._kept):
            message = self._bridge.wait(self._next(), self._pending)
            if message["type"] != "http.request":
                raise ConnectionAbortedError
            self._kept += message.get("body", b"")
            self._ended = not message.get("more_body", False)
        part = self._kept if size < 0 else self._kept[:size]
        self._kept = self._kept[len(part) :]
        return part

    def cancel(self) -> None:
        """End the read that is under way in another thread, and all later ones."""
        self._pending.cancel()

    def discard(self) -> None:
        """Read what is left of a body that was refused, if it is not much and comes at once.

        A proxy that is still passing it on would otherwise meet a closed connection, and tell its
        caller of a bad gateway instead of our answer.
        """
        end = time.monotonic() + _DISCARD_SECONDS
        left = _DISCARD_MAX
        with suppress(OSError):
            while not self._ended and left > 0 and time.monotonic() < end:
                message = self._bridge.wait(self._next(), self._pending, _DISCARD_SECONDS / 2)
                left -= len(message.get("body", b"")) or left
                self._ended = not message.get("more_body", False)

    async def _next(self) -> dict[str, Any]:
        return dict(await self._receive())


class _Bridge:
    """Counts the requests of this process, and ends them in order when it is told to stop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._active = 0
        self._waiting: set[Any] = set()
        self.is_stopping = False

    def begin(self) -> None:
        """Note that a request has begun."""
        with self._lock:
            self._active += 1

    def end(self) -> None:
        """Note that a request has ended."""
        with self._lock:
            self._active -= 1

    def wait(
        self, coroutine: Any, pending: _Pending, seconds: float | None = None
    ) -> dict[str, Any]:
        """Run a coroutine in the event loop, and wait for what it gives.

        Args:
            seconds: how long; ``PAUSE_SECONDS`` unless given.
        """
        with self._lock:
            if self.is_stopping:
                coroutine.close()
                raise ConnectionError
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._waiting.add(future)
        pending.hold(future)
        try:
            message: dict[str, Any] = future.result(PAUSE_SECONDS if seconds is None else seconds)
        except FutureTimeoutError:
            future.cancel()
            raise TimeoutError from None
        except (CancelledError, RuntimeError) as error:
            raise ConnectionError from error
        else:
            return message
        finally:
            with self._lock:
                self._waiting.discard(future)

    def drain(self) -> None:
        """Let requests end that are being worked on; stop waiting for bodies."""
        with self._lock:
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()
        end = time.monotonic() + DRAIN_SECONDS
        while self._active and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(FLUSH_SECONDS)


@WorkerProcess.wrap_target  # type: ignore[untyped-decorator]  # Granian gives none
def worker(
    worker_id: int,
    application: WSGIApplication,
    sock: Any,
    ipc: Any,
    loop: asyncio.AbstractEventLoop,
    runtime_mode: Any,
    runtime_threads: int,
    runtime_blocking_threads: int | None,
    blocking_threads: int,
    idle_seconds: int,
    backpressure: int,
    _task_impl: Any,
    http_mode: Any,
    http1_settings: Any,
    http2_settings: Any,
    websockets: bool,
    static_path: Any,
    _log_access_format: str | None,
    ssl_context: Any,
    _scope_options: Any,
    metrics: Any,
) -> None:
    """Serve in this process, until it is told to stop."""
    stop = WorkerSignal()
    ended = asyncio.Event()
    bridge = _Bridge(loop)

    def end() -> None:
        loop.call_soon_threadsafe(ended.set)

    def drain() -> None:
        # Granian itself waits for every connection, those with half a request among them.
        bridge.drain()
        end()

    def told() -> None:
        if bridge.is_stopping:
            return  # told again, by a second Ctrl-C: Granian would wait with the interpreter held
        bridge.is_stopping = True
        stop.set()
        threading.Thread(target=drain, name="drain", daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    stop.add_cb(end)

    listener = sock[0] or sock[1]
    # Its stub is older than itself.
    native: Any = _granian
    server = native.ASGIWorker(
        worker_id,
        sock,
        ipc,
        runtime_threads,
        runtime_blocking_threads,
        blocking_threads,
        idle_seconds,
        backpressure,
        http_mode,
        http1_settings,
        http2_settings,
        websockets,
        static_path,
        *ssl_context,
        metrics,
    )
    scheduler = _InlineExecutor(
        loop,
        partial(_handle, application, bridge),
        None,
        partial(_enter_task, loop),
        partial(_leave_task, loop),
    )
    getattr(server, WORKERS_METHODS[runtime_mode][listener.is_uds()])(scheduler, loop, stop)
    loop.run_until_complete(ended.wait())


def _handle(application: WSGIApplication, bridge: _Bridge, watcher: Any) -> None:
    scope, protocol = watcher.scope, watcher.proto
    bridge.begin()
    try:
        started: list[Any] = []
        source = _Body(bridge, protocol.receive)
        given = environment(scope, source)
        body = b"".join(
            application(
                given,
                lambda *given: started.append(given),  # type: ignore[arg-type]  # nobody writes to it
            )
        )
        status, headers = started[-1][:2]
        if status[:3] == "413" and "HTTP_EXPECT" not in given:
            source.discard()
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        _send(protocol, int(status[:3]), sent, body)
    except BaseException as error:  # noqa: BLE001 - the process must go on
        _send(protocol, 500, [(b"content-type", b"application/json")], _FAILED)
        watcher.err(error)
        return
    finally:
        bridge.end()
    watcher.done()


def _send(protocol: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    # What these give could be awaited, but the answer is on its way with the call.
    protocol.send({"type": "http.response.start", "status": status, "headers": headers})
    protocol.send({"type": "http.response.body", "body": body})


def environment(scope: dict[str, Any], body: Any) -> dict[str, Any]:
    """Return the WSGI environment of a request.

    A header with an underscore in its name is left out: its variable belongs to the header that
    is spelled with a hyphen. So is one whose name is longer than any that means something.
    """
    raw_path: bytes = scope["raw_path"]
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    query: bytes | str = scope["query_string"]
    found: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        RAW_PATH: raw_path.decode("latin-1"),
        "QUERY_STRING": query if isinstance(query, str) else query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": str(scope["server"][1]),
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "HTTP_HOST": "",
    }
    seen = set()
    for name, value in scope["headers"]:
        variable = _variable(name) if len(name) <= _NAME_MAX else None
        if variable is None:
            continue
        text = value.decode("latin-1")
        if variable in seen:
            found[variable] += (";" if variable == "HTTP_COOKIE" else ",") + text
        else:
            seen.add(variable)
            found[variable] = text
    return found


@lru_cache(maxsize=512)
def _variable(name: bytes) -> str | None:
    if b"_" in name:
        return None
    plain = _PLAIN.get(name)
    return plain or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
