"""Start programs of Collegium in forks of a process that has loaded their modules.

What depends on how a process starts needs ``subprocess``: its memory, its time, the entry point.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

_ROOT: Final = Path(__file__).parents[2]
_ENVIRONMENT: Final = dict(os.environ)
_READ_LATE: Final = ("COLLEGIUM_", "HOME", "PATH", "PROOF_", "PYTEST_", "PYTHONPATH")
"""Beginnings of the variables that are read after the modules are loaded."""


class _ForkServer:
    """The process of ``fork_server.py``, which ends with this one."""

    def __init__(self) -> None:
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(other.fileno())],
                cwd=_ROOT,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )
        atexit.register(self._close)

    def _close(self) -> None:
        self._channel.close()
        self._process.wait(timeout=10)

    @staticmethod
    def fits(environment: Mapping[str, str]) -> bool:
        """Return whether a fork is like a new process under this environment."""
        return all(
            name.startswith(_READ_LATE) or environment.get(name) == _ENVIRONMENT.get(name)
            for name in environment.keys() | _ENVIRONMENT.keys()
        )

    def send(self, job: Mapping[str, Any], files: Sequence[int]) -> None:
        """Send a message; ``fork_server.py`` describes it."""
        socket.send_fds(self._channel, [json.dumps(job).encode()], files)


@cache
def _fork_server() -> _ForkServer:
    return _ForkServer()


class Program:
    """A Python program that runs in a fork. Its methods are those of ``subprocess.Popen``.

    Args:
        words: the path of a script or the name of a module, and arguments.
        cwd: the folder in which it runs.
        env: its whole environment.
        files: standard input, standard output and standard error.
        start_new_session: whether it leads a session of its own.
    """

    def __init__(
        self,
        words: Sequence[str | Path],
        cwd: Path,
        env: Mapping[str, str],
        files: Sequence[IO[bytes]],
        *,
        start_new_session: bool = False,
    ) -> None:
        argv = [str(word) for word in words]
        is_script = os.sep in argv[0]
        server = _fork_server()
        assert server.fits(env), "start it with subprocess: modules may read the environment"
        self.args = argv
        self.returncode: int | None = None
        pipe, other = os.pipe()
        self._pipe = os.fdopen(pipe, "rb")
        job = {
            "argv": argv,
            "is_script": is_script,
            "folder": str(cwd),
            "environment": dict(env),
            "new_session": start_new_session,
        }
        server.send(job, [*(file.fileno() for file in files), other])
        os.close(other)
        self.pid = int(self._pipe.readline())

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return the exit status.

        Raises:
            TimeoutExpired: it still runs after this many seconds.
        """
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._pipe], [], [], timeout)[0]:
            with self._pipe:
                self.returncode = os.waitstatus_to_exitcode(int(self._pipe.readline()))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[str | Path],
    cwd: Path,
    env: Mapping[str, str],
    text: bytes = b"",
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a program until it ends, as ``subprocess.run`` does.

    Args:
        words: as of ``Program``.
        cwd: as of ``Program``.
        env: as of ``Program``.
        text: standard input.
        timeout: seconds.

    Raises:
        TimeoutExpired: it did not end in time, and was killed.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(text)
        files[0].seek(0)
        program = Program(words, cwd, env, files)
        try:
            status = program.wait(timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise
        for file in files[1:]:
            file.seek(0)
        output, errors = (file.read().decode() for file in files[1:])
        return subprocess.CompletedProcess(program.args, status, output, errors)
