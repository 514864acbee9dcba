"""Every filter of the users list, asked for by the official clients over a socket."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from collegium.dialects.waldur.accounts import FILTERS
from tests.serving import Service

ROOT = Path(__file__).parents[2]
STORY = Path(__file__).parent / "stories" / "users_filters.py"
KEY = "a key for tests, long enough to pass for one"


@pytest.mark.parametrize("version", ["7.9.0", "8.1.3"])
def test_an_official_client_finds_people_by_everything_it_can_ask_for(
    version: str, url: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    token = service.staff()
    service.start("--no-post")
    try:
        done = subprocess.run(
            [ROOT / f".venv-waldur-{version}" / "bin" / "python", STORY, service.base, token],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:] + service.log.read_text()[-3000:]
        assert set(json.loads(done.stdout.splitlines()[-1])) == set(FILTERS)
    finally:
        service.stop()
