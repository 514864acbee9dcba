"""Version 7.9.0 gets the same bytes as before later versions of the API were served.

``waldur-7.9.0.json`` holds responses of the last commit before the operations and fields of 8.1.3.
A request names the fields that were known then, as a client does that knows no others. UUIDs,
times and tokens are numbered by their first occurrence.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.support.site import Site
from tests.support.world import Person, Place, World

FILE: Final = Path(__file__).with_name("waldur-7.9.0.json")
_CHANGING: Final = re.compile(
    r"[0-9a-f]{40}|[0-9a-f]{32}|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)|\d{4}-\d\d-\d\d"
)
NO_FIELDS: Final = "/api/user-permissions/"
"""This list has no parameter ``field``: later fields are left out of the comparison."""
OK: Final = 200


class Case(NamedTuple):
    """A request: who sends it, method, path, and the body."""

    who: str
    method: str
    path: str
    body: Any = None


def normal(text: str, numbers: dict[str, str]) -> str:
    """Number what differs between two runs, by its first occurrence."""

    def number(found: re.Match[str]) -> str:
        kind = {40: "token", 32: "uuid", 10: "date"}.get(len(found[0]), "time")
        if kind in {"date", "time"}:
            return kind
        return numbers.setdefault(found[0], f"{kind}-{len(numbers)}")

    return _CHANGING.sub(number, text)


class Recorded:
    """Everybody and everything that the requests ask for."""

    def __init__(self, world: World) -> None:
        self.people: dict[str, Person] = {"staff": world.staff}
        for name in ("owner", "manager", "member", "outsider"):
            self.people[name] = world.person(name)
        people = self.people
        self.organisation: Place = world.organisation("Acme", owner=people["owner"])
        self.project: Place = world.project(self.organisation, "Atlas")
        world.give_role(people["manager"], "PROJECT.MANAGER", self.project)
        world.give_role(people["member"], "PROJECT.MEMBER", self.project)
        self.invitation = world.invite(
            people["owner"], "eve@example.org", "PROJECT.MEMBER", self.project
        )
        self.numbers: dict[str, str] = {}
        for uuid in (*(one.uuid for one in people.values()), self.organisation.uuid):
            normal(uuid, self.numbers)
        normal(self.project.uuid, self.numbers)
        normal(self.invitation, self.numbers)

    def cases(self) -> Iterator[Case]:
        uuid = {name: person.uuid for name, person in self.people.items()}
        lists = (
            *("/api/users/", "/api/customers/", "/api/projects/", "/api/user-invitations/"),
            *("/api/user-group-invitations/", "/api/user-permission-requests/"),
            *("/api/user-permissions/", "/api/keys/"),
            *(f"{place.path}list_users/" for place in (self.organisation, self.project)),
            f"{self.organisation.path}users/",
        )
        details = (
            *("/api/users/me/", f"/api/users/{uuid['member']}/", f"/api/users/{uuid['owner']}/"),
            *(self.organisation.path, self.project.path),
            *(f"/api/user-invitations/{self.invitation}/{end}" for end in ("", "details/")),
        )
        for who in ("staff", "owner", "member", ""):
            for path in (*lists, *details):
                yield Case(who, "GET", path)
            for path in lists:
                yield Case(who, "GET", f"{path}?page_size=1&page=2")
            yield Case(who, "GET", f"/api/customers/{'0' * 32}/")
            yield Case(who, "DELETE", "/api/users/")
        for who in ("owner", "outsider", ""):
            for path in ("users", "keys", "user-invitations", "user-group-invitations"):
                wrong = {"email": 7, "role": "x", "scope": "y", "public_key": 1}
                bodies: tuple[Any, ...] = (wrong, [], {})
                yield from (Case(who, "POST", f"/api/{path}/", body) for body in bodies)
            for end in ("add_user/", "update_user/", "delete_user/"):
                unknown = {"user": "0" * 32, "role": "PROJECT.MEMBER"}
                yield Case(who, "POST", f"{self.project.path}{end}", {})
                yield Case(who, "POST", f"{self.project.path}{end}", unknown)


def keys_of(body: Any) -> list[str]:
    rows = body if isinstance(body, list) else [body]
    return list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))


def send(site: Site, recorded: Recorded, case: Case, fields: list[str]) -> list[Any]:
    """Return status, headers and body of a response."""
    query = "&".join(f"field={name}" for name in fields)
    sign = "&" if "?" in case.path else "?"
    path = f"{case.path}{sign}{query}" if query else case.path
    person = recorded.people.get(case.who)
    options = {} if case.body is None else {"json": case.body}
    response = site.request(case.method, path, person, **options)
    names = ("content-type", "x-result-count", "link", "allow", "www-authenticate")
    headers = {name: response.headers[name] for name in names if name in response.headers}
    text = response.text
    if case.path.startswith(NO_FIELDS) and response.status_code == OK:
        known = [{key: row[key] for key in fields} for row in response.json()]
        text = json.dumps(known, separators=(",", ":"), ensure_ascii=False)
    text = normal(json.dumps(headers) + "\n" + text, recorded.numbers)
    return [response.status_code, *text.split("\n", 1)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_version_7_9_0_gets_the_same_bytes(site: Site, world: World) -> None:
    recorded = Recorded(world)
    if os.environ.get("RECORD"):
        answers = []
        for case in recorded.cases():
            fields = []
            if case.method == "GET":
                response = site.get(case.path, recorded.people.get(case.who))
                fields = keys_of(response.json()) if response.status_code == OK else []
            answers.append([fields, *send(site, recorded, case, fields)])
        lines = ",\n".join(json.dumps(answer) for answer in answers)
        FILE.write_text(f"[\n{lines}\n]\n", "utf-8")
        return
    answers = json.loads(FILE.read_text("utf-8"))
    for case, (fields, *expected) in zip(recorded.cases(), answers, strict=True):
        assert send(site, recorded, case, fields) == expected, case
