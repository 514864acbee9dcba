"""Walking the matrix: a row of the file, and what everybody is answered who tries it."""

from __future__ import annotations

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
from tests.matrix import asks
from tests.matrix.stage import COLUMNS, OUTSIDE, WALKERS, Stage, Tenant
from tests.support.world import Person

FILE: Final = Path(__file__).with_name("matrix.txt")
ROUTES: Final[dict[str, Routes]] = {
    "waldur": waldur.ROUTES,
    "brainstem": brainstem.ROUTES,
    "web": web.ROUTES | web.description_routes(openapi.describe({})),
}
_WHOLE: Final = {"waldur": "page_size=300", "brainstem": "limit=100"}
REFUSED: Final = frozenset("?-x!.")


class Row(NamedTuple):
    """A line of the file, for one of its methods."""

    dialect: str
    method: str
    path: str
    own: bool
    cells: dict[str, str]

    @property
    def operation(self) -> Endpoint:
        return ROUTES[self.dialect][self.path][self.method]

    @property
    def acts(self) -> bool:
        return self.method != "GET" or self.operation.mutates

    @property
    def chapter(self) -> str:
        """What it is about: the dialect, and the noun in its path."""
        segments = self.path.strip("/").split("/")
        at = {"waldur": 1, "brainstem": 3, "web": 0}[self.dialect]
        # The pages of one's own account hash passwords, which takes its time on purpose.
        last = at + 2 if segments[0] == "account" else at + 1
        return " ".join([self.dialect, *segments[at:last]]).strip()

    def __str__(self) -> str:
        return f"{self.method} {self.path}{' (self)' if self.own else ''}"


def read() -> Iterator[Row]:
    dialect = ""
    for line in FILE.read_text("utf-8").splitlines():
        words = line.partition("#")[0].split()
        if line.startswith("["):
            dialect = words[0].strip("[]")
            assert tuple(words[1:]) == COLUMNS, line
        elif words:
            methods, path, *signs = words
            own = signs[0] == "(self)"
            cells = dict(zip(COLUMNS, signs[own:], strict=True))
            assert {len(one) for one in cells.values()} in ({1}, {2}), line
            for method in methods.split(","):
                yield Row(dialect, method, path, own, cells)


ROWS: Final = list(read())


