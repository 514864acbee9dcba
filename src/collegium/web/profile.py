"""The pages of one's own profile: names, picture, e-mail address, password."""

from __future__ import annotations

from typing import Any, Final

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts import rules as account_rules
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.pictures.rules import BYTES, ImageTooLargeError, InvalidImageError
from collegium.accounts.queries import AccountDetails
from collegium.accounts.rules import missing_fields, writable
from collegium.api import pictures, sign_in
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits.rules import MAIL
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.text.names import isolated
from collegium.web import confirmation, passwords
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page

_FIELDS: Final = {
    "first_name": (mark("First name"), "given-name", 100),
    "last_name": (mark("Last name"), "family-name", 100),
    "native_name": (mark("Native name"), "name", 100),
    "organization": (mark("Institution"), "organization", 255),
    "job_title": (mark("Job title"), "organization-title", 120),
    "phone_number": (mark("Phone number"), "tel", 255),
}
"""Column → label, value of ``autocomplete``, maximum length."""

_NAMES: Final = frozenset({"first_name", "last_name", "native_name", "organization", "job_title"})
_LANGUAGE: Final = "preferred_language"
_CODE: Final = "code"
_PASSWORD: Final = "password"  # noqa: S105 - the name of a field
_HERE: Final = "/account/profile/"


def _editable(
    browser: BrowserRequest, tx: ReadTransaction, account: AccountDetails
) -> dict[str, Any]:
    requested = dict.fromkeys([*_FIELDS, "email", _LANGUAGE])
    editable = writable(
        requested,
        by_staff=browser.actor.is_staff,
        is_own=True,
        method=account.registration_method,
        local_fields=browser.settings.local_idp_protected_fields,
        provider_fields=provider_queries.protected_fields(tx, account),
        frozen_methods=browser.settings.protect_user_details_for_registration_methods,
    )
    if not browser.settings.native_name_enabled:
        editable.pop("native_name", None)
    return editable


def missing(browser: BrowserRequest, tx: ReadTransaction) -> list[tuple[str, str]]:
    """Return name and label of the mandatory fields that a person should fill in on these pages.

    Fields that these pages do not have, or that come from an identity provider, are left out.
    """
    account = browser.account or account_queries.own(tx, browser.actor)
    labels = {name: _(label) for name, (label, *_rest) in _FIELDS.items()}
    labels["email"] = _("E-mail address")
    mandatory = [name for name in browser.settings.user_mandatory_fields if name in labels]
    names = missing_fields(mandatory, {name: getattr(account, name) for name in mandatory})
    if not names:
        return []
    editable = _editable(browser, tx, account)
    return [(name, labels[name]) for name in names if name in editable]


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    account = account_queries.own(tx, browser.actor)
    return _render_profile(
        browser,
        tx,
        account,
        Form.showing(**{name: getattr(account, name) for name in (*_FIELDS, _LANGUAGE)}),
    )


def _render_profile(
    browser: BrowserRequest,
    tx: ReadTransaction,
    account: AccountDetails,
    form: Form,
    status: int = 200,
) -> Response:
    return page(
        browser,
        "profile",
        status,
        account=account,
        form=form,
        fields={name: (_(label), *rest) for name, (label, *rest) in _FIELDS.items()},
        editable=_editable(browser, tx, account),
        languages=_language_options(account.preferred_language),
        native=browser.settings.native_name_enabled,
        missing=missing(browser, tx),
    )


def _language_options(stored: str) -> list[tuple[str, str]]:
    """Return the languages to choose from; one that another program has set stays possible."""
    return [("", _("That of the browser")), *languages.options(stored)]


def _render_errors(browser: BrowserRequest) -> Response:
    with browser.read() as tx:
        account = account_queries.own(tx, browser.actor)
        for name in (*_FIELDS, _LANGUAGE):
            browser.form.values.setdefault(name, [getattr(account, name)])
        return _render_profile(browser, tx, account, browser.form, 422)


def _save(browser: BrowserRequest) -> Response:
    with browser.read() as tx:
        account = account_queries.own(tx, browser.actor)
        editable = _editable(browser, tx, account)
    form = browser.form
    changes = {
        name: (form.name if name in _NAMES else form.text)(name, max_length)
        for name, (_label, _autocomplete, max_length) in _FIELDS.items()
        if name in editable and name in form.values
    }
    if _LANGUAGE in editable and _LANGUAGE in form.values:
        stored = account.preferred_language
        codes = [code for code, _name in _language_options(stored)]
        changes[_LANGUAGE] = form.choice(_LANGUAGE, *codes)
    form.judge(
        account_rules.check_policy,
        has_agreed=account.agreed_at is not None,
        agrees=form.flag("agree_with_policy"),
        exempt=account.is_staff,
    )
    if not form.is_valid:
        return _render_errors(browser)
    if changes.get(_LANGUAGE):
        languages.use(browser.language(changes[_LANGUAGE]))
    return _save_changes(browser, changes, _("Your profile is saved."))


def _save_changes(browser: BrowserRequest, changes: dict[str, Any], message: str) -> Response:
    agrees = browser.form.flag("agree_with_policy")
    try:
        with browser.write() as tx:
            account_actions.update(
                tx,
                browser.actor,
                browser.settings,
                browser.actor.uuid,
                changes,
                agrees_to_policy=agrees,
            )
    except Invalid as refusal:
        browser.form.add_refusal(refusal)
        return _render_errors(browser)
    return browser.redirect(_HERE, message)


