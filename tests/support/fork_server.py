"""Run programs in forks of one process that has loaded the modules of Collegium.

Loading them takes a second of a processor, more than most programs that tests start need otherwise.
Their SQL statements are compiled, too.
``programs.py`` starts this process and sends it one message for each program: a JSON object, and
the descriptors of the standard streams and of a pipe. The pipe returns a line with the process id,
and a line with the wait status when the program has ended.

The process has only loaded modules and compiled statements: it has no thread, connection or open
file, and has read no setting, so that a fork is like a new process.
"""

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.support import compiled_templates

MESSAGE_MAX: Final = 1 << 20
"""Maximum size of a message in bytes."""

_LOADED_LATER: Final = (
    *("alembic.command", "alembic.runtime.environment", "alembic.autogenerate"),
    *("granian._loops", "granian.server.mp", "sqlalchemy.dialects.postgresql.psycopg"),
    *("sqlalchemy.dialects.sqlite.pysqlite", "psycopg_pool", "asyncio", "getpass"),
)
"""Modules that the program loads in functions."""


def load_modules() -> None:
    """Load the modules of Collegium, and those that it loads in functions."""
    compiled_templates.share()
    package = importlib.import_module("collegium")
    for module in pkgutil.walk_packages(package.__path__, "collegium."):
        # Alembic runs what is in ``migrations``.
        if not module.name.startswith("collegium.db.migrations."):
            importlib.import_module(module.name)
    for name in _LOADED_LATER:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)


def compile_statements() -> None:
    """Compile the statements of the loaded modules for both databases.

    A service compiles those that it uses, which takes a millisecond each.
    """
    database = importlib.import_module("collegium.db.database")
    statements = importlib.import_module("collegium.db.statements")
    found = [one for one in gc.get_objects() if isinstance(one, statements.Statement)]
    for url in ("sqlite://", "postgresql://"):
        dialect = database.Database(url).dialect
        for statement in found:
            with suppress(AttributeError):  # an upsert of the other database
                statement.compiled(dialect)


def opened() -> list[str]:
    """Return what this process has besides modules: its threads and open files."""
    # The directory that is read here is not open any more when its entry is looked up.
    files = [str(entry) for entry in list(Path("/proc/self/fd").iterdir()) if entry.exists()]
    return [*files, *(str(entry) for entry in Path("/proc/self/task").iterdir())]


def _serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each message; return the message and the streams in the child.

    Returns:
        None in the server itself, when the tests have ended.
    """
    running: dict[int, tuple[int, int]] = {}  # process id and pipe, by descriptor of the process
    while True:
        poll = select.poll()
        for number in (channel.fileno(), *running):
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll():
            if number in running:
                child, pipe = running.pop(number)
                with suppress(BrokenPipeError):
                    os.write(pipe, b"%d\n" % os.waitpid(child, 0)[1])
                os.close(pipe)
                os.close(number)
                continue
            message, streams, _, _ = socket.recv_fds(channel, MESSAGE_MAX, 4)
            if not message:
                for process in running:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                return None
            child = os.fork()
            if child == 0:
                channel.detach()
                return json.loads(message), streams[:3]
            *streams, pipe = streams
            running[os.pidfd_open(child)] = (child, pipe)
            with suppress(BrokenPipeError):
                os.write(pipe, b"%d\n" % child)
            for stream in streams:
                os.close(stream)


def _become(job: dict[str, Any], streams: list[int]) -> None:
    """Make this process like a new one: its streams, folder, environment and arguments."""
    if job["new_session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for number, (name, mode) in enumerate([("stdin", "r"), ("stdout", "w"), ("stderr", "w")]):
        before = getattr(sys, name)
        is_buffered = mode == "r" or not before.write_through  # PYTHONUNBUFFERED
        is_line_buffered = mode == "w" and (name == "stderr" or os.isatty(number))
        new = io.TextIOWrapper(
            os.fdopen(number, f"{mode}b", -1 if is_buffered else 0, closefd=False),
            encoding=before.encoding,
            errors=before.errors,
            line_buffering=is_buffered and is_line_buffered,
            write_through=before.write_through,
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[0] = str(Path(job["argv"][0]).parent) if job["is_script"] else job["folder"]
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = job["argv"]


def _run(program: str, *, is_script: bool) -> int:
    """Run a program; return its exit status.

    Raises:
        BaseException: as the program does, if it does not end by itself. The interpreter then
            ends as it always does.
    """
    try:
        if is_script:
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        raise
    return 0


def _exit(status: int) -> None:
    """End this process as the interpreter does, but leave the memory to the operating system.

    Taking all loaded modules apart takes longer than most programs that tests start.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


def main() -> None:
    """Serve until the tests have ended; in a child, run the program."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    before = opened()
    load_modules()
    compile_statements()
    if added := set(opened()).difference(before):
        sys.exit(f"loading the modules opened files or started threads: {added}")
    # So the garbage collector of a child does not write to, and thereby copy, all this memory.
    gc.collect()
    gc.freeze()
    given = _serve(channel)
    if given is None:
        os._exit(0)
    job, streams = given
    _become(job, streams)
    _exit(_run(job["argv"][0], is_script=job["is_script"]))


if __name__ == "__main__":
    main()
