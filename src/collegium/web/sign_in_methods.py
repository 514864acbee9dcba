"""The page of one's own sign-in methods: the password, and accounts at identity providers."""

from __future__ import annotations

from collegium.accounts import queries as account_queries
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import Conflict, NotFound
from collegium.sign_in.identities import linking
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.rules import NAME_MAX, Purpose
from collegium.text.languages import gettext as _
from collegium.values import hex_uuid
from collegium.web import confirmation, provider_sign_in
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page
from collegium.web.provider_linking import METHODS


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_methods(browser, tx, Form(), 200)


def _render_methods(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int
) -> Response:
    account = account_queries.with_password(tx, id=browser.actor.id)
    ways = linking.ways_to_sign_in(tx, browser.actor.id, browser.settings)
    identities = identity_queries.of_account(tx, browser.actor.id)
    return page(
        browser,
        "sign_in_methods",
        status,
        form=form,
        identities=[(row, ways - (row.provider_is_active is True) > 0) for row in identities],
        providers=provider_queries.active(tx),
        has_password=account is not None and account.password is not None,
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    confirmation.require(browser)
    form = browser.form
    if form.choice("action", "add", "remove") == "add":
        name = form.raw("provider")[:NAME_MAX]
        return provider_sign_in.enter_from_page(browser, name, Purpose.LINK, METHODS)
    uuid = hex_uuid(form.raw("identity"))
    try:
        if uuid is None:
            raise NotFound("identity.none")
        with browser.write() as tx:
            linking.unlink(tx, browser.actor, browser.settings, uuid)
            return browser.answer(tx, METHODS, _("The sign-in method is removed."))
    except Conflict as refusal:
        form.add_refusal(refusal)
        with browser.read() as tx:
            return _render_methods(browser, tx, form, 422)


def _confirm(browser: BrowserRequest) -> Response:
    """Send somebody to a provider who confirms there that it is them."""
    name = browser.form.raw("provider")[:NAME_MAX]
    return provider_sign_in.enter_from_page(browser, name, Purpose.CONFIRM, browser.next or METHODS)


ROUTES: Routes = {
    confirmation.PROVIDERS: {
        "POST": Page(_confirm, "Confirm at an identity provider that it is me.", during_setup=True),
    },
    METHODS: {
        "GET": Page(_show, "Show my sign-in methods."),
        "POST": Page(_change, "Add or remove a sign-in method.", once=True),
    },
}
