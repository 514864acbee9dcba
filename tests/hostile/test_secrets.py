"""A secret is told to whom it belongs, and to nobody else: no log, no error, no stolen database."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pyotp.totp import TOTP
from sqlalchemy import select

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import metadata
from collegium.security.crypto import Vault, hash_password
from collegium.settings import Settings
from collegium.sign_in.two_factor.rules import RECOVERY_CODES
from tests.conftest import KEY
from tests.support import serving
from tests.support.browser import Browser
from tests.support.serving import Service
from tests.support.world import Person, World

PASSWORD = "a quiet harbour 41"
NEW = "purple-tram-lifts-9"
WRONG = "this is not the one 17"
LINK = re.compile(
    r"/(invitation|invitation_approve|invitation_reject|user_email_change"
    r"|user_email_change_cancel|password_reset)"
    r"/([\w.~-]{20,})/"
)


class Wire:
    """The running program, asked as ``tests.support.site.Site`` is; keeps what it answered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._client = self
        self.cookies: dict[str, str] = {}
        self.errors = ""

    def request(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Token {token}"
        answer = httpx.request(
            method, self._service.base + path, headers=headers, timeout=30, **options
        )
        if answer.status_code >= 400:
            # A page says back the address that it was asked by, to be sent its own form.
            self.errors += answer.text.replace(path, "") + repr(answer.headers)
        return answer


@pytest.fixture
def served(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(serving, "PATIENCE", 90)
    service = Service(
        tmp_path,
        {
            "database_url": url,
            "secret_key": KEY,
            "mail_url": f"file:{tmp_path / 'mail'}",
            "log_level": "debug",
            "only_staff_can_invite_users": "true",
        },
    )
    try:
        service.start("--no-worker")
        service.start_post()
        yield service
    finally:
        service.stop()


def mailed(service: Service, kind: str) -> list[str]:
    """Wait for a mail, and give the secrets of its links."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for path in (service.folder / "mail").glob("*.eml"):
            text = path.read_text().replace("=\n", "").replace("=3D", "=")
            if found := [one[2] for one in LINK.finditer(text) if one[1] == kind]:
                return sorted(set(found))
        time.sleep(0.05)
    raise AssertionError(f"no mail with a link to {kind}")


def spelled(secret: str) -> Iterator[str]:
    """How a secret may be written: as it is, coded, and without what people leave out."""
    yield secret
    yield quote(secret, safe="")
    yield secret.encode().hex()
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield json.dumps(secret)[1:-1]
    yield secret.replace("-", "")


def dump(database: Database) -> str:
    """Everything that a stolen database tells, in the spellings that a thief would try."""
    text = ""
    with database.read() as tx:
        for table in metadata.sorted_tables:
            for row in tx.fetch_all(Statement(select(table))):
                text += repr(tuple(row))
                for value in row:
                    if isinstance(value, bytes):
                        text += value.hex() + base64.b64encode(value).decode()
                        text += value.decode("latin-1")
    return text


Held = dict[str, str]
"""What each secret is called, and the secret."""


def programs(wire: Wire, ada: Person) -> Held:
    """Let programs in by every way there is."""
    login = {"username": "ada", "password": PASSWORD}
    held = {"token": wire.request("POST", "/api-auth/password/", json=login).json()["token"]}
    assert wire.request("POST", "/api-auth/password/", json=login | {"password": WRONG}).is_error
    brief = {"email": ada.email, "password": PASSWORD}
    pair = wire.request("POST", "/api/auth/token/", json=brief).json()
    held["access"], held["refresh"] = pair["access"], pair["refresh"]
    wire.request("GET", "/api/private/users/group/", held["access"])
    for name in ("next", "none"):
        again = {"refresh": held["refresh"]}
        answer = wire.request("POST", "/api/auth/token/refresh/", json=again)
        if name == "next":
            held[name] = answer.json()["access"]
        else:
            assert answer.status_code == 401
    device = wire.request("POST", "/api/auth/device/", json={}).json()
    held["device code"], held["user code"] = device["device_code"], device["user_code"]
    wire.request("POST", "/api/auth/device/token/", json={"device_code": device["device_code"]})
    for path in ("/nowhere/", "/api/users/me/"):
        wire.request("GET", path, held["token"] + "x")
    return held


def pages(wire: Wire) -> Held:
    """Sign in, make a token, and turn a second factor on."""
    browser = Browser(wire)  # type: ignore[arg-type]  # asked in the same way
    browser.open("/sign_in/")
    assert browser.send("/sign_in/", username="ada", password=WRONG).status_code == 401
    assert browser.send("/sign_in/", username="ada", password=PASSWORD).status_code == 303
    held = {"session": browser.cookies["collegium_session"]}
    browser.open("/account/tokens/")
    held["csrf"] = browser.csrf
    (held["personal"],) = set(
        re.findall(r"clg_[\w-]+", browser.send("/account/tokens/", name="laptop").text)
    )
    here = "/account/second_factor/"
    browser.open(here)
    browser.send(here, action="begin", password=PASSWORD)
    found = re.search(r"\b(?:[A-Z2-7]{4} ?){8}\b", browser.open(here).text)
    assert found
    held["second factor"] = found[0].replace(" ", "")
    code = TOTP(held["second factor"]).now()
    shown = browser.send(here, action="confirm", code=code).text
    codes = re.findall(r'<li class="code">([^<]+)</li>', shown)
    assert len(codes) == RECOVERY_CODES, shown
    return held | {f"recovery code {number}": code for number, code in enumerate(codes)}


def mails(service: Service, wire: Wire, world: World, ada: Person, token: str) -> Held:
    """Follow every kind of link there is in a mail, some of them twice."""
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    held = {"owner": owner.token, "staff": world.staff.token}
    change = f"/api/users/{ada.uuid}/change_email/"
    wire.request("POST", change, token, json={"email": "b@example.org"})
    held["address"] = mailed(service, "user_email_change")[0]
    held["cancel"] = mailed(service, "user_email_change_cancel")[0]
    wire.request("GET", f"/user_email_change_cancel/{held['cancel']}/")
    for _ in range(2):
        wire.request("POST", "/api/users/confirm_email/", json={"code": held["address"]})
    role = world.role("PROJECT.MEMBER").uuid
    invited = {"scope": place.path, "role": role, "email": "c@example.org"}
    answer = wire.request("POST", "/api/user-invitations/", owner.token, json=invited)
    assert answer.status_code == 201
    held["approve"] = mailed(service, "invitation_approve")[0]
    held["reject"] = mailed(service, "invitation_reject")[0]
    for word in ("reject", "approve", "approve"):
        sent = {"token": held["approve"]}
        wire.request("POST", f"/api/user-invitations/{word}/", json=sent)
    held["invitation"] = mailed(service, "invitation")[0]
    for each in ("invitation", "invitation_approve", "password_reset"):
        wire.request("GET", f"/{each}/{held['invitation']}/")
    wire.request("POST", f"/invitation/{held['invitation']}/decline/")
    visitor = Browser(wire)  # type: ignore[arg-type]  # asked in the same way
    visitor.open("/forgotten_password/")
    visitor.send("/forgotten_password/", email=owner.email)
    held["reset"] = mailed(service, "password_reset")[0]
    link = f"/password_reset/{held['reset']}/"
    visitor.open(link)
    assert visitor.send(link, password=NEW, again=NEW).status_code == 303
    visitor.open(link)
    return held


def test_no_secret_is_in_the_log_in_an_error_or_in_the_database(
    served: Service, make_settings: Callable[..., Settings]
) -> None:
    database = Database(served.environment["COLLEGIUM_DATABASE_URL"])
    world = World(database, make_settings(), Vault(KEY))
    wire = Wire(served)
    ada = world.person("ada", password=hash_password(PASSWORD))
    held = {"password": PASSWORD, "wrong": WRONG, "new": NEW, "key": KEY, **programs(wire, ada)}
    held |= mails(served, wire, world, ada, held["token"]) | pages(wire)
    assert len(held) > 25
    log, rows = served.log.read_text(), dump(database)
    database.close()
    if (file := served.folder / "collegium.db").exists():
        for each in served.folder.glob(f"{file.name}*"):
            rows += each.read_bytes().decode("latin-1")
    # What is looked for could be found: what is no secret is there.
    assert "ada" in rows
    assert "/api-auth/password/" in log
    assert "Invalid username" in wire.errors
    for name, secret in held.items():
        for text in spelled(secret):
            assert text not in log, f"{name} is in the log"
            assert text not in rows, f"{name} is in the database"
            assert text not in wire.errors, f"{name} is in an error"
