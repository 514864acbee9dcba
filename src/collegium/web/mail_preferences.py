"""The page of the e-mails that one wants, and the page that turns off one kind of them."""

from __future__ import annotations

from typing import Final

from collegium.accounts import queries as account_queries
from collegium.accounts.mail_preferences import actions as preference_actions
from collegium.accounts.mail_preferences.rules import OPTIONAL, UNSUBSCRIBE
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import Limited, NotFound
from collegium.security.rate_limits.rules import CODE
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page

_HERE: Final = "/account/mails/"

LABELS: Final = {
    "role_granted": mark("Somebody gives me a role"),
    "role_changed": mark("My role or its end changes"),
    "role_ending": mark("My role ends soon: two weeks before, and two days before"),
    "role_ended": mark("My role has ended"),
    "role_removed": mark("Somebody removes my role"),
    "role_digest": mark("Every Monday, what waits and what ends soon where I manage the members"),
}
"""Kind of e-mail → what it tells."""


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    account = account_queries.own(tx, browser.actor)
    wanted = preference_actions.wanted(tx, browser.actor)
    return page(
        browser,
        "account_mails",
        form=Form.showing(**{kind: "yes" for kind in OPTIONAL if kind in wanted}),
        labels=translated(LABELS),
        account=account,
        are_sent=browser.settings.role_notifications,
    )


def _save(browser: BrowserRequest) -> Response:
    kinds = {kind for kind in OPTIONAL if browser.form.flag(kind)}
    with browser.write() as tx:
        preference_actions.choose(tx, browser.actor, kinds)
    return browser.redirect(_HERE, _("Your choice is saved."))


def _ask(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    """Show the button. Opening the page changes nothing."""
    try:
        _account, kind = preference_actions.read_link(browser.app.vault, browser.segments["token"])
    except NotFound:
        return page(browser, "unsubscribe", 404, state="gone")
    return page(browser, "unsubscribe", state="ask", label=_(LABELS[kind]))


def _unsubscribe(browser: BrowserRequest) -> Response:
    """Turn the e-mails off. Mail programs post here too (RFC 8058): without cookie and form."""
    vault, token = browser.app.vault, browser.segments["token"]
    try:
        with browser.rate_limited(CODE):
            preference_actions.read_link(vault, token)
            with browser.write() as tx:
                kind = preference_actions.unsubscribe(tx, vault, token)
    except Limited as refusal:
        response = page(browser, "unsubscribe", 429, state="wait")
        response.headers["Retry-After"] = str(refusal.facts["seconds"])
        return response
    except NotFound:
        return page(browser, "unsubscribe", 404, state="gone")
    return page(browser, "unsubscribe", state="done", label=_(LABELS[kind]))


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "Show which e-mails I get."),
        "POST": Page(_save, "Choose which e-mails I get."),
    },
    f"/{UNSUBSCRIBE}/{{token}}/": {
        "GET": Page(
            _ask, "Ask whether to turn off one kind of e-mail.", public=True, during_setup=True
        ),
        "POST": Page(
            _unsubscribe,
            "Turn off one kind of e-mail.",
            public=True,
            during_setup=True,
            one_click=True,
        ),
    },
}
