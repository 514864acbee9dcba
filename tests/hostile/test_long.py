"""Very long values in every field, parameter, segment and header: none takes long to refuse.

What is held is processor time, which a busy machine does not change, of the thread that answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from collegium.api.brainstem.routes import DESCRIBED
from collegium.api.request import BODY_MAX
from collegium.api.waldur.routes import ROUTES as WALDUR
from collegium.web.browser_request import BrowserRequest
from collegium.web.page import Page
from collegium.web.routes import ROUTES as WEB
from tests.api.test_outsiders import Scene, body_for
from tests.groups.scene import Groups
from tests.hostile.test_values import (
    BRAINSTEM,
    JSON,
    PLAIN,
    Poster,
    Spy,
    check,
    open_site,
    segments,
    waldur_path,
    with_forms,
)
from tests.hostile.values import IS_LONG, some
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

__all__ = ["open_site"]

pytestmark = [
    pytest.mark.parametrize("url", ["sqlite"], indirect=True),
    pytest.mark.timeout(600),
]

SECONDS: Final = 0.2
SIGNS: Final = ["a", ":", "@", ".", " ", "7", ","]
PIECES: Final = [
    ":1 ",
    "a@",
    "@a.",
    "a.",
    ", ",
    "[",
    "{",
    "%",
    "%41",
    "\\",
    '"',
    "\u0301\u0316",
    "1-",
]
"""What a pattern, a parser or a table of letters could stumble over, again and again."""

REPEATED: Final = [*SIGNS, *PIECES] if IS_LONG else SIGNS
URL_MAX: Final = 65_000
"""Bytes of the longest target that the server takes."""

URL_READ: Final = 32_500
"""Bytes of the longest target that is read."""

HEADER_MAX: Final = 400_000
"""Bytes of the longest header that the server takes."""

HEADER_READ: Final = 8_000
"""Bytes of the longest header that is read."""


class Slow(NamedTuple):
    """A request that took longer than it may, in milliseconds."""

    took: int
    about: tuple[Any, ...]


class Watch:
    """Holds each answer against the clock, and tells all that were slow together."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.slow: list[Slow] = []
        self.tried = 0

    def judge(self, *about: Any, again: Any) -> None:
        """Judge the last answer; one that seems slow is asked for again, for what it warmed up."""
        self.tried += 1
        took = self.site.took
        if took > SECONDS:
            again()
            took = min(took, self.site.took)
        if took > SECONDS:
            self.slow.append(Slow(round(took * 1000), about))

    def done(self, least: int) -> None:
        assert not self.slow, f"{len(self.slow)} slow: {sorted(self.slow, reverse=True)[:40]}"
        assert self.tried >= least


