"""The real program on a real socket: started, asked, killed."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import httpx

from collegium import bootstrap
from collegium.db import schema
from collegium.settings import load
from collegium.staff_command import ensure_staff
from tests.support import programs

PROGRAM = Path(sys.executable).with_name("collegium")
"""The entry point, a Python script."""
TLS = ssl.create_default_context()
"""One for all requests: to read every certificate there is takes longer than their answers."""
PATIENCE = 20.0
"""Seconds that a machine under load may need for what takes a fraction of one."""
Process = programs.Program | subprocess.Popen[bytes]


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without variables of Collegium except the settings."""
    kept = {name: value for name, value in os.environ.items() if "COLLEGIUM" not in name}
    return kept | {f"COLLEGIUM_{name.upper()}": value for name, value in settings.items()}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Service:
    """``collegium serve`` under some settings, in a folder of its own.

    Args:
        settings: by name, without the prefix.
        is_forked: whether programs run in forks of a process that has loaded their modules. A test
            of a start, or of memory, needs a true start.
        program: the words that start another installation of the program, which is not forked.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        *,
        is_forked: bool = True,
        program: Sequence[str | Path] = (PROGRAM,),
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.environment = bare_environment({"base_url": self.base, **settings})
        self.program = program
        self.is_forked = is_forked and program == (PROGRAM,)
        self._process: Process | None = None
        self._worker: Process | None = None
        self.log = folder / "serve.log"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the program under the same settings."""
        return self.run_with_input(b"", *words)

    def run_with_input(self, text: bytes, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the program with this standard input."""
        if self.is_forked:
            return programs.run([*self.program, *words], self.folder, self.environment, text)
        return subprocess.run(
            [*self.program, *words],
            cwd=self.folder,
            env=self.environment,
            input=text.decode(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def staff(self, name: str = "boss") -> str:
        """Make a staff account, as ``collegium staff`` does but in this process; return its token.

        To start the program takes a second of a processor.
        """
        settings = load(self.environment)
        with chdir(self.folder):
            database, vault = bootstrap.load_settings(settings)
            with closing(database):
                if settings.database_is_sqlite:
                    schema.migrate(database)
                email = f"{name}@example.org"
                return ensure_staff(database, settings, vault, name, email, None)[1]

    def staff_by_command(self, name: str = "boss") -> str:
        """Make a staff account with the program itself and give its token."""
        done = self.run("staff", name, "--email", f"{name}@example.org", "--json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["token"])

    def start(self, *options: str) -> float:
        """Start it, wait until it answers, give the seconds that took.

        Args:
            options: further words for ``serve``.
        """
        began = time.perf_counter()
        self._process = self._start("serve", "--port", str(self.port), *options)
        while True:
            if self._process.poll() is not None:
                raise AssertionError(f"it ended: {self.log.read_text()[-2000:]}")
            try:
                if self.call("GET", "/healthz").status_code == 200:
                    return time.perf_counter() - began
            except httpx.TransportError:
                pass
            if time.perf_counter() - began > PATIENCE:
                raise AssertionError(f"no answer: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def start_worker(self) -> None:
        """Start a worker as a separate process, as on PostgreSQL."""
        self._worker = self._start("worker")

    def _start(self, *words: str) -> Process:
        with self.log.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            command: list[str | Path] = [*self.program, *words]
            if self.is_forked:
                files = (nothing, log, log)
                return programs.Program(command, self.folder, self.environment, files)
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """Kill the process that was started, as ``kill -9`` does; its children must follow."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)
        self._process = None
        # They end a moment later and hold the port until then. The next start takes less than that.
        end = time.perf_counter() + PATIENCE
        while not _is_free(self.port):
            assert time.perf_counter() < end, "its children go on"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it as a service manager does."""
        for process in (self._process, self._worker):
            if process is not None:
                process.terminate()
                process.wait(timeout=PATIENCE)
        self._process = self._worker = None

    def call(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        """Send one request over the socket."""
        headers = {"Authorization": f"Token {token}"} if token else {}
        return httpx.request(
            method, self.base + path, headers=headers, timeout=20, verify=TLS, **options
        )
