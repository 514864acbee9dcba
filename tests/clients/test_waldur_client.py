"""All operations and filters of the Waldur API, called by the official clients over a socket."""

import json
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from collegium import __version__
from collegium.accounts import queries as account_queries
from collegium.api.waldur import (
    accounts,
    invitations,
    invite_links,
    join_requests,
    memberships,
    organisations,
    projects,
    roles,
)
from collegium.reviews import queries as review_queries
from tests.clients.official import Official
from tests.hooks.scene import Endpoint
from tests.sign_in.identity_scene import add_provider, link, person
from tests.support.openid.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider
from tests.support.passkeys import add_passkey
from tests.support.remote import SECRET, new_key
from tests.support.serving import Service
from tests.support.world import World

OPERATIONS = {
    "user_invitations": "accept approve cancel check count create delete details_retrieve list "
    "reject retrieve send",
    "user_group_invitations": "cancel count create list projects_list retrieve submit_request",
    "user_permission_requests": "approve cancel_request count list reject retrieve",
    "customers": "add_user create delete_user list_users_list update_user",
    "projects": "add_user create delete_user list list_users_list update_user",
    "roles": "count list",
    "user_permissions": "count list",
    "users": "change_password create",
}
SCOPES = {
    "customers": "contact create history_at_retrieve history_list partial_update stats_retrieve",
    "projects": "create destroy move_project other_users_count other_users_list partial_update "
    "recover retrieve set_slug stats_retrieve sync_user_roles",
    "daily_quotas": "retrieve",
    "notification_messages_templates": "count list retrieve",
    "roles": "clone_to_customer count create destroy disable enable hygiene_report_count "
    "hygiene_report_retrieve list partial_update retrieve update_descriptions_update",
    "role_availabilities": "count destroy list retrieve",
    "customer_role_concealments": "count create destroy list retrieve",
}
NEW_OPERATIONS = {
    "user_invitations": "check_duplicates destroy partial_update update",
    "user_group_invitations": "destroy partial_update update",
    "user_permission_requests": "destroy",
    "user_permissions": "restore retrieve revoke",
    "customers": "list_users_count",
    "projects": "list_users_count",
}
"""Operations that only the newer client has."""

USERS = (
    "cancel_change_email change_email change_password confirm_email count create destroy list "
    "me_retrieve partial_update pull_remote_user refresh_token retrieve token_retrieve update"
)
"""Operations of the users API that ``users.py`` calls with both clients."""
ABSENT = {
    "dashboard_pending_actions_list",
    "identity_bridge_status_retrieve",
    "pull_scim_attributes",
    "scim_sync_all",
    "send_notification",
    "update_actions",
}
"""Operations of the users API that the service does not have; the documentation says why."""

EVERY_LIST = {"o", "page", "page_size"}
NEWER = {"scope"}
"""Parameters that only the newer client has."""

LISTS = {
    "user-invitations": invitations.LIST.parameters,
    "user-permissions": memberships.LIST.parameters,
    "team": memberships.TEAM.parameters,
    "roles": roles.LIST.parameters,
    "customers": organisations.LIST.parameters,
    "projects": projects.LIST.parameters,
}
GROUPS = ["organization_group_name", "organization_group_uuid"]
# Parameters of the clients that the service ignores.
IGNORED: dict[str, dict[str, list[str]]] = {
    "7.9.0": {"customers": GROUPS},
    "8.1.3": {
        "customers": [
            "accounting_is_running",
            "has_resources",
            "is_call_managing_organization",
            "is_service_provider",
            *GROUPS,
            "service_provider_uuid",
        ],
        "projects": [
            "accounting_is_running",
            "affiliation_name",
            "affiliation_uuid",
            "has_affiliation",
            "science_domain_uuid",
            "science_sub_domain_uuid",
        ],
    },
}
Serve = Callable[..., tuple[Service, str]]


