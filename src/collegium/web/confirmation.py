"""Ask people to confirm who they are before they change something sensitive."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from collegium.accounts import queries as account_queries
from collegium.api import passkeys, sign_in
from collegium.api.request import Response
from collegium.db.database import ReadTransaction
from collegium.refusals import Conflict, Invalid, Unauthenticated
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.passkeys import actions as passkey_actions
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.passkeys import verification
from collegium.sign_in.passkeys.actions import Options
from collegium.sign_in.passkeys.rules import Purpose
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.rules import is_confirmed
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.text.languages import gettext as _
from collegium.values import hex_uuid
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import CONFIRMING, WHOLE
from collegium.web.messages import message_for
from collegium.web.page import page

PASSWORD: Final = "confirm_password"  # noqa: S105 - the name of a field
CODE: Final = "confirm_code"
PASSKEY: Final = "confirm_credential"

PROVIDERS: Final = "/account/confirm/"
"""Path of the form that confirms at an identity provider."""


def require(browser: BrowserRequest) -> None:
    """Check that the person signed in or confirmed recently, or that the form confirms it now.

    Call it outside of every transaction, first in a handler that changes something sensitive.

    Raises:
        Unauthenticated: ``session.unconfirmed``. The answer is a page that asks for the password,
            a code or a passkey and sends the same form again.
        Limited: ``tries.wait`` after too many wrong passwords or codes.
    """
    if is_confirmed(browser.confirmed_at, browser.now):
        return
    if browser.form.raw(PASSKEY):
        is_right = _check_passkey(browser)
    else:
        with browser.read() as tx:
            field = credential(browser, tx)
        is_right = bool(field and browser.form.raw(field)) and _check(browser, field)
    if not is_right:
        raise Unauthenticated("session.unconfirmed")
    browser.confirmed_at = browser.now


def credential(browser: BrowserRequest, tx: ReadTransaction) -> str:
    """Return the field that confirms: a code with two-factor authentication, else the password.

    Return an empty text for an account that has neither. Then only a new sign-in confirms.
    """
    if two_factor_queries.is_on(tx, browser.actor.id):
        return CODE
    account = account_queries.with_password(tx, id=browser.actor.id)
    return PASSWORD if account is not None and account.password else ""


def _check_passkey(browser: BrowserRequest) -> bool:
    """Tell whether a passkey confirms who is signed in. If so, record it in the session."""
    form = browser.form
    try:
        passkeys.complete(
            browser,
            Purpose.CONFIRM,
            hex_uuid(form.raw(f"{CONFIRMING}ceremony")) or "",
            verification.parse(form.raw(PASSKEY)),
            lambda tx, actor: session_actions.confirm(tx, actor, has_second_factor=True),
            account=browser.actor.id,
            browser_hash=browser.browser_hash,
        )
    except (Conflict, Invalid) as refusal:
        form.add_error(WHOLE, message_for(refusal))
        return False
    return True


def _begin_passkey(browser: BrowserRequest) -> Options | None:
    """Begin to ask for a passkey; return None if the account has none."""
    with browser.read() as tx:
        if not passkey_queries.has_active(tx, browser.actor.id):
            return None
    party = passkeys.find_relying_party(browser)
    if party is None:
        return None
    with browser.write() as tx:
        return passkey_actions.begin_assertion(
            tx, Purpose.CONFIRM, browser.actor.id, party, browser_hash=browser.browser_hash
        )


def _check(browser: BrowserRequest, field: str) -> bool:
    """Tell whether the form confirms who is signed in. If so, record it in the session."""
    form = browser.form
    if field == CODE:
        try:
            sign_in.check_second_factor(
                browser,
                browser.actor,
                form.raw(CODE)[:100],
                lambda tx: session_actions.confirm(tx, browser.actor, has_second_factor=True),
            )
        except (Conflict, Invalid) as refusal:
            form.add_error(CODE, message_for(refusal))
            return False
        return True
    if not check_own_password(browser, PASSWORD, form.raw(PASSWORD)[:128]):
        return False
    with browser.write() as tx:
        # Read ``browser.actor`` only here: it has the version of the credentials now.
        session_actions.confirm(tx, browser.actor)
    return True


def ask(browser: BrowserRequest) -> Response:
    """Return the page that asks to confirm, and then sends the posted form again."""
    with browser.read() as tx:
        field = credential(browser, tx)
        has_authenticator = two_factor_queries.has_authenticator(tx, browser.actor.id)
        identities = identity_queries.of_account(tx, browser.actor.id)
    return page(
        browser,
        "confirm",
        403,
        form=browser.form,
        field=field,
        # The forms that have a password or a code need no other confirmation.
        kept=browser.form.kept(),
        begun=_begin_passkey(browser),
        # Providers continue at a page, without the posted form.
        providers={
            row.provider_name: row.provider_label for row in identities if row.provider_is_active
        },
        path=PROVIDERS,
        back=browser.page or "/account/",
        has_authenticator=has_authenticator,
    )


def check_own_password(browser: BrowserRequest, field: str, password: str) -> bool:
    """Tell whether this is the password of the signed-in account; else add an error to the field.

    A write that relies on it must check the credentials version again in its transaction: see
    ``credentials.confirm``.

    Raises:
        Limited: ``tries.wait`` after too many wrong passwords.
    """
    if not password:
        browser.form.add_error(field, _("Please fill this in."))
        return False
    try:
        account = sign_in.check_password(
            browser, browser.actor.username, password, password_only=False
        )
    except Unauthenticated as refusal:
        is_wrong = refusal.code == "login.failed"
        if is_wrong:
            browser.form.add_error(field, _("This password is incorrect."))
        else:
            browser.form.add_refusal(refusal)
        return False
    browser.actor = replace(browser.actor, credentials=account.credentials_version)
    return True
