"""The pages of passkeys: list, add, rename and remove one's own, and sign in with one."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import Actor
from collegium.api import passkeys
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Conflict, Invalid, NotFound, Unauthenticated, or_not_found
from collegium.sign_in.passkeys import actions as passkey_actions
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.passkeys import verification
from collegium.sign_in.passkeys.actions import Options
from collegium.sign_in.passkeys.rules import NAME_MAX, Purpose, RelyingParty
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.text.languages import gettext as _
from collegium.values import hex_uuid
from collegium.web import confirmation, sign_in
from collegium.web.browser_request import BrowserRequest, leading_to
from collegium.web.forms import Form
from collegium.web.messages import message_for
from collegium.web.page import Page, page, templates
from collegium.web.stale_forms import is_signed_in_already

_HERE: Final = "/account/passkeys/"
_SIGN_IN: Final = "/sign_in/passkey/"
_CREDENTIAL: Final = "credential"


def work(browser: BrowserRequest) -> bool:
    """Tell whether browsers can use passkeys here: the service has a domain name."""
    return passkeys.find_relying_party(browser) is not None


templates().globals["passkeys_work"] = work


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render(browser, tx, Form())


def _render(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    account = browser.actor.id
    rows = passkey_queries.active(tx, account)
    has_codes = bool(rows) and not two_factor_queries.has_authenticator(tx, account)
    return page(
        browser,
        "passkeys",
        status,
        rows=rows,
        is_on=two_factor_queries.is_on(tx, account),
        has_codes=has_codes,
        left=two_factor_queries.count_codes(tx, account) if has_codes else 0,
        works=work(browser),
        form=form,
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says.

    Raises:
        NotFound: ``passkey.unknown``.
    """
    form = browser.form
    action = form.choice("action", "add", "register", "rename", "remove", "codes")
    is_named = action not in {"remove", "codes"}
    name = form.name("name", NAME_MAX, required=True) if is_named else ""
    if form.is_valid:
        with form.showing_refusals():
            return _perform(browser, action, name)
    with browser.read() as tx:
        return _render(browser, tx, form, 422)


def _perform(browser: BrowserRequest, action: str, name: str) -> Response:
    if action == "add":
        confirmation.require(browser)
        begun = passkeys.begin_registration(browser, browser_hash=browser.browser_hash)
        return page(browser, "passkey_add", begun=begun, passkey_name=name)
    if action == "register":
        _uuid, codes = passkeys.register(
            browser,
            _ceremony(browser),
            verification.parse(browser.form.raw(_CREDENTIAL)),
            name,
            browser_hash=browser.browser_hash,
        )
        if codes:
            # No redirect: the codes are shown once and must not be stored on the way.
            return page(browser, "recovery_codes", codes=codes, is_new=True)
        return browser.redirect(_HERE, _("The passkey is added. You can sign in with it now."))
    if action == "codes":
        confirmation.require(browser)
        with browser.write() as tx:
            codes = passkey_actions.renew_codes(tx, browser.app.vault, browser.actor)
        return page(browser, "recovery_codes", codes=codes, is_new=False)
    uuid = or_not_found(hex_uuid(browser.form.raw("passkey")), "passkey.unknown")
    if action == "rename":
        with browser.write() as tx:
            passkey_actions.rename(tx, browser.actor, uuid, name)
        return browser.redirect(_HERE, _("The passkey has a new name."))
    confirmation.require(browser)
    with browser.write() as tx:
        passkey_actions.revoke(tx, browser.actor, browser.settings, uuid)
        return browser.answer(tx, _HERE, _("The passkey is removed. It can no longer sign in."))


def _ceremony(browser: BrowserRequest) -> str:
    uuid = hex_uuid(browser.form.raw("ceremony"))
    if uuid is None:
        raise Invalid("passkey.ceremony")
    return uuid


def _reload(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    """Redirect a browser that reloads the page."""
    return browser.redirect("/sign_in/")


def _sign_in(browser: BrowserRequest) -> Response:
    """Begin to sign in with a passkey, or complete it when the form has the device's answer."""
    if browser.is_signed_in:
        return is_signed_in_already(browser)
    second = browser.form.flag("second")
    account = None
    if second:
        with browser.read() as tx:
            account = sign_in.half_signed_in(browser, tx)
    if second and account is None:
        return sign_in.over(browser)
    try:
        if browser.form.raw(_CREDENTIAL):
            return _complete(browser, account.id if account else None)

        def begin(tx: WriteTransaction, party: RelyingParty) -> Options:
            if account is None:
                return passkey_actions.begin_sign_in(tx, party, browser_hash=browser.browser_hash)
            return passkey_actions.begin_assertion(
                tx,
                Purpose.SECOND_FACTOR,
                account.id,
                party,
                credentials_version=account.credentials_version,
                browser_hash=browser.browser_hash,
            )

        begun = passkeys.begin(browser, begin)
        return page(browser, "passkey_use", begun=begun, second=second, next=browser.next)
    except NotFound:
        # The sign-in at an identity provider that came before is over.
        return sign_in.over(browser)
    except (Conflict, Invalid, Unauthenticated) as refusal:
        where = "/sign_in/code/" if account is not None else "/sign_in/"
        code = "passkey.invalid" if isinstance(refusal, Unauthenticated) else refusal.code
        where = leading_to(where, browser.next)
        return browser.redirect(where, message_for(Invalid(code)), kind="not")


def _complete(browser: BrowserRequest, account: int | None) -> Response:
    responses: list[Response] = []
    half = None if account is None else sign_in.Half(browser)

    def begin_session(tx: WriteTransaction, actor: Actor) -> None:
        if half is not None:
            responses.append(half.complete(tx, actor, "passkey"))
            return
        browser.sign_in(tx, actor, "passkey", has_second_factor=True)
        responses.append(browser.redirect(browser.next or sign_in.HOME))

    passkeys.complete(
        browser,
        Purpose.SIGN_IN if account is None else Purpose.SECOND_FACTOR,
        _ceremony(browser),
        verification.parse(browser.form.raw(_CREDENTIAL)),
        begin_session,
        account=account,
        browser_hash=browser.browser_hash,
        open_transaction=None if half is None else half.write,
    )
    sign_in.forget_half(browser)
    return responses[-1]


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "List my passkeys.", during_setup=True),
        "POST": Page(
            _change,
            "Add, rename or remove a passkey; renew the recovery codes.",
            during_setup=True,
            once=True,
        ),
    },
    _SIGN_IN: {
        "GET": Page(_reload, "Redirect to the sign-in page.", public=True, during_setup=True),
        "POST": Page(_sign_in, "Sign in with a passkey.", public=True, during_setup=True),
    },
}
