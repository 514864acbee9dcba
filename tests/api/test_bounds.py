"""How much one account may have of everything, and how it is told; the same for staff."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from collegium.db.statements import Statement
from collegium.db.tables import events, tokens
from collegium.join_requests import queries as join_request_queries
from collegium.scopes.groups import queries as group_queries
from collegium.settings import Settings
from collegium.sign_in.tokens import queries as token_queries
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import parse
from tests.sign_in.test_pages import HASHED, PASSWORD, try_in
from tests.support.browser import Browser, text
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, Place, World

FEW = 3
NAMES = (
    *("groups", "personal_tokens", "keys", "sessions", "logins"),
    *("projects", "invite_links", "join_requests"),
)
ME = "/api/users/me/"


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    """A service where three of everything are enough."""
    few = [f"max_{name}" for name in NAMES]
    return make_site(make_settings(**dict.fromkeys(few, str(FEW))))


@pytest.fixture(params=["person", "staff"])
def ada(request: pytest.FixtureRequest, world: World) -> Person:
    """Somebody whom the bounds hold for: staff as well."""
    return world.person("ada", password=HASHED, is_staff=request.param == "staff")


@pytest.fixture
def browser(site: Site, world: World, ada: Person) -> Browser:
    return Browser(site).sign_in(world, ada)


def group(site: Site, person: Person, name: str) -> Any:
    bearer = {"Authorization": f"Bearer {person.token}"}
    return site.post("/api/private/users/group/", headers=bearer, json={"name": name})


def forget_logins(world: World, seconds: int = 601) -> None:
    """Have every login of before be so long ago."""
    then: Any = datetime.now(UTC) - timedelta(seconds=seconds)
    with world.database.write() as tx:
        tx.execute(
            Statement(
                update(events).where(events.c.kind == "login.succeeded").values(created_at=then)
            )
        )


def test_the_bounds_are_generous(world: World) -> None:
    found = [getattr(world.settings, f"max_{name}") for name in NAMES]
    assert found == [200, 100, 100, 100, 60, 1000, 200, 100]


def test_an_account_founds_so_many_groups_and_another_when_one_is_gone(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    made = [group(site, ada, f"Club {at}") for at in range(FEW)]
    assert [one.status_code for one in made] == [201] * FEW
    refused = group(site, ada, "Club of too many")
    assert refused.status_code == 400
    assert refused.json() == {
        "detail": "You have created 3 groups, which is the maximum. Delete one first."
    }
    browser.open("/teams/")
    page = browser.send("/teams/", name="Club of too many")
    assert page.status_code == 422
    assert "maximum number of groups" in text(page)
    # Somebody else's are not counted, nor is what somebody only owns.
    bob = world.person("bob")
    assert group(site, bob, "Bobs").status_code == 201
    bearer = {"Authorization": f"Bearer {ada.token}"}
    path = f"/api/private/users/group/{made[0].json()['group']['id']}/"
    assert site.request("DELETE", path, headers=bearer).status_code == 204
    assert group(site, ada, "Another").status_code == 201


def test_an_account_has_so_many_tokens_for_programs_of_both_kinds(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    proof = {"password": PASSWORD} if ada.actor.is_staff else {}
    begun = [site.post("/api/auth/device/", json={}).json() for _ in range(3)]

    def approve(at: int) -> Any:
        page = browser.open(f"/account/authorize/?session={begun[at]['session_id']}")
        uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
        return browser.send("/account/authorize/", action="approve", device=uuid, **proof)

    # One is fetched, one only approved, and one made: each of them counts.
    assert approve(0).status_code == 200
    poll = {"device_code": begun[0]["device_code"]}
    assert site.post("/api/auth/device/token/", json=poll).json()["status"] == "success"
    assert approve(1).status_code == 200
    browser.open("/account/tokens/")
    assert browser.send("/account/tokens/", name="backup").status_code == 200
    browser.open("/account/tokens/")
    refused = browser.send("/account/tokens/", name="one more")
    assert refused.status_code == 422
    assert "maximum number of access tokens" in text(refused)
    refused = approve(2)
    assert refused.status_code == 422
    assert "maximum number of access tokens" in text(refused)
    waits = {"device_code": begun[2]["device_code"]}
    told = site.post("/api/auth/device/token/", json=waits).json()
    assert told == {"status": "authorization_pending"}
    # What was let in before is not turned away for it.
    poll = {"device_code": begun[1]["device_code"]}
    assert site.post("/api/auth/device/token/", json=poll).json()["status"] == "success"
    with world.database.read() as tx:
        (row,) = token_queries.personal(tx, ada.id)
    assert browser.send("/account/tokens/end/", kind="token", number=str(row.id)).is_redirect
    assert approve(2).status_code == 200


def test_a_token_that_expired_leaves_room(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    for at in range(FEW):
        browser.open("/account/tokens/")
        assert browser.send("/account/tokens/", name=f"script {at}").status_code == 200
    old: Any = datetime.now(UTC) - timedelta(days=366)
    with world.database.write() as tx:
        tx.execute(
            Statement(update(tokens).where(tokens.c.name == "script 0").values(last_used_at=old))
        )
    browser.open("/account/tokens/")
    assert browser.send("/account/tokens/", name="one more").status_code == 200


def test_an_account_has_so_many_keys(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    for at in range(FEW):
        body = {"public_key": new_key(), "name": f"key {at}"}
        assert site.post("/api/keys/", ada, json=body).status_code == 201
    body = {"public_key": new_key(), "name": "one more"}
    refused = site.post("/api/keys/", ada, json=body)
    assert refused.status_code == 400
    assert refused.json() == ["You have 3 SSH keys; no more can be added."]
    browser.open("/account/keys/")
    page = browser.send("/account/keys/", **body)
    assert page.status_code == 422
    assert "maximum number of SSH keys" in text(page)
    assert site.post("/api/keys/", world.person("bob"), json=body).status_code == 201
    with world.database.read() as tx:
        key = ssh_key_queries.of_account(tx, ada.id)[0].uuid
    assert site.request("DELETE", f"/api/keys/{key}/", ada).status_code == 204
    assert site.post("/api/keys/", ada, json=body).status_code == 201


def test_a_directory_gives_an_account_no_endless_list_of_keys(world: World) -> None:
    bob = world.person("bob")
    found = [parse(new_key()) for _ in range(103)]
    with world.database.write() as tx:
        ssh_key_actions.sync_keys(tx, None, bob.id, found)
        assert ssh_key_queries.count(tx, bob.id) == 100


def test_the_session_that_was_not_used_for_longest_gives_way(
    site: Site, world: World, ada: Person
) -> None:
    browsers = []
    for at in range(FEW):
        browsers.append(Browser(site))
        assert try_in(browsers[-1], "ada", PASSWORD).status_code == 303, at
    forget_logins(world)
    used: Any = datetime.now(UTC) - timedelta(minutes=5)
    with world.database.write() as tx:
        first = min(token_queries.sessions(tx, ada.id), key=lambda row: row.id)
        others = tokens.c.id != first.id
        tx.execute(
            Statement(
                update(tokens).where(tokens.c.kind == "session", others).values(last_used_at=used)
            )
        )
    browsers.append(Browser(site))
    assert try_in(browsers[-1], "ada", PASSWORD).status_code == 303
    found = [one.open("/account/").status_code for one in browsers]
    assert found == [200, 303, 200, 200]
    with world.database.read() as tx:
        assert len(token_queries.sessions(tx, ada.id)) == FEW


def test_the_pair_that_was_not_used_for_longest_gives_way(
    site: Site, world: World, ada: Person
) -> None:
    given = {"email": ada.email, "password": PASSWORD}
    pairs = []
    for _ in range(FEW + 1):
        forget_logins(world)
        pairs.append(site.post("/api/auth/token/", json=given).json())
    found = [site.get(ME, one["access"]).status_code for one in pairs]
    assert found == [401, 200, 200, 200]
    again = site.post("/api/auth/token/refresh/", json={"refresh": pairs[0]["refresh"]})
    assert again.status_code == 401
    # Refreshing makes none more.
    for at in (1, 2, 3):
        body = {"refresh": pairs[at]["refresh"]}
        assert site.post("/api/auth/token/refresh/", json=body).status_code == 200


LOGINS = {
    "waldur": ("/api-auth/password/", {"username": "ada"}),
    "brainstem": ("/api/token/", {"username": "ada@example.org"}),
    "pair": ("/api/auth/token/", {"email": "ada@example.org"}),
}


@pytest.mark.parametrize("way", [*LOGINS, "browser"])
def test_an_account_logs_in_so_often_in_ten_minutes_and_again_afterwards(
    site: Site, world: World, ada: Person, way: str
) -> None:
    # The ways are counted together.
    for path, name in LOGINS.values():
        answer = site.post(path, json={**name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
    forget_logins(world, 540)

    def log_in() -> Any:
        if way == "browser":
            return try_in(Browser(site), "ada", PASSWORD)
        path, name = LOGINS[way]
        return site.post(path, json={**name, "password": PASSWORD})

    refused = log_in()
    assert refused.status_code == 429
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert "collegium_session" not in refused.headers.get("set-cookie", "")
    if way == "browser":
        assert "wait" in text(refused)
    else:
        assert list(refused.json()) == ["detail"]
        assert "token" not in refused.json()
    # What was got before goes on, and another account is not concerned.
    assert site.get(ME, ada).status_code == 200
    world.person("bob", password=HASHED)
    body = {"username": "bob", "password": PASSWORD}
    assert site.post("/api-auth/password/", json=body).status_code == 200
    # A wrong password is told as ever, and is no login.
    wrong = site.post("/api-auth/password/", json={"username": "ada", "password": "wrong"})
    assert wrong.status_code == 401
    forget_logins(world)
    assert log_in().status_code in {200, 303}


def test_whoever_logs_in_all_the_time_keeps_nobody_from_another_password(
    site: Site, world: World, ada: Person
) -> None:
    browser = Browser(site).sign_in(world, ada)
    for path, name in LOGINS.values():
        site.post(path, json={**name, "password": PASSWORD})
    browser.open("/account/password/")
    new = {"password": "another-and-a-ship", "again": "another-and-a-ship"}
    changed = browser.send("/account/password/", current=PASSWORD, **new)
    assert changed.status_code == 303, text(changed)
    # The browser that changed it stays signed in.
    assert browser.open("/account/").status_code == 200
    refused = try_in(Browser(site), "ada", PASSWORD)
    assert refused.status_code == 401


def test_logins_are_not_counted_where_rate_limits_are_off(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    world.person("ada", password=HASHED)
    site = make_site(make_settings(rate_limits="false", max_logins="1"))
    body = {"username": "ada", "password": PASSWORD}
    answers = [site.post("/api-auth/password/", json=body).status_code for _ in range(3)]
    assert answers == [200] * 3


def test_a_group_counts_for_whoever_founded_it(site: Site, world: World) -> None:
    olga = world.person("olga")
    group(site, olga, "Club")
    with world.database.read() as tx:
        assert group_queries.count_created(tx, olga.id) == 1
        assert group_queries.count_created(tx, world.staff.id) == 0


def link(site: Site, world: World, person: Person, place: Place) -> Any:
    role = world.role("PROJECT.MEMBER").uuid
    body = {"scope": f"http://collegium.test{place.path}", "role": role}
    return site.post("/api/user-group-invitations/", person, json=body)


def test_an_organisation_has_so_many_projects_unless_staff_make_more(
    site: Site, world: World
) -> None:
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)

    def create(who: Person, name: str) -> Any:
        customer = f"http://collegium.test{organisation.path}"
        return site.post("/api/projects/", who, json={"name": name, "customer": customer})

    for at in range(FEW):
        assert create(owner, f"Project {at}").status_code == 201
    refused = create(owner, "One more")
    assert refused.status_code == 400
    assert refused.json() == {"non_field_errors": ["An organization can have at most 3 projects."]}
    assert create(world.staff, "Of staff").status_code == 201
    elsewhere = world.organisation(owner=owner)
    organisation = elsewhere
    assert create(owner, "Elsewhere").status_code == 201


def test_a_scope_has_so_many_open_invite_links(site: Site, world: World) -> None:
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    project, other = world.project(organisation), world.project(organisation)
    made = [link(site, world, owner, project) for _ in range(FEW)]
    assert [one.status_code for one in made] == [201] * FEW
    for who in (owner, world.staff):
        refused = link(site, world, who, project)
        assert refused.status_code == 400
        assert refused.json() == ["There are 3 open invitations in this scope. Cancel one first."]
    browser = Browser(site).sign_in(world, owner)
    page = browser.open(f"/project/{project.uuid}/links/")
    assert page.status_code == 200
    assert link(site, world, owner, other).status_code == 201
    path = f"/api/user-group-invitations/{made[0].json()['uuid']}/cancel/"
    assert site.post(path, owner).status_code == 200
    assert link(site, world, owner, project).status_code == 201


def test_an_account_has_so_many_pending_join_requests_of_every_kind(
    site: Site, world: World
) -> None:
    owner, ada = world.person("owner"), world.person("ada", agreed_at=datetime.now(UTC))
    organisation = world.organisation(owner=owner)
    project = world.project(organisation)
    uuid = world.open(owner, "PROJECT.MEMBER", project, allow_multiple_requests=True)
    number = group(site, owner, "Club").json()["group"]["id"]
    bearer = {"Authorization": f"Bearer {ada.token}"}

    def ask(who: Person = ada) -> Any:
        return site.post(f"/api/user-group-invitations/{uuid}/submit_request/", who)

    assert [ask().status_code for _ in range(FEW)] == [200] * FEW
    refused = ask()
    assert refused.status_code == 400
    assert refused.json() == ["You have 3 pending requests. Withdraw one first."]
    join = f"/api/private/users/group/{number}/join/"
    assert site.get(join, headers=bearer).status_code == 400
    with world.database.read() as tx:
        assert join_request_queries.count_pending(tx, ada.id) == FEW
    assert ask(world.person("bob")).status_code == 200
    # Where nobody has to decide, nothing waits.
    free = world.open(owner, "PROJECT.MEMBER", world.project(organisation), auto_approve=True)
    path = f"/api/user-group-invitations/{free}/submit_request/"
    assert site.post(path, ada).status_code == 200
