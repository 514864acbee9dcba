"""Authentication of API requests: the header, the token's lifetime, logging in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import bindparam, update

from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import tokens as tokens_table
from collegium.sign_in.tokens import queries as token_queries
from tests.sign_in.test_pages import HASHED, PASSWORD
from tests.support.site import Site
from tests.support.world import Person, World

# Where the database decides nothing, one database is enough.
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

ME = "/api/users/me/"
MISSING = "Authentication credentials were not provided."
EXPIRED = "Token has expired."

_SET_TIMES = Statement(
    update(tokens_table)
    .where(tokens_table.c.account_id == bindparam("account"))
    .values(
        last_used_at=bindparam("used_at", type_=UtcDateTime),
        created_at=bindparam("created_at", type_=UtcDateTime),
    )
)


def age_token(world: World, person: Person, *, used: int, created: int = 0) -> datetime:
    """Set how many seconds ago a token was used and created; return when it was used."""
    now = datetime.now(UTC)
    used_at = now - timedelta(seconds=used)
    created_at = now - timedelta(seconds=max(used, created))
    with world.database.write() as tx:
        tx.execute(_SET_TIMES, account=person.id, used_at=used_at, created_at=created_at)
    return used_at


def last_used(world: World, person: Person) -> datetime:
    with world.database.read() as tx:
        row: Any = token_queries.of_account(tx, person.id)
    used_at: datetime = row.last_used_at
    return used_at


def change(world: World, person: Person, **columns: Any) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, person.id, columns)


def get_with_header(site: Site, header: str | bytes) -> httpx.Response:
    raw: Any = header
    return site.get(ME, headers={"Authorization": raw})


def check_refused(response: httpx.Response, text: str) -> None:
    assert response.status_code == 401
    assert response.json() == {"detail": text}
    assert response.headers["www-authenticate"] == "Token"
    assert response.headers["content-type"] == "application/json"


@pytest.fixture
def bob(world: World) -> Person:
    return world.person("bob")


@sqlite_only
@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"", MISSING),
        (b"Token", "Invalid token. No credentials provided."),
        (b"Token   ", "Invalid token. No credentials provided."),
        (b"Token a b", "Invalid token. Token string should not contain spaces."),
        (
            b"Token \xff\xfe",
            "Invalid token header. Token string should not contain invalid characters.",
        ),
        (b"Token " + b"0" * 40, "Invalid token."),
        # In UTF-8 its second byte is a space of Latin-1.
        ("Token à".encode(), "Invalid token."),
        (b"Token \x01", "Invalid token."),
    ],
)
def test_each_fault_of_the_authorization_header_has_its_message(
    site: Site, header: bytes, text: str
) -> None:
    check_refused(get_with_header(site, header), text)


@sqlite_only
def test_token_keyword_is_case_insensitive(site: Site, bob: Person) -> None:
    for keyword in ("Token", "token", "TOKEN", "tOkEn"):
        response = get_with_header(site, f"{keyword} {bob.token}")
        assert response.status_code == 200
        assert response.json()["username"] == "bob"


@sqlite_only
def test_request_with_an_unknown_scheme_is_anonymous(site: Site, bob: Person) -> None:
    for header in (f"Bearer {bob.token}", "Basic YTpi", bob.token, f"Tokens {bob.token}"):
        check_refused(get_with_header(site, header), MISSING)
    headers = {"Authorization": "Basic YTpi"}
    public = site.post("/api-auth/password/", headers=headers, json={"username": "x"})
    assert public.status_code == 400


@sqlite_only
def test_token_in_query_or_cookie_is_no_credential(site: Site, bob: Person) -> None:
    check_refused(site.get(f"{ME}?x-auth-token={bob.token}"), MISSING)
    check_refused(site.get(ME, headers={"Cookie": f"sessionid={bob.token}"}), MISSING)


def test_public_routes_refuse_an_invalid_token(site: Site, world: World, bob: Person) -> None:
    uuid = world.invite(world.staff, "eve@example.org", "CUSTOMER.OWNER", world.organisation())
    check = f"/api/user-invitations/{uuid}/check/"
    login = {"username": "ada", "password": "x"}
    assert site.post(check).status_code == 200
    for token, text in (
        ("0" * 40, "Invalid token."),
        ("", "Invalid token. No credentials provided."),
    ):
        check_refused(site.post(check, token), text)
        check_refused(site.post("/api-auth/password/", token, json=login), text)
    assert site.post(check, bob).status_code == 200


@sqlite_only
@pytest.mark.parametrize("path", ["/api/", ME, "/api/users/no-uuid/", "/api-auth/logout/"])
def test_authentication_is_checked_before_the_method_and_the_path(site: Site, path: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        check_refused(site.request(method, path), MISSING)


def test_token_of_a_deactivated_account_is_refused(site: Site, world: World, bob: Person) -> None:
    assert site.get(ME, bob).status_code == 200
    change(world, bob, is_active=False)
    check_refused(site.get(ME, bob), "User inactive or deleted.")


def test_token_expires_when_unused_for_its_lifetime(site: Site, world: World, bob: Person) -> None:
    change(world, bob, token_lifetime=100)
    age_token(world, bob, used=90)
    assert site.get(ME, bob).status_code == 200
    used_at = age_token(world, bob, used=101)
    for _ in range(2):  # trying an expired token does not extend it
        check_refused(site.get(ME, bob), EXPIRED)
    assert last_used(world, bob) == used_at


def test_token_without_lifetime_never_expires(site: Site, world: World, bob: Person) -> None:
    change(world, bob, token_lifetime=None)
    age_token(world, bob, used=10 * 365 * 86400)
    response = site.get(ME, bob)
    assert response.status_code == 200
    assert response.json()["token_expires_at"] is None
    assert response.json()["token_lifetime"] is None


def test_profile_shows_when_the_token_expires(site: Site, world: World, bob: Person) -> None:
    used_at = age_token(world, bob, used=30)
    profile = site.get(ME, bob).json()
    assert profile["token_lifetime"] == 3600  # as the settings say
    expires_at = datetime.fromisoformat(profile["token_expires_at"])
    assert expires_at == used_at + timedelta(seconds=3600)


def test_use_extends_a_token_at_most_once_a_minute(site: Site, world: World, bob: Person) -> None:
    used_at = age_token(world, bob, used=50)
    assert site.get(ME, bob).status_code == 200
    assert last_used(world, bob) == used_at
    age_token(world, bob, used=70)
    start = datetime.now(UTC)
    assert site.get(ME, bob).status_code == 200
    extended = last_used(world, bob)
    assert start <= extended <= datetime.now(UTC)
    assert site.get(ME, bob).status_code == 200
    assert last_used(world, bob) == extended


def test_refused_request_extends_the_token_as_well(site: Site, world: World, bob: Person) -> None:
    for method, path, status in (
        ("GET", f"/api/users/{'0' * 32}/", 404),
        ("POST", "/api/users/", 403),
        ("PUT", "/api/users/", 405),
        ("GET", "/api/users/?o=nonsense", 400),
    ):
        used_at = age_token(world, bob, used=70)
        assert site.request(method, path, bob).status_code == status
        assert last_used(world, bob) > used_at


def log_in(site: Site, username: str = "ada", password: str = PASSWORD) -> httpx.Response:
    return site.post("/api-auth/password/", json={"username": username, "password": password})


def test_token_in_use_expires_at_its_maximum_age(
    site_with: Callable[..., Site], world: World, ada: Person
) -> None:
    site = site_with(token_max_age="2h")
    age_token(world, ada, used=10, created=7100)
    assert site.get(ME, ada).status_code == 200
    age_token(world, ada, used=10, created=7300)
    check_refused(site.get(ME, ada), EXPIRED)
    assert site.get(ME, log_in(site).json()["token"]).status_code == 200


def test_login_returns_the_same_token_while_it_is_valid(
    site: Site, world: World, ada: Person
) -> None:
    used_at = age_token(world, ada, used=3000)
    response = log_in(site)
    assert response.status_code == 200
    assert response.json() == {"token": ada.token}
    assert last_used(world, ada) > used_at


def test_login_replaces_an_expired_token(site: Site, world: World, ada: Person) -> None:
    age_token(world, ada, used=3700)
    token = log_in(site).json()["token"]
    assert token != ada.token
    assert len(token) == 40
    assert set(token) <= set("0123456789abcdef")
    assert site.get(ME, token).status_code == 200
    check_refused(site.get(ME, ada), "Invalid token.")


@pytest.mark.usefixtures("ada")
def test_all_failed_logins_look_the_same_and_name_no_scheme(site: Site, world: World) -> None:
    world.person("off", password=HASHED, is_active=False)
    world.person("nopassword")
    for username, password in (
        *((name, "wrong password") for name in ("ada", "unknown", "nopassword")),
        ("off", PASSWORD),
    ):
        response = log_in(site, username, password)
        assert response.status_code == 401
        assert response.json() == {"detail": "Invalid username/password."}
        assert "www-authenticate" not in response.headers


@sqlite_only
@pytest.mark.usefixtures("ada")
def test_password_login_can_be_disabled(site_with: Callable[..., Site]) -> None:
    response = log_in(site_with(authentication_methods="SAML2"))
    assert response.status_code == 401
    assert response.json() == {
        "detail": "Authentication method is disabled. "
        "Please use another authentication method or contact staff."
    }
    assert "www-authenticate" not in response.headers


def test_logging_out_ends_the_token(site: Site, bob: Person) -> None:
    response = site.post("/api-auth/logout/", bob)
    assert response.status_code == 204
    assert response.content == b""
    check_refused(site.get(ME, bob), "Invalid token.")
