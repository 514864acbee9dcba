"""Bad input is told completely: all fields, and all that is wrong with each of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collegium.api.waldur import routes
from collegium.api.waldur.accounts import SLUG
from tests.groups.scene import PRIVATE, Groups
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

NO_CHOICE = "Select a valid choice. {} is not one of the available choices."
NO_UUID = "Enter a valid UUID."


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        (path, name, value)
        for path, operations in routes.ROUTES.items()
        if (operation := operations.get("GET")) is not None and operation.is_list
        for name, kind in (operation.filters or {}).items()
        for value in ["not-this"]
        if kind.schema().get("format") in {"uuid", "date-time"}
        and operation.orders
        and "{" not in path
    ],
)
def test_a_bad_order_is_told_with_a_bad_filter(
    site: Site, world: World, path: str, name: str, value: str
) -> None:
    for method in ("GET", "HEAD"):
        answer = site.request(method, f"{path}?{name}={value}&o=nonsense", world.staff)
        assert answer.status_code == 400, (method, path)
    said = site.get(f"{path}?{name}={value}&o=nonsense,username2", world.staff).json()
    assert set(said) == {name, "o"}, path
    assert said["o"] == [NO_CHOICE.format("nonsense"), NO_CHOICE.format("username2")]


def test_lists_inside_a_scope_tell_a_bad_order_with_bad_filters(site: Site, world: World) -> None:
    owner = world.person()
    organisation = world.organisation(owner=owner)
    for path in (f"{organisation.path}list_users/", f"{organisation.path}users/"):
        answer = site.get(f"{path}?full_name=%00&username=%00&o=nonsense", owner)
        assert answer.status_code == 400
        assert set(answer.json()) == {"full_name", "username", "o"}, path


def test_every_bad_value_of_a_filter_is_told(site: Site, world: World) -> None:
    said = site.get("/api/user-invitations/?state=lost,pending,found&state=gone", world.staff)
    words = [NO_CHOICE.format(word) for word in ("lost", "found", "gone")]
    assert (said.status_code, said.json()) == (400, {"state": words})
    many = site.get(
        "/api/user-invitations/?state=" + ",".join(f"x{n}" for n in range(500)), world.staff
    )
    assert (many.status_code, len(many.json()["state"])) == (400, 20)
    said = site.get(f"/api/projects/?customer=x,{'0' * 32},y&created=never", world.staff)
    assert said.json() == {"customer": [NO_UUID], "created": ["Enter a valid date/time."]}


def test_everything_wrong_with_one_field_of_a_body_is_told(site: Site, world: World) -> None:
    long = "Not Allowed" * 20
    body = {"username": long, "email": "x" * 321, "slug": "ä" * 51, "first_name": "\0\ud800"}
    answer = site.post(
        "/api/users/",
        world.staff,
        content=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "username": [
            "Ensure this field has no more than 128 characters.",
            "Enter a valid username.",
        ],
        "email": [
            "Ensure this field has no more than 320 characters.",
            "Enter a valid email address.",
        ],
        "slug": [
            "Ensure this field has no more than 50 characters.",
            SLUG.message,
        ],
        "first_name": [
            "Null characters are not allowed.",
            "Surrogate characters are not allowed: U+D800.",
        ],
    }


LONG_LINK = "see http://example.org/" + "x" * 600
NO_LINK = "Enter a name without a web address in it."


def test_a_name_that_is_too_long_and_holds_a_link_is_told_both(site: Site, world: World) -> None:
    body = {"name": LONG_LINK, "access_subnets": "10.0.0.0/99, here, 10.0.0.0/8"}
    told = site.post("/api/customers/", world.staff, json=body).json()
    assert told == {
        "name": ["Ensure this field has no more than 150 characters.", NO_LINK],
        "access_subnets": [
            '"10.0.0.0/99" is not a valid network.',
            '"here" is not a valid network.',
        ],
    }
    answer = Groups(world, site).call("POST", world.person(), "group", json={"name": LONG_LINK})
    assert answer.json()["name"][1:] == [NO_LINK]
    browser = Browser(site).sign_in(world, world.staff)
    browser.open("/staff/organisations/new/")
    said = text(browser.send("/staff/organisations/new/", name=LONG_LINK[:160]))
    assert "Please use at most 150 characters." in said
    assert "A name cannot contain a web address." in said


def test_what_is_only_too_long_is_told_nothing_else(site: Site, world: World) -> None:
    answer = site.post(
        "/api/users/", world.staff, json={"username": "a" * 129, "email": "a@example.org"}
    )
    too_long = ["Ensure this field has no more than 128 characters."]
    assert answer.json() == {"username": too_long}


def test_every_bad_item_of_a_list_in_a_body_is_told(site: Site, world: World) -> None:
    owner = world.person()
    organisation = world.organisation(owner=owner)
    body = {
        "scope": f"http://x{organisation.path}",
        "role": world.role("CUSTOMER.OWNER").uuid,
        "user_email_patterns": ["", "x" * 5000, 7.5, True],
    }
    answer = site.post("/api/user-group-invitations/", world.staff, json=body)
    assert answer.status_code == 400
    told = answer.json()["user_email_patterns"]
    assert told[0] == "This field may not be blank."
    assert told[1].startswith("Ensure this field has no more than")
    assert told[2] == "Not a valid string."
    assert len(told) == 3


def test_both_errors_of_an_account_that_exists_are_told(site: Site, world: World) -> None:
    person = world.person()
    sent = {"token_lifetime": 5, "birth_date": "soon", "image": "none", "phone_number": "x" * 300}
    answer = site.request("PATCH", f"/api/users/{person.uuid}/", person, json=sent)
    assert answer.status_code == 400
    assert set(answer.json()) == set(sent)
    assert len(answer.json()["phone_number"]) == 2


def test_the_other_api_tells_every_bad_parameter_with_all_that_is_wrong(
    site: Site, world: World
) -> None:
    person = world.person()
    query = (
        "filter{nosuch}=1&filter{id.in}=x&filter{id.in}=y&filter{id.in}=1&sort[]=nosuch"
        "&sort[]=-other&include[]=nothing&include[]=elsewhere.*&limit=0&offset=-1"
    )
    path = f"{PRIVATE}/groupmembershipinvitation/?{query}"
    answer = site.get(path, headers=bearer(person.token))
    assert answer.status_code == 400
    said = answer.json()
    assert set(said) == {
        "filter{nosuch}",
        "filter{id.in}",
        "sort[]",
        "include[]",
        "limit",
        "offset",
    }
    assert said["sort[]"] == [
        "The field nosuch cannot be used for sorting.",
        "The field -other cannot be used for sorting.",
    ]
    assert said["include[]"] == ["elsewhere cannot be included.", "nothing cannot be included."]
    assert said["filter{id.in}"] == [NO_UUID]
    many = "&".join(f"sort[]=x{n}&include[]=y{n}" for n in range(100))
    told = site.get(
        f"{PRIVATE}/groupmembershipinvitation/?{many}", headers=bearer(person.token)
    ).json()
    assert {name: len(texts) for name, texts in told.items()} == {"sort[]": 20, "include[]": 20}


def test_pages_of_both_spellings_are_judged_together(site: Site, world: World) -> None:
    said = site.get(
        f"{PRIVATE}/group/?limit=x&page=y&sort[]=z", headers=bearer(world.person().token)
    )
    assert said.status_code == 400
    assert set(said.json()) == {"limit", "page", "sort[]"}


def test_the_other_api_tells_everything_wrong_with_a_group(site: Site, world: World) -> None:
    groups = Groups(world, site)
    owner = world.person()
    group = groups.found(owner)
    groups.found(owner, "Taken")
    bad: dict[str, Any] = {
        "name": "x" * 5000,
        "users": {"a@example.org": 5, "b@example.org": {"is_owner": "yes", "remove": 1}, " ": {}},
    }
    answer = groups.call("PATCH", owner, "group", group, json=bad)
    assert answer.status_code == 400
    assert {name: len(texts) for name, texts in answer.json().items()} == {"name": 1, "users": 5}
    known = {"name": "taken", "users": {"unknown@example.org": {}, "other@example.org": {}}}
    answer = groups.call("PATCH", owner, "group", group, json=known)
    assert answer.json() == {
        "name": ["A group with this name already exists."],
        "users": [
            "No account has the address unknown@example.org.",
            "No account has the address other@example.org.",
        ],
    }


def test_a_login_without_anything_is_told_all_that_is_missing(site: Site) -> None:
    required = ["This field is required."]
    for path, name in (("/api/token/", "username"), ("/api/auth/token/", "email")):
        answer = site.post(path, json={})
        assert answer.json() == {name: required, "password": required}, path


def test_a_page_tells_everything_wrong_with_one_field(site: Site, world: World) -> None:
    browser = Browser(site).sign_in(world, world.staff)
    browser.open("/staff/accounts/new/")
    answer = browser.send(
        "/staff/accounts/new/",
        username="Not Allowed" * 20,
        email="x@@y",
        first_name="",
        last_name="",
        organization="",
        kind="person",
    )
    assert answer.status_code == 422
    said = text(answer)
    assert "Please use at most 128 characters" in said
    assert "A user name can have lower-case letters" in said
    assert "Please enter an e-mail address" in said
    assert said.count("Please fill in this field.") >= 2


def test_all_that_others_have_is_told_together(site: Site, world: World) -> None:
    world.person("ada", slug="countess")
    body = {"username": "ada", "email": "no address", "slug": "countess"}
    answer = site.post("/api/users/", world.staff, json=body)
    assert answer.status_code == 400
    assert answer.json() == {
        "username": ["user with this username already exists."],
        "email": ["Enter a valid email address."],
        "slug": ["user with this slug already exists."],
    }
    free = {**body, "username": "eve", "email": "eve@example.org", "slug": "lady"}
    assert site.post("/api/users/", world.staff, json=free).status_code == 201
