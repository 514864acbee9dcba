"""A program in a fork behaves like a started one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from tests.support import programs
from tests.support.serving import bare_environment

STATE = """
import gc, json, os, random, signal, sys, threading
print(json.dumps({
    "argv": sys.argv, "main": sys.modules["__main__"].__dict__.get("__file__"), "name": __name__,
    "path": sys.path[0], "folder": os.getcwd(), "environment": dict(os.environ),
    "threads": threading.active_count(), "collector": gc.get_threshold(),
    "files": [os.path.exists(f"/proc/self/fd/{number}") for number in range(3, 50)],
    "handlers": [str(signal.getsignal(number)) for number in range(1, signal.NSIG)],
    "mask": [str(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "umask": os.umask(0), "leads": os.getsid(0) == os.getpid(),
    "streams": [[one.fileno(), one.encoding, one.errors, one.line_buffering, one.write_through]
                for one in (sys.stdin, sys.stdout, sys.stderr)],
    "stdin": sys.stdin.read(), "limits": sys.getrecursionlimit(),
}, sort_keys=True))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return the path of a script, empty so far."""
    return tmp_path / "script"


def test_fork_has_the_state_of_a_new_process(script: Path, tmp_path: Path) -> None:
    script.write_text(STATE)
    environment = bare_environment({"page": "Grüße"})
    words = [str(script), "--one", "zwölf"]
    forked = programs.run(words, tmp_path, environment, b"some text")
    started = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=environment,
        input="some text",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (forked.returncode, forked.stderr) == (0, "")
    assert json.loads(forked.stdout) == json.loads(started.stdout)


def test_forks_have_different_random_numbers(script: Path, tmp_path: Path) -> None:
    script.write_text("import random, uuid; print(random.random(), uuid.uuid4())")
    outputs = {programs.run([script], tmp_path, dict(os.environ)).stdout for _ in range(3)}
    assert len(outputs) == 3


@pytest.mark.parametrize(
    "text",
    [
        *("raise SystemExit(3)", "raise SystemExit(300)", "raise SystemExit(True)", "print()"),
        *("raise SystemExit('why')", "1 / 0", "import os; os.abort()"),
        "from threading import Timer; Timer(0.1, print, ['of a thread']).start()",
    ],
)
def test_fork_ends_like_a_started_program(script: Path, tmp_path: Path, text: str) -> None:
    script.write_text(f"import atexit\natexit.register(print, 'the end')\n{text}")
    forked = programs.run([script], tmp_path, dict(os.environ))
    started = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_fork_obeys_signals_and_its_caller_waits(script: Path, tmp_path: Path) -> None:
    script.write_text("import time; print('ready', flush=True); time.sleep(60)")
    output = tmp_path / "output"
    # A shell starts what runs in the background with SIGINT ignored, and a program inherits that.
    is_background = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    for number in (signal.SIGTERM, signal.SIGKILL, *([] if is_background else [signal.SIGINT])):
        with output.open("wb") as file, Path(os.devnull).open("rb") as nothing:
            program = programs.Program(
                [script], tmp_path, dict(os.environ), (nothing, file, file), start_new_session=True
            )
        while not output.read_bytes():
            time.sleep(0.01)
        assert os.getsid(program.pid) == program.pid
        assert program.poll() is None
        with pytest.raises(TimeoutExpired):
            program.wait(timeout=0.01)
        program.send_signal(number)
        assert program.wait(timeout=10) == program.poll() == -number
        program.kill()  # nothing happens


def test_environment_that_modules_may_read_is_refused(script: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="subprocess"):
        programs.run([script], tmp_path, {**os.environ, "LC_ALL": "tr_TR.UTF-8"})
