"""OpenAPI documents, generated from the route tables that also serve the requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from collegium import __version__
from collegium.api.request import Endpoint, Routes

_JSON: Final = "application/json"
_TEXT: Final = {"type": "string"}
_PAGE_SCHEMA: Final = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "last"}]}
_SIZE_SCHEMA: Final = {"type": "integer", "minimum": 1}


def describe(routes: Routes) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document for the routes of one protocol."""
    structs = sorted(
        {
            endpoint.response_type
            for table in routes.values()
            for endpoint in table.values()
            if endpoint.response_type
        },
        key=lambda struct: str(struct.__name__),
    )
    schemas, components = msgspec.json.schema_components(
        structs, ref_template="#/components/schemas/{name}"
    )
    schema_by_struct = dict(zip(structs, schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Collegium",
            "version": __version__,
            "description": "Who belongs to which organisation, project and group, in which "
            "role, until when, and who added them.",
        },
        "paths": {
            path: {
                method.lower(): _operation(path, method, endpoint, schema_by_struct)
                for method, endpoint in table.items()
            }
            for path, table in routes.items()
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token`, or `Bearer` where paths begin with "
                    "`/api/private/`, and a space before the token.",
                }
            },
        },
    }


def _operation(
    path: str, method: str, endpoint: Endpoint, schema_by_struct: dict[Any, dict[str, Any]]
) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "Done."}
    if endpoint.response_type is not None:
        schema = schema_by_struct[endpoint.response_type]
        content_schema = {"type": "array", "items": schema} if endpoint.is_list else schema
        response["content"] = {_JSON: {"schema": content_schema}}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in re.findall(r"{(\w+)}", path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": filter_type.schema()}
        for name, filter_type in sorted((endpoint.filters or {}).items())
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": schema}
        for name, text, schema in _query_parameters(endpoint)
    ]
    description: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _operation_id(path, method),
        "tags": [_tag(path)],
        "parameters": parameters,
        "responses": {str(endpoint.status): response, **_error_responses(path, endpoint)},
        "security": [{}] if endpoint.public else [{"token": []}],
    }
    if endpoint.body is not None:
        schema = _body_schema(endpoint)
        # A body is optional if none of its fields is required.
        description["requestBody"] = {
            "required": "required" in schema,
            "content": {endpoint.body_type: {"schema": schema}},
        }
    return description


def _tag(path: str) -> str:
    match path.split("/"):
        case ["", "api", "private" | "public", _app, noun, *_rest]:
            return noun
        case ["", "api", noun, *_rest]:
            return noun
    return "login"


def _query_parameters(endpoint: Endpoint) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the parameters that all lists share, as (name, description, schema)."""
    if endpoint.sparse_fields:
        names = [*endpoint.response_type.__struct_fields__]
        names += sorted(getattr(endpoint.response_type, "write_only", ()))
        yield "field", "Return only these fields.", _one_of_schemas(names)
    if endpoint.is_list and not endpoint.unpaginated:
        names = [prefix + name for name in sorted(endpoint.orders) for prefix in ("", "-")]
        order = _one_of_schemas(names) if names else _TEXT
        yield "o", "Sort order: field names, with `-` in front for descending.", order
        yield "page", "Number of the page, from 1, or `last`.", _PAGE_SCHEMA
        yield "page_size", "Rows per page, at most 300.", _SIZE_SCHEMA


def _one_of_schemas(names: list[str]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "enum": names}}


def _error_responses(path: str, endpoint: Endpoint) -> dict[str, Any]:
    codes = {
        "400": "The request is not valid, or not possible at the moment.",
        "401": "The token is missing or not valid.",
        "403": "You do not have permission to do this.",
        "406": "The response is JSON.",
    }
    # The public portal can be disabled; its paths then answer 404.
    if "{" in path or endpoint.is_list or path.startswith("/api/public/"):
        codes["404"] = "The object does not exist, or you cannot see it."
    if endpoint.body is not None:
        codes["415"] = "The body must be JSON or a form."
    if path.endswith("{uuid}/"):
        codes["409"] = "Other objects depend on it."
    codes |= {str(code): text for code, text in (endpoint.other_statuses or {}).items()}
    return {
        code: {"description": text, "content": {_JSON: {"schema": {}}}}
        for code, text in sorted(codes.items())
    }


def _body_schema(endpoint: Endpoint) -> dict[str, Any]:
    properties = {}
    for name, field in (endpoint.body or {}).items():
        schema = field.schema()
        properties[name] = {"anyOf": [schema, {"type": "null"}]} if field.null else schema
    required = [name for name, field in (endpoint.body or {}).items() if field.required]
    body_schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required and not endpoint.partial:
        body_schema["required"] = required
    return body_schema


def _operation_id(path: str, method: str) -> str:
    words = [word for word in re.split(r"[/{}_-]+", path) if word and word not in {"api", "uuid"}]
    return "_".join([*words, *(["one"] if path.endswith("{uuid}/") else []), method.lower()])
