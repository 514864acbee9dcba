"""Load the data of the e-mail with a password reset link."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from collegium.accounts import queries as account_queries
from collegium.accounts.mails import name_of
from collegium.db.database import ReadTransaction
from collegium.outbox.mails import PasswordReset
from collegium.outbox.outcomes import ObsoleteError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.passwords import actions as password_actions
from collegium.text.plain import name_line

Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]


def _load_reset(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account = account_queries.with_password(tx, id=payload["account"])
    if account is None or not password_actions.may_have_password(account):
        raise ObsoleteError("The account no longer signs in with a password.")
    requested_at = datetime.fromisoformat(payload["asked"])
    if tx.now > requested_at + password_actions.LINK_LIFETIME:
        raise ObsoleteError("The link has expired before the e-mail was sent.")
    # The link goes to our own page, because other front ends have no such page.
    base = settings.base_url.rstrip("/")
    link = password_actions.link(vault, account, requested_at)
    return {
        "name": name_of(account),
        "username": name_line(account.username),
        "expires": requested_at + password_actions.LINK_LIFETIME,
        "link": f"{base}/{password_actions.RESET}/{link}/",
    }


LOADERS: Final[dict[str, Loader]] = {
    PasswordReset.kind: _load_reset,
}
