"""The published OpenAPI document: valid, complete, and true of the routes."""

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
from collegium.web import routes as web
from tests.imports.scene import add_import
from tests.support.site import Site
from tests.support.world import World

ROUTES = waldur.ROUTES | brainstem.DESCRIBED | web.DESCRIBED
OPERATIONS = [
    (path, method, operation)
    for path, table in ROUTES.items()
    for method, operation in table.items()
]
# Keywords of JSON Schema 2020-12 that the document uses.
SCHEMA_KEYWORDS = {
    *("$ref", "type", "title", "description", "properties", "required", "items", "anyOf", "enum"),
    *("const", "default", "format", "pattern", "minLength", "maxLength", "maxItems", "minimum"),
    *("maximum", "additionalProperties", "contentEncoding"),
}
TYPES = {"string", "integer", "number", "boolean", "object", "array", "null"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(json.dumps(describe(ROUTES)))
    return described


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(document: dict[str, Any], reference: str) -> dict[str, Any]:
    assert reference.startswith("#/")
    schema: Any = document
    for step in reference.removeprefix("#/").split("/"):
        schema = schema[step]
    assert isinstance(schema, dict)
    return schema


def query_parameters(document: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    """Return the schemas of the parameters of the query by name."""
    parameters = document["paths"][path][method.lower()]["parameters"]
    return {one["name"]: one["schema"] for one in parameters if one["in"] == "query"}


def check_schema(document: dict[str, Any], schema: dict[str, Any]) -> None:
    assert set(schema) <= SCHEMA_KEYWORDS, schema
    if "$ref" in schema:
        resolve(document, schema["$ref"])
    types = schema.get("type", [])
    assert set(types if isinstance(types, list) else [types]) <= TYPES
    re.compile(schema.get("pattern", ""))
    properties = schema.get("properties", {})
    assert set(schema.get("required", [])) <= set(properties)
    items = [schema["items"]] if "items" in schema else []
    for part in (*properties.values(), *schema.get("anyOf", []), *items):
        check_schema(document, part)


def test_document_is_published(site: Site, document: dict[str, Any]) -> None:
    response = site.get("/schema/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == document


def test_no_process_makes_the_document_before_somebody_wants_it() -> None:
    """It takes more than 2 MB."""
    calls = []

    def count_and_describe() -> dict[str, Any]:
        calls.append(1)
        return describe({})

    routes = web.description_routes(count_and_describe)
    assert set(routes) == {"/schema/openapi.json", "/schema/"}
    assert not calls


def test_document_has_the_structure_of_openapi_3_1(document: dict[str, Any]) -> None:
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
        for described in table.values():
            names.append(described["operationId"])
            required = {"summary", "operationId", "tags", "parameters", "responses", "security"}
            assert required <= set(described) <= required | {"requestBody"}
            assert described["summary"].endswith(".")
            parameters = [(one["in"], one["name"]) for one in described["parameters"]]
            assert len(parameters) == len(set(parameters))
            in_path = {name for where, name in parameters if where == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))
            for one in described["parameters"]:
                assert set(one) <= {"name", "in", "required", "description", "schema"}
                assert one["in"] in {"path", "query"}
                assert one["in"] != "path" or one["required"] is True
                check_schema(document, one["schema"])
            for code, response in described["responses"].items():
                assert re.fullmatch(r"[2-5]\d\d", code)
                assert response["description"]
            for part in (*described["responses"].values(), described.get("requestBody", {})):
                for media in part.get("content", {}).values():
                    check_schema(document, media["schema"])
            for scheme in described["security"]:
                assert set(scheme) <= set(document["components"]["securitySchemes"])
    assert len(names) == len(set(names))
    for schema in document["components"]["schemas"].values():
        check_schema(document, schema)


def test_every_reference_resolves_and_every_schema_is_used(document: dict[str, Any]) -> None:
    used = set(references(document))
    for reference in used:
        resolve(document, reference)
    assert used == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_every_route_is_described_with_its_response(document: dict[str, Any]) -> None:
    routes = {
        (path, method.upper()) for path, table in document["paths"].items() for method in table
    }
    assert routes == {(path, method) for path, method, _operation in OPERATIONS}
    for path, method, operation in OPERATIONS:
        described = document["paths"][path][method.lower()]
        assert described["summary"] == operation.summary
        assert described["security"] == ([{}] if operation.public else [{"token": []}])
        success = described["responses"][str(operation.status)]
        successes = [code for code in described["responses"] if code < "303"]
        assert successes == [str(operation.status)]
        if operation.response_type is None:
            assert "content" not in success
            continue
        schema = success["content"]["application/json"]["schema"]
        if operation.is_list:
            assert schema["type"] == "array"
            schema = schema["items"]
        properties = resolve(document, schema["$ref"])["properties"]
        assert set(properties) == set(operation.response_type.__struct_fields__)


def test_every_field_of_every_body_is_described(document: dict[str, Any]) -> None:
    tried = 0
    for path, method, operation in OPERATIONS:
        described = document["paths"][path][method.lower()]
        if operation.body is None:
            assert "requestBody" not in described
            continue
        tried += 1
        names = {name for name, field in operation.body.items() if field.required}
        required = set() if operation.partial else names
        assert described["requestBody"]["required"] is bool(required)
        for media in described["requestBody"]["content"].values():
            schema = media["schema"]
            assert set(schema["properties"]) == set(operation.body)
            assert set(schema.get("required", [])) == required
            for name, field in operation.body.items():
                nullable = {"type": "null"} in schema["properties"][name].get("anyOf", [])
                assert nullable is field.null
    assert tried > 10


def test_patterns_allow_empty_text_where_the_field_does(document: dict[str, Any]) -> None:
    for _path, _method, operation in OPERATIONS:
        for field in (operation.body or {}).values():
            pattern = field.schema().get("pattern")
            assert pattern is None or bool(re.search(pattern, "")) is field.blank


def test_lists_describe_their_parameters(document: dict[str, Any]) -> None:
    for path, method, operation in OPERATIONS:
        responses = document["paths"][path][method.lower()]["responses"]
        names = set(query_parameters(document, path, method))
        if operation.is_list:
            paged = {"page", "page_size", "o"}
            assert not paged & names if operation.unpaginated else paged <= names
            assert "404" in responses
            assert names - paged - {"field"} == set(operation.filters or {})
        assert ("field" in names) is operation.sparse_fields
        assert {"400", "401", "403", "406"} <= set(responses)


@pytest.mark.slow
def test_parameters_of_lists_are_checked_as_described(
    site: Site, world: World, document: dict[str, Any]
) -> None:
    person = world.person("ada")
    organisation = world.organisation(owner=person)
    project = world.project(organisation)
    objects = {"projects": project.uuid, "users": person.uuid}
    objects["imports"] = add_import(world, person, project, "judged", "somebody")
    tried = 0
    for path, method, operation in OPERATIONS:
        if not (operation.is_list and operation.filters):
            continue
        base = path
        if "{uuid}" in path:
            base = path.format(uuid=objects.get(path.split("/")[2], organisation.uuid))
        for name, described in query_parameters(document, path, method).items():
            tried += 1
            schema = described.get("items", described)
            status = site.get(f"{base}?{name}=nonsense", world.staff).status_code
            if schema.get("format") in {"uuid", "date-time"} or name in {"o", "state"}:
                assert status == 400, (path, name)
            elif name == "page":
                assert status == 404
            elif schema["type"] == "boolean":
                assert status == 200, (path, name)
            else:
                assert status in {200, 400}, (path, name)
            for value in schema.get("enum", ()):
                response = site.get(f"{base}?{name}={value}", world.staff)
                assert response.status_code == 200, (path, name, value)
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
def test_list_describes_its_filters_and_orders(
    document: dict[str, Any], path: str, some: set[str]
) -> None:
    parameters = query_parameters(document, path, "get")
    assert some <= set(parameters)
    assert "enum" in parameters["o"]["items"]


def test_responses_match_their_description(
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
        schema = document["components"]["schemas"][operation.response_type.__name__]
        body = site.get(path, world.staff).json()
        for row in body if operation.is_list else [body]:
            tried += 1
            assert set(schema.get("required", [])) <= set(row) <= set(schema["properties"])
    assert tried > 8
