"""The page for two-factor authentication of one's own account: enable and disable it."""

from __future__ import annotations

from typing import Final

from collegium.api import sign_in
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Conflict, Forbidden
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor.rules import CODES
from collegium.text.languages import gettext as _
from collegium.web import confirmation, qr
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import message_for
from collegium.web.page import Page, page

_HERE: Final = "/account/second_factor/"


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_two_factor(browser, tx, Form())


def _render_two_factor(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    is_on = two_factor_queries.has_authenticator(tx, browser.actor.id)
    secret = two_factor_actions.unconfirmed(
        tx, browser.actor, browser.app.vault, browser.settings.site_name
    )
    return page(
        browser,
        "two_factor",
        status,
        is_on=is_on,
        has_passkey=passkey_queries.has_active(tx, browser.actor.id),
        left=two_factor_queries.count_codes(tx, browser.actor.id) if is_on else 0,
        secret=secret,
        picture=qr.draw(secret.link, _("QR code for your authenticator app")) if secret else "",
        form=form,
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form = browser.form
    action = form.choice("action", "begin", "confirm", "codes", "remove")
    if action == "begin":
        return _begin(browser)
    code = form.text("code", 100, required=True)
    codes: list[str] = []
    if form.is_valid:
        with form.showing_refusals():
            codes = _change_two_factor(browser, action, code)
    if not form.is_valid:
        with browser.read() as tx:
            return _render_two_factor(browser, tx, form, 422)
    if codes:
        # No redirect: the codes are shown once and must not be stored on the way.
        return page(browser, "recovery_codes", codes=codes, is_new=action == "confirm")
    return browser.redirect(_HERE, _("Your authenticator app is no longer needed to sign in."))


def _change_two_factor(browser: BrowserRequest, action: str, code: str) -> list[str]:
    """Enable it, disable it or renew the recovery codes; return the codes to show.

    Raises:
        Invalid: ``second_factor.wrong`` or ``second_factor.locked`` for the code.
        Conflict: Two-factor authentication is not in the state that this needs.
        Limited: ``tries.wait`` after too many wrong codes.
    """
    vault, actor = browser.app.vault, browser.actor
    if action == "confirm":
        with browser.rate_limited(CODES, target=str(actor.id)), browser.create() as tx:
            browser.reset_limits(tx, CODES, target=str(actor.id))
            codes = two_factor_actions.confirm(tx, actor, vault, code)
            browser.created(tx, action, *codes)
            return codes
    if action == "codes":

        def renew(tx: WriteTransaction) -> list[str]:
            codes = two_factor_actions.renew_codes(tx, actor, vault)
            browser.created(tx, action, *codes)
            return codes

        return sign_in.check_second_factor(
            browser, actor, code, renew, open_transaction=browser.create
        )
    sign_in.check_second_factor(
        browser, actor, code, lambda tx: two_factor_actions.remove(tx, actor, browser.settings)
    )
    return []


def to_setup(browser: BrowserRequest) -> Response:
    """Redirect somebody to this page who must set up two-factor authentication first."""
    refusal = Forbidden("second_factor.required")
    return browser.redirect(_HERE, message_for(refusal), kind="not")


def _begin(browser: BrowserRequest) -> Response:
    confirmation.require(browser)
    try:
        with browser.create() as tx:
            two_factor_actions.begin(tx, browser.actor, browser.app.vault)
            browser.created(tx, "begin")
    except Conflict as refusal:
        browser.form.add_refusal(refusal)
    else:
        return browser.redirect(_HERE)
    with browser.read() as tx:
        return _render_two_factor(browser, tx, browser.form, 422)


def _replay_codes(browser: BrowserRequest, action: str, *codes: str) -> Response:
    """Show the same codes, or the next step: the browser dropped the first response."""
    if action == "begin":
        return browser.redirect(_HERE)
    with browser.read() as tx:
        if two_factor_actions.are_codes(tx, browser.actor, browser.app.vault, codes):
            return page(browser, "recovery_codes", codes=codes, is_new=action == "confirm")
    return browser.redirect(_HERE, _("These recovery codes are no longer valid."), kind="not")


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "Show my two-factor authentication.", during_setup=True),
        "POST": Page(
            _change,
            "Turn two-factor authentication on or off.",
            creates=True,
            replay=_replay_codes,
            during_setup=True,
        ),
    },
}
