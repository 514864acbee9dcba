"""The HTTP server: Granian, with each request run in the thread that Granian schedules it in.

Granian's WSGI interface hides two things that matter. It decodes the path, so that ``%2f`` looks
like ``/``. It maps ``X_Forwarded_For`` to the variable of ``X-Forwarded-For``, so that a caller can
forge the header of a proxy. Granian's ASGI interface shows both, but runs everything in one event
loop.

The worker here takes the request from the ASGI interface and calls the WSGI application in the
thread where Granian would have scheduled the coroutine. That thread also waits for the body. The
event loop only waits for signals (docs/decisions/0031-server.md).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final
from urllib.parse import unquote
from wsgiref.types import WSGIApplication

from granian import _granian
from granian._granian import CallbackScheduler, WorkerSignal
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from granian.server.common import WORKERS_METHODS
from granian.server.mp import WorkerProcess

from collegium import bootstrap, server_streams
from collegium.api import streams
from collegium.api.middleware import RAW_PATH
from collegium.server_streams import ResponseStream
from collegium.settings import THREADS

HEADER_SECONDS: Final = 15
"""Timeout for the head of a request, in seconds."""

PAUSE_SECONDS: Final = 15
"""Timeout for the next part of a request body, in seconds."""

DRAIN_SECONDS: Final = 10
"""Time after SIGTERM for requests in progress to finish, in seconds."""

FLUSH_SECONDS: Final = 2.0
"""Time for finished responses to be sent after the last request has ended, in seconds."""

_RESET_SECONDS: Final = 1.0
_DISCARD_MAX: Final = 64 * 1024 * 1024
_DISCARD_SECONDS: Final = 20.0
_DISCARD_PAUSE_SECONDS: Final = 1.0
_DISCARDS: Final = threading.BoundedSemaphore(THREADS // 8)

_KILL_SECONDS: Final = 15
_NAME_MAX: Final = 100
_PLAIN: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
_FAILED_STATUS: Final = 500
_FAILED: Final = b'{"detail":"Something went wrong. The error was logged."}'


def run(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then end the process.

    Args:
        host: IP address to listen on.
        port: TCP port.
        workers: Number of worker processes.
    """
    os.environ[bootstrap.PARENT] = str(os.getpid())
    Server("collegium.app:build", **options(host, port, workers)).serve(spawn_target=worker)
    # A normal exit would run the garbage collector once more, for more than a second.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def options(host: str, port: int, workers: int) -> dict[str, Any]:
    """Return the options of Granian's ``Server``."""
    return {
        "address": host,
        "port": port,
        # Granian validates the options by this interface. Our worker below replaces its WSGI
        # worker.
        "interface": Interfaces.WSGI,
        "blocking_threads": THREADS,
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
        "workers": workers,
        "factory": True,
        "websockets": False,
        # Granian warns of the number of threads, but most of them only wait.
        "log_level": LogLevels.error,
        # It would write to standard output, and in a format of its own.
        "log_dictconfig": {"handlers": {}, "loggers": {"_granian": {"propagate": True}}},
        "respawn_failed_workers": workers > 1,
        "workers_kill_timeout": _KILL_SECONDS,
    }


class _InlineExecutor(CallbackScheduler):
    """Scheduler that runs a request where it is scheduled: in a thread of Granian's pool."""

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


class _CallbackRunner:
    """Stands in for the event loop in Granian's futures.

    A future of Granian calls its callback through its event loop. It needs nothing else of the
    loop. This one calls the callback at once, in the thread that completes or cancels the future.
    So the wait for a body does not go through the event loop and its thread.
    """

    def call_soon(self, callback: Callable[[Any], object], future: Any, **_context: object) -> None:
        """Call a callback with the future that is done."""
        callback(future)

    call_soon_threadsafe = call_soon


