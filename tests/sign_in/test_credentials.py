"""Who is asking: the header, the token behind it, its lifetime, and acting as somebody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import bindparam, update

from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import tokens as table
from collegium.security.crypto import hash_password
from collegium.settings import Settings
from collegium.sign_in.tokens import queries as token_queries
from tests.support.site import Site
from tests.support.world import Person, World

# What is decided before the database is asked, or in words alone, need not be tried on both.
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

ME = "/api/users/me/"
MISSING = "Authentication credentials were not provided."
PASSWORD = "correct horse, battery staple"

_MOVE = Statement(
    update(table)
    .where(table.c.account_id == bindparam("account"))
    .values(
        last_used_at=bindparam("used", type_=UtcDateTime),
        created_at=bindparam("issued", type_=UtcDateTime),
    )
)


def age(world: World, person: Person, *, used: int, issued: int = 0) -> datetime:
    """Make a token that was used, and issued, some seconds ago; give when it was used."""
    now = datetime.now(UTC)
    moment = now - timedelta(seconds=used)
    born = now - timedelta(seconds=max(used, issued))
    with world.database.write() as tx:
        tx.execute(_MOVE, account=person.id, used=moment, issued=born)
    return moment


def last_used(world: World, person: Person) -> datetime:
    with world.database.read() as tx:
        row: Any = token_queries.of_account(tx, person.id)
    found: datetime = row.last_used_at
    return found


def change(world: World, person: Person, **columns: Any) -> None:
    with world.database.write() as tx:
        account_queries.change(tx, person.id, columns)


def revoke(world: World, person: Person) -> None:
    with world.database.write() as tx:
        token_queries.revoke(tx, person.id)


def said(site: Site, header: str | bytes, path: str = ME) -> httpx.Response:
    raw: Any = header
    return site.get(path, headers={"Authorization": raw})


def check_refused(answer: httpx.Response, text: str) -> None:
    assert answer.status_code == 401
    assert answer.json() == {"detail": text}
    assert answer.headers["www-authenticate"] == "Token"
    assert answer.headers["content-type"] == "application/json"


@once
def test_no_credentials_are_refused(site: Site, world: World) -> None:
    check_refused(site.get(ME), MISSING)
    check_refused(said(site, ""), MISSING)


@once
def test_every_fault_of_the_header_has_its_words(site: Site, world: World) -> None:
    for header, text in (
        (b"Token", "Invalid token. No credentials provided."),
        (b"Token   ", "Invalid token. No credentials provided."),
        (b"Token a b", "Invalid token. Token string should not contain spaces."),
        (
            b"Token \xff\xfe",
            "Invalid token header. Token string should not contain invalid characters.",
        ),
        (b"Token " + b"0" * 40, "Invalid token."),
        # In UTF-8 the second byte of this one is what Latin-1 calls a space.
        ("Token à".encode(), "Invalid token."),
        (b"Token \x01", "Invalid token."),
    ):
        check_refused(said(site, header), text)


@once
def test_the_keyword_counts_in_any_case(site: Site, world: World) -> None:
    ada = world.person("ada")
    for keyword in ("Token", "token", "TOKEN", "tOkEn"):
        answer = said(site, f"{keyword} {ada.token}")
        assert answer.status_code == 200
        assert answer.json()["username"] == "ada"


@once
def test_a_scheme_that_is_not_ours_is_nobody(site: Site, world: World) -> None:
    ada = world.person("ada")
    for header in (f"Bearer {ada.token}", "Basic YTpi", ada.token, f"Tokens {ada.token}"):
        check_refused(said(site, header), MISSING)
    # Nobody may call what is open.
    answer = site.post(
        "/api-auth/password/", headers={"Authorization": "Basic YTpi"}, json={"username": "x"}
    )
    assert answer.status_code == 400


@once
def test_a_token_in_the_query_or_in_a_cookie_is_no_credential(site: Site, world: World) -> None:
    ada = world.person("ada")
    check_refused(site.get(f"{ME}?x-auth-token={ada.token}"), MISSING)
    check_refused(site.get(ME, headers={"Cookie": f"sessionid={ada.token}"}), MISSING)


def test_a_bad_token_is_refused_where_none_is_needed(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation()
    uuid = world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    check = f"/api/user-invitations/{uuid}/check/"
    login = {"username": "ada", "password": "x"}
    assert site.post(check).status_code == 200
    for token, text in (
        ("0" * 40, "Invalid token."),
        ("", "Invalid token. No credentials provided."),
    ):
        check_refused(site.post(check, token), text)
        check_refused(site.post("/api-auth/password/", token, json=login), text)
    assert site.post(check, ada).status_code == 200


@once
def test_every_protected_route_refuses_nobody_before_it_looks_at_the_method(
    site: Site, world: World
) -> None:
    uuid = "0" * 32
    for path in (
        "/api/",
        "/api/users/",
        ME,
        f"/api/users/{uuid}/",
        "/api/users/no-uuid/",
        "/api/customers/",
        f"/api/customers/{uuid}/",
        f"/api/customers/{uuid}/list_users/",
        "/api/projects/",
        f"/api/projects/{uuid}/",
        "/api/user-permissions/",
        "/api/user-invitations/",
        f"/api/user-invitations/{uuid}/",
        f"/api/user-invitations/{uuid}/details/",
        f"/api/user-invitations/{uuid}/accept/",
        "/api-auth/logout/",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            check_refused(site.request(method, path), MISSING)


def test_an_account_that_was_switched_off_is_out(site: Site, world: World) -> None:
    ada = world.person("ada")
    assert site.get(ME, ada).status_code == 200
    change(world, ada, is_active=False)
    check_refused(site.get(ME, ada), "User inactive or deleted.")


def test_a_token_counts_for_its_lifetime_after_its_last_use(site: Site, world: World) -> None:
    ada = world.person("ada")
    change(world, ada, token_lifetime=100)
    age(world, ada, used=90)
    assert site.get(ME, ada).status_code == 200
    age(world, ada, used=101)
    check_refused(site.get(ME, ada), "Token has expired.")


def test_a_token_without_lifetime_never_expires(site: Site, world: World) -> None:
    ada = world.person("ada")
    change(world, ada, token_lifetime=None)
    age(world, ada, used=10 * 365 * 86400)
    answer = site.get(ME, ada)
    assert answer.status_code == 200
    assert answer.json()["token_expires_at"] is None
    assert answer.json()["token_lifetime"] is None


@once
def test_new_accounts_have_the_lifetime_of_the_settings(site: Site, world: World) -> None:
    shown = site.get(ME, world.person("ada")).json()
    assert shown["token_lifetime"] == 3600


def test_use_moves_the_lifetime_on_once_a_minute_at_most(site: Site, world: World) -> None:
    ada = world.person("ada")
    before = age(world, ada, used=50)
    assert site.get(ME, ada).status_code == 200
    assert last_used(world, ada) == before
    age(world, ada, used=70)
    began = datetime.now(UTC)
    assert site.get(ME, ada).status_code == 200
    moved = last_used(world, ada)
    assert began <= moved <= datetime.now(UTC)
    assert site.get(ME, ada).status_code == 200
    assert last_used(world, ada) == moved


def test_a_refused_request_moves_the_lifetime_on_as_well(site: Site, world: World) -> None:
    ada = world.person("ada")
    for method, path, status in (
        ("GET", f"/api/users/{'0' * 32}/", 404),
        ("POST", "/api/users/", 403),
        ("PUT", "/api/users/", 405),
        ("GET", "/api/users/?o=nonsense", 400),
    ):
        before = age(world, ada, used=70)
        assert site.request(method, path, ada).status_code == status
        assert last_used(world, ada) > before


def test_an_expired_token_is_not_brought_back_by_trying_it(site: Site, world: World) -> None:
    ada = world.person("ada")
    before = age(world, ada, used=3700)
    check_refused(site.get(ME, ada), "Token has expired.")
    assert last_used(world, ada) == before


def test_the_end_of_the_lifetime_is_told(site: Site, world: World) -> None:
    ada = world.person("ada")
    moment = age(world, ada, used=30)
    shown = site.get(ME, ada).json()["token_expires_at"]
    assert datetime.fromisoformat(shown) == moment + timedelta(seconds=3600)


def test_a_token_in_steady_use_ends_at_its_greatest_age(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(token_max_age="2h"))
    ada = world.person("ada")
    age(world, ada, used=10, issued=7100)
    assert site.get(ME, ada).status_code == 200
    age(world, ada, used=10, issued=7300)
    check_refused(site.get(ME, ada), "Token has expired.")


def with_password(world: World, name: str) -> Person:
    person = world.person(name)
    change(world, person, password=hash_password(PASSWORD))
    return person


def log_in(site: Site, username: str, password: str = PASSWORD) -> httpx.Response:
    return site.post("/api-auth/password/", json={"username": username, "password": password})


def test_logging_in_gives_the_same_token_while_it_lives(site: Site, world: World) -> None:
    ada = with_password(world, "ada")
    before = age(world, ada, used=3000)
    answer = log_in(site, "ada")
    assert answer.status_code == 200
    assert answer.json() == {"token": ada.token}
    assert last_used(world, ada) > before


def test_logging_in_gives_a_new_token_once_it_is_expired(site: Site, world: World) -> None:
    ada = with_password(world, "ada")
    age(world, ada, used=3700)
    token = log_in(site, "ada").json()["token"]
    assert token != ada.token
    assert len(token) == 40
    assert set(token) <= set("0123456789abcdef")
    assert site.get(ME, token).status_code == 200
    check_refused(site.get(ME, ada), "Invalid token.")


def test_logging_in_gives_a_new_token_once_its_age_is_too_great(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(token_max_age="2h"))
    ada = with_password(world, "ada")
    age(world, ada, used=10, issued=7300)
    token = log_in(site, "ada").json()["token"]
    assert site.get(ME, token).status_code == 200


@once
def test_a_failed_login_is_refused_without_naming_a_scheme(site: Site, world: World) -> None:
    with_password(world, "ada")
    gone = with_password(world, "gone")
    change(world, gone, is_active=False)
    world.person("nopassword")
    for username in ("ada", "unknown", "nopassword"):
        answer = log_in(site, username, "wrong password")
        assert answer.status_code == 401
        assert answer.json() == {"detail": "Invalid username/password."}
        assert "www-authenticate" not in answer.headers
    answer = log_in(site, "gone")
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Invalid username/password."}
    assert "www-authenticate" not in answer.headers


@once
def test_login_can_be_switched_off(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(authentication_methods="SAML2"))
    with_password(world, "ada")
    answer = log_in(site, "ada")
    assert answer.status_code == 401
    assert answer.json() == {
        "detail": "Authentication method is disabled. "
        "Please use another authentication method or contact staff."
    }
    assert "www-authenticate" not in answer.headers


def test_logging_out_ends_the_token(site: Site, world: World) -> None:
    ada = world.person("ada")
    answer = site.post("/api-auth/logout/", ada)
    assert answer.status_code == 204
    assert answer.content == b""
    check_refused(site.get(ME, ada), "Invalid token.")


def acting(site: Site, who: Person, as_whom: str, path: str = ME) -> httpx.Response:
    return site.get(path, who, headers={"X-Impersonated-User-Uuid": as_whom})


def test_staff_act_as_somebody_else(site: Site, world: World) -> None:
    ada = world.person("ada")
    assert site.get(ME, ada).json()["token"] == ada.token
    for spelling in (ada.uuid, ada.uuid.upper(), f"{{{ada.uuid}}}"):
        answer = acting(site, world.staff, spelling)
        assert answer.status_code == 200
        assert answer.json()["username"] == "ada"
        assert answer.headers["x-impersonator-uuid"] == world.staff.uuid
        # Whoever acts as somebody must not walk away with that account's token.
        assert "token" not in answer.json()
        assert ada.token not in answer.text
    retrieved = acting(site, world.staff, ada.uuid, f"/api/users/{ada.uuid}/")
    assert "token" not in retrieved.json()


def test_acting_as_somebody_gives_their_rights_and_no_others(site: Site, world: World) -> None:
    ada = world.person("ada")
    bob = world.person("bob")
    answer = acting(site, world.staff, ada.uuid, f"/api/users/{bob.uuid}/")
    assert answer.status_code == 404
    assert answer.headers["x-impersonator-uuid"] == world.staff.uuid
    refused = site.post(
        "/api/users/", world.staff, headers={"X-Impersonated-User-Uuid": ada.uuid}, json={}
    )
    assert refused.status_code == 403
    assert refused.headers["x-impersonator-uuid"] == world.staff.uuid


def test_staff_act_as_an_inactive_account_as_well(site: Site, world: World) -> None:
    ada = world.person("ada")
    change(world, ada, is_active=False)
    answer = acting(site, world.staff, ada.uuid)
    assert answer.status_code == 200
    assert answer.json()["username"] == "ada"


def test_acting_moves_the_lifetime_of_the_token_that_was_used(site: Site, world: World) -> None:
    ada = world.person("ada")
    theirs = age(world, ada, used=200)
    ours = age(world, world.staff, used=200)
    assert acting(site, world.staff, ada.uuid).status_code == 200
    assert last_used(world, ada) == theirs
    assert last_used(world, world.staff) > ours


@once
def test_nobody_but_staff_acts_as_somebody_else(site: Site, world: World) -> None:
    ada = world.person("ada")
    bob = world.person("bob")
    helper = world.person("helper", is_support=True)
    for who in (bob, helper):
        answer = acting(site, who, ada.uuid)
        assert answer.status_code == 200
        assert answer.json()["uuid"] == who.uuid
        assert "x-impersonator-uuid" not in answer.headers


@once
def test_an_unknown_somebody_is_passed_over(site: Site, world: World) -> None:
    for uuid in ("0" * 32, "not-a-uuid", "", world.staff.uuid):
        answer = acting(site, world.staff, uuid)
        assert answer.status_code == 200
        assert answer.json()["username"] == "staff"
        assert answer.json()["token"] == world.staff.token
        assert "x-impersonator-uuid" not in answer.headers


def test_staff_need_no_token_of_whom_they_act_as(site: Site, world: World) -> None:
    ada = world.person("ada", agreed_at=datetime.now(UTC))
    revoke(world, ada)
    answer = acting(site, world.staff, ada.uuid)
    assert answer.status_code == 200
    assert answer.json()["username"] == "ada"
    headers = {"X-Impersonated-User-Uuid": ada.uuid}
    path = f"/api/users/{ada.uuid}/"
    body = {"job_title": "pilot"}
    changed = site.request("PATCH", path, world.staff, headers=headers, json=body)
    assert changed.status_code == 200
    assert changed.json()["job_title"] == "pilot"


def test_nobody_acts_as_an_inactive_account_without_a_session(site: Site, world: World) -> None:
    ada = world.person("ada")
    path = f"/api/users/{ada.uuid}/"
    off = site.request("PATCH", path, world.staff, json={"is_active": False})
    assert off.status_code == 200
    answer = acting(site, world.staff, ada.uuid)
    assert answer.status_code == 403
    assert answer.json() == {
        "detail": "Unable to impersonate user that does not have an active session."
    }
