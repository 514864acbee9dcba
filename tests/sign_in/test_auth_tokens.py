"""Staff see who is logged in and can end it; nobody sees a token."""

from __future__ import annotations

import pytest

from tests.support.site import BASE, Site
from tests.support.world import Person, World

TOKENS = "/api/auth-tokens/"


def test_staff_see_whose_tokens_there_are_and_no_token(site: Site, world: World) -> None:
    ada, gone = world.person("ada"), world.person("gone", token_lifetime=None, is_active=False)
    answer = site.get(TOKENS, world.staff)
    assert answer.status_code == 200
    assert answer.headers["X-Result-Count"] == "3"
    shown = {one["user_username"]: one for one in answer.json()}
    assert list(shown) == ["staff", "ada", "gone"]
    one = shown["ada"]
    created = one.pop("created")
    assert created.endswith("Z")
    assert one == {
        "url": f"{BASE}{TOKENS}{ada.id}/",
        "user": f"{BASE}/api/users/{ada.uuid}/",
        "user_first_name": "Ada",
        "user_last_name": "Lee",
        "user_username": "ada",
        "user_is_active": True,
        "user_token_lifetime": 3600,
    }
    assert shown["gone"]["user_is_active"] is False
    assert shown["gone"]["user_token_lifetime"] is None
    same = site.get(f"{TOKENS}{ada.id}/", world.staff)
    assert same.json() == {**one, "created": created}
    for person in (ada, gone, world.staff):
        assert person.token not in answer.text + same.text
    assert site.request("HEAD", TOKENS, world.staff).headers["X-Result-Count"] == "3"
    assert len(site.get(f"{TOKENS}?page_size=2&page=2", world.staff).json()) == 1
    assert site.get(f"{TOKENS}?o=token", world.staff).status_code == 400


def test_a_token_that_staff_ended_opens_nothing(site: Site, world: World) -> None:
    ada = world.person("ada")
    assert site.get("/api/users/me/", ada).status_code == 200
    path = f"{TOKENS}{ada.id}/"
    answer = site.request("DELETE", path, world.staff)
    assert (answer.status_code, answer.content) == (204, b"")
    assert site.get("/api/users/me/", ada).status_code == 401
    for method in ("GET", "DELETE"):
        again = site.request(method, path, world.staff)
        assert again.status_code == 404
        assert again.json() == {"detail": "No Token matches the given query."}


@pytest.mark.parametrize("name", ["support", "ada", "stranger", "manager", "nobody"])
def test_nobody_else_sees_or_ends_one(site: Site, world: World, name: str) -> None:
    people: dict[str, Person | None] = {
        "support": world.person("support", is_support=True),
        "ada": world.person("ada"),
        "stranger": world.person("stranger"),
        "manager": world.person("manager", is_identity_manager=True),
        "nobody": None,
    }
    ada = people["ada"]
    assert ada is not None
    for method, path in (
        ("GET", TOKENS),
        ("HEAD", TOKENS),
        ("GET", f"{TOKENS}{ada.id}/"),
        ("GET", f"{TOKENS}999999/"),
        ("DELETE", f"{TOKENS}{ada.id}/"),
        ("DELETE", f"{TOKENS}999999/"),
        ("DELETE", f"{TOKENS}x/"),
    ):
        answer = site.request(method, path, people[name])
        assert answer.status_code == (401 if name == "nobody" else 403), (method, path)
    assert site.get("/api/users/me/", ada).status_code == 200


@pytest.mark.parametrize("segment", ["x", "-1", "0", "1.0", "\u0661", "9" * 19, "9" * 400, "%00"])
def test_what_is_no_number_names_no_token(site: Site, world: World, segment: str) -> None:
    for method in ("GET", "DELETE"):
        assert site.request(method, f"{TOKENS}{segment}/", world.staff).status_code == 404
    for method in ("POST", "PUT", "PATCH"):
        assert site.request(method, f"{TOKENS}1/", world.staff).status_code == 405
