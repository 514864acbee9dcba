"""Every filter of the other lists, asked for by the official clients over a socket."""

from __future__ import annotations

from pathlib import Path

from collegium.api.waldur import invitations, memberships, organisations, projects, roles
from tests.clients.official import Official
from tests.conftest import KEY
from tests.support.serving import Service

LISTS = {
    "user-invitations": invitations.FILTERS,
    "user-permissions": memberships.FILTERS,
    "team": memberships.TEAM_FILTERS,
    "roles": roles.FILTERS,
    "customers": organisations.FILTERS,
    "projects": projects.FILTERS,
}
GROUPS = ["organization_group_name", "organization_group_uuid"]
# What a client can ask and we pass over: it speaks of what is not kept here.
PASSED_OVER: dict[str, dict[str, list[str]]] = {
    "7.9.0": {"customers": GROUPS},
    "8.1.3": {
        "customers": [
            "accounting_is_running",
            "current_user_has_role",
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
            "created_before",
            "current_user_has_role",
            "has_affiliation",
            "modified_before",
            "science_domain_uuid",
            "science_sub_domain_uuid",
            "user_uuid",
            "user_uuid_with_active_role",
        ],
        "roles": ["available_for_customer", "include_concealed"],
        "user-permissions": ["created_before", "is_active", "modified_before", "show_inactive"],
    },
}


def test_an_official_client_looks_through_every_list_by_everything_it_can_ask_for(
    client: Official, url: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    token = service.staff()
    service.start("--no-worker")
    try:
        told = client.tell("lists_filters.py", service, token)
    finally:
        service.stop()
    for name, table in LISTS.items():
        can = set(told["can"][name])
        assert set(told["asked"][name]) == can & set(table), name
        assert can - set(table) == set(PASSED_OVER[client.version].get(name, [])), name
