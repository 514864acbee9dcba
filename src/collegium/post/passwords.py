"""What the mail about a lost password needs to know."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from collegium.actions import passwords
from collegium.actions.mails import PasswordReset
from collegium.post.outcomes import Void
from collegium.post.text import name_line
from collegium.settings import Settings
from collegium.store import accounts
from collegium.store.db import Read
from collegium.store.vault import Vault

Loader = Callable[[Read, Settings, Vault, dict[str, Any]], dict[str, Any]]


def _reset(tx: Read, settings: Settings, vault: Vault, facts: dict[str, Any]) -> dict[str, Any]:
    account = accounts.known(tx, id=facts["account"])
    if account is None or not passwords.is_open(account):
        raise Void("The account has no password of its own any more.")
    asked = datetime.fromisoformat(facts["asked"])
    if tx.now > asked + passwords.LIFETIME:
        raise Void("The link would have ended before anybody could open it.")
    # Always our own page: a front end of another kind has none for it.
    base = settings.base_url.rstrip("/")
    return {
        "name": name_line(accounts.full_name(account)) or name_line(account.username),
        "username": name_line(account.username),
        "expires": asked + passwords.LIFETIME,
        "link": f"{base}/{passwords.RESET}/{passwords.link(vault, account, asked)}/",
    }


LOADERS: Final[dict[str, Loader]] = {
    PasswordReset.kind: _reset,
}
