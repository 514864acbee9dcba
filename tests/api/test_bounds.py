"""Limits on what one account or scope can have; they apply to staff as well."""

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
from tests.sign_in.test_pages import HASHED, PASSWORD, send_sign_in_form
from tests.support.browser import Browser, text
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, Place, World

LIMIT = 3
NAMES = (
    *("groups", "personal_tokens", "keys", "sessions", "logins"),
    *("projects", "invite_links", "join_requests"),
)
ME = "/api/users/me/"
SIGN_INS = {
    "waldur": ("/api-auth/password/", {"username": "ada"}),
    "brainstem": ("/api/token/", {"username": "ada@example.org"}),
    "pair": ("/api/auth/token/", {"email": "ada@example.org"}),
}


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    """A service that allows three of everything."""
    return make_site(make_settings(**{f"max_{name}": str(LIMIT) for name in NAMES}))


@pytest.fixture(params=["person", "staff"])
def ada(request: pytest.FixtureRequest, world: World) -> Person:
    return world.person("ada", password=HASHED, is_staff=request.param == "staff")


@pytest.fixture
def browser(site: Site, world: World, ada: Person) -> Browser:
    return Browser(site).sign_in(world, ada)


def bearer(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


def create_group(site: Site, person: Person, name: str) -> Any:
    return site.post("/api/private/users/group/", headers=bearer(person), json={"name": name})


def move_sign_ins_back(world: World, seconds: int = 601) -> None:
    then: Any = datetime.now(UTC) - timedelta(seconds=seconds)
    sign_ins = update(events).where(events.c.kind == "login.succeeded")
    with world.database.write() as tx:
        tx.execute(Statement(sign_ins.values(created_at=then)))


def create_token(browser: Browser, name: str) -> Any:
    browser.open("/account/tokens/")
    return browser.send("/account/tokens/", name=name)


def sign_in_everywhere(site: Site) -> list[int]:
    """Sign in once by each API and return the statuses."""
    responses = (
        site.post(path, json={**name, "password": PASSWORD}) for path, name in SIGN_INS.values()
    )
    return [response.status_code for response in responses]


def test_default_limits_are_generous(world: World) -> None:
    limits = [getattr(world.settings, f"max_{name}") for name in NAMES]
    assert limits == [200, 100, 100, 100, 60, 1000, 200, 100]


def test_number_of_groups_created_by_an_account_is_limited(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    created = [create_group(site, ada, f"Club {at}") for at in range(LIMIT)]
    assert [response.status_code for response in created] == [201] * LIMIT
    refused = create_group(site, ada, "Club of too many")
    assert refused.status_code == 400
    detail = "You have created 3 groups, which is the maximum. Delete one first."
    assert refused.json() == {"detail": detail}
    browser.open("/teams/")
    page = browser.send("/teams/", name="Club of too many")
    assert page.status_code == 422
    assert "maximum number of groups" in text(page)
    # Each account has its own limit, and a deleted group does not count.
    bob = world.person("bob")
    assert create_group(site, bob, "Bobs").status_code == 201
    path = f"/api/private/users/group/{created[0].json()['group']['id']}/"
    assert site.request("DELETE", path, headers=bearer(ada)).status_code == 204
    assert create_group(site, ada, "Another").status_code == 201


def test_number_of_access_tokens_of_an_account_is_limited(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    proof = {"password": PASSWORD} if ada.actor.is_staff else {}
    devices = [site.post("/api/auth/device/", json={}).json() for _ in range(3)]

    def approve(at: int) -> Any:
        page = browser.open(f"/account/authorize/?session={devices[at]['session_id']}")
        uuid = re.findall(r'name="device" value="(\w+)"', page.text)[0]
        return browser.send("/account/authorize/", action="approve", device=uuid, **proof)

    def poll(at: int) -> Any:
        body = {"device_code": devices[at]["device_code"]}
        return site.post("/api/auth/device/token/", json=body).json()["status"]

    # A fetched device token, an approved one and a personal token count alike.
    assert approve(0).status_code == 200
    assert poll(0) == "success"
    assert approve(1).status_code == 200
    assert create_token(browser, "backup").status_code == 200
    for refused in (create_token(browser, "one more"), approve(2)):
        assert refused.status_code == 422
        assert "maximum number of access tokens" in text(refused)
    assert poll(2) == "authorization_pending"
    # An earlier approval stays valid.
    assert poll(1) == "success"
    with world.database.read() as tx:
        (row,) = token_queries.personal(tx, ada.id)
    assert browser.send("/account/tokens/end/", kind="token", number=str(row.id)).is_redirect
    assert approve(2).status_code == 200


def test_expired_token_does_not_count(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    for at in range(LIMIT):
        assert create_token(browser, f"script {at}").status_code == 200
    old: Any = datetime.now(UTC) - timedelta(days=366)
    first = update(tokens).where(tokens.c.name == "script 0")
    with world.database.write() as tx:
        tx.execute(Statement(first.values(last_used_at=old)))
    assert create_token(browser, "one more").status_code == 200


def test_number_of_ssh_keys_of_an_account_is_limited(
    site: Site, world: World, browser: Browser, ada: Person
) -> None:
    for at in range(LIMIT):
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


def test_number_of_ssh_keys_from_a_remote_directory_is_limited(world: World) -> None:
    bob = world.person("bob")
    keys = [parse(new_key()) for _ in range(103)]
    with world.database.write() as tx:
        ssh_key_actions.sync_keys(tx, None, bob.id, keys)
        assert ssh_key_queries.count(tx, bob.id) == 100


def test_new_session_ends_the_least_recently_used_session(
    site: Site, world: World, ada: Person
) -> None:
    browsers = [Browser(site) for _ in range(LIMIT + 1)]
    for browser in browsers[:LIMIT]:
        assert send_sign_in_form(browser, "ada", PASSWORD).status_code == 303
    move_sign_ins_back(world)
    used: Any = datetime.now(UTC) - timedelta(minutes=5)
    with world.database.write() as tx:
        first = min(token_queries.sessions(tx, ada.id), key=lambda row: row.id)
        others = update(tokens).where(tokens.c.kind == "session", tokens.c.id != first.id)
        tx.execute(Statement(others.values(last_used_at=used)))
    assert send_sign_in_form(browsers[-1], "ada", PASSWORD).status_code == 303
    statuses = [browser.open("/account/").status_code for browser in browsers]
    assert statuses == [200, 303, 200, 200]
    with world.database.read() as tx:
        assert len(token_queries.sessions(tx, ada.id)) == LIMIT


def test_new_token_pair_ends_the_least_recently_used_pair(
    site: Site, world: World, ada: Person
) -> None:
    body = {"email": ada.email, "password": PASSWORD}
    pairs = []
    for _ in range(LIMIT + 1):
        move_sign_ins_back(world)
        pairs.append(site.post("/api/auth/token/", json=body).json())
    assert [site.get(ME, pair["access"]).status_code for pair in pairs] == [401, 200, 200, 200]
    # A refresh creates no further pair.
    for pair, status in zip(pairs, [401, 200, 200, 200], strict=True):
        response = site.post("/api/auth/token/refresh/", json={"refresh": pair["refresh"]})
        assert response.status_code == status


@pytest.mark.parametrize("method", [*SIGN_INS, "browser"])
def test_sign_ins_of_an_account_are_limited_for_ten_minutes(
    site: Site, world: World, ada: Person, method: str
) -> None:
    assert sign_in_everywhere(site) == [200] * LIMIT  # the limit is common to all APIs
    move_sign_ins_back(world, 540)

    def sign_in() -> Any:
        if method == "browser":
            return send_sign_in_form(Browser(site), "ada", PASSWORD)
        path, name = SIGN_INS[method]
        return site.post(path, json={**name, "password": PASSWORD})

    refused = sign_in()
    assert refused.status_code == 429
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert "collegium_session" not in refused.headers.get("set-cookie", "")
    if method == "browser":
        assert "wait" in text(refused)
    else:
        assert list(refused.json()) == ["detail"]
    # Earlier tokens and other accounts are not affected.
    assert site.get(ME, ada).status_code == 200
    world.person("bob", password=HASHED)
    # A wrong password is refused as before, and does not count.
    for username, password, status in (("bob", PASSWORD, 200), ("ada", "wrong", 401)):
        body = {"username": username, "password": password}
        assert site.post("/api-auth/password/", json=body).status_code == status
    move_sign_ins_back(world)
    assert sign_in().status_code in {200, 303}


def test_password_can_be_changed_while_sign_ins_are_limited(
    site: Site, world: World, ada: Person
) -> None:
    browser = Browser(site).sign_in(world, ada)
    assert sign_in_everywhere(site)[-1] == 429
    browser.open("/account/password/")
    new = {"password": "another-and-a-ship", "again": "another-and-a-ship"}
    changed = browser.send("/account/password/", current=PASSWORD, **new)
    assert changed.status_code == 303, text(changed)
    assert browser.open("/account/").status_code == 200  # still signed in
    assert send_sign_in_form(Browser(site), "ada", PASSWORD).status_code == 401


def test_sign_ins_are_not_limited_without_rate_limits(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    world.person("ada", password=HASHED)
    site = make_site(make_settings(rate_limits="false", max_logins="1"))
    body = {"username": "ada", "password": PASSWORD}
    statuses = [site.post("/api-auth/password/", json=body).status_code for _ in range(3)]
    assert statuses == [200] * 3


def test_group_counts_for_its_creator(site: Site, world: World) -> None:
    olga = world.person("olga")
    create_group(site, olga, "Club")
    with world.database.read() as tx:
        assert group_queries.count_created(tx, olga.id) == 1
        assert group_queries.count_created(tx, world.staff.id) == 0


def test_number_of_projects_is_limited_except_for_staff(site: Site, world: World) -> None:
    owner = world.person("owner")
    organisation, other = world.organisation(owner=owner), world.organisation(owner=owner)

    def create(creator: Person, name: str, parent: Place = organisation) -> Any:
        body = {"name": name, "customer": f"http://collegium.test{parent.path}"}
        return site.post("/api/projects/", creator, json=body)

    for at in range(LIMIT):
        assert create(owner, f"Project {at}").status_code == 201
    refused = create(owner, "One more")
    assert refused.status_code == 400
    assert refused.json() == {"non_field_errors": ["An organization can have at most 3 projects."]}
    assert create(world.staff, "Of staff").status_code == 201
    assert create(owner, "Elsewhere", other).status_code == 201


def test_number_of_open_invite_links_of_a_scope_is_limited(site: Site, world: World) -> None:
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    project, other = world.project(organisation), world.project(organisation)
    role = world.role("PROJECT.MEMBER").uuid

    def create(creator: Person, scope: Place) -> Any:
        body = {"scope": f"http://collegium.test{scope.path}", "role": role}
        return site.post("/api/user-group-invitations/", creator, json=body)

    links = [create(owner, project) for _ in range(LIMIT)]
    assert [response.status_code for response in links] == [201] * LIMIT
    for creator in (owner, world.staff):
        refused = create(creator, project)
        assert refused.status_code == 400
        message = "There are 3 open group invitations in this scope. Cancel one first."
        assert refused.json() == [message]
    browser = Browser(site).sign_in(world, owner)
    assert browser.open(f"/project/{project.uuid}/links/").status_code == 200
    assert create(owner, other).status_code == 201
    path = f"/api/user-group-invitations/{links[0].json()['uuid']}/cancel/"
    assert site.post(path, owner).status_code == 200
    assert create(owner, project).status_code == 201


def test_number_of_pending_join_requests_of_an_account_is_limited(site: Site, world: World) -> None:
    owner, ada = world.person("owner"), world.person("ada", agreed_at=datetime.now(UTC))
    organisation = world.organisation(owner=owner)
    project = world.project(organisation)
    uuid = world.create_link(owner, "PROJECT.MEMBER", project, allow_multiple_requests=True)
    group = create_group(site, owner, "Club").json()["group"]["id"]

    def submit(requester: Person = ada, link: str = uuid) -> Any:
        return site.post(f"/api/user-group-invitations/{link}/submit_request/", requester)

    assert [submit().status_code for _ in range(LIMIT)] == [200] * LIMIT
    refused = submit()
    assert refused.status_code == 400
    assert refused.json() == ["You have 3 pending requests. Withdraw one first."]
    join = f"/api/private/users/group/{group}/join/"
    assert site.get(join, headers=bearer(ada)).status_code == 400
    with world.database.read() as tx:
        assert join_request_queries.count_pending(tx, ada.id) == LIMIT
    assert submit(world.person("bob")).status_code == 200
    # A request that is approved at once is not pending.
    automatic = world.create_link(
        owner, "PROJECT.MEMBER", world.project(organisation), auto_approve=True
    )
    assert submit(ada, automatic).status_code == 200
