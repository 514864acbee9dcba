"""Request bodies of the Waldur API: three encodings, every field, and the errors of each field."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import httpx
import pytest

from collegium.accounts import queries as account_queries
from collegium.api.request_bodies import NESTED_MAX, parse_json
from collegium.api.waldur import accounts, invitations, organisations, projects
from collegium.api.waldur.routes import ROUTES
from collegium.hooks.rules import Kind
from collegium.security.crypto import hash_password
from collegium.values import InvalidValueError
from tests.claim_rules.scene import add_rule
from tests.imports.scene import add_import
from tests.support.hooks import DESTINATION, add_hook
from tests.support.passkeys import add_passkey
from tests.support.site import Site
from tests.support.world import Place, World

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

JSON = {"Content-Type": "application/json"}
UNKNOWN = "0" * 32
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

BLANKS = (None, "", " ", "\n")
NUMBERS = (True, False, 0, -1, 7, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, 1e-300)
CONTAINERS: tuple[Any, ...] = ([], {}, [1], ["text"], {"a": None})
TEXTS = (
    *("x", "a" * 9000, "\0", "a\0b", "\ud800", "a\udfff", "\U0001f600" * 40, "\u202e\u2028"),
    *("None", "null", "' OR 1=1 --", "%s %(name)s :name ?", "<script>alert(1)</script>", "true"),
    *("0", "+1", "1.0", "1_000", "0x10", "1e999", "NaN", "Infinity", "\u0663", "\u00b2"),
)
TIMES = (
    *("1000-01-01", "2025-02-30", "2999-12-31", "9999-12-31", "2025-W01-1", "20250101T000000"),
    *("9999-12-31T23:59:59.999999-23:59", "2999-01-01T00:00:00+23:59", "0999-01-01T00:00:00Z"),
)
ADDRESSES = (
    *("a@b", "a@b.example", "a@b.example\n", '"a b"@example.org', "\u00e4@\u00e4.example"),
    *("::/0", "1.1.1.1/33", "http://[", "http://x/api/customers/", "http://x/api/projects/zz/"),
    *(UNKNOWN, f"{{{UNKNOWN}}}", "urn:uuid:" + UNKNOWN),
)
# "true" stands before "0", so that an organisation does not stay blocked.
VALUES: list[Any] = [*BLANKS, *NUMBERS, *CONTAINERS, *TEXTS, *TIMES, *ADDRESSES]


def send(
    site: Site, method: str, path: str, caller: Any, body: Mapping[str, Any], encoding: str = "json"
) -> httpx.Response:
    """Send a body in one of the encodings; forms write values as the official client does."""
    if encoding == "json":
        return site.request(method, path, caller, headers=JSON, content=json.dumps(body).encode())
    texts = {name: value if isinstance(value, str) else str(value) for name, value in body.items()}
    if encoding == "urlencoded":
        return site.request(method, path, caller, data=texts)
    parts = [(name, (None, text.encode(), "text/plain")) for name, text in texts.items()]
    return site.request(method, path, caller, files=parts)


def post_raw(
    site: Site, world: World, content: bytes, media_type: str = "application/json"
) -> httpx.Response:
    headers = {"Content-Type": media_type} if media_type else {}
    return site.post("/api/customers/", world.staff, content=content, headers=headers)


def account(world: World, username: str) -> Any:
    with world.database.read() as tx:
        return account_queries.by_username(tx, username)


def check_errors(response: httpx.Response, form: Mapping[str, Any]) -> None:
    """Check that a refusal has known fields, each with a list of messages."""
    body = response.json()
    if set(form) == {"code"} and isinstance(body, list):  # as another one below
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


Write = tuple[str, str, str, dict[str, Any], int]
"""Method, path, pattern of the path, body and expected status."""


def link_and_request_writes(world: World, encoding: str, org: Place) -> Iterator[Write]:
    role = str(UUID(world.role("CUSTOMER.OWNER").uuid))
    patterns = [".*@example.org"]
    link = {
        "scope": org.path,
        "role": role,
        "user_email_patterns": patterns if encoding == "json" else json.dumps(patterns),
    }
    links = "/api/user-group-invitations/"
    yield "POST", links, links, link, 201
    one = f"{links}{{uuid}}/"
    path = one.replace("{uuid}", world.create_link(world.staff, "CUSTOMER.OWNER", org))
    for method in ("PUT", "PATCH"):
        yield method, path, one, {"custom_text": "x"}, 200
    submitted = {"project_name": "x", "project_description": "y"}
    yield "POST", f"{path}submit_request/", f"{one}submit_request/", submitted, 200
    people = [{"email": "bob@example.org", "role": role}]
    planned = {
        "scope": org.path,
        "invitations": people if encoding == "json" else json.dumps(people),
    }
    path = "/api/user-invitations/check-duplicates/"
    yield "POST", path, path, planned, 200
    person = world.person()
    world.give_role(person, "CUSTOMER.OWNER", org)
    (uuid,) = (row.uuid for row in world.grants_in(org) if row.account_id == person.id)
    for action in ("revoke", "restore"):
        pattern = f"/api/user-permissions/{{uuid}}/{action}/"
        yield "POST", pattern.replace("{uuid}", uuid), pattern, {"reason": "x"}, 200
    pattern = "/api/user-invitations/{uuid}/"
    path = pattern.replace("{uuid}", world.invite(world.staff, "x@y.org", "CUSTOMER.OWNER", org))
    yield "PUT", path, pattern, {"email": "bob@example.org", "role": role}, 200
    yield "PATCH", path, pattern, {"email": "ada@example.org"}, 200
    for action in ("approve", "reject"):
        request = world.ask(world.person(), world.create_link(world.staff, "CUSTOMER.OWNER", org))
        pattern = f"/api/user-permission-requests/{{uuid}}/{action}/"
        yield "POST", pattern.replace("{uuid}", request), pattern, {"comment": "x"}, 200
        pattern = f"/api/user-invitations/{action}/"
        yield "POST", pattern, pattern, {"token": "x"}, 400


def scope_writes(world: World, org: Place, project: Place) -> Iterator[tuple[Any, ...]]:
    other = world.organisation().path
    for place, action, body, status in (
        (org, "contact", {"phone_number": "+1 555"}, 200),
        (project, "set_slug", {"slug": "six"}, 200),
        (project, "move_project", {"customer": other, "preserve_permissions": True}, 200),
        (project, "recover", {"restore_team_members": False}, 400),
    ):
        pattern = place.path.replace(place.uuid, "{uuid}")
        yield "POST", f"{place.path}{action}/", f"{pattern}{action}/", body, status


def role_writes(site: Site, staff: Any, encoding: str) -> Iterator[Write]:
    one = "/api/roles/{uuid}/"
    permissions: Any = ["CUSTOMER.UPDATE"] if encoding == "json" else "CUSTOMER.UPDATE"
    body = {"name": "CUSTOM.ONE", "content_type": "customer", "permissions": permissions}
    yield "POST", "/api/roles/", "/api/roles/", body, 201
    role = {"name": "CUSTOM.TWO", "content_type": "customer", "permissions": ["CUSTOMER.UPDATE"]}
    path = one.replace("{uuid}", site.post("/api/roles/", staff, json=role).json()["uuid"])
    yield "PUT", path, one, body | {"name": "CUSTOM.THREE"}, 200
    yield "PATCH", path, one, {"description": "x"}, 200
    descriptions = "update_descriptions/"
    yield "PUT", path + descriptions, one + descriptions, {"description": "y"}, 200
    customer = site.post("/api/customers/", staff, json={"name": "Sea"}).json()["uuid"]
    clone = "clone_to_customer/"
    yield "POST", path + clone, one + clone, {"customer": customer, "conceal_template": False}, 200
    conceal = "/api/customer-role-concealments/"
    uuid = path.split("/")[-2]
    yield "POST", conceal, conceal, {"customer": customer, "role": uuid}, 201


def passkey_writes(world: World, encoding: str) -> Iterator[Write]:
    """Yield writes of passkeys. The service has no domain, so no ceremony succeeds."""
    with world.database.write() as tx:
        own, _, other = (add_passkey(tx, world.staff.id) for _ in range(3))
    one = "/api/passkeys/{uuid}/"
    yield "PUT", one.replace("{uuid}", own), one, {"name": "phone"}, 200
    yield "PATCH", one.replace("{uuid}", own), one, {"name": "laptop"}, 200
    credential = {"id": "x"}
    answer = {
        "ceremony": UNKNOWN,
        "name": "phone",
        "credential": credential if encoding == "json" else json.dumps(credential),
    }
    for action in ("registration/finish/", "signin/finish/", "mfa/begin/", "mfa/finish/"):
        yield "POST", f"/api/passkeys/{action}", f"/api/passkeys/{action}", answer, 400
    for uuid, base in ((own, one), (other, "/api/staff-passkeys/{uuid}/")):
        pattern = f"{base}revoke/"
        yield "POST", pattern.replace("{uuid}", uuid), pattern, {"reason": "lost"}, 204


def provider_writes(world: World, encoding: str) -> Iterator[Write]:
    """Yield writes that ask no provider for its metadata, and those that are not allowed to."""
    provider = world.provider()
    mapping = {"email": "mail"}
    body = {
        "provider": "campus",
        "label": "Campus",
        "client_id": "x",
        "client_secret": "y",
        "discovery_url": provider.discovery_url,
        "attribute_mapping": mapping if encoding == "json" else json.dumps(mapping),
    }
    here = "/api/identity-providers/"
    one = f"{here}{{provider}}/"
    yield "PUT", f"{here}campus/", one, body, 200
    yield "PATCH", f"{here}campus/", one, {"label": "Uni"}, 200
    internal = {"discovery_url": "https://127.0.0.1:1/.well-known/openid-configuration"}
    yield "POST", here, here, body | internal | {"provider": "other"}, 400
    for action in ("discover_metadata/", "generate-mapping/"):
        yield "POST", here + action, here + action, internal, 400


def rule_writes(world: World, encoding: str, org: Place) -> Iterator[Write]:
    claims = {"eduperson_entitlement": ["urn:lab:*"]}
    body = {
        "name": "Lab",
        "customer": org.path,
        "customer_role_name": "CUSTOMER.OWNER",
        "user_claims": claims if encoding == "json" else json.dumps(claims),
    }
    rules = "/api/autoprovisioning-rules/"
    yield "POST", rules, rules, body, 201
    one = f"{rules}{{uuid}}/"
    path = one.replace("{uuid}", add_rule(world, org, "CUSTOMER.OWNER"))
    yield "PUT", path, one, body, 200
    yield "PATCH", path, one, {"name": "Other"}, 200
    test = "test-match/"
    yield "POST", path + test, one + test, {"user_uuid": world.person().uuid}, 200


def hook_writes(world: World, encoding: str) -> Iterator[Write]:
    """Yield writes of hooks, of both kinds."""
    events: dict[str, Any] = {"event_types": ["role_granted"], "event_groups": ["users", "ssh"]}
    if encoding != "json":
        events = {name: json.dumps(words) for name, words in events.items()}
    for kind, body in (
        (Kind.WEB, {"destination_url": DESTINATION, "content_type": "form"}),
        (Kind.EMAIL, {"email": "team@example.org"}),
    ):
        with world.database.write() as tx:
            path = f"/api/hooks-{kind}/{add_hook(tx, world.staff, kind)}/"
        pattern = f"/api/hooks-{kind}/"
        yield "POST", pattern, pattern, body | events, 201
        yield "PUT", path, f"{pattern}{{uuid}}/", body | events, 200
        yield "PATCH", path, f"{pattern}{{uuid}}/", {"is_active": False}, 200


def import_writes(world: World, encoding: str, org: Place) -> Iterator[Write]:
    """Yield the upload of a file and the start of an import, of another file."""
    role = str(UUID(world.role("CUSTOMER.OWNER").uuid))
    rows: Any = [2] if encoding == "json" else "[2]"
    columns: Any = {"email": 1} if encoding == "json" else '{"email": 1}'
    imports = "/api/imports/"
    body = {"scope": f"http://any.host{org.path}", "role": role, "columns": columns}
    yield "POST", imports, imports, body | {"text": "E-mail\nbob@example.org"}, 201
    uuid = add_import(world, world.staff, org, "judged", "carol")
    yield "POST", f"{imports}{uuid}/start/", f"{imports}{{uuid}}/start/", {"rows": rows}, 200


def agreement_writes(site: Site, staff: Any) -> Iterator[Write]:
    agreements = "/api/user-agreements/"
    body = {"agreement_type": "TOS", "content": "<p>Be kind.</p>"}
    yield "POST", agreements, agreements, body, 201
    one = f"{agreements}{{uuid}}/"
    other = site.post(agreements, staff, json=body | {"agreement_type": "PP"})
    path = one.replace("{uuid}", other.json()["uuid"])
    yield "PUT", path, one, body | {"agreement_type": "PP", "language": "et"}, 200
    yield "PATCH", path, one, {"content": "<p>Be brave.</p>"}, 200


def every_write(site: Site, world: World, encoding: str) -> Iterator[tuple[Write, Any]]:
    """Yield a valid write of every operation, with its caller. Send each before taking the next."""
    staff = world.staff
    ada = world.person("ada")
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"password": hash_password(PASSWORD)})
    org = world.organisation(owner=world.person())
    project = world.project(org)
    scope = f"http://any.host{org.path}"
    role = str(UUID(world.role("CUSTOMER.OWNER").uuid))

    def create(path: str, body: dict[str, Any], status: int = 201) -> Write:
        return "POST", path, path, body, status

    def own_writes() -> Iterator[Write]:
        one = "/api/{0}/{{uuid}}/"
        yield create("/api/customers/", {"name": "Two"})
        yield "PUT", org.path, one.format("customers"), {"name": "Three"}, 200
        yield "PATCH", org.path, one.format("customers"), {"email": "a@example.org"}, 200
        yield create("/api/projects/", {"name": "Four", "customer": scope})
        yield "PUT", project.path, one.format("projects"), {"name": "Five"}, 200
        yield "PATCH", project.path, one.format("projects"), {"description": "x"}, 200
        for place, role_name in ((org, "CUSTOMER.OWNER"), (project, "PROJECT.MEMBER")):
            base = one.format("customers" if place is org else "projects")
            grant = {"user": str(UUID(ada.uuid)), "role": role_name}
            end = {"expiration_time": "2999-01-01T00:00:00+00:00"}
            yield "POST", f"{place.path}add_user/", f"{base}add_user/", grant, 201
            yield "POST", f"{place.path}update_user/", f"{base}update_user/", grant | end, 200
            yield "POST", f"{place.path}delete_user/", f"{base}delete_user/", grant, 200
        invitation = {"email": "bob@example.org", "scope": scope, "role": role}
        yield create("/api/user-invitations/", invitation)
        yield from scope_writes(world, org, project)
        yield from role_writes(site, staff, encoding)
        yield from provider_writes(world, encoding)
        yield from passkey_writes(world, encoding)
        yield from link_and_request_writes(world, encoding, org)
        yield from rule_writes(world, encoding, org)
        yield from agreement_writes(site, staff)
        yield from hook_writes(world, encoding)
        yield from import_writes(world, encoding, org)
        path = f"/api/users/{ada.uuid}/"
        user = one.format("users")
        secret = {"new_password": f"{PASSWORD}, twice"}
        yield "POST", f"{path}change_password/", f"{user}change_password/", secret, 200
        yield "PATCH", path, user, {"job_title": "x"}, 200
        yield "PUT", path, user, {"job_title": "y"}, 200
        yield "POST", f"{path}change_email/", f"{user}change_email/", {"email": "b@c.org"}, 200
        yield create("/api/keys/", {"name": "laptop", "public_key": SSH_KEY})
        yield create("/api/remote-eduteams/", {"cuid": "somebody@remote"}, 400)
        yield create("/api/users/confirm_email/", {"code": UNKNOWN}, 404)
        yield create("/api-auth/token-exchange/", {"code": UNKNOWN}, 400)

    signing_in = {"username": "ada", "password": PASSWORD}
    yield create("/api-auth/password/", signing_in, 200), None
    yield create("/api/users/", {"username": "new", "email": "new@example.org"}), staff
    for write in own_writes():
        yield write, staff


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_write_accepts_every_encoding(site: Site, world: World, encoding: str) -> None:
    tried: set[tuple[str, str]] = set()
    for (method, path, pattern, body, status), caller in every_write(site, world, encoding):
        response = send(site, method, path, caller, body, encoding)
        assert response.status_code == status, (path, response.text)
        tried.add((pattern, method))
    assert tried == {(path, method) for path, method, _form in FORMS}, "a route is not tried here"


# Values of the right kind that a rule or the database refuses. The hosts are not looked up.
REFUSED: dict[str, Any] = {
    **dict.fromkeys(("role", "user", "project_role", "ceremony"), UNKNOWN),
    **dict.fromkeys(("customer", "scope"), f"http://any.host/api/customers/{UNKNOWN}/"),
    **dict.fromkeys(("customer_role_name", "project_role_name"), "nobody"),
    "user_email_patterns": ["(", "[a"],
    "permissions": ["NO.SUCH"],
    "event_types": [],
    "event_groups": [],
    **dict.fromkeys(("start_date", "end_date"), "2001-01-01"),
    "expiration_time": "2001-01-01T00:00:00Z",
    "country": "ZZ",
    "username": "ada",
    "public_key": "ssh-ed25519 AAAA",
    "new_password": "password",
    "destination_url": "http://127.0.0.1/",
    "project_name_template": "{nothing}",
    "user_claims": {},
}


def refused_value(name: str, kind: Any) -> Any:
    """Return a value that the field refuses: by a rule if there is one, else by its kind."""
    if name in REFUSED:
        return REFUSED[name]
    for value in (["x"], {"a": None}, "x", "a" * 100_000, "\0", 10**400):
        try:
            kind.parse(value)
        except InvalidValueError:
            return value
    return None


@pytest.mark.slow
@sqlite_only
def test_what_is_refused_alone_is_refused_together_with_everything_else(
    site: Site, world: World
) -> None:
    """A fault is reported whatever else is wrong: one field never hides the error of another."""
    forms = {(pattern, method): form for pattern, method, form in FORMS}
    mixed, hidden = 0, {}
    for (method, path, pattern, body, _status), caller in every_write(site, world, "json"):
        form = forms[pattern, method]
        wrong = {
            name: value
            for name, kind in form.items()
            # The name of a role counts only if its UUID is not given.
            if f"{name}_name" not in form and (value := refused_value(name, kind)) is not None
        }
        expected: set[str] = set()
        for name, value in wrong.items():
            response = send(site, method, path, caller, {**body, name: value})
            if response.status_code == 400 and isinstance(response.json(), dict):
                expected |= {name} & response.json().keys()
        response = send(site, method, path, caller, {**body, **wrong})
        if expected:
            assert response.status_code == 400, (method, path, response.text)
            if names := expected - response.json().keys():
                hidden[method, path] = names
            mixed += bool(expected & REFUSED.keys())
        send(site, method, path, caller, body)
    assert hidden == {}
    assert mixed > 15


@sqlite_only
def test_forms_accept_every_spelling_of_booleans_and_null(site: Site, world: World) -> None:
    true = ("true", "True", "TRUE", "1", "t", "yes", "on", "Y")
    false = ("false", "False", "FALSE", "0", "f", "no", "off", "N")
    for encoding in ENCODINGS[1:]:
        for number, text in enumerate((*true, *false)):
            username = f"{encoding}{number}"
            body = {
                "username": username,
                "email": "x@example.org",
                "is_support": text,
                "birth_date": "None" if text in true else "",
                **dict.fromkeys(("token_lifetime", "organization", "image"), "None"),
            }
            response = send(site, "POST", "/api/users/", world.staff, body, encoding)
            assert response.status_code == 201, response.text
            row = account(world, username)
            assert row.is_support is (text in true), text
            assert row.birth_date is None
            # "None" is null for nullable fields only; elsewhere it can be a name.
            assert row.organization == "None"


def test_null_in_a_form_clears_nullable_fields(site: Site, world: World) -> None:
    org = world.organisation()
    project = world.project(org)
    values = {"latitude": 1.5, "sponsor_number": 3, "grace_period_days": 4}
    for encoding in ENCODINGS[1:]:
        for null in ("None", ""):
            send(site, "PATCH", org.path, world.staff, values)
            body = dict.fromkeys(values, null)
            response = send(site, "PATCH", org.path, world.staff, body, encoding)
            assert response.status_code == 200, response.text
            assert {name: response.json()[name] for name in values} == dict.fromkeys(values)
            send(site, "PATCH", project.path, world.staff, {"oecd_fos_2007_code": "1.1"})
            body = {"oecd_fos_2007_code": null, "end_date": null}
            response = send(site, "PATCH", project.path, world.staff, body, encoding)
            assert response.json()["oecd_fos_2007_code"] is None


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_absent_booleans_get_defaults_on_creation_and_stay_unchanged_later(
    site: Site, world: World, encoding: str
) -> None:
    body = {"username": "new", "email": "new@example.org"}
    send(site, "POST", "/api/users/", world.staff, body, encoding)
    row = account(world, "new")
    assert row.is_active
    assert row.notifications_enabled
    assert not row.is_staff
    org = world.organisation("Acme")
    send(site, "PATCH", org.path, world.staff, {"display_billing_info_in_projects": False})
    project = world.project(world.organisation())
    send(site, "PATCH", project.path, world.staff, {"is_industry": True})
    for method in ("PUT", "PATCH"):
        shown = send(site, method, org.path, world.staff, {"name": method}, encoding).json()
        assert shown["name"] == method
        assert shown["archived"] is False
        assert shown["display_billing_info_in_projects"] is False
        shown = send(site, method, project.path, world.staff, {"name": method}, encoding).json()
        assert shown["is_industry"] is True


def test_absent_fields_stay_unchanged(site: Site, world: World) -> None:
    org = world.organisation("Acme", description="Makers", abbreviation="A")
    for method in ("PUT", "PATCH"):
        before = site.get(org.path, world.staff).json()
        assert send(site, method, org.path, world.staff, {"name": "Acme"}).json() == before


@sqlite_only
def test_html_of_a_project_description_is_sanitised(site: Site, world: World) -> None:
    project = world.project(world.organisation())
    html = '<b onclick="x()">We</b> <a href="javascript:x()">are</a><script>x()</script>'
    body = {"name": "Atlas", "description": html}
    shown = send(site, "PATCH", project.path, world.staff, body).json()["description"]
    assert shown.startswith("<b>We</b> ")
    for code in ("onclick", "javascript", "script", "x()"):
        assert code not in shown, shown


def test_blank_slug_is_ignored(site: Site, world: World) -> None:
    org = world.organisation("Acme")
    for place in (org, world.project(org)):
        before = site.get(place.path, world.staff).json()["slug"]
        assert before
        response = send(site, "PATCH", place.path, world.staff, {"slug": ""})
        assert response.json()["slug"] == before
    created = send(site, "POST", "/api/customers/", world.staff, {"name": "Acme", "slug": ""})
    assert created.json()["slug"] not in {"", before}


@sqlite_only
def test_invalid_json_is_refused_with_its_position(site: Site, world: World) -> None:
    for content, text in (
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"x", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"name": "x"} x', "Extra data: line 1 column 15 (char 14)"),
        (b'{"name": NaN}', "Out of range float values are not JSON compliant: NaN"),
        (b'{"name": -Infinity}', "Out of range float values are not JSON compliant: -Infinity"),
        (b'{"name": ' + b"[" * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ):
        response = post_raw(site, world, content)
        assert response.status_code == 400
        assert response.json() == {"detail": f"JSON parse error - {text}"}
    for content in (b'{"name": "\xff"}', b"\xff\xfe\x00", b"9" * 5000, b'{"a": "\x01"}'):
        response = post_raw(site, world, content)
        assert response.status_code == 400
        assert response.json()["detail"].startswith("JSON parse error - ")


def test_lists_and_objects_of_a_body_are_limited_together() -> None:
    some = NESTED_MAX // 3
    content = b'{"x":[' + b"[]," * some + b"{}," * (NESTED_MAX - some - 3) + b"{}]}"
    assert len(parse_json(content, json.loads)["x"]) == NESTED_MAX - 2
    for more in (b"{},{}]}", b"{},[]]}"):
        with pytest.raises(InvalidValueError):
            parse_json(content.removesuffix(b"{}]}") + more, json.loads)


@sqlite_only
def test_json_that_is_no_object_is_refused(site: Site, world: World) -> None:
    for content, kind in (
        *((b"[]", "list"), (b'[{"name": "x"}]', "list"), (b'"x"', "str"), (b"1", "int")),
        *((b"1.5", "float"), (b"true", "bool"), (b"null", "NoneType")),
    ):
        response = post_raw(site, world, content)
        assert response.status_code == 400
        text = f"Invalid data. Expected a dictionary, but got {kind}."
        assert response.json() == {"non_field_errors": [text]}


@sqlite_only
def test_invalid_form_is_refused(site: Site, world: World) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="name"%s\r\n\r\n%s\r\n--b--\r\n'
    boundary = "multipart/form-data; boundary=b"
    for content, media_type in (
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
        response = post_raw(site, world, content, media_type)
        assert response.status_code == 400, (content[:80], response.text)
        assert "form parse error - " in response.json()["detail"].lower(), content[:80]


@sqlite_only
def test_large_multipart_part_needs_no_file_on_disk(site: Site, world: World) -> None:
    # An open file would be a warning, and warnings are errors here.
    files: Any = {"image": ("x.png", b"x" * 1_000_000, "image/png"), "name": (None, b"Acme")}
    response = site.post("/api/customers/", world.staff, files=files)
    assert response.status_code == 201
    assert response.json()["name"] == "Acme"
    files = {"name": (None, b"x" * 1_000_000)}
    response = site.post("/api/customers/", world.staff, files=files)
    assert response.json() == {"name": ["Ensure this field has no more than 150 characters."]}


@sqlite_only
def test_missing_body_counts_as_empty_body(site: Site, world: World) -> None:
    for media_type in ("", "application/json", "text/plain", "application/x-www-form-urlencoded"):
        response = post_raw(site, world, b"", media_type)
        assert response.status_code == 400
        assert response.json() == {"name": REQUIRED}


@sqlite_only
def test_other_media_types_are_refused(site: Site, world: World) -> None:
    for media_type in ("text/plain", "application/xml", "text/json", "application/json2", "a\xe9"):
        headers: Any = {"Content-Type": media_type.encode("latin-1")}
        for path, caller in (("/api/customers/", world.staff), ("/api-auth/password/", None)):
            response = site.post(path, caller, content=b"{}", headers=headers)
            assert response.status_code == 415
            text = f'Unsupported media type "{media_type}" in request.'
            assert response.json() == {"detail": text}
    for media_type in ("Application/JSON", "application/json; charset=utf-8"):
        assert post_raw(site, world, b'{"name": "x"}', media_type).status_code == 201


def test_unknown_and_read_only_fields_are_ignored(site: Site, world: World) -> None:
    body = {
        "username": "new",
        "email": "new@example.org",
        "nonsense": [1],
        "uuid": UNKNOWN,
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
    shown = send(site, "POST", "/api/users/", world.staff, body).json()
    assert shown["uuid"] != UNKNOWN
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
    """Return the value under the names of all fields that accept it."""
    body = {}
    for name, field in form.items():
        try:
            if value is not None:
                field.parse(value)
            elif not field.null:
                continue
        except InvalidValueError:
            continue
        body[name] = value
    return body


@pytest.mark.slow
@sqlite_only
def test_every_invalid_value_of_every_field_is_refused(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    request = world.ask(world.person(), world.create_link(world.staff, "CUSTOMER.OWNER", org))
    uuids = {
        "projects": world.project(org).uuid,
        "users": ada.uuid,
        "roles": world.role("PROJECT.MEMBER").uuid,
        "user-permission-requests": request,
        "user-permissions": world.grants_in(org)[0].uuid,
        "user-group-invitations": world.create_link(world.staff, "CUSTOMER.OWNER", org),
        "user-invitations": world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org),
        "autoprovisioning-rules": add_rule(world, org, "CUSTOMER.OWNER"),
        "imports": add_import(world, world.staff, org, "judged", "dora"),
    }
    agreement = {"agreement_type": "TOS", "content": "<p>Be kind.</p>"}
    response = site.post("/api/user-agreements/", world.staff, json=agreement)
    uuids["user-agreements"] = response.json()["uuid"]
    with world.database.write() as tx:
        uuids["passkeys"] = uuids["staff-passkeys"] = add_passkey(tx, world.staff.id)
        uuids |= {f"hooks-{kind}": add_hook(tx, world.staff, kind) for kind in Kind}
    world.provider()
    for pattern, method, form in FORMS:
        path = pattern.replace("{uuid}", uuids.get(pattern.split("/")[2], org.uuid))
        path = path.replace("{provider}", "campus")
        for value in VALUES:
            valid = accepted(form, value)
            if len(valid) == len(form):
                continue  # the next test writes them one by one
            response = send(site, method, path, world.staff, dict.fromkeys(form, value))
            # Guessing links is rate limited.
            assert response.status_code in {400, 401, 429}, (path, value, response.text)
            if response.status_code == 400:
                check_errors(response, form)
                refused = set(form) - set(valid)
                # Two operations answer with a bare list, without the name.
                assert refused in ({"code"}, {"token"}) or refused <= set(response.json()), path


@pytest.mark.slow
def test_every_accepted_value_can_be_read_back(site: Site, world: World) -> None:
    org, quiet = world.organisation(), world.organisation()
    places: tuple[tuple[Place, Mapping[str, Any]], ...] = (
        (org, organisations.Customer.body()),
        (world.project(quiet), projects.Project.body()),
    )
    for number, value in enumerate(VALUES):
        for place, form in places:
            body = accepted(form, value)
            response = send(site, "PATCH", place.path, world.staff, body)
            if response.status_code == 400:
                # Send the rest without the fields that rules or other rows refuse.
                check_errors(response, form)
                body = {name: body[name] for name in body.keys() - response.json().keys()}
                response = send(site, "PATCH", place.path, world.staff, body)
            assert response.status_code == 200, (value, response.text)
            assert site.get(place.path, world.staff).json() == response.json()
        names = {"username": f"u{number}", "email": "u@example.org", "slug": f"u{number}x"}
        body = accepted(accounts._NEW, value) | names
        response = send(site, "POST", "/api/users/", world.staff, body)
        assert response.status_code == 201, (value, response.text)
        shown = site.get(f"/api/users/{response.json()['uuid']}/", world.staff).json()
        assert {**response.json(), "permissions": []} == shown
        role = world.role("CUSTOMER.OWNER").uuid
        needed = {"email": "u@example.org", "scope": quiet.path, "role": role}
        body = accepted(invitations._BODY, value) | needed
        response = send(site, "POST", "/api/user-invitations/", world.staff, body)
        assert response.status_code == 201, (value, response.text)
        assert site.get(response.json()["url"], world.staff).json() == response.json()


@sqlite_only
def test_every_error_has_its_message(site: Site, world: World) -> None:
    org = world.organisation()
    project = world.project(org)
    wrong_date = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
    cases: dict[tuple[str, str], tuple[tuple[str, Any, str], ...]] = {
        ("POST", "/api/users/"): (
            ("username", None, "This field may not be null."),
            ("username", " ", "This field may not be blank."),
            ("username", [], "Not a valid string."),
            ("username", True, "Not a valid string."),
            ("username", "Ada", "Enter a valid username."),
            ("username", "a b", "Enter a valid username."),
            ("username", "a" * 129, "Ensure this field has no more than 128 characters."),
            ("email", "x", "Enter a valid email address."),
            ("email", "", "This field may not be blank."),
            ("phone_number", "x", "Invalid phone number format."),
            ("is_staff", "maybe", "Must be a valid boolean."),
            ("token_lifetime", "x", "A valid integer is required."),
            ("token_lifetime", 59, "Ensure this value is greater than or equal to 60."),
            ("birth_date", "1.2.2003", wrong_date),
            ("first_name", "a\0", "Null characters are not allowed."),
        ),
        ("POST", f"{org.path}add_user/"): (
            ("user", "x", "Must be a valid UUID."),
            ("user", 5, "Must be a valid UUID."),
            ("user", UNKNOWN, "User is not found."),
            ("role", "nonsense", "Role is not found."),
            ("role", UNKNOWN, "Role is not found."),
            (
                "expiration_time",
                "2001-01-01",
                "Expiration time should be greater than current time.",
            ),
        ),
        ("PATCH", project.path): (
            ("kind", "x", '"x" is not a valid choice.'),
            ("kind", "a\ud800", '"a?" is not a valid choice.'),
            ("oecd_fos_2007_code", "9.9", '"9.9" is not a valid choice.'),
            ("end_date", "2001-01-01", "Cannot be earlier than the current date."),
        ),
        ("PATCH", org.path): (
            ("country", "ZZ", '"ZZ" is not a valid choice.'),
            ("latitude", 91, "A valid number is required."),
            ("homepage", "javascript:x", "Enter a valid URL."),
        ),
        ("POST", "/api/projects/"): (
            ("customer", "x", "Invalid hyperlink - No URL match."),
            (
                "customer",
                f"/api/customers/{UNKNOWN}/",
                "Invalid hyperlink - Object does not exist.",
            ),
        ),
    }
    for (method, path), errors in cases.items():
        for name, value, text in errors:
            response = send(site, method, path, world.staff, {name: value})
            assert response.status_code == 400, (path, name, value, response.text)
            assert response.json()[name] == [text]


def test_all_errors_are_reported_at_once(site: Site, world: World) -> None:
    """Errors of the form, of the database and of the rules appear together."""
    ada = world.person("ada", slug="countess")
    org = world.organisation(owner=ada)
    project = world.project(org)
    past = ["Cannot be earlier than the current date."]
    email = ["Enter a valid email address."]
    for method, path, body, errors in (
        (
            "POST",
            "/api/users/",
            {"username": "ada", "email": "nonsense", "slug": "countess", "is_staff": "x"},
            {
                "username": ["user with this username already exists."],
                "email": email,
                "slug": ["user with this slug already exists."],
                "is_staff": ["Must be a valid boolean."],
            },
        ),
        ("POST", "/api/users/", {}, {"username": REQUIRED, "email": REQUIRED}),
        (
            "POST",
            "/api/user-invitations/",
            {"role": UNKNOWN, "email": "x", "scope": "nonsense"},
            {
                "role": [f"Object with uuid={UNKNOWN} does not exist."],
                "email": email,
                "scope": ["URL is invalid: nonsense."],
            },
        ),
        (
            "POST",
            "/api/user-invitations/",
            {"role": "x", "scope": f"/api/customers/{UNKNOWN}/"},
            {
                "role": ["Must be a valid UUID."],
                "email": REQUIRED,
                "scope": [f"Can't restore object from url: /api/customers/{UNKNOWN}/"],
            },
        ),
        (
            "POST",
            f"{org.path}add_user/",
            {"role": "x", "user": UNKNOWN, "expiration_time": "2001-01-01T00:00:00Z"},
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
                "start_date": past,
                "end_date": past,
            },
        ),
        (
            "PUT",
            project.path,
            {"end_date": "2001-01-01", "kind": "x"},
            {"name": REQUIRED, "end_date": past, "kind": ['"x" is not a valid choice.']},
        ),
        (
            "PATCH",
            org.path,
            {"country": "ZZ", "name": ""},
            {"country": ['"ZZ" is not a valid choice.'], "name": ["This field may not be blank."]},
        ),
    ):
        response = send(site, method, path, world.staff, body)
        assert response.status_code == 400, response.text
        assert response.json() == errors


def test_past_start_date_is_kept_when_it_is_sent_again(site: Site, world: World) -> None:
    project = world.project(world.organisation())
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE projects SET start_date = '2020-01-01'")
    for method in ("PUT", "PATCH"):
        for date in ("2020-01-01", "2019-01-01", "2999-01-01"):
            body = {"name": method, "start_date": date}
            response = send(site, method, project.path, world.staff, body)
            assert response.status_code == 200, response.text
            assert response.json()["name"] == method
            assert response.json()["start_date"] == "2020-01-01"


def test_user_name_of_an_inactive_account_is_taken(site: Site, world: World) -> None:
    ada = world.person("ada")
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"is_active": False})
    body = {"username": "ada", "email": "x@example.org"}
    response = send(site, "POST", "/api/users/", world.staff, body)
    assert response.status_code == 400
    assert response.json() == {"username": ["user with this username already exists."]}


def test_taken_slug_is_refused(site: Site, world: World) -> None:
    body = {"name": "Acme", "slug": "taken"}
    assert send(site, "POST", "/api/customers/", world.staff, body).status_code == 201
    for method, path in (("POST", "/api/customers/"), ("PATCH", world.organisation().path)):
        response = send(site, method, path, world.staff, body)
        assert response.status_code == 400
        assert response.json() == {"slug": ["This field must be unique."]}
    body = {"username": "new", "email": "n@example.org", "slug": "countess"}
    assert send(site, "POST", "/api/users/", world.staff, body).status_code == 201
    response = send(site, "POST", "/api/users/", world.staff, body | {"username": "new2"})
    assert response.json() == {"slug": ["user with this slug already exists."]}


@sqlite_only
def test_rights_are_checked_before_the_body(site: Site, world: World) -> None:
    outsider, member = world.person("ada"), world.person("member")
    org = world.organisation()
    world.give_role(member, "PROJECT.MEMBER", world.project(org))
    for content in (b"{", b"[]", b'{"name": null}'):
        for request in ("PATCH ", "PUT ", "POST add_user/", "POST delete_user/"):
            method, action = request.split(" ")
            path = org.path + action
            for caller, status in ((outsider, 404), (member, 403)):
                response = site.request(method, path, caller, content=content, headers=JSON)
                assert response.status_code == status, (method, path)
        response = site.post("/api/users/", outsider, content=content, headers=JSON)
        assert response.status_code == 403
