"""The pages to sign in and to sign out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from collegium.access.rules import ANONYMOUS, Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountWithPassword
from collegium.api import sign_in
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.integrations.provider_sessions import sign_out_url
from collegium.refusals import Conflict, Invalid, NotFound, Unauthenticated
from collegium.sign_in.identities import actions as identity_actions
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.rules import NAME_MAX, Purpose
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.text.languages import gettext as _
from collegium.text.names import isolated
from collegium.web import provider_sign_in
from collegium.web.browser_request import BrowserRequest, leading_to
from collegium.web.forms import Form
from collegium.web.page import Page, page
from collegium.web.provider_failures import is_invitation
from collegium.web.provider_sign_in import HALF as _HALF
from collegium.web.stale_forms import is_signed_in_already

_HALF_SECONDS: Final = 10 * 60
HOME: Final = "/"


def _ask(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    if browser.is_signed_in:
        return browser.redirect(browser.next or HOME)
    # With a message to read, or a choice to make, the browser is not redirected.
    is_free = not browser.has_flash and "choose" not in browser.query
    if is_free and provider_queries.default(tx) is not None:
        return browser.redirect(leading_to("/api-auth/default/init/", browser.next))
    return _render_sign_in(browser, tx, Form(), 200)


def _render_sign_in(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int
) -> Response:
    return page(
        browser,
        "sign_in",
        status,
        form=form,
        next=browser.next,
        providers=provider_queries.active(tx),
        awaits_setup=browser.app.awaits_setup,
        has_passwords="LOCAL_SIGNIN" in browser.settings.authentication_methods,
    )


def _render_errors(browser: BrowserRequest, status: int) -> Response:
    with browser.read() as tx:
        return _render_sign_in(browser, tx, browser.form, status)


def _check(browser: BrowserRequest) -> Response:
    if browser.is_signed_in:
        return is_signed_in_already(browser)
    form = browser.form
    username = form.text("username", 128, required=True)
    password = form.text("password", 128, required=True, strip=False)
    if not form.is_valid:
        return _render_errors(browser, 422)
    try:
        account = sign_in.check_password(browser, username, password, password_only=False)
    except Unauthenticated as refusal:
        form.add_refusal(refusal)
        return _render_errors(browser, 401)
    try:
        with browser.write() as tx:
            sign_in.reset_limits(browser, tx, username)
            # Enabling or disabling it changes the credentials version, which ``sign_in`` compares.
            if not two_factor_queries.is_on(tx, account.id):
                browser.sign_in(tx, sign_in.actor_of(browser, account), "password")
                return browser.redirect(browser.next or HOME)
    except Unauthenticated as refusal:
        form.add_refusal(refusal)
        return _render_errors(browser, 401)
    # Bound to the credentials version: if the credentials change, this value becomes worthless.
    half = browser.sign_value(_HALF, account.uuid, account.credentials_version)
    browser.set_cookie(_HALF, half, _HALF_SECONDS)
    return browser.redirect(leading_to("/sign_in/code/", browser.next))


def _enter_provider(browser: BrowserRequest) -> Response:
    """Go to an identity provider. A new person gets the roles to which they are invited.

    The page does not say to what ``next`` leads, so an invitation there waits for its own page.
    """
    if browser.is_signed_in:
        return is_signed_in_already(browser)
    purpose = Purpose.SIGN_IN if is_invitation(browser.next) else Purpose.ACCEPT
    name = browser.form.raw("provider")[:NAME_MAX]
    return provider_sign_in.enter_from_page(browser, name, purpose, browser.next)


def _ask_code(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    if browser.read_signed_value(_HALF, browser.cookie(_HALF), _HALF_SECONDS) is None:
        return browser.redirect(leading_to("/sign_in/", browser.next))
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
    """Return the account for which only a second factor is missing in this browser, if any.

    A moment ago its password was right, or an identity provider has vouched for the person.
    """
    match browser.read_signed_value(_HALF, browser.cookie(_HALF), _HALF_SECONDS):
        case [str(uuid), int(version)] | [str(uuid), int(version), str(), str()]:
            account = account_queries.with_password_by_uuid(tx, uuid)
            if account and account.is_active and account.credentials_version == version:
                return account
    return None


class Half:
    """A sign-in for which only a second factor is missing, in the transaction that completes it."""

    def __init__(self, browser: BrowserRequest) -> None:
        self._browser = browser
        self._code = self._account = self._return_to = ""
        self._locked: list[int] = []
        match browser.read_signed_value(_HALF, browser.cookie(_HALF), _HALF_SECONDS):
            case [str(uuid), int(), str(code), str(return_to)]:
                self._account, self._code, self._return_to = uuid, code, return_to

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """Open the transaction; lock the scopes in which the sign-in at a provider changes roles.

        Raises:
            NotFound: The sign-in at the identity provider is over.
        """
        with self._browser.write() as tx:
            if self._code:
                vault = self._browser.app.vault
                self._locked = identity_actions.lock_for_finish(tx, vault, self._code)
            yield tx

    def complete(self, tx: WriteTransaction, actor: Actor, method: str) -> Response:
        """Sign in a person who has shown the second factor.

        Raises:
            NotFound: The sign-in at the identity provider is over.
            Unauthenticated: The credentials have changed in the meantime.
        """
        if self._code and self._account == actor.uuid:
            return provider_sign_in.finish(
                self._browser, tx, actor, self._code, self._return_to, method, self._locked
            )
        return _start_session(self._browser, tx, actor, method)


def _start_session(
    browser: BrowserRequest, tx: WriteTransaction, actor: Actor, method: str
) -> Response:
    browser.sign_in(tx, actor, method, has_second_factor=True)
    return browser.redirect(browser.next or HOME)


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
        half = Half(browser)
        try:
            response = sign_in.check_second_factor(
                browser,
                actor,
                code,
                lambda tx: half.complete(tx, actor, "second factor"),
                open_transaction=half.write,
            )
        except (Conflict, Invalid) as refusal:
            form.add_refusal(refusal)
        except (Unauthenticated, NotFound):
            return over(browser)
        else:
            forget_half(browser)
            return response
    with browser.read() as tx:
        return _render_code(browser, tx, account, form, 422)


def over(browser: BrowserRequest) -> Response:
    """Redirect a sign-in that took too long to its beginning."""
    forget_half(browser)
    said = _("Your sign-in has expired. Please sign in again.")
    return browser.redirect(leading_to("/sign_in/", browser.next), said, kind="not")


def _sign_out(browser: BrowserRequest) -> Response:
    with browser.write() as tx:
        session = identity_sessions.session_at_provider(tx, browser.app.vault, browser.token_id)
        browser.sign_out(tx)
    url = ""
    if session is not None:
        home = f"{browser.settings.base_url.rstrip('/')}/"
        url = sign_out_url(browser.settings, browser.app.vault, *session, home)
    if session is not None and url:
        browser.actor = ANONYMOUS
        label = isolated(session[0].label)
        response = provider_sign_in.continue_page(
            browser,
            url,
            _("You are signed out here"),
            _("You signed in with {label}, so you are signed out there too.").format(label=label),
            _("Sign out of {label}").format(label=label),
        )
    else:
        response = browser.redirect("/sign_in/", _("You are signed out."))
    # The next user of the browser must not reach pages with the back button. Cookies stay, because
    # one of them carries the message.
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


ROUTES: Routes = {
    "/sign_in/": {
        "GET": Page(_ask, "Show the sign-in form.", public=True, during_setup=True),
        "POST": Page(_check, "Sign in.", public=True, during_setup=True),
    },
    "/sign_in/provider/": {
        "POST": Page(
            _enter_provider, "Sign in with an identity provider.", public=True, during_setup=True
        ),
    },
    "/sign_in/code/": {
        "GET": Page(_ask_code, "Ask for a two-factor code.", public=True),
        "POST": Page(_check_code, "Sign in with a two-factor code.", public=True),
    },
    "/sign_out/": {"POST": Page(_sign_out, "Sign out.", during_setup=True)},
}
