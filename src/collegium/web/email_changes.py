"""The pages that confirm a new e-mail address, and that cancel its change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collegium.accounts.email_changes import actions as email_change_actions
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Conflict, Forbidden, Limited, NotFound, Refusal
from collegium.security.rate_limits.rules import CODE
from collegium.values import hex_uuid
from collegium.web.browser_request import BrowserRequest
from collegium.web.page import Page, page


def _ask(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    """Show the button to the owner of the account. Opening the page changes nothing."""
    code = hex_uuid(browser.segments["code"])
    if code is None:
        return page(browser, "email_change", 404, state="gone")
    try:
        change = email_change_actions.by_code(tx, browser.settings, browser.app.vault, code)
    except Refusal:
        return page(browser, "email_change", 410, state="gone")
    # The e-mail says both to its reader, too.
    names: dict[str, Any] = {"username": change.username, "email": change.email}
    if not browser.is_signed_in:
        return page(browser, "email_change", state="sign_in", here=browser.path, **names)
    if browser.actor.id != change.account_id:
        return page(browser, "email_change", 403, state="other", **names)
    return page(browser, "email_change", state="ask", **names)


def _confirm(browser: BrowserRequest) -> Response:
    """Confirm the address whose code is in the path, for the account of the session alone.

    The mailbox may belong to a person who never asked for this: with the address of somebody
    else, an account would be recognised as theirs.
    """

    def confirm(tx: WriteTransaction, code: str) -> None:
        settings, vault = browser.settings, browser.app.vault
        if email_change_actions.by_code(tx, settings, vault, code).account_id != browser.actor.id:
            raise Forbidden("permission.missing")
        email_change_actions.confirm(tx, browser.actor, settings, vault, code)

    try:
        return _use_code(browser, "email_change", confirm)
    except Forbidden:
        if not browser.is_signed_in:
            return browser.to_sign_in()
        with browser.read() as tx:
            return _ask(browser, tx)


def _ask_cancel(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    """Show the button. Opening the page changes nothing and does not test the code."""
    return page(browser, "email_change_cancel", state="ask")


def _cancel(browser: BrowserRequest) -> Response:
    """Cancel the change whose code is in the path. No sign-in is needed."""
    return _use_code(
        browser,
        "email_change_cancel",
        lambda tx, code: email_change_actions.cancel_by_code(
            tx, browser.app.vault, code, browser.ip_address
        ),
    )


def _use_code(
    browser: BrowserRequest, name: str, action: Callable[[WriteTransaction, str], None]
) -> Response:
    code = hex_uuid(browser.segments["code"])
    if code is None:
        return page(browser, name, 404, state="gone")
    try:
        with (
            browser.rate_limited(CODE),
            browser.create() as tx,
        ):
            action(tx, code)
            browser.created(tx, name)
    except Limited as refusal:
        response = page(browser, name, 429, state="wait")
        response.headers["Retry-After"] = str(refusal.facts["seconds"])
        return response
    except (NotFound, Conflict):
        return page(browser, name, 410, state="gone")
    return _render_done(browser, name)


def _render_done(browser: BrowserRequest, name: str) -> Response:
    return page(browser, name, state="done")


ROUTES: Routes = {
    "/user_email_change/{code}/": {
        "GET": Page(_ask, "Ask to confirm a new address.", public=True),
        "POST": Page(
            _confirm, "Confirm a new address.", public=True, creates=True, replay=_render_done
        ),
    },
    f"/{email_change_actions.CANCEL}/{{code}}/": {
        "GET": Page(_ask_cancel, "Ask whether to cancel the change of an address.", public=True),
        "POST": Page(
            _cancel,
            "Cancel the change of an address, and sign out everywhere.",
            public=True,
            creates=True,
            replay=_render_done,
        ),
    },
}
