"""The page of a group: request to join it."""

from __future__ import annotations

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import queries as membership_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.security.rate_limits.rules import JOIN
from collegium.text.languages import gettext as _
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.invite_link import MESSAGE_MAX
from collegium.web.page import Page, page


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_group(browser, tx, Form())


def _render_group(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    group = group_queries.by_id(tx, browser.number("group", "number"))
    return page(
        browser,
        "group",
        status,
        group=group,
        grant=membership_queries.grant_in_scope(tx, browser.actor.id, group.id),
        mine=join_request_queries.latest(tx, browser.actor.id, group.id, None),
        form=form,
    )


def _ask(browser: BrowserRequest) -> Response:
    form = browser.form
    message = form.text("message", MESSAGE_MAX, lines=True)
    if form.is_valid:
        with form.showing_refusals():
            destination = (
                browser.path,
                _("Your request was sent. You will get an e-mail when it is decided."),
            )
            with browser.create() as tx:
                _row, is_new = group_actions.join(
                    tx,
                    browser.actor,
                    browser.number("group", "number"),
                    message,
                    settings=browser.settings,
                )
                browser.count_attempts(tx, JOIN, attempts=int(is_new))
                browser.created(tx, *destination)
            return browser.redirect(*destination)
    with browser.read() as tx:
        return _render_group(browser, tx, form, 422)


ROUTES: Routes = {
    "/group/{number}/": {
        "GET": Page(_show, "Show a group."),
        "POST": Page(_ask, "Ask to join a group.", creates=True, limits=(JOIN,)),
    },
}
