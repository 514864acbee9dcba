"""Invalid values in every field, parameter and path segment of the APIs and pages.

The cases come from the tables of routes, so a new field is tested at once.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from collegium import values
from collegium.api.brainstem import bodies
from collegium.api.brainstem.routes import DESCRIBED
from collegium.api.request import Endpoint, Routes
from collegium.api.waldur.routes import ROUTES as WALDUR
from collegium.settings import Settings
from collegium.text.names import clean_name
from collegium.web.routes import ROUTES as WEB
from tests.api.scene import Scene, body_for
from tests.conftest import PostgreSQL
from tests.groups.scene import Groups
from tests.hostile.values import INJECTIONS, SEGMENTS, STRANGE, TEXTS, VALUES, some
from tests.matrix.page_forms import Spy, Visitor, forms
from tests.matrix.requests import object_names
from tests.matrix.rows import ROWS
from tests.matrix.scene import COLUMNS
from tests.matrix.scene import Scene as Tenants
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

JSON = {"Content-Type": "application/json"}
ROUTES = {"waldur": WALDUR, "brainstem": DESCRIBED, "web": WEB}
EXECUTED = "454706269079"
"""The result of some of the injections, where they are executed."""


@pytest.fixture
def new_postgresql(request: pytest.FixtureRequest, postgresql: PostgreSQL) -> Iterator[str]:
    """A database, for tenants one whose schema may change: they keep copies of its tables."""
    is_own = "tenants" in request.fixturenames
    url = postgresql.new() if is_own else postgresql.acquire()
    yield url
    (postgresql.drop if is_own else postgresql.release)(url)


@pytest.fixture
def open_site(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> Site:
    """A site without rate limits."""
    return make_site(make_settings(rate_limits="false"))


def check(response: httpx.Response, *case: object) -> None:
    """Check that a response is no server error and does not execute what was sent."""

    def message() -> str:
        # Called on failure only: the repr of megabytes is slow.
        return f"{case!r:.600}: {response.status_code} {response.text[:300]}"

    media_type = response.headers.get("content-type", "")
    assert response.status_code < 500, message()
    assert EXECUTED not in response.text, message()
    if media_type.startswith("application/json") and response.content:
        json.loads(response.content)
    if "text/html" in media_type:
        assert "<script" not in response.text, message()
        assert "onerror='alert" not in response.text, message()
    # A jar of cookies would take longer than most responses.
    assert not any(
        line.lstrip().startswith("a=") for line in response.headers.get_list("set-cookie")
    ), message()


def with_bodies(routes: Routes) -> Iterator[tuple[str, str, Endpoint]]:
    for path, table in routes.items():
        for method, operation in table.items():
            if operation.body is not None:
                yield path, method, operation


def waldur_url(scene: Scene, path: str) -> str:
    if "{uuid}" in path:
        return path.replace("{uuid}", scene.object_of(path))
    if "{provider}" in path:
        return path.replace("{provider}", scene.object_of(path))
    return path.replace("{user_id}", "1")


def test_every_field_of_the_waldur_api(open_site: Site, scene: Scene, world: World) -> None:
    tried = 0
    for path, method, operation in with_bodies(WALDUR):
        valid = body_for(path, operation, scene)
        for name in operation.body or ():
            for value in some(VALUES, 3, path, method, name):
                content, url = json.dumps({**valid, name: value}), waldur_url(scene, path)
                response = open_site.request(
                    method, url, world.staff, headers=JSON, content=content.encode()
                )
                check(response, method, path, name, value)
                tried += 1
    assert tried > 800
    for path in ("/api/users/", "/api/events/"):
        check(open_site.get(f"{path}?page_size=300", world.staff), path)


BRAINSTEM: dict[type[values.Kind], Any] = {
    values.Text: "x",
    bodies.Line: "x",
    bodies.Name: "x",
    values.Integer: 60,
    values.Secret: "x",
    bodies.WebAddress: "https://example.org/",
    bodies.Projects: [1],
    bodies.People: {"somebody@example.org": {"is_manager": True}},
}


def brainstem_bodies(
    world: World, site: Site
) -> Iterator[tuple[str, str, str, dict[str, values.Kind], dict[str, Any]]]:
    """Yield method, path, URL, form and valid body of each operation."""
    owner, other = world.person("owner"), world.person("other")
    group = Groups(world, site).create(owner)
    for path, method, operation in with_bodies(DESCRIBED):
        form: Any = operation.body or {}
        url = path.replace("{id}", str(group if "/group/" in path else other.id))
        yield method, path, url, form, {name: BRAINSTEM[type(form[name])] for name in form}


def test_every_field_of_the_brainstem_api(open_site: Site, world: World) -> None:
    headers = {**JSON, "Authorization": f"Bearer {world.staff.token}"}
    tried = 0
    for method, path, url, form, valid in brainstem_bodies(world, open_site):
        cases = [
            (name, {**valid, name: value})
            for name in form
            for value in some(VALUES, 12, path, method, name)
        ]
        tried += len(cases)
        for value in some(TEXTS, 12, path, method):
            users = {str(value): {"is_owner": value}, "a@example.org": value}
            cases.append(("users", {"users": users}))
        for name, body in cases:
            content = json.dumps(body).encode()
            response = open_site.request(method, url, headers=headers, content=content)
            check(response, method, path, name, body)
    assert tried > 150


def bodies_of(
    api: str, site: Site, scene: Scene, world: World
) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Yield method, URL, kinds and valid body of each operation of an API."""
    if api == "brainstem":
        for method, _path, url, form, valid in brainstem_bodies(world, site):
            yield method, url, form, valid
    for path, method, operation in with_bodies(WALDUR) if api == "waldur" else ():
        yield method, waldur_url(scene, path), operation.body, body_for(path, operation, scene)


