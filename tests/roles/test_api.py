"""Roles: made, changed, switched and deleted by staff, and by nobody else."""

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
from collegium.db.statements import Row, Statement
from collegium.db.tables import events, role_permissions, roles
from tests.access.test_visibility import add_role
from tests.support.site import Site
from tests.support.world import Person, Place, World

USED = (400, ["Role is still used."])
GIVE = [Permission.PROJECT_GRANT.value, Permission.PROJECT_UPDATE.value]


def body(name: str = "PROJECT.REVIEWER", **more: Any) -> dict[str, Any]:
    return {"name": name, "permissions": GIVE, "content_type": "project", **more}


def create(site: Site, who: Person, **more: Any) -> dict[str, Any]:
    answer = site.post("/api/roles/", who, json=body(**more))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def path_of(role: dict[str, Any] | str, action: str = "") -> str:
    uuid = role if isinstance(role, str) else role["uuid"]
    return f"/api/roles/{uuid}/" + (f"{action}/" if action else "")


def said(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json() if answer.content else None


def history(world: World) -> list[tuple[str, dict[str, Any]]]:
    """What was told of roles themselves, without who they are."""
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement(select(events).order_by(events.c.id)))
    kinds = {"role.created", "role.changed", "role.deleted", "role.enabled", "role.disabled"}
    assert all(row.actor_id for row in rows if row.kind in kinds)
    return [
        (row.kind, {k: v for k, v in row.payload.items() if k != "role_uuid"})
        for row in rows
        if row.kind in kinds
    ]


def test_staff_make_a_role_as_it_was_described(site: Site, world: World) -> None:
    words = {f"description_{code}": f"In {code}" for code in schemas.LANGUAGES}
    sent = body(description="Reviews", **words, is_active=False)
    answer = site.post("/api/roles/", world.staff, json=sent)
    assert answer.status_code == 201
    made = answer.json()
    assert made == {
        **sent,
        "uuid": made["uuid"],
        "is_system_role": False,
        "users_count": 0,
        "permissions": sorted(GIVE),
    }
    assert site.get(path_of(made), world.staff).json() == made
    assert made in site.get("/api/roles/?page_size=300", world.staff).json()
    assert history(world) == [
        ("role.created", {"role": "PROJECT.REVIEWER", "permissions": sorted(GIVE)})
    ]


