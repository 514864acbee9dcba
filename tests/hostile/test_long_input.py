"""Very long values in every field, parameter, segment and header are refused quickly.

The first field of a name gets all texts. The same code reads its namesakes in other operations,
which get one each, different ones in different operations; ``HOSTILE=long`` tries all.
The tests measure the processor time of the thread that answers, which does not depend on the load.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import httpx
import pytest
from sqlalchemy import update

from collegium.api.request_bodies import BODY_MAX
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.values import StringList
from tests.api.scene import Scene, body_for
from tests.hostile.test_values import (
    JSON,
    ROUTES,
    brainstem_bodies,
    check,
    open_site,
    staff_headers,
    waldur_url,
    with_bodies,
    with_segment,
)
from tests.hostile.values import IS_LONG, some
from tests.matrix.page_forms import Spy, forms, visitors
from tests.matrix.requests import fill
from tests.matrix.scene import Scene as Tenants
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

__all__ = ["open_site"]

pytestmark = [pytest.mark.parametrize("url", ["sqlite"], indirect=True), pytest.mark.timeout(600)]

SECONDS: Final = 0.2
CHARACTERS: Final = ["a", ":", ".", " "]
PIECES: Final = [
    *("@", "7", ","),
    *(":1 ", "a@", "@a.", "a.", ", ", "[", "{", "%", "%41", "\\", '"', "\u0301\u0316", "1-"),
]
"""Text that could slow down a pattern or a parser when it is repeated."""

REPEATED: Final = [*CHARACTERS, *PIECES] if IS_LONG else CHARACTERS
# Encoding a whole body as JSON would take longer than the response.
ENCODED: Final = {text: json.dumps(text, ensure_ascii=False).encode()[1:-1] for text in REPEATED}
# Bytes of the longest target and header that the server accepts, and of the longest it reads.
URL_MAX: Final = 65_000
HEADER_MAX: Final = 400_000
HEADER_READ: Final = 8_000


class SlowRequest(NamedTuple):
    milliseconds: int
    case: tuple[Any, ...]


class Stopwatch:
    """Times requests and reports all slow ones together."""

    def __init__(self, site: Site, database_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.site = site
        self.database_seconds = database_seconds
        self.slow: list[SlowRequest] = []
        self.tried = 0

    def time(self, send: Callable[[], httpx.Response], *case: Any) -> httpx.Response:
        """Send a request. Repeat a slow one: the first may have filled caches.

        The processor time of a thread can double while the neighbour of its core is busy.
        """
        response, seconds = self._measure(send)
        self.tried += 1
        for _ in range(2):
            if seconds > SECONDS:
                seconds = min(seconds, self._measure(send)[1])
        if seconds > SECONDS:
            self.slow.append(SlowRequest(round(seconds * 1000), case))
        return response

    def _measure(self, send: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
        start = self.database_seconds()
        response = send()
        return response, self.site.took + self.database_seconds() - start

    def finish(self, minimum: int) -> None:
        assert not self.slow, f"{len(self.slow)} slow: {sorted(self.slow, reverse=True)[:40]}"
        assert self.tried >= minimum


def filled(begin: bytes, piece: bytes, end: bytes, size: int) -> bytes:
    """Repeat a piece between begin and end up to a size in bytes."""
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


def texts(size: int) -> Iterator[tuple[str, str]]:
    """Yield each piece, and its repetition up to a size in bytes."""
    for piece in REPEATED:
        yield piece, piece * (size // len(piece.encode()))


class Texts:
    """Chooses texts: all for the first field of a name, one for each of its namesakes."""

    def __init__(self) -> None:
        self._seen: set[Any] = set()

    def choose(self, cases: Sequence[Any], name: Any, *case: str) -> Sequence[Any]:
        """Return some of the cases for a field; the words say where it is."""
        if name in self._seen:
            return some(cases, 1, *case)
        self._seen.add(name)
        return cases


def test_no_field_of_the_waldur_api_takes_long(open_site: Site, scene: Scene, world: World) -> None:
    stopwatch, chooser = Stopwatch(open_site), Texts()
    for path, method, operation in with_bodies(ROUTES["waldur"]):
        valid, url = body_for(path, operation, scene), waldur_url(scene, path)
        for name, field in (operation.body or {}).items():
            # A list gets one long text, and as many texts as there is room for.
            is_list = isinstance(field, StringList)
            value = ["\0"] if is_list else "\0"
            begin, _, end = json.dumps({**valid, name: value}).encode().partition(b"\\u0000")
            pieces = ENCODED | ({"many texts": b'a","'} if is_list else {})
            kind = (name, type(field))
            for piece, encoded in chooser.choose([*pieces.items()], kind, method, path, name):
                content = filled(begin, encoded, end, BODY_MAX)
                send = partial(
                    open_site.request, method, url, world.staff, headers=JSON, content=content
                )
                check(stopwatch.time(send, method, path, name, piece), method, path, name, piece)
    stopwatch.finish(600)


def test_no_field_of_the_brainstem_api_takes_long(open_site: Site, world: World) -> None:
    stopwatch = Stopwatch(open_site)
    headers = {**JSON, "Authorization": f"Bearer {world.staff.token}"}
    for method, path, url, form, valid in brainstem_bodies(world, open_site):
        for name in form:
            for piece, text in texts(BODY_MAX - 2000):
                values = [text, {text: {"is_manager": True}}]
                for value in values if name == "users" else values[:1]:
                    content = json.dumps({**valid, name: value}, ensure_ascii=False).encode()
                    send = partial(open_site.request, method, url, headers=headers, content=content)
                    response = stopwatch.time(send, method, path, name, piece)
                    check(response, method, path, name, piece)
    stopwatch.finish(60)


def test_no_field_of_a_page_takes_long(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    stopwatch, chooser = Stopwatch(tenants.site), Texts()
    for visitor, valid, names in forms(tenants, spy, check):
        actions = spy.actions
        for name in names:
            cases = list(texts(BODY_MAX - 3000))
            # Many valid addresses.
            if name == "addresses":
                cases += [("a@b.co, ", "a@b.co, " * number) for number in (60_000, 12_000)]
                cases += [("a@b.co", f"{'a' * 480}@b.co\r\n" * 200)]
            chosen = chooser.choose(cases, name, visitor.row.path)
            for number, (piece, text) in enumerate(chosen):
                form = {**valid, "action": actions[number % len(actions)], name: text}
                case = (visitor.row.path, name, piece)
                stopwatch.time(partial(visitor.post, **form), *case)
    stopwatch.finish(600)


def send_query(
    tenants: Tenants,
    stopwatch: Stopwatch,
    chooser: Texts,
    url: str,
    name: str,
    headers: dict[str, str],
) -> None:
    """Send the characters in one value, and as many values as there is room for."""
    cases = [*texts(URL_MAX), (f"&{name}=", f"7&{name}=" * URL_MAX)]
    for piece, text in chooser.choose(cases, name, url, name):
        target = f"{url}?{name}={text}"[:URL_MAX].replace(" ", "+").replace('"', "%22")
        send = partial(tenants.site.send, "GET", target.encode(), **headers)
        check(stopwatch.time(send, url, name, piece), url, name, piece)


@pytest.mark.parametrize("protocol", ["waldur", "brainstem"])
def test_no_parameter_of_an_api_takes_long(tenants: Tenants, protocol: str) -> None:
    stopwatch, chooser = Stopwatch(tenants.site), Texts()
    headers, _ = staff_headers(tenants, protocol)
    common = ["page", "page_size", "o", "field", "limit", "offset", "sort[]", "include[]"]
    common += ["filter{id.in}", "filter{x.y}"]
    for path, table in ROUTES[protocol].items():
        operation = table.get("GET")
        if operation is not None:
            is_list = operation.is_list or operation.filters
            for name in [*(operation.filters or ()), *(common if is_list else ["field"])]:
                url = fill(tenants, path, tenants.tenants[0], None)
                send_query(tenants, stopwatch, chooser, url, name, headers)
    stopwatch.finish(50)


def test_no_parameter_of_a_page_takes_long(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    stopwatch, chooser = Stopwatch(tenants.site), Texts()
    tried = set()
    for visitor in visitors(tenants, "GET"):
        for name in sorted({*visitor.parameters(spy), "x"}):
            if (visitor.row.path, name) not in tried:
                tried.add((visitor.row.path, name))
                headers = {"cookie": visitor.cookie}
                send_query(tenants, stopwatch, chooser, visitor.path, name, headers)
    stopwatch.finish(200)


@pytest.mark.parametrize("protocol", ["waldur", "brainstem", "web"])
def test_no_segment_takes_long(tenants: Tenants, protocol: str) -> None:
    stopwatch = Stopwatch(tenants.site)
    headers, _ = staff_headers(tenants, protocol)
    for path, table in ROUTES[protocol].items():
        for method in table:
            for piece, text in texts(URL_MAX):
                segment = text.replace("%", "%25").replace(" ", "%20").replace('"', "%22")
                for url in with_segment(tenants, path, segment[: URL_MAX - 200]):
                    send = partial(tenants.site.send, method, url.encode(), **headers)
                    check(stopwatch.time(send, method, path, piece), method, path, piece)
    stopwatch.finish(20)


HEADERS: Final = (
    *("Accept", "Accept-Language", "Authorization", "Content-Type", "Cookie", "Forwarded", "Host"),
    *("If-None-Match", "Origin", "Range", "Referer", "Sec-Fetch-Site", "User-Agent"),
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
    *("X-Impersonated-User-Uuid", "X-Request-Id"),
)
HEADER_STARTS: Final = {
    "Authorization": "Token ",
    "Content-Type": 'multipart/form-data; boundary="',
    "X-Forwarded-For": "127.0.0.1, ",
}


def test_no_header_takes_long(open_site: Site, scene: Scene, world: World) -> None:
    stopwatch = Stopwatch(open_site)
    browser = Browser(open_site).sign_in(world, scene.owner)
    requests = (
        *(("GET", "/api/users/"), ("POST", "/api/keys/"), ("POST", "/sign_in/")),
        *(("GET", "/api/private/users/group/"), ("GET", "/account/")),
    )
    pieces = sorted({*CHARACTERS, *PIECES, ";", "a=", ";a=", ", ", "127.0.0.1,", "/"})
    cases = [
        (name, piece, start)
        for name in HEADERS
        for piece in pieces
        for start in {"", HEADER_STARTS.get(name, "")}
    ]
    for name, piece, start in cases:
        length = HEADER_MAX if piece == "a" else HEADER_READ
        headers: Any = {name: (start + piece * length).encode()[:length]}
        account = None if name in {"Authorization", "Cookie"} else world.staff
        for method, path in some(requests, 2, name, piece):
            if path == "/account/" and name != "Cookie":
                send = partial(browser.call, method, path, headers=headers)
            else:
                content = b"x=1" if method == "POST" else None
                send = partial(
                    open_site.request, method, path, account, headers=headers, content=content
                )
            response = stopwatch.time(send, name, start, piece, method, path)
            assert response.status_code < 500, (name, piece, path)
    stopwatch.finish(200)


JSON_STRUCTURES: Final[dict[str, tuple[bytes, bytes, bytes]]] = {
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
    "surrogates": (b'{"x":"', b"\\ud800", b'"}'),
    "white space": (b"", b" ", b"{}"),
    "null characters": (b"", b"\0", b""),
}


def test_no_json_structure_takes_long(open_site: Site, world: World) -> None:
    stopwatch = Stopwatch(open_site)
    schemes = {"/api/keys/": "Token", "/api/roles/": "Token"}
    schemes |= {"/api/private/users/group/": "Bearer", "/api/token/": "Bearer"}
    for structure, (begin, piece, end) in JSON_STRUCTURES.items():
        for size in (BODY_MAX // 4, BODY_MAX):
            content = filled(begin, piece, end, size)
            for path, scheme in schemes.items():
                headers = {**JSON, "Authorization": f"{scheme} {world.staff.token}"}
                send = partial(open_site.post, path, headers=headers, content=content)
                response = stopwatch.time(send, structure, size, path)
                assert 400 <= response.status_code < 500, (structure, path)
    stopwatch.finish(50)


def test_no_form_structure_takes_long(open_site: Site, scene: Scene, world: World) -> None:
    stopwatch = Stopwatch(open_site)
    browser = Browser(open_site).sign_in(world, scene.owner)
    with world.database.write() as tx:  # the scene has a text to agree to
        tx.execute(Statement(update(accounts).values(must_agree=False)))
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    pieces = [b"%", b"%4", b"%41", b"%ff", b"&", b"&a=", b"=", b"+", b";", b"a"]
    forms = [("application/x-www-form-urlencoded", piece, b"a=", b"") for piece in pieces]
    pieces = [b"-", b"\r\n", b"\r\n-", b"\r\n--", b"--x\r\n", b"a", b"a:b\r\n", part + b"\r\n"]
    forms += [
        ("multipart/form-data; boundary=x", piece, begin, b"\r\n--x--")
        for piece in pieces
        for begin in (b"", b"--x\r\n", part)
    ]
    for media_type, piece, begin, end in forms:
        for size in (BODY_MAX // 4, BODY_MAX):
            content, headers = filled(begin, piece, end, size), {"Content-Type": media_type}
            for path in ("/account/profile/", "/account/picture/", "/api/keys/", "/api/users/"):
                if path.startswith("/api"):
                    post = partial(open_site.post, path, world.staff)
                else:
                    post = partial(browser.call, "POST", path)
                send = partial(post, headers=headers, content=content)
                case = (media_type, begin[:5], piece[:20], size, path)
                response = stopwatch.time(send, *case)
                assert 400 <= response.status_code < 500, (case, response.status_code)
    stopwatch.finish(200)
