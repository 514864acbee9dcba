"""The whole users API, by both official clients, over a socket, on both databases."""

from __future__ import annotations

from pathlib import Path

from tests.clients.official import Official
from tests.conftest import KEY
from tests.support.serving import Service


def test_every_operation_of_the_users_api_works_with_the_official_clients(
    client: Official, url: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    token = service.staff()
    service.start()
    if url.startswith("postgresql"):
        service.start_post()
    try:
        client.tell("users.py", service, token, tmp_path / "var" / "mail")
    finally:
        service.stop()
