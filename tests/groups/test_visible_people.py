"""Who is shown whom: people of a group to each other, who asks to those who decide, to no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
    """Two groups, and somebody of every kind to look at their people."""

    def __init__(self, groups: Groups) -> None:
        self.groups, world = groups, groups.world
        names = "owner manager member asker invitee stranger elsewhere keeper support former"
        self.people: dict[str, Person] = {
            name: world.person(
                name,
                is_support=name == "support",
                first_name=f"First {name}",
                last_name=f"Last {name}",
            )
            for name in names.split()
        }
        self.people["staff"] = world.staff
        self.id = groups.found(self["owner"], "Club")
        self.other = groups.found(self["elsewhere"], "Other")
        groups.seat(self.id, self["manager"], "GROUP.MANAGER")
        groups.seat(self.id, self["member"])
        groups.seat(self.id, self["keeper"])
        with world.database.write() as tx:
            account_queries.change(tx, self["keeper"].id, {"is_staff": True})
        groups.seat(self.id, self["former"])
        with world.database.write() as tx:
            group_actions.leave(tx, self["former"].actor, self.id)
        self.request = groups.ask(self.id, self["asker"])
        self.invitation = groups.invite(self.id, self["owner"], self["invitee"])

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    def seen_by(self, name: str) -> set[str]:
        """The names of those whose page somebody is shown."""
        return {
            one
            for one, person in self.people.items()
            if self.groups.get(self[name], "user", person.id).status_code == 200
        }


@pytest.fixture
def club(groups: Groups) -> Club:
    return Club(groups)


TEAM = {"owner", "manager", "member", "keeper"}
SEEN: dict[str, set[str]] = {
    "owner": {*TEAM, "asker", "invitee"},
    "manager": {*TEAM, "asker", "invitee"},
    "member": TEAM,
    "asker": {"asker"},
    "invitee": {"invitee", "owner"},  # who invites them
    "stranger": {"stranger"},
    "elsewhere": {"elsewhere"},
    "former": {"former"},
}
EVERYBODY = {"support", "staff", "keeper"}


def test_people_are_shown_to_those_who_share_a_group_or_decide_and_to_no_others(club: Club) -> None:
    for name, seen in SEEN.items():
        assert club.seen_by(name) == seen, name
    for name in EVERYBODY:
        assert club.seen_by(name) == set(club.people), name


def test_the_list_of_people_is_what_can_be_opened_one_by_one(club: Club, world: World) -> None:
    numbers = {person.id: name for name, person in club.people.items()}
    for name in (*SEEN, *EVERYBODY):
        listed = club.groups.get(club[name], "user", query="?limit=100").json()
        found = {numbers[one["id"]] for one in listed["users"]}
        assert found == club.seen_by(name), name
        assert listed["count"] == len(listed["users"])
        # The loader and the list are one rule.
        actor = replace(club[name].actor, is_staff=name in {"staff", "keeper"})
        with world.database.read() as tx:
            for number, one in numbers.items():
                try:
                    profile_queries.get_visible(tx, actor, number)
                    is_seen = True
                except NotFound:
                    is_seen = False
                assert is_seen == (one in found), (name, one)


def test_who_is_hidden_is_unknown_and_nobody_is_found_by_an_address(club: Club) -> None:
    stranger, get = club["stranger"], club.groups.get
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
        assert club.groups.call("PATCH", stranger, "user", person.id, json=body).status_code == 404
        assert club.groups.call("DELETE", stranger, "user", person.id).status_code == 404
    member = club["member"]
    assert club.groups.call("PATCH", member, "user", club["owner"].id, json={}).status_code == 403


def test_addresses_of_a_group_are_shown_to_its_people_and_staff_alone(club: Club) -> None:
    emails = {club[name].email for name in TEAM}
    for name, person in club.people.items():
        is_in = name in TEAM or name in EVERYBODY
        shown = club.groups.get(person, "group", club.id).json()["group"]
        assert shown["name"] == "Club"
        assert set(shown["users"]) == (emails if is_in else set()), name
        listed = club.groups.get(person, "group").json()["groups"]
        (one,) = [one for one in listed if one["id"] == club.id]
        assert one == shown
        if not is_in:
            assert "owner@example.org" not in club.groups.get(person, "group").text


def test_who_leaves_is_no_longer_shown_the_people(club: Club) -> None:
    member = club["member"]
    assert club["owner"].email in club.groups.get(member, "group", club.id).text
    left = club.groups.get(member, "group", club.id, "leave")
    assert (left.status_code, left.json()["group"]["users"]) == (200, {})
    assert club.seen_by("member") == {"member"}


def test_whoever_decides_a_request_sees_who_asks_as_long_as_it_waits(club: Club) -> None:
    get = club.groups.get
    for name in ("owner", "manager", "staff"):
        (waiting,) = get(club[name], "request").json()["group_membership_requests"]
        asker = get(club[name], "user", waiting["user_account_request"])
        assert asker.status_code == 200
        assert asker.json()["user"]["email"] == club["asker"].email
        embedded = get(club[name], "request", query="?include[]=user_account_request.*").json()
        (one,) = embedded["group_membership_requests"]
        assert one["user_account_request"] == asker.json()["user"]
    for name in ("member", "stranger", "elsewhere", "former", "invitee"):
        assert get(club[name], "request").json()["count"] == 0
        assert get(club[name], "user", club["asker"].id).status_code == 404, name
    assert get(club["owner"], "request", club.request, "reject").status_code == 200
    assert get(club["owner"], "user", club["asker"].id).status_code == 404


def test_whoever_decides_an_invitation_sees_who_is_invited_as_long_as_it_is_open(
    club: Club, world: World
) -> None:
    get = club.groups.get
    for name in ("owner", "manager", "staff"):
        (open_one,) = get(club[name], "invitation").json()["group_membership_invitations"]
        invitee = get(club[name], "user", open_one["user_account_invitation"])
        assert invitee.json()["user"]["email"] == club["invitee"].email, name
    assert get(club["member"], "user", club["invitee"].id).status_code == 404
    assert get(club["invitee"], "user", club["owner"].id).status_code == 200
    late = datetime.now(UTC) + timedelta(days=30)
    with world.database.read(late) as tx, pytest.raises(NotFound):
        profile_queries.get_visible(tx, club["owner"].actor, club["invitee"].id)
    assert get(club["owner"], "invitation", club.invitation, "cancel").status_code == 200
    assert get(club["owner"], "user", club["invitee"].id).status_code == 404
    assert get(club["invitee"], "user", club["owner"].id).status_code == 404


def test_a_group_that_is_embedded_shows_no_more_than_by_itself(club: Club) -> None:
    for name, model in (("asker", "request"), ("invitee", "invitation"), ("owner", "request")):
        answer = club.groups.get(club[name], model, query="?include[]=authgroup.*").json()
        (one,) = next(value for value in answer.values() if isinstance(value, list))
        by_itself = club.groups.get(club[name], "group", club.id).json()["group"]
        assert one["authgroup"] == by_itself
        assert bool(by_itself["users"]) == (name == "owner")


@pytest.fixture
def closed(world: World, make_site: Callable[[Settings], Site], make_settings: Any) -> Groups:
    """The same service with the settings that it has by itself."""
    return Groups(world, make_site(make_settings()))


def test_the_public_portal_is_off_unless_the_operator_turns_it_on(
    club: Club, closed: Groups
) -> None:
    paths = [path for path in ROUTES if path.startswith("/api/public/")]
    assert paths
    unknown = closed.site.get("/api/public/users/nothing/")
    token = {"Authorization": f"Bearer {club['owner'].token}"}
    for path in paths:
        for number in (club.id, club["owner"].id, 999_999):
            at = path.replace("{id}", str(number)).replace("{uuid}", "0" * 32)
            for headers in ({}, token):
                for method in ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"):
                    answer = closed.site.request(method, at, headers=headers)
                    assert answer.status_code == 404, (method, at)
                    assert "allow" not in answer.headers
                    if method != "HEAD":
                        assert answer.json() == {"detail": "Not found."}
    assert unknown.status_code == 404
    # The twin: the same paths where it is on.
    for model, number in (("group", club.id), ("user", club["owner"].id)):
        assert club.groups.get(None, model, portal="public").status_code == 200
        assert club.groups.get(None, model, number, portal="public").status_code == 200
        # The private portal goes on in both.
        for groups in (closed, club.groups):
            assert groups.get(club["owner"], model, number).status_code == 200
            assert groups.get(None, model, number).status_code == 401


def test_addresses_stay_hidden_in_a_portal_that_is_on(club: Club) -> None:
    for model in ("group", "user"):
        text = club.groups.get(None, model, portal="public").text
        assert "@example.org" not in text
        assert "First owner" in text or model == "group"
