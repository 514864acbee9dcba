"""Invalid input is reported completely: every field and every error of it."""

import json
from itertools import product
from typing import Any

import pytest

from collegium.api.brainstem.routes import DESCRIBED
from collegium.api.waldur import routes
from collegium.api.waldur.accounts import SLUG
from tests.groups.scene import PRIVATE, Groups
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import World

NO_CHOICE = "Select a valid choice. {} is not one of the available choices."
NO_UUID = "Enter a valid UUID."


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # reads no rows
@pytest.mark.parametrize(
    ("path", "name"),
    [
        (path, name)
        for path, operations in routes.ROUTES.items()
        if (operation := operations.get("GET")) and operation.is_list and operation.orders
        for name, kind in (operation.filters or {}).items()
        if kind.schema().get("format") in {"uuid", "date-time"} and "{" not in path
    ],
)
def test_invalid_order_and_invalid_filter_are_reported_together(
    site: Site, world: World, path: str, name: str
) -> None:
    for method in ("GET", "HEAD"):
        response = site.request(method, f"{path}?{name}=not-this&o=nonsense", world.staff)
        assert response.status_code == 400, (method, path)
    errors = site.get(f"{path}?{name}=not-this&o=nonsense,username2", world.staff).json()
    assert set(errors) == {name, "o"}, path
    assert errors["o"] == [NO_CHOICE.format("nonsense"), NO_CHOICE.format("username2")]


def test_member_lists_report_invalid_order_and_filters_together(site: Site, world: World) -> None:
    owner = world.person()
    organisation = world.organisation(owner=owner)
    for path in (f"{organisation.path}list_users/", f"{organisation.path}users/"):
        response = site.get(f"{path}?full_name=%00&username=%00&o=nonsense", owner)
        assert response.status_code == 400
        assert set(response.json()) == {"full_name", "username", "o"}, path


def test_every_invalid_value_of_a_filter_is_reported(site: Site, world: World) -> None:
    response = site.get("/api/user-invitations/?state=lost,pending,found&state=gone", world.staff)
    errors = [NO_CHOICE.format(value) for value in ("lost", "found", "gone")]
    assert (response.status_code, response.json()) == (400, {"state": errors})
    values = ",".join(f"x{n}" for n in range(500))
    response = site.get(f"/api/user-invitations/?state={values}", world.staff)
    assert (response.status_code, len(response.json()["state"])) == (400, 20)
    response = site.get(f"/api/projects/?customer=x,{'0' * 32},y&created=never", world.staff)
    assert response.json() == {"customer": [NO_UUID], "created": ["Enter a valid date/time."]}


def test_every_error_of_every_field_is_reported(site: Site, world: World) -> None:
    long = "Not Allowed" * 20
    body = {"username": long, "email": "x" * 321, "slug": "ä" * 51, "first_name": "\0\ud800"}
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    response = site.post("/api/users/", world.staff, content=content, headers=headers)
    assert response.status_code == 400
    too_long = "Ensure this field has no more than {} characters."
    assert response.json() == {
        "username": [too_long.format(128), "Enter a valid username."],
        "email": [too_long.format(320), "Enter a valid email address."],
        "slug": [too_long.format(50), SLUG.message],
        "first_name": [
            "Null characters are not allowed.",
            "Surrogate characters are not allowed: U+D800.",
        ],
    }


LONG_LINK = "see http://example.org/" + "x" * 600
NO_LINK = "Enter a name without a web address in it."


def test_long_name_with_a_link_gets_both_errors(site: Site, world: World) -> None:
    body = {"name": LONG_LINK, "access_subnets": "10.0.0.0/99, here, 10.0.0.0/8"}
    assert site.post("/api/customers/", world.staff, json=body).json() == {
        "name": ["Ensure this field has no more than 150 characters.", NO_LINK],
        "access_subnets": [
            '"10.0.0.0/99" is not a valid network.',
            '"here" is not a valid network.',
        ],
    }
    response = Groups(world, site).call("POST", world.person(), "group", json={"name": LONG_LINK})
    assert response.json()["name"][1:] == [NO_LINK]
    browser = Browser(site).sign_in(world, world.staff)
    browser.open("/staff/organisations/new/")
    errors = text(browser.send("/staff/organisations/new/", name=LONG_LINK[:160]))
    assert "Please use at most 150 characters." in errors
    assert "A name cannot contain a web address." in errors


def test_every_invalid_item_of_a_list_is_reported(site: Site, world: World) -> None:
    body = {
        "scope": f"http://x{world.organisation().path}",
        "role": world.role("CUSTOMER.OWNER").uuid,
        "user_email_patterns": ["", "x" * 5000, 7.5, True],
    }
    response = site.post("/api/user-group-invitations/", world.staff, json=body)
    assert response.status_code == 400
    blank, too_long, no_text = response.json()["user_email_patterns"]
    assert blank == "This field may not be blank."
    assert too_long.startswith("Ensure this field has no more than")
    assert no_text == "Not a valid string."


def test_every_error_in_a_change_of_an_account_is_reported(site: Site, world: World) -> None:
    person = world.person()
    body = {"token_lifetime": 5, "birth_date": "soon", "image": "none", "phone_number": "x" * 300}
    response = site.request("PATCH", f"/api/users/{person.uuid}/", person, json=body)
    assert response.status_code == 400
    assert set(response.json()) == set(body)
    assert len(response.json()["phone_number"]) == 2


