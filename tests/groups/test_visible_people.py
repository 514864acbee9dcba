"""Visible people: members of a group, requesters and invitees, and the public portal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from collegium.accounts import queries as account_queries
from collegium.accounts.profiles import queries as profile_queries
from collegium.api.brainstem.routes import ROUTES
from collegium.refusals import NotFound
from collegium.scopes.groups import actions as group_actions
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import Person, World


class Club:
    """Two groups and accounts with every relation to them."""

    def __init__(self, groups: Groups) -> None:
        self.groups, world = groups, groups.world
        names = "owner manager member asker invitee stranger elsewhere keeper support former"
        self.people: dict[str, Person] = {
            name: world.person(name, first_name=f"First {name}", last_name=f"Last {name}")
            for name in names.split()
        }
        self.people["staff"] = world.staff
        self.id = groups.create(self["owner"], "Club")
        self.other = groups.create(self["elsewhere"], "Other")
        groups.give_role(self.id, self["manager"], "GROUP.MANAGER")
        for name in ("member", "keeper", "former"):
            groups.give_role(self.id, self[name])
        with world.database.write() as tx:
            account_queries.change(tx, self["support"].id, {"is_support": True})
            account_queries.change(tx, self["keeper"].id, {"is_staff": True})
            group_actions.leave(tx, self["former"].actor, self.id)
        self.request = groups.ask(self.id, self["asker"])
        self.invitation = groups.invite(self.id, self["owner"], self["invitee"])

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    def visible_to(self, name: str) -> set[str]:
        return {
            other
            for other, person in self.people.items()
            if self.groups.get(self[name], "user", person.id).status_code == 200
        }


@pytest.fixture
def club(groups: Groups) -> Club:
    return Club(groups)


MEMBERS = {"owner", "manager", "member", "keeper"}
VISIBLE: dict[str, set[str]] = {
    "owner": {*MEMBERS, "asker", "invitee"},
    "manager": {*MEMBERS, "asker", "invitee"},
    "member": MEMBERS,
    "asker": {"asker"},
    "invitee": {"invitee", "owner"},  # the inviter
    "stranger": {"stranger"},
    "elsewhere": {"elsewhere"},
    "former": {"former"},
}
SEES_ALL = {"support", "staff", "keeper"}


def test_people_are_visible_to_members_and_deciders_of_their_groups(club: Club) -> None:
    for name, visible in VISIBLE.items():
        assert club.visible_to(name) == visible, name
    for name in SEES_ALL:
        assert club.visible_to(name) == set(club.people), name


def test_list_of_people_contains_exactly_the_visible_ones(club: Club, world: World) -> None:
    names = {person.id: name for name, person in club.people.items()}
    for name in (*VISIBLE, *SEES_ALL):
        body = club.groups.get(club[name], "user", query="?limit=100").json()
        listed = {names[row["id"]] for row in body["users"]}
        assert listed == club.visible_to(name), name
        assert body["count"] == len(body["users"])
        # `get_visible` and the list have the same rule.
        staff, support = name in {"staff", "keeper"}, name == "support"
        actor = replace(club[name].actor, is_staff=staff, is_support=support)
        with world.database.read() as tx:
            for account_id, other in names.items():
                try:
                    profile_queries.get_visible(tx, actor, account_id)
                    is_visible = True
                except NotFound:
                    is_visible = False
                assert is_visible == (other in listed), (name, other)


def test_hidden_people_are_unknown_and_not_found_by_any_filter(club: Club) -> None:
    stranger, get, call = club["stranger"], club.groups.get, club.groups.call
    unknown = get(stranger, "user", 999_999)
    for name, person in club.people.items():
        if name == "stranger":
            continue
        hidden = get(stranger, "user", person.id)
        assert (hidden.status_code, hidden.json()) == (404, unknown.json())
        for query in (
            f"filter{{email}}={person.email}",
            f"filter{{email.icontains}}={person.email}",
            f"filter{{email.gte}}={person.email}&filter{{email.lte}}={person.email}",
            f"filter{{last_name}}={'Lee' if name == 'staff' else f'Last {name}'}",
            f"filter{{id}}={person.id}",
        ):
            assert get(stranger, "user", query=f"?{query}").json()["count"] == 0, query
            assert get(club["staff"], "user", query=f"?{query}").json()["count"] == 1, query
        body = {"first_name": "x"}
        assert call("PATCH", stranger, "user", person.id, json=body).status_code == 404
        assert call("DELETE", stranger, "user", person.id).status_code == 404
    assert call("PATCH", club["member"], "user", club["owner"].id, json={}).status_code == 403
    # The public portal shows no account without a group, and has no filter by address.
    assert get(None, "user", stranger.id, portal="public").status_code == 404
    query = f"?filter{{email}}={club['owner'].email}"
    assert get(None, "user", query=query, portal="public").status_code == 400


def test_addresses_of_a_group_are_visible_to_its_members_and_staff(club: Club) -> None:
    emails = {club[name].email for name in MEMBERS}
    for name, person in club.people.items():
        may_see = name in MEMBERS or name in SEES_ALL
        group = club.groups.get(person, "group", club.id).json()["group"]
        assert group["name"] == "Club"
        assert set(group["users"]) == (emails if may_see else set()), name
        rows = club.groups.get(person, "group").json()["groups"]
        assert [row for row in rows if row["id"] == club.id] == [group]
        if not may_see:
            assert "owner@example.org" not in club.groups.get(person, "group").text


def test_members_are_hidden_from_an_account_that_has_left(club: Club) -> None:
    member = club["member"]
    assert club["owner"].email in club.groups.get(member, "group", club.id).text
    left = club.groups.get(member, "group", club.id, "leave")
    assert (left.status_code, left.json()["group"]["users"]) == (200, {})
    assert club.visible_to("member") == {"member"}


def test_deciders_see_the_requester_while_the_request_is_pending(club: Club) -> None:
    get = club.groups.get
    for name in ("owner", "manager", "staff"):
        (row,) = get(club[name], "request").json()["group_membership_requests"]
        asker = get(club[name], "user", row["user_account_request"])
        assert asker.status_code == 200
        assert asker.json()["user"]["email"] == club["asker"].email
        embedded = get(club[name], "request", query="?include[]=user_account_request.*").json()
        (row,) = embedded["group_membership_requests"]
        assert row["user_account_request"] == asker.json()["user"]
    for name in ("member", "stranger", "elsewhere", "former", "invitee"):
        assert get(club[name], "request").json()["count"] == 0
        assert get(club[name], "user", club["asker"].id).status_code == 404, name
    assert get(club["owner"], "request", club.request, "reject").status_code == 200
    assert get(club["owner"], "user", club["asker"].id).status_code == 404


def test_deciders_see_the_invitee_while_the_invitation_is_open(club: Club, world: World) -> None:
    get = club.groups.get
    for name in ("owner", "manager", "staff"):
        (row,) = get(club[name], "invitation").json()["group_membership_invitations"]
        invitee = get(club[name], "user", row["user_account_invitation"])
        assert invitee.json()["user"]["email"] == club["invitee"].email, name
    assert get(club["member"], "user", club["invitee"].id).status_code == 404
    assert get(club["invitee"], "user", club["owner"].id).status_code == 200
    late = datetime.now(UTC) + timedelta(days=30)
    with world.database.read(late) as tx, pytest.raises(NotFound):
        profile_queries.get_visible(tx, club["owner"].actor, club["invitee"].id)
    assert get(club["owner"], "invitation", club.invitation, "cancel").status_code == 200
    assert get(club["owner"], "user", club["invitee"].id).status_code == 404
    assert get(club["invitee"], "user", club["owner"].id).status_code == 404


def test_embedded_group_shows_the_same_as_the_group_itself(club: Club) -> None:
    for name, model in (("asker", "request"), ("invitee", "invitation"), ("owner", "request")):
        body = club.groups.get(club[name], model, query="?include[]=authgroup.*").json()
        (row,) = next(value for value in body.values() if isinstance(value, list))
        group = club.groups.get(club[name], "group", club.id).json()["group"]
        assert row["authgroup"] == group
        assert bool(group["users"]) == (name == "owner")


def test_public_portal_is_off_by_default(
    club: Club, world: World, make_site: Callable[[Settings], Site], make_settings: Any
) -> None:
    closed = Groups(world, make_site(make_settings()))
    paths = [path for path in ROUTES if path.startswith("/api/public/")]
    assert paths
    token = {"Authorization": f"Bearer {club['owner'].token}"}
    methods = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
    assert closed.site.get("/api/public/users/nothing/").status_code == 404
    for path, key in product(paths, (club.id, club["owner"].id, 999_999)):
        url = path.replace("{id}", str(key)).replace("{uuid}", "0" * 32)
        for headers, method in product(({}, token), methods):
            response = closed.site.request(method, url, headers=headers)
            assert response.status_code == 404, (method, url)
            assert "allow" not in response.headers
            if method != "HEAD":
                assert response.json() == {"detail": "Not found."}
    for model, key in (("group", club.id), ("user", club["owner"].id)):
        assert club.groups.get(None, model, portal="public").status_code == 200
        assert club.groups.get(None, model, key, portal="public").status_code == 200
        for groups in (closed, club.groups):
            assert groups.get(club["owner"], model, key).status_code == 200
            assert groups.get(None, model, key).status_code == 401
