"""Wrong values in every field, parameter and segment of every route, in all three dialects.

The cases are made from the tables of routes, so a new field is tried the day it is born.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest

from collegium.api.brainstem import bodies
from collegium.api.brainstem.routes import DESCRIBED
from collegium.api.request import Endpoint, Routes
from collegium.api.waldur.routes import ROUTES as WALDUR
from collegium.settings import Settings
from collegium.text.names import clean_name
from collegium.web.forms import Form
from collegium.web.page import Page
from collegium.web.routes import ROUTES as WEB
from tests.api.test_outsiders import Scene, body_for
from tests.groups.scene import Groups
from tests.hostile.values import INJECTIONS, SEGMENTS, STRANGE, TEXTS, VALUES, some
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

JSON = {"Content-Type": "application/json"}
CALCULATED = "454706269079"
"""What some of the injections come to, where they are run."""


@pytest.fixture
def open_site(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    quick_hashes: None,
) -> Site:
    """A site that lets one try without end, and hashes quickly."""
    return make_site(make_settings(rate_limits="false"))


def check(answer: httpx.Response, *about: object) -> None:
    """Hold an answer against what may never be: a fault of ours, or what was sent run as code."""

    def why() -> str:
        # Only where it is wanted: to write megabytes as Python would takes longer than an answer.
        return f"{about!r:.600}: {answer.status_code} {answer.text[:300]}"

    assert answer.status_code < 500, why()
    assert CALCULATED not in answer.text, why()
    if answer.headers.get("content-type", "").startswith("application/json") and answer.content:
        json.loads(answer.content)
    if "text/html" in answer.headers.get("content-type", ""):
        assert "<script" not in answer.text, why()
        assert "onerror='alert" not in answer.text, why()
    assert "a" not in answer.cookies, why()


def with_forms(routes: Routes) -> Iterator[tuple[str, str, Endpoint]]:
    for path, table in routes.items():
        for method, operation in table.items():
            if operation.body is not None:
                yield path, method, operation


def waldur_path(scene: Scene, path: str) -> str:
    if "{uuid}" in path:
        return path.replace("{uuid}", scene.named(path.split("/")[2]))
    return path.replace("{user_id}", "1")


def test_every_field_of_the_waldur_wire(open_site: Site, scene: Scene, world: World) -> None:
    tried = 0
    for path, method, operation in with_forms(WALDUR):
        sent = body_for(path, operation, scene, scene.stranger)
        for name in operation.body or ():
            for value in some(VALUES, 3, path, method, name):
                body = json.dumps({**sent, name: value}).encode()
                answer = open_site.request(
                    method, waldur_path(scene, path), world.staff, headers=JSON, content=body
                )
                check(answer, method, path, name, value)
                tried += 1
    assert tried > 800
    check(open_site.get("/api/users/?page_size=300", world.staff), "after")
    check(open_site.get("/api/events/?page_size=300", world.staff), "after")


BRAINSTEM: dict[type[bodies.Field], Any] = {
    bodies.Text: "x",
    bodies.Line: "x",
    bodies.Name: "x",
    bodies.Seconds: 60,
    bodies.Secret: "x",
    bodies.WebAddress: "https://example.org/",
    bodies.Projects: [1],
    bodies.People: {"somebody@example.org": {"is_manager": True}},
}


def test_every_field_of_the_brainstem_wire(open_site: Site, world: World) -> None:
    groups = Groups(world, open_site)
    owner, other = world.person("owner"), world.person("other")
    group = groups.found(owner)
    tried = 0
    for path, method, operation in with_forms(DESCRIBED):
        form = operation.body or {}
        sent = {name: BRAINSTEM[type(kind)] for name, kind in form.items()}
        at = path.replace("{id}", str(group if "/group/" in path else other.id))
        for name in form:
            for value in some(VALUES, 12, path, method, name):
                body = json.dumps({**sent, name: value}).encode()
                headers = {**JSON, "Authorization": f"Bearer {world.staff.token}"}
                check(
                    open_site.request(method, at, headers=headers, content=body),
                    method,
                    path,
                    name,
                    value,
                )
                tried += 1
        for value in some(TEXTS, 12, path, method):
            people = {str(value): {"is_owner": value}, "a@example.org": value}
            body = json.dumps({"users": people}).encode()
            check(open_site.request(method, at, headers=headers, content=body), method, path, value)
    assert tried > 150


@pytest.mark.parametrize("dialect", ["waldur", "brainstem"])
def test_every_parameter_of_every_list(
    open_site: Site, scene: Scene, world: World, dialect: str
) -> None:
    tried = 0
    for path, table in (WALDUR if dialect == "waldur" else DESCRIBED).items():
        operation = table.get("GET")
        if operation is None or not (operation.is_list or operation.filters):
            continue
        at = waldur_path(scene, path).replace("{id}", "1")
        names = [*(operation.filters or ()), "page", "page_size", "o", "field"]
        names += ["limit", "offset", "sort[]", "include[]", "filter{id.in}", "filter{x.y}"]
        for name in names:
            for value in some(TEXTS, 2, path, name):
                text = quote(str(value)[:3000], errors="surrogatepass")
                url = f"{at}?{quote(name)}={text}"
                who = {"Authorization": f"Token {world.staff.token}"}
                check(open_site.get(url, headers=who), path, name, value)
                tried += 1
    assert tried > 60


class Spy:
    """Notes which fields a page asks a form for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.words: dict[str, set[str]] = {}
        raw, many, choice = Form.raw, Form.many, Form.choice

        def noted_raw(form: Form, name: str) -> str:
            self.names.add(name)
            return raw(form, name)

        def noted_many(form: Form, name: str) -> list[str]:
            self.names.add(name)
            return many(form, name)

        def noted_choice(form: Form, name: str, *known: str) -> str:
            self.words.setdefault(name, set()).update(known)
            return choice(form, name, *known)

        monkeypatch.setattr(Form, "raw", noted_raw)
        monkeypatch.setattr(Form, "many", noted_many)
        monkeypatch.setattr(Form, "choice", noted_choice)


