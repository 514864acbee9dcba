"""The pages that confirm a new e-mail address, and that cancel its change."""

from __future__ import annotations

from collections.abc import Callable

from collegium.accounts.email_changes import actions as email_change_actions
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Limited, Refusal
from collegium.security.rate_limits.rules import CODE
from collegium.values import hex_uuid
from collegium.web.browser_request import BrowserRequest
from collegium.web.page import Page, page


def _ask(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    """Show the button. Opening the page changes nothing and does not test the code."""
    return page(browser, "email_change", state="ask")


def _confirm(browser: BrowserRequest) -> Response:
    """Confirm the address whose code is in the path. No sign-in is needed."""
    return _use_code(
        browser,
        "email_change",
        lambda tx, code: email_change_actions.confirm(
            tx, browser.settings, browser.app.vault, code
        ),
    )


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
            browser.write() as tx,
        ):
            action(tx, code)
    except Limited as refusal:
        response = page(browser, name, 429, state="wait")
        response.headers["Retry-After"] = str(refusal.facts["seconds"])
        return response
    except Refusal:
        return page(browser, name, 410, state="gone")
    return page(browser, name, state="done")


ROUTES: Routes = {
    "/user_email_change/{code}/": {
        "GET": Page(_ask, "Ask to confirm a new address.", public=True),
        "POST": Page(_confirm, "Confirm a new address.", public=True),
    },
    f"/{email_change_actions.CANCEL}/{{code}}/": {
        "GET": Page(_ask_cancel, "Ask whether to cancel the change of an address.", public=True),
        "POST": Page(
            _cancel, "Cancel the change of an address, and sign out everywhere.", public=True
        ),
    },
}
