"""Load the data of the e-mail with a password reset link."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction
from collegium.outbox.mails import PasswordReset
from collegium.outbox.outcomes import ObsoleteError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.passwords import actions as password_actions
from collegium.text.plain import name_line

Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]


def _reset(
    tx: ReadTransaction, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    account = account_queries.with_password(tx, id=facts["account"])
    if account is None or not password_actions.is_open(account):
        raise ObsoleteError("The account no longer signs in with a password.")
    asked = datetime.fromisoformat(facts["asked"])
    if tx.now > asked + password_actions.LIFETIME:
        raise ObsoleteError("The link has expired before the e-mail was sent.")
    # The link goes to our own page, because other front ends have no such page.
    base = settings.base_url.rstrip("/")
    return {
        "name": name_line(account_queries.full_name(account)) or name_line(account.username),
        "username": name_line(account.username),
        "expires": asked + password_actions.LIFETIME,
        "link": f"{base}/{password_actions.RESET}/{password_actions.link(vault, account, asked)}/",
    }


LOADERS: Final[dict[str, Loader]] = {
    PasswordReset.kind: _reset,
}