@pytest.mark.parametrize("name", ["support", "owner", "stranger", ""])
def test_nobody_but_staff_touches_a_role(site: Site, world: World, name: str) -> None:
    owner = world.person("owner")
    world.organisation(owner=owner)
    people = {
        "owner": owner,
        "support": world.person("support", is_support=True),
        "stranger": world.person("stranger"),
        "": None,
    }
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
        # Also with a body that nobody could take: what is wrong with it is not their business.
        for sent in (body("OTHER.ROLE"), {}):
            answer = site.request(method, path, people[name], json=sent)
            assert answer.status_code == expected, (method, path, answer.text)
    assert site.get("/api/roles/?page_size=300", world.staff).json() == before
    assert [kind for kind, _ in history(world)] == ["role.created"]


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
def test_what_cannot_be_taken_is_told_for_all_fields_at_once(
    site: Site, world: World, more: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    answer = site.post("/api/roles/", world.staff, json=body(**more))
    assert said(answer) == (400, errors)
    role = create(site, world.staff, name="PROJECT.OTHER")
    answer = site.request("PUT", path_of(role), world.staff, json=body(**more))
    assert said(answer) == (400, errors)
    assert site.get(path_of(role), world.staff).json() == role


def test_what_is_missing_is_told(site: Site, world: World) -> None:
    names = ("name", "permissions", "content_type")
    required = {name: ["This field is required."] for name in names}
    assert said(site.post("/api/roles/", world.staff, json={})) == (400, required)
    role = create(site, world.staff)
    assert said(site.request("PUT", path_of(role), world.staff, json={})) == (400, required)
    assert said(site.request("PATCH", path_of(role), world.staff, json={})) == (200, role)


def test_the_newest_client_can_only_send_an_object(site: Site, world: World) -> None:
    sent = {"PROJECT.UPDATE": True, "PROJECT.DELETE": {}, "CUSTOMER.UPDATE": False}
    assert create(site, world.staff, permissions=sent)["permissions"] == [
        "PROJECT.DELETE",
        "PROJECT.UPDATE",
    ]
    wrong = site.post("/api/roles/", world.staff, json=body("R", permissions={"X": True}))
    assert said(wrong) == (400, {"permissions": ["Invalid permissions X"]})


def test_a_form_lists_permissions_with_commas(site: Site, world: World) -> None:
    sent = body(permissions=" PROJECT.UPDATE, PROJECT.DELETE,PROJECT.UPDATE,", is_active="False")
    answer = site.post("/api/roles/", world.staff, data=sent)
    assert answer.status_code == 201, answer.text
    assert answer.json()["permissions"] == ["PROJECT.DELETE", "PROJECT.UPDATE"]
    assert answer.json()["is_active"] is False


def test_put_says_what_a_role_is(site: Site, world: World) -> None:
    role = create(site, world.staff, description="Before", description_et="Enne", is_active=False)
    sent = body("PROJECT.OTHER", permissions=[], description_et=None, description_ru="После")
    answer = site.request("PUT", path_of(role), world.staff, json=sent)
    # What was not said stays.
    assert answer.json() == role | sent | {"description": "Before", "is_active": False}
    assert site.get(path_of(role), world.staff).json() == answer.json()
    assert history(world)[1:] == [
        (
            "role.changed",
            {
                "role": "PROJECT.REVIEWER",
                "changes": {
                    "name": ["PROJECT.REVIEWER", "PROJECT.OTHER"],
                    "descriptions": [{"et": "Enne"}, {"ru": "После"}],
                },
                "permissions_added": [],
                "permissions_removed": sorted(GIVE),
            },
        )
    ]


def test_patch_changes_what_it_names_and_nothing_else(site: Site, world: World) -> None:
    role = create(site, world.staff, description="Before", description_et="Enne")
    for sent in (
        {"description": "After"},
        {"description_ru": "После"},
        {"permissions": ["PROJECT.DELETE"]},
        {"name": "PROJECT.OTHER"},
        {"is_active": False},
    ):
        role |= sent
        answer = site.request("PATCH", path_of(role), world.staff, json=sent)
        assert said(answer) == (200, role)
    told = history(world)
    # Saying the same again is no action.
    assert said(site.request("PATCH", path_of(role), world.staff, json=role))[0] == 200
    assert history(world) == told
    assert [kind for kind, _ in told] == ["role.created", *["role.changed"] * 4, "role.disabled"]
    assert told[3][1] == {
        "role": "PROJECT.REVIEWER",
        "changes": {},
        "permissions_added": ["PROJECT.DELETE"],
        "permissions_removed": sorted(GIVE),
    }


def test_a_role_stays_of_its_kind(site: Site, world: World) -> None:
    role = create(site, world.staff)
    fixed = {"content_type": ["Content type of an existing role cannot be changed."]}
    for method in ("PUT", "PATCH"):
        answer = site.request(
            method, path_of(role), world.staff, json=body(content_type="customer")
        )
        assert said(answer) == (400, fixed)
    assert site.get(path_of(role), world.staff).json() == role


def test_a_system_role_keeps_its_name_and_stays(site: Site, world: World) -> None:
    role = site.get(path_of(world.role("PROJECT.MEMBER").uuid), world.staff).json()
    sent = body("PROJECT.SERF", permissions=[])
    for method in ("PUT", "PATCH"):
        answer = site.request(method, path_of(role), world.staff, json=sent)
        assert said(answer) == (400, ["Changing name for system role is not possible."])
    gone = site.request("DELETE", path_of(role), world.staff)
    assert said(gone) == (400, ["Destroying of system role is not available."])
    assert site.get(path_of(role), world.staff).json() == role
    # All the rest of it may change.
    sent = body("PROJECT.MEMBER", permissions=["PROJECT.UPDATE"], description="Serf")
    answer = site.request("PUT", path_of(role), world.staff, json=sent)
    assert said(answer) == (200, role | sent)


def test_descriptions_are_changed_alone(site: Site, world: World) -> None:
    role = create(site, world.staff, description="Before", description_et="Enne")
    sent = {"description": "After", "description_et": None, "description_fr": "Après"}
    path = path_of(role, "update_descriptions")
    answer = site.request("PUT", path, world.staff, json=sent | {"name": "X", "permissions": []})
    every = dict.fromkeys((f"description_{code}" for code in schemas.LANGUAGES), None)
    assert said(answer) == (200, {**every, **sent})
    assert site.get(path_of(role), world.staff).json() == role | sent
    long = site.request("PUT", path, world.staff, json={"description_fr": "x" * 2001})
    assert long.status_code == 400
    assert site.get(path_of(role), world.staff).json() == role | sent


def test_a_role_is_switched_off_and_on(site: Site, world: World) -> None:
    owner, ada, bob = world.person("owner"), world.person("ada"), world.person("bob")
    project = world.project(world.organisation(owner=owner))
    role = create(site, world.staff)
    world.seat(ada, role["name"], project)
    off, on = path_of(role, "disable"), path_of(role, "enable")
    for _ in range(2):
        done = (200, {"detail": "The role PROJECT.REVIEWER has been disabled"})
        assert said(site.post(off, world.staff)) == done
    seat = {"user": bob.uuid, "role": role["uuid"]}
    refused = site.post(f"{project.path}add_user/", owner, json=seat)
    assert said(refused) == (400, {"non_field_errors": ["Role is not active."]})
    # What is held stays held.
    assert site.request("PATCH", project.path, ada, json={"description": "D"}).status_code == 200
    for _ in range(2):
        done = (200, {"detail": "The role PROJECT.REVIEWER has been enabled"})
        assert said(site.post(on, world.staff)) == done
    assert site.post(f"{project.path}add_user/", owner, json=seat).status_code == 201
    kinds = [kind for kind, _ in history(world)]
    assert kinds == ["role.created", "role.disabled", "role.enabled"]


def test_what_a_role_carries_counts_at_once(site: Site, world: World) -> None:
    ada = world.person("ada")
    project = world.project(world.organisation(owner=world.person()))
    role = create(site, world.staff, permissions=[])
    world.seat(ada, role["name"], project)
    for carried, status in (([], 403), (["PROJECT.UPDATE"], 200), (["PROJECT.DELETE"], 403)):
        site.request("PATCH", path_of(role), world.staff, json={"permissions": carried})
        answer = site.request("PATCH", project.path, ada, json={"description": "D"})
        assert answer.status_code == status, carried


def held(world: World, place: Place, role: str) -> None:
    world.seat(world.person(), role, place)


def once_held(world: World, place: Place, role: str) -> None:
    ada = world.person()
    world.seat(ada, role, place)
    world.unseat(ada, role, place)


def held_for_a_while(world: World, place: Place, role: str) -> None:
    world.seat(world.person(), role, place, datetime.now(UTC) + timedelta(days=1))


def invited_to(world: World, place: Place, role: str) -> None:
    world.invite(world.staff, "new@example.org", role, place)


@pytest.mark.parametrize("use", [held, once_held, held_for_a_while, invited_to])
def test_a_role_that_was_ever_used_stays(site: Site, world: World, use: Any) -> None:
    project = world.project(world.organisation(owner=world.person()))
    role = create(site, world.staff)
    use(world, project, role["name"])
    assert said(site.request("DELETE", path_of(role), world.staff)) == USED
    assert site.get(path_of(role), world.staff).status_code == 200


def test_a_role_that_was_never_used_goes(site: Site, world: World) -> None:
    role = create(site, world.staff)
    assert said(site.request("DELETE", path_of(role), world.staff)) == (204, None)
    assert site.get(path_of(role), world.staff).status_code == 404
    assert site.request("DELETE", path_of(role), world.staff).status_code == 404
    with world.database.read() as tx:
        carried = tx.fetch_all(
            Statement(select(role_permissions).outerjoin(roles).where(roles.c.id.is_(None)))
        )
    assert carried == []
    assert [kind for kind, _ in history(world)] == ["role.created", "role.deleted"]
    assert create(site, world.staff)["uuid"] != role["uuid"]


def test_roles_of_groups_are_not_of_this_wire(site: Site, world: World) -> None:
    with world.database.write() as tx:
        name = add_role(tx, "GROUP.CAPTAIN", ScopeKind.GROUP, [Permission.GROUP_UPDATE])
        row: Row = tx.fetch_one(Statement(select(roles).where(roles.c.name == name)))
    listed = site.get("/api/roles/?page_size=300", world.staff)
    assert int(listed.headers["X-Result-Count"]) == len(listed.json())
    assert not [role for role in listed.json() if role["name"].startswith("GROUP.")]
    assert site.get(path_of(row.uuid), world.staff).status_code == 404
    for method, action in (
        ("PUT", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "enable"),
        ("POST", "disable"),
        ("PUT", "update_descriptions"),
    ):
        answer = site.request(method, path_of(row.uuid, action), world.staff, json=body("X"))
        assert answer.status_code == 404, (method, action)
    project = world.project(world.organisation(owner=world.person()))
    for named in (name, row.uuid):
        seat = {"user": world.person().uuid, "role": named}
        answer = site.post(f"{project.path}add_user/", world.staff, json=seat)
        assert said(answer) == (400, {"role": ["Role is not found."]})
    invitation = {"role": row.uuid, "scope": project.path, "email": "new@example.org"}
    unknown = invitation | {"role": uuid4().hex}
    answers = [
        site.post("/api/user-invitations/", world.staff, json=one) for one in (invitation, unknown)
    ]
    assert answers[0].text.replace(row.uuid, "") == answers[1].text.replace(unknown["role"], "")
    assert answers[0].status_code == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_role_that_is_none_is_not_found(site: Site, world: World, method: str) -> None:
    for uuid in (uuid4().hex, "nonsense"):
        assert site.request(method, path_of(uuid), world.staff, json=body()).status_code == 404


def test_of_two_roles_of_one_name_one_is_made(site: Site, world: World) -> None:
    for at in range(5):
        with ThreadPoolExecutor(2) as pool:
            answers = list(
                pool.map(
                    lambda name: site.post("/api/roles/", world.staff, json=body(name)),
                    [f"RACE.{at}"] * 2,
                )
            )
        assert sorted(answer.status_code for answer in answers) == [201, 400]
        loser = next(answer for answer in answers if answer.status_code == 400)
        assert loser.json() == {"non_field_errors": ["Name should be unique."]}


def test_two_who_change_what_a_role_carries_take_turns(site: Site, world: World) -> None:
    role = create(site, world.staff, permissions=[])
    every = [p.value for p in Permission if not p.name.startswith("GROUP_")]
    for _ in range(5):
        site.request("PATCH", path_of(role), world.staff, json={"permissions": []})
        with ThreadPoolExecutor(2) as pool:
            answers = pool.map(
                lambda carried: site.request(
                    "PATCH", path_of(role), world.staff, json={"permissions": carried}
                ),
                [every, every[:3]],
            )
        assert [answer.status_code for answer in answers] == [200, 200]
        found = site.get(path_of(role), world.staff).json()["permissions"]
        assert found in (sorted(every), sorted(every[:3]))


def test_built_in_roles_are_shown_before_anybody_signs_in(site: Site, world: World) -> None:
    custom = create(site, world.staff)
    answer = site.get("/api/roles/?page_size=300")
    assert answer.status_code == 200, answer.text
    listed = answer.json()
    assert {role["name"] for role in listed} >= {"CUSTOMER.OWNER", "PROJECT.MANAGER"}
    assert all(role["is_system_role"] and "users_count" not in role for role in listed)
    head = site.request("HEAD", "/api/roles/")
    assert (head.status_code, head.content) == (200, b"")
    counted = {one.headers["x-result-count"] for one in (answer, head)}
    assert counted == {str(len(listed))}
    for role in listed:
        assert said(site.get(path_of(role))) == (200, role)
    # What an operator calls a role of their own is told to accounts alone.
    for query in ("name=REVIEWER", "query=REVIEWER", "is_system_role=false"):
        assert said(site.get(f"/api/roles/?{query}")) == (200, []), query
        assert site.request("HEAD", f"/api/roles/?{query}").headers["x-result-count"] == "0"
        found = site.get(f"/api/roles/?{query}", world.person()).json()
        assert [role["uuid"] for role in found] == [custom["uuid"]], query
    unknown = site.get(path_of(uuid4().hex))
    assert said(site.get(path_of(custom))) == said(unknown)
    assert unknown.status_code == 404
    assert site.get(path_of(custom), world.person()).status_code == 200


def test_nobody_without_an_account_changes_a_role(site: Site, world: World) -> None:
    role = create(site, world.staff)
    for method, path in (
        ("POST", "/api/roles/"),
        ("PUT", path_of(role)),
        ("PATCH", path_of(role)),
        ("DELETE", path_of(role)),
        ("POST", path_of(role, "disable")),
    ):
        assert site.request(method, path, json=body()).status_code == 401, (method, path)
    assert site.get("/api/roles/", "not-a-token").status_code == 401
    assert site.get(path_of(role), world.staff).json() == role
