"""My profile: names, picture, address, password."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.pictures.rules import BYTES, NoPicture, TooLarge
from collegium.accounts.rules import writable
from collegium.api import pictures, sign_in
from collegium.refusals import Conflict, Invalid, Unauthenticated
from collegium.security.rate_limits.rules import MAIL_ACCOUNT
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.web import passwords
from collegium.web.forms import Form
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read, Write
    from collegium.db.statements import Row
    from collegium.web.browser_request import Visit

_FIELDS: Final = {
    "first_name": ("First name", "given-name", 100),
    "last_name": ("Last name", "family-name", 100),
    "native_name": ("Name in its own script", "name", 100),
    "organization": ("Institution", "organization", 255),
    "job_title": ("Job title", "organization-title", 120),
    "phone_number": ("Phone number", "tel", 255),
}
"""Column to label, what a browser may fill in, and length."""

_NAMES: Final = frozenset({"first_name", "last_name", "native_name"})
_HERE: Final = "/account/profile/"


def _editable(visit: Visit, account: Row) -> dict[str, Any]:
    asked = dict.fromkeys([*_FIELDS, "email"])
    found = writable(
        asked,
        by_staff=visit.actor.is_staff,
        own=True,
        method=account.registration_method,
        local=visit.settings.local_idp_protected_fields,
        frozen_methods=visit.settings.protect_user_details_for_registration_methods,
    )
    if not visit.settings.native_name_enabled:
        found.pop("native_name", None)
    return found


def _show(visit: Visit, tx: Read) -> Answer:
    account = account_queries.own(tx, visit.actor)
    return _shown(
        visit, account, Form.showing(**{name: getattr(account, name) for name in _FIELDS})
    )


def _shown(visit: Visit, account: Row, form: Form, status: int = 200) -> Answer:
    return page(
        visit,
        "profile",
        status,
        account=account,
        form=form,
        fields=_FIELDS,
        editable=_editable(visit, account),
        native=visit.settings.native_name_enabled,
    )


def _again(visit: Visit) -> Answer:
    with visit.read() as tx:
        account = account_queries.own(tx, visit.actor)
    for name in _FIELDS:
        visit.form.values.setdefault(name, [getattr(account, name)])
    return _shown(visit, account, visit.form, 422)


def _save(visit: Visit) -> Answer:
    with visit.read() as tx:
        editable = _editable(visit, account_queries.own(tx, visit.actor))
    form = visit.form
    changes = {
        name: (form.name if name in _NAMES else form.text)(name, most)
        for name, (_label, _fill, most) in _FIELDS.items()
        if name in editable and name in form.values
    }
    if not form.ok:
        return _again(visit)
    return _update(visit, changes, "Your profile is saved.")


def _update(visit: Visit, changes: dict[str, Any], said: str) -> Answer:
    agrees = visit.form.flag("agree_with_policy")
    try:
        with visit.write() as tx:
            account_actions.update(
                tx, visit.actor, visit.settings, visit.actor.uuid, changes, agrees=agrees
            )
    except Invalid as refusal:
        visit.form.refused(refusal)
        return _again(visit)
    return visit.go(_HERE, said)


def _picture(visit: Visit) -> Answer:
    if visit.form.flag("remove"):
        return _update(visit, {"picture": None}, "Your picture is gone.")
    data = visit.form.files.get("picture", b"")
    try:
        # Slow, and hence before any transaction.
        picture = pictures.made(data)
    except TooLarge:
        visit.form.wrong("picture", f"This file is too large: at most {BYTES // 1024} KiB.")
        return _again(visit)
    except NoPicture:
        visit.form.wrong(
            "picture",
            "This is no picture that can be shown. Please choose a PNG, JPEG, GIF or WebP.",
        )
        return _again(visit)
    return _update(visit, {"picture": picture}, "Your new picture is saved.")


def _ask_address(visit: Visit, tx: Read) -> Answer:
    return _address(visit, tx, Form())


def _address(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    account = account_queries.own(tx, visit.actor)
    return page(
        visit,
        "new_address",
        status,
        account=account,
        form=form,
        has_factor=two_factor_queries.is_on(tx, visit.actor.id),
        may_change="email" in _editable(visit, account),
    )


def _change_address(visit: Visit) -> Answer:
    if visit.form.flag("cancel"):
        with visit.write() as tx:
            email_change_actions.cancel(tx, visit.actor, visit.actor.uuid)
        return visit.go(
            "/account/address/", "Your address stays as it is. The link in the mail is dead."
        )
    form = visit.form
    email = form.email("email")
    try:
        asked = _ask_for(visit, email)
    except (Conflict, Invalid) as refusal:
        form.refused(refusal)
        asked = False
    if asked:
        return visit.go(
            "/account/address/",
            f"A mail with a link is on its way to {email}. Open it to confirm the address.",
        )
    with visit.read() as tx:
        return _address(visit, tx, form, 422)


def _ask_for(visit: Visit, email: str) -> bool:
    """Ask for another address with the password, or with a code where a second factor is on."""
    form = visit.form
    with visit.read() as tx:
        has_factor = two_factor_queries.is_on(tx, visit.actor.id)
    if has_factor:
        given = form.text("code", 100, required=True)
    else:
        given = form.text("password", 128, required=True, strip=False)
    if not form.ok:
        return False
    visit.check_tries(mailed := f"mail account {visit.actor.id}")

    def ask(tx: Write) -> None:
        vault = visit.house.vault
        email_change_actions.ask(tx, visit.actor, visit.settings, vault, visit.actor.uuid, email)
        visit.count(tx, mailed, MAIL_ACCOUNT)

    if has_factor:
        sign_in.with_code(visit, visit.actor, given, ask)
        return True
    if not knows(visit, "password", given):
        return False
    with visit.write() as tx:
        ask(tx)
    return True


def _ask_password(visit: Visit, tx: Read) -> Answer:
    del tx
    return page(visit, "new_password", form=Form())


def _change_password(visit: Visit) -> Answer:
    form = visit.form
    current = form.text("current", 128, required=True, strip=False)
    with visit.read() as tx:
        account = account_queries.own(tx, visit.actor)
    hashed = passwords.chosen(form, password_actions.about(account))
    if hashed is not None and knows(visit, "current", current):
        with visit.write() as tx:
            actor = password_actions.change(tx, visit.actor, hashed)
            visit.sign_in(tx, actor, "password")
        return visit.go(
            "/account/password/",
            "Your new password is set. Wherever else this account was signed in, it is signed out.",
        )
    return page(visit, "new_password", 422, form=form)


def knows(visit: Visit, field: str, password: str) -> bool:
    """Tell whether this is the password of the person signed in; else say so at its field.

    What is written on the strength of it compares the password again: see
    ``credentials.confirm``.
    """
    if not password:
        visit.form.wrong(field, "Please fill this in.")
        return False
    try:
        account = sign_in.check(visit, visit.actor.username, password, alone=False)
    except Unauthenticated as refusal:
        is_wrong = refusal.code == "login.failed"
        if is_wrong:
            visit.form.wrong(field, "This is not your password.")
        else:
            visit.form.refused(refusal)
        return False
    visit.actor = replace(visit.actor, credentials=account.credentials_version)
    return True


ROUTES: Routes = {
    _HERE: {"GET": Page(_show, "My profile."), "POST": Page(_save, "Save my profile.")},
    "/account/picture/": {"POST": Page(_picture, "Change or remove my picture.")},
    "/account/address/": {
        "GET": Page(_ask_address, "Another address?"),
        "POST": Page(_change_address, "Ask for another address, or take that back."),
    },
    "/account/password/": {
        "GET": Page(_ask_password, "Another password?"),
        "POST": Page(_change_password, "Set another password."),
    },
}
