"""Every other way to say no: its status, its shape, and never a page under ``/api/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from collegium.api.request import BODY_MAX
from collegium.api.waldur.routes import ROUTES
from collegium.db.database import Database
from collegium.refusals import Conflict, Limited
from collegium.security.crypto import Vault
from collegium.settings import Settings
from tests.support.site import Site
from tests.support.world import World

# What is decided before the database is asked, or in words alone, need not be tried on both.
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
NOBODY = "0" * 32


def one_of(pattern: str) -> str:
    return pattern.replace("{uuid}", NOBODY)


def check_json(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/json"
    assert "<" not in answer.text[:1]
    answer.json()


@once
def test_what_is_not_there_is_not_found_in_the_words_of_its_kind(site: Site, world: World) -> None:
    for segment in (NOBODY, "not-a-uuid", "1", "%00", "%ff", "me2", "a" * 3000, "%3Cb%3E"):
        for plural, noun in (
            ("users", "User"),
            ("customers", "Customer"),
            ("projects", "Project"),
            ("roles", "Role"),
            ("user-permissions", "UserRole"),
            ("user-invitations", "Invitation"),
        ):
            answer = site.get(f"/api/{plural}/{segment}/", world.staff)
            assert answer.status_code == 404, (plural, segment)
            assert answer.json() == {"detail": f"No {noun} matches the given query."}


@once
def test_a_segment_that_is_no_uuid_is_not_found_whatever_is_done_to_it(
    site: Site, world: World
) -> None:
    for pattern, table in ROUTES.items():
        if "{uuid}" not in pattern:
            continue
        for method in table:
            path = pattern.replace("{uuid}", "nonsense")
            answer = site.request(method, path, world.staff, json={})
            assert answer.status_code == 404, (method, path)
            assert site.request(method, one_of(pattern), world.staff, json={}).json() == (
                answer.json()
            )


def test_what_is_hidden_is_not_there(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation()
    for method, path in (
        ("GET", org.path),
        ("PUT", org.path),
        ("PATCH", org.path),
        ("DELETE", org.path),
        ("GET", f"{org.path}list_users/"),
        ("POST", f"{org.path}add_user/"),
    ):
        hidden = site.request(method, path, ada, json={})
        missing = site.request(method, path.replace(org.uuid, NOBODY), ada, json={})
        assert hidden.status_code == missing.status_code == 404
        assert hidden.json() == missing.json()


@once
def test_what_may_not_be_done_is_denied_in_one_sentence(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation()
    world.seat(ada, "PROJECT.MEMBER", world.project(org))
    denied = {"detail": "You do not have permission to perform this action."}
    for method, path in (
        ("POST", "/api/users/"),
        ("PATCH", org.path),
        ("DELETE", org.path),
        ("POST", f"{org.path}add_user/"),
        ("POST", f"/api/users/{ada.uuid}/change_password/"),
    ):
        answer = site.request(method, path, ada, json={})
        assert answer.status_code == 403, path
        assert answer.json() == denied
    # Here the body is judged first.
    assert site.post("/api/customers/", ada, json={}).status_code == 400
    answer = site.post("/api/customers/", ada, json={"name": "x"})
    assert answer.status_code == 403
    assert answer.json() == denied


@once
def test_identity_managers_are_denied_the_list_in_a_bare_sentence(site: Site, world: World) -> None:
    manager = world.person("manager", is_identity_manager=True)
    answer = site.get("/api/users/", manager)
    assert answer.status_code == 403
    assert answer.json() == "Identity manager is not allowed to list users."
    assert site.get(f"/api/users/{manager.uuid}/", manager).status_code == 200


@once
def test_a_method_that_a_path_does_not_have_is_refused_with_those_it_has(
    site: Site, world: World
) -> None:
    for pattern, table in ROUTES.items():
        allowed = set(table) | ({"HEAD"} if "GET" in table else set())
        for method in set(METHODS) - allowed:
            answer = site.request(method, one_of(pattern), world.staff)
            assert answer.status_code == 405, (method, pattern)
            assert set(answer.headers["allow"].split(", ")) == allowed | {"OPTIONS"}
            if method != "HEAD":
                assert answer.json() == {"detail": f'Method "{method}" not allowed.'}
                check_json(answer)


@once
def test_the_methods_of_a_path_can_be_asked(site: Site, world: World) -> None:
    for pattern, table in ROUTES.items():
        answer = site.request("OPTIONS", one_of(pattern))
        assert answer.status_code == 204
        allowed = set(answer.headers["allow"].split(", "))
        assert allowed == set(table) | {"OPTIONS"} | ({"HEAD"} if "GET" in table else set())


@once
def test_an_answer_that_is_not_wanted_as_json_is_not_given(site: Site, world: World) -> None:
    for accept in ("text/html", "text/*", "application/xml", "image/png, text/plain;q=0.5"):
        for path, who in (("/api/users/", world.staff), ("/api/users/", None)):
            answer = site.get(path, who, headers={"Accept": accept})
            assert answer.status_code == 406, accept
            assert answer.json() == {"detail": "Could not satisfy the request Accept header."}
            check_json(answer)
    for accept in (
        "*/*",
        "application/*",
        "application/json",
        "Application/JSON; charset=utf-8",
        "text/html, application/json;q=0.1",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "",
    ):
        answer = site.get("/api/users/", world.staff, headers={"Accept": accept})
        assert answer.status_code == 200, accept


def test_what_a_deed_refuses_is_a_bare_array(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    uuid = world.invite(world.staff, "ada@example.org", "CUSTOMER.OWNER", org)
    path = f"/api/user-invitations/{uuid}/"
    for who, action, text in (
        (ada, "accept", "User has already the same role in this scope."),
        (world.staff, "cancel", None),
        (world.staff, "cancel", "Only pending or planned invitations can be canceled."),
    ):
        answer = site.post(f"{path}{action}/", who)
        if text is not None:
            assert answer.status_code == 400
            assert answer.json() == [text]
    site.request("PATCH", org.path, world.staff, json={"blocked": True})
    answer = site.request("DELETE", org.path, world.staff)
    assert answer.status_code == 400
    assert answer.json() == ["Blocked organization is not available."]


def test_what_a_rule_refuses_of_a_whole_body_is_no_fields_error(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    for role, text in (
        ("CUSTOMER.OWNER", "User has already the same role in this scope."),
        ("PROJECT.MANAGER", "Role is not valid for this scope."),
        ("CUSTOMER.SUPPORT", "Role is not active."),
    ):
        body = {"user": ada.uuid, "role": role}
        answer = site.post(f"{org.path}add_user/", world.staff, json=body)
        assert answer.status_code == 400
        assert answer.json() == {"non_field_errors": [text]}
    invited = {
        "email": "x@example.org",
        "scope": org.path,
        "role": world.role("PROJECT.MANAGER").uuid,
    }
    answer = site.post("/api/user-invitations/", world.staff, json=invited)
    assert answer.status_code == 400
    text = "Role and scope should belong to the same content type."
    assert answer.json() == {"non_field_errors": [text]}
    site.request("PATCH", org.path, world.staff, json={"archived": True})
    answer = site.post(
        f"{org.path}update_user/", world.staff, json={"user": ada.uuid, "role": "CUSTOMER.OWNER"}
    )
    assert answer.json() == {"non_field_errors": ["Customer is not available."]}


def test_what_something_else_stands_on_is_a_conflict(site: Site, world: World) -> None:
    org = world.organisation()
    world.project(org)
    answer = site.request("DELETE", org.path, world.staff)
    assert answer.status_code == 409
    assert answer.json() == {"detail": "Cannot delete organization with existing projects"}


def test_a_closed_invitation_is_checked_without_a_word(site: Site, world: World) -> None:
    org = world.organisation()
    closed = world.invite(world.staff, "a@example.org", "CUSTOMER.OWNER", org)
    site.post(f"/api/user-invitations/{closed}/cancel/", world.staff)
    long_ago = datetime.now(UTC) - timedelta(days=30)
    expired = world.invite(world.staff, "b@example.org", "CUSTOMER.OWNER", org, long_ago)
    for uuid in (closed, expired):
        answer = site.post(f"/api/user-invitations/{uuid}/check/")
        assert answer.status_code == 404
        assert answer.content == b""
    answer = site.post(f"/api/user-invitations/{NOBODY}/check/")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "No Invitation matches the given query."}


@once
@pytest.mark.parametrize(("seconds", "words"), [(1, "1 second"), (7, "7 seconds")])
def test_too_many_requests_are_told_when_to_come_back(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch, seconds: int, words: str
) -> None:
    # No route limits anybody yet; this is the shape for those that will.
    def refuse(*_any: Any) -> None:
        raise Limited("login.too_often", seconds=seconds)

    monkeypatch.setattr("collegium.api.waldur.accounts.account_actions.require_staff", refuse)
    answer = site.post("/api/users/", world.staff, json={})
    assert answer.status_code == 429
    text = f"Request was throttled. Expected available in {words}."
    assert answer.json() == {"detail": text}
    assert answer.headers["retry-after"] == str(seconds)


@once
def test_a_refusal_without_words_is_a_fault_of_ours_and_shaped_like_one(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_any: Any) -> None:
        raise Conflict("nobody.has_words_for_this")

    monkeypatch.setattr("collegium.api.waldur.accounts.account_actions.require_staff", refuse)
    answer = site.post("/api/users/", world.staff, json={})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "Something went wrong. The error was logged."}
    check_json(answer)


@once
def test_a_fault_of_ours_is_written_down_and_told_without_its_words(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = RuntimeError("a word of the inside")

    def fail(*_any: Any) -> None:
        raise fault

    monkeypatch.setattr("collegium.api.waldur.accounts.account_actions.require_staff", fail)
    with capture_logs() as logs:
        answer = site.post("/api/users/", world.staff, json={})
    assert answer.status_code == 500
    assert "inside" not in answer.text
    (line,) = logs
    assert (line["event"], line["path"], line["exc_info"]) == (
        "request failed",
        "/api/users",
        fault,
    )


@once
def test_a_path_that_leads_nowhere_is_not_found_in_json(site: Site, world: World) -> None:
    for path in (
        "/api/nonsense/",
        "/api/users/x/y/z/",
        f"/api/users/{NOBODY}/nonsense/",
        "/api/users/a%2Fb%2Fc/d/",
        "/api/%ff/",
        "/api/%00/",
        "/api/../api/nonsense/",
        "/api-auth/",
        "/api-auth/nonsense/",
    ):
        for method in METHODS:
            for who in (None, world.staff):
                answer = site.request(method, path, who, headers={"Accept": "text/html"})
                assert answer.status_code == 404, (method, path)
                if method != "HEAD":
                    assert answer.json() == {"detail": "Not found."}
                    check_json(answer)


@once
def test_a_body_that_is_too_large_is_refused_in_json(site: Site, world: World) -> None:
    def trickle() -> Iterator[bytes]:
        for _ in range(33):
            yield b" " * (BODY_MAX // 32)

    contents: tuple[Any, ...] = (b" " * (BODY_MAX + 1), trickle())
    for content in contents:
        answer = site.post(
            "/api/customers/",
            world.staff,
            content=content,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 413
        assert answer.json() == {"detail": "The request is too large (maximum 2097152 bytes)."}
        check_json(answer)
    content = b'{"name": "x"' + b" " * (BODY_MAX - 20) + b"}"
    answer = site.post(
        "/api/customers/",
        world.staff,
        content=content,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 201


def test_a_database_that_cannot_be_reached_is_told_in_json(
    settings: Settings, vault: Vault, tmp_path: Path, url: str
) -> None:
    gone = (
        f"sqlite:///{tmp_path / 'nowhere' / 'collegium.db'}"
        if url.startswith("sqlite")
        else "postgresql://nobody@127.0.0.1:1/nothing"
    )
    database = Database(gone)
    site = Site(settings, database, vault)
    try:
        for method, path, token in (
            ("GET", "/api/users/", "0" * 40),
            ("POST", "/api/users/", "0" * 40),
            ("POST", "/api-auth/password/", None),
            ("POST", f"/api/user-invitations/{NOBODY}/check/", None),
        ):
            body = {"username": "a", "password": "b"}
            answer = site.request(method, path, token, json=body)
            assert answer.status_code == 503
            text = "The service is busy. Please try again in a moment."
            assert answer.json() == {"detail": text}
            assert int(answer.headers["retry-after"]) > 0
            check_json(answer)
        # Who asks for nothing in the database is answered all the same.
        assert site.get("/api/users/").status_code == 401
    finally:
        site.close()
        database.close()


@once
def test_a_host_that_is_not_ours_is_refused_in_json(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(allowed_hosts="roll.example"))
    answer = site.get("/api/users/", world.staff)
    assert answer.status_code == 400
    check_json(answer)
    for host in ("roll.example", "ROLL.example:8000"):
        answer = site.get("/api/users/", world.staff, headers={"Host": host})
        assert answer.status_code == 200


@once
def test_every_answer_is_numbered_and_guarded(site: Site, world: World) -> None:
    for path, who in (
        ("/api/users/", world.staff),
        ("/api/users/", None),
        ("/api/nonsense/", None),
    ):
        answer = site.get(path, who, headers={"X-Request-Id": "abc-1"})
        assert answer.headers["x-request-id"] == "abc-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        for given in ("", "a b", "x" * 65, "<>"):
            made = site.get(path, who, headers={"X-Request-Id": given}).headers["x-request-id"]
            assert made != given
            assert len(made) == 16


@once
def test_made_up_methods_make_no_counters(site: Site, world: World) -> None:
    for number in range(3):
        site.request(f"MADEUP{chr(65 + number)}", "/api/users/", world.staff)
    counted = site.get("/metrics").text
    assert 'method="?"' in counted
    assert "MADEUP" not in counted


def test_a_method_that_no_path_has_is_405_with_the_ones_there_are(site: Site, world: World) -> None:
    answer = site.request("FOO", "/api/users/", world.staff)
    assert answer.status_code == 405
    assert answer.json() == {"detail": 'Method "FOO" not allowed.'}
    assert "GET" in answer.headers["allow"]
