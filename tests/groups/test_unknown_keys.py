"""A key that nobody knows is told, and changes nothing: passed over, a slip demotes somebody."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.groups.scene import Groups
from tests.support.world import Person


@pytest.fixture
def lab(groups: Groups) -> tuple[int, Person, Person]:
    """A group with its founder and a manager."""
    olga, mia = groups.world.person("olga"), groups.world.person("mia")
    group = groups.found(olga)
    groups.seat(group, mia, "GROUP.MANAGER")
    return group, olga, mia


def change(groups: Groups, who: Person, group: int, body: dict[str, Any]) -> httpx.Response:
    return groups.call("PATCH", who, "group", group, json=body)


@pytest.mark.parametrize(
    "flags",
    [
        {"delete": True},
        {"removed": True},
        {"is_Manager": True},
        {"is_manager ": True},
        {"is_manager": True, "role": "owner"},
        {"": None},
        {"x" * 5000: 1},
    ],
)
def test_unknown_key_of_a_person_is_refused_and_demotes_nobody(
    groups: Groups, lab: tuple[int, Person, Person], flags: dict[str, Any]
) -> None:
    group, olga, mia = lab
    answer = change(groups, olga, group, {"users": {mia.email: flags}, "name": "Renamed"})
    assert (answer.status_code, list(answer.json())) == (400, ["users"])
    assert mia.email in answer.json()["users"][0]
    assert len(answer.text) < 500
    assert groups.role_of(group, mia) == "GROUP.MANAGER"
    known = change(groups, olga, group, {"users": {mia.email: {"is_manager": False}}})
    assert (known.status_code, groups.role_of(group, mia)) == (200, "GROUP.MEMBER")


@pytest.mark.parametrize("flag", ["is_manager", "is_owner"])
def test_person_cannot_be_removed_and_given_a_role_at_once(
    groups: Groups, lab: tuple[int, Person, Person], flag: str
) -> None:
    group, olga, mia = lab
    answer = change(groups, olga, group, {"users": {mia.email: {"remove": True, flag: True}}})
    assert (answer.status_code, list(answer.json())) == (400, ["users"])
    assert groups.role_of(group, mia) == "GROUP.MANAGER"
    alone = {"remove": True, "is_manager": False, "is_owner": False}
    assert change(groups, olga, group, {"users": {mia.email: alone}}).status_code == 200
    assert groups.role_of(group, mia) is None


@pytest.mark.parametrize("key", ["user", "Users", "remove", "members", "users ", ""])
def test_unknown_key_of_a_group_is_refused_beside_what_is_known(
    groups: Groups, lab: tuple[int, Person, Person], key: str
) -> None:
    group, olga, mia = lab
    answer = change(groups, olga, group, {key: {mia.email: {"remove": True}}, "name": "Renamed"})
    assert (answer.status_code, answer.json()) == (400, {key: ["Unknown field."]})
    made = groups.call("POST", olga, "group", json={"name": "Another", key: 1})
    assert (made.status_code, made.json()) == (400, {key: ["Unknown field."]})
    with_errors = change(groups, olga, group, {key: 1, "name": ""})
    assert set(with_errors.json()) == {key, "name"}


def test_outsider_who_sends_unknown_keys_is_told_only_that_the_group_is_not_theirs(
    groups: Groups, lab: tuple[int, Person, Person]
) -> None:
    group, _, _ = lab
    answer = change(groups, groups.world.person("xena"), group, {"user": {}})
    assert answer.status_code == 403


def test_what_was_shown_can_be_sent_back(groups: Groups, lab: tuple[int, Person, Person]) -> None:
    group, olga, mia = lab
    shown = groups.get(olga, "group", group).json()["group"]
    assert change(groups, olga, group, shown | {"name": "Renamed"}).status_code == 200
    assert groups.role_of(group, mia) == "GROUP.MANAGER"
    profile = groups.get(olga, "user", olga.id).json()["user"]
    renamed = profile | {"first_name": "Olga-Maria"}
    answer = groups.call("PATCH", olga, "user", olga.id, json=renamed)
    assert answer.status_code == 200
    assert answer.json()["user"] == renamed


@pytest.mark.parametrize("key", ["firstname", "is_staff", "password", "Website"])
def test_unknown_key_of_a_profile_is_refused(groups: Groups, key: str) -> None:
    olga = groups.world.person("olga")
    answer = groups.call("PATCH", olga, "user", olga.id, json={key: "x", "last_name": "Changed"})
    assert (answer.status_code, answer.json()) == (400, {key: ["Unknown field."]})
    assert groups.get(olga, "user", olga.id).json()["user"]["last_name"] == "Lee"


def test_many_unknown_keys_are_told_in_a_short_answer(
    groups: Groups, lab: tuple[int, Person, Person]
) -> None:
    group, olga, _ = lab
    answer = change(groups, olga, group, {f"{n:05}" * 100: 1 for n in range(2000)})
    assert answer.status_code == 400
    assert len(answer.text) < 4000
