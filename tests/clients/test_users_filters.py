"""Every filter of the users list, asked for by the official clients over a socket."""

from __future__ import annotations

from pathlib import Path

from collegium.api.waldur.accounts import FILTERS
from tests.clients.official import Official
from tests.conftest import KEY
from tests.support.serving import Service


def test_an_official_client_finds_people_by_everything_it_can_ask_for(
    client: Official, url: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    token = service.staff()
    service.start("--no-worker")
    try:
        assert set(client.tell("users_filters.py", service, token)) == set(FILTERS)
    finally:
        service.stop()
