"""An organisation that outsiders ask about: what is staff's alone, what OPTIONS tell, what is sent.

Who may do what on every route is the matrix of ``tests/matrix``. A route on a resource that is not
known here fails until somebody gives it an object to ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select

from collegium.access.rules import ScopeKind
from collegium.api.request import METHODS, Endpoint
from collegium.api.waldur import fields, roles
from collegium.api.waldur.routes import ROUTES
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import metadata
from collegium.events import queries as event_queries
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.access.test_visibility import add_role
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, Place, World

READS = {"GET", "HEAD"}
CIVIL = "38001085718"

# What is staff's alone: everybody else is told so, whatever they ask for. It has a test of its own.
OF_STAFF = {"/api/auth-tokens/", "/api/auth-tokens/{user_id}/"}
# Who may is refused all the same, for want of a directory to ask; it has tests of its own.
# So is whoever has no link from a mail to staff.
ELSEWHERE = {
    ("/api/remote-eduteams/", "POST"),
    ("/api/users/{uuid}/pull_remote_user/", "POST"),
    ("/api/user-invitations/approve/", "POST"),
    ("/api/user-invitations/reject/", "POST"),
}
# What ends one's own session is no question of outsiders; the sweep would be logged out.
# Nor is what everybody adds to their own account.
OWN_DEEDS = {
    ("/api-auth/logout/", "POST"),
    ("/api/keys/", "POST"),
    ("/api/user-group-invitations/{uuid}/submit_request/", "POST"),
}


@dataclass(frozen=True)
class Scene:
    """Two organisations; everything that is asked for belongs to the first."""

    organisation: Place
    project: Place
    member: Person
    owner: Person
    invitation: str
    locked: str
    link: str
    request: str
    grant: str
    role: str
    owner_role: str
    unused_role: str
    key: str
    event: str
    stranger: Person
    foreigner: Person
    former: Person
    sibling: Person
    support: Person

    def named(self, resource: str) -> str:
        """The UUID of the object to ask a resource for."""
        known = {
            "users": self.member.uuid,
            "customers": self.organisation.uuid,
            "projects": self.project.uuid,
            "user-invitations": self.locked,
            "user-group-invitations": self.link,
            "user-permission-requests": self.request,
            "user-permissions": self.grant,
            "roles": self.unused_role,
            "keys": self.key,
            "events": self.event,
        }
        assert resource in known, (
            f"/api/{resource}/ is new: add an object of that kind to the scene of the outsider "
            "sweep, one that belongs to the first organisation"
        )
        return known[resource]

    def marks(self) -> set[str]:
        """Texts that nobody outside may read anywhere."""
        return {
            self.organisation.uuid,
            self.organisation.name,
            self.project.uuid,
            self.project.name,
            self.member.uuid,
            self.member.email,
            self.owner.uuid,
            self.owner.email,
            self.invitation,
            self.locked,
            self.link,
            self.request,
            self.grant,
            self.key,
            self.event,
        }


@pytest.fixture
def scene(world: World) -> Scene:
    owner, member = world.person("secretowner"), world.person("secretmember")
    organisation = world.organisation("Secret Society", owner=owner)
    project = world.project(organisation, "Secret Engine")
    world.seat(member, "PROJECT.MEMBER", project)

    sibling = world.person("sibling")
    world.seat(sibling, "PROJECT.MANAGER", world.project(organisation, "Sibling Engine"))

    foreigner = world.person("foreigner")
    elsewhere = world.organisation("Elsewhere", owner=foreigner)
    world.seat(foreigner, "PROJECT.MANAGER", world.project(elsewhere, "Engine Elsewhere"))

    former = world.person("former")
    for role, place in (("CUSTOMER.OWNER", organisation), ("PROJECT.MANAGER", project)):
        world.seat(former, role, place)
        world.unseat(former, role, place)

    with world.database.write() as tx:
        key = ssh_key_actions.create(tx, owner.actor, parse(new_key()), "of the owner")
        add_role(tx, "CUSTOM.UNUSED", ScopeKind.PROJECT, ())
        named = {"related": member.uuid, "project": project.uuid}
        (event,) = event_queries.listing.page(tx, world.staff.actor, named, (), 2, 0)

    asker = world.person("asker")
    link = world.open(world.staff, "CUSTOMER.OWNER", organisation)

    return Scene(
        organisation=organisation,
        project=project,
        member=member,
        owner=owner,
        invitation=world.invite(owner, "invited@example.org", "PROJECT.ADMIN", project),
        locked=world.invite(
            owner, "locked@example.org", "PROJECT.ADMIN", project, civil_number=CIVIL
        ),
        link=link,
        request=world.ask(asker, world.open(owner, "PROJECT.ADMIN", project)),
        grant=next(row.uuid for row in world.grants_in(project)),
        role=world.role("PROJECT.MEMBER").uuid,
        owner_role=world.role("CUSTOMER.OWNER").uuid,
        unused_role=world.role("CUSTOM.UNUSED").uuid,
        key=key,
        event=event.uuid,
        stranger=world.person("stranger"),
        foreigner=foreigner,
        former=former,
        sibling=sibling,
        support=world.person("support", is_support=True),
    )


def operations() -> Iterator[tuple[str, str, Endpoint | None]]:
    """Every path with every method; None: the path does not have it."""
    for path, known in ROUTES.items():
        for method in METHODS if path not in OF_STAFF else ():
            if method == "OPTIONS":
                continue  # it asks for nothing; see the test of its own
            yield path, method, known.get("GET" if method == "HEAD" else method)


def resource_of(path: str) -> str:
    return path.split("/")[2]


SAMPLES: dict[type[fields.Field], Any] = {
    fields.Boolean: False,
    fields.Integer: 60,
    fields.Decimal: 1.5,
    fields.Date: (datetime.now(UTC) + timedelta(days=30)).date().isoformat(),
    fields.DateTime: (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    fields.Uuid: uuid4().hex,
    fields.File: None,
    fields.StringList: ["x"],
    roles.ContentType: "project",
    roles.Permissions: ["PROJECT.UPDATE"],
}
TEXTS = (
    "EE",
    "somebody@example.org",
    "+372 5555",
    "1.00",
    "10.0.0.0/8",
    "https://example.org/",
)


def sample(name: str, kind: fields.Field) -> Any:
    """A value that a field of a body takes."""
    if isinstance(kind, fields.Text):
        return next(text for text in TEXTS if is_taken(kind, text))
    if isinstance(kind, fields.Choice):
        return next(iter(kind.of))
    assert type(kind) in SAMPLES, f"add a sample of {type(kind).__name__}, for {name}"
    return SAMPLES[type(kind)]


def is_taken(kind: fields.Field, text: str) -> bool:
    try:
        kind.read(text, form=False)
    except fields.ValidationError:
        return False
    return True


def body_for(
    path: str, operation: Endpoint | None, scene: Scene, who: Person | None
) -> dict[str, Any]:
    """A body that would be taken from somebody who may do this."""
    if operation is None or operation.body is None:
        return {}
    body = {name: sample(name, kind) for name, kind in operation.body.items()}
    objects = {
        "customer": scene.organisation.path,
        "scope": scene.project.path,
        "role": scene.owner_role if resource_of(path) == "customers" else scene.role,
        "project_role": scene.role,
        "user": (who or scene.stranger).uuid,
        "slug": f"s-{uuid4().hex}",
        "code": uuid4().hex,
        "password": "not-the-right-one-41",
        "new_password": "purple-tram-lifts-9",
    }
    if resource_of(path) == "roles":
        objects["name"] = f"CUSTOM.{uuid4().hex}"
    return body | {name: value for name, value in objects.items() if name in body}


def call(
    site: Site, path: str, method: str, who: Person | None, body: dict[str, Any]
) -> httpx.Response:
    given = {} if method in READS else {"json": body}
    return site.request(method, path, who, **given)


def contents(database: Database) -> dict[str, list[Any]]:
    """Every row there is, save the history, what is counted, and when a token was used."""
    found = {}
    with database.read() as tx:
        for table in metadata.sorted_tables:
            if table.name in {"events", "rate_limits"}:
                continue
            columns = [c for c in table.c if (table.name, c.name) != ("tokens", "last_used_at")]
            order = list(table.primary_key.columns)
            found[table.name] = tx.fetch_all(Statement(select(*columns).order_by(*order)))
    return found


def test_every_object_route_has_an_object(scene: Scene) -> None:
    for path in ROUTES.keys() - OF_STAFF:
        assert path.count("{") == path.count("{uuid}") <= 1, path
        if "{uuid}" in path:
            assert re.fullmatch(r"[0-9a-f]{32}", scene.named(resource_of(path)))


def test_the_bodies_are_well_formed(site: Site, scene: Scene, world: World) -> None:
    """The twin of the sweep: it is not for their form that its requests are refused."""
    writes = [one for one in operations() if one[1] not in READS and one[2] is not None]
    # What removes comes last, so that there is something to change before.
    writes.sort(key=lambda one: (one[1] == "DELETE", "delete" in one[0], "cancel" in one[0]))
    done = 0
    for path, method, operation in writes:
        if (path, method) in OWN_DEEDS | ELSEWHERE:
            continue
        uuid = scene.named(resource_of(path)) if "{uuid}" in path else ""
        if resource_of(path) == "user-permission-requests":
            # Each can be decided once.
            link = world.open(world.staff, "PROJECT.ADMIN", scene.project)
            uuid = world.ask(world.person(), link)
        body = body_for(path, operation, scene, scene.stranger)
        answer = call(site, path.replace("{uuid}", uuid), method, world.staff, body)
        assert answer.status_code in {200, 201, 204, 401, 404, 409}, (
            f"{method} {path}: {answer.status_code} {answer.text}"
        )
        done += answer.is_success
    assert done > len(writes) / 2


@pytest.mark.parametrize("name", ["stranger", "foreigner", "owner", "support", ""])
def test_what_is_for_staff_is_for_nobody_else(
    site: Site, scene: Scene, database: Database, name: str
) -> None:
    who: Person | None = getattr(scene, name) if name else None
    before = contents(database)
    for path in OF_STAFF:
        for method, number in ((m, n) for m in METHODS for n in (scene.owner.id, 999_999)):
            if method == "OPTIONS":
                continue
            answer = call(site, path.replace("{user_id}", str(number)), method, who, {})
            there = ("GET" if method == "HEAD" else method) in ROUTES[path]
            expected = 401 if who is None else 403 if there else 405
            assert answer.status_code == expected, f"{method} {path}: {answer.text}"
            assert not [mark for mark in scene.marks() if mark in answer.text]
    assert contents(database) == before


def test_options_are_the_same_for_every_object(site: Site, scene: Scene) -> None:
    for path in ROUTES.keys() - OF_STAFF:
        uuid, unknown = scene.named(resource_of(path)) if "{uuid}" in path else "", uuid4().hex
        answers = [
            site.request("OPTIONS", path.replace("{uuid}", one), who)
            for one in (uuid, unknown)
            for who in (None, scene.stranger, scene.owner)
        ]
        assert len({(answer.status_code, answer.content) for answer in answers}) == 1, path
        assert answers[0].content == b"", path
