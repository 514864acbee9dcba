"""Outsiders learn nothing and change nothing: every route, every method, every kind of outsider.

The sweep reads the table of routes, so a new route is covered the day it is born. A route on a
resource that is not known here fails the sweep until somebody gives it an object to ask for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from collegium.actions import keys as key_actions
from collegium.dialects.http import METHODS, Operation
from collegium.dialects.waldur import fields, roles
from collegium.dialects.waldur.routes import ROUTES
from collegium.rules.access import Kind
from collegium.rules.keys import parse
from collegium.store import events
from collegium.store.db import Prepared
from collegium.store.tables import metadata
from tests.remote import new_key
from tests.store.test_access import add_role

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from collegium.store.db import Database
    from tests.site import Site
    from tests.world import Person, Place, World

READS = {"GET", "HEAD"}
CIVIL = "38001085718"

# What everybody who is logged in may have: it is their own, or the same for all of them.
OF_EVERYBODY = {
    "/api/": "says which resources there are",
    "/api/users/me/": "is oneself",
    "/api/customers/countries/": "the countries are the same for all",
    "/api/roles/": "the roles are the same for all",
    "/api/roles/{uuid}/": "the roles are the same for all",
    "/api/events/count/": "counts what one may list",
    "/api/events/event_groups/": "the types are the same for all",
    "/api/events/scope_types/": "the types are the same for all",
    "/api/configuration/": "front ends ask it before anybody is logged in",
    "/api/version/": "says what is installed",
}
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
# The UUID of an invitation is a capability: this is what it opens without an account.
CAPABILITIES = {("/api/user-invitations/{uuid}/check/", "POST")}
# So is that of an open invitation, for whoever is logged in; only a public one is for nobody too.
_LINK = "/api/user-group-invitations/{uuid}/"
LINKS = {
    *((_LINK, method) for method in ("GET", "HEAD")),
    *((f"{_LINK}projects/", method) for method in ("GET", "HEAD")),
}
CLOSING = (f"{_LINK}cancel/", "POST")  # tells whoever has it that it is there


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
        key = key_actions.create(tx, owner.actor, parse(new_key()), "of the owner")
        add_role(tx, "CUSTOM.UNUSED", Kind.PROJECT, ())
        named = {"related": member.uuid, "project": project.uuid}
        (event,) = events.listing.page(tx, world.staff.actor, named, (), 2, 0)

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


def operations() -> Iterator[tuple[str, str, Operation | None]]:
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
    fields.Day: (datetime.now(UTC) + timedelta(days=30)).date().isoformat(),
    fields.Moment: (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    fields.Uuid: uuid4().hex,
    fields.File: None,
    fields.Texts: ["x"],
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
    except fields.Wrong:
        return False
    return True


def body_for(
    path: str, operation: Operation | None, scene: Scene, who: Person | None
) -> dict[str, Any]:
    """A body that would be taken from somebody who may do this."""
    if operation is None or operation.form is None:
        return {}
    body = {name: sample(name, kind) for name, kind in operation.form.items()}
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
            if table.name in {"events", "tries"}:
                continue
            columns = [c for c in table.c if (table.name, c.name) != ("tokens", "used")]
            order = list(table.primary_key.columns)
            found[table.name] = tx.all(Prepared(select(*columns).order_by(*order)))
    return found


def without(text: str, *uuids: str) -> str:
    for uuid in uuids:
        text = text.replace(uuid, "…")
    return text


def test_every_object_route_has_an_object(scene: Scene) -> None:
    for path in ROUTES.keys() - OF_STAFF:
        assert path.count("{") == path.count("{uuid}") <= 1, path
        if "{uuid}" in path:
            assert re.fullmatch(r"[0-9a-f]{32}", scene.named(resource_of(path)))


def test_the_exceptions_are_routes() -> None:
    assert set(OF_EVERYBODY) <= set(ROUTES)
    assert all(method in ROUTES[path] for path, method in OWN_DEEDS | CAPABILITIES)
    # Whatever is open and names an object must have been thought about.
    is_open = {
        (path, method)
        for path, method, operation in operations()
        if operation is not None and operation.open and "{uuid}" in path
    }
    assert is_open == CAPABILITIES | {one for one in LINKS if "projects" not in one[0]}


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


def test_nobody_is_asked_who_they_are(site: Site, scene: Scene, database: Database) -> None:
    before = contents(database)
    for path, method, operation in operations():
        is_open = any(one.open for one in ROUTES[path].values())
        uuid = scene.named(resource_of(path)) if "{uuid}" in path else ""
        answer = call(
            site, path.replace("{uuid}", uuid), method, None, body_for(path, operation, scene, None)
        )
        why = f"{method} {path}: {answer.status_code} {answer.text}"
        if not is_open:
            assert answer.status_code == 401, why
            assert answer.headers["WWW-Authenticate"] == "Token", why
            if method != "HEAD":
                said = {"detail": "Authentication credentials were not provided."}
                assert answer.json() == said, why
        elif operation is None:
            assert answer.status_code == 405, why
        elif operation.open and path in OF_EVERYBODY:
            assert answer.status_code == 200, why
        elif (path, method) in CAPABILITIES:
            assert answer.status_code == 200, why
            assert set(answer.json()) <= {"email", "civil_number_required"}, why
        elif operation.many:
            assert answer.status_code == 200, why
            assert answer.text in {"", "[]"}, why
        else:
            assert answer.status_code in {400, 401, 404}, why
    assert contents(database) == before


@pytest.mark.parametrize("name", ["stranger", "foreigner", "former"])
def test_an_outsider_learns_and_changes_nothing(
    site: Site, scene: Scene, database: Database, name: str
) -> None:
    who: Person = getattr(scene, name)
    before = contents(database)
    for path, method, operation in operations():
        if (path, method) in OWN_DEEDS:
            continue
        answer = ask_as_outsider(site, scene, who, path, method, operation)
        why = f"{method} {path} as {name}: {answer.status_code} {answer.text}"
        if (path, method) not in CAPABILITIES | LINKS:
            leaked = [mark for mark in scene.marks() if mark in without(answer.text, *sent(scene))]
            assert not leaked, why
        if answer.is_success and "{uuid}" not in path and path not in OF_EVERYBODY:
            # A list is there for everybody, as long as it shows them nothing foreign.
            assert operation is not None, why
            assert operation.many, why
            assert method in READS, why
    assert contents(database) == before


def sent(scene: Scene) -> tuple[str, ...]:
    """What a caller put into a request may come back in its refusal."""
    return (f"{scene.project.path}", f"{scene.organisation.path}")


def ask_as_outsider(
    site: Site, scene: Scene, who: Person, path: str, method: str, operation: Operation | None
) -> httpx.Response:
    """Ask for a foreign object, or for none; the refusal must be that of an unknown object."""
    body = body_for(path, operation, scene, who)
    unknown = uuid4().hex
    if "{uuid}" not in path:
        answer = call(site, path, method, who, body)
        why = f"{method} {path}: {answer.status_code} {answer.text}"
        if operation is None:
            assert answer.status_code == 405, why
        elif not answer.is_success and "{" not in path:
            # Nor does a body tell a foreign object from an unknown one.
            foreign = (scene.project.uuid, scene.organisation.uuid)
            other = {
                name: re.sub("|".join(foreign), unknown, value) if isinstance(value, str) else value
                for name, value in body.items()
            }
            same = call(site, path, method, who, other)
            assert same.status_code == answer.status_code, why
            assert without(same.text, unknown) == without(answer.text, *foreign), why
        return answer
    uuid = scene.named(resource_of(path))
    answer = call(site, path.replace("{uuid}", uuid), method, who, body)
    why = f"{method} {path}: {answer.status_code} {answer.text}"
    if operation is None:
        assert answer.status_code == 405, why
    elif resource_of(path) == "roles" and method not in READS:
        # Whoever reads what everybody reads is told that the deed is staff's.
        assert answer.status_code == 403, why
    elif path in OF_EVERYBODY or (path, method) in CAPABILITIES | LINKS:
        assert answer.status_code == 200, why
        # Where a link leads is no secret; what else there is stays one.
        assert scene.project.uuid not in answer.text, why
    elif (path, method) == CLOSING:
        assert answer.status_code == 403, why
    else:
        assert answer.status_code == 404, why
        same = call(site, path.replace("{uuid}", unknown), method, who, body)
        assert same.status_code == 404, why
        assert without(same.text, unknown) == without(answer.text, uuid), why
        assert set(same.headers) == set(answer.headers), why
    return answer


def test_a_sibling_sees_the_organisation_and_nothing_of_the_other_project(
    site: Site, scene: Scene, database: Database
) -> None:
    """A manager of another project of the same organisation."""
    who = scene.sibling
    before = contents(database)
    ours = {scene.organisation.uuid, scene.organisation.name, scene.owner.uuid, scene.owner.email}
    for path, method, operation in operations():
        if (path, method) in OWN_DEEDS:
            continue
        if resource_of(path) == "customers" and "{uuid}" in path:
            answer = call(
                site,
                path.replace("{uuid}", scene.organisation.uuid),
                method,
                who,
                body_for(path, operation, scene, who),
            )
            may = method in READS and not path.endswith("/users/")
            expected = 405 if operation is None else 200 if may else 403
            assert answer.status_code == expected, f"{method} {path}: {answer.text}"
        elif (path, method) == ("/api/projects/", "POST"):
            answer = call(site, path, method, who, body_for(path, operation, scene, who))
            assert answer.status_code == 403, answer.text
        else:
            answer = ask_as_outsider(site, scene, who, path, method, operation)
        why = f"{method} {path}: {answer.status_code} {answer.text}"
        if (path, method) not in CAPABILITIES | LINKS:
            hidden = scene.marks() - ours
            assert not [m for m in hidden if m in without(answer.text, *sent(scene))], why
    assert contents(database) == before


def test_support_reads_everything_and_changes_nothing(
    site: Site, scene: Scene, database: Database
) -> None:
    who = scene.support
    before = contents(database)
    for path, method, operation in operations():
        if (path, method) in OWN_DEEDS:
            continue
        # An invitation that anybody else with its UUID could take.
        invites = resource_of(path) == "user-invitations"
        named = scene.named(resource_of(path)) if "{uuid}" in path else ""
        uuids = [scene.invitation, scene.locked] if invites else [named]
        for uuid in uuids:
            answer = call(
                site,
                path.replace("{uuid}", uuid),
                method,
                who,
                body_for(path, operation, scene, scene.stranger),
            )
            why = f"{method} {path}: {answer.status_code} {answer.text}"
            if operation is None:
                assert answer.status_code == 405, why
            elif path == "/api/users/{uuid}/token/":
                assert answer.status_code == 403, why  # somebody else's secret
            elif method in READS or (path, method) in CAPABILITIES:
                assert answer.status_code == 200, why
            elif operation.open:
                assert answer.status_code in {400, 401, 404}, why
            elif path.endswith("/accept/"):
                assert answer.status_code == 404, why
            else:
                assert answer.status_code == 403, why
    assert contents(database) == before


@pytest.mark.parametrize("name", ["support", "owner"])
def test_lists_show_to_those_who_may_what_they_hide_from_strangers(
    site: Site, scene: Scene, name: str
) -> None:
    """The twin of the sweep: the marks that it looks for are there to be found."""
    who: Person = getattr(scene, name)
    text = "".join(
        site.get(f"{path}?page_size=300", who).text
        for path, known in ROUTES.items()
        if "GET" in known and known["GET"].many and "{" not in path
    )
    hidden = {mark for mark in scene.marks() if mark not in text}
    # A grant is listed without its own UUID.
    assert hidden == {scene.grant}
