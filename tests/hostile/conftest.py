"""What the hostile tests may ask for: a real server on a socket, and a world in its database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from argon2 import PasswordHasher

from collegium.db.database import Database
from collegium.security import crypto
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.tokens import actions as token_actions
from tests.api.test_outsiders import scene
from tests.conftest import KEY
from tests.hostile.raw import request, say
from tests.support.serving import Service
from tests.support.world import Person, World

__all__ = ["scene"]


class Running(NamedTuple):
    """A server, the world that it serves, and the token of somebody who may do everything."""

    service: Service
    world: World
    token: str

    @property
    def port(self) -> int:
        return self.service.port

    @property
    def memory(self) -> int:
        """Bytes that the server and its worker hold."""
        assert self.service._process is not None
        top = psutil.Process(self.service._process.pid)
        return sum(one.memory_info().rss for one in [top, *top.children(recursive=True)])

    def token_of(self, person: Person) -> str:
        """A token that survives what is done to the one that the wire shows."""
        with self.world.database.write() as tx:
            return token_actions.issue_personal(tx, self.world.vault, person.actor, "a test")[0]

    def alive(self) -> None:
        """Hold the server against what it does for everybody, after whatever was done to it."""
        assert say(self.port, request("GET", "/api/users/me/", token=self.token)).status == 200


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hostile")
    given = {
        "database_url": f"sqlite:///{folder / 'collegium.db'}",
        "mail_url": f"file:{folder / 'mail'}",
        "secret_key": KEY,
        "rate_limits": "false",
    }
    shutil.copy(sqlite_template, folder / "collegium.db")
    service = Service(folder, given)
    settings = load({f"COLLEGIUM_{name.upper()}": text for name, text in given.items()})
    database = Database(settings.database_url)
    world = World(database, settings, Vault(KEY))
    service.start()
    made = Running(service, world, "")
    yield made._replace(token=made.token_of(world.staff))
    database.close()
    service.stop()
    assert "Traceback" not in service.log.read_text()


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords quickly; for tests in which they are many, and not the point."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(crypto, "_HASHER", cheap)
    monkeypatch.setattr(crypto, "_NOBODY", cheap.hash("nobody"))
