"""Repeat a sign-up: the browser has discarded the first response, and with it the session."""

from __future__ import annotations

from typing import Final

from collegium.accounts import queries as account_queries
from collegium.sign_in.tokens.actions import actor_of
from collegium.web.browser_request import BrowserRequest

_SECONDS: Final = 600
"""How long after the first submission."""


def sign_in_again(
    browser: BrowserRequest, account_id: int, version: int, created_at: int, method: str
) -> bool:
    """Sign in a person who has sent the form again that created their account.

    Return whether that is still possible: their credentials are the same, and it is not long ago.

    Args:
        account_id: Id of the created account.
        version: Version of the account's credentials when it was created.
        created_at: When the account was created, in seconds since 1970 (UTC).
        method: see ``BrowserRequest.sign_in``.
    """
    with browser.write() as tx:
        account = account_queries.existing(tx, account_id)
        is_unchanged = account.is_active and account.credentials_version == version
        if not is_unchanged or browser.now.timestamp() > created_at + _SECONDS:
            return False
        actor = actor_of(account, browser.ip_address, browser.request_id, credentials=version)
        browser.sign_in(tx, actor, method)
    return True
