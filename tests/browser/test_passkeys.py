"""Passkeys in a real browser, with the virtual authenticator of Chromium."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.browser.conftest import LiveService
from tests.browser.test_every_page import axe, violations
from tests.browser.test_tasks import expect, sign_in
from tests.conftest import KEY
from tests.sign_in.test_confirmation import leave_alone
from tests.support.serving import Service
from tests.support.world import World

__all__ = ["axe"]


@pytest.fixture
def site(chromium: Browser, sqlite_template: Path, tmp_path: Path) -> Iterator[LiveService]:
    """Return a running service whose address is a domain."""
    del chromium
    shutil.copy(sqlite_template, tmp_path / "collegium.db")
    url = f"sqlite:///{tmp_path / 'collegium.db'}"
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    service.environment["COLLEGIUM_BASE_URL"] = f"http://localhost:{service.port}"
    service.environment["COLLEGIUM_ALLOWED_HOSTS"] = "127.0.0.1"
    service.start("--no-worker")
    database = Database(url)
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    yield LiveService(service, World(database, settings, Vault(KEY)))
    service.stop()
    database.close()


def add_authenticator(page: Page) -> None:
    """Let the window have a device that verifies its owner."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_person_adds_a_passkey_signs_in_with_it_and_confirms_with_it(
    site: LiveService, open_window: Callable[..., Page], axe: str
) -> None:
    kay = site.person("kay", "Kay", "Key")
    page = open_window(f"http://localhost:{site.service.port}", scripts=True)
    add_authenticator(page)
    sign_in(page, "kay")
    page.get_by_role("link", name="My account").click()
    page.get_by_role("link", name="Security").click()
    page.get_by_role("link", name="Passkeys").click()
    assert not violations(page, axe)
    page.get_by_label("Name").fill("my laptop")
    page.get_by_role("button", name="Add passkey").click()
    page.wait_for_selector(".codes li")
    expect(page, "Keep these recovery codes", "Two-factor authentication is on")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"http://localhost:{site.service.port}/")
    expect(page, "Waiting for you")
    page.get_by_role("link", name="My account").click()
    page.get_by_role("link", name="Security").click()
    page.get_by_role("link", name="Passkeys").click()
    expect(page, "my laptop")
    assert not violations(page, axe)
    page.get_by_role("button", name="Sign out").click()
    # After the password.
    sign_in(page, "kay")
    expect(page, "One step is left")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"http://localhost:{site.service.port}/")
    # Before a sensitive change, a while after the sign-in.
    leave_alone(site.world, kay)
    page.goto("/account/tokens/")
    page.get_by_label("Name").fill("backup script")
    page.get_by_role("button", name="Create access token").click()
    expect(page, "Confirm that it is you")
    assert not violations(page, axe)
    page.get_by_role("button", name="Confirm with a passkey").click()
    page.wait_for_selector(".secret")
    expect(page, "backup script")


def test_page_without_scripts_says_what_a_passkey_needs(
    site: LiveService, open_window: Callable[..., Page]
) -> None:
    page = open_window(f"http://localhost:{site.service.port}")
    page.goto("/sign_in/")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page, "Passkeys need JavaScript")
    page.get_by_role("link", name="Sign in another way").click()
    expect(page, "I forgot my password")
