"""Making a page. How to add one:

1. A function in the noun's file of this folder. To show something,
   ``def show(visit, tx) -> Answer``; it asks the store, beginning from what ``visit.actor`` may
   see, and ends with ``return page(visit, "name", fact=...)``. To do something,
   ``def save(visit) -> Answer``: read the fields of ``visit.form``, open
   ``with visit.write() as tx:``, call a deed, and end with
   ``return visit.go("/path/", "A sentence that says what happened.")``.
2. ``"/path/": {"GET": Page(show, "What it is."), "POST": Page(save, "What it does.")}`` in the
   noun's ``ROUTES``, and that in ``routes.py``. Nobody gets there without being signed in, unless
   it says ``open=True``; then ``visit.is_signed_in`` tells. The CSRF token of each POST was
   checked before the function is called, and the transaction of a GET cannot write.
3. ``templates/name.html``: ``{% extends "layout.html" %}``, a ``title``, a ``main`` that begins
   with one ``<h1>`` and says in a sentence what this is and what to do next. From ``parts.html``:

   * ``{% call form(visit, creates=true)`` for a form that makes something new;
   * ``{% call form(visit) %}…{% endcall %}`` a POST form with its token; ``field(form, "name",
     "Label")``, ``area``, ``tick``, ``choose``: each with hint and error at its place;
   * ``faults(form)`` all errors together, above the form, each a link to its field;
   * ``pages(paging)`` the way through a long list; ``class="rows wide"`` on a table gives it the
     width of the page, and makes cards of its rows on a phone, where each
     ``<td data-label="…">`` says its column. ``tables.py`` keeps their roles.

A page that makes something new is a ``Page(…, creates=True)``. It opens
``with visit.create() as tx:`` and ends that block with ``visit.created(tx, "/path/", "Done.")``
before it goes there: so pressing twice makes one, and the second press is answered as the first.

A refusal that the function does not catch becomes a page of its own, in the words of
``words.py``: NotFound 404, Forbidden 403, Limited 429, anything else 409. To show the form again
with the error at its field, catch it: ``except (Conflict, Invalid) as refusal:
visit.form.refused(refusal)``, then the page anew with status 422 and ``form=visit.form``.
Lists: ``paging = Paging(visit, listing.count(…))``, then
``listing.page(…, paging.size, paging.offset)``. Links of the header are ``NAVIGATION``.
Nothing here decides anything: rules and rows are elsewhere, and no template asks the database.
"""  # noqa: D400 - a headline, then steps

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from collegium.api.request import Answer, Endpoint
from collegium.invitations import links
from collegium.text.names import isolated, keep_isolates
from collegium.web import messages
from collegium.web.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from collegium.web.browser_request import BrowserRequest

HTML: Final = "text/html"
STATIC: Final = Path(__file__).parent / "static"

NAVIGATION: Final = [
    ("/account/", "My account"),
    ("/teams/", "Teams"),
    ("/requests/", "Requests"),
]
"""Path and text of what the header leads to, for whoever is signed in."""

STAFF_NAVIGATION: Final = [("/staff/", "Staff")]
"""The same, besides, for staff and support."""

_PAGE_SIZE: Final = 25
_PAGE_MAX: Final = 200


ROWS_MAX: Final = _PAGE_SIZE * _PAGE_MAX
"""So many rows of a list can be paged to; nobody does, and each would be passed over."""


@dataclass(frozen=True, slots=True)
class Page(Endpoint):
    """An operation that a person does in a browser.

    ``run`` is given a ``Visit``; for GET a reading transaction besides.

    Args:
        creates: whether its form makes something new, and so carries a one-time number.
        replay: what answers a form that is sent once more, with what ``Visit.created`` was told;
            ``Visit.go`` unless there is something else to do.
    """

    creates: bool = False
    replay: Callable[..., Answer] | None = None


class Paging:
    """Where somebody is in a list.

    Args:
        total: rows on all pages together.
    """

    def __init__(self, browser: BrowserRequest, total: int, size: int = _PAGE_SIZE) -> None:
        text = browser.query_value("page")
        wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1  # noqa: PLR2004 - a number
        self.total = total
        self.size = size
        self.last = max(1, min(-(-total // size), _PAGE_MAX))
        self.is_cut = total > self.last * size
        self.number = min(max(wanted, 1), self.last)
        self.offset = (self.number - 1) * size
        self._visit = browser

    def link(self, number: int) -> str:
        """Give the address of another page of the same list."""
        kept = [
            (name, value)
            for name, values in self._visit.query.items()
            if name != "page"
            for value in values
        ]
        return "?" + urlencode([*kept, ("page", number)])


@cache
def style() -> tuple[str, bytes]:
    """Give the address of the style sheet, which changes with its text, and the text."""
    text = (STATIC / "style.css").read_bytes()
    return f"/static/style.css?{hashlib.sha256(text).hexdigest()[:12]}", text


@cache
def templates() -> Environment:
    """Give the templates; anything that is not there is a fault, not an empty place."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=[Tables],
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_straight,
    )
    environment.filters["day"] = day
    environment.filters["moment"] = moment
    environment.filters["place"] = messages.place
    environment.filters["role"] = messages.role
    environment.filters["person"] = messages.person
    environment.filters["label"] = messages.label
    environment.filters["isolated"] = isolated
    environment.globals["deciders"] = messages.deciders
    environment.globals["team_path"] = links.scope_path
    environment.globals["style"] = lambda: style()[0]
    environment.globals["navigation"] = NAVIGATION
    environment.globals["staff_navigation"] = STAFF_NAVIGATION
    return environment


def _straight(value: Any) -> Any:
    """Leave out of a text what would turn the reading direction of the page around it."""
    if isinstance(value, Markup):
        # A part of the page that was made already: what stands in it has been looked at.
        return value
    return keep_isolates(value) if isinstance(value, str) else value


def day(at: datetime) -> str:
    """Give a day as people write it."""
    return f"{at.day} {at:%B %Y}"


def moment(at: datetime) -> str:
    """Give a moment as people write it."""
    at = at.astimezone(UTC)
    return f"{day(at)}, {at:%H:%M} UTC"


def page(browser: BrowserRequest, name: str, status: int = 200, **facts: Any) -> Answer:
    """Render a template to a page."""
    text = (
        templates()
        .get_template(f"{name}.html")
        .render(
            browser=browser,
            site_name=browser.settings.site_name,
            footer=browser.settings.common_footer_text,
            **facts,
        )
    )
    return Answer(status, text.encode("utf-8", "replace"), media=HTML)


def error_page(
    browser: BrowserRequest, status: int, title: str, said: str, *, link: str = ""
) -> Answer:
    """Say on a page of its own why something was not done, and where to go from there.

    Args:
        link: where else to go, in full.
    """
    return page(browser, "trouble", status, title=title, said=said, link=link)
