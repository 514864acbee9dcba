"""The pages for a forgotten password: request a link by e-mail, and set a new password with it."""

from __future__ import annotations

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import NotFound
from collegium.security.crypto import hash_password
from collegium.security.passwords import normalized
from collegium.security.rate_limits.rules import CODE, PASSWORD_MAIL
from collegium.sign_in.passwords import actions as password_actions
from collegium.text.email_addresses import comparable_address
from collegium.text.languages import gettext as _
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page


def _show_request(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    return page(browser, "forgotten_password", form=Form(), sent=False)


def _request_link(browser: BrowserRequest) -> Response:
    """Queue the e-mail, if an account has this address.

    The response is the same for every address, and the work nearly the same, so that nobody learns
    which addresses have accounts.

    Raises:
        Limited: ``tries.wait`` after too many e-mails to this address or from this network.
    """
    form = browser.form
    email = form.email("email")
    if not form.is_valid:
        return page(browser, "forgotten_password", 422, form=form, sent=False)
    target = browser.app.vault.keyed_hash(comparable_address(email)).hex()[:32]
    browser.check_limits(PASSWORD_MAIL, target=target)
    with browser.write() as tx:
        password_actions.request_reset(tx, email, browser.ip_address)
        browser.count_attempts(tx, PASSWORD_MAIL, target=target)
    return page(browser, "forgotten_password", form=form, sent=True)


def _show_reset(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    try:
        account = password_actions.read_link(tx, browser.app.vault, browser.segments["token"])
    except NotFound:
        return page(browser, "password_reset", 410, account=None, form=Form())
    return page(browser, "password_reset", account=account, form=Form())


def _reset(browser: BrowserRequest) -> Response:
    link = browser.segments["token"]
    try:
        with browser.rate_limited(CODE), browser.read() as tx:
            account = password_actions.read_link(tx, browser.app.vault, link)
        form = browser.form
        password_hash = hash_of_new_password(form, password_actions.personal_data(account))
        if password_hash is None:
            return page(browser, "password_reset", 422, account=account, form=form)
        message = _("Your new password is set. You can sign in with it now.")
        with browser.create() as tx:
            password_actions.reset(tx, browser.app.vault, link, password_hash, browser.ip_address)
            browser.created(tx, "/sign_in/", message)
    except NotFound:
        return page(browser, "password_reset", 410, account=None, form=Form())
    return browser.redirect("/sign_in/", message)


def hash_of_new_password(form: Form, personal_data: tuple[str, ...]) -> str | None:
    """Return the hash of a new password that was typed twice; None after adding errors to the form.

    Args:
        personal_data: Facts about the account that the password must not resemble.
    """
    password = form.text("password", 128, required=True, strip=False)
    repeated = form.text("again", 128, strip=False)
    if "password" not in form.errors:
        errors = password_actions.check_new_password(password, personal_data)
        if errors:
            form.add_error("password", " ".join(errors))
        if normalized(password) != normalized(repeated):
            form.add_error(
                "again", _("The passwords do not match. Please repeat the new password.")
            )
    return hash_password(password) if form.is_valid else None


ROUTES: Routes = {
    "/forgotten_password/": {
        "GET": Page(_show_request, "Show the form that requests a link.", public=True),
        "POST": Page(_request_link, "Request a link to set a new password.", public=True),
    },
    "/password_reset/{token}/": {
        "GET": Page(_show_reset, "Show the form that sets a new password.", public=True),
        "POST": Page(_reset, "Set a new password.", public=True, creates=True),
    },
}
