"""Secrets are in no log, no error and no database."""

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
from tests.support.serving import TLS, Service
from tests.support.world import Person, World

PASSWORD = "a quiet harbour 41"
NEW = "purple-tram-lifts-9"
WRONG = "this is not the one 17"
LINK = re.compile(
    r"/(invitation|invitation_approve|invitation_reject|user_email_change"
    r"|user_email_change_cancel|password_reset|identity_link|unsubscribe)"
    r"/([\w.~-]{20,})/"
)


class Client:
    """Calls the running program like ``tests.support.site.Site``, and keeps the errors."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._client = self
        self.cookies: dict[str, str] = {}
        self.errors = ""

    def request(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Token {token}"
        response = httpx.request(
            method, self._service.base + path, headers=headers, timeout=30, verify=TLS, **options
        )
        if response.status_code >= 400:
            # A page repeats its own path.
            self.errors += response.text.replace(path, "") + repr(response.headers)
        return response


@pytest.fixture
def served(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(serving, "PATIENCE", 90)
    settings = {
        "database_url": url,
        "secret_key": KEY,
        "mail_url": f"file:{tmp_path / 'mail'}",
        "log_level": "debug",
        "only_staff_can_invite_users": "true",
    }
    service = Service(tmp_path, settings)
    try:
        service.start("--no-worker")
        service.start_worker()
        yield service
    finally:
        service.stop()


def mailed(service: Service, kind: str) -> list[str]:
    """Wait for an e-mail, and return the secrets in its links."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for path in (service.folder / "mail").glob("*.eml"):
            text = path.read_text().replace("=\n", "").replace("=3D", "=")
            if secrets := {match[2] for match in LINK.finditer(text) if match[1] == kind}:
                return sorted(secrets)
        time.sleep(0.05)
    raise AssertionError(f"no mail with a link to {kind}")


def encodings(secret: str) -> Iterator[str]:
    """Yield a secret as it is, encoded, and without dashes."""
    yield secret
    yield quote(secret, safe="")
    yield secret.encode().hex()
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield json.dumps(secret)[1:-1]
    yield secret.replace("-", "")


def dump(database: Database) -> str:
    """Return every value of the database, bytes in several encodings."""
    text = ""
    with database.read() as tx:
        for table in metadata.sorted_tables:
            for row in tx.fetch_all(Statement[Any](select(table))):
                text += repr(tuple(row))
                for value in row:
                    if isinstance(value, bytes):
                        text += value.hex() + base64.b64encode(value).decode()
                        text += value.decode("latin-1")
    return text


Secrets = dict[str, str]
"""Secrets by name."""


def programs(client: Client, ada: Person) -> Secrets:
    """Sign programs in by every method."""
    login = {"username": "ada", "password": PASSWORD}
    secrets = {"token": client.request("POST", "/api-auth/password/", json=login).json()["token"]}
    assert client.request("POST", "/api-auth/password/", json=login | {"password": WRONG}).is_error
    login_by_email = {"email": ada.email, "password": PASSWORD}
    pair = client.request("POST", "/api/auth/token/", json=login_by_email).json()
    secrets["access"], secrets["refresh"] = pair["access"], pair["refresh"]
    client.request("GET", "/api/private/users/group/", secrets["access"])
    for name in ("next", "none"):
        again = {"refresh": secrets["refresh"]}
        response = client.request("POST", "/api/auth/token/refresh/", json=again)
        if name == "next":
            secrets[name] = response.json()["access"]
        else:
            assert response.status_code == 401
    device = client.request("POST", "/api/auth/device/", json={}).json()
    secrets["device code"], secrets["user code"] = device["device_code"], device["user_code"]
    client.request("POST", "/api/auth/device/token/", json={"device_code": device["device_code"]})
    for path in ("/nowhere/", "/api/users/me/"):
        client.request("GET", path, secrets["token"] + "x")
    return secrets


