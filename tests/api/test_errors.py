"""Errors of the Waldur API: their status, their shape, and JSON for every path under `/api/`."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from collegium.api.request_bodies import BODY_MAX
from collegium.api.waldur.routes import ROUTES
from collegium.db.database import Database
from collegium.refusals import Conflict, Limited
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.api.scene import Scene, scene
from tests.support.site import Site
from tests.support.world import World

__all__ = ["scene"]

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
UNKNOWN = "0" * 32


def check_json(response: httpx.Response) -> None:
    assert response.headers["content-type"] == "application/json"
    assert "<" not in response.text[:1]
    response.json()


@sqlite_only
def test_missing_object_is_not_found_by_its_type(site: Site, world: World) -> None:
    for segment in (UNKNOWN, "not-a-uuid", "1", "%00", "%ff", "me2", "a" * 3000, "%3Cb%3E"):
        for plural, noun in (
            *(("users", "User"), ("customers", "Customer"), ("projects", "Project")),
            *(("user-permissions", "UserRole"), ("user-invitations", "Invitation")),
            ("roles", "Role"),
        ):
            response = site.get(f"/api/{plural}/{segment}/", world.staff)
            assert response.status_code == 404, (plural, segment)
            assert response.json() == {"detail": f"No {noun} matches the given query."}


@sqlite_only
def test_invalid_uuid_is_refused_like_an_unknown_one(site: Site, world: World) -> None:
    for pattern, table in ROUTES.items():
        if "{uuid}" not in pattern:
            continue
        for method in table:
            invalid, unknown = (
                site.request(method, pattern.replace("{uuid}", uuid), world.staff, json={})
                for uuid in ("nonsense", UNKNOWN)
            )
            assert invalid.status_code == 404, (method, pattern)
            assert invalid.json() == unknown.json()


@sqlite_only
def test_every_denial_has_the_same_message(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation()
    world.give_role(ada, "PROJECT.MEMBER", world.project(org))
    denied = {"detail": "You do not have permission to perform this action."}
    for method, path in (
        ("POST", "/api/users/"),
        ("PATCH", org.path),
        ("DELETE", org.path),
        ("POST", f"{org.path}add_user/"),
        ("POST", f"/api/users/{ada.uuid}/change_password/"),
    ):
        response = site.request(method, path, ada, json={})
        assert response.status_code == 403, path
        assert response.json() == denied
    # This route checks the body first.
    assert site.post("/api/customers/", ada, json={}).status_code == 400
    response = site.post("/api/customers/", ada, json={"name": "x"})
    assert response.status_code == 403
    assert response.json() == denied


@sqlite_only
def test_identity_manager_cannot_list_accounts(site: Site, world: World) -> None:
    manager = world.person("manager", is_identity_manager=True)
    response = site.get("/api/users/", manager)
    assert response.status_code == 403
    assert response.json() == "Identity manager is not allowed to list users."
    assert site.get(f"/api/users/{manager.uuid}/", manager).status_code == 200


@sqlite_only
def test_unsupported_method_is_refused_with_the_supported_ones(site: Site, world: World) -> None:
    for pattern, table in ROUTES.items():
        allowed = set(table) | ({"HEAD"} if "GET" in table else set())
        for method in set(METHODS) - allowed:
            response = site.request(method, pattern.replace("{uuid}", UNKNOWN), world.staff)
            assert response.status_code == 405, (method, pattern)
            assert set(response.headers["allow"].split(", ")) == allowed | {"OPTIONS"}
            if method != "HEAD":
                assert response.json() == {"detail": f'Method "{method}" not allowed.'}
                check_json(response)
    response = site.request("FOO", "/api/users/", world.staff)
    assert response.status_code == 405
    assert response.json() == {"detail": 'Method "FOO" not allowed.'}
    assert "GET" in response.headers["allow"]


def test_options_list_the_methods_and_reveal_nothing(site: Site, scene: Scene) -> None:
    for path, table in ROUTES.items():
        uuid = scene.object_of(path) if "{uuid}" in path else ""
        responses = [
            site.request("OPTIONS", path.replace("{uuid}", identifier), caller)
            for identifier in (uuid, UNKNOWN)
            for caller in (None, scene.stranger, scene.owner)
        ]
        assert {(each.status_code, each.content) for each in responses} == {(204, b"")}, path
        allowed = set(table) | {"OPTIONS"} | ({"HEAD"} if "GET" in table else set())
        assert all(set(response.headers["allow"].split(", ")) == allowed for response in responses)


@sqlite_only
def test_response_in_another_type_than_json_is_refused(site: Site, world: World) -> None:
    for accept in ("text/html", "text/*", "application/xml", "image/png, text/plain;q=0.5"):
        for caller in (world.staff, None):
            response = site.get("/api/users/", caller, headers={"Accept": accept})
            assert response.status_code == 406, accept
            assert response.json() == {"detail": "Could not satisfy the request Accept header."}
            check_json(response)
    for accept in (
        *("*/*", "application/*", "application/json", "Application/JSON; charset=utf-8", ""),
        *("text/html, application/json;q=0.1", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ):
        response = site.get("/api/users/", world.staff, headers={"Accept": accept})
        assert response.status_code == 200, accept


def test_refusal_of_an_action_is_a_bare_array(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    uuid = world.invite(world.staff, "ada@example.org", "CUSTOMER.OWNER", org)
    path = f"/api/user-invitations/{uuid}/"
    accepted = site.post(f"{path}accept/", ada)
    assert accepted.status_code == 400
    assert accepted.json() == ["User has already the same role in this scope."]
    assert site.post(f"{path}cancel/", world.staff).status_code == 200
    canceled = site.post(f"{path}cancel/", world.staff)
    assert canceled.status_code == 400
    assert canceled.json() == ["Only pending or planned invitations can be canceled."]
    site.request("PATCH", org.path, world.staff, json={"blocked": True})
    response = site.request("DELETE", org.path, world.staff)
    assert response.status_code == 400
    assert response.json() == ["Blocked organization is not available."]


def test_refusal_of_a_whole_body_is_a_non_field_error(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    for role, text in (
        ("CUSTOMER.OWNER", "User has already the same role in this scope."),
        ("PROJECT.MANAGER", "Role is not valid for this scope."),
        ("CUSTOMER.SUPPORT", "Role is not active."),
    ):
        body = {"user": ada.uuid, "role": role}
        response = site.post(f"{org.path}add_user/", world.staff, json=body)
        assert response.status_code == 400
        assert response.json() == {"non_field_errors": [text]}
    role = world.role("PROJECT.MANAGER").uuid
    body = {"email": "x@example.org", "scope": org.path, "role": role}
    response = site.post("/api/user-invitations/", world.staff, json=body)
    assert response.status_code == 400
    text = "Role and scope should belong to the same content type."
    assert response.json() == {"non_field_errors": [text]}
    site.request("PATCH", org.path, world.staff, json={"archived": True})
    body = {"user": ada.uuid, "role": "CUSTOMER.OWNER"}
    response = site.post(f"{org.path}update_user/", world.staff, json=body)
    assert response.json() == {"non_field_errors": ["Customer is not available."]}


def test_organisation_with_projects_cannot_be_deleted(site: Site, world: World) -> None:
    org = world.organisation()
    world.project(org)
    response = site.request("DELETE", org.path, world.staff)
    assert response.status_code == 409
    assert response.json() == {"detail": "Cannot delete organization with existing projects"}


def test_check_of_a_closed_invitation_is_an_empty_404(site: Site, world: World) -> None:
    org = world.organisation()
    closed = world.invite(world.staff, "a@example.org", "CUSTOMER.OWNER", org)
    site.post(f"/api/user-invitations/{closed}/cancel/", world.staff)
    long_ago = datetime.now(UTC) - timedelta(days=30)
    expired = world.invite(world.staff, "b@example.org", "CUSTOMER.OWNER", org, long_ago)
    for uuid in (closed, expired):
        response = site.post(f"/api/user-invitations/{uuid}/check/")
        assert response.status_code == 404
        assert response.content == b""
    response = site.post(f"/api/user-invitations/{UNKNOWN}/check/")
    assert response.status_code == 404
    assert response.json() == {"detail": "No Invitation matches the given query."}


@pytest.fixture
def raises(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make `POST /api/users/` raise an error."""

    def arm(error: Exception) -> None:
        def fail(*_arguments: Any) -> None:
            raise error

        monkeypatch.setattr("collegium.api.waldur.accounts.require_staff", fail)

    return arm


