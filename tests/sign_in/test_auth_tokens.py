"""API tokens as staff list and end them: ``/api/auth-tokens/``."""

from __future__ import annotations

import pytest

from tests.support.site import BASE, Site
from tests.support.world import World

TOKENS = "/api/auth-tokens/"
ME = "/api/users/me/"


def test_staff_list_api_tokens_without_the_secrets(site: Site, world: World) -> None:
    ada, inactive = world.person("ada"), world.person("off", token_lifetime=None, is_active=False)
    response = site.get(TOKENS, world.staff)
    assert response.status_code == 200
    assert response.headers["X-Result-Count"] == "3"
    rows = {row["user_username"]: row for row in response.json()}
    assert list(rows) == ["staff", "ada", "off"]
    created = rows["ada"]["created"]
    assert created.endswith("Z")
    assert rows["ada"] == {
        "created": created,
        "url": f"{BASE}{TOKENS}{ada.id}/",
        "user": f"{BASE}/api/users/{ada.uuid}/",
        "user_first_name": "Ada",
        "user_last_name": "Lee",
        "user_username": "ada",
        "user_is_active": True,
        "user_token_lifetime": 3600,
    }
    assert rows["off"]["user_is_active"] is False
    assert rows["off"]["user_token_lifetime"] is None
    detail = site.get(f"{TOKENS}{ada.id}/", world.staff)
    assert detail.json() == rows["ada"]
    for person in (ada, inactive, world.staff):
        assert person.token not in response.text + detail.text
    assert site.request("HEAD", TOKENS, world.staff).headers["X-Result-Count"] == "3"
    assert len(site.get(f"{TOKENS}?page_size=2&page=2", world.staff).json()) == 1
    assert site.get(f"{TOKENS}?o=token", world.staff).status_code == 400


def test_token_that_staff_ended_is_invalid(site: Site, world: World) -> None:
    ada = world.person("ada")
    assert site.get(ME, ada).status_code == 200
    path = f"{TOKENS}{ada.id}/"
    response = site.request("DELETE", path, world.staff)
    assert (response.status_code, response.content) == (204, b"")
    assert site.get(ME, ada).status_code == 401
    for method in ("GET", "DELETE"):
        response = site.request(method, path, world.staff)
        assert response.status_code == 404
        assert response.json() == {"detail": "No Token matches the given query."}


def test_identity_managers_neither_see_nor_end_api_tokens(site: Site, world: World) -> None:
    ada, manager = world.person("ada"), world.person("manager", is_identity_manager=True)
    for method, path in (
        *(("GET", TOKENS), ("HEAD", TOKENS), ("DELETE", f"{TOKENS}x/")),
        *((method, f"{TOKENS}{id_}/") for method in ("GET", "DELETE") for id_ in (ada.id, 999999)),
    ):
        assert site.request(method, path, manager).status_code == 403, (method, path)
        assert site.request(method, path).status_code == 401, (method, path)
    assert site.get(ME, ada).status_code == 200


@pytest.mark.parametrize("segment", ["x", "-1", "0", "1.0", "\u0661", "9" * 19, "9" * 400, "%00"])
def test_malformed_or_unknown_token_id_is_not_found(site: Site, world: World, segment: str) -> None:
    for method in ("GET", "DELETE"):
        assert site.request(method, f"{TOKENS}{segment}/", world.staff).status_code == 404
    for method in ("POST", "PUT", "PATCH"):
        assert site.request(method, f"{TOKENS}1/", world.staff).status_code == 405
