"""Build pages. To add one:

1. Write a function in the noun's file of this folder.

   To show something, write ``def show(browser, tx) -> Response``. It runs queries, which start from
   what ``browser.actor`` may see, and ends with ``return page(browser, "name", fact=...)``.

   To do something, write ``def save(browser) -> Response``. It reads the fields of
   ``browser.form``, opens ``with browser.write() as tx:``, calls an action, and ends with
   ``return browser.redirect("/path/", "A sentence that says what happened.")``.
2. Put ``"/path/": {"GET": Page(show, "What it is."), "POST": Page(save, "What it does.")}`` into
   the noun's ``ROUTES``, and those into ``routes.py``. A page requires a signed-in account unless
   it says ``public=True``; then ``browser.is_signed_in`` tells. The CSRF token of a POST is checked
   before the function is called. The transaction of a GET cannot write.
3. Write ``templates/name.html``: ``{% extends "layout.html" %}``, a ``title``, and a ``main`` that
   begins with one ``<h1>`` and says in a sentence what this is and what to do next. ``parts.html``
   offers:

   * ``{% call form(browser, creates=true) %}``: a form that creates something, or that can be sent
     once;
   * ``{% call form(browser) %}…{% endcall %}``: any other POST form, with its CSRF token;
   * ``field(form, "name", "Label")``, ``area``, ``tick``, ``choose``: inputs with hint and error;
   * ``faults(form)``: all errors together above the form, each a link to its field;
   * ``passkey(kind, begun, "Label")``: a button that asks for a passkey. The page then includes
     ``passkey_script.html`` in the block ``script``;
   * ``pages(paging)``: the links between the pages of a list;
   * ``heading(sorting, "order", …)``: a heading of a table that sorts its list. The table is
     ``class="rows wide sortable"``, the row of its headings has ``data-label="{{ _("Sort by") }}"``
     for phones, and ``kept_order(sorting)`` keeps the order in the form of the filters;
   * ``member(row)``, ``avatar(row)``: a person, with picture or initials;
   * ``state(label, tone=row.state | tone)``: a state, with its colour and sign.

   ``{{ row.created_at | near(browser.now) }}`` shows a time relative to now, ``ends`` an end with a
   label when it is near. One button of a page is the main one; others are ``class="quiet"``, and
   ``class="danger"`` if they take something away. A list without rows is a ``<div class="empty">``
   that says how to get some.

   Every sentence is marked: ``{% trans name=row | person %}{{ name }} has joined.{% endtrans %}``,
   or ``_("Label")`` in the argument of a macro. One mark holds a whole sentence, because the order
   of its words is another in other languages.

   ``class="rows wide"`` on a table gives it the width of the page. On a phone it turns the rows
   into cards, where each ``<td data-label="…">`` names its column. ``tables.py`` keeps the roles of
   the cells for screen readers.

A page that creates something is a ``Page(…, creates=True)``. It opens
``with browser.create() as tx:`` and ends that block with
``browser.created(tx, "/path/", "Done.")`` before it redirects there. Pressing the button twice then
creates one object, and both submissions get the same response.

A page that takes something away, or uses it up, is a ``Page(…, once=True)``. It ends its
``with browser.write() as tx:`` with ``return browser.answer(tx, "/path/", "Done.")``. Pressing the
button twice would be refused the second time; that submission gets the first response again.

A refusal that the function does not catch becomes an error page with the message of
``messages.py``: 404 for NotFound, 403 for Forbidden, 429 for Limited, 409 for all others except
Unauthenticated, which redirects to the sign-in page. To show the form again with the error at its
field, catch ``(Conflict, Invalid) as refusal``, call ``browser.form.add_refusal(refusal)``, and
return the page with status 422 and ``form=browser.form``. An action runs only when the form is
valid, so ask the rules of its fields before: ``form.judge(rule, value)``, or
``form.add_refusals(problems)``. Otherwise one mistake hides another.

Before a page changes a password, an address, a token, an identity or a role of staff, it calls
``confirmation.require(browser)``, outside of every transaction. If the last sign-in or confirmation
is too long ago, the person is asked for the password or a code, and the same form is sent again.

For a list, use ``rows, paging = load_page(browser, tx, listing, filters)``. ``sorting.py`` names
the orders that people can choose. The links of the header are in ``NAVIGATION``. This package makes
no decisions: rules and queries are elsewhere, and no template queries the database.
"""  # noqa: D400 - a headline, then steps

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from gettext import NullTranslations
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from collegium.api.middleware import POLICY
from collegium.api.request import Endpoint, Response
from collegium.db.database import ReadTransaction
from collegium.invitations import links
from collegium.lists.listing import Listing
from collegium.text import languages
from collegium.text.languages import mark
from collegium.text.names import isolated, keep_isolates
from collegium.values import whole_number
from collegium.web import display, messages, theme
from collegium.web.browser_request import BrowserRequest
from collegium.web.delivery_reasons import delivery_reason
from collegium.web.tables import Tables

