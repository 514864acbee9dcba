"""Every field and parameter of the newer Waldur client is served, or absent for a reason.

``test_operations`` does the same for operations. The client is read, not run: its modules are
generated, and each says what it sends and what it reads.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from collegium.api import openapi
from collegium.api.waldur.routes import ROUTES
from tests.clients.test_operations import FIELDS, FOLDERS, ROOT


class Absent(NamedTuple):
    """A name that the client has, and the service has not."""

    operation: str
    name: str


@cache
def package() -> Path:
    (found,) = ROOT.glob(".venv-waldur-8.1.3/lib/python3*/site-packages/waldur_api_client")
    return found


@cache
def fields_of(module: str) -> dict[str, str | None]:
    """Return the fields of a model: name → module of the model of its values, None if it has none.

    Args:
        module: name of the module of the model.
    """
    source = _source(module)
    modules = dict(map(reversed, re.findall(r"from \.\.models\.(\w+) import (\w+)", source)))
    fields: dict[str, str | None] = {}
    for attribute, kind in re.findall(r"(?m)^    (\w+): (.+?)(?: = UNSET)?$", source):
        models = [modules[word] for word in re.findall(r"\w+", kind) if word in modules]
        # The others are enumerations.
        nested = [one for one in models if "_attrs_define" in _source(one)]
        # A keyword of Python has an underscore behind it.
        fields[re.sub("_$", "", attribute)] = nested[0] if nested else None
    fields.pop("additional_properties", None)
    return fields


def _source(module: str) -> str:
    return (package() / "models" / f"{module}.py").read_text()


class Served:
    """The OpenAPI document of the service."""

    def __init__(self) -> None:
        self.document = openapi.describe(ROUTES)
        self.operations = {
            (_without_names(path), method): operation
            for path, table in self.document["paths"].items()
            for method, operation in table.items()
        }

    def properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the properties of an object, or of the items of a list."""
        if "$ref" in schema:
            return self.properties(
                self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            )
        for variant in schema.get("anyOf", ()):
            if found := self.properties(variant):
                return found
        if "items" in schema:
            return self.properties(schema["items"])
        return dict(schema.get("properties", {}))

    def missing(self, schema: dict[str, Any], module: str, prefix: str = "") -> Iterator[str]:
        """Yield the fields of a model that a schema does not have; those inside with a dot."""
        properties = self.properties(schema)
        for name, nested in fields_of(module).items():
            if name not in properties:
                yield prefix + name
            elif nested is not None and self.properties(properties[name]):
                yield from self.missing(properties[name], nested, f"{prefix}{name}.")


def _without_names(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def _contents(part: dict[str, Any]) -> dict[str, Any]:
    for content in part.get("content", {}).values():
        return dict(content["schema"])
    return {}


def missing_in(served: Served, module: Path) -> Iterator[str]:
    """Yield the names of an operation of the client that the service does not have."""
    source = module.read_text()
    method, url = re.findall(r'"method": "(\w+)",\s+"url": f?"([^"]+)"', source)[0]
    # Lists answer HEAD with the parameters of GET.
    key = (_without_names(url), "get" if method == "head" else method)
    operation = served.operations.get(key)
    if operation is None:
        return  # test_operations judges it
    modules = dict(map(reversed, re.findall(r"from \.\.\.models\.(\w+) import (\w+)", source)))
    known = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
    yield from sorted(set(re.findall(r'params\["(\w+)"\]', source)) - known)
    arguments = source.partition("def _get_kwargs(")[2].partition(") -> ")[0]
    bodies = re.findall(r"\w+", arguments.partition("body: ")[2])
    for model in bodies:
        # The forms have the fields of the JSON.
        if model in modules and not model.endswith(("Form", "Multipart")):
            yield from served.missing(_contents(operation.get("requestBody", {})), modules[model])
    for model in dict.fromkeys(re.findall(r"(\w+)\.from_dict\(", source)):
        for status, answer in operation["responses"].items():
            if status.startswith("2") and model in modules:
                yield from served.missing(_contents(answer), modules[model])


class Row(NamedTuple):
    """What one row of the page says is absent: patterns of operations, patterns of names."""

    operations: list[str]
    names: list[str]

    def has(self, one: Absent) -> bool:
        return any(fnmatchcase(one.operation, each) for each in self.operations) and any(
            fnmatchcase(one.name, each) for each in self.names
        )

    def stale(self, absent: set[Absent]) -> set[str]:
        """Return the patterns that no longer match anything."""
        own = [one for one in absent if self.has(one)]
        return {
            *(each for each in self.operations if not fnmatch.filter([o for o, _ in own], each)),
            *(each for each in self.names if not fnmatch.filter([n for _, n in own], each)),
        }


def rows_of_page() -> list[Row]:
    page = (ROOT / "docs" / "waldur.md").read_text().partition(FIELDS)[2].partition("\n## ")[0]
    cells = re.findall(r"(?m)^\|(.+?)\|(.+?)\| .+ \|$", page)
    found = (Row(*(re.findall(r"`([a-z_.*]+)`", cell) for cell in pair)) for pair in cells)
    return [row for row in found if row.names]


def test_field_and_parameter_is_served_or_listed_with_its_reason() -> None:
    served = Served()
    absent = {
        Absent(module.stem, name)
        for folder in FOLDERS
        for module in (package() / "api" / folder).glob("[!_]*.py")
        for name in missing_in(served, module)
    }
    # The client was read: it sends and reads more than the service has.
    assert len(fields_of("customer")) > 60
    assert Absent("customers_list", "customer_credit") not in absent
    rows = rows_of_page()
    unlisted = {one for one in absent if not any(row.has(one) for row in rows)}
    assert not unlisted, "serve them, or say in waldur.md why not"
    stale = [patterns for row in rows if (patterns := row.stale(absent))]
    assert not stale, "the page says that they are absent"
