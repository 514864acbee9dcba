"""What the notices about the credentials of an account need to know."""

from datetime import datetime
from typing import Any, Final

from collegium.actions import addresses as address_actions
from collegium.actions.mails import (
    ChangeEmailNotice,
    PasswordChanged,
    SecondFactorDisabled,
    SecondFactorEnabled,
    SecondFactorFailed,
    SecondFactorReset,
    TokenCreated,
)
from collegium.actions.notices import PERSON
from collegium.post.outcomes import Void
from collegium.post.passwords import Loader
from collegium.post.text import name_line
from collegium.settings import Settings
from collegium.store import accounts, addresses
from collegium.store.db import Read
from collegium.store.statements import Row
from collegium.store.vault import Vault


def _account(tx: Read, facts: dict[str, Any]) -> Row:
    account = accounts.by_number(tx, facts["account"])
    if account is None or account.deleted is not None:
        raise Void("The account no longer exists.")
    return account


def _notice(tx: Read, settings: Settings, _vault: Vault, facts: dict[str, Any]) -> dict[str, Any]:
    account = _account(tx, facts)
    # Always our own pages: a front end of another kind has none for these.
    base = settings.base_url.rstrip("/")
    # What was queued by an earlier release has neither a time nor a person.
    at = facts.get("at")
    return {
        "name": name_line(accounts.full_name(account)) or name_line(account.username),
        "username": name_line(account.username),
        "at": datetime.fromisoformat(at) if at else tx.now,
        "by": facts.get("by", "staff"),
        "address": name_line(facts.get("address", "")) if facts.get("by") == PERSON else "",
        "password_link": f"{base}/forgotten_password/",
        "tokens_link": f"{base}/account/tokens/",
        "link": f"{base}/account/second_factor/",
    }


def _token_created(
    tx: Read, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    return _notice(tx, settings, vault, facts) | {
        "token_name": name_line(facts["name"]),
        "program": bool(facts["program"]),
    }


def _second_factor_failed(
    tx: Read, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    said = _notice(tx, settings, vault, facts)
    return said | {"codes": facts["codes"], "locked": bool(facts["locked"])}


def _change_email_notice(
    tx: Read, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    said = _notice(tx, settings, vault, facts)
    account = _account(tx, facts)
    change = addresses.of_account(tx, account.id)
    code = address_actions.cancel_code(vault, account.id, account.email, facts["version"])
    if change is None or change.cancel_digest != vault.digest(code):
        # Where it was confirmed, another mail tells the old address.
        raise Void("The change was canceled or confirmed.")
    base = settings.base_url.rstrip("/")
    return said | {
        "new_email": name_line(facts["email"]),
        "link": f"{base}/{address_actions.CANCEL}/{code}/",
    }


LOADERS: Final[dict[str, Loader]] = {
    ChangeEmailNotice.kind: _change_email_notice,
    PasswordChanged.kind: _notice,
    SecondFactorDisabled.kind: _notice,
    SecondFactorEnabled.kind: _notice,
    SecondFactorFailed.kind: _second_factor_failed,
    SecondFactorReset.kind: _notice,
    TokenCreated.kind: _token_created,
}
