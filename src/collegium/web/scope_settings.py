"""The settings of an organisation or project: who may have a role there, address, language."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from collegium.access.rules import ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invite_links.rules import PATTERN_MAX, PATTERNS_MAX, check_patterns
from collegium.refusals import Forbidden
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.projects import actions as project_actions
from collegium.scopes.projects import queries as project_queries
from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page
from collegium.web.scope import ScopePage

_LISTS: Final = {
    "email_patterns": (PATTERN_MAX, PATTERNS_MAX),
    "affiliations": (255, 200),
    "identity_sources": (50, 50),
}
"""Column → maximum length of a line, maximum number of lines; as in the API."""

_ADDRESS: Final = {
    "address": (mark("Address"), 300),
    "household": (mark("Building or recipient"), 255),
    "street": (mark("Street"), 255),
    "house_nr": (mark("House number"), 255),
    "apartment_nr": (mark("Flat or room"), 255),
    "postal": (mark("Postcode"), 20),
    "city": (mark("City"), 255),
    "parish": (mark("Parish or district"), 255),
    "state": (mark("State or region"), 255),
}
"""Column of an organisation → label, maximum length; as in the API."""


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render(kind, browser, tx, None)


def _render(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction, form: Form | None
) -> Response:
    """Return the page.

    Args:
        form: the form with its errors; None for the present settings.
    """
    scope_page = ScopePage.load(browser, tx, kind)
    if not scope_page.reads_settings:
        raise Forbidden("permission.missing")
    rows: list[Any] = []
    if kind is ScopeKind.PROJECT:
        rows.append(project_queries.get_visible(tx, browser.actor, scope_page.scope.uuid))
    organisation = scope_page.scope.parent_id or scope_page.scope.id
    rows.append(organisation_queries.existing(tx, organisation))
    shown, *inherited = ({name: getattr(row, name) for name in _LISTS} for row in rows)
    is_organisation = kind is ScopeKind.ORGANISATION
    address = {name: str(getattr(rows[0], name)) for name in _ADDRESS} if is_organisation else {}
    language = rows[0].language if is_organisation else ""
    return page(
        browser,
        "scope_settings",
        200 if form is None else 422,
        scope_page=scope_page,
        shown=shown,
        inherited=inherited[0] if inherited and any(inherited[0].values()) else None,
        labels=[(name, _(label), most) for name, (label, most) in _ADDRESS.items()],
        address=address,
        languages=_language_options(language) if is_organisation else [],
        language_name=languages.NAMES.get(language, language),
        form=form
        or Form.showing(
            **{name: "\n".join(shown[name]) for name in _LISTS}, **address, language=language
        ),
    )


def _language_options(stored: str) -> list[tuple[str, str]]:
    """Return the languages to choose from; one that this version does not have stays possible."""
    return [("", _("That of this service")), *languages.options(stored)]


def _save(kind: ScopeKind, browser: BrowserRequest) -> Response:
    with browser.read() as tx:
        organisation = _load_to_update(kind, browser, tx).scope.id
        if kind is ScopeKind.ORGANISATION:
            stored = organisation_queries.existing(tx, organisation).language
    form = browser.form
    values: dict[str, Any] = {name: form.lines(name, *limits) for name, limits in _LISTS.items()}
    if kind is ScopeKind.ORGANISATION:
        values |= {
            name: form.text(name, most, lines=name == "address")
            for name, (_, most) in _ADDRESS.items()
        }
        if "language" in form.values:
            codes = [code for code, _name in _language_options(stored)]
            values["language"] = form.choice("language", *codes)
    form.judge(check_patterns, values["email_patterns"])
    change = project_actions.update if kind is ScopeKind.PROJECT else organisation_actions.update
    if form.is_valid:
        with form.showing_refusals():
            with browser.write() as tx:
                change(tx, browser.actor, _load_to_update(kind, browser, tx).access, values)
            return browser.redirect(browser.path, _("The settings are saved."))
    with browser.read() as tx:
        return _render(kind, browser, tx, form)


def _load_to_update(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> ScopePage:
    scope_page = ScopePage.load(browser, tx, kind)
    if not scope_page.may_update:
        raise Forbidden("permission.missing")
    return scope_page


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
    """
    if kind is ScopeKind.GROUP:
        return {}
    return {
        f"{path}settings/": {
            "GET": Page(
                partial(_show, kind), "Show who may have a role, the address and the language."
            ),
            "POST": Page(
                partial(_save, kind), "Change who may have a role, the address and the language."
            ),
        },
    }
