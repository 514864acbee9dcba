"""Keys, sessions and settings, by the official clients, over a socket."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from collegium import __version__
from tests.serving import Service

ROOT = Path(__file__).parents[2]
KEY = "a key for tests, long enough to pass for one"


@pytest.mark.parametrize("version", ["7.9.0", "8.1.3"])
def test_the_official_client_keeps_keys_and_oversees_sessions(
    version: str, url: str, tmp_path: Path
) -> None:
    interpreter = ROOT / f".venv-waldur-{version}" / "bin" / "python"
    assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
    service = Service(
        tmp_path,
        {"database_url": url, "secret_key": KEY, "mail_url": f"file:{tmp_path / 'mail'}"},
    )
    token = service.staff()
    service.start("--no-post")
    try:
        done = subprocess.run(
            [interpreter, Path(__file__).parent / "stories" / "owned.py", service.base, token],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:] + service.log.read_text()[-3000:]
        assert json.loads(done.stdout.splitlines()[-1]) == {"version": __version__}
    finally:
        service.stop()
