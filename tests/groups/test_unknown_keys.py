"""Unknown keys are refused: ignored, a typing error would change a role."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.groups.scene import Groups
from tests.support.world import Person


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


@pytest.fixture
def lab(groups: Groups) -> tuple[int, Person, Person]:
    """Return a group, its owner and its manager."""
    olga, mia = groups.people("olga", "mia")
    group = groups.create(olga)
    groups.give_role(group, mia, "GROUP.MANAGER")
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
def test_unknown_key_of_a_person_is_refused_and_changes_no_role(
    groups: Groups, lab: tuple[int, Person, Person], flags: dict[str, Any]
) -> None:
    group, olga, mia = lab
    response = change(groups, olga, group, {"users": {mia.email: flags}, "name": "Renamed"})
    assert (response.status_code, list(response.json())) == (400, ["users"])
    assert mia.email in response.json()["users"][0]
    assert len(response.text) < 500
    assert groups.role_of(group, mia) == "GROUP.MANAGER"
    known = change(groups, olga, group, {"users": {mia.email: {"is_manager": False}}})
    assert (known.status_code, groups.role_of(group, mia)) == (200, "GROUP.MEMBER")


@pytest.mark.parametrize("flag", ["is_manager", "is_owner"])
def test_person_cannot_be_removed_and_given_a_role_at_once(
    groups: Groups, lab: tuple[int, Person, Person], flag: str
) -> None:
    group, olga, mia = lab
    response = change(groups, olga, group, {"users": {mia.email: {"remove": True, flag: True}}})
    assert (response.status_code, list(response.json())) == (400, ["users"])
    assert groups.role_of(group, mia) == "GROUP.MANAGER"
    alone = {"remove": True, "is_manager": False, "is_owner": False}
    assert change(groups, olga, group, {"users": {mia.email: alone}}).status_code == 200
    assert groups.role_of(group, mia) is None


@pytest.mark.parametrize("key", ["user", "Users", "remove", "members", "users ", ""])
def test_unknown_key_of_a_group_is_refused_beside_known_keys(
    groups: Groups, lab: tuple[int, Person, Person], key: str
) -> None:
    group, olga, mia = lab
    response = change(groups, olga, group, {key: {mia.email: {"remove": True}}, "name": "Renamed"})
    assert (response.status_code, response.json()) == (400, {key: ["Unknown field."]})
    created = groups.call("POST", olga, "group", json={"name": "Another", key: 1})
    assert (created.status_code, created.json()) == (400, {key: ["Unknown field."]})
    with_errors = change(groups, olga, group, {key: 1, "name": ""})
    assert set(with_errors.json()) == {key, "name"}


def test_outsider_who_sends_unknown_keys_gets_403(
    groups: Groups, lab: tuple[int, Person, Person]
) -> None:
    group, _, _ = lab
    assert change(groups, groups.world.person("xena"), group, {"user": {}}).status_code == 403


def test_response_can_be_sent_back(groups: Groups, lab: tuple[int, Person, Person]) -> None:
    group, olga, mia = lab
    shown = groups.get(olga, "group", group).json()["group"]
    assert change(groups, olga, group, shown | {"name": "Renamed"}).status_code == 200
    assert groups.role_of(group, mia) == "GROUP.MANAGER"
    profile = groups.get(olga, "user", olga.id).json()["user"]
    renamed = profile | {"first_name": "Olga-Maria"}
    response = groups.call("PATCH", olga, "user", olga.id, json=renamed)
    assert (response.status_code, response.json()["user"]) == (200, renamed)


@pytest.mark.parametrize("key", ["firstname", "is_staff", "password", "Website"])
def test_unknown_key_of_a_profile_is_refused(groups: Groups, key: str) -> None:
    olga = groups.world.person("olga")
    response = groups.call("PATCH", olga, "user", olga.id, json={key: "x", "last_name": "Changed"})
    assert (response.status_code, response.json()) == (400, {key: ["Unknown field."]})
    assert groups.get(olga, "user", olga.id).json()["user"]["last_name"] == "Lee"


def test_many_unknown_keys_give_a_short_response(
    groups: Groups, lab: tuple[int, Person, Person]
) -> None:
    group, olga, _ = lab
    response = change(groups, olga, group, {f"{n:05}" * 100: 1 for n in range(2000)})
    assert response.status_code == 400
    assert len(response.text) < 4000