def texts(room: int) -> Iterator[tuple[str, str]]:
    """Each piece, and a text of it that fills a body.

    Args:
        room: bytes that the rest of the body takes.
    """
    for piece in REPEATED:
        yield piece, piece * ((BODY_MAX - room) // len(piece.encode()))


def targets() -> Iterator[tuple[str, str]]:
    """Each piece, and a text of it that fits into a path or a query that is read."""
    for piece in REPEATED:
        yield piece, piece * (URL_READ // len(piece.encode()))


def test_no_field_of_the_waldur_wire_takes_long(
    open_site: Site, scene: Scene, world: World
) -> None:
    watch = Watch(open_site)
    for path, method, operation in with_forms(WALDUR):
        sent = body_for(path, operation, scene, scene.stranger)
        at = waldur_path(scene, path)
        for name in operation.body or ():
            rest = json.dumps({**sent, name: "\0"}).encode()
            for piece, text in texts(len(rest)):
                # Writing JSON letter by letter would take longer than the answer.
                inside = json.dumps(piece, ensure_ascii=False).encode()[1:-1]
                inside *= len(text) // len(piece)
                body = rest.replace(b'"\\u0000"', b'"' + inside + b'"')

                def send(body: bytes = body, at: str = at, method: str = method) -> Any:
                    return open_site.request(method, at, world.staff, headers=JSON, content=body)

                check(send(), method, path, name, piece)
                watch.judge(method, path, name, piece, again=send)
    watch.done(1000)


def test_no_field_of_the_group_wire_takes_long(open_site: Site, world: World) -> None:
    watch = Watch(open_site)
    groups = Groups(world, open_site)
    owner, other = world.person("owner"), world.person("other")
    group = groups.found(owner)
    headers = {**JSON, "Authorization": f"Bearer {world.staff.token}"}
    for path, method, operation in with_forms(DESCRIBED):
        form = operation.body or {}
        sent = {name: BRAINSTEM[type(kind)] for name, kind in form.items()}
        at = path.replace("{id}", str(group if "/group/" in path else other.id))
        for name in form:
            for piece, text in texts(2000):
                made = {**sent, name: text}
                bodies = [made, {**sent, name: {text: {"is_manager": True}}}]
                for one in bodies if name == "users" else bodies[:1]:
                    body = json.dumps(one, ensure_ascii=False).encode()

                    def send(body: bytes = body, at: str = at, method: str = method) -> Any:
                        return open_site.request(method, at, headers=headers, content=body)

                    check(send(), method, path, name, piece)
                    watch.judge(method, path, name, piece, again=send)
    watch.done(100)


def test_no_field_of_a_page_takes_long(
    open_site: Site, scene: Scene, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    watch = Watch(open_site)
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
        known = sorted(poster.fields(spy) | {"csrf"})
        actions = sorted(spy.words.get("action", ())) or ["send"]
        for name in known:
            long = list(texts(3000))
            # Many addresses, each of which is good.
            long += [("a@b.co, ", "a@b.co, " * 60_000), ("a@b.co, ", "a@b.co, " * 12_000)]
            long += [("a@b.co", f"{'a' * 480}@b.co\r\n" * 200)] if name == "addresses" else []
            for number, (piece, text) in enumerate(long):
                plain = {each: PLAIN.get(each, "x") for each in known if each != "csrf"}
                plain["action"] = actions[number % len(actions)]
                fields = {**plain, name: text}

                def send(fields: dict[str, str] = fields, poster: Poster = poster) -> None:
                    poster.post(**fields)

                send()
                watch.judge(path, name, piece, again=send)
    watch.done(500)


def who(world: World, browser: Browser, dialect: str) -> dict[str, str]:
    """The header that says who asks."""
    if dialect == "web":
        return {"cookie": "; ".join(f"{name}={text}" for name, text in browser.cookies.items())}
    scheme = "Token" if dialect == "waldur" else "Bearer"
    return {"authorization": f"{scheme} {world.staff.token}"}


@pytest.mark.parametrize("dialect", ["waldur", "brainstem", "web"])
def test_no_parameter_takes_long(
    open_site: Site,
    scene: Scene,
    world: World,
    dialect: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: set[str] = set()
    raw = BrowserRequest.query_value

    def noted(browser_request: BrowserRequest, name: str) -> str:
        asked.add(name)
        return raw(browser_request, name)

    monkeypatch.setattr(BrowserRequest, "query_value", noted)
    watch = Watch(open_site)
    routes = {"waldur": WALDUR, "brainstem": DESCRIBED, "web": WEB}[dialect]
    browser = Browser(open_site).sign_in(world, scene.owner)
    for path, table in routes.items():
        operation = table.get("GET")
        if operation is None:
            continue
        if dialect == "web":
            at = path.format_map(segments(scene, world, path))
            asked.clear()
            browser.open(at)
            names = [*sorted(asked), "x"]
        else:
            at = waldur_path(scene, path) if dialect == "waldur" else path.replace("{id}", "1")
            own = ["page", "page_size", "o", "field", "limit", "offset", "sort[]", "include[]"]
            own += ["filter{id.in}", "filter{x.y}"]
            names = [*(operation.filters or ()), *some(own, 3, path)]
            if not (operation.is_list or operation.filters):
                names = ["field"]
        for name in names:
            (one,) = some(SIGNS, 1, path, name)[:1]
            long = [(f"&{name}=", f"7&{name}=" * URL_READ), ("all that can be sent", one * URL_MAX)]
            for piece, text in [*targets(), *long]:
                room = URL_MAX if text == one * URL_MAX else URL_READ
                url = f"{at}?{name}={text}"[:room].replace(" ", "+").replace('"', "%22")

                def send(url: str = url) -> Any:
                    return open_site.send("GET", url.encode(), **who(world, browser, dialect))

                check(send(), path, name, piece)
                watch.judge(path, name, piece, again=send)
    watch.done(50)


@pytest.mark.parametrize("dialect", ["waldur", "brainstem", "web"])
def test_no_segment_takes_long(open_site: Site, scene: Scene, world: World, dialect: str) -> None:
    watch = Watch(open_site)
    routes = {"waldur": WALDUR, "brainstem": DESCRIBED, "web": WEB}[dialect]
    browser = Browser(open_site).sign_in(world, scene.owner)
    for path, table in routes.items():
        for method in table if "{" in path else ():
            for piece, text in targets():
                segment = text.replace(" ", "%20").replace("%", "%25").replace('"', "%22")
                at = re.sub(r"{\w+}", lambda _: segment, path, count=1)  # noqa: B023 - used at once
                at = re.sub(r"{\w+}", "1", at)

                def send(method: str = method, at: str = at[:URL_READ]) -> Any:
                    return open_site.send(method, at.encode(), **who(world, browser, dialect))

                check(send(), method, path, piece)
                watch.judge(method, path, piece, again=send)
    watch.done(20)


HEADERS: Final = [
    "Accept",
    "Accept-Language",
    "Authorization",
    "Content-Type",
    "Cookie",
    "Forwarded",
    "Host",
    "If-None-Match",
    "Origin",
    "Range",
    "Referer",
    "Sec-Fetch-Site",
    "User-Agent",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Impersonated-User-Uuid",
    "X-Request-Id",
]


def test_no_header_takes_long(open_site: Site, scene: Scene, world: World) -> None:
    watch = Watch(open_site)
    browser = Browser(open_site).sign_in(world, scene.owner)
    pieces = {*SIGNS, *PIECES, ";", "a=", ";a=", ", ", "127.0.0.1,", "/"}
    for name in HEADERS:
        starts = {
            "Authorization": "Token ",
            "Content-Type": 'multipart/form-data; boundary="',
            "X-Forwarded-For": "127.0.0.1, ",
        }
        for piece in sorted(pieces):
            for start in {"", starts.get(name, "")}:
                length = HEADER_MAX if piece == "a" else HEADER_READ
                value = (start + piece * length).encode()[:length].decode("latin-1")
                for method, path in some(
                    (
                        ("GET", "/api/users/"),
                        ("POST", "/api/keys/"),
                        ("POST", "/sign_in/"),
                        ("GET", "/api/private/users/group/"),
                        ("GET", "/account/"),
                    ),
                    2,
                    name,
                    piece,
                ):

                    def send(
                        name: str = name, value: str = value, method: str = method, path: str = path
                    ) -> Any:
                        content = b"x=1" if method == "POST" else None
                        headers: Any = {name: value.encode("latin-1")}
                        if path == "/account/" and name != "Cookie":
                            return browser.call(method, path, headers=headers)
                        who = None if name in {"Authorization", "Cookie"} else world.staff
                        return open_site.request(
                            method, path, who, headers=headers, content=content
                        )

                    answer = send()
                    assert answer.status_code < 500, (name, piece, path)
                    watch.judge(name, start, piece, method, path, again=send)
    watch.done(200)


SHAPES: Final[dict[str, tuple[bytes, bytes, bytes]]] = {
    "lists": (b'{"x":', b"[" * 400_000, b""),
    "objects": (b"", b'{"x":', b""),
    "empty lists": (b'{"x":[', b"[],", b"[]]}"),
    "empty objects": (b'{"x":[', b"{},", b"{}]}"),
    "numbers": (b'{"x":[', b"1,", b"1]}"),
    "names": (b"{", b'"x":1,', b'"x":1}'),
    "fraction": (b'{"x":0.', b"1", b"}"),
    "digits": (b'{"x":', b"1", b"}"),
    "exponent": (b'{"x":1e', b"1", b"}"),
    "escapes": (b'{"x":"', b"\\u0041", b'"}'),
    "half characters": (b'{"x":"', b"\\ud800", b'"}'),
    "white space": (b"", b" ", b"{}"),
    "nothing": (b"", b"\0", b""),
}


def test_no_shape_of_json_takes_long(open_site: Site, world: World) -> None:
    watch = Watch(open_site)
    for shape, (begin, piece, end) in SHAPES.items():
        for size in (BODY_MAX // 4, BODY_MAX):
            body = begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end
            for method, path in (
                ("POST", "/api/keys/"),
                ("POST", "/api/roles/"),
                ("POST", "/api/private/users/group/"),
                ("POST", "/api/token/"),
            ):

                def send(body: bytes = body, method: str = method, path: str = path) -> Any:
                    headers = {**JSON, "Authorization": f"Bearer {world.staff.token}"}
                    if path.startswith(("/api/keys", "/api/roles")):
                        headers["Authorization"] = f"Token {world.staff.token}"
                    return open_site.request(method, path, headers=headers, content=body)

                answer = send()
                assert 400 <= answer.status_code < 500, (shape, path)
                watch.judge(shape, size, path, again=send)
    watch.done(50)


def test_no_shape_of_a_form_takes_long(open_site: Site, scene: Scene, world: World) -> None:
    watch = Watch(open_site)
    browser = Browser(open_site).sign_in(world, scene.owner)
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    pieces = [b"%", b"%4", b"%41", b"%ff", b"&", b"&a=", b"=", b"+", b";", b"a"]
    forms = [("application/x-www-form-urlencoded", piece, b"a=", b"") for piece in pieces]
    forms += [
        ("multipart/form-data; boundary=x", piece, begin, b"\r\n--x--")
        for piece in (
            b"-",
            b"\r\n",
            b"\r\n-",
            b"\r\n--",
            b"--x\r\n",
            b"a",
            b"a:b\r\n",
            part + b"\r\n",
        )
        for begin in (b"", b"--x\r\n", part)
    ]
    for kind, piece, begin, end in forms:
        for size in (BODY_MAX // 4, BODY_MAX):
            body = begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end
            for path in ("/account/profile/", "/account/picture/", "/api/keys/", "/api/users/"):

                def send(body: bytes = body, kind: str = kind, path: str = path) -> Any:
                    headers = {"Content-Type": kind}
                    if path.startswith("/api"):
                        return open_site.post(path, world.staff, headers=headers, content=body)
                    return browser.call("POST", path, content=body, headers=headers)

                answer = send()
                assert 400 <= answer.status_code < 500, (kind, piece, path, answer.status_code)
                watch.judge(kind, begin[:5], piece[:20], size, path, again=send)
    watch.done(200)