@pytest.mark.parametrize("api", ["waldur", "brainstem"])
def test_every_name_is_cleaned_and_refuses_links(
    open_site: Site, scene: Scene, world: World, api: str
) -> None:
    headers = {"Authorization": f"{'Token' if api == 'waldur' else 'Bearer'} {world.staff.token}"}
    refused, cleaned, others = 0, 0, set()
    for method, url, form, valid in bodies_of(api, open_site, scene, world):
        others |= {name for name, kind in form.items() if not isinstance(kind, values.Name)}
        for name in [name for name, kind in form.items() if isinstance(kind, values.Name)]:
            for text in ("a\u200b://b", "\u3164\u200b", "\u200bAda\n\u202eLee\u3164"):
                body = {**valid, name: text}
                response = open_site.request(method, url, headers=headers, json=body)
                if "Lee" in text:
                    # Another field may be refused, such as one whose value is taken.
                    if response.is_success and '"Ada' in response.text:
                        assert '"Ada Lee"' in response.text, (url, name)
                        cleaned += 1
                elif "b" in text or not form[name].blank:
                    assert response.status_code == 400, (url, name, text)
                    assert name in response.json(), (url, name, text)
                    refused += 1
    assert refused >= (30 if api == "waldur" else 4)
    assert cleaned >= (10 if api == "waldur" else 2)
    # Names of banks do not go into mails; user names are ASCII; names of roles find a role.
    assert {name for name in others if "name" in name} <= {
        *("username", "bank_name", "customer_role_name", "project_role_name"),
        "use_user_organization_as_customer_name",  # a boolean
    }


@pytest.mark.parametrize("api", ["waldur", "brainstem"])
def test_every_parameter_of_every_list(
    open_site: Site, scene: Scene, world: World, api: str
) -> None:
    headers = {"Authorization": f"Token {world.staff.token}"}
    common = ["page", "page_size", "o", "field", "limit", "offset", "sort[]", "include[]"]
    tried = 0
    for path, table in ROUTES[api].items():
        operation = table.get("GET")
        if operation is None or not (operation.is_list or operation.filters):
            continue
        url = waldur_url(scene, path).replace("{id}", "1")
        for name in (*(operation.filters or ()), *common, "filter{id.in}", "filter{x.y}"):
            for value in some(TEXTS, 2, path, name):
                text = quote(str(value)[:3000], errors="surrogatepass")
                response = open_site.get(f"{url}?{quote(name)}={text}", headers=headers)
                check(response, path, name, value)
                tried += 1
    assert tried > 60


RULED: dict[str, str] = {
    **dict.fromkeys(("until", "end_date", "expires"), "2001-01-01"),
    **dict.fromkeys(("public_key", "organisation", "permissions", "event_groups"), "nonsense"),
    **dict.fromkeys(("agree_with_policy", "agrees", "organisation_role"), ""),
    "username": "ambercolleague",
    "name": "CUSTOM.UNUSED",
    "password": "password",
    "again": "another password",
    "email_patterns": "(",
    "template": "{nothing}",
    "discovery_url": "http://campus.example.org",
    "destination_url": "http://127.0.0.1/",
    "language": "x1",
}
"""Values that can be read, and that a rule refuses."""

DEPENDS = {
    "again": "a password that cannot be read cannot be compared",
    "auto_create_project": "what it needs follows from the role",
    "is_public": "as auto_create_project",
    "project_role": "as auto_create_project",
    "column_email": "the file is read once the form is right, because reading costs an attempt",
    "lifetime": "of a token of a program: the program is looked up first",
    "organisation_role": "whether a rule needs it follows from the other role",
    "current": "a password is tried once the form is right, because each attempt is counted",
    "email": "of a hook: whether it has one follows from its kind",
    "name": "of a key: whether it needs one follows from the key",
}
"""Fields whose errors may be hidden by an error of another field, and why."""


def errors_on(response: httpx.Response) -> set[str]:
    """Return the fields for which a page shows an error."""
    return set(re.findall(r'<li><a href="#(\w+)">', response.text))