def test_brainstem_reports_every_error_of_every_parameter(site: Site, world: World) -> None:
    headers = {"Authorization": f"Bearer {world.person().token}"}
    invitations = f"{PRIVATE}/groupmembershipinvitation/"
    query = (
        "filter{nosuch}=1&filter{id.in}=x&filter{id.in}=y&filter{id.in}=1&sort[]=nosuch"
        "&sort[]=-other&include[]=nothing&include[]=elsewhere.*&limit=0&offset=-1"
    )
    response = site.get(f"{invitations}?{query}", headers=headers)
    assert response.status_code == 400
    errors = response.json()
    names = {"filter{nosuch}", "filter{id.in}", "sort[]", "include[]", "limit", "offset"}
    assert set(errors) == names
    assert errors["sort[]"] == [
        "The field nosuch cannot be used for sorting.",
        "The field -other cannot be used for sorting.",
    ]
    assert errors["include[]"] == ["elsewhere cannot be included.", "nothing cannot be included."]
    assert errors["filter{id.in}"] == [NO_UUID]
    many = "&".join(f"sort[]=x{n}&include[]=y{n}" for n in range(100))
    errors = site.get(f"{invitations}?{many}", headers=headers).json()
    assert {name: len(texts) for name, texts in errors.items()} == {"sort[]": 20, "include[]": 20}
    response = site.get(f"{PRIVATE}/group/?limit=x&page=y&sort[]=z", headers=headers)
    assert response.status_code == 400
    assert set(response.json()) == {"limit", "page", "sort[]"}


def test_brainstem_reports_every_error_of_a_group(site: Site, world: World) -> None:
    groups = Groups(world, site)
    owner = world.person()
    group = groups.create(owner)
    groups.create(owner, "Taken")
    invalid: dict[str, Any] = {
        "name": "x" * 5000,
        "users": {"a@example.org": 5, "b@example.org": {"is_owner": "yes", "remove": 1}, " ": {}},
    }
    response = groups.call("PATCH", owner, "group", group, json=invalid)
    assert response.status_code == 400
    assert {name: len(texts) for name, texts in response.json().items()} == {"name": 1, "users": 5}
    body = {"name": "taken", "users": {"unknown@example.org": {}, "other@example.org": {}}}
    response = groups.call("PATCH", owner, "group", group, json=body)
    assert response.json() == {
        "name": ["A group with this name already exists."],
        "users": [
            "No account has the address unknown@example.org.",
            "No account has the address other@example.org.",
        ],
    }


# Values of the right kind that a rule refuses.
REFUSED: dict[str, list[Any]] = {
    "name": ["Taken"],
    "users": [{"unknown@example.org": {}}, {"owner@example.org": {"remove": True}}],
    "token_lifetime": [10**9],
}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_brainstem_reports_what_is_refused_alone_together_with_everything_else(
    site: Site, world: World
) -> None:
    """As the test of the same name in ``test_bodies`` for the Waldur API."""
    groups = Groups(world, site)
    owner = world.person("owner")
    group = groups.create(owner)
    groups.create(world.person(), "Taken")
    wrong_kinds = (["x"], {"a": None}, "x" * 5000, "\0", 10**400)
    ruled, hidden = set(), {}
    for path, method, form in [
        (path, method, operation.body)
        for path, table in DESCRIBED.items()
        for method, operation in table.items()
        if operation.body
    ]:
        url = path.replace("{id}", str(group if "/group/" in path else owner.id))

        def send(body: Any, method: str = method, url: str = url) -> Any:
            content = json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {owner.token}", "Content-Type": "application/json"}
            response = site.request(method, url, headers=headers, content=content)
            return response.json() if response.status_code == 400 else {}

        # An unknown field is refused where clients send back what they were shown.
        refused: dict[str, list[Any]] = {"nosuch": [1]} if "nosuch" in send({"nosuch": 1}) else {}
        for name in form:
            by_rule = [value for value in REFUSED.get(name, ()) if name in send({name: value})]
            by_kind = next((value for value in wrong_kinds if name in send({name: value})), None)
            assert by_kind is not None, (path, name)
            refused[name] = [*by_rule, by_kind]
            ruled |= {(path, name, len(by_rule))} if by_rule else set()
        choices = list(product(*refused.values()))
        for values in choices if len(choices) < 20 else choices[:1]:
            body = dict(zip(refused, values, strict=True))
            if names := body.keys() - send(body).keys():
                hidden[path, str(body)[:200]] = names
    assert hidden == {}
    assert len(ruled) == 4, ruled


def test_empty_sign_in_reports_every_missing_field(site: Site) -> None:
    required = ["This field is required."]
    for path, name in (("/api/token/", "username"), ("/api/auth/token/", "email")):
        response = site.post(path, json={})
        assert response.json() == {name: required, "password": required}, path


def test_page_shows_every_error_of_a_field(site: Site, world: World) -> None:
    browser = Browser(site).sign_in(world, world.staff)
    browser.open("/staff/accounts/new/")
    form = {"username": "Not Allowed" * 20, "email": "x@@y", "kind": "person"}
    empty = dict.fromkeys(("first_name", "last_name", "organization"), "")
    response = browser.send("/staff/accounts/new/", **form, **empty)
    assert response.status_code == 422
    errors = text(response)
    assert "Please use at most 128 characters" in errors
    assert "A user name can have lower-case letters" in errors
    assert "Please enter an e-mail address" in errors
    assert errors.count("Please fill in this field.") >= 2
