"""The staff pages for organisations: find, create, block, archive."""

from __future__ import annotations

from typing import Any, Final

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.organisations import queries as organisation_queries
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.text.names import isolated
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, load_page
from collegium.web.scope import search_text
from collegium.web.sorting import ORGANISATIONS, Sorting
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/organisations/"

FIELDS: Final = {
    "name": (mark("Name"), "", 150),
    "abbreviation": (mark("Short name"), mark("For example, the initials."), 12),
    "native_name": (mark("Native name"), "", 160),
    "registration_code": (mark("Registration code"), "", 160),
    "email": (mark("E-mail address"), "", 75),
}
"""Column → label, hint, maximum length."""

_NAMES: Final = frozenset({"name", "abbreviation", "native_name"})

ACTIONS: Final[dict[str, tuple[dict[str, bool], str]]] = {
    "block": (
        {"blocked": True},
        mark("{name} is blocked. Nothing can be changed until you unblock it."),
    ),
    "unblock": ({"blocked": False}, mark("{name} is unblocked.")),
    "archive": (
        {"archived": True},
        mark("{name} is archived. It is kept, but nothing can be changed."),
    ),
    "unarchive": ({"archived": False}, mark("{name} is unarchived.")),
}


def _fields() -> dict[str, tuple[str, str, int]]:
    """Return label, hint and maximum length of the fields, in the language of the reader."""
    return {
        name: (_(label), _(hint) if hint else "", most)
        for name, (label, hint, most) in FIELDS.items()
    }


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    search = search_text(browser.query_value("q"))
    sorting = Sorting(browser, ORGANISATIONS)
    filters: dict[str, Any] = {"query": search} if search else {}
    rows, paging = load_page(browser, tx, organisation_queries.listing, filters, sorting.order)
    return page(
        browser,
        "staff_organisations",
        rows=rows,
        paging=paging,
        form=Form.showing(q=search),
        sorting=sorting,
        search=search,
    )


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_organisation(browser, tx, Form())


def _render_organisation(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    row = organisation_queries.get_visible(tx, browser.actor, browser.uuid("organisation"))
    projects = organisation_queries.projects_of(tx, browser.actor, [row.id])
    return page(
        browser,
        "staff_organisation",
        status,
        row=row,
        projects=projects,
        fields=_fields(),
        form=form,
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form = browser.form
    action = form.choice("action", *ACTIONS)
    if form.is_valid:
        changes, outcome = ACTIONS[action]
        with form.showing_refusals():
            with browser.write() as tx:
                access = access_queries.get_visible(
                    tx, browser.actor, ScopeKind.ORGANISATION, browser.uuid("organisation")
                )
                organisation_actions.update(tx, browser.actor, access, changes)
            message = _(outcome).format(name=isolated(access.scope.name))
            return browser.redirect(browser.path, message)
    with browser.read() as tx:
        return _render_organisation(browser, tx, form, 422)


def _show_new(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    del tx
    return _render_new(browser, Form())


def _render_new(browser: BrowserRequest, form: Form, status: int = 200) -> Response:
    return page(browser, "staff_organisation_new", status, form=form, fields=_fields())


def _create(browser: BrowserRequest) -> Response:
    form = browser.form
    values = {
        name: (form.name if name in _NAMES else form.text)(
            name, max_length, required=name == "name"
        )
        for name, (_label, _hint, max_length) in FIELDS.items()
    }
    if values["email"]:
        values["email"] = form.email("email")
    if form.is_valid:
        with form.showing_refusals():
            with browser.create() as tx:
                uuid = organisation_actions.create(tx, browser.actor, browser.settings, values)
                name_text = isolated(values["name"])
                message = _("{name_text} is created. Now invite its first owner.").format(
                    name_text=name_text
                )
                browser.created(tx, f"{HERE}{uuid}/", message)
            return browser.redirect(f"{HERE}{uuid}/", message)
    return _render_new(browser, form, 422)


ROUTES: Routes = staff_only(
    {
        HERE: {"GET": Page(_list, "List the organisations.")},
        f"{HERE}new/": {
            "GET": Page(_show_new, "Show the form that creates an organisation."),
            "POST": Page(_create, "Create an organisation.", creates=True),
        },
        f"{HERE}{{uuid}}/": {
            "GET": Page(_show, "Show an organisation."),
            "POST": Page(_change, "Block or archive an organisation, or undo that."),
        },
    },
    staff_paths=(f"{HERE}new/",),
)
