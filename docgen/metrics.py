"""The page of the metrics, from the registry of ``collegium.api.middleware``."""

from __future__ import annotations

from typing import Final

from collegium.api import middleware
from collegium.web.routes import OUTBOX_METRICS
from docgen import markdown
from docgen.markdown import table

_INTRODUCTION: Final = """`/metrics` has these metrics in the format of Prometheus. [Operating \
Collegium](../operating.md#health-checks) says who may ask, and
what to watch."""

_LABELS: Final = {
    "collegium_requests": "{method,status}",
    "collegium_streams": "{ending}",
}
"""Labels of a metric; the registry tells them only once there is a value."""


def page() -> str:
    """Return the page."""
    rows = [
        (f"`{_name(one.name, one.type)}`", one.type, one.documentation, "each process for itself")
        for one in middleware.registry.collect()
    ]
    rows += [
        (f"`{name}`", "gauge", text, "the database, the same everywhere")
        for name, (_, text) in OUTBOX_METRICS.items()
    ]
    return markdown.page(
        "Metrics",
        "src/collegium/api/middleware.py and src/collegium/web/routes.py",
        _INTRODUCTION,
        table(("metric", "type", "meaning", "counted by"), rows),
    )


def _name(name: str, kind: str) -> str:
    return name + ("_total" if kind == "counter" else "") + _LABELS.get(name, "")
