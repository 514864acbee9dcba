"""Sign-in to the BrainSTEM API: tokens, rate limits, device login."""

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
from tests.support.site import Site
from tests.support.world import Person, World

PASSWORD = "green-lamps-hum-7"


def ada(world: World) -> Person:
    return world.person("ada", password=hash_password(PASSWORD))


def log_in(site: Site, path: str = "/api/token/", **more: str) -> httpx.Response:
    name = "username" if path == "/api/token/" else "email"
    return site.post(path, json={name: "ada@example.org", "password": PASSWORD, **more})


def is_valid(site: Site, token: str) -> bool:
    """Return whether a token is valid, in both APIs alike."""
    bearer = {"Authorization": f"Bearer {token}"}
    valid = site.get("/api/private/users/group/", headers=bearer).status_code == 200
    assert (site.get("/api/users/me/", token).status_code == 200) is valid
    return valid


def refresh(site: Site, token: str) -> httpx.Response:
    return site.post("/api/auth/token/refresh/", json={"refresh": token})


def test_refresh_token_works_once(site: Site, world: World) -> None:
    ada(world)
    first = log_in(site, "/api/auth/token/").json()
    assert list(first) == ["access", "refresh", "token_type", "expires_in"]
    assert (first["token_type"], first["expires_in"]) == ("bearer", 3600)
    assert is_valid(site, first["access"])
    assert not is_valid(site, first["refresh"])
    second = refresh(site, first["refresh"]).json()
    assert is_valid(site, second["access"])
    assert not is_valid(site, first["access"])
    for token in (first["refresh"], second["access"], "x"):
        assert refresh(site, token).status_code == 401


def test_expired_tokens_are_refused(site: Site, world: World) -> None:
    person = ada(world)
    now = datetime.now(UTC)
    with world.database.write(now - timedelta(hours=2)) as tx:
        short = token_actions.log_in_with_refresh(tx, world.vault, person.actor, "password")
    with world.database.write(now - timedelta(days=31)) as tx:
        old = token_actions.log_in_with_refresh(tx, world.vault, person.actor, "password")
    with world.database.write(now - timedelta(days=366)) as tx:
        expired, _ = token_actions.issue_personal(tx, world.vault, person.actor, "old")
    with world.database.write(now - timedelta(days=364)) as tx:
        valid, _ = token_actions.issue_personal(tx, world.vault, person.actor, "in use")
    assert is_valid(site, valid)
    for token in (short.access, old.access, expired):
        assert not is_valid(site, token)
    assert refresh(site, old.refresh).status_code == 401
    assert refresh(site, short.refresh).status_code == 200


def test_personal_token_can_be_revoked(site: Site, world: World) -> None:
    person = ada(world)
    with world.database.write() as tx:
        token, token_id = token_actions.issue_personal(tx, world.vault, person.actor, "laptop")
        other, _ = token_actions.issue_personal(tx, world.vault, person.actor, "cluster")
    assert token.startswith("clg_")
    assert len(token) == 44
    assert is_valid(site, token)
    with world.database.write() as tx:
        assert [row.name for row in token_queries.personal(tx, person.id)] == ["laptop", "cluster"]
        token_actions.revoke_own(tx, person.actor, token_id)
    assert not is_valid(site, token)
    assert is_valid(site, other)
    assert is_valid(site, person.token)


def test_change_of_the_password_revokes_all_tokens(site: Site, world: World) -> None:
    person = ada(world)
    pair = log_in(site, "/api/auth/token/").json()
    with world.database.write() as tx:
        personal, _ = token_actions.issue_personal(tx, world.vault, person.actor, "laptop")
    assert is_valid(site, personal)
    path = f"/api/users/{person.uuid}/change_password/"
    response = site.post(path, world.staff, json={"new_password": "other-lamps-hum-8"})
    assert response.status_code == 200, response.text
    for token in (person.token, personal, pair["access"]):
        assert not is_valid(site, token)


def test_session_token_is_refused_by_the_apis(site: Site, world: World) -> None:
    person = ada(world)
    token = world.vault.new_token()
    with world.database.write() as tx:
        digest = world.vault.keyed_hash(token)
        token_queries.add(tx, person.id, digest, kind=TokenKind.SESSION, lifetime=3600)
    assert not is_valid(site, token)


