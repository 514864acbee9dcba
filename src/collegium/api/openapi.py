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
_PAGE: Final = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "last"}]}
_SIZE: Final = {"type": "integer", "minimum": 1}


def describe(routes: Routes) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document for the routes of one protocol."""
    structs = sorted(
        {
            one.response_type
            for table in routes.values()
            for one in table.values()
            if one.response_type
        },
        key=lambda struct: str(struct.__name__),
    )
    schemas, components = msgspec.json.schema_components(
        structs, ref_template="#/components/schemas/{name}"
    )
    known = dict(zip(structs, schemas, strict=True))
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
                method.lower(): _operation(path, method, one, known)
                for method, one in table.items()
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
    path: str, method: str, operation: Endpoint, known: dict[Any, dict[str, Any]]
) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    if operation.response_type is not None:
        schema = known[operation.response_type]
        shown = {"type": "array", "items": schema} if operation.is_list else schema
        answer["content"] = {_JSON: {"schema": shown}}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in re.findall(r"{(\w+)}", path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": kind.schema()}
        for name, kind in sorted((operation.filters or {}).items())
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": schema}
        for name, text, schema in _query_parameters(operation)
    ]
    said: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _name(path, method),
        "tags": [_tag(path)],
        "parameters": parameters,
        "responses": {str(operation.status): answer, **_refusals(path, operation)},
        "security": [{}] if operation.public else [{"token": []}],
    }
    if operation.body is not None:
        schema = _form(operation)
        # A body is optional if none of its fields is required.
        said["requestBody"] = {
            "required": "required" in schema,
            "content": {_JSON: {"schema": schema}},
        }
    return said


def _tag(path: str) -> str:
    match path.split("/"):
        case ["", "api", "private" | "public", _app, noun, *_rest]:
            return noun
        case ["", "api", noun, *_rest]:
            return noun
    return "login"


def _query_parameters(operation: Endpoint) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the parameters that all lists share, as (name, description, schema)."""
    if operation.sparse_fields:
        names = [*operation.response_type.__struct_fields__]
        names += sorted(getattr(operation.response_type, "write_only", ()))
        yield "field", "Return only these fields.", _one_of_schemas(names)
    if operation.is_list and not operation.unpaginated:
        names = [sign + name for name in sorted(operation.orders) for sign in ("", "-")]
        order = _one_of_schemas(names) if names else _TEXT
        yield "o", "Sort order: field names, with `-` in front for descending.", order
        yield "page", "Number of the page, from 1, or `last`.", _PAGE
        yield "page_size", "Rows per page, at most 300.", _SIZE


def _one_of_schemas(names: list[str]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "enum": names}}


def _refusals(path: str, operation: Endpoint) -> dict[str, Any]:
    codes = {
        "400": "The request is not valid, or not possible at the moment.",
        "401": "The token is missing or not valid.",
        "403": "You do not have permission to do this.",
        "406": "The response is JSON.",
    }
    # The public portal can be disabled; its paths then answer 404.
    if "{" in path or operation.is_list or path.startswith("/api/public/"):
        codes["404"] = "The object does not exist, or you cannot see it."
    if operation.body is not None:
        codes["415"] = "The body must be JSON or a form."
    if path.endswith("{uuid}/"):
        codes["409"] = "Other objects depend on it."
    return {
        code: {"description": text, "content": {_JSON: {"schema": {}}}}
        for code, text in sorted(codes.items())
    }


def _form(operation: Endpoint) -> dict[str, Any]:
    properties = {}
    for name, field in (operation.body or {}).items():
        schema = field.schema()
        properties[name] = {"anyOf": [schema, {"type": "null"}]} if field.null else schema
    required = [name for name, field in (operation.body or {}).items() if field.required]
    said: dict[str, Any] = {"type": "object", "properties": properties}
    if required and not operation.partial:
        said["required"] = required
    return said


def _name(path: str, method: str) -> str:
    words = [word for word in re.split(r"[/{}_-]+", path) if word and word not in {"api", "uuid"}]
    return "_".join([*words, *(["one"] if path.endswith("{uuid}/") else []), method.lower()])
