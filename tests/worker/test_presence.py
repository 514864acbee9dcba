"""A process is killed while it sends a mail; another process sends it."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.support.mailbox import Mailbox
from tests.support.serving import Service, free_port


class HangingServer:
    """A mail server that accepts connections and never responds."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._server = socket.create_server(("127.0.0.1", port))
        self.connections: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.connections.append(self._server.accept()[0])

    def wait(self) -> None:
        end = time.monotonic() + 20
        while not self.connections:
            assert time.monotonic() < end
            time.sleep(0.02)

    def close(self) -> None:
        with suppress(OSError):  # already closed
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def sending(tmp_path: Path, sqlite_template: Path) -> Iterator[tuple[Service, HangingServer]]:
    """Start a program on SQLite that is sending a mail to a hanging server at the port."""
    port = free_port()
    settings = {
        "database_url": f"sqlite:///{tmp_path / 'collegium.db'}",
        "mail_url": f"smtp://127.0.0.1:{port}",
        "secret_key": "a key for tests, long enough to pass for one",
    }
    shutil.copy(sqlite_template, tmp_path / "collegium.db")
    service = Service(tmp_path, settings)
    hanging = HangingServer(port)
    try:
        service.start()
        invite(service, service.staff())
        hanging.wait()
        yield service, hanging
    finally:
        hanging.close()
        service.stop()


def invite(service: Service, token: str) -> None:
    organisation = service.call("POST", "/api/customers/", token, json={"name": "Acme"}).json()
    roles = service.call("GET", "/api/roles/?name=CUSTOMER.OWNER", token).json()
    (role,) = [role["uuid"] for role in roles if role["name"] == "CUSTOMER.OWNER"]
    body = {"scope": organisation["url"], "role": role, "email": "new@example.org"}
    response = service.call("POST", "/api/user-invitations/", token, json=body)
    assert response.status_code == 201, response.text


@pytest.mark.parametrize("by", ["start", "worker --once"])
def test_mail_that_was_being_sent_at_a_crash_is_sent_at_the_next_start(
    sending: tuple[Service, HangingServer], by: str
) -> None:
    service, hanging = sending
    service.kill()
    hanging.close()
    box = Mailbox(hanging.port)
    with box.listening():
        if by == "start":
            service.start()
            box.wait(lambda _: bool(box.to("new@example.org")), seconds=15)
        else:
            assert service.run("worker", "--once").returncode == 0
        assert len(box.to("new@example.org")) == 1


def test_mail_that_a_running_process_is_sending_is_not_sent_twice(
    sending: tuple[Service, HangingServer],
) -> None:
    service, hanging = sending
    connections = len(hanging.connections)
    # A second sender would connect at once.
    assert service.run("worker", "--once").returncode == 0
    assert len(hanging.connections) == connections
