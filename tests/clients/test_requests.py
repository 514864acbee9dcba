"""Every operation around invitations and requests, by the official clients over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collegium.api.waldur import invite_links, join_requests
from tests.clients.official import Official
from tests.conftest import KEY
from tests.support.serving import Service

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
EVERY_LIST = {"o", "page", "page_size"}
NEWER = {"scope"}
"""What only the newer client can ask for."""


@pytest.fixture
def service(url: str, tmp_path: Path) -> Iterator[Service]:
    settings = {
        "database_url": url,
        "secret_key": KEY,
        "rate_limits": "false",
        "only_staff_can_invite_users": "true",
    }
    service = Service(tmp_path, settings)
    service.staff()
    service.start()
    if url.startswith("postgresql"):
        service.start_post()
    yield service
    service.stop()


def test_an_official_client_gets_people_in_by_every_way_there_is(
    client: Official, service: Service
) -> None:
    keeper, mails = service.staff("keeper"), service.folder / "var" / "mail"
    told = client.tell("requests.py", service, keeper, mails)
    newer = {f"{group} list_users_count" for group in ("customers", "projects")}
    assert set(told["called"]) - newer == {
        f"{group} {name}" for group, names in OPERATIONS.items() for name in names.split()
    }
    unknown = set() if client.version == "8.1.3" else NEWER
    assert set(told["asked"]) == {
        f"{group} {name}"
        for group, known in (
            ("user_permission_requests", join_requests.FILTERS),
            ("user_group_invitations", invite_links.FILTERS),
        )
        for name in (set(known) | EVERY_LIST) - unknown
    }
