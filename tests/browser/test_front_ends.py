"""Front ends on another origin call the APIs from a real browser.

They do it as the TypeScript clients of Waldur: the newer generation uses ``fetch`` with a
``Request``, the older one ``XMLHttpRequest``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page

from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.browser.conftest import PASSWORD, LiveService
from tests.conftest import KEY
from tests.support.remote import new_key
from tests.support.serving import Service
from tests.support.world import World

FETCH: Final = """async ([url, options]) => {
    const response = await fetch(new Request(url, {redirect: 'follow', ...options}));
    const text = await response.text();
    return {
        status: response.status,
        body: text ? JSON.parse(text) : null,
        headers: Object.fromEntries(response.headers),
    };
}"""
XHR: Final = """([url, options]) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(options.method || 'GET', url);
    for (const [name, value] of Object.entries(options.headers || {}))
        request.setRequestHeader(name, value);
    request.onload = () => resolve({
        status: request.status,
        body: request.responseText ? JSON.parse(request.responseText) : null,
        headers: Object.fromEntries(request.getAllResponseHeaders().trim().split('\\r\\n')
            .map((line) => [line.split(': ')[0].toLowerCase(), line.split(': ')[1]])),
    });
    request.onerror = () => reject(new Error('refused'));
    request.send(options.body || null);
})"""
IS_REFUSED: Final = """([url, options]) => fetch(url, options).then(() => false, () => true)"""


class _BlankPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Front end</title>")

    def log_message(self, *_parts: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def front_port() -> Iterator[int]:
    """Return the port of a server with the pages of a front end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _BlankPage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def site(
    chromium: Browser,
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    front_port: int,
) -> Iterator[LiveService]:
    """Return a service whose front end is served on another port."""
    del chromium
    folder = tmp_path_factory.mktemp("front_end")
    shutil.copy(sqlite_template, folder / "collegium.db")
    url = f"sqlite:///{folder / 'collegium.db'}"
    values = {"database_url": url, "secret_key": KEY}
    service = Service(folder, {**values, "homeport_url": f"http://127.0.0.1:{front_port}"})
    service.start("--no-worker")
    settings = load({f"COLLEGIUM_{name.upper()}": value for name, value in values.items()})
    with closing(Database(url)) as database:
        yield LiveService(service, World(database, settings, Vault(KEY)))
    service.stop()


@pytest.mark.parametrize("script", [FETCH, XHR], ids=["fetch", "XMLHttpRequest"])
def test_front_end_on_another_port_works_with_the_api(
    site: LiveService, open_window: Callable[..., Page], front_port: int, script: str
) -> None:
    ada, bob = (
        site.person(f"{name}{len(script)}", name.title(), "Lee", is_staff=name == "ada")
        for name in ("ada", "bob")
    )
    page = open_window(site.base, scripts=True)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{front_port}/")
    json = {"Content-Type": "application/json", "Accept": "application/json"}

    def call(path: str, method: str = "GET", **options: Any) -> Any:
        return page.evaluate(script, [f"{site.base}{path}", {"method": method, **options}])

    assert ["en", "English"] in call("/api/configuration/")["body"]["LANGUAGES"]
    body = f'{{"username": "{ada.actor.username}", "password": "{PASSWORD}"}}'
    token = call("/api-auth/password/", "POST", headers=json, body=body)["body"]["token"]
    signed = {**json, "Authorization": f"Token {token}"}
    people = call("/api/users/?page=1&page_size=1&field=uuid&field=url", headers=signed)
    assert set(people["body"][0]) == {"uuid", "url"}
    assert int(people["headers"]["x-result-count"]) >= 3
    assert 'rel="next"' in people["headers"]["link"]
    counted = call("/api/customers/", "HEAD", headers=signed)
    assert (counted["status"], counted["headers"]["x-result-count"]) == (200, "0")
    created = call("/api/customers/", "POST", headers=signed, body='{"name": "ACME"}')
    assert created["status"] == 201
    place = created["body"]["url"].removeprefix(site.base)
    changed = call(place, "PATCH", headers=signed, body='{"abbreviation": "AC"}')
    assert changed["body"]["abbreviation"] == "AC"
    assert call(place, "DELETE", headers=signed)["status"] == 204
    # Errors can be read, as forms show them.
    refused = call("/api/customers/", "POST", headers=signed, body="{}")
    assert (refused["status"], refused["body"]) == (400, {"name": ["This field is required."]})
    assert call("/api/users/me/", headers=json)["status"] == 401
    assert call(place, headers=signed)["status"] == 404
    as_bob = {**signed, "X-IMPERSONATED-USER-UUID": bob.uuid}
    seen = call("/api/users/me/", headers=as_bob)
    assert (seen["body"]["username"], seen["headers"]["x-impersonator-uuid"]) == (
        bob.actor.username,
        ada.uuid,
    )
    key = f'{{"name": "laptop", "public_key": "{new_key()}"}}'
    assert call("/api/keys/", "POST", headers=signed, body=key)["status"] == 201
    assert call("/api-auth/logout/", "POST", headers=signed)["status"] == 204
    assert call("/api/users/me/", headers=signed)["status"] == 401
    assert errors == []


def test_other_origins_read_nothing_and_pages_are_read_by_nobody(
    site: LiveService, open_window: Callable[..., Page], front_port: int
) -> None:
    page = open_window(site.base, scripts=True)
    site.person("ada", "Ada", "Lovelace")
    page.goto("/sign_in/")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{site.base}/")
    public = f"{site.base}/api/configuration/"
    page.goto(f"http://localhost:{front_port}/")
    assert page.evaluate(IS_REFUSED, [public, {}])
    page.goto(f"http://127.0.0.1:{front_port}/")
    assert not page.evaluate(IS_REFUSED, [public, {}])
    # The session of the pages is out of reach, although the browser has it.
    assert page.evaluate(IS_REFUSED, [public, {"credentials": "include"}])
    for path in ("/account/", "/schema/openapi.json"):
        for options in ({}, {"credentials": "include"}):
            assert page.evaluate(IS_REFUSED, [f"{site.base}{path}", options])
