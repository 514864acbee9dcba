"""Which pages are generated into ``docs/reference/``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from docgen import commands, errors, events, helm, mails, metrics, permissions, settings

DOCS: Final = Path(__file__).parents[1] / "docs"
FOLDER: Final = DOCS / "reference"

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings.page,
    "commands.md": commands.page,
    "helm.md": helm.page,
    "permissions.md": permissions.page,
    "events.md": events.page,
    "mails.md": mails.page,
    "errors.md": errors.page,
    "metrics.md": metrics.page,
}
"""Name of a page, and the function that returns its Markdown."""


def write() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
