"""The passkeys of the Waldur API: add, sign in, second factor, rename, revoke."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.sign_in.test_pages import PASSWORD, enable_two_factor
from tests.support.authenticator import MODEL, Authenticator
from tests.support.browser import Browser
from tests.support.passkeys import add_passkey
from tests.support.site import BASE, Site
from tests.support.world import Person, World

API = "/api/passkeys/"
FIELDS = [
    "uuid",
    "name",
    "aaguid",
    "transports",
    "attachment",
    "rp_id",
    "is_backup_eligible",
    "is_backed_up",
    "is_discoverable",
    "is_user_verified",
    "is_orphaned",
    "created",
    "last_used_at",
    "use_count",
    "is_active",
    "revoked_at",
    "revoked_by_username",
    "revocation_reason",
]


@pytest.fixture
def site(site_with: Callable[..., Site]) -> Site:
    """Return a site whose address is a domain, as passkeys need it."""
    return site_with(base_url=BASE)


@pytest.fixture
def device() -> Authenticator:
    return Authenticator(BASE)


def register(
    site: Site, person: Person | str, device: Authenticator, name: str = "my phone"
) -> httpx.Response:
    begun = site.post(f"{API}registration/begin/", person)
    assert begun.status_code == 200, begun.text
    credential = device.create(begun.json()["options"])
    body = {"ceremony": begun.json()["ceremony"], "name": name, "credential": credential}
    return site.post(f"{API}registration/finish/", person, json=body)


def sign_in(site: Site, device: Authenticator) -> httpx.Response:
    begun = site.post(f"{API}signin/begin/").json()
    body = {"ceremony": begun["ceremony"], "credential": device.get(begun["options"])}
    return site.post(f"{API}signin/finish/", json=body)


def test_client_adds_a_passkey_and_signs_in_with_it(
    site: Site, ada: Person, device: Authenticator
) -> None:
    made = register(site, ada, device)
    assert made.status_code == 201
    passkey = made.json()
    assert len(passkey.pop("recovery_codes")) == 10
    assert list(passkey) == FIELDS
    assert passkey["name"] == "my phone"
    assert passkey["aaguid"] == str(MODEL)
    assert passkey["transports"] == {"internal": True}
    assert passkey["is_active"]
    assert not passkey["is_orphaned"]
    signed_in = sign_in(site, device)
    assert signed_in.status_code == 200
    token = signed_in.json()["token"]
    assert site.get("/api/users/me/", token).json()["username"] == "ada"
    listed = site.get(API, token)
    assert listed.headers["x-result-count"] == "1"
    (row,) = listed.json()
    assert (row["use_count"], row["last_used_at"] is None) == (1, False)
    assert site.get(f"{API}{row['uuid']}/", token).json() == row
    assert site.request("HEAD", API, token).headers["x-result-count"] == "1"


def test_password_login_asks_for_the_passkey_as_second_factor(
    site: Site, ada: Person, device: Authenticator
) -> None:
    register(site, ada, device)
    refused = site.post("/api-auth/password/", json={"username": "ada", "password": PASSWORD})
    assert refused.status_code == 401
    assert refused.json()["passkey_required"] is True
    ceremony = refused.json()["pending_passkey_ceremony"]
    assert site.get("/api/users/me/", ceremony).status_code == 401
    begun = site.post(f"{API}mfa/begin/", json={"ceremony": ceremony}).json()
    body = {"ceremony": begun["ceremony"], "credential": device.get(begun["options"])}
    # A ceremony is good for its purpose only, and once.
    assert site.post(f"{API}signin/finish/", json=body).status_code == 400
    answer = site.post(f"{API}mfa/finish/", json=body)
    assert site.get("/api/users/me/", answer.json()["token"]).status_code == 200
    assert site.post(f"{API}mfa/finish/", json=body).status_code == 400
    wrong = site.post("/api-auth/password/", json={"username": "ada", "password": "wrong"})
    assert "passkey_required" not in wrong.json()


def test_password_changed_in_between_ends_the_second_step(
    site: Site, world: World, ada: Person, device: Authenticator
) -> None:
    register(site, ada, device)
    login = {"username": "ada", "password": PASSWORD}
    ceremony = site.post("/api-auth/password/", json=login).json()["pending_passkey_ceremony"]
    begun = site.post(f"{API}mfa/begin/", json={"ceremony": ceremony}).json()
    body = {"ceremony": begun["ceremony"], "credential": device.get(begun["options"])}
    boss = world.person("boss", is_staff=True)
    path = f"/api/users/{ada.uuid}/change_password/"
    changed = site.post(path, boss, json={"new_password": "a quiet harbour at night"})
    assert changed.status_code == 200
    assert site.post(f"{API}mfa/finish/", json=body).status_code == 401


def test_passkey_is_renamed_and_revoked_by_its_owner_only(
    site: Site, world: World, ada: Person, device: Authenticator
) -> None:
    assert passkeys_of(site, ada) == (False, 0)
    uuid = register(site, ada, device).json()["uuid"]
    assert passkeys_of(site, ada) == (True, 1)
    path = f"{API}{uuid}/"
    for other in (world.person("bob"), world.staff):
        assert site.get(path, other).status_code == 404
        assert site.get(API, other).json() == []
        for method, end in (("PUT", ""), ("PATCH", ""), ("POST", "revoke/")):
            denied = site.request(method, path + end, other, json={"name": "mine"})
            assert denied.status_code == 404
    assert site.request("PUT", path, ada, json={"name": "phone"}).json()["name"] == "phone"
    assert site.request("PATCH", path, ada, json={"name": "old"}).json()["name"] == "old"
    assert site.request("PATCH", path, ada, json={"name": ""}).status_code == 400
    assert site.post(f"{path}revoke/", ada, json={"reason": "lost"}).status_code == 204
    assert site.post(f"{path}revoke/", ada, json={}).status_code == 404
    row = site.get(path, ada).json()
    shown = (row["is_active"], row["revoked_by_username"], row["revocation_reason"])
    assert shown == (False, "ada", "lost")
    assert passkeys_of(site, ada) == (False, 0)
    assert sign_in(site, device).status_code == 400


def passkeys_of(site: Site, person: Person) -> tuple[bool, int]:
    """Return what the API of users says about the passkeys of a person."""
    shown = site.get("/api/users/me/", person).json()
    return shown["has_passkey"], shown["passkey_count"]


def test_tokens_of_programs_and_impersonators_cannot_change_passkeys(
    site: Site, world: World, ada: Person
) -> None:
    with world.database.write() as tx:
        uuid = add_passkey(tx, ada.id)
    enable_two_factor(world, ada)
    browser = Browser(site).sign_in(world, ada)
    browser.open("/account/tokens/")
    page = browser.send("/account/tokens/", name="program")
    token = page.text.split('class="secret">')[1].split("<")[0]
    mask = {"headers": {"X-Impersonated-User-Uuid": ada.uuid}}
    for caller, options in ((token, {}), (world.staff, mask)):
        assert site.get(f"{API}{uuid}/", caller, **options).status_code == 200
        for method, path, body in (
            ("POST", "registration/begin/", {}),
            ("POST", "registration/finish/", {}),
            ("PATCH", f"{uuid}/", {"name": "x"}),
            ("POST", f"{uuid}/revoke/", {}),
        ):
            options_of_call: dict[str, Any] = {**options, "json": body}
            denied = site.request(method, API + path, caller, **options_of_call)
            assert denied.status_code == 403, path


def test_staff_list_and_revoke_passkeys_with_a_reason(
    site: Site, world: World, ada: Person, device: Authenticator
) -> None:
    uuid = register(site, ada, device).json()["uuid"]
    helper = world.person("helper", is_support=True)
    path = f"/api/staff-passkeys/{uuid}/revoke/"
    for other in (ada, helper):
        assert site.get("/api/staff-passkeys/", other).status_code == 403
        assert site.post(path, other, json={"reason": "x"}).status_code == 403
    assert [row["uuid"] for row in site.get("/api/staff-passkeys/", world.staff).json()] == [uuid]
    assert site.post(path, world.staff, json={}).status_code == 400
    assert site.post(path, world.staff, json={"reason": "reported lost"}).status_code == 204
    assert site.post(path, world.staff, json={"reason": "again"}).status_code == 404
    login = {"username": "ada", "password": PASSWORD}
    assert site.post("/api-auth/password/", json=login).status_code == 200


def test_begun_sign_ins_with_a_passkey_are_rate_limited(site: Site) -> None:
    statuses = [site.post(f"{API}signin/begin/").status_code for _ in range(62)]
    assert statuses[:60] == [200] * 60
    assert statuses[-1] == 429
