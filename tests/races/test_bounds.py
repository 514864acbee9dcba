"""Limits and tokens under concurrent requests."""

import re
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest

from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.settings import Settings
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.ssh_keys import queries as ssh_key_queries
from tests.races.conftest import Together, statuses
from tests.sign_in.test_pages import HASHED, PASSWORD
from tests.support.browser import Browser
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, World

ROUNDS = 10
LIMIT = 2
Send = Callable[[], Any]


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    few = ("max_personal_tokens", "max_keys", "max_groups", "max_sessions", "max_logins")
    more = ("max_join_requests", "max_invite_links")
    return make_site(make_settings(**dict.fromkeys((*few, *more), str(LIMIT))))


def create_group(site: Site, _world: World, person: Person) -> Send:
    headers, numbers = {"Authorization": f"Bearer {person.token}"}, count(1)
    path = "/api/private/users/group/"
    return lambda: site.post(
        path, headers=headers, json={"name": f"Group {person.id} {next(numbers)}"}
    )


def ask_to_join(site: Site, world: World, person: Person) -> Send:
    headers = {"Authorization": f"Bearer {person.token}"}
    owners = [world.person().actor for _ in range(3)]
    with world.database.write() as tx:
        groups = iter([group_actions.create(tx, who, f"{person.id} {who.id}") for who in owners])
    return lambda: site.get(f"/api/private/users/group/{next(groups)}/join/", headers=headers)


def open_link(site: Site, world: World, person: Person) -> Send:
    project = world.project(world.organisation(owner=person))
    role = world.role("PROJECT.MEMBER").uuid
    body = {"scope": f"http://collegium.test{project.path}", "role": role}
    return partial(site.post, "/api/user-group-invitations/", person, json=body)


def add_key(site: Site, _world: World, person: Person) -> Send:
    numbers = count(1)
    return lambda: site.post(
        "/api/keys/", person, json={"public_key": new_key(), "name": f"key {next(numbers)}"}
    )


def log_in(site: Site, _world: World, person: Person) -> Send:
    body = {"username": person.actor.username, "password": PASSWORD}
    return partial(site.post, "/api-auth/password/", json=body)


@pytest.mark.parametrize(
    ("prepare", "accepted", "refused"),
    [
        (create_group, 201, 400),
        (ask_to_join, 200, 400),
        (open_link, 201, 400),
        (add_key, 201, 400),
        (log_in, 200, 429),
    ],
)
def test_only_one_of_two_concurrent_requests_reaches_the_limit(
    site: Site,
    world: World,
    together: Together,
    prepare: Callable[[Site, World, Person], Send],
    accepted: int,
    refused: int,
) -> None:
    stored: dict[Any, Any] = {
        create_group: group_queries.count_created,
        add_key: ssh_key_queries.count,
    }
    for number in range(ROUNDS):
        ada = world.person(f"ada{number}", password=HASHED)
        send = prepare(site, world, ada)
        assert send().status_code == accepted
        assert statuses(together(send, send)) == [accepted, refused]
        if prepare in stored:
            with world.database.read() as tx:
                assert stored[prepare](tx, ada.id) == LIMIT


def test_only_one_of_a_new_token_and_an_approved_device_reaches_the_limit(
    site: Site, world: World, together: Together
) -> None:
    for _ in range(ROUNDS):
        ada = world.person()
        with world.database.write() as tx:
            token_actions.issue_personal(tx, world.vault, ada.actor, "first")
        session = site.post("/api/auth/device/", json={}).json()["session_id"]
        first, second = (Browser(site).sign_in(world, ada) for _ in range(2))
        first.open("/account/tokens/")
        page = second.open(f"/account/authorize/?session={session}")
        uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
        responses = together(
            partial(first.send, "/account/tokens/", name="second"),
            partial(second.send, "/account/authorize/", action="approve", device=uuid),
        )
        assert statuses(responses) == [200, 422]
        with world.database.write() as tx:
            assert len(token_queries.personal(tx, ada.id)) in {1, 2}


def test_refresh_token_used_twice_at_once_ends_the_pair(
    site: Site, world: World, together: Together
) -> None:
    for _ in range(ROUNDS // 3):  # each round counts as two failures
        ada = world.person()
        with world.database.write() as tx:
            pair = token_actions.log_in_with_refresh(tx, world.vault, ada.actor, "password")

        def refresh(token: str = pair.refresh) -> Any:
            return site.post("/api/auth/token/refresh/", json={"refresh": token})

        responses = together(refresh, refresh)
        assert statuses(responses) == [200, 401]
        (body,) = [response.json() for response in responses if response.status_code == 200]
        assert site.get("/api/users/me/", body["access"]).status_code == 401
        assert refresh(body["refresh"]).status_code == 401


def test_token_created_while_all_tokens_are_revoked_does_not_survive(
    site: Site, world: World, together: Together
) -> None:
    for _ in range(ROUNDS):
        ada = world.person()
        browser, attacker = (Browser(site).sign_in(world, ada) for _ in range(2))
        browser.open("/account/tokens/")
        attacker.open("/account/tokens/")
        together(
            partial(browser.send, "/account/tokens/end/", kind="everything"),
            partial(attacker.send, "/account/tokens/", name="mine for a year"),
        )
        with world.database.read() as tx:
            assert token_queries.personal(tx, ada.id) == []