class _Body:
    """The body of a request as the file object of WSGI.

    A read waits at most ``PAUSE_SECONDS`` for each part.

    Args:
        receive: starts to receive the next part and returns Granian's future of it.
    """

    def __init__(self, drain: _Drain, receive: Callable[[], Any]) -> None:
        self._drain = drain
        self._receive = receive
        self._kept = b""
        self._ended = False
        self._lock = threading.Lock()
        self._future: Any = None
        self._is_cancelled = False

    def read(self, size: int = -1) -> bytes:
        """Return the bytes received so far, at most ``size``; empty at the end of the body.

        Raises:
            TimeoutError: Nothing arrived for ``PAUSE_SECONDS``.
            ConnectionAbortedError: The connection broke, or the bytes are not a valid body.
            ConnectionError: The service is being stopped, or the read was cancelled.
        """
        while not self._ended and size and (size < 0 or not self._kept):
            message = self._next(PAUSE_SECONDS)
            if message["type"] != "http.request":
                raise ConnectionAbortedError
            self._kept += message.get("body", b"")
            self._ended = not message.get("more_body", False)
        part = self._kept if size < 0 else self._kept[:size]
        self._kept = self._kept[len(part) :]
        return part

    def cancel(self) -> None:
        """Cancel the read in progress in another thread, and all later ones."""
        with self._lock:
            self._is_cancelled = True
            if self._future is not None:
                self._future.cancel()

    def discard(self) -> bool:
        """Read the rest of a body, within limits; return whether its end was reached."""
        end = time.monotonic() + _DISCARD_SECONDS
        left = _DISCARD_MAX
        with suppress(OSError):
            while not self._ended and left > 0 and time.monotonic() < end:
                message = self._next(_DISCARD_PAUSE_SECONDS)
                left -= len(message.get("body", b"")) or left
                self._ended = not message.get("more_body", False)
        return self._ended

    def settle(self, given: dict[str, Any]) -> bool:
        """Read what the application has left of the body; return whether its end was reached.

        A client or a proxy that still sends a body would find the connection closed, and not see
        the response: nginx and Apache then answer with 502 Bad Gateway. A client that waits for
        "100 Continue" must not be sent it: it has been refused, and may never send the body.

        Args:
            given: WSGI environment of the request.
        """
        if self._ended or not (
            "HTTP_TRANSFER_ENCODING" in given or given.get("CONTENT_LENGTH", "0") != "0"
        ):
            return True
        if self._future is None and "HTTP_EXPECT" in given:
            return False
        if not _DISCARDS.acquire(blocking=False):
            return False  # such clients must not occupy all threads
        try:
            return self.discard()
        finally:
            _DISCARDS.release()

    def _next(self, seconds: float) -> dict[str, Any]:
        """Return the next ASGI message.

        Raises:
            TimeoutError: It took longer than ``seconds``.
            ConnectionError: The service is being stopped, or the read was cancelled.
        """
        done = threading.Lock()
        done.acquire()
        with self._lock:
            if self._is_cancelled or self._drain.is_stopping:
                raise ConnectionError
            self._future = future = self._receive()
            future.add_done_callback(lambda _future: done.release())
        if not done.acquire(timeout=seconds):
            self.cancel()
            raise TimeoutError
        try:
            message: dict[str, Any] = future.result()
        except asyncio.CancelledError:
            raise ConnectionError from None
        return message


