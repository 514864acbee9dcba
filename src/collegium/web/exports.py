"""The downloads of a scope: its members, invitations and audit log, filtered as on their pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from collegium.access.rules import ScopeKind
from collegium.api import exports
from collegium.api.request import Response, Routes
from collegium.exports.rules import Format, Subject
from collegium.refusals import NotFound
from collegium.security.rate_limits.rules import EXPORT
from collegium.text.languages import mark, translated
from collegium.web.browser_request import BrowserRequest
from collegium.web.page import Page
from collegium.web.scope import Right, ScopePage

_LABELS: Final = {Format.CSV: mark("Download CSV"), Format.JSON: mark("Download JSON")}
_PARAMETERS: Final = {
    Subject.MEMBERS: ("q",),
    Subject.INVITATIONS: ("q", "state"),
    Subject.HISTORY: ("about", "since", "until"),
}
"""The parameters of each page that filter its list."""

Filters = Callable[[BrowserRequest], dict[str, Any]]


def links(
    browser: BrowserRequest, scope_page: ScopePage, subject: Subject
) -> list[tuple[str, str]]:
    """Return the URL and label of the downloads of the list that a page shows."""
    given = ((name, browser.query_value(name)) for name in _PARAMETERS[subject])
    query = {name: value for name, value in given if value}
    return [
        (f"{scope_page.path}export/{subject}/?{urlencode(query | {'format': file_format})}", label)
        for file_format, label in translated(_LABELS).items()
    ]


def _download(
    kind: ScopeKind, subject: Subject, read_filters: Filters, browser: BrowserRequest
) -> Response:
    text = browser.query_value("format") or Format.CSV
    if text not in list(Format):
        raise NotFound("export.format")
    right: Right = "invitations" if subject is Subject.INVITATIONS else ""
    with browser.read() as tx:
        access = ScopePage.load(browser, tx, kind, right=right, has_menu=False).access
    return exports.respond(browser, access, subject, Format(text), read_filters(browser))


def routes(kind: ScopeKind, path: str, filters: dict[Subject, Filters]) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
        filters: What reads the filters of each list from the query.
    """
    names = {
        Subject.MEMBERS: "members",
        Subject.INVITATIONS: "invitations",
        Subject.HISTORY: "audit log",
    }
    return {
        f"{path}export/{subject}/": {
            "GET": Page(
                partial(_download, kind, subject, filters[subject]),
                f"Download the {name} as CSV or JSON.",
                mutates=True,
                limits=(EXPORT,),
            )
        }
        for subject, name in names.items()
    }
