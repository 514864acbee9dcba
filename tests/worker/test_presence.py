"""A process that delivers is killed in the middle of a mail: who goes on, and when."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.support.mailbox import Mailbox
from tests.support.serving import Service, free_port


class Hanging:
    """A mail server that takes connections and says nothing."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self.lines: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                self.lines.append(self._server.accept()[0])
        except OSError:
            pass

    def wait(self) -> None:
        end = time.monotonic() + 20
        while not self.lines:
            assert time.monotonic() < end
            time.sleep(0.02)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for line in self.lines:
            line.close()


@pytest.fixture
def service(tmp_path: Path, sqlite_template: Path) -> Iterator[tuple[Service, int]]:
    """A service on SQLite, and the port where it looks for its mail server."""
    port = free_port()
    given = {
        "database_url": f"sqlite:///{tmp_path / 'collegium.db'}",
        "mail_url": f"smtp://127.0.0.1:{port}",
        "secret_key": "a key for tests, long enough to pass for one",
    }
    shutil.copy(sqlite_template, tmp_path / "collegium.db")
    service = Service(tmp_path, given)
    yield service, port
    service.stop()


def invite(service: Service, token: str) -> None:
    """Have the service owe a mail to new@example.org."""
    place = service.call("POST", "/api/customers/", token, json={"name": "Acme"}).json()
    roles = service.call("GET", "/api/roles/?name=CUSTOMER.OWNER", token).json()
    (role,) = [one["uuid"] for one in roles if one["name"] == "CUSTOMER.OWNER"]
    body = {"scope": place["url"], "role": role, "email": "new@example.org"}
    answer = service.call("POST", "/api/user-invitations/", token, json=body)
    assert answer.status_code == 201, answer.text


def test_a_mail_that_was_being_sent_at_a_crash_goes_out_at_the_next_start(
    service: tuple[Service, int],
) -> None:
    running, port = service
    hanging = Hanging(port)
    running.start()
    token = running.staff()
    invite(running, token)
    hanging.wait()
    running.kill()
    hanging.close()
    box = Mailbox(port)
    with box.listening():
        running.start()
        box.wait(lambda _: bool(box.to("new@example.org")), seconds=15)
        assert len(box.to("new@example.org")) == 1


def test_a_single_run_sends_what_a_killed_process_was_sending(service: tuple[Service, int]) -> None:
    running, port = service
    hanging = Hanging(port)
    running.start()
    invite(running, running.staff())
    hanging.wait()
    running.kill()
    hanging.close()
    box = Mailbox(port)
    with box.listening():
        assert running.run("worker", "--once").returncode == 0
    assert len(box.to("new@example.org")) == 1


def test_what_a_living_process_is_sending_no_other_process_sends(
    service: tuple[Service, int],
) -> None:
    running, port = service
    hanging = Hanging(port)
    running.start()
    invite(running, running.staff())
    hanging.wait()
    said = len(hanging.lines)
    # It would be told at once that somebody is there, and keeps waiting for the server.
    assert running.run("worker", "--once").returncode == 0
    assert len(hanging.lines) == said
    hanging.close()
