"""The published description: well formed, complete, and true of the routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collegium import __version__
from collegium.api.brainstem import routes as brainstem
from collegium.api.openapi import describe
from collegium.api.request import METHODS
from collegium.api.waldur import routes as waldur
from collegium.settings import Settings
from tests.support.site import Site
from tests.support.world import World

ROUTES = waldur.ROUTES | brainstem.DESCRIBED
OPERATIONS = [
    (path, method, operation)
    for path, table in ROUTES.items()
    for method, operation in table.items()
]
# What a schema object may hold here, of the vocabulary of JSON Schema 2020-12.
SCHEMA_WORDS = (
    "$ref type title description properties required items anyOf enum const default format "
    "pattern minLength maxLength maxItems minimum maximum additionalProperties contentEncoding"
)
TYPES = {"string", "integer", "number", "boolean", "object", "array", "null"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(describe(ROUTES)))
    return found


def everything(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from everything(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from everything(inner)


def follow(document: dict[str, Any], reference: str) -> dict[str, Any]:
    assert reference.startswith("#/")
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    assert isinstance(found, dict)
    return found


def check_schema(document: dict[str, Any], schema: dict[str, Any]) -> None:
    assert set(schema) <= set(SCHEMA_WORDS.split()), schema
    if "$ref" in schema:
        follow(document, schema["$ref"])
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert set(kinds) <= TYPES
    if "pattern" in schema:
        re.compile(schema["pattern"])
    assert set(schema.get("required", [])) <= set(schema.get("properties", {}))
    for one in (*schema.get("properties", {}).values(), *schema.get("anyOf", [])):
        check_schema(document, one)
    if "items" in schema:
        check_schema(document, schema["items"])


def test_the_document_is_what_is_published(site: Site, document: dict[str, Any]) -> None:
    answer = site.get("/schema/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document


def test_the_document_has_the_form_of_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "Collegium"
    assert document["info"]["version"] == __version__
    assert set(document) == {"openapi", "info", "paths", "components"}
    assert set(document["components"]) == {"schemas", "securitySchemes"}
    names = []
    for path, table in document["paths"].items():
        assert path.startswith("/")
        assert path.endswith("/")
        assert set(table) <= {method.lower() for method in METHODS}
        for said in table.values():
            names.append(said["operationId"])
            assert set(said) <= {
                "summary",
                "operationId",
                "tags",
                "parameters",
                "requestBody",
                "responses",
                "security",
            }
            assert said["summary"].endswith(".")
            parameters = [(one["in"], one["name"]) for one in said["parameters"]]
            assert len(parameters) == len(set(parameters))
            in_path = {name for where, name in parameters if where == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))
            for one in said["parameters"]:
                assert set(one) <= {"name", "in", "required", "description", "schema"}
                assert one["in"] in {"path", "query"}
                assert one["in"] != "path" or one["required"] is True
                check_schema(document, one["schema"])
            for code, response in said["responses"].items():
                assert re.fullmatch(r"[2-5]\d\d", code)
                assert response["description"]
                for media in response.get("content", {}).values():
                    check_schema(document, media["schema"])
            for media in said.get("requestBody", {}).get("content", {}).values():
                check_schema(document, media["schema"])
            for needed in said["security"]:
                assert set(needed) <= set(document["components"]["securitySchemes"])
    assert len(names) == len(set(names))
    for schema in document["components"]["schemas"].values():
        check_schema(document, schema)


def test_every_reference_leads_somewhere_and_everything_is_referred_to(
    document: dict[str, Any],
) -> None:
    referred = {one["$ref"] for one in everything(document) if "$ref" in one}
    for reference in referred:
        follow(document, reference)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert referred == known


def test_every_route_is_described_with_what_it_answers(document: dict[str, Any]) -> None:
    described = {
        (path, method.upper()) for path, table in document["paths"].items() for method in table
    }
    assert described == {(path, method) for path, method, _operation in OPERATIONS}
    for path, method, operation in OPERATIONS:
        said = document["paths"][path][method.lower()]
        assert said["summary"] == operation.summary
        assert said["security"] == ([{}] if operation.public else [{"token": []}])
        good = said["responses"][str(operation.status)]
        assert [code for code in said["responses"] if code < "300"] == [str(operation.status)]
        if operation.response_type is None:
            assert "content" not in good
            continue
        schema = good["content"]["application/json"]["schema"]
        if operation.is_list:
            assert schema["type"] == "array"
            schema = schema["items"]
        shown = follow(document, schema["$ref"])
        assert set(shown["properties"]) == set(operation.response_type.__struct_fields__)


def test_every_field_of_every_body_is_described(document: dict[str, Any]) -> None:
    tried = 0
    for path, method, operation in OPERATIONS:
        said = document["paths"][path][method.lower()]
        if operation.body is None:
            assert "requestBody" not in said
            continue
        tried += 1
        needed = any(kind.required for kind in operation.body.values())
        assert said["requestBody"]["required"] is (needed and not operation.partial)
        for media in said["requestBody"]["content"].values():
            schema = media["schema"]
            assert set(schema["properties"]) == set(operation.body)
            required = {name for name, kind in operation.body.items() if kind.required}
            assert set(schema.get("required", [])) == (set() if operation.partial else required)
            for name, kind in operation.body.items():
                nullable = {"type": "null"} in schema["properties"][name].get("anyOf", [])
                assert nullable is kind.null
    assert tried > 10


def test_a_text_that_may_be_empty_is_described_as_one(document: dict[str, Any]) -> None:
    for _path, _method, operation in OPERATIONS:
        for field in (operation.body or {}).values():
            schema = field.schema()
            if "pattern" not in schema:
                continue
            fits = re.search(schema["pattern"], "") is not None
            assert fits is field.blank


def test_lists_describe_how_they_are_asked(document: dict[str, Any]) -> None:
    for path, method, operation in OPERATIONS:
        said = document["paths"][path][method.lower()]
        asked = {one["name"] for one in said["parameters"] if one["in"] == "query"}
        if operation.is_list:
            paged = {"page", "page_size", "o"}
            assert not paged & asked if operation.unpaginated else paged <= asked
            assert "404" in said["responses"]
            assert asked - paged - {"field"} == set(operation.filters or {})
        assert ("field" in asked) is operation.sparse_fields
        assert {"400", "401", "403", "406"} <= set(said["responses"])


def test_the_parameters_of_lists_are_described_as_they_are_judged(
    site: Site, world: World, document: dict[str, Any]
) -> None:
    place = world.organisation(owner=world.person("ada"))
    tried = 0
    for path, method, operation in OPERATIONS:
        if not (operation.is_list and operation.filters):
            continue
        base = path.format(uuid=place.uuid).replace("/api/projects/", "/api/customers/", 1)
        if "{uuid}" not in path:
            base = path
        for one in document["paths"][path][method.lower()]["parameters"]:
            if one["in"] != "query":
                continue
            tried += 1
            schema = one["schema"].get("items", one["schema"])
            refused = site.get(f"{base}?{one['name']}=nonsense", world.staff).status_code
            if schema.get("format") in {"uuid", "date-time"} or one["name"] in {"o", "state"}:
                assert refused == 400, (path, one["name"])
            elif one["name"] == "page":
                assert refused == 404
            elif schema["type"] == "boolean":
                assert refused == 200, (path, one["name"])
            else:
                assert refused in {200, 400}, (path, one["name"])
            for word in schema.get("enum", ()):
                answer = site.get(f"{base}?{one['name']}={word}", world.staff)
                assert answer.status_code == 200, (path, one["name"], word)
    assert tried > 100


@pytest.mark.parametrize(
    ("path", "some"),
    [
        ("/api/users/", {"username_list", "customer_uuid", "is_active", "field"}),
        ("/api/keys/", {"fingerprint_md5", "created", "field"}),
        ("/api/user-invitations/", {"state", "scope", "email_exact"}),
        ("/api/user-permissions/", {"user_url", "expiration_time"}),
        ("/api/roles/", {"is_active", "field"}),
        ("/api/customers/", {"owned_by_current_user", "field"}),
        ("/api/projects/", {"customer", "include_terminated", "field"}),
        ("/api/projects/{uuid}/list_users/", {"search_string", "role", "field"}),
    ],
)
def test_every_list_of_the_tree_tells_its_filters(
    document: dict[str, Any], path: str, some: set[str]
) -> None:
    asked = {one["name"]: one["schema"] for one in document["paths"][path]["get"]["parameters"]}
    assert some <= set(asked)
    assert "enum" in asked["o"]["items"]


def test_what_is_answered_fits_its_description(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    document: dict[str, Any],
) -> None:
    site = make_site(make_settings(brainstem_public_portal="true"))
    org = world.organisation(owner=world.person("ada"))
    world.project(org)
    world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    tried = 0
    for path, method, operation in OPERATIONS:
        if method != "GET" or operation.response_type is None or "{" in path:
            continue
        schema = follow(
            document,
            f"#/components/schemas/{operation.response_type.__name__}",
        )
        answer = site.get(path, world.staff).json()
        for one in answer if operation.is_list else [answer]:
            tried += 1
            assert set(schema.get("required", [])) <= set(one) <= set(schema["properties"])
    assert tried > 8