def hidden_errors(
    visitor: Visitor, valid: dict[str, str], names: list[str], wrong: dict[str, dict[str, str]]
) -> Iterator[tuple[str, set[str]]]:
    """Yield an action, and the fields whose errors a page hides when several fields are wrong.

    Args:
        names: the fields of which a rule may refuse a value.
        wrong: values that are refused alone, by action and field.
    """
    for action, fields in wrong.items():
        together = [fields]
        for name in names:
            if name in RULED and fields.keys() - {name}:
                response = visitor.post(**{**valid, "action": action, name: RULED[name]})
                if name in errors_on(response):
                    together.append(fields | {name: RULED[name]})
        for several in together:
            if len(several) > 1:
                response = visitor.post(**{**valid, "action": action, **several})
                yield action, several.keys() - errors_on(response) - DEPENDS.keys()


def test_every_field_of_every_page(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text in a field is a server error, and no error hides that of another field."""
    spy = Spy(monkeypatch)
    tried, together, hidden = 0, 0, []
    for visitor, valid, names in forms(tenants, spy, check):
        actions = spy.actions
        wrong: dict[str, dict[str, str]] = {action: {} for action in actions}
        for name in names:
            for number, text in enumerate(some(TEXTS, 4, visitor.row.path, name)):
                action = actions[number % len(actions)]
                response = visitor.post(**{**valid, "action": action, name: text})
                if name in errors_on(response) - {"action"}:
                    wrong[action][name] = text
                tried += 1
        # What is shown together depends on no database.
        if tenants.database.is_sqlite:
            for action, fields in hidden_errors(visitor, valid, names, wrong):
                together += 1
                if fields:
                    hidden.append((visitor.row.path, action, sorted(fields)))
    assert tried > 500
    assert hidden == []
    assert together > 50 or not tenants.database.is_sqlite


def test_form_of_a_refused_caller_is_not_parsed(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only fields that choose an object or a button are read before the rights are checked."""
    spy = Spy(monkeypatch)
    choosing = {
        "csrf",
        "submission",
        "action",
        "kind",
        "number",
        "account",
        "role",
        "until",
        "q",
        "next",
        "provider",
        "passkey",
        "ceremony",
        "identity",
        "name",  # of a passkey: the same form adds one
        "seen",  # of a review: which roles were shown
        "agreements",  # of a sign-in at a provider: which texts were shown
    }
    tried = 0
    for row in ROWS:
        for name in COLUMNS if row.protocol == "web" and row.method == "POST" else ():
            if row.cells[name][0] in "x-":
                visitor = Visitor(tenants, row, name, check)
                spy.names.clear()
                visitor.fields(spy)
                assert spy.names <= choosing, (str(row), name)
                tried += 1
    assert tried > 100


def with_segment(tenants: Tenants, path: str, segment: str) -> Iterator[str]:
    """Yield a path with the segment in each place for one; the others are those of a tenant."""
    objects = tenants.tenants[0].objects | tenants.objects
    values = {name: objects[what] for name, what in object_names(path).items()}
    for name in values:
        yield path.format_map(values | {name: segment})


def staff_headers(tenants: Tenants, protocol: str) -> tuple[dict[str, str], str]:
    """Return the headers that identify the caller as staff, and the token of their forms."""
    staff = tenants.outside["staff"]
    assert staff is not None
    if protocol == "web":
        cookies, csrf = tenants.cookies(staff)
        return {"cookie": "; ".join(f"{name}={text}" for name, text in cookies.items())}, csrf
    return {"authorization": f"{'Token' if protocol == 'waldur' else 'Bearer'} {staff.token}"}, ""


@pytest.mark.parametrize("protocol", ["waldur", "brainstem", "web"])
def test_every_segment_of_every_path(tenants: Tenants, protocol: str) -> None:
    headers, csrf = staff_headers(tenants, protocol)
    tried = 0
    for path, table in ROUTES[protocol].items():
        for method in table:
            for segment in some(SEGMENTS, 4, path, method):
                for url in with_segment(tenants, path, segment):
                    data = {"csrf": csrf} if protocol == "web" else None
                    response = tenants.site.request(method, url, headers=headers, data=data)
                    check(response, method, url)
                    assert response.status_code >= 300 or method == "GET", (method, url)
                    tried += 1
    assert tried > 40


def test_code_in_names_stays_text(open_site: Site, world: World) -> None:
    """An accepted name is returned unchanged by the API, on pages, and by filters."""
    browser = Browser(open_site).sign_in(world, world.staff)
    for number, text in enumerate([*INJECTIONS, *STRANGE]):
        person = {"first_name": text, "username": f"p{number}", "email": f"p{number}@example.org"}
        content = json.dumps(person).encode()
        response = open_site.post("/api/users/", world.staff, headers=JSON, content=content)
        check(response, text)
        if response.status_code == 400:
            assert set(response.json()) == {"first_name"}, text
            continue
        # Line ends become spaces, and bidirectional controls are removed.
        clean = clean_name(text)
        assert response.json()["first_name"] == clean
        organisation = world.organisation(clean[:100] or "x", owner=None)
        check(browser.open(f"/organisation/{organisation.uuid}/"), text)
        query = {"name_exact": organisation.name}
        check(open_site.get("/api/customers/", world.staff, params=query), text)
