"""Transcripts of a conforming server, for every path spelling of the clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from collegium.scopes.groups import rules as group_rules
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.sign_in.devices import actions as device_actions
from tests.groups.scene import SPELLINGS, Groups, ask_many
from tests.support.site import Site
from tests.support.world import Person

PASSWORD = "green-lamps-hum-7"
HASHED = hash_password(PASSWORD)
ONE_PAGE = {"page": 1, "per_page": 20, "total_results": 1, "total_pages": 1}


class Lab:
    """A group: olga owns it, mia manages it, alice will join, xena is an outsider."""

    def __init__(self, groups: Groups) -> None:
        world, suffix = groups.world, groups.spelling.name
        self.groups = groups
        self.olga = world.person(f"olga-{suffix}", first_name="Olga")
        self.mia = world.person(f"mia-{suffix}", first_name="Mia")
        self.alice = world.person(f"alice-{suffix}", first_name="Alice", password=HASHED)
        self.xena = world.person(f"xena-{suffix}")
        self.name = f"Lab {suffix}"
        self.id = groups.create(self.olga, self.name)
        groups.give_role(self.id, self.mia, "GROUP.MANAGER")

    def request_body(self, uuid: str) -> dict[str, Any]:
        return {"id": str(UUID(uuid)), "user_account_request": self.alice.id, "authgroup": self.id}


TRANSCRIPTS: list[Callable[[Lab], None]] = []


def transcript(function: Callable[[Lab], None]) -> Callable[[Lab], None]:
    """Register a transcript; it runs as each client sends it, with and without the final slash."""
    TRANSCRIPTS.append(function)
    return function


def assert_error(response: Any, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["detail"]


@transcript
def t1_password_login(lab: Lab) -> None:
    site, slash = lab.groups.site, lab.groups.spelling.slash
    alice = lab.alice.actor
    for name in (alice.email.upper(), alice.username):
        body = {"username": name, "password": PASSWORD}
        response = site.post(f"/api/token{slash}", json=body)
        assert response.status_code == 200, response.text
        tokens = response.json()
        assert list(tokens) == ["token", "access", "token_id", "message"]
        assert tokens["token"] == tokens["access"]
        assert isinstance(tokens["token_id"], int)
        bearer = {"Authorization": f"Bearer {tokens['token']}"}
        assert site.get("/api/users/me/", tokens["token"]).status_code == 200
        assert site.get("/api/private/users/group/", headers=bearer).status_code == 200
    wrong = site.post(f"/api/token{slash}", json={"username": alice.username, "password": "no"})
    assert_error(wrong, 401)


@transcript
def t2_t3_device_login(lab: Lab) -> None:
    world, site, slash = lab.groups.world, lab.groups.site, lab.groups.spelling.slash
    response = site.post(f"/api/auth/device{slash}", json={"client_name": "brainstem-python"})
    assert response.status_code == 200
    login = response.json()
    keys = "session_id device_code user_code verification_uri verification_uri_complete"
    assert list(login) == [*keys.split(), "expires_in", "interval"]
    assert (login["expires_in"], login["interval"]) == (900, 5)
    assert login["verification_uri_complete"].endswith(f"?session={login['session_id']}")

    def poll(device_code: str) -> Any:
        body = {"device_code": device_code}
        response = site.post(f"/api/auth/device/token{slash}", json=body)
        assert response.status_code == 200
        return response.json()

    assert poll(login["device_code"]) == {"status": "authorization_pending"}
    with world.database.write() as tx:
        typed = login["user_code"].lower().replace("-", " ")
        device = device_actions.get_pending_by_code(tx, world.vault, typed)
        assert device.name == "brainstem-python"
        device_actions.approve(tx, lab.alice.actor, device.uuid)
    success = poll(login["device_code"])
    assert success["status"] == "success"
    assert success["token"].startswith("clg_")
    assert poll(login["device_code"]) == {"error": "already_used"}
    bearer = {"Authorization": f"Bearer {success['token']}"}
    assert site.get("/api/private/users/group/", headers=bearer).status_code == 200
    assert poll("x") == {"error": "expired_token"}

    denied = site.post(f"/api/auth/device{slash}", json={}).json()
    with world.database.write() as tx:
        device_actions.deny(tx, lab.alice.actor, UUID(denied["session_id"]).hex)
    assert poll(denied["device_code"]) == {"error": "access_denied"}


@transcript
def t4_missing_or_invalid_tokens(lab: Lab) -> None:
    for headers in ({}, {"Authorization": "Bearer bad"}, {"Authorization": "Basic YTpi"}):
        response = lab.groups.get(None, "request", headers=headers)
        assert_error(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"


@transcript
def t5_t6_t7_requests(lab: Lab) -> None:
    get = lab.groups.get
    joined = get(lab.alice, "group", lab.id, "join")
    assert joined.status_code == 200, joined.text
    uuid = joined.json()["group_membership_request"]["id"]
    request_body = lab.request_body(uuid)
    assert joined.json() == {"group_membership_request": request_body}
    assert get(lab.alice, "group", lab.id, "join").json() == joined.json()
    assert_error(get(lab.mia, "group", lab.id, "join"), 400)
    assert_error(get(lab.alice, "group", 999, "join"), 404)

    for person in (lab.alice, lab.mia, lab.olga):
        response = get(person, "request")
        assert response.status_code == 200
        assert response.json() == {
            "group_membership_requests": [request_body],
            "meta": ONE_PAGE,
            "count": 1,
            "next": None,
            "previous": None,
        }
        assert next(iter(response.json())) == "group_membership_requests"
    all_requests = get(lab.groups.world.staff, "request").json()
    assert request_body in all_requests["group_membership_requests"]
    empty = get(lab.xena, "request").json()
    assert (empty["group_membership_requests"], empty["count"]) == ([], 0)
    assert empty["meta"] == ONE_PAGE | {"total_results": 0}

    for key in (uuid, uuid.upper()):
        response = get(lab.alice, "request", key)
        assert response.status_code == 200
        assert response.json() == {"group_membership_request": request_body}
    assert_error(get(lab.xena, "request", uuid), 404)
    assert_error(get(lab.alice, "request", "not-a-uuid"), 404)
    assert get(lab.alice, "request", portal="public").status_code == 404
    assert get(lab.alice, "request", portal="super").status_code == 404


@transcript
def t8_t9_t10_accepting_requests(lab: Lab) -> None:
    get = lab.groups.get
    uuid = str(UUID(lab.groups.ask(lab.id, lab.alice)))
    assert_error(get(lab.alice, "request", uuid, "accept"), 403)
    assert_error(get(lab.xena, "request", uuid, "accept"), 404)
    assert_error(get(lab.mia, "request", uuid, "cancel"), 403)
    body = {"group_membership_request": lab.request_body(uuid)}
    for _ in range(2):
        accepted = get(lab.mia, "request", uuid, "accept")
        assert (accepted.status_code, accepted.json()) == (200, body)
        assert lab.groups.members(lab.id)[lab.alice.email] == group_rules.MEMBER
    assert len(lab.groups.members(lab.id)) == 3
    assert_error(get(lab.mia, "request", uuid, "reject"), 400)
    assert_error(get(lab.mia, "request", uuid), 404)
    assert get(lab.mia, "request").json()["count"] == 0

    hidden = get(None, "group", lab.id, portal="public")
    assert hidden.json() == {"group": {"id": lab.id, "name": lab.name, "users": {}}}


@transcript
def t11_t12_rejecting_and_cancelling_requests(lab: Lab) -> None:
    get = lab.groups.get
    uuid = lab.groups.ask(lab.id, lab.alice)
    assert get(lab.mia, "request", uuid, "reject").status_code == 200
    assert_error(get(lab.mia, "request", uuid, "accept"), 400)
    assert lab.alice.email not in lab.groups.members(lab.id)
    second = lab.groups.ask(lab.id, lab.alice)
    assert second != uuid
    for _ in range(2):
        assert get(lab.alice, "request", second, "cancel").status_code == 200
    assert_error(get(lab.mia, "request", second, "accept"), 400)
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
        assert_error(refused, 405)
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
    options = call("OPTIONS", lab.mia, "request", uuid, "accept")
    assert (options.status_code, options.content) == (204, b"")
    assert lab.groups.request(uuid).state == "pending"
    accepted = call("PATCH", lab.mia, "request", uuid, "accept", json={})
    assert accepted.json() == {"group_membership_request": lab.request_body(uuid)}
    assert call("POST", lab.mia, "request", uuid, "accept").json() == accepted.json()
    assert_error(call("GET", lab.mia, "request", "accept"), 404)


@transcript
def t15_filters_order_and_embedding(lab: Lab) -> None:
    uuid = lab.groups.ask(lab.id, lab.alice)
    lab.groups.ask(lab.id, lab.xena)
    users = {
        lab.olga.email: {"is_manager": True, "is_owner": True},
        lab.mia.email: {"is_manager": True, "is_owner": False},
    }
    embedded = {"id": lab.id, "name": lab.name, "users": users}
    filters = f"filter%7Bauthgroup%7D={lab.id}&filter%7Buser_account_request%7D={lab.alice.id}"
    for star in ("%2A", "*"):
        query = f"?{filters}&sort%5B%5D=-id&include%5B%5D=authgroup.{star}&limit=20&offset=0"
        response = lab.groups.get(lab.mia, "request", query=query)
        assert response.status_code == 200, response.text
        rows = response.json()["group_membership_requests"]
        assert rows == [lab.request_body(uuid) | {"authgroup": embedded}]
    for query, status in (
        ("?filter%7Bnosuch%7D=1", 400),
        ("?sort%5B%5D=nosuch", 400),
        ("?include%5B%5D=nosuch.*", 400),
        ("?utm=1&format=json", 200),
    ):
        response = lab.groups.get(lab.mia, "request", query=query)
        assert response.status_code == status
        assert status == 200 or "nosuch" in response.text


def test_pages_of_a_list(groups: Groups) -> None:
    lab = Lab(groups)
    ask_many(groups.world, lab.id, 250)
    for spelling in SPELLINGS:
        client = Groups(groups.world, groups.site, spelling)
        ids: set[str] = set()
        for offset, size in ((0, 100), (100, 100), (200, 50)):
            page = client.get(lab.mia, "request", query=f"?limit=100&offset={offset}").json()
            assert len(page["group_membership_requests"]) == size
            assert page["count"] == 250
            ids |= {row["id"] for row in page["group_membership_requests"]}
            path = spelling.path("private", "request")
            next_url = f"http://collegium.test{path}?limit=100&offset={offset + 100}"
            assert page["next"] == (next_url if offset < 200 else None)
            assert (page["previous"] is None) == (offset == 0)
        assert len(ids) == 250
    for invalid in ("limit=101", "limit=0", "limit=x", "offset=-1", "offset=x", "limit=-1"):
        response = groups.get(lab.mia, "request", query=f"?{invalid}")
        assert response.status_code == 400
        assert list(response.json()) == [invalid.split("=")[0]]
    beyond = groups.get(lab.mia, "request", query="?offset=900")
    assert (beyond.status_code, beyond.json()["group_membership_requests"]) == (200, [])


@transcript
def t17_to_t20_creating_inviting_changing(lab: Lab) -> None:
    groups, olga, alice = lab.groups, lab.olga, lab.alice
    call, get = groups.call, groups.get
    json = {"name": f" New {lab.name} ", "users": {alice.email: {}}}
    created = call("POST", olga, "group", json=json)
    assert created.status_code == 201
    group = created.json()["group"]["id"]
    lead = {olga.email: {"is_manager": True, "is_owner": True}}
    assert created.json() == {"group": {"id": group, "name": f"New {lab.name}", "users": lead}}
    for name in (" ", None, "x" * 151, f"new  {lab.name}".upper(), ...):
        refused = call("POST", olga, "group", json={} if name is ... else {"name": name})
        assert (refused.status_code, list(refused.json())) == (400, ["name"]), name

    invite = {"users": {alice.email.upper(): {"is_manager": True, "is_owner": False}}}
    for _ in range(2):
        changed = call("PATCH", olga, "group", group, json=invite)
        assert (changed.status_code, changed.json()) == (200, created.json())
        invitations = get(alice, "invitation").json()
        assert invitations["count"] == 1
    (invitation,) = invitations["group_membership_invitations"]
    uuid = invitation["id"]
    assert invitation == {
        "id": uuid,
        "user_account_invitation": alice.id,
        "authgroup": group,
        "new_manager": True,
        "new_owner": False,
    }
    assert get(lab.xena, "invitation").json()["count"] == 0
    assert get(olga, "invitation").json() == invitations
    assert get(alice, "invitation", uuid).json() == {"group_membership_invitation": invitation}
    assert_error(get(lab.xena, "invitation", uuid), 404)

    assert_error(get(olga, "invitation", uuid, "accept"), 403)
    for _ in range(2):
        accepted = get(alice, "invitation", uuid, "accept")
        assert accepted.json() == {"group_membership_invitation": invitation}
    assert groups.role_of(group, alice) == "GROUP.MANAGER"
    assert_error(get(alice, "invitation", uuid, "reject"), 400)
    second = groups.invite(group, olga, lab.xena)
    assert get(lab.xena, "invitation", second, "reject").status_code == 200
    third = groups.invite(group, olga, lab.xena)
    assert get(olga, "invitation", third, "cancel").status_code == 200
    assert_error(get(lab.xena, "invitation", third, "accept"), 400)
    assert_error(get(lab.xena, "invitation", third), 404)

    def change(who: Person, body: dict[str, Any]) -> Any:
        return call("PATCH", who, "group", group, json=body)

    bodies: list[tuple[Person, dict[str, Any]]] = [
        (alice, {"name": "x"}),
        (alice, {"users": {lab.mia.email: {"is_owner": True}}}),
        (alice, {"users": {olga.email: {"remove": True}}}),
        (lab.xena, {"name": "x"}),
    ]
    for person, body in bodies:
        assert_error(change(person, body), 403)
    invalid: list[dict[str, Any]] = [
        {olga.email: {"remove": True}},
        {olga.email: {}},
        {"nobody@example.org": {}},
        {lab.xena.email: {"remove": True}},
        {alice.email: {}, alice.email.title(): {}},
        {alice.email: {"is_manager": "yes"}},
        {alice.email: []},
    ]
    for users in invalid:
        refused = change(olga, {"users": users})
        assert (refused.status_code, list(refused.json())) == (400, ["users"]), users
    renamed = change(olga, {"name": f"Renamed {group}"})
    assert (renamed.status_code, renamed.json()["group"]["name"]) == (200, f"Renamed {group}")


@transcript
def t21_t22_leaving_and_deleting(lab: Lab) -> None:
    groups, get = lab.groups, lab.groups.get
    groups.give_role(lab.id, lab.alice, "GROUP.MANAGER")
    request = groups.ask(lab.id, lab.xena)
    left = get(lab.alice, "group", lab.id, "leave")
    assert left.status_code == 200
    assert lab.alice.email not in left.json()["group"]["users"]
    assert_error(get(lab.alice, "group", lab.id, "leave"), 400)
    assert_error(get(lab.olga, "group", lab.id, "leave"), 400)
    invitation = groups.invite(lab.id, lab.olga, lab.alice)
    assert_error(groups.call("DELETE", lab.mia, "group", lab.id), 403)
    deleted = groups.call("DELETE", lab.olga, "group", lab.id)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert_error(groups.call("DELETE", lab.olga, "group", lab.id), 404)
    for person, model, uuid in (
        (lab.xena, "request", request),
        (lab.alice, "invitation", invitation),
    ):
        assert get(person, model).json()["count"] == 0
        assert_error(get(person, model, uuid), 404)
        assert_error(get(person, model, uuid, "cancel"), 404)
    assert groups.call("POST", lab.xena, "group", json={"name": lab.name}).status_code == 201


@transcript
def t23_t24_t25_people_portals_and_aliases(lab: Lab) -> None:
    groups, alice = lab.groups, lab.alice
    for headers in ({}, {"Authorization": "Bearer stale"}, {"Authorization": alice.token}):
        for model in ("group", "user"):
            response = groups.get(None, model, portal="public", headers=headers)
            assert response.status_code == 200
            assert list(response.json()) == [f"{model}s", "meta", "count", "next", "previous"]
            assert "@example.org" not in response.text
    users = groups.get(None, "user", portal="public").json()["users"]
    names = {user["id"]: user["first_name"] for user in users}
    assert (names[lab.olga.id], names[lab.mia.id]) == ("Olga", "Mia")
    assert not {lab.alice.id, lab.xena.id} & names.keys()
    assert {user["email"] for user in users} == {""}
    refused = groups.call("POST", alice, "group", portal="public", json={"name": "x"})
    assert_error(refused, 405)
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS"

    website = "www.someweb.org"
    json = {"website": website, "email": "x"}
    changed = groups.call("PATCH", alice, "user", alice.id, json=json)
    assert changed.status_code == 200, changed.text
    assert changed.json()["user"] == {
        "id": alice.id,
        "email": alice.email,
        "first_name": "Alice",
        "last_name": "Lee",
        "groups_own_json": [],
        "website": f"http://{website}",
        "google_scholar": "",
        "orcid_id": "",
        "atlas_preference": "",
        "active_projects": [],
    }
    assert groups.get(alice, "user", alice.id).json() == changed.json()
    # 404 without a common group, 403 with one.
    for status in (404, 403):
        for method in ("PATCH", "DELETE"):
            refused = groups.call(method, alice, "user", lab.mia.id, json={"website": website})
            assert_error(refused, status)
        if status == 404:
            groups.give_role(lab.id, alice)
    assert groups.get(alice, "group", lab.id, "leave").status_code == 200
    assert_error(groups.call("PATCH", alice, "user", 999, json={}), 404)
    assert_error(groups.call("POST", alice, "user", json={}), 405)
    olga = groups.get(lab.olga, "user", lab.olga.id).json()["user"]
    assert olga["groups_own_json"] == [{"id": lab.id, "name": lab.name}]

    slash, bearer = groups.spelling.slash, {"Authorization": f"Bearer {alice.token}"}
    alias = groups.site.get(f"/api/private/auth/group{slash}", headers=bearer).json()
    assert alias["groups"] == groups.get(alice, "group").json()["groups"]
    for app in ("users", "attributes"):
        path = f"/api/private/{app}/laboratory{slash}"
        assert_error(groups.site.get(path, headers=bearer), 404)


@pytest.mark.parametrize("run", TRANSCRIPTS, ids=lambda run: run.__name__)
def test_transcript(groups: Groups, run: Callable[[Lab], None]) -> None:
    for spelling in SPELLINGS:
        run(Lab(Groups(groups.world, groups.site, spelling)))


def test_public_portal_shows_addresses_if_enabled(
    groups: Groups, make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    lab = Lab(groups)
    settings = make_settings(brainstem_public_portal="true", brainstem_public_emails="true")
    groups.site = make_site(settings)
    members = groups.get(None, "group", lab.id, portal="public").json()["group"]["users"]
    assert members[lab.mia.email] == {"is_manager": True, "is_owner": False}
    users = groups.get(None, "user", portal="public").json()["users"]
    assert {user["email"] for user in users} == {lab.olga.email, lab.mia.email}
