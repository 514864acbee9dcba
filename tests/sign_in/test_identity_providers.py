"""OpenID providers in the Waldur API: staff manage them, others see what a button needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collegium.integrations.openid import discovery
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from tests.conftest import KEY
from tests.rules.test_providers import VALID
from tests.sign_in.identity_scene import change_provider
from tests.support.openid.hostile import HostileProvider
from tests.support.remote import says
from tests.support.site import Site
from tests.support.world import World

PATH = "/api/identity-providers/"
ONE = f"{PATH}campus/"
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(make_settings: Callable[..., Settings], hostile: HostileProvider) -> Settings:
    return make_settings(outgoing_internal_hosts=hostile.host)


def body(hostile: HostileProvider, **changes: Any) -> dict[str, Any]:
    values = {**VALID, "provider": "campus", "discovery_url": hostile.discovery_url, **changes}
    del values["name"]
    return {name: value for name, value in values.items() if value is not None}


def create(site: Site, world: World, hostile: HostileProvider, **changes: Any) -> dict[str, Any]:
    response = site.post(PATH, world.staff, json=body(hostile, **changes))
    assert response.status_code == 201, response.text
    provider: dict[str, Any] = response.json()
    return provider


def test_staff_add_a_provider_whose_endpoints_are_discovered(
    site: Site, world: World, hostile: HostileProvider
) -> None:
    provider = create(site, world, hostile, enable_pkce=False, extra_scope="groups")
    assert provider == body(hostile, extra_scope="groups") | {
        "is_active": True,
        "is_default": False,
        "verify_ssl": True,
        "enable_post_logout_redirect": False,
        "enable_pkce": True,
        "token_in_url": False,
        "issuer": hostile.issuer,
        "userinfo_url": f"{hostile.base}/userinfo",
        "token_url": f"{hostile.base}/token",
        "auth_url": f"{hostile.base}/authorize",
        "logout_url": f"{hostile.base}/logout",
    }
    assert site.get(ONE, world.staff).json() == provider
    assert site.get(PATH, world.staff).json() == [provider]
    response = site.request("HEAD", PATH, world.staff)
    assert response.headers["X-Result-Count"] == "1"


@sqlite_only
def test_only_staff_read_the_secret_and_only_support_the_rest(
    site: Site, world: World, hostile: HostileProvider
) -> None:
    provider = create(site, world, hostile)
    create(site, world, hostile, provider="hidden", is_active=False)
    support = world.person(is_support=True)
    without_secret = {key: value for key, value in provider.items() if key != "client_secret"}
    assert site.get(ONE, support).json() == without_secret
    assert len(site.get(PATH, support).json()) == 2
    button = {"provider": "campus", "label": "Campus", "is_active": True, "is_default": False}
    for caller in (world.person(), None):
        assert site.get(ONE, caller).json() == button
        assert site.get(PATH, caller).json() == [button]
        assert site.get(f"{PATH}hidden/", caller).status_code == 404
    # Staff who act for somebody else see what that person sees.
    headers = {"X-Impersonated-User-Uuid": support.uuid}
    assert site.get(ONE, world.staff, headers=headers).json() == without_secret


@sqlite_only
@pytest.mark.parametrize("values", [{"is_support": True}, {}, None])
def test_only_staff_change_providers(
    site: Site, world: World, hostile: HostileProvider, values: Any
) -> None:
    before = create(site, world, hostile)
    caller = None if values is None else world.person(**values)
    hostile.asked.clear()
    for method, path in (
        ("POST", PATH),
        ("PUT", ONE),
        ("PATCH", ONE),
        ("DELETE", ONE),
        ("POST", f"{PATH}discover_metadata/"),
        ("POST", f"{PATH}generate-mapping/"),
    ):
        json = body(hostile, label="Mine")
        response = site.request(method, path, caller, json=json)
        assert response.status_code == (401 if caller is None else 403), (method, path)
    assert hostile.asked == []
    assert site.get(ONE, world.staff).json() == before


@sqlite_only
def test_changes_ask_the_provider_only_about_another_address(
    site: Site, world: World, hostile: HostileProvider
) -> None:
    before = create(site, world, hostile)
    hostile.asked.clear()
    changed = {**body(hostile), "label": "Uni", "client_secret": "another", "is_active": False}
    response = site.request("PUT", ONE, world.staff, json=changed)
    assert response.json() == before | {
        "label": "Uni",
        "client_secret": "another",
        "is_active": False,
    }
    response = site.request("PATCH", ONE, world.staff, json={"extra_scope": None})
    assert response.json()["extra_scope"] == ""
    # What another secret key has encrypted is not shown, and replaced even by nothing.
    for again in ("another", ""):
        change_provider(world, client_secret_encrypted=Vault(KEY[::-1]).encrypt("another"))
        assert site.get(ONE, world.staff).json()["client_secret"] == ""
        site.request("PATCH", ONE, world.staff, json={"client_secret": again})
        assert site.get(ONE, world.staff).json()["client_secret"] == again
        with world.database.read() as tx:
            (row,) = provider_queries.all_providers(tx)
        assert not provider_actions.is_secret_lost(world.vault, row)
    assert hostile.asked == []
    hostile.metadata = {"userinfo_endpoint": f"{hostile.base}/other"}
    site.request("PATCH", ONE, world.staff, json={"verify_ssl": False})
    assert site.get(ONE, world.staff).json()["userinfo_url"] == f"{hostile.base}/other"
    assert site.request("DELETE", ONE, world.staff).status_code == 204
    assert site.get(ONE, world.staff).status_code == 404
    assert site.request("DELETE", ONE, world.staff).status_code == 404


@sqlite_only
def test_all_errors_of_a_body_are_reported_at_once(
    site: Site, world: World, hostile: HostileProvider
) -> None:
    create(site, world, hostile)
    wrong = {
        "user_claim": "email",
        "attribute_mapping": {"is_staff": "admin"},
        "allowed_redirects": ["https://*.example.org/"],
        "protected_fields": ["is_staff"],
        "registration": "everybody",
    }
    response = site.post(PATH, world.staff, json=body(hostile, **wrong))
    assert response.status_code == 400
    assert response.json().keys() == {"provider", *wrong}
    response = site.request("PATCH", ONE, world.staff, json={"user_field": ""})
    assert response.json() == {"user_field": ["user_field and user_claim belong together."]}
    response = site.request("PATCH", ONE, world.staff, json={"provider": "other"})
    assert response.json().keys() == {"provider"}
    response = site.request("PATCH", ONE, world.staff, json={"attribute_mapping": ["x"]})
    assert response.json() == {
        "attribute_mapping": ['Expected a dictionary of items but got type "list".']
    }


@sqlite_only
def test_provider_that_cannot_be_used_is_refused_without_its_answer(
    site: Site, world: World, hostile: HostileProvider
) -> None:
    path = hostile.discovery_url.removeprefix(hostile.base)
    for temper, metadata, text in (
        (says(b"<html>secret answer"), {}, "Unable to parse JSON in discovery response."),
        (says(b"", 500), {}, "Unable to discover endpoints."),
        (None, {"issuer": "https://evil.example"}, "The issuer of the provider does not match"),
        (None, {"token_endpoint": "http://10.0.0.1/"}, "An endpoint is not https"),
        (None, {"response_types_supported": ["token"]}, "The provider does not support"),
    ):
        discovery.clear_caches()
        hostile.tempers = {path: temper} if temper else {}
        hostile.metadata = metadata
        response = site.post(PATH, world.staff, json=body(hostile))
        assert response.status_code == 400
        (error,) = response.json()["discovery_url"]
        assert error.startswith(text)
    assert site.get(PATH, world.staff).json() == []
    internal = "https://169.254.169.254/.well-known/openid-configuration"
    response = site.post(PATH, world.staff, json=body(hostile, discovery_url=internal))
    assert response.json().keys() == {"discovery_url"}


@sqlite_only
def test_metadata_and_mapping_are_suggested(
    site: Site, world: World, hostile: HostileProvider
) -> None:
    claims = ["sub", "givenName", "family_name", "email", "eduperson_scoped_affiliation", "phone"]
    scopes = ["openid", "email", "eduperson_scoped_affiliation", "offline_access"]
    hostile.metadata = {"claims_supported": claims, "scopes_supported": scopes}
    json = {"discovery_url": hostile.discovery_url}
    shown = site.post(f"{PATH}discover_metadata/", world.staff, json=json).json()
    assert shown["claims_supported"] == claims
    assert shown["scopes_supported"] == scopes
    assert shown["endpoints"]["token_endpoint"] == f"{hostile.base}/token"
    fields = {field["field"]: field["available_claims"] for field in shown["waldur_fields"]}
    assert fields["first_name"] == ["givenName"]
    assert fields["civil_number"] == []
    assert "is_staff" not in fields
    mapping = site.post(f"{PATH}generate-mapping/", world.staff, json=json).json()
    assert mapping == {
        "attribute_mapping": {
            "first_name": "givenName",
            "last_name": "family_name",
            "email": "email",
            "affiliations": "eduperson_scoped_affiliation",
        },
        "extra_scope": "eduperson_scoped_affiliation",
    }
    assert site.get(PATH, world.staff).json() == []


@sqlite_only
def test_setting_decides_who_gets_an_account_at_a_new_provider(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    hostile: HostileProvider,
) -> None:
    for number, (blocks, expected) in enumerate({"true": "invited", "false": "open"}.items()):
        site = make_site(
            make_settings(
                outgoing_internal_hosts=hostile.host,
                oidc_block_creation_of_uninvited_users=blocks,
            )
        )
        created = create(site, world, hostile, provider=f"p{number}", registration=None)
        assert created["registration"] == expected


@sqlite_only
def test_account_shows_its_provider_which_protects_fields(
    site: Site, world: World, hostile: HostileProvider
) -> None:
    create(
        site,
        world,
        hostile,
        protected_fields=["last_name", "email"],
        management_url="https://login.example.org/me",
    )
    person = world.person("ada", registration_method="campus")
    local = world.person("local")
    path = f"/api/users/{person.uuid}/"
    expected = {
        "identity_provider_name": "campus",
        "identity_provider_label": "Campus",
        "identity_provider_management_url": "https://login.example.org/me",
        "identity_provider_fields": ["last_name", "email"],
    }
    shown = site.get(path, person).json()
    assert {name: shown[name] for name in expected} == expected
    listed = {row["username"]: row for row in site.get("/api/users/", world.staff).json()}
    assert {name: listed["ada"][name] for name in expected} == expected
    assert listed["local"]["identity_provider_label"] == "Local DB"
    for caller, one in ((person, person), (world.staff, person), (local, local)):
        json = {"first_name": "New", "last_name": "New", "agree_with_policy": True}
        response = site.request("PATCH", f"/api/users/{one.uuid}/", caller, json=json)
        assert response.json()["first_name"] == "New"
        assert response.json()["last_name"] == ("New" if one is local else "Lee")
    response = site.post(f"{path}change_email/", person, json={"email": "new@example.org"})
    assert response.status_code == 400