HTML: Final = "text/html"
STATIC: Final = Path(__file__).parent / "static"

NAVIGATION: Final = [
    ("/", mark("Overview")),
    ("/account/", mark("My account")),
    ("/teams/", mark("Organisations and groups")),
    ("/requests/", mark("Join requests")),
]
"""Path and label of the header's links for signed-in accounts."""

ACCOUNT_NAVIGATION: Final = [
    (
        mark("Memberships"),
        [
            ("/account/", mark("Memberships")),
            ("/account/bulk_changes/", mark("Bulk changes")),
            ("/account/reviews/", mark("Reviews")),
        ],
    ),
    (
        mark("Profile"),
        [
            ("/account/profile/", mark("Profile")),
            ("/account/address/", mark("E-mail address")),
            ("/account/agreements/", mark("Agreements")),
        ],
    ),
    (
        mark("Security"),
        [
            ("/account/password/", mark("Password")),
            ("/account/sign_in_methods/", mark("Sign-in methods")),
            ("/account/second_factor/", mark("Two-factor authentication")),
            ("/account/passkeys/", mark("Passkeys")),
            ("/account/tokens/", mark("Sessions and access tokens")),
            ("/account/keys/", mark("SSH keys")),
        ],
    ),
    (
        mark("Notifications"),
        [("/account/mails/", mark("E-mails")), ("/account/hooks/", mark("Hooks"))],
    ),
]
"""Label of each group of pages of an account, with path and label of its pages."""

STAFF_NAVIGATION: Final = [("/staff/", mark("Staff"))]
"""Further links for staff and support."""

Row = TypeVar("Row")

_PAGE_SIZE: Final = 25
_PAGE_MAX: Final = 200


ROWS_MAX: Final = _PAGE_SIZE * _PAGE_MAX
"""Maximum number of rows that paging reaches. Each skipped row takes time; nobody pages further."""


@dataclass(frozen=True, slots=True)
class Page(Endpoint):
    """An endpoint that is a page for a browser.

    ``handler`` gets a ``BrowserRequest``, and for GET a read transaction too.

    Args:
        creates: Whether its form creates something and so carries a one-time number.
        once: Whether its form does something that nobody can do twice, such as cancelling, and so
            carries a one-time number. A second submission is refused, and answered as the first.
        replay: Answers a form that is sent again. It gets the arguments that
            ``BrowserRequest.created`` or ``BrowserRequest.answer`` got. ``BrowserRequest.redirect``
            when None.
        during_setup: Whether people can use it who still have to set up two-factor authentication,
            or to agree to the terms.
        one_click: Whether programs may post to it, because its path holds a signed token that no
            other site knows.
    """

    creates: bool = False
    once: bool = False
    replay: Callable[..., Response] | None = None
    during_setup: bool = False
    one_click: bool = False