class _Drain:
    """Knows the requests of this process, and ends them when the process is told to stop."""

    def __init__(self) -> None:
        # Adding to a set, discarding and copying are atomic, so they need no lock.
        self.active: set[_Body] = set()
        self.streams: set[ResponseStream] = set()
        self.is_stopping = False

    def run(self) -> None:
        """Cancel all waiting for bodies, and let the requests in progress finish.

        Streams that take longer are ended. ``is_stopping`` must be set before: a request that
        begins later reads no body.
        """
        for body in self.active.copy():
            body.cancel()
        self._wait(DRAIN_SECONDS)
        for stream in self.streams.copy():
            stream.end(streams.Ending.STOPPED)
        if self.streams:
            self._wait(_RESET_SECONDS)
        time.sleep(FLUSH_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Wait until no request is in progress, or until the seconds are over."""
        end = time.monotonic() + seconds
        while self.active and time.monotonic() < end:
            time.sleep(0.02)


@WorkerProcess.wrap_target  # type: ignore[untyped-decorator]  # Granian has no types for it
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
    """Serve in this process until it is told to stop."""
    stop = WorkerSignal()
    ended = asyncio.Event()
    drain = _Drain()

    def end() -> None:
        loop.call_soon_threadsafe(ended.set)

    def drain_and_end() -> None:
        # Granian itself waits for every connection, also for those with an incomplete request.
        drain.run()
        end()

    def begin_to_stop() -> None:
        if drain.is_stopping:
            return  # second Ctrl-C: Granian would block and keep the GIL
        drain.is_stopping = True
        stop.set()
        threading.Thread(target=drain_and_end, name="drain", daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, begin_to_stop)
    stop.add_cb(end)

    listener = sock[0] or sock[1]
    # Granian's type stub is older than its code.
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
        partial(_handle, application, drain),
        None,
        partial(_enter_task, loop),
        partial(_leave_task, loop),
    )
    getattr(server, WORKERS_METHODS[runtime_mode][listener.is_uds()])(
        scheduler, _CallbackRunner(), stop
    )
    loop.run_until_complete(ended.wait())


def _handle(application: WSGIApplication, drain: _Drain, watcher: Any) -> None:
    scope, protocol = watcher.scope, watcher.proto
    source = _Body(drain, protocol.receive)
    drain.active.add(source)
    given: dict[str, Any] = {}
    try:
        started: list[Any] = []
        given = environment(scope, source)
        parts = application(
            given,
            lambda *given: started.append(given),  # type: ignore[arg-type]  # write() is not used
        )
        if not isinstance(parts, list | tuple):
            _stream(watcher, drain, source, given, started, parts)
        else:
            headers = _final_headers(source, given, started)
            _send(protocol, int(started[-1][0][:3]), headers, b"".join(parts))
    except BaseException as error:  # noqa: BLE001 - one request must not end the process
        with suppress(RuntimeError):  # the response has begun
            _send(protocol, _FAILED_STATUS, [(b"content-type", b"application/json")], _FAILED)
        if streams.ENDING not in given:  # nobody has logged it
            watcher.err(error)
            return
    finally:
        drain.active.discard(source)
    watcher.done()


def _stream(
    watcher: Any,
    drain: _Drain,
    source: _Body,
    given: dict[str, Any],
    started: list[Any],
    parts: Iterable[bytes],
) -> None:
    """Send a response whose parts are made while it is sent; one that is small as others are.

    Raises:
        Exception: What the parts raise. If something was sent, the connection was reset.
    """
    close: Callable[[], object] = getattr(parts, "close", lambda: None)
    try:
        rest = iter(parts)
        try:
            begun, is_whole = server_streams.begin(rest)
        except BaseException:
            # Nothing was sent, so the caller sends this status. The log line of the request, which
            # ``close`` writes, has it too.
            given[streams.STATUS] = _FAILED_STATUS
            raise
        status = int(started[-1][0][:3])
        if is_whole:
            headers = _final_headers(source, given, started)
            _send(watcher.proto, status, headers, b"".join(begun))
            return
        stream = ResponseStream(watcher.proto, watcher.scope)
        drain.streams.add(stream)
        try:
            # Granian tells only after the end of the body that the client has gone.
            if source.discard():
                stream.watch()
            headers = _encoded(started[-1][1])
            given[streams.ENDING] = stream.run(status, headers, begun, rest)
        finally:
            drain.streams.discard(stream)
    finally:
        close()


def _final_headers(
    source: _Body, given: dict[str, Any], started: list[Any]
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response that is sent whole, once no more of the body is read."""
    headers = _encoded(started[-1][1])
    if not source.settle(given):
        # The rest of the body would be taken for the next request. Apache, told nothing, would
        # send the body now, and answer with 500 because its client does not.
        headers.append((b"connection", b"close"))
    return headers


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _send(protocol: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    # Both calls return awaitables, but the call itself already sends the data.
    protocol.send({"type": "http.response.start", "status": status, "headers": headers})
    protocol.send({"type": "http.response.body", "body": body})


def environment(scope: dict[str, Any], body: Any) -> dict[str, Any]:
    """Return the WSGI environment of a request.

    A header with an underscore in its name is left out: its variable belongs to the header that is
    spelled with a hyphen. A header with a name longer than ``_NAME_MAX`` is left out too: no known
    header is that long.

    Args:
        scope: ASGI scope of the request.
        body: File object for ``wsgi.input``.
    """
    raw_path: bytes = scope["raw_path"]
    spelled = raw_path.decode("latin-1")
    query: bytes | str = scope["query_string"]
    found: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(spelled, "latin-1") if "%" in spelled else spelled,
        RAW_PATH: spelled,
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
    }
    for name, value in scope["headers"]:
        variable = _variable(name) if len(name) <= _NAME_MAX else None
        if variable is None:
            continue
        text = value.decode("latin-1")
        if variable in found:
            found[variable] += (";" if variable == "HTTP_COOKIE" else ",") + text
        else:
            found[variable] = text
    found.setdefault("HTTP_HOST", "")
    return found


@lru_cache(maxsize=512)
def _variable(name: bytes) -> str | None:
    if b"_" in name:
        return None
    plain = _PLAIN.get(name)
    return plain or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
