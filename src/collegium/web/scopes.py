"""The page "Teams": all own scopes, and the form that creates a group."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from collegium.access.rules import ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.memberships import queries as membership_queries
from collegium.scopes import queries as scope_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups.rules import NAME_LENGTH
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.text.names import isolated
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import role
from collegium.web.page import Page, load_page, page
from collegium.web.scope import search_text

HERE: Final = "/teams/"

_KINDS: Final = [
    ("", mark("All")),
    (ScopeKind.ORGANISATION.value, mark("Organisations")),
    (ScopeKind.PROJECT.value, mark("Projects")),
    (ScopeKind.GROUP.value, mark("Groups")),
]


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_scopes(browser, tx, Form())


def _render_scopes(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    search = search_text(browser.query_value("q"))
    kind = browser.query_value("kind") if browser.query_value("kind") in list(ScopeKind) else ""
    filters: dict[str, Any] = {"name": search} if search else {}
    if kind:
        filters["kind"] = kind
    rows, paging = load_page(browser, tx, scope_queries.listing, filters)
    roles_by_scope = defaultdict(list)
    for grant in membership_queries.of_account(tx, browser.actor.id):
        roles_by_scope[grant.scope_id].append(role(grant))
    return page(
        browser,
        "scopes",
        status,
        rows=rows,
        held=roles_by_scope,
        paging=paging,
        search=Form.showing(q=search, kind=kind),
        kinds=[(value, _(label)) for value, label in _KINDS],
        is_filtered=bool(filters),
        form=form,
        most=NAME_LENGTH,
    )


def _create_group(browser: BrowserRequest) -> Response:
    form = browser.form
    name = form.name("name", NAME_LENGTH, required=True)
    if form.is_valid:
        with form.showing_refusals():
            with browser.create() as tx:
                group_id = group_actions.create(tx, browser.actor, name, settings=browser.settings)
                message = _("The group {name} is created. You can invite people now.").format(
                    name=isolated(name)
                )
                browser.created(tx, f"/group/{group_id}/team/", message)
            return browser.redirect(f"/group/{group_id}/team/", message)
    with browser.read() as tx:
        return _render_scopes(browser, tx, form, 422)


ROUTES: Routes = {
    HERE: {
        "GET": Page(_show, "List my organisations, projects and groups."),
        "POST": Page(_create_group, "Create a group.", creates=True),
    },
}