def _picture(browser: BrowserRequest) -> Response:
    if browser.form.flag("remove"):
        return _save_changes(browser, {"picture": None}, _("Your picture is removed."))
    data = browser.form.files.get("picture", b"")
    try:
        # Slow, so it runs outside of every transaction.
        picture = pictures.sanitise(data)
    except ImageTooLargeError:
        browser.form.add_error(
            "picture",
            _("This file is too large. The maximum is {value} KiB.").format(value=BYTES // 1024),
        )
        return _render_errors(browser)
    except InvalidImageError:
        browser.form.add_error(
            "picture",
            _("This file is not a valid picture. Please choose a PNG, JPEG, GIF or WebP file."),
        )
        return _render_errors(browser)
    return _save_changes(browser, {"picture": picture}, _("Your new picture is saved."))


def _ask_address(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_address(browser, tx, Form())


def _render_address(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    account = account_queries.own(tx, browser.actor)
    return page(
        browser,
        "email_change_request",
        status,
        account=account,
        form=form,
        proof=_proof(browser, tx),
        may_change="email" in _editable(browser, tx, account),
    )


def _change_address(browser: BrowserRequest) -> Response:
    if browser.form.flag("cancel"):
        with browser.write() as tx:
            email_change_actions.cancel(tx, browser.actor, browser.actor.uuid)
        return browser.redirect(
            "/account/address/", _("The change is cancelled. Your address stays the same.")
        )
    form = browser.form
    email = form.email("email")
    try:
        was_requested = _request_change(browser, email)
    except (Conflict, Invalid) as refusal:
        form.add_refusal(refusal)
        was_requested = False
    if was_requested:
        return browser.redirect(
            "/account/address/",
            _("We are sending a link to {email}. Open it to confirm the address.").format(
                email=isolated(email)
            ),
        )
    with browser.read() as tx:
        return _render_address(browser, tx, form, 422)


def _proof(browser: BrowserRequest, tx: ReadTransaction) -> str:
    """Return the field that confirms a new address.

    It is empty for an account that has neither a password nor an authenticator to rely on.
    """
    if two_factor_queries.has_authenticator(tx, browser.actor.id):
        return _CODE
    return _PASSWORD if confirmation.credential(browser, tx) == confirmation.PASSWORD else ""


def _request_change(browser: BrowserRequest, email: str) -> bool:
    """Request an address change, confirmed with the password, a two-factor code or otherwise.

    Returns:
        Whether the change was requested. Otherwise the form has errors.

    Raises:
        Invalid: ``second_factor.wrong`` or ``second_factor.locked`` for the code, or the address is
            refused.
        Conflict: The change is refused.
        Limited: ``tries.wait`` after too many e-mails or wrong codes.
    """
    form = browser.form
    with browser.read() as tx:
        proof = _proof(browser, tx)
    secret = form.text(proof, 128, required=True, strip=False) if proof else ""
    if not form.is_valid:
        return False
    if not proof:
        confirmation.require(browser)
    browser.check_limits(MAIL)

    def request_change(tx: WriteTransaction) -> None:
        vault = browser.app.vault
        email_change_actions.request_change(
            tx, browser.actor, browser.settings, vault, browser.actor.uuid, email
        )
        browser.count_attempts(tx, MAIL)

    if proof == _CODE:
        sign_in.check_second_factor(browser, browser.actor, secret, request_change)
        return True
    if proof == _PASSWORD and not confirmation.check_own_password(browser, "password", secret):
        return False
    with browser.write() as tx:
        request_change(tx)
    return True


def _ask_password(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_password(browser, tx, Form())


def _render_password(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    account = account_queries.own(tx, browser.actor)
    may_set_one = password_actions.may_have_password(account) and bool(account.email)
    return page(
        browser,
        "new_password",
        status,
        has_password=_has_password(browser, tx),
        may_set_one=may_set_one,
        form=form,
    )


def _has_password(browser: BrowserRequest, tx: ReadTransaction) -> bool:
    account = account_queries.with_password(tx, id=browser.actor.id)
    return account is not None and account.password is not None


def _change_password(browser: BrowserRequest) -> Response:
    form = browser.form
    current = form.text("current", 128, required=True, strip=False)
    with browser.read() as tx:
        account = account_queries.own(tx, browser.actor)
        if not _has_password(browser, tx):
            return _render_password(browser, tx, form, 422)
    password_hash = passwords.hash_of_new_password(form, password_actions.personal_data(account))
    if password_hash is not None and confirmation.check_own_password(browser, "current", current):
        with browser.write() as tx:
            actor = password_actions.change(tx, browser.actor, password_hash)
            browser.sign_in(tx, actor, "password", has_second_factor=browser.has_second_factor)
        return browser.redirect(
            "/account/password/",
            _("Your password is changed. All other browsers and programs are signed out."),
        )
    with browser.read() as tx:
        return _render_password(browser, tx, form, 422)


ROUTES: Routes = {
    _HERE: {"GET": Page(_show, "Show my profile."), "POST": Page(_save, "Save my profile.")},
    "/account/picture/": {"POST": Page(_picture, "Change or remove my picture.")},
    "/account/address/": {
        "GET": Page(_ask_address, "Show the form that changes my e-mail address."),
        "POST": Page(_change_address, "Change my e-mail address, or cancel the change."),
    },
    "/account/password/": {
        "GET": Page(_ask_password, "Show the form that changes my password."),
        "POST": Page(_change_password, "Change my password."),
    },
}
