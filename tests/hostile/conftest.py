"""A real server on a socket, and a world in its database."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.tokens import actions as token_actions
from tests.api.scene import scene
from tests.conftest import KEY
from tests.hostile.raw import request, say
from tests.matrix.scene import Scene as Tenants
from tests.support.serving import Service
from tests.support.world import Person, World

__all__ = ["scene"]


@pytest.fixture
def tenants(url: str) -> Iterator[Tenants]:
    """Two tenants with an object of every kind, and callers with every role."""
    tenants = Tenants(url)
    yield tenants
    tenants.close()


def memory_of(processes: list[psutil.Process]) -> int:
    """Return the bytes of memory that processes hold together."""
    return sum(process.memory_info().rss for process in processes)


class Running(NamedTuple):
    """A server, the world in its database, and a token of staff."""

    service: Service
    world: World
    token: str

    @property
    def port(self) -> int:
        return self.service.port

    @property
    def processes(self) -> list[psutil.Process]:
        """The server and its worker. Finding them reads every process of the machine."""
        assert self.service._process is not None
        server = psutil.Process(self.service._process.pid)
        return [server, *server.children(recursive=True)]

    @property
    def memory(self) -> int:
        """Bytes of memory of the server and its worker."""
        return memory_of(self.processes)

    def token_of(self, person: Person) -> str:
        """Create a token that the API cannot end."""
        with self.world.database.write() as tx:
            return token_actions.issue_personal(tx, self.world.vault, person.actor, "a test")[0]

    def check_alive(self) -> None:
        """Check that the server still answers."""
        assert say(self.port, request("GET", "/api/users/me/", token=self.token)).status == 200


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hostile")
    environment = {
        "database_url": f"sqlite:///{folder / 'collegium.db'}",
        "mail_url": f"file:{folder / 'mail'}",
        "secret_key": KEY,
        "rate_limits": "false",
    }
    shutil.copy(sqlite_template, folder / "collegium.db")
    service = Service(folder, environment, is_forked=False)  # memory is measured
    settings = load({f"COLLEGIUM_{name.upper()}": text for name, text in environment.items()})
    database = Database(settings.database_url)
    world = World(database, settings, Vault(KEY))
    service.start()
    running = Running(service, world, "")
    yield running._replace(token=running.token_of(world.staff))
    database.close()
    service.stop()
    assert "Traceback" not in service.log.read_text()
