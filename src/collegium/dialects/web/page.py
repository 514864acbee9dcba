"""Making a page from a template."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from collegium.dialects.http import Answer

if TYPE_CHECKING:
    from collegium.settings import Settings

HTML: Final = "text/html"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["day"] = lambda moment: f"{moment.day} {moment:%B %Y}"
    return environment


def page(settings: Settings, name: str, status: int = 200, **facts: Any) -> Answer:
    """Render a template to a page."""
    template = _templates().get_template(f"{name}.html")
    text = template.render(site_name=settings.site_name, **facts)
    return Answer(status, text.encode(), media=HTML)
