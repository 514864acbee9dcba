"""The pages to sign in and to sign out."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountWithPassword
from collegium.api import sign_in
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import Conflict, Invalid, Unauthenticated
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page

_HALF: Final = "half"
"""Cookie and purpose of the signed value that says: the password was right, a code is missing."""

_HALF_SECONDS: Final = 10 * 60
HOME: Final = "/account/"


def _ask(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    if browser.is_signed_in:
        return browser.redirect(browser.next or HOME)
    return page(browser, "sign_in", form=Form(), next=browser.next)


def _check(browser: BrowserRequest) -> Response:
    if browser.is_signed_in:
        return browser.redirect(browser.next or HOME)
    form = browser.form
    username = form.text("username", 128, required=True)
    password = form.text("password", 128, required=True, strip=False)
    if not form.is_valid:
        return page(browser, "sign_in", 422, form=form, next=browser.next)
    try:
        account = sign_in.check_password(browser, username, password, password_only=False)
    except Unauthenticated as refusal:
        form.add_refusal(refusal)
        return page(browser, "sign_in", 401, form=form, next=browser.next)
    try:
        with browser.write() as tx:
            sign_in.reset_limits(browser, tx, username)
            # Enabling or disabling it changes the credentials version, which ``sign_in`` compares.
            if not two_factor_queries.is_on(tx, account.id):
                browser.sign_in(tx, sign_in.actor_of(browser, account), "password")
                return browser.redirect(browser.next or HOME)
    except Unauthenticated as refusal:
        form.add_refusal(refusal)
        return page(browser, "sign_in", 401, form=form, next=browser.next)
    # Bound to the credentials version: if the credentials change, this value becomes worthless.
    half = browser.sign_value(_HALF, account.uuid, account.credentials_version)
    browser.set_cookie(_HALF, half, _HALF_SECONDS)
    after = f"?next={quote(browser.next, safe='/')}" if browser.next else ""
    return browser.redirect(f"/sign_in/code/{after}")


def _ask_code(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    if browser.read_signed_value(_HALF, browser.cookie(_HALF), _HALF_SECONDS) is None:
        return browser.redirect("/sign_in/")
    account = half_signed_in(browser, tx)
    return over(browser) if account is None else _render_code(browser, tx, account, Form())


def _render_code(
    browser: BrowserRequest,
    tx: ReadTransaction,
    account: AccountWithPassword,
    form: Form,
    status: int = 200,
) -> Response:
    return page(
        browser,
        "sign_in_code",
        status,
        form=form,
        next=browser.next,
        has_passkey=passkey_queries.has_active(tx, account.id),
        has_authenticator=two_factor_queries.has_authenticator(tx, account.id),
    )


def half_signed_in(browser: BrowserRequest, tx: ReadTransaction) -> AccountWithPassword | None:
    """Return the account whose password was right in this browser a moment ago, if there is one."""
    match browser.read_signed_value(_HALF, browser.cookie(_HALF), _HALF_SECONDS):
        case [str(uuid), int(version)]:
            account = account_queries.with_password_by_uuid(tx, uuid)
            if account and account.is_active and account.credentials_version == version:
                return account
    return None


def forget_half(browser: BrowserRequest) -> None:
    """Forget that the password was right: the sign-in is complete or over."""
    browser.set_cookie(_HALF, "", 0)


def _check_code(browser: BrowserRequest) -> Response:
    with browser.read() as tx:
        account = half_signed_in(browser, tx)
    if account is None:
        return over(browser)
    form = browser.form
    code = form.text("code", 100, required=True)
    if form.is_valid:
        actor = sign_in.actor_of(browser, account)
        try:
            sign_in.check_second_factor(
                browser,
                actor,
                code,
                lambda tx: browser.sign_in(tx, actor, "second factor", has_second_factor=True),
            )
        except (Conflict, Invalid) as refusal:
            form.add_refusal(refusal)
        except Unauthenticated:
            return over(browser)
        else:
            forget_half(browser)
            return browser.redirect(browser.next or HOME)
    with browser.read() as tx:
        return _render_code(browser, tx, account, form, 422)


def over(browser: BrowserRequest) -> Response:
    """Redirect somebody whose sign-in took too long to its beginning."""
    forget_half(browser)
    return browser.redirect(
        "/sign_in/", "Your sign-in has expired. Please sign in again.", kind="not"
    )


def _sign_out(browser: BrowserRequest) -> Response:
    with browser.write() as tx:
        browser.sign_out(tx)
    response = browser.redirect("/sign_in/", "You are signed out.")
    # The next user of the browser must not reach pages with the back button. Cookies stay, because
    # one of them carries the message.
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


ROUTES: Routes = {
    "/sign_in/": {
        "GET": Page(_ask, "Show the sign-in form.", public=True, during_setup=True),
        "POST": Page(_check, "Sign in.", public=True, during_setup=True),
    },
    "/sign_in/code/": {
        "GET": Page(_ask_code, "Ask for a two-factor code.", public=True),
        "POST": Page(_check_code, "Sign in with a two-factor code.", public=True),
    },
    "/sign_out/": {"POST": Page(_sign_out, "Sign out.", during_setup=True)},
}
