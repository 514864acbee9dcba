"""All routes of the BrainSTEM API: required tokens, validation of profiles, descriptions."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from collegium.api.brainstem.routes import DESCRIBED, ROUTES
from collegium.api.request import METHODS
from collegium.db.statements import Statement
from collegium.db.tables import events
from tests.groups.scene import Groups

PROFILE_VALUES: tuple[tuple[str, Any, int], ...] = (
    ("website", "www.example.org/a?b=c", 200),
    ("website", "https://example.org:8443/", 200),
    ("website", "localhost:8000", 200),
    ("website", "", 200),
    ("website", "javascript:alert(1)", 400),
    ("website", "http://", 400),
    ("website", "two words.org", 400),
    ("website", "x" * 201, 400),
    ("website", 5, 400),
    ("website", None, 400),
    ("google_scholar", "y" * 200, 200),
    ("google_scholar", "y" * 201, 400),
    ("orcid_id", "0000-0002-1825-0097", 200),
    ("orcid_id", "z" * 101, 400),
    ("atlas_preference", "AIA", 200),
    ("atlas_preference", "12345678", 400),
    ("active_projects", [1, str(uuid4())], 200),
    ("active_projects", [], 200),
    ("active_projects", [None], 400),
    ("active_projects", [True], 400),
    ("active_projects", "x", 400),
    ("active_projects", ["a\0"], 400),
    ("first_name", "Ada", 200),
    ("last_name", "n" * 101, 400),
)


def test_private_routes_require_a_token(groups: Groups) -> None:
    before = count_events(groups)
    tried = 0
    for path in ROUTES:
        if not path.startswith("/api/private/"):
            continue
        for method in METHODS:
            for key in ("1", str(uuid4()), "x"):
                url = path.replace("{id}", key).replace("{uuid}", key)
                response = groups.site.request(method, url, json={})
                assert response.status_code == (204 if method == "OPTIONS" else 401), (method, url)
                tried += 1
    assert tried > 300
    assert count_events(groups) == before


def test_public_routes_are_read_only(groups: Groups) -> None:
    before = count_events(groups)
    for path in ROUTES:
        if path.startswith("/api/public/"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                response = groups.site.request(method, path.replace("{id}", "1"), json={})
                assert response.status_code in {404, 405}
                assert list(response.json()) == ["detail"]
    assert count_events(groups) == before


def count_events(groups: Groups) -> int:
    with groups.world.database.read() as tx:
        return len(tx.fetch_all(Statement(events.select())))


def test_every_route_is_described_once() -> None:
    assert set(DESCRIBED) <= set(ROUTES)
    assert not [path for path in DESCRIBED if "_membership_" in path or "laboratory" in path]
    for path in ROUTES:
        plain = path.replace("group_membership_", "groupmembership").replace("/auth/g", "/users/g")
        assert plain in DESCRIBED or "laboratory" in path, path


def test_profile_fields_are_validated(groups: Groups) -> None:
    ada = groups.world.person("ada")
    kept: dict[str, Any] = {}
    for field, value, status in PROFILE_VALUES:
        response = groups.call("PATCH", ada, "user", ada.id, json={field: value})
        assert response.status_code == status, (field, value, response.text)
        if status == 200:
            kept[field] = response.json()["user"][field]
        else:
            assert list(response.json()) == [field]
    shown = groups.get(ada, "user", ada.id).json()["user"]
    assert {name: shown[name] for name in kept} == kept
    assert kept["website"] == ""
    wrong = {"website": 5, "atlas_preference": "12345678"}
    response = groups.call("PATCH", ada, "user", ada.id, json=wrong)
    assert list(response.json()) == list(wrong)


def test_staff_change_and_delete_accounts_but_not_a_sole_owner(groups: Groups) -> None:
    staff = groups.world.staff
    ada, olga = groups.people("ada", "olga")
    groups.ask(groups.create(olga), ada)
    body = {"orcid_id": "1"}
    assert groups.call("PATCH", staff, "user", ada.id, json=body).status_code == 200
    refused = groups.call("DELETE", staff, "user", olga.id)
    assert refused.status_code == 400, refused.text
    assert "Lab" in refused.json()["detail"]
    deleted = groups.call("DELETE", staff, "user", ada.id)
    assert (deleted.status_code, deleted.content) == (204, b""), deleted.text
    assert groups.get(staff, "user", ada.id).status_code == 404
    assert groups.get(olga, "request").json()["count"] == 0


def test_name_of_a_deleted_group_is_reusable_but_its_id_is_not(groups: Groups) -> None:
    olga = groups.world.person("olga")
    first = groups.create(olga, "Lab")
    assert groups.call("POST", olga, "group", json={"name": "LAB"}).status_code == 400
    assert groups.call("PATCH", olga, "group", first, json={"name": "lab"}).status_code == 200
    assert groups.call("DELETE", olga, "group", first).status_code == 204
    second = groups.call("POST", olga, "group", json={"name": "Lab"}).json()["group"]["id"]
    assert second > first


def test_invalid_id_is_unknown(groups: Groups) -> None:
    olga = groups.world.person("olga")
    for text in ("0", "-1", "1.0", "x", "٣", "9" * 40, "%00"):
        for model in ("group", "user"):
            for portal in ("private", "public"):
                assert groups.get(olga, model, text, portal=portal).status_code == 404, text
        assert groups.get(olga, "group", text, "join").status_code == 404
