"""A real browser on the real program: the system's Chromium, driven by Playwright."""

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


class LiveService:
    """The running service, its database, and the folder of its e-mails."""

    def __init__(self, service: Service, world: World) -> None:
        self.service = service
        self.base = service.base
        self.world = world
        self._password = hash_password(PASSWORD)

    def person(self, name: str, first: str, last: str, **values: object) -> Person:
        """Create an account with the common password."""
        names = {"first_name": first, "last_name": last, "password": self._password}
        return self.world.person(name, **names, **values)

    def group(self, lead: Person, name: str) -> int:
        with self.world.database.write() as tx:
            return group_actions.create(tx, lead.actor, name)

    def device(self, name: str) -> device_actions.PendingSignIn:
        """Start the sign-in of a program."""
        with self.world.database.write() as tx:
            return device_actions.begin(tx, self.world.vault, name)

    def fetch(self, login: device_actions.PendingSignIn) -> str | None:
        """Return the token of an approved program."""
        with self.world.database.write() as tx:
            return device_actions.fetch(tx, self.world.vault, login.device_code)

    def mails(self, address: str) -> list[str]:
        """Return the e-mails to an address as text, oldest first."""
        folder = self.service.folder / "mail"
        files = sorted(folder.glob("*.eml"), key=lambda path: path.stat().st_mtime)
        return [text for text in map(_read, files) if f"To: {address}" in text]

    def send_mails(self) -> None:
        """Send all queued e-mails."""
        done = self.service.run("worker", "--once")
        assert done.returncode == 0, done.stderr

    def link(self, address: str, path: str) -> str:
        """Return the link to a page in the latest e-mail to an address."""
        self.send_mails()
        links = re.findall(rf"{re.escape(self.base)}/{path}/[^\s\"<>]+/", self.mails(address)[-1])
        assert links, f"no link to {path}"
        return str(links[0])


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
def live(
    chromium: Browser, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("live")
    shutil.copy(sqlite_template, folder / "collegium.db")
    values = {
        "database_url": f"sqlite:///{folder / 'collegium.db'}",
        "secret_key": KEY,
        "mail_url": f"file:{folder / 'mail'}",
        "site_name": "Lighthouse",
        "rate_limits": "false",
        # The OpenID providers of the tests.
        "outgoing_internal_hosts": "127.0.0.1",
    }
    service = Service(folder, values)
    database = Database(values["database_url"])
    settings = load({f"COLLEGIUM_{name.upper()}": value for name, value in values.items()})
    # Without a worker: the tests send the mails.
    service.start("--no-worker")
    yield LiveService(service, World(database, settings, Vault(KEY)))
    service.stop()
    database.close()


@pytest.fixture
def open_window(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a new window, without JavaScript by default."""
    contexts = []

    def make(base: str, *, scripts: bool = False) -> Page:
        context = chromium.new_context(base_url=base, java_script_enabled=scripts)
        context.set_default_timeout(10_000)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
