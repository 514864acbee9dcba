"""The whole users API, by both official clients, over a socket, on both databases."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import KEY
from tests.serving import Service

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", ["7.9.0", "8.1.3"])
def test_every_operation_of_the_users_api_works_with_the_official_clients(
    version: str, url: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    token = service.staff()
    service.start()
    if url.startswith("postgresql"):
        service.start_post()
    try:
        story = Path(__file__).parent / "stories" / "users.py"
        interpreter = ROOT / f".venv-waldur-{version}" / "bin" / "python"
        done = subprocess.run(
            [interpreter, story, service.base, token, tmp_path / "var" / "mail"],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:] + service.log.read_text()[-2000:]
    finally:
        service.stop()
