"""Forms and parameters of every page, sent by callers who may use it.

The pages and their callers are the rows of the rights matrix. A page that is not in it fails there.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote_plus

import httpx
import pytest

from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page
from tests.matrix import requests
from tests.matrix.rows import ROWS, Row
from tests.matrix.scene import COLUMNS, PASSWORD, Scene

VALID: Final = {
    "username": "someone",
    "email": "someone@example.org",
    **dict.fromkeys(("password", "again"), "purple-tram-lifts-9"),
    "current": PASSWORD,
    **dict.fromkeys(("agrees", "own_address"), "yes"),
    "addresses": "a@example.org",
    "kind": "one",
    "public_key": "ssh-ed25519 AAAA",
    "q": "x",
}
_FORM: Final = re.compile(r'(?s)<form method="post"([^>]*)>(.*?)</form>')
_FIELD: Final = re.compile(r'<(?:input|select|textarea|button)\b[^>]*\bname="(\w+)"')
_FILES: Final = frozenset({"picture"})


class Spy:
    """Records the fields and parameters that pages read, and the choices of each field."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.parameters: set[str] = set()
        self.choices: dict[str, set[str]] = {}
        raw, many, choice = Form.raw, Form.many, Form.choice
        query_value = BrowserRequest.query_value

        def spy_raw(form: Form, name: str) -> str:
            self.names.add(name)
            return raw(form, name)

        def spy_many(form: Form, name: str) -> list[str]:
            self.names.add(name)
            return many(form, name)

        def spy_choice(form: Form, name: str, *known: str) -> str:
            self.choices.setdefault(name, set()).update(known)
            return choice(form, name, *known)

        def spy_query_value(browser: BrowserRequest, name: str) -> str:
            self.parameters.add(name)
            return query_value(browser, name)

        monkeypatch.setattr(Form, "raw", spy_raw)
        monkeypatch.setattr(Form, "many", spy_many)
        monkeypatch.setattr(Form, "choice", spy_choice)
        monkeypatch.setattr(BrowserRequest, "query_value", spy_query_value)

    @property
    def actions(self) -> list[str]:
        return sorted(self.choices.get("action", ())) or ["send"]


@lru_cache(maxsize=32)
def _quoted(text: str) -> str:
    """Encode a text for a form; long texts are sent for many fields."""
    return quote_plus(text, "/:@,.[]{}", errors="surrogatepass")


class Visitor:
    """A caller who may use a page. What a request changes is restored."""

    def __init__(
        self, scene: Scene, row: Row, name: str, check: Callable[..., None] = lambda *_: None
    ) -> None:
        self.scene, self.row, self.check = scene, row, check
        account = scene.caller(name, in_group=requests.is_of_group(row.path))
        mine = requests.own(scene, row.path, account) if row.own else None
        self.path = requests.fill(scene, row.path, scene.tenants[0], mine)
        self.cookies, self.csrf = scene.cookies(account)
        if account is None:
            # The password was right, and the code is asked for.
            now, owner = int(datetime.now(UTC).timestamp()), scene.tenants[0].tree["owner"]
            self.cookies["collegium_half"] = scene.vault.sign("half", now, owner.uuid, 0)
        self.cookie = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        form = requests.FORMS.get(f"{row}".partition(" ")[2], requests.FORMS.get(row.path))
        self.form: dict[str, str] = form(scene, scene.tenants[0]) if form else {}

    def _send(self, method: str, **options: Any) -> httpx.Response:
        headers = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        response = self.scene.site.request(method, self.path, headers=headers, **options)
        if self.scene.backup.touched():
            self.scene.restore()
        return response

    def post(self, **fields: str) -> httpx.Response:
        content = "&".join(
            f"{quote_plus(name)}={_quoted(text)}"
            for name, text in {"csrf": self.csrf, **fields}.items()
        )
        response = self._send("POST", content=content.encode())
        self.check(response, self.path, fields)
        return response

    def valid(self, names: set[str]) -> dict[str, str]:
        """Return a form with these fields that the page accepts as far as possible."""
        return {name: VALID.get(name, "x") for name in names - {"csrf"}} | self.form

    def fields(self, spy: Spy) -> set[str]:
        """Return the fields that the page reads; send those known so far until none is new."""
        known = set(self.form)
        spy.choices.clear()
        while True:
            spy.names.clear()
            self.post(**self.valid(known))
            for action in sorted(spy.choices.get("action", ())):
                self.post(action=action)
                self.post(**{**self.valid(known), "action": action})
            if spy.names <= known:
                return known
            known |= spy.names

    def shown_fields(self) -> set[str]:
        """Return the fields of the forms that the page shows and that are sent to itself."""
        html = self._send("GET").text
        names = {
            name
            for attributes, content in _FORM.findall(html)
            if "action=" not in attributes
            for name in _FIELD.findall(content)
        }
        return names - _FILES

    def parameters(self, spy: Spy) -> set[str]:
        """Return the query parameters that the page reads."""
        spy.parameters.clear()
        self._send("GET")
        self._send("GET", params=dict.fromkeys(spy.parameters, "x"))
        return spy.parameters.copy()


def visitors(
    scene: Scene, method: str, check: Callable[..., None] = lambda *_: None
) -> Iterator[Visitor]:
    """Yield for each page the first caller who may use it, and staff if they may.

    Staff see fields that others do not, and others see fields that staff do not.
    """
    for row in ROWS:
        if row.protocol == "web" and row.method == method and isinstance(row.operation, Page):
            allowed = [name for name in COLUMNS if row.cells[name][0] in "+.!"]
            for name in dict.fromkeys([allowed[0], allowed[-1]] if allowed else ["nobody"]):
                yield Visitor(scene, row, name, check)


def forms(
    scene: Scene, spy: Spy, check: Callable[..., None]
) -> Iterator[tuple[Visitor, dict[str, str], list[str]]]:
    """Yield a visitor of each form, its valid fields, and the names that no earlier visitor had.

    A field is what the page reads, or shows in a form.
    """
    earlier: dict[str, set[str]] = {}
    has_get = {row.path for row in ROWS if row.protocol == "web" and row.method == "GET"}
    for visitor in visitors(scene, "POST", check):
        fields = visitor.fields(spy)
        if visitor.row.path in has_get:
            fields |= visitor.shown_fields()
        known = earlier.setdefault(visitor.row.path, set())
        yield visitor, visitor.valid(fields), sorted(fields - known)
        known |= fields