class Walk:
    """One row, walked by everybody."""

    def __init__(self, stage: Stage, row: Row) -> None:
        self.stage = stage
        self.row = row
        self.in_group = asks.is_of_group(row.path)

    def faults(self) -> Iterator[str]:
        """What is not as the file has it, a sentence each."""
        for column in COLUMNS:
            signs = self.row.cells[column]
            for name in WALKERS[column]:
                who = self.stage.walker(name, in_group=self.in_group)
                for tenant, sign, whose in zip(
                    self.stage.tenants, signs, ("own", "foreign"), strict=False
                ):
                    place = "" if len(signs) == 1 else f", {whose}"
                    for fault in self._judged(name, who, tenant, sign):
                        yield f"{self.row} as {name}{place}: {fault}"

    def _judged(self, name: str, who: Person | None, tenant: Tenant, sign: str) -> Iterator[str]:
        if self.row.acts and sign == "+" and not self.stage.database.is_sqlite:
            return  # what is done is put back after, which takes long there; see test_rights.py
        mine = asks.own(self.stage, self.row.path, who) if self.row.own else None
        path = asks.fill(self.stage, self.row.path, tenant, mine)
        answer = self.ask(self.row.method, path, who, tenant)
        changed = self.stage.has_changed()
        found = self.sign(answer, tenant, changed=changed)
        if changed:
            self.stage.restore()
        if found != sign:
            yield f"expected {sign}, found {found} ({answer.status_code}) {_shown(answer)}"
        writes = self.row.acts or self.row.path in asks.WRITTEN_DOWN
        if changed and (found in REFUSED or not writes):
            yield "changed something"
        if found == "?":
            yield from self._asked_to_sign_in(answer)
        if name in {"stranger", "sibling", "owner"}:
            yield from self._as_if_it_were_not_there(found, path, who, tenant, answer)
        yield from self._leaks(name, tenant, path, answer)
        if not self.row.acts and name in {"nobody", "manager"}:
            head = self.ask("HEAD", path, who, tenant)
            if (head.status_code, head.content) != (answer.status_code, b""):
                yield f"HEAD is answered {head.status_code}"

    def ask(
        self, method: str, path: str, who: Person | None, tenant: Tenant, **swapped: str
    ) -> httpx.Response:
        """Send what the row says.

        Args:
            swapped: what is put in the body in place of something else, UUID for UUID.
        """
        stage, row = self.stage, self.row
        if row.dialect != "web":
            token = "Bearer" if row.dialect == "brainstem" else "Token"
            headers = {"Authorization": f"{token} {who.token}"} if who else {}
            given: dict[str, Any] = {}
            if method not in {"GET", "HEAD"}:
                body = json.dumps(asks.body(stage, row.path, row.operation, tenant, who))
                for old, new in swapped.items():
                    body = body.replace(old, new)
                given = {"json": json.loads(body)}
            more = "" if "{" in row.path or method == "POST" else f"?{_WHOLE[row.dialect]}"
            return stage.site.request(method, path + more, headers=headers, **given)
        cookies, csrf = stage.cookies(who)
        given = {}
        if method == "POST":
            form = asks.FORMS.get(str(row).removeprefix("POST "), asks.FORMS.get(row.path))
            given = {"data": {"csrf": csrf} | (form(stage, tenant, who) if form else {})}
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
        answer = stage.site.request(method, path, headers=headers, **given)
        stage.site._client.cookies.clear()
        return answer

    def sign(self, answer: httpx.Response, tenant: Tenant, *, changed: bool) -> str:
        status = answer.status_code
        if status == 303:
            return (
                "?" if answer.headers["location"].startswith("/sign_in/") and not changed else "+"
            )
        if answer.is_success:
            mark = self._mark(tenant)
            if mark is not None and self.row.method == "GET":
                return "+" if mark in answer.text else "."
            is_page = self.row.dialect == "web" and self.row.method == "POST"
            return "." if is_page and not changed and self.row.path in asks.LISTED else "+"
        known = {401: "?", 403: "x", 404: "-", 400: "!", 409: "!", 410: "!", 422: "!"}
        return known.get(status, str(status))

    def _mark(self, tenant: Tenant) -> str | None:
        """What says that a list holds the object of a tenant."""
        path = self.row.path
        if path in asks.LISTED:
            return asks.LISTED[path](tenant)
        if not self.row.operation.is_list and self.row.dialect == "waldur":
            return None
        if path in asks.OF_EVERYBODY or self.row.dialect == "web" or "{" in path:
            return None
        objects = list(asks.places(f"{path}{{uuid}}/").values())
        return tenant.objects[objects[0]] if objects and objects[0] in tenant.objects else None

    def _asked_to_sign_in(self, answer: httpx.Response) -> Iterator[str]:
        scheme = {"waldur": "Token", "brainstem": "Bearer"}.get(self.row.dialect)
        if scheme is None:
            return
        said = {"detail": "Authentication credentials were not provided."}
        if answer.headers.get("www-authenticate") != scheme or answer.json() != said:
            yield f"is not told how to sign in: {_shown(answer)}"

    def _as_if_it_were_not_there(
        self, found: str, path: str, who: Person | None, tenant: Tenant, answer: httpx.Response
    ) -> Iterator[str]:
        if found == "-":
            yield from self._not_there(path, who, tenant, answer)
        elif found == "!" and "{" not in self.row.path and tenant is self.stage.tenants[1]:
            yield from self._not_named(path, who, tenant, answer)

    def _not_there(
        self, path: str, who: Person | None, tenant: Tenant, answer: httpx.Response
    ) -> Iterator[str]:
        """Whether what is hidden is refused as what is not there."""
        names = asks.places(self.row.path)
        if not names:
            return
        known = tenant.objects | {"role": self.stage.role}
        unknown = {
            what: str(999_999_000 + len(what))
            if known[what].isdigit()
            else (str(uuid4()) if "-" in known[what] else uuid4().hex)
            for what in names.values()
        }
        other = asks.fill(self.stage, self.row.path, tenant, unknown)
        same = self.ask(self.row.method, other, who, tenant)
        yield from self._the_same(answer, _without(answer.text, path), same, other)

    def _not_named(
        self, path: str, who: Person | None, tenant: Tenant, answer: httpx.Response
    ) -> Iterator[str]:
        """Whether a body that names what is hidden is refused as one that names nothing."""
        unknown = uuid4().hex
        swapped = {tenant.organisation.uuid: unknown, tenant.project.uuid: unknown}
        same = self.ask(self.row.method, path, who, tenant, **swapped)
        said = answer.text
        for uuid in swapped:
            said = said.replace(uuid, "…")
        yield from self._the_same(answer, said, same, unknown)

    def _the_same(
        self, answer: httpx.Response, said: str, same: httpx.Response, other: str
    ) -> Iterator[str]:
        one = (answer.status_code, said, set(answer.headers))
        if one != (same.status_code, _without(same.text, other), set(same.headers)):
            yield f"one that is not there is refused otherwise: {_shown(same)}"

    def _leaks(self, name: str, tenant: Tenant, path: str, answer: httpx.Response) -> Iterator[str]:
        if self.row.path in asks.TELLING:
            return
        is_own = tenant is self.stage.tenants[0]
        said = _without(answer.text, path)
        for body in (tenant.organisation.path, tenant.project.path):
            said = said.replace(body, "…")
        found = [mark for mark in hidden(name, tenant, is_own=is_own) if mark in said]
        if found:
            yield f"is told of {found}: {_shown(answer)}"


