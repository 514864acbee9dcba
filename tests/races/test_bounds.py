"""Bounds and tokens when two come at the same moment; on PostgreSQL, where writers do not queue."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.settings import Settings
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.ssh_keys import queries as ssh_key_queries
from tests.races.test_races import together
from tests.sign_in.test_pages import HASHED, PASSWORD
from tests.support.browser import Browser
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import World

ROUNDS = 10
MOST = 2
__all__ = ["together"]


@pytest.fixture
def url(new_postgresql: str) -> str:
    return new_postgresql


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    few = ("max_personal_tokens", "max_keys", "max_groups", "max_sessions", "max_logins")
    more = ("max_join_requests", "max_invite_links")
    return make_site(make_settings(**dict.fromkeys((*few, *more), str(MOST))))


def test_of_two_groups_founded_at_once_at_the_bound_one_is_refused(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(ROUNDS):
        ada = world.person()
        bearer = {"Authorization": f"Bearer {ada.token}"}

        def found(name: str, headers: dict[str, str] = bearer) -> int:
            body = {"name": name}
            return site.post("/api/private/users/group/", headers=headers, json=body).status_code

        assert found(f"First {turn}") == 201
        answers = together(lambda t=turn: found(f"a {t}"), lambda t=turn: found(f"b {t}"))
        assert sorted(answers) == [201, 400]
        with world.database.read() as tx:
            assert group_queries.count_created(tx, ada.id) == MOST


def test_of_two_groups_asked_at_once_at_the_bound_one_refuses(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    with world.database.write() as tx:
        clubs = [group_actions.create(tx, world.person().actor, f"Club {at}") for at in range(3)]
    for _ in range(ROUNDS):
        ada = world.person()
        bearer = {"Authorization": f"Bearer {ada.token}"}

        def join(club: int, headers: dict[str, str] = bearer) -> int:
            path = f"/api/private/users/group/{club}/join/"
            return site.get(path, headers=headers).status_code

        assert join(clubs[0]) == 200
        assert sorted(together(lambda: join(clubs[1]), lambda: join(clubs[2]))) == [200, 400]


def test_of_two_links_opened_at_once_at_the_bound_one_is_refused(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    role = world.role("PROJECT.MEMBER").uuid
    for _ in range(ROUNDS):
        project = world.project(organisation)
        body = {"scope": f"http://collegium.test{project.path}", "role": role}

        def make(given: dict[str, str] = body) -> int:
            return site.post("/api/user-group-invitations/", owner, json=given).status_code

        assert make() == 201
        assert sorted(together(make, make)) == [201, 400]


def test_of_two_keys_added_at_once_at_the_bound_one_is_refused(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for _ in range(ROUNDS):
        ada = world.person()

        def add(name: str, who: Any = ada) -> int:
            body = {"public_key": new_key(), "name": name}
            return site.post("/api/keys/", who, json=body).status_code

        assert add("first") == 201
        assert sorted(together(lambda: add("a"), lambda: add("b"))) == [201, 400]
        with world.database.read() as tx:
            assert ssh_key_queries.count(tx, ada.id) == MOST


def test_of_a_token_made_and_a_device_let_in_at_once_at_the_bound_one_is_refused(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for _ in range(ROUNDS):
        ada = world.person()
        with world.database.write() as tx:
            token_actions.issue_personal(tx, world.vault, ada.actor, "first")
        begun = site.post("/api/auth/device/", json={}).json()
        one, two = (Browser(site).sign_in(world, ada) for _ in range(2))
        one.open("/account/tokens/")
        page = two.open(f"/account/authorize/?session={begun['session_id']}")
        uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
        answers = together(
            lambda b=one: b.send("/account/tokens/", name="second").status_code,
            lambda b=two, u=uuid: (
                b.send("/account/authorize/", action="approve", device=u).status_code
            ),
        )
        assert sorted(answers) == [200, 422]
        with world.database.write() as tx:
            assert len(token_queries.personal(tx, ada.id)) in {1, 2}


def test_of_two_logins_at_once_at_the_bound_one_waits(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(ROUNDS):
        world.person(f"ada{turn}", password=HASHED)
        body = {"username": f"ada{turn}", "password": PASSWORD}

        def log_in(given: dict[str, str] = body) -> int:
            return site.post("/api-auth/password/", json=given).status_code

        assert log_in() == 200
        assert sorted(together(log_in, log_in)) == [200, 429]


def test_a_refresh_token_shown_twice_at_once_leaves_nobody_with_a_pair(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for _ in range(ROUNDS // 3):  # each counts as two guesses
        ada = world.person()
        with world.database.write() as tx:
            pair = token_actions.log_in_with_refresh(tx, world.vault, ada.actor, "password")
        body = {"refresh": pair.refresh}

        def refresh(given: dict[str, str] = body) -> Any:
            return site.post("/api/auth/token/refresh/", json=given)

        answers = together(refresh, refresh)
        assert sorted(answer.status_code for answer in answers) == [200, 401]
        (given,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert site.get("/api/users/me/", given["access"]).status_code == 401
        assert refresh({"refresh": given["refresh"]}).status_code == 401


def test_a_token_made_while_everything_is_ended_does_not_survive(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for _ in range(ROUNDS):
        ada = world.person()
        browser, thief = (Browser(site).sign_in(world, ada) for _ in range(2))
        browser.open("/account/tokens/")
        thief.open("/account/tokens/")
        together(
            lambda b=browser: b.send("/account/tokens/end/", kind="everything"),
            lambda b=thief: b.send("/account/tokens/", name="mine for a year"),
        )
        with world.database.read() as tx:
            assert token_queries.personal(tx, ada.id) == []
