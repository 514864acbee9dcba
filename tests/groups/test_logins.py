"""Logging in: what opens the door, for how long, and what never does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from collegium.db.statements import Statement
from collegium.db.tables import devices, rate_limits
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import TokenKind
from collegium.sign_in.two_factor import queries as two_factor_queries
from tests.groups.scene import Groups
from tests.support.site import Site
from tests.support.world import Person, World

PASSWORD = "green-lamps-hum-7"


def ada(world: World) -> Person:
    return world.person("ada", password=hash_password(PASSWORD))


def log_in(site: Site, path: str = "/api/token/", **more: str) -> httpx.Response:
    name = "username" if path == "/api/token/" else "email"
    return site.post(path, json={name: "ada@example.org", "password": PASSWORD, **more})


def opens(site: Site, token: str) -> bool:
    """Whether a token is let in on this wire; on the other one it must be the same."""
    bearer = {"Authorization": f"Bearer {token}"}
    here = site.get("/api/private/users/group/", headers=bearer).status_code == 200
    assert (site.get("/api/users/me/", token).status_code == 200) is here
    return here


def test_a_pair_of_tokens_is_exchanged_for_the_next_once(site: Site, world: World) -> None:
    ada(world)
    first = log_in(site, "/api/auth/token/").json()
    assert list(first) == ["access", "refresh", "token_type", "expires_in"]
    assert (first["token_type"], first["expires_in"]) == ("bearer", 3600)
    assert opens(site, first["access"])
    assert not opens(site, first["refresh"])
    second = site.post("/api/auth/token/refresh/", json={"refresh": first["refresh"]}).json()
    assert opens(site, second["access"])
    assert not opens(site, first["access"])
    for used in (first["refresh"], second["access"], "x"):
        again = site.post("/api/auth/token/refresh/", json={"refresh": used})
        assert again.status_code == 401


def test_what_is_over_opens_nothing(site: Site, world: World) -> None:
    person = ada(world)
    now = datetime.now(UTC)
    with world.database.write(now - timedelta(hours=2)) as tx:
        short = token_actions.log_in_with_refresh(tx, world.vault, person.actor, "password")
    with world.database.write(now - timedelta(days=31)) as tx:
        old = token_actions.log_in_with_refresh(tx, world.vault, person.actor, "password")
    with world.database.write(now - timedelta(days=366)) as tx:
        forgotten, _ = token_actions.issue_personal(tx, world.vault, person.actor, "old")
    with world.database.write(now - timedelta(days=364)) as tx:
        used, _ = token_actions.issue_personal(tx, world.vault, person.actor, "in use")
    assert opens(site, used)
    for token in (short.access, old.access, forgotten):
        assert not opens(site, token)
    refresh = "/api/auth/token/refresh/"
    assert site.post(refresh, json={"refresh": old.refresh}).status_code == 401
    assert site.post(refresh, json={"refresh": short.refresh}).status_code == 200


def test_a_personal_token_is_renewed_by_use_and_can_be_ended(site: Site, world: World) -> None:
    person = ada(world)
    with world.database.write() as tx:
        token, number = token_actions.issue_personal(tx, world.vault, person.actor, "laptop")
        other, _ = token_actions.issue_personal(tx, world.vault, person.actor, "cluster")
    assert token.startswith("clg_")
    assert len(token) == 44
    assert opens(site, token)
    with world.database.write() as tx:
        assert [row.name for row in token_queries.personal(tx, person.id)] == ["laptop", "cluster"]
        token_actions.revoke_own(tx, person.actor, number)
    assert not opens(site, token)
    assert opens(site, other)
    # The one that the other wire shows is none of these, and stands.
    assert opens(site, person.token)


def test_another_password_ends_everything(site: Site, world: World) -> None:
    person = ada(world)
    pair = log_in(site, "/api/auth/token/").json()
    with world.database.write() as tx:
        personal, _ = token_actions.issue_personal(tx, world.vault, person.actor, "laptop")
    assert opens(site, personal)
    path = f"/api/users/{person.uuid}/change_password/"
    answer = site.post(path, world.staff, json={"new_password": "other-lamps-hum-8"})
    assert answer.status_code == 200, answer.text
    for token in (person.token, personal, pair["access"]):
        assert not opens(site, token)


def test_what_a_browser_holds_is_no_credential_of_a_program(site: Site, world: World) -> None:
    person = ada(world)
    token = world.vault.new_token()
    with world.database.write() as tx:
        digest = world.vault.digest(token)
        token_queries.add(tx, person.id, digest, kind=TokenKind.SESSION, lifetime=3600)
    assert not opens(site, token)


def test_an_account_with_a_second_factor_does_not_get_in_by_its_password(
    site: Site, world: World
) -> None:
    person = ada(world)
    with world.database.write() as tx:
        two_factor_queries.replace(tx, person.id, b"d" * 32, b"sealed")
    assert log_in(site).status_code == 200  # not confirmed yet
    with world.database.write() as tx:
        two_factor_queries.confirm(tx, person.id)
    for path in ("/api/token/", "/api/auth/token/"):
        refused = log_in(site, path)
        assert refused.status_code == 401
        assert "token" not in refused.json()


def test_password_login_can_be_switched_off(
    world: World,
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
) -> None:
    ada(world)
    site = make_site(make_settings(brainstem_password_login="false"))
    for path in ("/api/token/", "/api/auth/token/"):
        assert log_in(site, path).status_code == 403


@pytest.mark.parametrize("path", ["/api/token/", "/api/auth/token/"])
def test_guessing_is_told_when_to_come_back(site: Site, world: World, path: str) -> None:
    ada(world)
    for _ in range(4):
        assert log_in(site, path, password="wrong").status_code == 401
    # By the right password as well, or whoever guesses would learn that it is right.
    by_name = {"username": "ada", "password": PASSWORD}
    for locked in (
        log_in(site, path),
        log_in(site, path, password="wrong"),
        site.post("/api/token/", json=by_name),
    ):
        assert locked.status_code == 429, locked.text
        assert 590 <= int(locked.headers["retry-after"]) <= 600
        assert list(locked.json()) == ["detail"]
        assert "www-authenticate" not in locked.headers
    world.person("other", password=hash_password(PASSWORD))
    other = {"username": "other", "email": "other", "password": PASSWORD}
    assert site.post(path, json=other).status_code == 200
    # The other wire has words for it.
    waldur = site.post("/api-auth/password/", json=by_name)
    assert waldur.status_code == 401
    assert waldur.json() == {"detail": "Username is locked out. Try in 10 minutes."}


def test_a_name_that_nobody_has_is_locked_like_any_other(site: Site) -> None:
    answers = [log_in(site) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401] * 4 + [429]
    assert 590 <= int(answers[-1].headers["retry-after"]) <= 600


def test_nobody_is_locked_for_longer_than_there_is_to_wait(site: Site, world: World) -> None:
    ada(world)
    for _ in range(4):
        log_in(site, password="wrong")
    assert log_in(site).status_code == 429
    with world.database.write() as tx:
        tx.execute(
            Statement(
                update(rate_limits).values(blocked_until=datetime.now(UTC) + timedelta(seconds=2.5))
            )
        )
    assert log_in(site).headers["retry-after"] == "3"
    with world.database.write() as tx:
        tx.execute(Statement(update(rate_limits).values(blocked_until=datetime.now(UTC))))
    assert log_in(site).status_code == 200


def test_an_address_that_two_share_is_nobodys_name(site: Site, world: World) -> None:
    person = ada(world)
    world.person("other", email=person.email, password=hash_password(PASSWORD))
    assert log_in(site).status_code == 401
    assert log_in(site, username="ada").status_code == 200


def test_bodies_are_read_or_refused(site: Site) -> None:
    for path in ("/api/token/", "/api/auth/token/", "/api/auth/token/refresh/"):
        for body in (b"{", b"[]", b"\xff", b"null", b"[" * 5000):
            answer = site.post(path, content=body)
            assert answer.status_code == 400, (path, body)
        assert site.post(
            path, content=b"a=b", headers={"Content-Type": "text/xml"}
        ).status_code in {
            400,
            415,
        }
        assert site.get(path).status_code == 405
    both = site.post("/api/token/", json={"username": 5})
    assert both.status_code == 400
    assert list(both.json()) == ["username", "password"]


def test_a_waiting_program_is_told_when_its_time_is_over(
    groups: Groups, site: Site, world: World
) -> None:
    told = site.post("/api/auth/device/", json={"client_name": "a\nb"}).json()
    with world.database.write() as tx:
        found = device_actions.find(tx, world.vault, told["user_code"])
        assert found.name == "a b"
        late: Any = datetime.now(UTC) - timedelta(seconds=1)
        tx.execute(Statement(update(devices).values(expires_at=late)))
    poll = site.post("/api/auth/device/token/", json={"device_code": told["device_code"]})
    assert (poll.status_code, poll.json()) == (200, {"error": "expired_token"})


def test_programs_that_begin_to_wait_are_counted(site: Site) -> None:
    answers = [site.post("/api/auth/device/", json={}).status_code for _ in range(33)]
    assert answers[:30] == [200] * 30
    assert answers[-1] == 429


def test_no_code_rests_in_the_database(site: Site, world: World) -> None:
    told = site.post("/api/auth/device/", json={}).json()
    with world.database.read() as tx:
        (row,) = tx.fetch_all(Statement(devices.select()))
    kept = repr(row)
    for secret in (told["device_code"], told["user_code"], told["user_code"].replace("-", "")):
        assert secret not in kept