PLAIN = {
    "username": "someone",
    "email": "someone@example.org",
    "password": "purple-tram-lifts-9",
    "again": "purple-tram-lifts-9",
    "current": "purple-tram-lifts-9",
    "agrees": "yes",
    "addresses": "a@example.org",
    "kind": "one",
    "public_key": "ssh-ed25519 AAAA",
}


@lru_cache(maxsize=32)
def _quoted(text: str) -> str:
    """Encode a text for a form; the long ones are sent to field after field."""
    return quote_plus(text, "/:@,.[]{}", errors="surrogatepass")


class Poster:
    """Somebody's browser, that posts to one page whatever it is told."""

    def __init__(self, browser: Browser, at: str, csrf: str) -> None:
        self.browser = browser
        self.at = at
        self.csrf = csrf

    def post(self, **fields: str) -> None:
        content = "&".join(
            f"{quote_plus(name)}={_quoted(text)}"
            for name, text in {"csrf": self.csrf, **fields}.items()
        )
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self.browser.call("POST", self.at, content=content.encode(), headers=kind)
        check(answer, self.at, fields)

    def fields(self, spy: Spy) -> set[str]:
        """Find out which fields the page reads, by giving it what it asked for before."""
        known: set[str] = set()
        spy.words.clear()
        while True:
            spy.names.clear()
            self.post(**{name: PLAIN.get(name, "x") for name in known})
            for action in sorted(spy.words.get("action", ())):
                self.post(action=action)
            if spy.names - {"csrf"} <= known:
                return known
            known |= spy.names - {"csrf"}


def segments(scene: Scene, world: World, path: str) -> dict[str, str]:
    """What stands for the places of a page's path."""
    places = {"/organisation/": scene.organisation.uuid, "/project/": scene.project.uuid}
    base = "/".join(path.split("/")[:2]) + "/"
    return {
        "token": world.vault.sign("invitation", scene.invitation, 1),
        "code": "0" * 32,
        "uuid": places.get(base, scene.link),
        "number": "1",
        "one": scene.invitation,
    }


def test_every_field_of_every_page(
    open_site: Site, scene: Scene, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    tried = 0
    for path, table in WEB.items():
        operation = table.get("POST")
        if not isinstance(operation, Page):
            continue
        browser = Browser(open_site)
        if operation.public:
            browser.open("/sign_in/")
            secret = browser.cookies["collegium_visit"]
        else:
            browser.sign_in(world, scene.owner)
            secret = browser.cookies["collegium_session"]
        at = path.format_map(segments(scene, world, path))
        poster = Poster(browser, at, world.vault.derive_code("form", secret))
        known = sorted(poster.fields(spy))
        actions = sorted(spy.words.get("action", ())) or ["send"]
        for name in known:
            for number, text in enumerate(some(TEXTS, 4, path, name)):
                plain = {each: PLAIN.get(each, "x") for each in known}
                poster.post(**{**plain, "action": actions[number % len(actions)], name: text})
                tried += 1
    assert tried > 100


@pytest.mark.parametrize("dialect", ["waldur", "brainstem", "web"])
def test_every_segment_of_every_path(
    open_site: Site, scene: Scene, world: World, dialect: str
) -> None:
    routes = {"waldur": WALDUR, "brainstem": DESCRIBED, "web": WEB}[dialect]
    browser = Browser(open_site).sign_in(world, scene.owner)
    csrf = world.vault.derive_code("form", browser.cookies["collegium_session"])
    tried = 0
    for path, table in routes.items():
        if "{" not in path:
            continue
        for method in table:
            for segment in some(SEGMENTS, 4, path, method):
                at = re.sub(r"{\w+}", lambda _: segment, path)  # noqa: B023 - used at once
                if dialect == "web":
                    answer = browser.call(method, at, data={"csrf": csrf})
                else:
                    answer = open_site.request(method, at, world.staff)
                check(answer, method, at)
                assert answer.status_code >= 300 or method == "GET", (method, at)
                tried += 1
    assert tried > 40


def test_names_that_are_code_are_texts(open_site: Site, world: World) -> None:
    """What is taken is given back as it was, by the API, on pages, and in what lists find."""
    for number, text in enumerate([*INJECTIONS, *STRANGE]):
        person = {"first_name": text, "username": f"p{number}", "email": f"p{number}@example.org"}
        content = json.dumps(person).encode()
        answer = open_site.post("/api/users/", world.staff, headers=JSON, content=content)
        check(answer, text)
        if answer.status_code == 400:
            assert set(answer.json()) == {"first_name"}, text
            continue
        # But for what nobody sees: line ends are spaces, and what turns the direction is gone.
        kept = clean_name(text)
        assert answer.json()["first_name"] == kept
        place = world.organisation(kept[:100] or "x", owner=None)
        person_page = Browser(open_site).sign_in(world, world.staff)
        page = person_page.open(f"/organisation/{place.uuid}/")
        check(page, text)
        found = open_site.get("/api/customers/", world.staff, params={"name_exact": place.name})
        check(found, text)
