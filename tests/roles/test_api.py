"""Roles in the Waldur API: staff create, change, disable and delete them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select

from collegium.access.rules import Permission, ScopeKind
from collegium.api.waldur import schemas
from collegium.db.statements import Statement
from collegium.db.tables import events, role_permissions, roles
from tests.access.test_visibility import add_role
from tests.support.site import Site
from tests.support.world import Person, World

PERMISSIONS = [Permission.PROJECT_GRANT.value, Permission.PROJECT_UPDATE.value]


def body(name: str = "PROJECT.REVIEWER", **more: Any) -> dict[str, Any]:
    return {"name": name, "permissions": PERMISSIONS, "content_type": "project", **more}


def create(site: Site, staff: Person, **more: Any) -> dict[str, Any]:
    response = site.post("/api/roles/", staff, json=body(**more))
    assert response.status_code == 201, response.text
    role: dict[str, Any] = response.json()
    return role


def path_of(role: dict[str, Any] | str, action: str = "") -> str:
    uuid = role if isinstance(role, str) else role["uuid"]
    return f"/api/roles/{uuid}/" + (f"{action}/" if action else "")


def result(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json() if response.content else None


def role_events(world: World) -> list[tuple[str, dict[str, Any]]]:
    """Return kind and payload, without the UUID, of the events about roles."""
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(events).order_by(events.c.id)))
    kinds = {"role.created", "role.changed", "role.deleted", "role.enabled", "role.disabled"}
    rows = [row for row in rows if row.kind in kinds]
    assert all(row.actor_id for row in rows)
    return [(row.kind, {k: v for k, v in row.payload.items() if k != "role_uuid"}) for row in rows]


def test_staff_create_a_role(site: Site, world: World) -> None:
    descriptions = {f"description_{code}": f"In {code}" for code in schemas.LANGUAGES}
    json = body(description="Reviews", **descriptions, is_active=False)
    response = site.post("/api/roles/", world.staff, json=json)
    assert response.status_code == 201
    role = response.json()
    shown = {"uuid": role["uuid"], "is_system_role": False, "users_count": 0}
    names = ("template_uuid", "template_name", "customer_uuid", "customer_name")
    shown |= dict.fromkeys(names)
    assert role == json | shown | {"permissions": sorted(PERMISSIONS)}
    assert site.get(path_of(role), world.staff).json() == role
    assert role in site.get("/api/roles/?page_size=300", world.staff).json()
    payload = {"role": "PROJECT.REVIEWER", "permissions": sorted(PERMISSIONS)}
    assert role_events(world) == [("role.created", payload)]


@pytest.mark.parametrize("name", ["support", "owner", "stranger", ""])
def test_only_staff_change_roles(site: Site, world: World, name: str) -> None:
    person = world.person(name, is_support=name == "support") if name else None
    world.organisation(owner=person if name == "owner" else world.person())
    role = create(site, world.staff)
    before = site.get("/api/roles/?page_size=300", world.staff).json()
    expected = 403 if name else 401
    for method, path in (
        ("POST", "/api/roles/"),
        ("PUT", path_of(role)),
        ("PATCH", path_of(role)),
        ("DELETE", path_of(role)),
        ("POST", path_of(role, "enable")),
        ("POST", path_of(role, "disable")),
        ("PUT", path_of(role, "update_descriptions")),
    ):
        # An invalid body is refused with the same status.
        for json in (body("OTHER.ROLE"), {}):
            response = site.request(method, path, person, json=json)
            assert response.status_code == expected, (method, path, response.text)
    assert site.get("/api/roles/?page_size=300", world.staff).json() == before
    assert [kind for kind, _ in role_events(world)] == ["role.created"]


@pytest.mark.parametrize(
    ("more", "errors"),
    [
        ({"name": "PROJECT.MEMBER"}, {"non_field_errors": ["Name should be unique."]}),
        ({"content_type": "offering"}, {"content_type": ["Invalid content type."]}),
        ({"content_type": "group"}, {"content_type": ["Invalid content type."]}),
        ({"content_type": ["project"]}, {"content_type": ["Invalid content type."]}),
        (
            {"permissions": ["PROJECT.UPDATE", "X.Y", "Z"]},
            {"permissions": ["Invalid permissions X.Y,Z"]},
        ),
        (
            {"permissions": [Permission.GROUP_UPDATE.value]},
            {"permissions": ["Invalid permissions GROUP.UPDATE"]},
        ),
        (
            {"permissions": "PROJECT.UPDATE"},
            {"permissions": ['Expected a list of items but got type "str".']},
        ),
        ({"permissions": [["PROJECT.UPDATE"]]}, {"permissions": ["Not a valid string."]}),
        ({"permissions": None}, {"permissions": ["This field may not be null."]}),
        ({"name": " "}, {"name": ["This field may not be blank."]}),
        ({"name": "x" * 151}, {"name": ["Ensure this field has no more than 150 characters."]}),
        ({"is_active": "maybe"}, {"is_active": ["Must be a valid boolean."]}),
        (
            {"name": "PROJECT.MEMBER", "permissions": ["X"], "description": []},
            {
                "non_field_errors": ["Name should be unique."],
                "permissions": ["Invalid permissions X"],
                "description": ["Not a valid string."],
            },
        ),
    ],
)
def test_errors_of_all_fields_are_reported_at_once(
    site: Site, world: World, more: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    assert result(site.post("/api/roles/", world.staff, json=body(**more))) == (400, errors)
    role = create(site, world.staff, name="PROJECT.OTHER")
    response = site.request("PUT", path_of(role), world.staff, json=body(**more))
    assert result(response) == (400, errors)
    assert site.get(path_of(role), world.staff).json() == role


def test_missing_fields_are_reported(site: Site, world: World) -> None:
    names = ("name", "permissions", "content_type")
    required = {name: ["This field is required."] for name in names}
    assert result(site.post("/api/roles/", world.staff, json={})) == (400, required)
    role = create(site, world.staff)
    assert result(site.request("PUT", path_of(role), world.staff, json={})) == (400, required)
    assert result(site.request("PATCH", path_of(role), world.staff, json={})) == (200, role)


def test_permissions_can_be_sent_as_an_object(site: Site, world: World) -> None:
    permissions = {"PROJECT.UPDATE": True, "PROJECT.DELETE": {}, "CUSTOMER.UPDATE": False}
    role = create(site, world.staff, permissions=permissions)
    assert role["permissions"] == ["PROJECT.DELETE", "PROJECT.UPDATE"]
    refused = site.post("/api/roles/", world.staff, json=body("R", permissions={"X": True}))
    assert result(refused) == (400, {"permissions": ["Invalid permissions X"]})


def test_permissions_can_be_sent_separated_by_commas(site: Site, world: World) -> None:
    form = body(permissions=" PROJECT.UPDATE, PROJECT.DELETE,PROJECT.UPDATE,", is_active="False")
    response = site.post("/api/roles/", world.staff, data=form)
    assert response.status_code == 201, response.text
    assert response.json()["permissions"] == ["PROJECT.DELETE", "PROJECT.UPDATE"]
    assert response.json()["is_active"] is False


def role_changes(changes: dict[str, Any], added: list[str]) -> dict[str, Any]:
    """Return the payload of an event that removes the first permissions of a role."""
    return {
        "role": "PROJECT.REVIEWER",
        "changes": changes,
        "permissions_added": added,
        "permissions_removed": sorted(PERMISSIONS),
    }


def test_put_replaces_a_role(site: Site, world: World) -> None:
    role = create(site, world.staff, description="Before", description_et="Enne", is_active=False)
    json = body("PROJECT.OTHER", permissions=[], description_et=None, description_ru="После")
    response = site.request("PUT", path_of(role), world.staff, json=json)
    # Optional fields that are not given stay.
    assert response.json() == role | json | {"description": "Before", "is_active": False}
    assert site.get(path_of(role), world.staff).json() == response.json()
    changes = {
        "name": ["PROJECT.REVIEWER", "PROJECT.OTHER"],
        "descriptions": [{"et": "Enne"}, {"ru": "После"}],
    }
    assert role_events(world)[1:] == [("role.changed", role_changes(changes, []))]


def test_patch_changes_only_the_given_fields(site: Site, world: World) -> None:
    role = create(site, world.staff, description="Before", description_et="Enne")
    for json in (
        {"description": "After"},
        {"description_ru": "После"},
        {"permissions": ["PROJECT.DELETE"]},
        {"name": "PROJECT.OTHER"},
        {"is_active": False},
    ):
        role |= json
        response = site.request("PATCH", path_of(role), world.staff, json=json)
        assert result(response) == (200, role)
    events = role_events(world)
    # The same values again make no event.
    assert site.request("PATCH", path_of(role), world.staff, json=role).status_code == 200
    assert role_events(world) == events
    assert [kind for kind, _ in events] == ["role.created", *["role.changed"] * 4, "role.disabled"]
    assert events[3][1] == role_changes({}, ["PROJECT.DELETE"])


def test_kind_of_a_role_cannot_be_changed(site: Site, world: World) -> None:
    role = create(site, world.staff)
    errors = {"content_type": ["Content type of an existing role cannot be changed."]}
    json = body(content_type="customer")
    for method in ("PUT", "PATCH"):
        response = site.request(method, path_of(role), world.staff, json=json)
        assert result(response) == (400, errors)
    assert site.get(path_of(role), world.staff).json() == role


def test_built_in_role_cannot_be_renamed_or_deleted(site: Site, world: World) -> None:
    role = site.get(path_of(world.role("PROJECT.MEMBER").uuid), world.staff).json()
    json = body("PROJECT.SERF", permissions=[])
    for method in ("PUT", "PATCH"):
        response = site.request(method, path_of(role), world.staff, json=json)
        assert result(response) == (400, ["Changing name for system role is not possible."])
    response = site.request("DELETE", path_of(role), world.staff)
    assert result(response) == (400, ["Destroying of system role is not available."])
    assert site.get(path_of(role), world.staff).json() == role
    # Other fields can be changed.
    json = body("PROJECT.MEMBER", permissions=["PROJECT.UPDATE"], description="Serf")
    response = site.request("PUT", path_of(role), world.staff, json=json)
    assert result(response) == (200, role | json)


def test_update_descriptions_changes_only_descriptions(site: Site, world: World) -> None:
    role = create(site, world.staff, description="Before", description_et="Enne")
    json = {"description": "After", "description_et": None, "description_fr": "Après"}
    path = path_of(role, "update_descriptions")
    response = site.request("PUT", path, world.staff, json=json | {"name": "X", "permissions": []})
    empty = dict.fromkeys((f"description_{code}" for code in schemas.LANGUAGES), None)
    assert result(response) == (200, {**empty, **json})
    assert site.get(path_of(role), world.staff).json() == role | json
    too_long = {"description_fr": "x" * 2001}
    assert site.request("PUT", path, world.staff, json=too_long).status_code == 400
    assert site.get(path_of(role), world.staff).json() == role | json


def test_role_is_disabled_and_enabled(site: Site, world: World) -> None:
    owner, ada, bob = world.person("owner"), world.person("ada"), world.person("bob")
    project = world.project(world.organisation(owner=owner))
    role = create(site, world.staff)
    world.give_role(ada, role["name"], project)
    grant = {"user": bob.uuid, "role": role["uuid"]}
    disabled = (200, {"detail": "The role PROJECT.REVIEWER has been disabled"})
    enabled = (200, {"detail": "The role PROJECT.REVIEWER has been enabled"})
    for _ in range(2):
        assert result(site.post(path_of(role, "disable"), world.staff)) == disabled
    refused = site.post(f"{project.path}add_user/", owner, json=grant)
    assert result(refused) == (400, {"non_field_errors": ["Role is not active."]})
    # Existing grants stay valid.
    assert site.request("PATCH", project.path, ada, json={"description": "D"}).status_code == 200
    for _ in range(2):
        assert result(site.post(path_of(role, "enable"), world.staff)) == enabled
    assert site.post(f"{project.path}add_user/", owner, json=grant).status_code == 201
    kinds = [kind for kind, _ in role_events(world)]
    assert kinds == ["role.created", "role.disabled", "role.enabled"]


def test_change_of_permissions_applies_at_once(site: Site, world: World) -> None:
    ada = world.person("ada")
    project = world.project(world.organisation(owner=world.person()))
    role = create(site, world.staff, permissions=[])
    world.give_role(ada, role["name"], project)
    for permissions, status in (([], 403), (["PROJECT.UPDATE"], 200), (["PROJECT.DELETE"], 403)):
        site.request("PATCH", path_of(role), world.staff, json={"permissions": permissions})
        response = site.request("PATCH", project.path, ada, json={"description": "D"})
        assert response.status_code == status, permissions


@pytest.mark.parametrize("use", ["active grant", "ended grant", "temporary grant", "invitation"])
def test_used_role_cannot_be_deleted(site: Site, world: World, use: str) -> None:
    project, person = world.project(world.organisation(owner=world.person())), world.person()
    role = create(site, world.staff)
    if use == "invitation":
        world.invite(world.staff, "new@example.org", role["name"], project)
    else:
        until = datetime.now(UTC) + timedelta(days=1) if use == "temporary grant" else None
        world.give_role(person, role["name"], project, until)
    if use == "ended grant":
        world.remove_role(person, role["name"], project)
    response = site.request("DELETE", path_of(role), world.staff)
    assert result(response) == (400, ["Role is still used."])
    assert site.get(path_of(role), world.staff).status_code == 200


def test_unused_role_can_be_deleted(site: Site, world: World) -> None:
    role = create(site, world.staff)
    assert result(site.request("DELETE", path_of(role), world.staff)) == (204, None)
    assert site.get(path_of(role), world.staff).status_code == 404
    assert site.request("DELETE", path_of(role), world.staff).status_code == 404
    with world.database.read() as tx:
        query = select(role_permissions).outerjoin(roles).where(roles.c.id.is_(None))
        assert tx.fetch_all(Statement[Any](query)) == []
    assert [kind for kind, _ in role_events(world)] == ["role.created", "role.deleted"]
    assert create(site, world.staff)["uuid"] != role["uuid"]


def test_waldur_api_has_no_roles_of_groups(site: Site, world: World) -> None:
    with world.database.write() as tx:
        name = add_role(tx, "GROUP.CAPTAIN", ScopeKind.GROUP, [Permission.GROUP_UPDATE])
        row: Any = tx.fetch_one(Statement[Any](select(roles).where(roles.c.name == name)))
    response = site.get("/api/roles/?page_size=300", world.staff)
    assert int(response.headers["X-Result-Count"]) == len(response.json())
    assert not [role for role in response.json() if role["name"].startswith("GROUP.")]
    assert site.get(path_of(row.uuid), world.staff).status_code == 404
    for method, action in (
        ("PUT", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "enable"),
        ("POST", "disable"),
        ("PUT", "update_descriptions"),
    ):
        response = site.request(method, path_of(row.uuid, action), world.staff, json=body("X"))
        assert response.status_code == 404, (method, action)
    project = world.project(world.organisation(owner=world.person()))
    for key in (name, row.uuid):
        grant = {"user": world.person().uuid, "role": key}
        response = site.post(f"{project.path}add_user/", world.staff, json=grant)
        assert result(response) == (400, {"role": ["Role is not found."]})
    texts = []
    for uuid in (row.uuid, uuid4().hex):
        invitation = {"role": uuid, "scope": project.path, "email": "new@example.org"}
        response = site.post("/api/user-invitations/", world.staff, json=invitation)
        assert response.status_code == 400
        texts.append(response.text.replace(uuid, ""))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_unknown_role_gives_404(site: Site, world: World, method: str) -> None:
    for uuid in (uuid4().hex, "nonsense"):
        assert site.request(method, path_of(uuid), world.staff, json=body()).status_code == 404


def test_concurrent_roles_of_one_name_create_one(site: Site, world: World) -> None:
    def create_role(name: str) -> httpx.Response:
        return site.post("/api/roles/", world.staff, json=body(name))

    for number in range(5):
        with ThreadPoolExecutor(2) as pool:
            responses = list(pool.map(create_role, [f"RACE.{number}"] * 2))
        created, refused = sorted(responses, key=lambda response: response.status_code)
        assert created.status_code == 201
        assert result(refused) == (400, {"non_field_errors": ["Name should be unique."]})


def test_concurrent_changes_of_permissions_are_serialised(site: Site, world: World) -> None:
    role = create(site, world.staff, permissions=[])
    permissions = [p.value for p in Permission if not p.name.startswith("GROUP_")]

    def change(values: list[str]) -> int:
        json = {"permissions": values}
        return site.request("PATCH", path_of(role), world.staff, json=json).status_code

    for _ in range(5):
        change([])
        with ThreadPoolExecutor(2) as pool:
            assert [*pool.map(change, [permissions, permissions[:3]])] == [200, 200]
        stored = site.get(path_of(role), world.staff).json()["permissions"]
        assert stored in (sorted(permissions), sorted(permissions[:3]))


def test_built_in_roles_are_public(site: Site, world: World) -> None:
    custom = create(site, world.staff)
    response = site.get("/api/roles/?page_size=300")
    assert response.status_code == 200, response.text
    listed = response.json()
    assert {role["name"] for role in listed} >= {"CUSTOMER.OWNER", "PROJECT.MANAGER"}
    assert all(role["is_system_role"] and "users_count" not in role for role in listed)
    head = site.request("HEAD", "/api/roles/")
    assert (head.status_code, head.content) == (200, b"")
    for counted in (response, head):
        assert counted.headers["x-result-count"] == str(len(listed))
    for role in listed:
        assert result(site.get(path_of(role))) == (200, role)
    assert site.get("/api/roles/", "not-a-token").status_code == 401
    # Custom roles are visible to accounts only.
    for query in ("name=REVIEWER", "query=REVIEWER", "is_system_role=false"):
        assert result(site.get(f"/api/roles/?{query}")) == (200, []), query
        assert site.request("HEAD", f"/api/roles/?{query}").headers["x-result-count"] == "0"
        rows = site.get(f"/api/roles/?{query}", world.person()).json()
        assert [role["uuid"] for role in rows] == [custom["uuid"]], query
    unknown = site.get(path_of(uuid4().hex))
    assert result(site.get(path_of(custom))) == result(unknown)
    assert unknown.status_code == 404
    assert site.get(path_of(custom), world.person()).status_code == 200
