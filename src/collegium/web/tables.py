"""Keep tables accessible to screen readers where the style sheet turns rows into cards."""

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
    """Jinja extension that writes ARIA roles into the tables of each template.

    A row whose ``display`` is no longer ``table-row``, because the screen is narrow, loses its role
    in some browsers (Chromium keeps it). Screen readers can then not move by column. An explicit
    role stays.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Write the roles into a template before it is compiled."""
        del name, filename
        return _TAG.sub(lambda match: f'<{match[1]} role="{_ROLES[match[1]]}"', source)
