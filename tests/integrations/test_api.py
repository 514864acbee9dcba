"""Accounts of a remote directory in the API: adding and pulling them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from collegium.accounts import queries as account_queries
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams.rules import Person as DirectoryPerson
from tests.support.remote import SECRET, Remote, claims, floods, new_key, says
from tests.support.site import Site
from tests.support.world import Person, World


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


ADA = "ada@acc.example.org"
ME = "/api/users/me/"
DISABLED = ["Remote eduTEAMS account synchronization extension is disabled."]
NOT_MANAGED = ["User is not managed by eduTEAMS."]


@pytest.fixture
def site(remote: Remote, site_with: Callable[..., Site]) -> Site:
    """Return a site that uses the directory."""
    return site_with(**remote.settings())


@pytest.fixture
def ada(world: World) -> Person:
    """Return an account of the directory."""
    return world.person(
        ADA, email="ada@example.org", registration_method="eduteams", identity_source="eduteams"
    )


@pytest.fixture
def manager(world: World) -> Person:
    return world.person("manager", is_identity_manager=True)


def pull(site: Site, caller: Person | None, uuid: str) -> Any:
    return site.post(f"/api/users/{uuid}/pull_remote_user/", caller)


def add(site: Site, caller: Person | None, **body: Any) -> Any:
    return site.post("/api/remote-eduteams/", caller, json=body)


def profile(site: Site, person: Person) -> Any:
    return site.get(ME, person).json()


def test_identity_managers_and_staff_add_an_account(
    site: Site, remote: Remote, world: World, manager: Person
) -> None:
    lines = [new_key() for _ in range(3)]
    remote.people[ADA] = claims(ADA, given_name="Ãda", ssh_public_key=lines)
    response = add(site, manager, cuid=ADA)
    assert response.status_code == 200
    (uuid,) = response.json().values()
    account = site.get(f"/api/users/{uuid}/", world.staff).json()
    assert account["username"] == ADA
    assert account["full_name"] == "Ãda Lovelace"
    assert account["registration_method"] == account["identity_source"] == "eduteams"
    assert account["affiliations"] == ["member@example.org"]
    assert account["notifications_enabled"] is False
    assert account["has_active_session"] is True
    keys = site.get("/api/keys/", world.staff, params={"user_uuid": uuid}).json()
    assert sorted(key["public_key"] for key in keys) == sorted(lines)
    assert add(site, world.staff, cuid=ADA).json() == {"uuid": uuid}


@pytest.mark.parametrize(
    ("name", "status"),
    [("staff", 404), ("manager", 404), ("support", 403), ("ada", 403), ("anonymous", 401)],
)
def test_directory_is_asked_to_add_accounts_by_managers_and_staff_only(
    site: Site, remote: Remote, world: World, ada: Person, manager: Person, name: str, status: int
) -> None:
    support = world.person("support", is_support=True)
    callers = {"staff": world.staff, "manager": manager, "support": support, "ada": ada}
    response = add(site, callers.get(name), cuid="nobody@acc.example.org")
    assert response.status_code == status
    assert bool(remote.asked) is (status == 404)
    if status == 403:
        assert add(site, callers[name]).status_code == 403


def test_invalid_username_is_not_sent_to_the_directory(
    site: Site, remote: Remote, world: World
) -> None:
    wrong = ["Enter a valid username."]
    for body, errors in (
        ({}, ["This field is required."]),
        ({"cuid": ".."}, wrong),
        ({"cuid": "a/../b"}, wrong),
        ({"cuid": "Ada"}, wrong),
        ({"cuid": ""}, ["This field may not be blank."]),
    ):
        response = add(site, world.staff, **body)
        assert (response.status_code, response.json()) == (400, {"cuid": errors})
    assert add(site, world.staff, cuid=1.5).status_code in {400, 404}
    assert not [path for path in remote.asked if ".." in path]


def test_account_is_pulled_by_itself_and_by_staff(
    site: Site, remote: Remote, world: World, ada: Person
) -> None:
    for caller, name in ((ada, "Augusta"), (world.staff, "Ada")):
        remote.people[ADA] = claims(ADA, given_name=name)
        response = pull(site, caller, ada.uuid)
        assert (response.status_code, response.content) == (200, b"")
        assert profile(site, ada)["first_name"] == name


def test_refused_pull_does_not_ask_the_directory(
    site: Site, remote: Remote, world: World, ada: Person, manager: Person
) -> None:
    colleague, stranger = world.person("colleague"), world.person("stranger")
    world.give_role(colleague, "CUSTOMER.OWNER", world.organisation(owner=ada))
    for caller, uuid, status in (
        (None, ada.uuid, 401),
        (stranger, ada.uuid, 404),
        (colleague, ada.uuid, 403),
        (world.person("support", is_support=True), ada.uuid, 403),
        (manager, ada.uuid, 404),
        (world.staff, uuid4().hex, 404),
        (world.staff, "x", 404),
    ):
        assert pull(site, caller, uuid).status_code == status
    local = pull(site, stranger, stranger.uuid)
    assert (local.status_code, local.json()) == (400, NOT_MANAGED)
    assert remote.asked == []


def test_disabled_directory_is_an_error(
    make_site: Callable[..., Site], world: World, ada: Person
) -> None:
    site = make_site(world.settings)
    for response in (pull(site, ada, ada.uuid), add(site, world.staff, cuid=ADA)):
        assert (response.status_code, response.json()) == (400, DISABLED)
    assert pull(site, world.staff, world.staff.uuid).json() == NOT_MANAGED


FAILURES: dict[str, tuple[Any, Any, str]] = {
    "no-token": (says(SECRET.encode(), 500), None, "Unable to get access token."),
    "odd-token": (says(SECRET.encode()), None, "Unable to parse JSON in access token response."),
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
def test_error_of_the_directory_reveals_neither_url_nor_response(
    site: Site, remote: Remote, world: World, ada: Person, case: str
) -> None:
    token, person, message = FAILURES[case]
    remote.token = token or remote.token
    remote.people[ADA] = person or claims(ADA)
    before = profile(site, ada)
    for response in (pull(site, ada, ada.uuid), add(site, world.staff, cuid=ADA)):
        assert (response.status_code, response.json()) == (400, {"detail": message})
        assert SECRET not in response.text
        assert "127.0.0.1" not in response.text
    assert profile(site, ada) == before


def test_local_account_is_not_taken_over(
    site: Site, remote: Remote, world: World, manager: Person
) -> None:
    boss = world.person("boss", is_staff=True)
    for person in (claims("boss"), None):
        remote.people["boss"] = person
        response = add(site, manager, cuid="boss")
        assert (response.status_code, response.json()) == (400, NOT_MANAGED)
    assert profile(site, boss)["email"] == "boss@example.org"


def test_account_unknown_to_the_directory_is_inactive_until_it_returns(
    site: Site, remote: Remote, world: World, ada: Person
) -> None:
    assert pull(site, ada, ada.uuid).status_code == 200
    assert profile(site, ada) == {"detail": "User inactive or deleted."}
    assert add(site, world.staff, cuid=ADA).json() == {"uuid": ada.uuid}
    remote.people[ADA] = claims(ADA)
    assert pull(site, world.staff, ada.uuid).status_code == 200
    # The account is active again, its old token is not valid.
    assert profile(site, ada) == {"detail": "Invalid token."}
    assert site.get(f"/api/users/{ada.uuid}/", world.staff).json()["is_active"] is True


def test_late_response_does_not_restore_a_deleted_account(world: World, ada: Person) -> None:
    person = DirectoryPerson(ADA, frozenset(), ada.email, "Ada", "Lee", [], [], keys=())
    settings, vault, staff = world.settings, world.vault, world.staff.actor
    with world.database.write() as tx:
        account_queries.anonymise(tx, ada.id)
    with world.database.write() as tx:
        assert eduteams_actions.apply(tx, staff, settings, vault, ADA, person) is None
        uuid = eduteams_actions.apply(tx, None, settings, vault, ADA, person, creates=True)
    assert uuid != ada.uuid