@pytest.fixture
def run(client: Official, serve: Serve, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs a script of the client against a new service."""

    def run(script: str, *options: str, mails: bool = False, **settings: str) -> Any:
        service, token = serve(*options, **settings)
        arguments = [tmp_path / "var" / "mail"] if mails else []
        return client.run(script, service, token, *arguments)

    return run


def test_client_uses_every_operation_of_the_users_api(run: Callable[..., Any]) -> None:
    run("users.py", mails=True)


def test_newer_client_uses_every_operation_of_the_users_api_that_it_adds(
    client: Official, run: Callable[..., Any]
) -> None:
    if client.version != "8.1.3":
        return
    settings = {"user_data_access_logging_enabled": "true"}
    result = run("users_newer.py", "--no-worker", **settings)
    assert set(result["all"]) == {*result["called"], *USERS.split(), *ABSENT}
    assert ABSENT.isdisjoint(result["called"])
    documented = (Path(__file__).parents[2] / "docs" / "waldur.md").read_text()
    assert all(f"`users_{name}`" in documented for name in ABSENT)


def test_client_uses_keys_tokens_and_version(run: Callable[..., Any]) -> None:
    assert run("keys_and_tokens.py", "--no-worker") == {"version": __version__}


def test_client_uses_every_filter_of_the_users_list(run: Callable[..., Any]) -> None:
    assert set(run("users_filters.py", "--no-worker")) == set(accounts.LIST.parameters)


def test_client_uses_every_filter_of_the_other_lists(
    client: Official, run: Callable[..., Any]
) -> None:
    result = run("lists_filters.py", "--no-worker")
    for name, filters in LISTS.items():
        parameters = set(result["parameters"][name])
        assert set(result["used"][name]) == parameters & set(filters), name
        assert parameters - set(filters) == set(IGNORED[client.version].get(name, [])), name


def test_client_uses_every_operation_and_filter_of_invitations_and_requests(
    client: Official, run: Callable[..., Any]
) -> None:
    settings = {"rate_limits": "false", "only_staff_can_invite_users": "true"}
    result = run("memberships.py", mails=True, **settings)
    tables = [OPERATIONS, NEW_OPERATIONS] if client.version == "8.1.3" else [OPERATIONS]
    assert set(result["called"]) == {
        f"{group} {name}"
        for table in tables
        for group, names in table.items()
        for name in names.split()
    }
    unknown = set() if client.version == "8.1.3" else NEWER
    assert set(result["used"]) == {
        f"{group} {name}"
        for group, filters in (
            ("user_permission_requests", join_requests.LIST.parameters),
            ("user_group_invitations", invite_links.LIST.parameters),
        )
        for name in (set(filters) | EVERY_LIST) - unknown
    }


def test_newer_client_uses_every_operation_of_organisations_and_projects(
    client: Official, run: Callable[..., Any]
) -> None:
    if client.version == "8.1.3":
        assert set(run("scopes.py", "--no-worker")["called"]) >= {
            f"{group} {name}" for group, names in SCOPES.items() for name in names.split()
        }


def test_client_uses_every_operation_of_identity_providers(client: Official, serve: Serve) -> None:
    for provider in HostileProvider().running():
        service, token = serve("--no-worker", outgoing_internal_hosts=provider.host)
        result = client.run("identity_providers.py", service, token, provider.discovery_url)
        assert result == {"discovers": client.version == "8.1.3"}


def test_newer_client_uses_every_operation_of_user_agreements(
    official: Callable[[str], Official], serve: Serve
) -> None:
    service, token = serve("--no-worker")
    official("8.1.3").run("agreements.py", service, token)


def test_newer_client_uses_every_operation_of_hooks_and_events_arrive(
    official: Callable[[str], Official], serve: Serve, world: World
) -> None:
    with contextmanager(Endpoint().running)() as endpoint:
        service, token = serve(outgoing_internal_hosts=endpoint.base.split("/")[2])
        owner = world.person("owner")
        official("8.1.3").run("hooks.py", service, token, owner.token, owner.email, endpoint.url)
        headers = {"Authorization": f"Token {owner.token}"}
        body = {"destination_url": endpoint.url, "event_groups": ["ssh"]}
        with httpx.Client(base_url=service.base, headers=headers) as client:
            assert client.post("/api/hooks-web/", json=body).status_code == 201
            assert client.post("/api/keys/", json={"public_key": new_key("mine")}).is_success
            (event,) = client.get("/api/events/?feature=ssh").json()
            # The hooks of the script may have sent something too.
            for _ in range(200):
                sent = [json.loads(body) for body in endpoint.bodies if body.startswith(b"{")]
                if sent:
                    break
                time.sleep(0.1)
        (document,) = sent
        assert document == {name: event[name] for name in document}
        assert set(document) == {"created", "message", "context", "event_type"}
        assert SECRET not in service.log.read_text()


def test_newer_client_uses_every_operation_of_reviews(
    official: Callable[[str], Official], serve: Serve, world: World
) -> None:
    service, token = serve("--no-worker")
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    places = (organisation, world.project(organisation))
    with world.database.write() as tx:
        for place in places:
            review_queries.add(tx, place.id)
    official("8.1.3").run("reviews.py", service, token, owner.token)


def test_client_signs_in_at_a_provider_and_out(client: Official, serve: Serve) -> None:
    for provider in HostileProvider().running():
        service, token = serve("--no-worker", outgoing_internal_hosts=provider.host)
        arguments = (provider.discovery_url, CLIENT_ID, CLIENT_SECRET)
        result = client.run("provider_sign_ins.py", service, token, *arguments)
        assert result == {"exchanges": client.version == "8.1.3"}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_newer_client_uses_every_operation_of_passkeys(
    official: Callable[[str], Official], serve: Serve, world: World
) -> None:
    service, token = serve("--no-worker", base_url="http://localhost", allowed_hosts="127.0.0.1")
    other = world.person("other", password="a hash").id
    with world.database.write() as tx:
        boss = account_queries.by_username(tx, "boss")
        assert boss is not None
        account_queries.change(tx, boss.id, {"password": "a hash"})
        for account in (boss.id, other):
            add_passkey(tx, account)
    official("8.1.3").run("passkeys.py", service, token)


def test_newer_client_uses_every_operation_of_claim_rules(
    official: Callable[[str], Official], serve: Serve, world: World
) -> None:
    provider = add_provider(world, extra_fields="groups")
    ada = world.person("ada")
    link(world, ada.actor, provider, person(groups=["physics"]))
    organisation = world.organisation("Physics")
    service, token = serve("--no-worker")
    official("8.1.3").run("claim_rules.py", service, token, organisation.uuid, ada.uuid)
