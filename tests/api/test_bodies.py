"""Bodies: three encodings, every field of every form, and all that is wrong told at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import httpx
import pytest

from collegium.accounts import queries as account_queries
from collegium.api.waldur import accounts, fields, invitations, organisations, projects
from collegium.api.waldur.routes import ROUTES
from collegium.security.crypto import hash_password
from tests.support.site import Site
from tests.support.world import Place, World

# What is decided before the database is asked, or in words alone, need not be tried on both.
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

JSON = {"Content-Type": "application/json"}
NOBODY = "0" * 32
PASSWORD = "correct horse, battery staple"
SSH_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP6pFoQ8hMkO0ZVwOcVYvNMwZ6SjvE0uVZxXfnJf0Kc8 ada@laptop"
)
REQUIRED = ["This field is required."]
ENCODINGS = ("json", "urlencoded", "multipart")
FORMS = [
    (path, method, operation.body)
    for path, table in ROUTES.items()
    for method, operation in table.items()
    if operation.body is not None
]

NASTY: list[Any] = [
    None,
    "",
    " ",
    "\n",
    True,
    False,
    0,
    -1,
    7,
    2**31,
    2**63,
    10**400,
    1.5,
    -0.0,
    1e308,
    1e-300,
    [],
    {},
    [1],
    ["text"],
    {"a": None},
    "x",
    "a" * 9000,
    "\0",
    "a\0b",
    "\ud800",
    "a\udfff",
    "\U0001f600" * 40,
    "\u202e\u2028",
    "None",
    "null",
    "true",
    "0",
    "+1",
    "1.0",
    "1_000",
    "0x10",
    "1e999",
    "NaN",
    "Infinity",
    "\u0663",
    "\u00b2",
    "1000-01-01",
    "2025-02-30",
    "2999-12-31",
    "9999-12-31",
    "9999-12-31T23:59:59.999999-23:59",
    "2999-01-01T00:00:00+23:59",
    "2025-W01-1",
    "20250101T000000",
    "' OR 1=1 --",
    "%s %(name)s :name ?",
    "<script>alert(1)</script>",
    "a@b",
    "a@b.example",
    "a@b.example\n",
    '"a b"@example.org',
    "\u00e4@\u00e4.example",
    "::/0",
    "1.1.1.1/33",
    "http://[",
    "http://x/api/customers/",
    "http://x/api/projects/zz/",
    NOBODY,
    f"{{{NOBODY}}}",
    "urn:uuid:" + NOBODY,
]


def sent(
    site: Site, method: str, path: str, who: Any, body: Mapping[str, Any], how: str = "json"
) -> httpx.Response:
    """Send a body in one of the encodings; the forms spell values as the official client does."""
    if how == "json":
        return site.request(method, path, who, headers=JSON, content=json.dumps(body).encode())
    texts = {name: value if isinstance(value, str) else str(value) for name, value in body.items()}
    if how == "urlencoded":
        return site.request(method, path, who, data=texts)
    parts = [(name, (None, text.encode(), "text/plain")) for name, text in texts.items()]
    return site.request(method, path, who, files=parts)


def raw(site: Site, who: Any, content: bytes, kind: str = "application/json") -> httpx.Response:
    return site.post(
        "/api/customers/", who, content=content, headers={"Content-Type": kind} if kind else {}
    )


def account(world: World, username: str) -> Any:
    with world.database.read() as tx:
        return account_queries.by_username(tx, username)


def check_errors(answer: httpx.Response, form: Mapping[str, Any]) -> None:
    """Hold a refusal against its shape: known fields, each with a list of sentences."""
    body = answer.json()
    if set(form) == {"code"}:  # the ones that say it in a bare list
        assert body == ["The confirmation code is required."]
        return
    if set(form) == {"token"}:
        assert body in (["token is required parameter"], ["Invalid signature."])
        return
    assert isinstance(body, dict), body
    assert set(body) <= {*form, "non_field_errors"}, body
    for texts in body.values():
        assert texts
        assert all(isinstance(text, str) and text for text in texts)


Tried = tuple[str, str, str, dict[str, Any], int]
"""Method, path, pattern, body and status."""


def requests_to_try(world: World, how: str, org: Place) -> Iterator[Tried]:
    """The writes around open invitations."""
    role = str(UUID(world.role("CUSTOMER.OWNER").uuid))
    patterns = [".*@example.org"]
    opened = {
        "scope": org.path,
        "role": role,
        "user_email_patterns": patterns if how == "json" else json.dumps(patterns),
    }
    links = "/api/user-group-invitations/"
    yield "POST", links, links, opened, 201
    for action in ("approve", "reject"):
        asked = world.ask(world.person(), world.open(world.staff, "CUSTOMER.OWNER", org))
        pattern = f"/api/user-permission-requests/{{uuid}}/{action}/"
        yield "POST", pattern.replace("{uuid}", asked), pattern, {"comment": "x"}, 200
        pattern = f"/api/user-invitations/{action}/"
        yield "POST", pattern, pattern, {"token": "x"}, 400


def roles_to_try(site: Site, staff: Any, how: str) -> Iterator[Tried]:
    """The writes of roles; those on a role that is there already."""
    one = "/api/roles/{uuid}/"
    permissions: Any = ["CUSTOMER.UPDATE"] if how == "json" else "CUSTOMER.UPDATE"
    body = {"name": "CUSTOM.ONE", "content_type": "customer", "permissions": permissions}
    yield "POST", "/api/roles/", "/api/roles/", body, 201
    there = {"name": "CUSTOM.TWO", "content_type": "customer", "permissions": ["CUSTOMER.UPDATE"]}
    path = one.replace("{uuid}", site.post("/api/roles/", staff, json=there).json()["uuid"])
    yield "PUT", path, one, body | {"name": "CUSTOM.THREE"}, 200
    yield "PATCH", path, one, {"description": "x"}, 200
    yield (
        "PUT",
        f"{path}update_descriptions/",
        f"{one}update_descriptions/",
        {"description": "y"},
        200,
    )


@pytest.mark.parametrize("how", ENCODINGS)
def test_every_write_takes_every_encoding(site: Site, world: World, how: str) -> None:
    staff = world.staff
    ada = world.person("ada")
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"password": hash_password(PASSWORD)})
    org = world.organisation()
    project = world.project(org)
    seats = {org: "CUSTOMER.OWNER", project: "PROJECT.MEMBER"}
    world.seat(world.person(), "CUSTOMER.OWNER", org)
    person = {"username": "new", "email": "new@example.org"}
    scope = f"http://any.host{org.path}"
    role = str(UUID(world.role("CUSTOMER.OWNER").uuid))
    invited = {"email": "bob@example.org", "scope": scope, "role": role}
    done: set[tuple[str, str]] = set()

    def taken(method: str, path: str, pattern: str, body: dict[str, Any], status: int) -> None:
        answer = sent(site, method, path, staff, body, how)
        assert answer.status_code == status, (path, answer.text)
        done.add((pattern, method))

    one = "/api/{0}/{{uuid}}/"
    taken("POST", "/api/users/", "/api/users/", person, 201)
    taken("POST", "/api/customers/", "/api/customers/", {"name": "Two"}, 201)
    taken("PUT", org.path, one.format("customers"), {"name": "Three"}, 200)
    taken("PATCH", org.path, one.format("customers"), {"email": "a@example.org"}, 200)
    below = {"name": "Four", "customer": scope}
    taken("POST", "/api/projects/", "/api/projects/", below, 201)
    taken("PUT", project.path, one.format("projects"), {"name": "Five"}, 200)
    taken("PATCH", project.path, one.format("projects"), {"description": "x"}, 200)
    for place, role_name in seats.items():
        base = one.format("customers" if place is org else "projects")
        seat = {"user": str(UUID(ada.uuid)), "role": role_name}
        taken("POST", f"{place.path}add_user/", f"{base}add_user/", seat, 201)
        ends = seat | {"expiration_time": "2999-01-01T00:00:00+00:00"}
        taken("POST", f"{place.path}update_user/", f"{base}update_user/", ends, 200)
        taken("POST", f"{place.path}delete_user/", f"{base}delete_user/", seat, 200)
    taken("POST", "/api/user-invitations/", "/api/user-invitations/", invited, 201)
    for method, path, pattern, body, status in (
        *roles_to_try(site, staff, how),
        *requests_to_try(world, how, org),
    ):
        taken(method, path, pattern, body, status)
    answer = sent(
        site,
        "POST",
        "/api-auth/password/",
        None,
        {"username": "ada", "password": PASSWORD},
        how,
    )
    assert answer.status_code == 200
    done.add(("/api-auth/password/", "POST"))
    path = f"/api/users/{ada.uuid}/change_password/"
    secret = {"new_password": f"{PASSWORD}, twice"}
    taken("POST", path, "/api/users/{uuid}/change_password/", secret, 200)
    taken("PATCH", f"/api/users/{ada.uuid}/", one.format("users"), {"job_title": "x"}, 200)
    taken("PUT", f"/api/users/{ada.uuid}/", one.format("users"), {"job_title": "y"}, 200)
    wish = "/api/users/{uuid}/change_email/"
    taken("POST", wish.replace("{uuid}", ada.uuid), wish, {"email": "b@example.org"}, 200)
    taken("POST", "/api/keys/", "/api/keys/", {"name": "laptop", "public_key": SSH_KEY}, 201)
    directory = "/api/remote-eduteams/"
    taken("POST", directory, directory, {"cuid": "somebody@remote"}, 400)
    proof = "/api/users/confirm_email/"
    taken("POST", proof, proof, {"code": NOBODY}, 404)
    assert done == {(path, method) for path, method, _form in FORMS}, "a route is not tried here"


@once
def test_a_form_spells_booleans_null_and_nothing_in_many_ways(site: Site, world: World) -> None:
    for how in ENCODINGS[1:]:
        for number, (text, meant) in enumerate(
            (
                *((yes, True) for yes in ("true", "True", "TRUE", "1", "t", "yes", "on", "Y")),
                *((no, False) for no in ("false", "False", "FALSE", "0", "f", "no", "off", "N")),
            )
        ):
            username = f"{how}{number}"
            body = {
                "username": username,
                "email": "x@example.org",
                "is_support": text,
                "birth_date": "None" if meant else "",
                "token_lifetime": "None",
                "organization": "None",
                "image": "None",
            }
            answer = sent(site, "POST", "/api/users/", world.staff, body, how)
            assert answer.status_code == 201, answer.text
            row = account(world, username)
            assert row.is_support is meant, text
            assert row.birth_date is None
            # Only what can be null takes the word for null; it may be a name elsewhere.
            assert row.organization == "None"


def test_null_in_a_form_empties_what_can_be_empty(site: Site, world: World) -> None:
    org = world.organisation()
    project = world.project(org)
    given = {"latitude": 1.5, "sponsor_number": 3, "grace_period_days": 4}
    for how in ENCODINGS[1:]:
        for nothing in ("None", ""):
            sent(site, "PATCH", org.path, world.staff, given)
            body = dict.fromkeys(given, nothing)
            answer = sent(site, "PATCH", org.path, world.staff, body, how)
            assert answer.status_code == 200, answer.text
            assert {name: answer.json()[name] for name in given} == dict.fromkeys(given)
            sent(site, "PATCH", project.path, world.staff, {"oecd_fos_2007_code": "1.1"})
            cleared = {"oecd_fos_2007_code": nothing, "end_date": nothing}
            answer = sent(site, "PATCH", project.path, world.staff, cleared, how)
            assert answer.json()["oecd_fos_2007_code"] is None


@pytest.mark.parametrize("how", ENCODINGS)
def test_absent_booleans_are_default_on_creation_and_unchanged_later(
    site: Site, world: World, how: str
) -> None:
    body = {"username": "new", "email": "new@example.org"}
    sent(site, "POST", "/api/users/", world.staff, body, how)
    row = account(world, "new")
    assert row.is_active
    assert row.notifications_enabled
    assert not row.is_staff
    org = world.organisation("Acme")
    sent(site, "PATCH", org.path, world.staff, {"display_billing_info_in_projects": False})
    project = world.project(world.organisation())
    sent(site, "PATCH", project.path, world.staff, {"is_industry": True})
    for method in ("PUT", "PATCH"):
        shown = sent(site, method, org.path, world.staff, {"name": method}, how).json()
        assert shown["name"] == method
        assert shown["archived"] is False
        assert shown["display_billing_info_in_projects"] is False
        shown = sent(site, method, project.path, world.staff, {"name": method}, how).json()
        assert shown["is_industry"] is True


def test_absent_fields_are_unchanged_by_every_change(site: Site, world: World) -> None:
    org = world.organisation("Acme", description="Makers", abbreviation="A")
    for method in ("PUT", "PATCH"):
        before = site.get(org.path, world.staff).json()
        after = sent(site, method, org.path, world.staff, {"name": "Acme"}).json()
        assert after == before


@once
def test_markup_of_a_project_is_cleaned(site: Site, world: World) -> None:
    project = world.project(world.organisation())
    sent_text = '<b onclick="x()">We</b> <a href="javascript:x()">are</a><script>x()</script>'
    body = {"name": "Atlas", "description": sent_text}
    shown = sent(site, "PATCH", project.path, world.staff, body).json()["description"]
    assert shown.startswith("<b>We</b> ")
    for sign in ("onclick", "javascript", "script", "x()"):
        assert sign not in shown, shown


def test_a_blank_slug_is_one_that_was_not_given(site: Site, world: World) -> None:
    org = world.organisation("Acme")
    project = world.project(org)
    for place in (org, project):
        before = site.get(place.path, world.staff).json()["slug"]
        assert before
        answer = sent(site, "PATCH", place.path, world.staff, {"slug": ""})
        assert answer.json()["slug"] == before
    made = sent(site, "POST", "/api/customers/", world.staff, {"name": "Acme", "slug": ""})
    assert made.json()["slug"] not in {"", before}


@once
def test_json_that_cannot_be_read_is_told_where(site: Site, world: World) -> None:
    for content, text in (
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"x", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"name": "x"} x', "Extra data: line 1 column 15 (char 14)"),
        (b'{"name": NaN}', "Out of range float values are not JSON compliant: NaN"),
        (b'{"name": -Infinity}', "Out of range float values are not JSON compliant: -Infinity"),
        (b'{"name": ' + b"[" * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ):
        answer = raw(site, world.staff, content)
        assert answer.status_code == 400
        assert answer.json() == {"detail": f"JSON parse error - {text}"}
    for content in (b'{"name": "\xff"}', b"\xff\xfe\x00", b"9" * 5000, b'{"a": "\x01"}'):
        answer = raw(site, world.staff, content)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("JSON parse error - ")


@once
def test_json_that_is_no_object_is_told_what_it_is(site: Site, world: World) -> None:
    for content, kind in (
        (b"[]", "list"),
        (b'[{"name": "x"}]', "list"),
        (b'"x"', "str"),
        (b"1", "int"),
        (b"1.5", "float"),
        (b"true", "bool"),
        (b"null", "NoneType"),
    ):
        answer = raw(site, world.staff, content)
        assert answer.status_code == 400
        text = f"Invalid data. Expected a dictionary, but got {kind}."
        assert answer.json() == {"non_field_errors": [text]}


@once
def test_a_form_that_cannot_be_read_is_refused(site: Site, world: World) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="name"%s\r\n\r\n%s\r\n--b--\r\n'
    boundary = "multipart/form-data; boundary=b"
    for content, kind in (
        (b"", "multipart/form-data"),
        (b"name=x", "multipart/form-data"),
        (b"name=x", boundary),
        (part % (b"", b"x"), "multipart/form-data; boundary=other"),
        ((part % (b"", b"x"))[:-6], boundary),
        (part % (b"", b"\xff"), boundary),
        (part % (b"\r\nContent-Type: text/plain; charset=nonsense", b"x"), boundary),
        (part % (b"\r\nX: y" * 100, b"x"), boundary),
        ((part % (b"", b"x"))[:-6] * 300 + b"--b--\r\n", boundary),
        (b"name=%FF", "application/x-www-form-urlencoded"),
        (b"name=\xff", "application/x-www-form-urlencoded"),
        (b"a=1&" * 300, "application/x-www-form-urlencoded"),
    ):
        answer = raw(site, world.staff, content, kind)
        assert answer.status_code == 400, (content[:80], answer.text)
        assert "form parse error - " in answer.json()["detail"].lower(), content[:80]


@once
def test_a_large_part_needs_no_file_on_the_disk(site: Site, world: World) -> None:
    # A file left open would be a warning, and warnings are errors here.
    files: Any = {"image": ("x.png", b"x" * 1_000_000, "image/png"), "name": (None, b"Acme")}
    answer = site.post("/api/customers/", world.staff, files=files)
    assert answer.status_code == 201
    assert answer.json()["name"] == "Acme"
    text: Any = {"name": (None, b"x" * 1_000_000)}
    answer = site.post("/api/customers/", world.staff, files=text)
    assert answer.json() == {"name": ["Ensure this field has no more than 150 characters."]}


@once
def test_no_body_at_all_is_an_empty_one(site: Site, world: World) -> None:
    for kind in ("", "application/json", "text/plain", "application/x-www-form-urlencoded"):
        answer = raw(site, world.staff, b"", kind)
        assert answer.status_code == 400
        assert answer.json() == {"name": REQUIRED}


@once
def test_any_other_kind_of_body_is_named_and_refused(site: Site, world: World) -> None:
    for kind in ("text/plain", "application/xml", "text/json", "application/json2", "a\xe9"):
        header: Any = {"Content-Type": kind.encode("latin-1")}
        for path, who in (("/api/customers/", world.staff), ("/api-auth/password/", None)):
            answer = site.post(path, who, content=b"{}", headers=header)
            assert answer.status_code == 415
            assert answer.json() == {"detail": f'Unsupported media type "{kind}" in request.'}
    for kind in ("Application/JSON", "application/json; charset=utf-8"):
        assert raw(site, world.staff, b'{"name": "x"}', kind).status_code == 201


def test_unknown_and_read_only_fields_are_passed_over(site: Site, world: World) -> None:
    body = {
        "username": "new",
        "email": "new@example.org",
        "nonsense": [1],
        "uuid": NOBODY,
        "url": "http://elsewhere/",
        "civil_number": "7",
        "full_name": "Somebody Else",
        "registration_method": "eduteams",
        "token": "0" * 40,
        "token_lifetime": 77,
        "agree_with_policy": True,
        "date_joined": "1999-01-01T00:00:00Z",
        "password": "x",
        "id": 1,
        "is_superuser": True,
    }
    shown = sent(site, "POST", "/api/users/", world.staff, body).json()
    assert shown["uuid"] != NOBODY
    assert shown["full_name"] == ""
    assert shown["registration_method"] == "default"
    assert shown["agreement_date"] is None
    assert shown["civil_number"] is None
    assert "token" not in shown
    row = account(world, "new")
    assert row.token_lifetime == 3600
    assert row.password is None
    assert row.joined_at.year > 1999


def accepted(form: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """Give the value under the names of all fields that take it."""
    found = {}
    for name, kind in form.items():
        try:
            if not kind.is_null(value, form=False):
                kind.read(value, form=False)
            elif not kind.null:
                continue
        except fields.ValidationError:
            continue
        found[name] = value
    return found


@once
def test_no_value_of_any_type_in_any_field_is_more_than_a_refusal(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    project = world.project(org)
    for pattern, method, form in FORMS:
        path = pattern.replace(
            "{uuid}",
            project.uuid if "projects" in pattern else ada.uuid if "users" in pattern else org.uuid,
        )
        if "customers" in pattern:
            path = pattern.replace("{uuid}", org.uuid)
        if "roles" in pattern:
            path = pattern.replace("{uuid}", world.role("PROJECT.MEMBER").uuid)
        if "permission-requests" in pattern:
            asked = world.ask(world.person(), world.open(world.staff, "CUSTOMER.OWNER", org))
            path = pattern.replace("{uuid}", asked)
        for value in NASTY:
            body = dict.fromkeys(form, value)
            if len(accepted(form, value)) == len(form):
                continue  # written below, one after the other
            answer = sent(site, method, path, world.staff, body)
            # Who guesses links has to wait after a while.
            assert answer.status_code in {400, 401, 429}, (path, value, answer.text)
            if answer.status_code == 400:
                check_errors(answer, form)
                refused = set(form) - set(accepted(form, value))
                # Some say it in a bare list, without the name.
                told = answer.json() if refused not in ({"code"}, {"token"}) else refused
                assert refused <= set(told), (path, value)


def test_whatever_a_field_takes_can_be_written_and_read_back(site: Site, world: World) -> None:
    org, quiet = world.organisation(), world.organisation()
    project = world.project(quiet)
    places: tuple[tuple[Place, Mapping[str, Any]], ...] = (
        (org, organisations.FIELDS),
        (project, projects.CHANGE),
    )
    for number, value in enumerate(NASTY):
        for place, form in places:
            body = accepted(form, value)
            answer = sent(site, "PATCH", place.path, world.staff, body)
            if answer.status_code == 400:
                # What the rules or other rows refuse must not hide what the rest does.
                told = answer.json()
                check_errors(answer, form)
                body = {name: value for name, value in body.items() if name not in told}
                answer = sent(site, "PATCH", place.path, world.staff, body)
            assert answer.status_code == 200, (value, answer.text)
            assert site.get(place.path, world.staff).json() == answer.json()
        body = accepted(accounts.NEW, value) | {
            "username": f"u{number}",
            "email": "u@example.org",
            "slug": f"u{number}x",
        }
        answer = sent(site, "POST", "/api/users/", world.staff, body)
        assert answer.status_code == 201, (value, answer.text)
        shown = site.get(f"/api/users/{answer.json()['uuid']}/", world.staff).json()
        assert {**answer.json(), "permissions": []} == shown
        body = accepted(invitations.FIELDS, value) | {
            "email": "u@example.org",
            "scope": quiet.path,
            "role": world.role("CUSTOMER.OWNER").uuid,
        }
        answer = sent(site, "POST", "/api/user-invitations/", world.staff, body)
        assert answer.status_code == 201, (value, answer.text)
        assert site.get(answer.json()["url"], world.staff).json() == answer.json()


def test_a_year_long_ago_can_be_written_and_read_back(site: Site, world: World) -> None:
    org = world.organisation()
    body = {"accounting_start_date": "0999-01-01T00:00:00Z"}
    answer = sent(site, "PATCH", org.path, world.staff, body)
    assert answer.status_code in {200, 400}


@once
def test_words_for_every_fault_of_a_field(site: Site, world: World) -> None:
    org = world.organisation()
    project = world.project(org)
    add = f"{org.path}add_user/"
    for method, path, name, value, text in (
        ("POST", "/api/users/", "username", None, "This field may not be null."),
        ("POST", "/api/users/", "username", " ", "This field may not be blank."),
        ("POST", "/api/users/", "username", [], "Not a valid string."),
        ("POST", "/api/users/", "username", True, "Not a valid string."),
        ("POST", "/api/users/", "username", "Ada", "Enter a valid username."),
        ("POST", "/api/users/", "username", "a b", "Enter a valid username."),
        (
            "POST",
            "/api/users/",
            "username",
            "a" * 129,
            "Ensure this field has no more than 128 characters.",
        ),
        ("POST", "/api/users/", "email", "x", "Enter a valid email address."),
        ("POST", "/api/users/", "email", "", "This field may not be blank."),
        ("POST", "/api/users/", "phone_number", "x", "Invalid phone number format."),
        ("POST", "/api/users/", "is_staff", "maybe", "Must be a valid boolean."),
        ("POST", "/api/users/", "token_lifetime", "x", "A valid integer is required."),
        (
            "POST",
            "/api/users/",
            "token_lifetime",
            59,
            "Ensure this value is greater than or equal to 60.",
        ),
        (
            "POST",
            "/api/users/",
            "birth_date",
            "1.2.2003",
            "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.",
        ),
        ("POST", "/api/users/", "first_name", "a\0", "Null characters are not allowed."),
        ("POST", add, "user", "x", "Must be a valid UUID."),
        ("POST", add, "user", 5, "Must be a valid UUID."),
        ("POST", add, "user", NOBODY, "User is not found."),
        ("POST", add, "role", "nonsense", "Role is not found."),
        ("POST", add, "role", NOBODY, "Role is not found."),
        (
            "POST",
            add,
            "expiration_time",
            "2001-01-01",
            "Expiration time should be greater than current time.",
        ),
        ("PATCH", project.path, "kind", "x", '"x" is not a valid choice.'),
        ("PATCH", project.path, "kind", "a\ud800", '"a?" is not a valid choice.'),
        ("PATCH", project.path, "oecd_fos_2007_code", "9.9", '"9.9" is not a valid choice.'),
        (
            "PATCH",
            project.path,
            "end_date",
            "2001-01-01",
            "Cannot be earlier than the current date.",
        ),
        ("PATCH", org.path, "country", "ZZ", '"ZZ" is not a valid choice.'),
        ("PATCH", org.path, "latitude", 91, "A valid number is required."),
        ("PATCH", org.path, "homepage", "javascript:x", "Enter a valid URL."),
        ("POST", "/api/projects/", "customer", "x", "Invalid hyperlink - No URL match."),
        (
            "POST",
            "/api/projects/",
            "customer",
            f"/api/customers/{NOBODY}/",
            "Invalid hyperlink - Object does not exist.",
        ),
    ):
        answer = sent(site, method, path, world.staff, {name: value})
        assert answer.status_code == 400, (path, name, value, answer.text)
        assert answer.json()[name] == [text]


def test_everything_wrong_is_told_at_once(site: Site, world: World) -> None:
    """Also what only the database can tell, and what only the rules can."""
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    project = world.project(org)
    past = "Cannot be earlier than the current date."
    for method, path, body, told in (
        (
            "POST",
            "/api/users/",
            {"username": "ada", "email": "nonsense", "is_staff": "x"},
            {
                "username": ["user with this username already exists."],
                "email": ["Enter a valid email address."],
                "is_staff": ["Must be a valid boolean."],
            },
        ),
        ("POST", "/api/users/", {}, {"username": REQUIRED, "email": REQUIRED}),
        (
            "POST",
            "/api/user-invitations/",
            {"role": NOBODY, "email": "x", "scope": "nonsense"},
            {
                "role": [f"Object with uuid={NOBODY} does not exist."],
                "email": ["Enter a valid email address."],
                "scope": ["URL is invalid: nonsense."],
            },
        ),
        (
            "POST",
            "/api/user-invitations/",
            {"role": "x", "scope": f"/api/customers/{NOBODY}/"},
            {
                "role": ["Must be a valid UUID."],
                "email": REQUIRED,
                "scope": [f"Can't restore object from url: /api/customers/{NOBODY}/"],
            },
        ),
        (
            "POST",
            f"{org.path}add_user/",
            {"role": "x", "user": NOBODY, "expiration_time": "2001-01-01T00:00:00Z"},
            {
                "role": ["Role is not found."],
                "user": ["User is not found."],
                "expiration_time": ["Expiration time should be greater than current time."],
            },
        ),
        (
            "POST",
            "/api/projects/",
            {"customer": "x", "start_date": "2001-01-01", "end_date": "2001-01-01"},
            {
                "customer": ["Invalid hyperlink - No URL match."],
                "name": REQUIRED,
                "start_date": [past],
                "end_date": [past],
            },
        ),
        (
            "PUT",
            project.path,
            {"end_date": "2001-01-01", "kind": "x"},
            {"name": REQUIRED, "end_date": [past], "kind": ['"x" is not a valid choice.']},
        ),
        (
            "PATCH",
            org.path,
            {"country": "ZZ", "name": ""},
            {
                "country": ['"ZZ" is not a valid choice.'],
                "name": ["This field may not be blank."],
            },
        ),
    ):
        answer = sent(site, method, path, world.staff, body)
        assert answer.status_code == 400, answer.text
        assert answer.json() == told


def test_a_start_that_has_passed_may_be_sent_back_and_stays(site: Site, world: World) -> None:
    project = world.project(world.organisation())
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE projects SET start_date = '2020-01-01'")
    for method in ("PUT", "PATCH"):
        for sent_back in ("2020-01-01", "2019-01-01", "2999-01-01"):
            body = {"name": method, "start_date": sent_back}
            answer = sent(site, method, project.path, world.staff, body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["name"] == method
            assert answer.json()["start_date"] == "2020-01-01"


def test_a_user_name_is_taken_also_by_an_inactive_account(site: Site, world: World) -> None:
    ada = world.person("ada")
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"is_active": False})
    body = {"username": "ada", "email": "x@example.org"}
    answer = sent(site, "POST", "/api/users/", world.staff, body)
    assert answer.status_code == 400
    assert answer.json() == {"username": ["user with this username already exists."]}


def test_a_slug_that_is_taken_is_refused(site: Site, world: World) -> None:
    org, other = world.organisation(), world.organisation()
    sent(site, "PATCH", org.path, world.staff, {"slug": "taken"})
    answer = sent(site, "PATCH", other.path, world.staff, {"slug": "taken"})
    assert answer.status_code == 400
    assert answer.json() == {"slug": ["This field must be unique."]}
    body = {"username": "new", "email": "n@example.org", "slug": world.staff.actor.username}
    sent(site, "POST", "/api/users/", world.staff, body)
    answer = sent(site, "POST", "/api/users/", world.staff, body | {"username": "new2"})
    assert answer.json() == {"slug": ["user with this slug already exists."]}


def test_a_slug_that_is_taken_is_refused_on_creation(site: Site, world: World) -> None:
    body = {"name": "Acme", "slug": "taken"}
    assert sent(site, "POST", "/api/customers/", world.staff, body).status_code == 201
    answer = sent(site, "POST", "/api/customers/", world.staff, body)
    assert answer.status_code == 400
    assert answer.json() == {"slug": ["This field must be unique."]}


@once
def test_a_body_is_read_only_where_it_may_count(site: Site, world: World) -> None:
    """What cannot be seen is missing, and what may not be done is denied, whatever is sent."""
    ada = world.person("ada")
    org = world.organisation()
    member = world.person("member")
    world.seat(member, "PROJECT.MEMBER", world.project(org))
    for content in (b"{", b"[]", b'{"name": null}'):
        for method, path in (
            ("PATCH", org.path),
            ("PUT", org.path),
            ("POST", f"{org.path}add_user/"),
            ("POST", f"{org.path}delete_user/"),
        ):
            for who, status in ((ada, 404), (member, 403)):
                answer = site.request(method, path, who, content=content, headers=JSON)
                assert answer.status_code == status, (method, path)
        answer = site.post("/api/users/", ada, content=content, headers=JSON)
        assert answer.status_code == 403
