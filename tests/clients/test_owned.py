"""Keys, sessions and settings, by the official clients, over a socket."""

from __future__ import annotations

from pathlib import Path

from collegium import __version__
from tests.clients.official import Official
from tests.conftest import KEY
from tests.support.serving import Service


def test_the_official_client_keeps_keys_and_oversees_sessions(
    client: Official, url: str, tmp_path: Path
) -> None:
    service = Service(
        tmp_path,
        {"database_url": url, "secret_key": KEY, "mail_url": f"file:{tmp_path / 'mail'}"},
    )
    token = service.staff()
    service.start("--no-worker")
    try:
        assert client.tell("owned.py", service, token) == {"version": __version__}
    finally:
        service.stop()
