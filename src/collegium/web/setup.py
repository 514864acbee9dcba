"""The page that the set-up link leads to: create the first account, name the service."""

from __future__ import annotations

from collegium.accounts.actions import USERNAME
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import NotFound
from collegium.security.rate_limits.rules import CODE
from collegium.settings import DEFAULTS
from collegium.sign_in.tokens.actions import actor_of
from collegium.site import actions as site_actions
from collegium.text.languages import gettext as _
from collegium.text.names import typed_username
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page
from collegium.web.passwords import hash_of_new_password
from collegium.web.repeated_sign_up import sign_in_again

_NAME_MAX = 80


def _ask(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    try:
        site_actions.read_link(tx, browser.app.vault, browser.segments["token"])
    except NotFound:
        return _over(browser)
    return _render(browser, Form.showing(site_name=browser.settings.site_name))


def _render(browser: BrowserRequest, form: Form, status: int = 200) -> Response:
    return page(browser, "setup", status, form=form, is_over=False, asks_name=_asks_name(browser))


def _asks_name(browser: BrowserRequest) -> bool:
    """Return whether the name is not set in the environment, which would override the form."""
    return browser.app.settings.site_name == DEFAULTS.site_name


def _over(browser: BrowserRequest) -> Response:
    return page(browser, "setup", 410, form=Form(), is_over=True)


def _set_up(browser: BrowserRequest) -> Response:
    token, vault = browser.segments["token"], browser.app.vault
    try:
        # Only who has the link may make us hash a password.
        with browser.rate_limited(CODE), browser.read() as tx:
            site_actions.read_link(tx, vault, token)
        form = browser.form
        username = typed_username(form.text("username", 128, required=True))
        email = form.email("email")
        name = form.name("site_name", _NAME_MAX, required=True) if _asks_name(browser) else ""
        if username and not USERNAME.fullmatch(username):
            form.add_error(
                "username",
                _("A user name can have lower-case letters a to z, digits and _ . @ + -"),
            )
        password_hash = hash_of_new_password(form, (username, email))
        if password_hash is None:
            return _render(browser, form, 422)
        with browser.write() as tx:
            account, mail_id = site_actions.set_up(
                tx, browser.settings, vault, token, username, email, password_hash, name
            )
            version = account.credentials_version
            actor = actor_of(account, browser.ip_address, browser.request_id, credentials=version)
            browser.keep_answer(tx, mail_id, account.id, version, int(tx.now.timestamp()))
            browser.sign_in(tx, actor, "password")
    except NotFound:
        return _over(browser)
    return _to_test_mail(browser, mail_id)


def _to_test_mail(browser: BrowserRequest, mail_id: int) -> Response:
    message = _("The service is set up. You are signed in.")
    return browser.redirect(f"/staff/mails/{mail_id}/", message)


def _replay(
    browser: BrowserRequest, mail_id: int, account: int, version: int, created_at: int
) -> Response:
    """Answer a repeated form as the first one. The browser dropped that response with its session.

    Args:
        mail_id: Id of the test e-mail.
        account: see ``sign_in_again``.
        version: as there.
        created_at: as there.
    """
    if not sign_in_again(browser, account, version, created_at, "password"):
        return browser.to_sign_in("/account/")
    return _to_test_mail(browser, mail_id)


ROUTES: Routes = {
    "/setup/{token}/": {
        "GET": Page(_ask, "Show the form that sets the service up.", public=True),
        "POST": Page(
            _set_up,
            "Create the first account and name the service.",
            public=True,
            once=True,
            replay=_replay,
        ),
    },
}