@sqlite_only
@pytest.mark.parametrize(("seconds", "duration"), [(1, "1 second"), (7, "7 seconds")])
def test_rate_limited_caller_gets_the_time_to_wait(
    site: Site, world: World, raises: Callable[[Exception], None], seconds: int, duration: str
) -> None:
    raises(Limited("login.too_often", seconds=seconds))
    response = site.post("/api/users/", world.staff, json={})
    assert response.status_code == 429
    text = f"Request was throttled. Expected available in {duration}."
    assert response.json() == {"detail": text}
    assert response.headers["retry-after"] == str(seconds)


@sqlite_only
@pytest.mark.parametrize(
    "error", [RuntimeError("details of the inside"), Conflict("code.without.message")], ids=repr
)
def test_internal_error_is_logged_and_its_message_is_not_shown(
    site: Site, world: World, raises: Callable[[Exception], None], error: Exception
) -> None:
    raises(error)
    with capture_logs() as logs:
        response = site.post("/api/users/", world.staff, json={})
    assert response.status_code == 500
    assert response.json() == {"detail": "Something went wrong. The error was logged."}
    check_json(response)
    (line,) = logs
    assert (line["event"], line["path"]) == ("request failed", "/api/users")
    assert error in (line["exc_info"], line["exc_info"].__context__)


