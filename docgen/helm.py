"""The page of the values of the Helm chart, from its ``values.schema.json`` and ``values.yaml``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from docgen import markdown
from docgen.markdown import code, table

CHART: Final = Path(__file__).parents[1] / "packaging" / "helm" / "collegium"

_INTRODUCTION: Final = """Helm refuses values with another name or type. \
[Kubernetes](../kubernetes.md) says how to install the chart, and has an example."""


def page() -> str:
    """Return the page."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return markdown.page(
        "Values of the Helm chart",
        "packaging/helm/collegium",
        _INTRODUCTION,
        table(("value", "default", "meaning"), _rows(schema, defaults)),
    )


def _rows(schema: Mapping[str, Any], defaults: Any, above: str = "") -> Iterator[tuple[str, ...]]:
    for name, value in schema["properties"].items():
        default = (defaults or {}).get(name)
        inner = value.get("properties")
        shown = "" if inner or default is None else json.dumps(default)
        yield code(above + name), code(shown), value["description"]
        if inner:
            yield from _rows(value, default, f"{above}{name}.")
