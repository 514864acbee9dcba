"""Read the rows of the matrix, and check the responses to all callers against a row."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import httpx

from collegium.api import openapi
from collegium.api.brainstem import routes as brainstem
from collegium.api.request import Endpoint, Routes
from collegium.api.waldur import routes as waldur
from collegium.web import routes as web
from tests.matrix import requests
from tests.matrix.scene import CALLERS, COLUMNS, OUTSIDE, Scene, Tenant
from tests.support.world import Person

FILE: Final = Path(__file__).with_name("matrix.txt")
ROUTES: Final[dict[str, Routes]] = {
    "waldur": waldur.ROUTES,
    "brainstem": brainstem.ROUTES,
    "web": web.ROUTES | web.description_routes(lambda: openapi.describe({})),
}
_FULL_PAGE: Final = {"waldur": "page_size=300", "brainstem": "limit=100"}
REFUSED: Final = frozenset("?-x!.")


class Row(NamedTuple):
    """A row of the file, for one method."""

    protocol: str
    method: str
    path: str
    own: bool
    cells: dict[str, str]

    @property
    def operation(self) -> Endpoint:
        return ROUTES[self.protocol][self.path][self.method]

    @property
    def writes(self) -> bool:
        return self.method != "GET" or self.operation.mutates

    @property
    def chapter(self) -> str:
        """The protocol and the noun in the path."""
        segments = self.path.strip("/").split("/")
        start = {"waldur": 1, "brainstem": 3, "web": 0}[self.protocol]
        # Pages of the account hash passwords, which is slow: one chapter for each.
        end = start + (2 if segments[0] == "account" else 1)
        return " ".join([self.protocol, *segments[start:end]]).strip()

    def __str__(self) -> str:
        return f"{self.method} {self.path}{' (self)' if self.own else ''}"


def read() -> Iterator[Row]:
    protocol = ""
    for line in FILE.read_text("utf-8").splitlines():
        words = line.partition("#")[0].split()
        if line.startswith("["):
            protocol = words[0].strip("[]")
            assert tuple(words[1:]) == COLUMNS, line
        elif words:
            methods, path, *signs = words
            own = signs[0] == "(self)"
            cells = dict(zip(COLUMNS, signs[own:], strict=True))
            assert {len(cell) for cell in cells.values()} in ({1}, {2}), line
            for method in methods.split(","):
                yield Row(protocol, method, path, own, cells)


ROWS: Final = list(read())


class RowCheck:
    """Sends the requests of one row."""

    def __init__(self, scene: Scene, row: Row) -> None:
        self.scene = scene
        self.row = row
        self.in_group = requests.is_of_group(row.path)

    def errors(self) -> Iterator[str]:
        """Yield a sentence for each response that differs from the row."""
        for column in COLUMNS:
            signs = self.row.cells[column]
            for name in CALLERS[column]:
                caller = self.scene.caller(name, in_group=self.in_group)
                kinds = ("own", "foreign")
                for tenant, sign, kind in zip(self.scene.tenants, signs, kinds, strict=False):
                    for error in self._check(name, caller, tenant, sign):
                        yield f"{self.row} as {name}, {kind}: {error}"

    def _check(self, name: str, caller: Person | None, tenant: Tenant, sign: str) -> Iterator[str]:
        if self.row.writes and sign == "+" and not self.scene.database.is_sqlite:
            return  # restoring the database takes long there
        mine = requests.own(self.scene, self.row.path, caller) if self.row.own else None
        path = requests.fill(self.scene, self.row.path, tenant, mine)
        response = self.request(self.row.method, path, caller, tenant)
        changed = self.scene.has_changed()
        actual = self.sign(response, tenant, changed=changed)
        if changed:
            self.scene.restore()
        if actual != sign:
            yield f"expected {sign}, got {actual} ({response.status_code}) {_text(response)}"
        writes = self.row.writes or self.row.path in requests.RECORDED
        if changed and (actual in REFUSED or not writes):
            yield "changed rows"
        if actual == "?":
            yield from self._check_challenge(response)
        if name in {"stranger", "sibling", "owner"}:
            yield from self._compare_with_unknown(actual, path, caller, tenant, response)
        yield from self._leaks(name, tenant, path, response)
        if not self.row.writes and name in {"nobody", "manager"}:
            head = self.request("HEAD", path, caller, tenant)
            if (head.status_code, head.content) != (response.status_code, b""):
                yield f"HEAD returns {head.status_code}"

    def request(
        self, method: str, path: str, caller: Person | None, tenant: Tenant, **replaced: str
    ) -> httpx.Response:
        """Send the request of the row.

        Args:
            replaced: UUIDs to replace in the body, and their replacements.
        """
        scene, row = self.scene, self.row
        if row.protocol != "web":
            token = "Bearer" if row.protocol == "brainstem" else "Token"
            headers = {"Authorization": f"{token} {caller.token}"} if caller else {}
            given: dict[str, Any] = {}
            if method not in {"GET", "HEAD"}:
                body = json.dumps(requests.body(scene, row.path, row.operation, tenant, caller))
                for old, new in replaced.items():
                    body = body.replace(old, new)
                given = {"json": json.loads(body)}
            more = "" if "{" in row.path or method == "POST" else f"?{_FULL_PAGE[row.protocol]}"
            return scene.site.request(method, path + more, headers=headers, **given)
        cookies, csrf = scene.cookies(caller)
        given = {}
        if method == "POST":
            form = requests.FORMS.get(str(row).removeprefix("POST "), requests.FORMS.get(row.path))
            given = {"data": {"csrf": csrf} | (form(scene, tenant) if form else {})}
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
        return scene.site.request(method, path, headers=headers, **given)

    def sign(self, response: httpx.Response, tenant: Tenant, *, changed: bool) -> str:
        status = response.status_code
        if status == 303:
            to_sign_in = response.headers["location"].startswith("/sign_in/")
            return "?" if to_sign_in and not changed else "+"
        if response.is_success:
            mark = self._mark(tenant)
            if mark is not None and self.row.method == "GET":
                return "+" if mark in response.text else "."
            is_page = self.row.protocol == "web" and self.row.method == "POST"
            return "." if is_page and not changed and self.row.path in requests.LISTED else "+"
        signs = {401: "?", 403: "x", 404: "-", 400: "!", 409: "!", 410: "!", 422: "!"}
        return signs.get(status, str(status))

    def _mark(self, tenant: Tenant) -> str | None:
        """Return the text that shows that a list has the object of a tenant."""
        path = self.row.path
        if path in requests.LISTED:
            return requests.LISTED[path](tenant)
        if not self.row.operation.is_list and self.row.protocol == "waldur":
            return None
        if path in requests.WITHOUT_TENANT or self.row.protocol == "web" or "{" in path:
            return None
        objects = list(requests.object_names(f"{path}{{uuid}}/").values())
        return tenant.objects[objects[0]] if objects and objects[0] in tenant.objects else None

    def _check_challenge(self, response: httpx.Response) -> Iterator[str]:
        scheme = {"waldur": "Token", "brainstem": "Bearer"}.get(self.row.protocol)
        if scheme is None:
            return
        body = {"detail": "Authentication credentials were not provided."}
        if response.headers.get("www-authenticate") != scheme or response.json() != body:
            yield f"names no way to sign in: {_text(response)}"

    def _compare_with_unknown(
        self, sign: str, path: str, caller: Person | None, tenant: Tenant, response: httpx.Response
    ) -> Iterator[str]:
        if sign == "-":
            yield from self._compare_paths(path, caller, tenant, response)
        elif sign == "!" and "{" not in self.row.path and tenant is self.scene.tenants[1]:
            yield from self._compare_bodies(path, caller, tenant, response)

    def _compare_paths(
        self, path: str, caller: Person | None, tenant: Tenant, response: httpx.Response
    ) -> Iterator[str]:
        """Check that a hidden object is refused like an unknown one."""
        names = requests.object_names(self.row.path)
        if not names:
            return
        objects = tenant.objects | self.scene.objects
        unknown = {
            what: str(999_999_000 + len(what))
            if objects[what].isdigit()
            else (str(uuid4()) if "-" in objects[what] else uuid4().hex)
            for what in names.values()
        }
        other = requests.fill(self.scene, self.row.path, tenant, unknown)
        unknown_response = self.request(self.row.method, other, caller, tenant)
        yield from self._compare(response, _without(response.text, path), unknown_response, other)

    def _compare_bodies(
        self, path: str, caller: Person | None, tenant: Tenant, response: httpx.Response
    ) -> Iterator[str]:
        """Check that a body with hidden objects is refused like one with unknown objects."""
        unknown = uuid4().hex
        replaced = {tenant.organisation.uuid: unknown, tenant.project.uuid: unknown}
        unknown_response = self.request(self.row.method, path, caller, tenant, **replaced)
        text = response.text
        for uuid in replaced:
            text = text.replace(uuid, "…")
        yield from self._compare(response, text, unknown_response, unknown)

    def _compare(
        self, hidden: httpx.Response, text: str, unknown: httpx.Response, path: str
    ) -> Iterator[str]:
        expected = (unknown.status_code, _without(unknown.text, path), set(unknown.headers))
        if (hidden.status_code, text, set(hidden.headers)) != expected:
            yield f"an unknown object is refused differently: {_text(unknown)}"

    def _leaks(
        self, name: str, tenant: Tenant, path: str, response: httpx.Response
    ) -> Iterator[str]:
        if self.row.path in requests.REVEALING:
            return
        is_own = tenant is self.scene.tenants[0]
        text = _without(response.text, path)
        for url in (tenant.organisation.path, tenant.project.path):
            text = text.replace(url, "…")
        leaked = [hidden for hidden in hidden_texts(name, tenant, is_own=is_own) if hidden in text]
        if leaked:
            yield f"reveals {leaked}: {_text(response)}"


def hidden_texts(name: str, tenant: Tenant, *, is_own: bool) -> set[str]:
    """Return the texts that no response to a caller may have.

    Args:
        is_own: whether a caller with a tenant belongs to this one.
    """
    if name in {"support", "staff"}:
        return set()
    tree, objects = tenant.tree, tenant.objects

    def of(*people: str) -> set[str]:
        return {text for role in people for text in (tree[role].uuid, tree[role].email)}

    organisation = {tenant.organisation.uuid, tenant.organisation.name, *of("owner", "coowner")}
    project = {tenant.project.uuid, tenant.project.name}
    people = of("manager", "member", "colleague") | {objects["grant"]}
    joining = of("invitee") | {
        objects["invitation"],
        objects["request"],
        objects["link"],
        f"{tenant.name} message",
        f"{tenant.name}.waiting@example.org",
        objects["waiting"],
    }
    above = {objects["ownership"], objects["organisation's link"]}
    clubs = {
        objects["group's request"],
        objects["group's invitation"],
        tenant.group["invitee"].email,
    }
    always = {
        objects["key"],
        objects["password link"],
        objects["refresh"],
        f"{tenant.name}.new@example.org",
        f"{tenant.name} annex message",
    }
    everything = organisation | project | people | joining | above | clubs | always
    everything |= {objects["event"]}
    if not is_own or name in OUTSIDE:
        return everything
    seen = {
        "sibling": organisation,
        "invitee": organisation
        | project
        | joining
        | clubs
        | {objects["ownership"]} - {f"{tenant.name}.waiting@example.org", objects["waiting"]},
        "member": organisation | project | people,
        "manager": organisation | project | people | joining | clubs | {objects["event"]},
        "owner": everything - always,
    }
    return everything - seen[name]


def _text(response: httpx.Response) -> str:
    text = re.sub(r"(?s)<(style|title)\b.*?</\1>|<[^>]+>", " ", response.text)
    return " ".join(text.split())[:160]


def _without(text: str, path: str) -> str:
    """Return a text without the identifiers in the path of the request."""
    for part in re.split(r"[/?=&]", path):
        if len(part) > 8:
            text = text.replace(part, "…").replace(part.replace("-", ""), "…")
            if re.fullmatch(r"[0-9a-f]{32}", part):
                text = text.replace(str(UUID(part)), "…")
    return text
