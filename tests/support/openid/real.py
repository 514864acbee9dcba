"""Two independent OpenID providers, started by the tests: ``oidc-provider`` and ``canaille``.

``script/test`` installs them beside the other environments. A test that uses one of them is skipped
where that was impossible.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from collegium.sign_in.providers.values import Provider, to_discovery_url
from tests.support.serving import PATIENCE, TLS, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT: Final = Path(__file__).parents[3]
HERE: Final = Path(__file__).parent
PASSWORD: Final = "correct horse battery staple"
PEOPLE: Final = {
    name.lower(): {
        "email": f"{name.lower()}@university.example",
        "email_verified": True,
        "given_name": name,
        "family_name": family_name,
        "name": f"{name} {family_name}",
    }
    for name, family_name in (("Ada", "Lovelace"), ("Ben", "Okri"), ("Cleo", "Ngata"))
}
"""Claims about everybody who can sign in, by their name at the provider."""

_PAGES_MAX: Final = 10


class RealProvider(ABC):
    """A provider in a process of its own. Everybody has the password ``PASSWORD``."""

    registration_path: str
    confirms_sign_out = False

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.host = f"127.0.0.1:{self.port}"
        self.discovery_url = to_discovery_url(self.issuer)
        self._process: subprocess.Popen[bytes] | None = None
        self.rotate_keys()

    @abstractmethod
    def command(self, configuration: str) -> list[str]:
        """Return the command that starts it.

        Args:
            configuration: ``accounts``, ``jwks`` and ``password`` as JSON.
        """

    def rotate_keys(self) -> None:
        """Have a new key from the next start on."""
        key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        self._jwks = {"keys": [key.as_dict(private=True)]}

    def start(self) -> None:
        """Start it, and wait until it answers. It knows no clients yet."""
        configuration = json.dumps({"accounts": PEOPLE, "jwks": self._jwks, "password": PASSWORD})
        self._process = subprocess.Popen(
            self.command(configuration), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # At the first start Python compiles its modules.
        end = time.monotonic() + 3 * PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if httpx.get(self.discovery_url, verify=TLS).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"no answer of {type(self).__name__}")

    def stop(self) -> None:
        """End it; it forgets its clients and sessions."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)

    def register(self, redirect_uri: str, **more: Any) -> tuple[str, str]:
        """Register a client; return its id and secret.

        Args:
            more: further client metadata (OpenID Connect Dynamic Client Registration 1.0), such as
                ``post_logout_redirect_uris`` and ``backchannel_logout_uri``.
        """
        metadata = {
            "client_name": "Collegium",
            "client_uri": redirect_uri.partition("/api-auth/")[0],
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "scope": "openid profile email",
            **more,
        }
        answer = httpx.post(self.issuer + self.registration_path, json=metadata, verify=TLS)
        assert answer.status_code == 201, answer.text
        return answer.json()["client_id"], answer.json()["client_secret"]

    def provider(self, client_id: str, client_secret: str) -> Provider:
        """Return it as our client needs it."""
        return Provider(
            name=type(self).__name__.lower(),
            discovery_url=self.discovery_url,
            issuer=self.issuer,
            client_id=client_id,
            client_secret=client_secret,
            internal_hosts=(self.host,),
        )

    def browse(self, url: str, name: str, browser: httpx.Client) -> str:
        """Open a URL here as somebody's browser: sign in, confirm, follow redirects.

        Returns:
            The URL of another host to which the browser is sent at last.
        """
        answer = browser.get(url)
        for _ in range(_PAGES_MAX):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["Location"])
                if urlsplit(target).netloc != self.host:
                    return target
                answer = browser.get(target)
            else:
                form = _Form(answer.text)
                target = urljoin(str(answer.url), form.action)
                answer = browser.request(form.method, target, data=form.filled(name))
        raise AssertionError(answer.text)

    def sign_in(self, url: str, name: str) -> str:
        """Sign somebody in at the authorization URL; return the URL that leads back."""
        with httpx.Client(verify=TLS) as browser:
            return self.browse(url, name, browser)

    def sign_out_window(self, page: Page) -> None:
        """Confirm to sign out, in a window without JavaScript that is sent here, if it is asked."""
        if self.confirms_sign_out:
            self.sign_in_window(page, "")

    def sign_in_window(self, page: Page, name: str) -> None:
        """Sign somebody in, in a window without JavaScript that is sent here, until it is back."""
        page.wait_for_url(f"{self.issuer}/**")
        for _ in range(_PAGES_MAX):
            if urlsplit(page.url).netloc != self.host:
                return
            for field, value in (("login", name), ("password", PASSWORD)):
                box = page.locator(f"input[name={field}]")
                if box.count():
                    box.fill(value)
            with page.expect_navigation():
                page.locator("[type=submit]").first.click()
        raise AssertionError(page.content())


class OidcProvider(RealProvider):
    """The certified provider ``oidc-provider``, which runs on Node."""

    registration_path = "/reg"
    confirms_sign_out = True
    folder = ROOT / ".venv-oidc-provider"

    @classmethod
    def why_missing(cls) -> str:
        """Return why it cannot be started; empty if it can."""
        if not (cls.folder / "node_modules" / "oidc-provider").is_dir():
            return "THE OPENID PROVIDER oidc-provider IS NOT INSTALLED: script/test does it"
        return "" if cls._node() else "THERE IS NO NODE: oidc-provider is not tested"

    @classmethod
    def _node(cls) -> str | None:
        own = ROOT / ".venv-node" / "bin" / "node"
        return str(own) if own.exists() else shutil.which("node")

    def command(self, configuration: str) -> list[str]:
        node = self._node()
        assert node
        script = HERE / "node" / "server.js"
        return [node, str(script), str(self.folder), str(self.port), configuration]


class Canaille(RealProvider):
    """The provider ``canaille``."""

    registration_path = "/oauth/register"
    python = ROOT / ".venv-canaille" / "bin" / "python"

    @classmethod
    def why_missing(cls) -> str:
        """Return why it cannot be started; empty if it can."""
        if cls.python.exists():
            return ""
        return "THE OPENID PROVIDER canaille IS NOT INSTALLED: script/test does it"

    def command(self, configuration: str) -> list[str]:
        script = HERE / "canaille_server.py"
        return [str(self.python), str(script), str(self.port), configuration]


def running(kind: type[OidcProvider | Canaille]) -> Iterator[RealProvider]:
    """Start a provider until the generator goes on; skip the test if it is not installed."""
    if reason := kind.why_missing():
        pytest.skip(reason)
    provider = kind()
    provider.start()
    yield provider
    provider.stop()


class _Form(HTMLParser):
    """The first form of a page: its fields as they are, and its first button."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action, self.method = "", "GET"
        self.fields: dict[str, str] = {}
        self._has_button = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        kind = given.get("type", "")
        if tag == "form":
            self.action, self.method = given.get("action", ""), given.get("method", "GET").upper()
        elif kind == "submit":
            if given.get("name") and not self._has_button:
                self.fields[given["name"]] = given.get("value", "")
            self._has_button = True
        elif tag == "input" and given.get("name") and kind != "checkbox":
            self.fields[given["name"]] = given.get("value", "")

    def filled(self, name: str) -> dict[str, str]:
        """Return the fields with the name and the password, if the form asks for them."""
        values = {"login": name, "password": PASSWORD}
        return self.fields | {field: values[field] for field in values if field in self.fields}
