"""A real browser on the real program: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from collegium.db.database import Database
from collegium.scopes.groups import actions as group_actions
from collegium.security.crypto import Vault, hash_password
from collegium.settings import load
from collegium.sign_in.devices import actions as device_actions
from tests.conftest import KEY
from tests.support.serving import Service
from tests.support.world import Person, World

NAMES = ("chromium", "chromium-browser", "google-chrome")
PASSWORD = "four winds over quiet water"
SCREENS = Path(__file__).parents[2] / "var" / "screens"


class House:
    """The running service, with a world in its database and its mails in a folder."""

    def __init__(self, service: Service, world: World) -> None:
        self.service = service
        self.base = service.base
        self.world = world
        self._password = hash_password(PASSWORD)

    def person(self, name: str, first: str, last: str, **values: object) -> Person:
        """Somebody who can sign in with the password of everybody here."""
        return self.world.person(
            name, first_name=first, last_name=last, password=self._password, **values
        )

    def group(self, lead: Person, name: str) -> int:
        with self.world.database.write() as tx:
            return group_actions.create(tx, lead.actor, name)

    def device(self, name: str) -> device_actions.PendingLogin:
        """A program that waits to be let in."""
        with self.world.database.write() as tx:
            return device_actions.begin(tx, self.world.vault, name)

    def fetch(self, waiting: device_actions.PendingLogin) -> str | None:
        """The token of a program that was let in."""
        with self.world.database.write() as tx:
            return device_actions.fetch(tx, self.world.vault, waiting.device_code)

    def mails(self, address: str) -> list[str]:
        """The mails to an address, as text, oldest first."""
        folder = self.service.folder / "mail"
        found = sorted(folder.glob("*.eml"), key=lambda path: path.stat().st_mtime)
        return [text for text in map(_read, found) if f"To: {address}" in text]

    def pay(self) -> None:
        """Send what is owed now."""
        done = self.service.run("worker", "--once")
        assert done.returncode == 0, done.stderr

    def link(self, address: str, path: str) -> str:
        """The address of a page in the latest mail to somebody."""
        self.pay()
        found = re.findall(rf"{re.escape(self.base)}/{path}/[^\s\"<>]+/", self.mails(address)[-1])
        assert found, f"no link to {path}"
        return str(found[0])


def _read(path: Path) -> str:
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    body = message.get_body(("plain",))
    assert body is not None
    return f"To: {message['To']}\n{body.get_content()}"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on this machine: script/test says how to get one")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"the Chromium on this machine does not start: {error}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def house(
    chromium: Browser, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(sqlite_template, folder / "collegium.db")
    given = {
        "database_url": f"sqlite:///{folder / 'collegium.db'}",
        "secret_key": KEY,
        "mail_url": f"file:{folder / 'mail'}",
        "site_name": "Lighthouse",
        "rate_limits": "false",
    }
    service = Service(folder, given)
    database = Database(given["database_url"])
    settings = load({f"COLLEGIUM_{name.upper()}": value for name, value in given.items()})
    # Nobody pays the outbox in the background: a test says when, and then reads the mail.
    service.start("--no-worker")
    yield House(service, World(database, settings, Vault(KEY)))
    service.stop()
    database.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open a window of its own for somebody; without JavaScript, unless it is asked for."""
    contexts = []

    def make(base: str, *, scripts: bool = False) -> Page:
        context = chromium.new_context(base_url=base, java_script_enabled=scripts)
        context.set_default_timeout(10_000)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