def hidden(name: str, tenant: Tenant, *, is_own: bool) -> set[str]:
    """Texts that somebody may read nowhere in what they are answered.

    Args:
        is_own: whether whoever belongs to a tenant belongs to this one.
    """
    if name in {"support", "staff"}:
        return set()
    tree, objects = tenant.tree, tenant.objects

    def of(*people: str) -> set[str]:
        return {one for who in people for one in (tree[who].uuid, tree[who].email)}

    organisation = {tenant.organisation.uuid, tenant.organisation.name, *of("owner", "coowner")}
    project = {tenant.project.uuid, tenant.project.name}
    people = of("manager", "member", "colleague") | {objects["grant"]}
    door = of("invitee") | {
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
    everything = organisation | project | people | door | above | clubs | always
    everything |= {objects["event"]}
    if not is_own or name in OUTSIDE:
        return everything
    seen = {
        "sibling": organisation,
        "invitee": organisation
        | project
        | door
        | clubs
        | {objects["ownership"]} - {f"{tenant.name}.waiting@example.org", objects["waiting"]},
        "member": organisation | project | people,
        "manager": organisation | project | people | door | clubs | {objects["event"]},
        "owner": everything - always,
    }
    return everything - seen[name]


def _shown(answer: httpx.Response) -> str:
    text = re.sub(r"(?s)<(style|title)\b.*?</\1>|<[^>]+>", " ", answer.text)
    return " ".join(text.split())[:160]


def _without(text: str, path: str) -> str:
    """A text without what stood in the path of the request."""
    for part in re.split(r"[/?=&]", path):
        if len(part) > 8:
            text = text.replace(part, "…").replace(part.replace("-", ""), "…")
            if re.fullmatch(r"[0-9a-f]{32}", part):
                text = text.replace(str(UUID(part)), "…")
    return text