def pages(client: Client) -> Secrets:
    """Sign in, create a token, and enable two-factor authentication."""
    browser = Browser(client)  # type: ignore[arg-type]  # the same interface
    browser.open("/sign_in/")
    assert browser.send("/sign_in/", username="ada", password=WRONG).status_code == 401
    assert browser.send("/sign_in/", username="ada", password=PASSWORD).status_code == 303
    secrets = {"session": browser.cookies["collegium_session"]}
    browser.open("/account/tokens/")
    secrets["csrf"] = browser.csrf
    page = browser.send("/account/tokens/", name="laptop")
    (secrets["personal"],) = set(re.findall(r"clg_[\w-]+", page.text))
    path = "/account/second_factor/"
    browser.open(path)
    browser.send(path, action="begin")
    match = re.search(r"\b(?:[A-Z2-7]{4} ?){8}\b", browser.open(path).text)
    assert match
    secrets["second factor"] = match[0].replace(" ", "")
    code = TOTP(secrets["second factor"]).now()
    shown = browser.send(path, action="confirm", code=code).text
    codes = re.findall(r'<li class="code">([^<]+)</li>', shown)
    assert len(codes) == RECOVERY_CODES, shown
    return secrets | {f"recovery code {number}": code for number, code in enumerate(codes)}


def mails(service: Service, client: Client, world: World, ada: Person, token: str) -> Secrets:
    """Follow every kind of link in e-mails, some of them twice."""
    owner = world.person("owner")
    project = world.project(world.organisation(owner=owner))
    secrets = {"owner": owner.token, "staff": world.staff.token}
    change = f"/api/users/{ada.uuid}/change_email/"
    client.request("POST", change, token, json={"email": "b@example.org"})
    secrets["address"] = mailed(service, "user_email_change")[0]
    secrets["cancel"] = mailed(service, "user_email_change_cancel")[0]
    client.request("GET", f"/user_email_change_cancel/{secrets['cancel']}/")
    for _ in range(2):
        client.request("POST", "/api/users/confirm_email/", json={"code": secrets["address"]})
    role = world.role("PROJECT.MEMBER").uuid
    invited = {"scope": project.path, "role": role, "email": "c@example.org"}
    response = client.request("POST", "/api/user-invitations/", owner.token, json=invited)
    assert response.status_code == 201
    secrets["approve"] = mailed(service, "invitation_approve")[0]
    secrets["reject"] = mailed(service, "invitation_reject")[0]
    for action in ("reject", "approve", "approve"):
        body = {"token": secrets["approve"]}
        client.request("POST", f"/api/user-invitations/{action}/", json=body)
    secrets["invitation"] = mailed(service, "invitation")[0]
    for page in ("invitation", "invitation_approve", "password_reset"):
        client.request("GET", f"/{page}/{secrets['invitation']}/")
    client.request("POST", f"/invitation/{secrets['invitation']}/decline/")
    visitor = Browser(client)  # type: ignore[arg-type]  # the same interface
    visitor.open("/forgotten_password/")
    visitor.send("/forgotten_password/", email=owner.email)
    secrets["reset"] = mailed(service, "password_reset")[0]
    link = f"/password_reset/{secrets['reset']}/"
    visitor.open(link)
    assert visitor.send(link, password=NEW, again=NEW).status_code == 303
    visitor.open(link)
    return secrets


def test_no_secret_is_in_the_log_an_error_or_the_database(
    served: Service, make_settings: Callable[..., Settings]
) -> None:
    database = Database(served.environment["COLLEGIUM_DATABASE_URL"])
    world = World(database, make_settings(), Vault(KEY))
    client = Client(served)
    ada = world.person("ada", password=hash_password(PASSWORD))
    secrets = {
        "password": PASSWORD,
        "wrong": WRONG,
        "new": NEW,
        "key": KEY,
        **programs(client, ada),
    }
    secrets |= mails(served, client, world, ada, secrets["token"]) | pages(client)
    assert len(secrets) > 25
    log, rows = served.log.read_text(), dump(database)
    database.close()
    if (file := served.folder / "collegium.db").exists():
        for part in served.folder.glob(f"{file.name}*"):
            rows += part.read_bytes().decode("latin-1")
    # Values that are not secret are found.
    assert "ada" in rows
    assert "/api-auth/password/" in log
    assert "Invalid username" in client.errors
    for name, secret in secrets.items():
        for text in encodings(secret):
            assert text not in log, f"{name} is in the log"
            assert text not in rows, f"{name} is in the database"
            assert text not in client.errors, f"{name} is in an error"
