"""What a conforming server says, line by line, in every spelling that the clients send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from collegium.scopes.groups import rules as group_rules
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.sign_in.devices import actions as device_actions
from tests.groups.many import ask_many
from tests.groups.scene import SPELLINGS, Groups
from tests.support.site import Site
from tests.support.world import Person

PASSWORD = "green-lamps-hum-7"
HASHED = hash_password(PASSWORD)
ONE_PAGE = {"page": 1, "per_page": 20, "total_results": 1, "total_pages": 1}


class Lab:
    """Olga owns the group, mia manages it, alice is nobody there yet, and xena is a stranger."""

    def __init__(self, groups: Groups) -> None:
        world, tail = groups.world, groups.spelling.name
        self.groups = groups
        self.olga = world.person(f"olga-{tail}", first_name="Olga")
        self.mia = world.person(f"mia-{tail}", first_name="Mia")
        self.alice = world.person(f"alice-{tail}", first_name="Alice", password=HASHED)
        self.xena = world.person(f"xena-{tail}")
        self.name = f"Lab {tail}"
        self.id = groups.found(self.olga, self.name)
        groups.seat(self.id, self.mia, "GROUP.MANAGER")

    def shown(self, uuid: str) -> dict[str, Any]:
        return {
            "id": str(UUID(uuid)),
            "user_account_request": self.alice.id,
            "authgroup": self.id,
        }


TRANSCRIPTS: list[Callable[[Lab], None]] = []


def transcript(told: Callable[[Lab], None]) -> Callable[[Lab], None]:
    """Have a transcript tried as each client sends it, with and without the final slash."""
    TRANSCRIPTS.append(told)
    return told


def detail(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["detail"]
    return str(answer.json()["detail"])


@transcript
def t1_a_password_gives_a_token(lab: Lab) -> None:
    site, slash = lab.groups.site, lab.groups.spelling.slash
    alice = lab.alice.actor
    for name in (alice.email.upper(), alice.username):
        body = {"username": name, "password": PASSWORD}
        answer = site.post(f"/api/token{slash}", json=body)
        assert answer.status_code == 200, answer.text
        assert list(answer.json()) == ["token", "access", "token_id", "message"]
        assert answer.json()["token"] == answer.json()["access"]
        assert isinstance(answer.json()["token_id"], int)
        bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
        assert site.get("/api/users/me/", answer.json()["token"]).status_code == 200
        assert site.get("/api/private/users/group/", headers=bearer).status_code == 200
    wrong = site.post(f"/api/token{slash}", json={"username": alice.username, "password": "no"})
    detail(wrong, 401)


@transcript
def t2_t3_a_device_waits_and_is_let_in_once(lab: Lab) -> None:
    vault = lab.groups.world.vault
    site, slash = lab.groups.site, lab.groups.spelling.slash
    begun = site.post(f"/api/auth/device{slash}", json={"client_name": "brainstem-python"})
    assert begun.status_code == 200
    told = begun.json()
    assert list(told) == [
        "session_id",
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
    ]
    assert told["expires_in"] == 900
    assert told["interval"] == 5
    assert told["verification_uri_complete"].endswith(f"?session={told['session_id']}")

    def poll() -> Any:
        body = {"device_code": told["device_code"]}
        answer = site.post(f"/api/auth/device/token{slash}", json=body)
        assert answer.status_code == 200
        return answer.json()

    assert poll() == {"status": "authorization_pending"}
    with lab.groups.world.database.write() as tx:
        typed = told["user_code"].lower().replace("-", " ")
        device = device_actions.find(tx, vault, typed)
        assert device.name == "brainstem-python"
        device_actions.approve(tx, lab.alice.actor, device.uuid)
    granted = poll()
    assert granted["status"] == "success"
    assert granted["token"].startswith("clg_")
    assert poll() == {"error": "already_used"}
    bearer = {"Authorization": f"Bearer {granted['token']}"}
    assert site.get("/api/private/users/group/", headers=bearer).status_code == 200
    unknown = site.post(f"/api/auth/device/token{slash}", json={"device_code": "x"})
    assert (unknown.status_code, unknown.json()) == (200, {"error": "expired_token"})

    told = site.post(f"/api/auth/device{slash}", json={}).json()
    with lab.groups.world.database.write() as tx:
        device_actions.deny(tx, lab.alice.actor, UUID(told["session_id"]).hex)
    assert poll() == {"error": "access_denied"}


@transcript
def t4_nobody_is_told_anything(lab: Lab) -> None:
    for headers in ({}, {"Authorization": "Bearer bad"}, {"Authorization": "Basic YTpi"}):
        answer = lab.groups.get(None, "request", headers=headers)
        detail(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


@transcript
def t5_t6_t7_asking_to_be_let_in(lab: Lab) -> None:
    get = lab.groups.get
    asked = get(lab.alice, "group", lab.id, "join")
    assert asked.status_code == 200, asked.text
    uuid = asked.json()["group_membership_request"]["id"]
    shown = lab.shown(uuid)
    assert asked.json() == {"group_membership_request": shown}
    assert get(lab.alice, "group", lab.id, "join").json() == asked.json()
    detail(get(lab.mia, "group", lab.id, "join"), 400)
    detail(get(lab.alice, "group", 999, "join"), 404)

    for who in (lab.alice, lab.mia, lab.olga):
        answer = get(who, "request")
        assert answer.status_code == 200
        assert answer.json() == {
            "group_membership_requests": [shown],
            "meta": ONE_PAGE,
            "count": 1,
            "next": None,
            "previous": None,
        }
        assert next(iter(answer.json())) == "group_membership_requests"
    everything = get(lab.groups.world.staff, "request").json()
    assert shown in everything["group_membership_requests"]
    nothing = get(lab.xena, "request").json()
    assert nothing["group_membership_requests"] == []
    assert nothing["meta"] == ONE_PAGE | {"total_results": 0}
    assert nothing["count"] == 0

    one = get(lab.alice, "request", uuid)
    assert (one.status_code, one.json()) == (200, {"group_membership_request": shown})
    assert get(lab.alice, "request", uuid.upper()).json() == one.json()
    detail(get(lab.xena, "request", uuid), 404)
    detail(get(lab.alice, "request", "not-a-uuid"), 404)
    assert get(lab.alice, "request", portal="public").status_code == 404
    assert get(lab.alice, "request", portal="super").status_code == 404


@transcript
def t8_t9_t10_letting_in(lab: Lab) -> None:
    get = lab.groups.get
    uuid = str(UUID(lab.groups.ask(lab.id, lab.alice)))
    detail(get(lab.alice, "request", uuid, "accept"), 403)
    detail(get(lab.xena, "request", uuid, "accept"), 404)
    detail(get(lab.mia, "request", uuid, "cancel"), 403)
    same = {"group_membership_request": lab.shown(uuid)}
    for _ in range(2):
        accepted = get(lab.mia, "request", uuid, "accept")
        assert (accepted.status_code, accepted.json()) == (200, same)
        assert lab.groups.members(lab.id)[lab.alice.email] == group_rules.MEMBER
    assert len(lab.groups.members(lab.id)) == 3
    detail(get(lab.mia, "request", uuid, "reject"), 400)
    detail(get(lab.mia, "request", uuid), 404)
    assert get(lab.mia, "request").json()["count"] == 0

    hidden = get(None, "group", lab.id, portal="public")
    assert hidden.json() == {"group": {"id": lab.id, "name": lab.name, "users": {}}}


@transcript
def t11_t12_turning_down_and_taking_back(lab: Lab) -> None:
    get = lab.groups.get
    uuid = lab.groups.ask(lab.id, lab.alice)
    assert get(lab.mia, "request", uuid, "reject").status_code == 200
    detail(get(lab.mia, "request", uuid, "accept"), 400)
    assert lab.alice.email not in lab.groups.members(lab.id)
    again = lab.groups.ask(lab.id, lab.alice)
    assert again != uuid
    for _ in range(2):
        assert get(lab.alice, "request", again, "cancel").status_code == 200
    detail(get(lab.mia, "request", again, "accept"), 400)
    assert lab.alice.email not in lab.groups.members(lab.id)


@transcript
def t13_t14_methods(lab: Lab) -> None:
    call = lab.groups.call
    uuid = lab.groups.ask(lab.id, lab.alice)
    head = call("HEAD", lab.mia, "request", uuid, "accept")
    assert (head.status_code, head.content) == (405, b"")
    assert lab.groups.request(uuid).state == "pending"
    for method, parts in (("DELETE", (uuid,)), ("PUT", (uuid,)), ("PATCH", (uuid,)), ("POST", ())):
        refused = call(method, lab.mia, "request", *parts, json={})
        detail(refused, 405)
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
    options = call("OPTIONS", lab.mia, "request", uuid, "accept")
    assert (options.status_code, options.content) == (204, b"")
    assert lab.groups.request(uuid).state == "pending"
    accepted = call("PATCH", lab.mia, "request", uuid, "accept", json={})
    assert accepted.json() == {"group_membership_request": lab.shown(uuid)}
    assert call("POST", lab.mia, "request", uuid, "accept").json() == accepted.json()
    detail(call("GET", lab.mia, "request", "accept"), 404)


@transcript
def t15_filters_order_and_embedding(lab: Lab) -> None:
    uuid = lab.groups.ask(lab.id, lab.alice)
    lab.groups.ask(lab.id, lab.xena)
    for star in ("%2A", "*"):
        answer = lab.groups.get(
            lab.mia,
            "request",
            query=f"?filter%7Bauthgroup%7D={lab.id}&filter%7Buser_account_request%7D={lab.alice.id}"
            f"&sort%5B%5D=-id&include%5B%5D=authgroup.{star}&limit=20&offset=0",
        )
        assert answer.status_code == 200, answer.text
        users = {
            lab.olga.email: {"is_manager": True, "is_owner": True},
            lab.mia.email: {"is_manager": True, "is_owner": False},
        }
        embedded = {"id": lab.id, "name": lab.name, "users": users}
        rows = answer.json()["group_membership_requests"]
        assert rows == [lab.shown(uuid) | {"authgroup": embedded}]
    for query, status in (
        ("?filter%7Bnosuch%7D=1", 400),
        ("?sort%5B%5D=nosuch", 400),
        ("?include%5B%5D=nosuch.*", 400),
        ("?utm=1&format=json", 200),
    ):
        answer = lab.groups.get(lab.mia, "request", query=query)
        assert answer.status_code == status
        assert status == 200 or "nosuch" in answer.text


def test_t16_pages(groups: Groups) -> None:
    lab = Lab(groups)
    ask_many(groups.world, lab.id, 250)
    for spelling in SPELLINGS:
        wire = Groups(groups.world, groups.site, spelling)
        seen: list[str] = []
        for offset, size in ((0, 100), (100, 100), (200, 50)):
            answer = wire.get(lab.mia, "request", query=f"?limit=100&offset={offset}").json()
            assert len(answer["group_membership_requests"]) == size
            assert answer["count"] == 250
            seen += [one["id"] for one in answer["group_membership_requests"]]
            path = spelling.path("private", "request")
            after = f"http://collegium.test{path}?limit=100&offset={offset + 100}"
            assert answer["next"] == (after if offset < 200 else None)
            assert (answer["previous"] is None) == (offset == 0)
        assert len(set(seen)) == 250
    for wrong in ("limit=101", "limit=0", "limit=x", "offset=-1", "offset=x", "limit=-1"):
        answer = groups.get(lab.mia, "request", query=f"?{wrong}")
        assert answer.status_code == 400
        assert list(answer.json()) == [wrong.split("=")[0]]
    beyond = groups.get(lab.mia, "request", query="?offset=900")
    assert (beyond.status_code, beyond.json()["group_membership_requests"]) == (200, [])


@transcript
def t17_to_t20_founding_inviting_changing(lab: Lab) -> None:
    groups, olga, alice = lab.groups, lab.olga, lab.alice
    call, get = groups.call, groups.get
    made = call(
        "POST", olga, "group", json={"name": f" New {lab.name} ", "users": {alice.email: {}}}
    )
    assert made.status_code == 201
    group = made.json()["group"]["id"]
    lead = {olga.email: {"is_manager": True, "is_owner": True}}
    assert made.json() == {"group": {"id": group, "name": f"New {lab.name}", "users": lead}}
    for body in (
        {},
        {"name": " "},
        {"name": None},
        {"name": "x" * 151},
        {"name": f"new  {lab.name}".upper()},
    ):
        refused = call("POST", olga, "group", json=body)
        assert (refused.status_code, list(refused.json())) == (400, ["name"]), body

    wish = {"users": {alice.email.upper(): {"is_manager": True, "is_owner": False}}}
    for _ in range(2):
        changed = call("PATCH", olga, "group", group, json=wish)
        assert (changed.status_code, changed.json()) == (200, {"group": made.json()["group"]})
        listed = get(alice, "invitation").json()
        assert listed["count"] == 1
    (shown,) = listed["group_membership_invitations"]
    assert shown == {
        "id": shown["id"],
        "user_account_invitation": alice.id,
        "authgroup": group,
        "new_manager": True,
        "new_owner": False,
    }
    assert get(lab.xena, "invitation").json()["count"] == 0
    assert get(olga, "invitation").json() == listed
    assert get(alice, "invitation", shown["id"]).json() == {"group_membership_invitation": shown}
    detail(get(lab.xena, "invitation", shown["id"]), 404)

    detail(get(olga, "invitation", shown["id"], "accept"), 403)
    for _ in range(2):
        accepted = get(alice, "invitation", shown["id"], "accept")
        assert accepted.json() == {"group_membership_invitation": shown}
    assert groups.role_of(group, alice) == "GROUP.MANAGER"
    detail(get(alice, "invitation", shown["id"], "reject"), 400)
    second = groups.invite(group, olga, lab.xena)
    assert get(lab.xena, "invitation", second, "reject").status_code == 200
    third = groups.invite(group, olga, lab.xena)
    assert get(olga, "invitation", third, "cancel").status_code == 200
    detail(get(lab.xena, "invitation", third, "accept"), 400)
    detail(get(lab.xena, "invitation", third), 404)

    def change(who: Person, body: dict[str, Any]) -> Any:
        return call("PATCH", who, "group", group, json=body)

    bodies: list[dict[str, Any]] = [
        {"name": "x"},
        {"users": {lab.mia.email: {"is_owner": True}}},
        {"users": {olga.email: {"remove": True}}},
    ]
    for wanted in bodies:
        detail(change(alice, wanted), 403)
    detail(change(lab.xena, {"name": "x"}), 403)
    wrong: list[dict[str, Any]] = [
        {olga.email: {"remove": True}},
        {olga.email: {}},
        {"nobody@example.org": {}},
        {lab.xena.email: {"remove": True}},
        {alice.email: {}, alice.email.title(): {}},
        {alice.email: {"is_manager": "yes"}},
        {alice.email: []},
    ]
    for people in wrong:
        refused = change(olga, {"users": people})
        assert (refused.status_code, list(refused.json())) == (400, ["users"]), people
    renamed = change(olga, {"name": f"Renamed {group}"})
    assert (renamed.status_code, renamed.json()["group"]["name"]) == (200, f"Renamed {group}")


@transcript
def t21_t22_leaving_and_giving_up(lab: Lab) -> None:
    groups, get = lab.groups, lab.groups.get
    groups.seat(lab.id, lab.alice, "GROUP.MANAGER")
    asked = groups.ask(lab.id, lab.xena)
    left = get(lab.alice, "group", lab.id, "leave")
    assert left.status_code == 200
    assert lab.alice.email not in left.json()["group"]["users"]
    detail(get(lab.alice, "group", lab.id, "leave"), 400)
    detail(get(lab.olga, "group", lab.id, "leave"), 400)
    invited = groups.invite(lab.id, lab.olga, lab.alice)
    detail(groups.call("DELETE", lab.mia, "group", lab.id), 403)
    gone = groups.call("DELETE", lab.olga, "group", lab.id)
    assert (gone.status_code, gone.content) == (204, b"")
    detail(groups.call("DELETE", lab.olga, "group", lab.id), 404)
    for who, model, uuid in ((lab.xena, "request", asked), (lab.alice, "invitation", invited)):
        assert get(who, model).json()["count"] == 0
        detail(get(who, model, uuid), 404)
        detail(get(who, model, uuid, "cancel"), 404)
    assert groups.call("POST", lab.xena, "group", json={"name": lab.name}).status_code == 201


@transcript
def t23_t24_t25_people_portals_and_aliases(lab: Lab) -> None:
    groups, alice = lab.groups, lab.alice
    for headers in ({}, {"Authorization": "Bearer stale"}, {"Authorization": alice.token}):
        for model in ("group", "user"):
            answer = groups.get(None, model, portal="public", headers=headers)
            assert answer.status_code == 200
            assert list(answer.json()) == [f"{model}s", "meta", "count", "next", "previous"]
    people = groups.get(None, "user", portal="public").json()["users"]
    assert {lab.olga.id, lab.mia.id} <= {one["id"] for one in people}
    assert not {lab.alice.id, lab.xena.id} & {one["id"] for one in people}
    assert {one["email"] for one in people} == {""}
    refused = groups.call("POST", alice, "group", portal="public", json={"name": "x"})
    detail(refused, 405)
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS"

    site = "www.someweb.org"
    changed = groups.call("PATCH", alice, "user", alice.id, json={"website": site, "email": "x"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["user"] == {
        "id": alice.id,
        "email": alice.email,
        "first_name": "Alice",
        "last_name": "Lee",
        "groups_own_json": [],
        "website": f"http://{site}",
        "google_scholar": "",
        "orcid_id": "",
        "atlas_preference": "",
        "active_projects": [],
    }
    assert groups.get(alice, "user", alice.id).json() == changed.json()
    # They have no group in common; with one, it is seen and not to be changed.
    detail(groups.call("PATCH", alice, "user", lab.mia.id, json={"website": site}), 404)
    detail(groups.call("DELETE", alice, "user", lab.mia.id), 404)
    groups.seat(lab.id, alice)
    detail(groups.call("PATCH", alice, "user", lab.mia.id, json={"website": site}), 403)
    detail(groups.call("DELETE", alice, "user", lab.mia.id), 403)
    assert groups.get(alice, "group", lab.id, "leave").status_code == 200
    detail(groups.call("PATCH", alice, "user", 999, json={}), 404)
    detail(groups.call("POST", alice, "user", json={}), 405)
    own = groups.get(lab.olga, "user", lab.olga.id).json()["user"]
    assert own["groups_own_json"] == [{"id": lab.id, "name": lab.name}]

    slash, bearer = groups.spelling.slash, {"Authorization": f"Bearer {alice.token}"}
    alias = groups.site.get(f"/api/private/auth/group{slash}", headers=bearer).json()
    assert alias["groups"] == groups.get(alice, "group").json()["groups"]
    for app in ("users", "attributes"):
        path = f"/api/private/{app}/laboratory{slash}"
        detail(groups.site.get(path, headers=bearer), 404)


@pytest.mark.parametrize("told", TRANSCRIPTS, ids=lambda told: told.__name__)
def test_the_wire_answers_as_written(groups: Groups, told: Callable[[Lab], None]) -> None:
    for spelling in SPELLINGS:
        told(Lab(Groups(groups.world, groups.site, spelling)))


def test_the_public_portal_shows_addresses_where_the_operator_says_so(
    groups: Groups, make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    lab = Lab(groups)
    shows = Groups(
        groups.world,
        make_site(make_settings(brainstem_public_portal="true", brainstem_public_emails="true")),
    )
    shown = shows.get(None, "group", lab.id, portal="public").json()["group"]["users"]
    assert shown[lab.mia.email] == {"is_manager": True, "is_owner": False}
    people = shows.get(None, "user", portal="public").json()["users"]
    assert {one["email"] for one in people} == {lab.olga.email, lab.mia.email}
