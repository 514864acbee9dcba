"""A real proxy before a service, without TLS."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hostile.raw import connect
from tests.support.serving import PATIENCE


@contextmanager
def start_nginx(folder: Path, sites: Mapping[int, str]) -> Iterator[None]:
    """Run nginx while the block runs, or skip the test if it is not installed.

    Args:
        sites: port to the content of its ``server``.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("NOT TESTED behind nginx: install it (Debian: nginx)")
    home = folder / "nginx"
    home.mkdir()
    # Its workers read files below this folder, which only our user may.
    user = "user root;\n" if os.geteuid() == 0 else ""
    paths = "".join(
        f"{name}_temp_path {home / name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}; client_max_body_size 3m;\n{text}}}\n"
        for port, text in sites.items()
    )
    file = home / "proxy.conf"
    file.write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {home}/pid;\nerror_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}{servers}}}\n"
    )
    arguments = [program, "-p", str(home), "-c", str(file), "-e", "stderr"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    connect(next(iter(sites))).close()
                    break
                except OSError:
                    assert process.poll() is None, (home / "log").read_text()
                    assert time.monotonic() < end
                    time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)
