"""Tables that stay tables to whoever cannot see them, also where the style sheet makes cards."""

from __future__ import annotations

import re
from typing import Final

from jinja2.ext import Extension

_ROLES: Final = {
    "table": "table",
    "thead": "rowgroup",
    "tbody": "rowgroup",
    "tr": "row",
    "td": "cell",
    'th scope="col"': "columnheader",
    'th scope="row"': "rowheader",
}
_TAG: Final = re.compile(f"<({'|'.join(_ROLES)})(?=[ >])")


class Tables(Extension):
    """Says of each table in a template what it is.

    A row that is no ``table-row`` any more, because a telephone is too narrow for it, loses its
    role in some browsers (Chromium keeps it), and with it the way through the columns; one that
    is written stays.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Write the roles into a template, before it is compiled."""
        del name, filename
        return _TAG.sub(lambda found: f'<{found[1]} role="{_ROLES[found[1]]}"', source)
