"""The staff pages for accounts: find, show, create, deactivate, activate, restore access."""

from __future__ import annotations

from typing import Any, Final

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.api import account_views
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.memberships import queries as membership_queries
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.sign_in.identities import linking, removal
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities.queries import ListedIdentity
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import COUNTED, TokenKind
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor.rules import LOCKED_AT
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.text.names import isolated, typed_username
from collegium.values import hex_uuid
from collegium.web import confirmation
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import person
from collegium.web.page import Page, load_page
from collegium.web.scope import search_text
from collegium.web.sorting import ACCOUNTS, Sorting
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/accounts/"

SHOWS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "all": (mark("All"), {}),
    "active": (mark("Active"), {"is_active": True}),
    "inactive": (mark("Deactivated"), {"is_active": False}),
    "staff": (mark("Staff"), {"is_staff": True}),
    "support": (mark("Support"), {"is_support": True}),
}
ACTIONS: Final = ("deactivate", "activate", "second_factor", "password", "identity")
KINDS: Final = {
    "": (mark("Normal account"), {}),
    "support": (mark("Support: can read everything"), {"is_support": True}),
    "staff": (mark("Staff: can read and change everything"), {"is_staff": True}),
}


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    search = search_text(browser.query_value("q"))
    show = browser.query_value("show") if browser.query_value("show") in SHOWS else "all"
    sorting = Sorting(browser, ACCOUNTS)
    filters = dict(SHOWS[show][1])
    if search:
        filters["query"] = search
    rows, paging = load_page(browser, tx, account_queries.listing, filters, sorting.order)
    return page(
        browser,
        "staff_accounts",
        rows=rows,
        paging=paging,
        form=Form.showing(q=search, show=show),
        sorting=sorting,
        shows=[(value, _(label)) for value, (label, _value) in SHOWS.items()],
        narrowed=bool(search or show != "all"),
    )


_SHOWN: Final = (
    *("civil_number", "description", "email", "first_name", "job_title", "last_name"),
    *("native_name", "organization", "phone_number", "username"),
)
"""Personal data on the page of an account, for the record of who has looked at it."""


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_account(browser, tx, Form())