def test_password_login_is_refused_with_two_factor_authentication(site: Site, world: World) -> None:
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


def test_password_login_can_be_disabled(
    world: World,
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
) -> None:
    ada(world)
    site = make_site(make_settings(brainstem_password_login="false"))
    for path in ("/api/token/", "/api/auth/token/"):
        assert log_in(site, path).status_code == 403


@pytest.mark.parametrize("path", ["/api/token/", "/api/auth/token/"])
def test_wrong_passwords_are_rate_limited_with_retry_after(
    site: Site, world: World, path: str
) -> None:
    ada(world)
    for _ in range(4):
        assert log_in(site, path, password="wrong").status_code == 401
    # The right password is refused as well; otherwise an attacker would learn that it is right.
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
    waldur = site.post("/api-auth/password/", json=by_name)
    assert waldur.status_code == 401
    assert waldur.json() == {"detail": "Username is locked out. Try in 10 minutes."}


def test_unknown_name_is_rate_limited_alike(site: Site) -> None:
    responses = [log_in(site) for _ in range(5)]
    assert [response.status_code for response in responses] == [401] * 4 + [429]
    assert 590 <= int(responses[-1].headers["retry-after"]) <= 600


def test_rate_limit_ends_when_retry_after_says(site: Site, world: World) -> None:
    ada(world)
    for _ in range(4):
        log_in(site, password="wrong")
    assert log_in(site).status_code == 429
    until = datetime.now(UTC) + timedelta(seconds=2.5)
    with world.database.write() as tx:
        tx.execute(Statement(update(rate_limits).values(blocked_until=until)))
    assert log_in(site).headers["retry-after"] == "3"
    with world.database.write() as tx:
        tx.execute(Statement(update(rate_limits).values(blocked_until=datetime.now(UTC))))
    assert log_in(site).status_code == 200


def test_shared_address_is_not_accepted_as_a_user_name(site: Site, world: World) -> None:
    person = ada(world)
    world.person("other", email=person.email, password=hash_password(PASSWORD))
    assert log_in(site).status_code == 401
    assert log_in(site, username="ada").status_code == 200


def test_malformed_bodies_are_refused(site: Site) -> None:
    for path in ("/api/token/", "/api/auth/token/", "/api/auth/token/refresh/"):
        for body in (b"{", b"[]", b"\xff", b"null", b"[" * 5000):
            assert site.post(path, content=body).status_code == 400, (path, body)
        response = site.post(path, content=b"a=b", headers={"Content-Type": "text/xml"})
        assert response.status_code in {400, 415}
        assert site.get(path).status_code == 405
    response = site.post("/api/token/", json={"username": 5})
    assert response.status_code == 400
    assert list(response.json()) == ["username", "password"]


def test_expired_device_login_is_reported(site: Site, world: World) -> None:
    login = site.post("/api/auth/device/", json={"client_name": "a\nb"}).json()
    with world.database.write() as tx:
        assert device_actions.get_pending_by_code(tx, world.vault, login["user_code"]).name == "a b"
        past: Any = datetime.now(UTC) - timedelta(seconds=1)
        tx.execute(Statement(update(devices).values(expires_at=past)))
    poll = site.post("/api/auth/device/token/", json={"device_code": login["device_code"]})
    assert (poll.status_code, poll.json()) == (200, {"error": "expired_token"})


def test_device_logins_are_rate_limited(site: Site) -> None:
    statuses = [site.post("/api/auth/device/", json={}).status_code for _ in range(33)]
    assert statuses[:30] == [200] * 30
    assert statuses[-1] == 429


def test_device_codes_are_stored_as_hashes(site: Site, world: World) -> None:
    login = site.post("/api/auth/device/", json={}).json()
    with world.database.read() as tx:
        (row,) = tx.fetch_all(Statement(devices.select()))
    for secret in (login["device_code"], login["user_code"], login["user_code"].replace("-", "")):
        assert secret not in repr(row)