class Paging:
    """The current page of a list.

    Args:
        total: Number of rows on all pages together.
        size: Rows on a page.
    """

    def __init__(self, browser: BrowserRequest, total: int, size: int = _PAGE_SIZE) -> None:
        number = whole_number(browser.query_value("page"), 5) or 1
        self.total = total
        self.size = size
        self.last = max(1, min(-(-total // size), _PAGE_MAX))
        self.is_cut = total > self.last * size
        self.number = min(max(number, 1), self.last)
        self.offset = (self.number - 1) * size
        self._browser = browser

    def link(self, number: int) -> str:
        """Return the URL of another page of the same list."""
        return query_link(self._browser, page=str(number))


def load_page(
    browser: BrowserRequest,
    tx: ReadTransaction,
    listing: Listing[Row],
    filters: Mapping[str, Any],
    order: tuple[str, ...] = (),
    *,
    size: int = _PAGE_SIZE,
    maximum: int = 0,
) -> tuple[list[Row], Paging]:
    """Return the rows of the current page of a list, and the page.

    Args:
        filters: filters of the listing.
        order: orders of the listing.
        size: rows on a page.
        maximum: stop counting rows at this number; 0 for no limit.
    """
    paging = Paging(browser, listing.count(tx, browser.actor, filters, maximum), size)
    rows = listing.page(tx, browser.actor, filters, order, paging.size, paging.offset)
    return rows, paging


def query_link(browser: BrowserRequest, **changes: str | None) -> str:
    """Return the URL of the same page with other parameters of its query.

    Args:
        changes: name to the new value; None to leave it out.
    """
    kept = [
        (name, value)
        for name, values in browser.query.items()
        if name not in changes
        for value in values
    ]
    return "?" + urlencode([*kept, *((n, v) for n, v in changes.items() if v is not None)])


@cache
def style(colour: str | None) -> tuple[str, bytes]:
    """Return the URL of the style sheet, which changes with its content, and the content.

    Args:
        colour: of the operator, ``#rrggbb``; None for ours.
    """
    text = (STATIC / "style.css").read_bytes()
    if colour is not None:
        text += theme.accents(colour).encode("ascii")
    return f"/static/style.css?{hashlib.sha256(text).hexdigest()[:12]}", text


@cache
def script() -> tuple[str, bytes]:
    """Return the URL of the script for passkeys, which changes with its content, and the content.

    It is the only script. Pages without passkeys have none.
    """
    text = (STATIC / "passkeys.js").read_bytes()
    return f"/static/passkeys.js?{hashlib.sha256(text).hexdigest()[:12]}", text


@cache
def templates() -> Environment:
    """Return the template environment. A missing variable is an error, not an empty string."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", Tables],
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_bidi_controls,
    )
    # The style in which variables of a marked text are escaped by the functions below.
    environment.newstyle_gettext = True  # type: ignore[attr-defined]
    environment.policies["ext.i18n.trimmed"] = True
    environment.globals["gettext"] = environment.globals["_"] = _gettext
    environment.globals["ngettext"] = _ngettext
    environment.filters["day"] = languages.day
    environment.filters["moment"] = languages.moment
    environment.filters["near"] = display.near
    environment.filters["ends"] = display.ends
    environment.filters["tone"] = display.tone
    environment.filters["initials"] = display.initials
    environment.filters["first_letter"] = display.first_letter
    environment.filters["hue"] = display.hue
    environment.filters["place"] = messages.place
    environment.filters["role"] = messages.role
    environment.filters["kind"] = messages.kind_name
    environment.filters["request_state"] = messages.request_state
    environment.filters["invitation_state"] = messages.invitation_state
    environment.filters["delivery_reason"] = delivery_reason
    environment.filters["mail_state"] = messages.mail_state
    environment.filters["person"] = messages.person
    environment.filters["label"] = messages.label
    environment.filters["isolated"] = isolated
    environment.filters["sentence_case"] = messages.sentence_case
    environment.globals["agreement_names"] = messages.agreement_names
    environment.globals["role_name"] = messages.role_name
    environment.globals["language"] = languages.current
    environment.globals["direction"] = languages.direction
    environment.globals["deciders"] = messages.deciders
    environment.globals["scope_path"] = links.scope_path
    environment.globals["style"] = lambda colour: style(colour)[0]
    environment.globals["script"] = lambda: script()[0]
    environment.globals["navigation"] = NAVIGATION
    environment.globals["account_navigation"] = ACCOUNT_NAVIGATION
    environment.globals["account_paths"] = [
        path for _group, parts in ACCOUNT_NAVIGATION for path, _text in parts
    ]
    environment.globals["part_of"] = display.part_of
    environment.globals["staff_navigation"] = STAFF_NAVIGATION
    return environment


@lru_cache(maxsize=4096)
def _constant(catalogue: NullTranslations, text: str) -> Markup:
    """Return a marked text without values. A list shows the same ones in every row."""
    return _filled(catalogue.gettext(text), {})


def _gettext(text: str, /, **values: Any) -> Markup:
    if not values:
        return _constant(languages.catalogue(languages.current()), text)
    return _filled(languages.gettext(text), values)


def _ngettext(singular: str, plural: str, num: int, /, **values: Any) -> Markup:
    return _filled(languages.ngettext(singular, plural, num), {"num": num} | values)


def _filled(text: str, values: dict[str, Any]) -> Markup:
    """Return a marked text with its values escaped, as they are outside of marked texts."""
    cleaned = {name: _without_bidi_controls(value) for name, value in values.items()}
    return Markup(text) % cleaned  # noqa: S704 - a text of the code or of a catalogue


def _without_bidi_controls(value: Any) -> Any:
    """Remove bidirectional control characters that would change the direction of the page."""
    if isinstance(value, Markup):
        # Markup is a part of the page that was rendered before: its values were cleaned then.
        return value
    return keep_isolates(value) if isinstance(value, str) else value


def page(browser: BrowserRequest, name: str, status: int = 200, **variables: Any) -> Response:
    """Return a rendered template as a response.

    Args:
        variables: Variables of the template.
    """
    text = (
        templates()
        .get_template(f"{name}.html")
        .render(
            browser=browser,
            site_name=browser.settings.site_name,
            footer=browser.settings.common_footer_text,
            **variables,
        )
    )
    headers = {}
    if "script_nonce" in vars(browser):
        headers["content-security-policy"] = f"{POLICY}; script-src 'nonce-{browser.script_nonce}'"
    return Response(status, text.encode("utf-8", "replace"), headers, HTML)


def error_page(
    browser: BrowserRequest, status: int, title: str, message: str, *, link: str = ""
) -> Response:
    """Return a page that says why something was not done, and where to go from there.

    Args:
        link: Absolute URL to continue at; empty for none.
    """
    return page(browser, "error", status, title=title, said=message, link=link)