def _render_account(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    row = account_queries.get_visible(tx, browser.actor, browser.uuid("account"))
    account_views.record(browser, row.id, _SHOWN)
    # How an account signs in is for staff only: support could do nothing with it.
    token_counts, factor, has_factor, ways = {}, None, False, 0
    identities: list[ListedIdentity] = []
    if browser.actor.is_staff:
        token_counts = token_queries.count_by_kind(tx, row.id, browser.settings.token_max_age)
        factor = two_factor_queries.of_account(tx, row.id)
        has_factor = two_factor_queries.is_on(tx, row.id)
        identities = identity_queries.of_account(tx, row.id)
        ways = linking.ways_to_sign_in(tx, row.id, browser.settings) if identities else 0
    return page(
        browser,
        "staff_account",
        status,
        row=row,
        grants=membership_queries.of_account(tx, row.id),
        sessions=token_counts.get(TokenKind.SESSION, 0),
        programs=sum(token_counts.get(kind, 0) for kind in (*COUNTED, TokenKind.REFRESH)),
        has_factor=has_factor,
        identities=identities,
        is_last_way=ways <= 1,
        is_locked=factor is not None and factor.wrong_codes >= LOCKED_AT,
        has_password=password_actions.may_have_password(row),
        form=form,
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form = browser.form
    action = form.choice("action", *ACTIONS)
    if form.is_valid:
        confirmation.require(browser)
        try:
            with browser.write() as tx:
                message = _perform_on_account(browser, tx, action)
                return browser.answer(tx, browser.path, message)
        except (Conflict, Invalid) as refusal:
            form.add_refusal(refusal)
        except NotFound as refusal:
            if refusal.code != "identity.none":
                raise
            form.add_refusal(refusal)
    with browser.read() as tx:
        return _render_account(browser, tx, form, 422)


def _perform_on_account(browser: BrowserRequest, tx: WriteTransaction, action: str) -> str:
    uuid, actor = browser.uuid("account"), browser.actor
    name = person(account_queries.get_visible(tx, actor, uuid))
    match action:
        case "second_factor":
            two_factor_actions.reset(tx, actor, uuid)
            return _(
                "Two-factor authentication of {name} is off. They are notified by e-mail."
            ).format(name=name)
        case "identity":
            identity = hex_uuid(browser.form.raw("identity")) or ""
            label = removal.unlink_as_staff(
                tx,
                actor,
                browser.settings,
                uuid,
                identity,
                force=browser.form.flag("last_way"),
            )
            return _(
                "{name} can no longer sign in with {provider}. They are notified by e-mail."
            ).format(name=name, provider=isolated(label))
        case "password":
            row = password_actions.send(tx, actor, uuid)
            return _("A link to set a password is being sent to {email}.").format(
                email=isolated(row.email)
            )
    changes = {"is_active": action == "activate"}
    account_actions.update(tx, actor, browser.settings, uuid, changes, agrees_to_policy=False)
    if action == "activate":
        return _("The account of {name} is active. They can sign in again.").format(name=name)
    return _("The account of {name} is deactivated and signed out everywhere.").format(name=name)


def _show_new(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    del tx
    return _render_new(browser, Form.showing(send="yes"))


def _render_new(browser: BrowserRequest, form: Form, status: int = 200) -> Response:
    kinds = [(value, _(label)) for value, (label, _value) in KINDS.items()]
    return page(browser, "staff_account_new", status, form=form, kinds=kinds)


def _create(browser: BrowserRequest) -> Response:
    form = browser.form
    values: dict[str, Any] = {
        "username": typed_username(form.text("username", 128, required=True)),
        "email": form.email("email"),
        "first_name": form.name("first_name", 100, required=True),
        "last_name": form.name("last_name", 100, required=True),
        "organization": form.name("organization", 255),
        **KINDS[form.choice("kind", *KINDS)][1],
    }
    if values["username"] and not account_actions.USERNAME.fullmatch(values["username"][:128]):
        form.add_error(
            "username", _("A user name can have lower-case letters a to z, digits and _ . @ + -")
        )
    with browser.read() as tx:
        if account_queries.is_username_taken(tx, values["username"]):
            form.add_refusal(Invalid("account.username_taken", field="username"))
    if form.is_valid:
        if values.get("is_staff") or values.get("is_support"):
            confirmation.require(browser)
        with form.showing_refusals():
            return browser.redirect(*_create_account(browser, values))
    return _render_new(browser, form, 422)


def _create_account(browser: BrowserRequest, values: dict[str, Any]) -> tuple[str, str]:
    with browser.create() as tx:
        vault = browser.app.vault
        account_id = account_actions.create(tx, browser.actor, browser.settings, vault, values)
        row = account_queries.existing(tx, account_id)
        message = _("The account of {person} is created.").format(person=person(row))
        if browser.form.flag("send"):
            password_actions.send(tx, browser.actor, row.uuid)
            message += _(" A link to set a password is being sent to {email}.").format(
                email=isolated(row.email)
            )
        browser.created(tx, f"{HERE}{row.uuid}/", message)
    return f"{HERE}{row.uuid}/", message


ROUTES: Routes = staff_only(
    {
        HERE: {"GET": Page(_list, "List the accounts.")},
        f"{HERE}new/": {
            "GET": Page(_show_new, "Show the form that creates an account."),
            "POST": Page(_create, "Create an account.", creates=True),
        },
        f"{HERE}{{uuid}}/": {
            "GET": Page(_show, "Show an account."),
            "POST": Page(
                _change,
                "Deactivate or activate an account, or change how it signs in.",
                once=True,
            ),
        },
    },
    staff_paths=(f"{HERE}new/",),
)