@sqlite_only
def test_unknown_path_is_not_found_in_json(site: Site, world: World) -> None:
    for path in (
        "/api/nonsense/",
        "/api/users/x/y/z/",
        f"/api/users/{UNKNOWN}/nonsense/",
        "/api/users/a%2Fb%2Fc/d/",
        "/api/%ff/",
        "/api/%00/",
        "/api/../api/nonsense/",
        "/api-auth/",
        "/api-auth/nonsense/",
    ):
        for method in METHODS:
            for caller in (None, world.staff):
                response = site.request(method, path, caller, headers={"Accept": "text/html"})
                assert response.status_code == 404, (method, path)
                if method != "HEAD":
                    assert response.json() == {"detail": "Not found."}
                    check_json(response)


@sqlite_only
def test_large_body_is_refused_in_json(site: Site, world: World) -> None:
    def send(content: bytes | Iterator[bytes]) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return site.post("/api/customers/", world.staff, content=content, headers=headers)

    chunks = (b" " * (BODY_MAX // 32) for _ in range(33))
    for content in (b" " * (BODY_MAX + 1), chunks):
        response = send(content)
        assert response.status_code == 413
        assert response.json() == {"detail": "The request is too large (maximum 2097152 bytes)."}
        check_json(response)
    assert send(b'{"name": "x"' + b" " * (BODY_MAX - 20) + b"}").status_code == 201


def test_unreachable_database_is_reported_in_json(
    settings: Settings, vault: Vault, tmp_path: Path, url: str
) -> None:
    unreachable = (
        f"sqlite:///{tmp_path / 'nowhere' / 'collegium.db'}"
        if url.startswith("sqlite")
        else "postgresql://nobody@127.0.0.1:1/nothing"
    )
    database = Database(unreachable)
    site = Site(settings, database, vault)
    try:
        for method, path, token in (
            ("GET", "/api/users/", "0" * 40),
            ("POST", "/api/users/", "0" * 40),
            ("POST", "/api-auth/password/", None),
            ("POST", f"/api/user-invitations/{UNKNOWN}/check/", None),
        ):
            body = {"username": "a", "password": "b"}
            response = site.request(method, path, token, json=body)
            assert response.status_code == 503
            text = "The service cannot reach its database. Please try again in a moment."
            assert response.json() == {"detail": text}
            assert int(response.headers["retry-after"]) > 0
            check_json(response)
        # A request that needs no database gets its response.
        assert site.get("/api/users/").status_code == 401
    finally:
        database.close()


@sqlite_only
def test_every_response_has_a_request_id(site: Site, world: World) -> None:
    for path, caller in (
        ("/api/users/", world.staff),
        ("/api/users/", None),
        ("/api/nonsense/", None),
    ):
        response = site.get(path, caller, headers={"X-Request-Id": "abc-1"})
        assert response.headers["x-request-id"] == "abc-1"
        for invalid in ("", "a b", "x" * 65, "<>"):
            response = site.get(path, caller, headers={"X-Request-Id": invalid})
            assert re.fullmatch(r"\w{16}", response.headers["x-request-id"])


@sqlite_only
def test_unknown_methods_share_one_counter(site: Site, world: World) -> None:
    for number in range(3):
        site.request(f"MADEUP{chr(65 + number)}", "/api/users/", world.staff)
    metrics = site.get("/metrics").text
    assert 'method="?"' in metrics
    assert "MADEUP" not in metrics
