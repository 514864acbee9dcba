"""Bringing people in from a remote directory, over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from collegium.accounts import queries as account_queries
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams.rules import Person as Found
from collegium.settings import Settings
from tests.support.remote import SECRET, Remote, claims, floods, new_key, says
from tests.support.site import Site
from tests.support.world import Person, World

ADA = "ada@acc.example.org"
ADD = "/api/remote-eduteams/"
DISABLED = ["Remote eduTEAMS account synchronization extension is disabled."]
NOT_MANAGED = ["User is not managed by eduTEAMS."]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, and no token from another test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(eduteams_actions, "_token_cache", eduteams_actions._TokenCache())


@pytest.fixture
def remote() -> Iterator[Remote]:
    yield from Remote().running()


@pytest.fixture
def linked(
    remote: Remote, make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> Site:
    """A site that asks the directory."""
    return make_site(make_settings(**remote.settings()))


@pytest.fixture
def ada(world: World) -> Person:
    """Somebody who came from the directory."""
    return world.person(
        ADA, email="ada@example.org", registration_method="eduteams", identity_source="eduteams"
    )


def pull(site: Site, who: Person | None, uuid: str) -> Any:
    return site.post(f"/api/users/{uuid}/pull_remote_user/", who)


def test_an_identity_manager_brings_somebody_in(linked: Site, remote: Remote, world: World) -> None:
    manager = world.person("manager", is_identity_manager=True)
    lines = [new_key() for _ in range(3)]
    remote.people[ADA] = claims(ADA, given_name="Ãda", ssh_public_key=lines)
    answer = linked.post(ADD, manager, json={"cuid": ADA})
    assert answer.status_code == 200
    (uuid,) = answer.json().values()
    shown = linked.get(f"/api/users/{uuid}/", world.staff).json()
    assert shown["username"] == ADA
    assert shown["full_name"] == "Ãda Lovelace"
    assert shown["registration_method"] == shown["identity_source"] == "eduteams"
    assert shown["affiliations"] == ["member@example.org"]
    assert shown["notifications_enabled"] is False
    assert shown["has_active_session"] is True
    keys = linked.get("/api/keys/", world.staff, params={"user_uuid": uuid}).json()
    assert sorted(one["public_key"] for one in keys) == sorted(lines)
    assert linked.post(ADD, world.staff, json={"cuid": ADA}).json() == {"uuid": uuid}


@pytest.mark.parametrize(
    ("name", "status"),
    [("staff", 404), ("manager", 404), ("support", 403), ("ada", 403), ("nobody", 401)],
)
def test_who_may_bring_people_in(
    linked: Site, remote: Remote, world: World, ada: Person, name: str, status: int
) -> None:
    people = {
        "staff": world.staff,
        "manager": world.person("manager", is_identity_manager=True),
        "support": world.person("support", is_support=True),
        "ada": ada,
        "nobody": None,
    }
    answer = linked.post(ADD, people[name], json={"cuid": "nobody@acc.example.org"})
    assert answer.status_code == status
    # Nor is the directory asked for those who may not.
    assert bool(remote.asked) is (status == 404)
    if status == 403:
        assert linked.post(ADD, people[name], json={}).status_code == 403


def test_a_name_that_can_be_none_is_not_asked_about(
    linked: Site, remote: Remote, world: World
) -> None:
    required = {"cuid": ["This field is required."]}
    wrong = {"cuid": ["Enter a valid username."]}
    for body, said in (
        ({}, required),
        ({"cuid": ".."}, wrong),
        ({"cuid": "a/../b"}, wrong),
        ({"cuid": "Ada"}, wrong),
        ({"cuid": ""}, {"cuid": ["This field may not be blank."]}),
        ({"cuid": 1.5}, None),
    ):
        answer = linked.post(ADD, world.staff, json=body)
        assert answer.status_code in ({400} if said else {400, 404})
        assert said is None or answer.json() == said
    assert not [path for path in remote.asked if ".." in path]


def test_an_account_is_brought_up_to_date_by_oneself_and_by_staff(
    linked: Site, remote: Remote, world: World, ada: Person
) -> None:
    remote.people[ADA] = claims(ADA, given_name="Augusta")
    answer = pull(linked, ada, ada.uuid)
    assert (answer.status_code, answer.content) == (200, b"")
    assert linked.get("/api/users/me/", ada).json()["first_name"] == "Augusta"
    remote.people[ADA] = claims(ADA, given_name="Ada")
    assert pull(linked, world.staff, ada.uuid).status_code == 200
    assert linked.get("/api/users/me/", ada).json()["first_name"] == "Ada"


def test_everybody_else_is_refused_and_the_directory_not_asked(
    linked: Site, remote: Remote, world: World, ada: Person
) -> None:
    organisation = world.organisation(owner=ada)
    colleague, stranger = world.person("colleague"), world.person("stranger")
    world.seat(colleague, "CUSTOMER.OWNER", organisation)
    for who, status in (
        (None, 401),
        (stranger, 404),
        (colleague, 403),
        (world.person("support", is_support=True), 403),
        (world.person("manager", is_identity_manager=True), 404),
    ):
        assert pull(linked, who, ada.uuid).status_code == status
    assert pull(linked, world.staff, uuid4().hex).status_code == 404
    assert pull(linked, world.staff, "x").status_code == 404
    own = pull(linked, stranger, stranger.uuid)
    assert (own.status_code, own.json()) == (400, NOT_MANAGED)
    assert remote.asked == []


def test_while_it_is_disabled_it_says_so(site: Site, world: World, ada: Person) -> None:
    for answer in (
        pull(site, ada, ada.uuid),
        site.post(ADD, world.staff, json={"cuid": ADA}),
    ):
        assert (answer.status_code, answer.json()) == (400, DISABLED)
    assert pull(site, world.staff, world.staff.uuid).json() == NOT_MANAGED


FAILURES: dict[str, tuple[Any, Any, str]] = {
    "no-token": (says(SECRET.encode(), 500), None, "Unable to get access token."),
    "odd-token": (
        says(SECRET.encode()),
        None,
        "Unable to parse JSON in access token response.",
    ),
    "fails": (None, says(SECRET.encode(), 500), "Unable to get user info."),
    "floods": (None, floods, "Unable to get user info."),
    "redirects": (None, says(b"", 302, Location=f"/{SECRET}"), "Unable to get user info."),
    "odd": (None, says(SECRET.encode()), "Unable to parse JSON in user info response."),
    "nameless": (
        None,
        claims(ADA, given_name=None, family_name=SECRET),
        "The user info response cannot be used: given_name.",
    ),
    "of-another": (
        None,
        claims("eve@acc.example.org"),
        "The user info response cannot be used: sub.",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_goes_wrong_there_is_told_without_where_and_what(
    linked: Site, remote: Remote, world: World, ada: Person, case: str
) -> None:
    token, person, text = FAILURES[case]
    remote.token = token or remote.token
    remote.people[ADA] = person or claims(ADA)
    before = linked.get("/api/users/me/", ada).json()
    answers = [pull(linked, ada, ada.uuid), linked.post(ADD, world.staff, json={"cuid": ADA})]
    for answer in answers:
        assert (answer.status_code, answer.json()) == (400, {"detail": text})
        assert SECRET not in answer.text
        assert "127.0.0.1" not in answer.text
    assert linked.get("/api/users/me/", ada).json() == before


def test_an_account_of_our_own_is_not_taken_over(
    linked: Site, remote: Remote, world: World
) -> None:
    boss = world.person("boss", is_staff=True)
    manager = world.person("manager", is_identity_manager=True)
    for known in (claims("boss"), None):
        remote.people["boss"] = known
        answer = linked.post(ADD, manager, json={"cuid": "boss"})
        assert (answer.status_code, answer.json()) == (400, NOT_MANAGED)
    assert linked.get("/api/users/me/", boss).json()["email"] == "boss@example.org"


def test_who_is_gone_there_cannot_come_in_here(
    linked: Site, remote: Remote, world: World, ada: Person
) -> None:
    assert pull(linked, ada, ada.uuid).status_code == 200
    answer = linked.get("/api/users/me/", ada)
    assert answer.json() == {"detail": "User inactive or deleted."}
    assert linked.post(ADD, world.staff, json={"cuid": ADA}).json() == {"uuid": ada.uuid}
    remote.people[ADA] = claims(ADA)
    assert pull(linked, world.staff, ada.uuid).status_code == 200
    # The account is active again; its old token is not.
    assert linked.get("/api/users/me/", ada).json() == {"detail": "Invalid token."}
    assert linked.get(f"/api/users/{ada.uuid}/", world.staff).json()["is_active"] is True


def test_what_staff_switched_off_stays_off(
    linked: Site, remote: Remote, world: World, ada: Person
) -> None:
    remote.people[ADA] = claims(ADA)
    path = f"/api/users/{ada.uuid}/"
    off = linked.request("PATCH", path, world.staff, json={"is_active": False})
    assert off.status_code == 200
    assert pull(linked, world.staff, ada.uuid).status_code == 200
    assert linked.post(ADD, world.staff, json={"cuid": ADA}).status_code == 200
    assert linked.get(path, world.staff).json()["is_active"] is False


def test_a_deleted_account_is_not_revived_by_an_answer_that_comes_late(
    world: World, ada: Person
) -> None:
    """A pull asks, the account is deleted, the answer arrives."""
    found = Found(ADA, frozenset(), "ada@example.org", "Ada", "Lee", [], [], keys=())
    with world.database.write() as tx:
        account_queries.anonymise(tx, ada.id)
    with world.database.write() as tx:
        settings, vault = world.settings, world.vault
        assert eduteams_actions.apply(tx, world.staff.actor, settings, vault, ADA, found) is None
        assert (
            eduteams_actions.apply(tx, None, settings, vault, ADA, found, creates=True) != ada.uuid
        )


def test_two_pulls_of_one_account_at_once_both_succeed(
    linked: Site, remote: Remote, world: World, ada: Person
) -> None:
    remote.people[ADA] = claims(ADA, ssh_public_key=[new_key() for _ in range(5)])
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: pull(linked, world.staff, ada.uuid), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(linked.get("/api/keys/", ada).json()) == 5
