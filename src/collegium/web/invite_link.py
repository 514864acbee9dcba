"""The page that an invite link opens: request to join."""

from __future__ import annotations

from typing import Final

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links.rules import is_active
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.memberships.offers import obstacle
from collegium.refusals import NotFound
from collegium.security.rate_limits.rules import ASK
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.rules import NAME_MAX, Purpose
from collegium.text.languages import gettext as _
from collegium.web import agreements, provider_sign_in
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import place, role
from collegium.web.page import Page, page

MESSAGE_MAX: Final = 1000


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_link(browser, tx, Form())


def _render_link(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    try:
        link = invite_link_queries.get_by_uuid(tx, browser.actor, browser.uuid("invite_link"))
    except NotFound:
        # Without an account only public links are visible. The response must not tell whether
        # another one exists.
        if browser.is_signed_in:
            raise
        return browser.to_sign_in()
    browser.use_language(link.organisation_language)
    own_request = None
    if browser.is_signed_in:
        own_request = join_request_queries.latest(tx, browser.actor.id, link.scope_id, link.id)
    return page(
        browser,
        "invite_link",
        status,
        link=link,
        is_open=is_active(link.canceled_at, link.expires_at, tx.now)
        and not obstacle(link, invite_link_queries.offer_of(link)),
        is_automatic=join_request_actions.is_approved_automatically(tx, browser.actor, link),
        mine=own_request,
        providers=[] if browser.is_signed_in else provider_queries.active(tx),
        agreements=[] if browser.is_signed_in else agreements.current(browser, tx),
        form=form,
    )


def _ask(browser: BrowserRequest) -> Response:
    form = browser.form
    message = form.text("message", MESSAGE_MAX, lines=True)
    if form.is_valid:
        uuid = browser.uuid("invite_link")
        with form.showing_refusals():
            with browser.create() as tx:
                result = join_request_actions.submit(
                    tx, browser.actor, browser.settings, uuid, message
                )
                browser.count_attempts(tx, ASK)
                destination = (
                    browser.path,
                    _("Your request was sent. You will get an e-mail when it is decided."),
                )
                if result.is_approved:
                    membership = _("{role} in the {place}").format(
                        role=role(result.request), place=place(result.request)
                    )
                    destination = (
                        "/account/",
                        _("Welcome! You are now {membership}.").format(membership=membership),
                    )
                browser.created(tx, *destination)
            return browser.redirect(*destination)
    with browser.read() as tx:
        return _render_link(browser, tx, form, 422)


def _ask_with_provider(browser: BrowserRequest) -> Response:
    """Go to an identity provider. The request is sent when the person comes back."""
    path = f"/open_invitation/{browser.segments['uuid']}/"
    if browser.is_signed_in:
        return browser.redirect(path)
    with browser.read() as tx:
        try:
            invite_link_queries.get_by_uuid(tx, browser.actor, browser.uuid("invite_link"))
        except NotFound:
            return browser.to_sign_in(path)
    name = browser.form.raw("provider")[:NAME_MAX]
    shown = agreements.shown_ids(browser.form)
    return provider_sign_in.enter_from_page(browser, name, Purpose.ACCEPT, path, shown)


ROUTES: Routes = {
    "/open_invitation/{uuid}/": {
        "GET": Page(_show, "Show what an invite link offers.", public=True),
        "POST": Page(_ask, "Ask to join.", creates=True, limits=(ASK,)),
    },
    "/open_invitation/{uuid}/provider/": {
        "POST": Page(_ask_with_provider, "Ask to join with an identity provider.", public=True),
    },
}
