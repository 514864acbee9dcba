"""The pages of an API, from its OpenAPI document: one for each tag, and one of its objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from docgen import markdown
from docgen.markdown import NOTHING, code, table

OBJECTS: Final = "objects.md"
_LIMITS: Final = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "minimum": "at least {}",
    "maximum": "at most {}",
}
"""Keyword of JSON Schema → what it says."""

Document = Mapping[str, Any]


def pages(document: Document, title: str) -> dict[str, str]:
    """Return the Markdown of each page by its name.

    Args:
        document: an OpenAPI document.
        title: name of the API.
    """
    by_tag: dict[str, list[tuple[str, str, Document]]] = {}
    for path, table_of_methods in document["paths"].items():
        for method, operation in table_of_methods.items():
            (tag,) = operation["tags"]
            by_tag.setdefault(tag or "root", []).append((method.upper(), path, operation))
    found = {
        f"{tag}.md": markdown.page(tag, "the routes", f"Operations of the {title}.", *_tag(rows))
        for tag, rows in sorted(by_tag.items())
    }
    schemas = document["components"]["schemas"]
    return found | {OBJECTS: markdown.page("Objects", "the routes", *_objects(schemas, title))}


def _tag(operations: list[tuple[str, str, Document]]) -> Iterator[str]:
    for method, path, operation in operations:
        yield f"## {method} {path}"
        yield str(operation["summary"]) + (" For everybody." if {} in operation["security"] else "")
        if operation["parameters"]:
            yield table(
                ("parameter", "in", "type", "meaning"),
                [
                    (code(one["name"]), one["in"], type_text(one["schema"]), _meaning(one))
                    for one in operation["parameters"]
                ],
            )
        for media, body in operation.get("requestBody", {}).get("content", {}).items():
            schema = body["schema"]
            yield f"The body is `{media}`:"
            yield _fields(schema, set(schema.get("required", ())))
        yield _answer(operation["responses"])


def _meaning(parameter: Document) -> str:
    return str(parameter.get("description", ""))


def _answer(responses: Document) -> str:
    """Return what the operation answers: the object of the first status, then other statuses."""
    status, response = next(iter(responses.items()))
    schema = response.get("content", {}).get("application/json", {}).get("schema")
    success = f"{type_text(schema)}, with status {status}" if schema else f"status {status}"
    others = ", ".join(str(one) for one in responses if one != status)
    return f"Answers {success}. [Errors](../errors.md): {others}."


def _objects(schemas: Document, title: str) -> Iterator[str]:
    yield f"Objects that the {title} answers."
    for name, schema in schemas.items():
        yield f"## {name}"
        if "description" in schema:
            yield " ".join(str(schema["description"]).split())
        yield _fields(schema, set()) if "properties" in schema else type_text(schema)


def _fields(schema: Document, required: set[str]) -> str:
    """Return the table of the fields of an object; with a column of what is required in a body."""
    properties = schema.get("properties", {})
    rows = [
        (code(name), type_text(one), *(("yes" if name in required else "",) if required else ()))
        for name, one in properties.items()
    ]
    return table(("field", "type", *(("required",) if required else ())), rows)


def type_text(schema: Document) -> str:
    """Return the type of a value in words, with a link to an object."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{name}]({OBJECTS}#{name.lower()})"
        case {"anyOf": list(schemas)}:
            return " or ".join(type_text(one) for one in schemas)
        case {"enum": list(values)}:
            return ", ".join(code(str(value)) for value in values)
        case {"const": value}:
            return code(str(value))
        case {"type": "array"}:
            text = f"list of {type_text(schema['items'])}" if schema.get("items") else "list"
        case {"type": "object", "additionalProperties": dict(values)} if values:
            text = f"object with values {type_text(values)}"
        case {"type": str(name)}:
            text = name
        case _:
            return "any" if not schema else NOTHING
    notes = [str(schema["format"])] if "format" in schema else []
    notes += [text.format(schema[one]) for one, text in _LIMITS.items() if one in schema]
    return f"{text} ({', '.join(notes)})" if notes else text
