"""Confirm again who is signed in, with the password or a code, before sensitive actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from collegium.api import sign_in
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Conflict, Invalid
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.web import profile
from collegium.web.browser_request import BrowserRequest
from collegium.web.messages import message_for

PASSWORD: Final = "password"  # noqa: S105 - the name of a field
FACTOR: Final = "factor"


def credentials_from(browser: BrowserRequest, tx: ReadTransaction) -> str:
    """Return the required field: a code with two-factor authentication, else the password."""
    return FACTOR if two_factor_queries.is_on(tx, browser.actor.id) else PASSWORD


def confirmed(browser: BrowserRequest, action: Callable[[WriteTransaction], None]) -> None:
    """Run an action in a transaction of ``browser.create``, if the form proves who is signed in.

    A wrong password or code, and a refusal of the action, are added to the form as errors.

    Args:
        action: The action.

    Raises:
        NotFound: As ``then``.
        Limited: ``tries.wait`` after too many wrong passwords or codes.
    """
    form = browser.form
    with browser.read() as tx:
        field = credentials_from(browser, tx)
    try:
        if field == FACTOR:
            code = form.text(field, 100, required=True)
            if form.is_valid:
                sign_in.check_second_factor(
                    browser, browser.actor, code, action, open_transaction=browser.create
                )
        elif profile.check_own_password(browser, field, form.raw(field)[:128]):
            with browser.create() as tx:
                action(tx)
    except (Conflict, Invalid) as refusal:
        if refusal.code.startswith("second_factor."):
            form.add_error(field, message_for(refusal))
        else:
            form.add_refusal(refusal)
