"""Load the data of e-mails that notify the owner of an account about its credentials."""

from datetime import datetime
from typing import Any, Final

from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.outbox.mails import (
    ChangeEmailNotice,
    PasswordChanged,
    SecondFactorDisabled,
    SecondFactorEnabled,
    SecondFactorFailed,
    SecondFactorReset,
    TokenCreated,
)
from collegium.outbox.outcomes import ObsoleteError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.notices import PERSON
from collegium.sign_in.passwords.mails import Loader
from collegium.text.plain import name_line


def _account(tx: ReadTransaction, facts: dict[str, Any]) -> Row:
    account = account_queries.by_id(tx, facts["account"])
    if account is None or account.deleted_at is not None:
        raise ObsoleteError("The account no longer exists.")
    return account


def _notice(
    tx: ReadTransaction, settings: Settings, _vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    account = _account(tx, facts)
    # These links go to our own pages, because other front ends have no such pages.
    base = settings.base_url.rstrip("/")
    # An e-mail queued by an earlier release contains neither the time nor the person.
    at = facts.get("at")
    return {
        "name": name_line(account_queries.full_name(account)) or name_line(account.username),
        "username": name_line(account.username),
        "at": datetime.fromisoformat(at) if at else tx.now,
        "by": facts.get("by", "staff"),
        "address": name_line(facts.get("address", "")) if facts.get("by") == PERSON else "",
        "password_link": f"{base}/forgotten_password/",
        "tokens_link": f"{base}/account/tokens/",
        "link": f"{base}/account/second_factor/",
    }


def _token_created(
    tx: ReadTransaction, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    return _notice(tx, settings, vault, facts) | {
        "token_name": name_line(facts["name"]),
        "program": bool(facts["program"]),
    }


def _second_factor_failed(
    tx: ReadTransaction, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    said = _notice(tx, settings, vault, facts)
    return said | {"codes": facts["codes"], "locked": bool(facts["locked"])}


def _change_email_notice(
    tx: ReadTransaction, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    said = _notice(tx, settings, vault, facts)
    account = _account(tx, facts)
    change = email_change_queries.of_account(tx, account.id)
    code = email_change_actions.cancel_code(vault, account.id, account.email, facts["version"])
    if change is None or change.cancel_code_hash != vault.digest(code):
        # If the change was confirmed, another e-mail informs the old address.
        raise ObsoleteError("The change was cancelled or confirmed.")
    base = settings.base_url.rstrip("/")
    return said | {
        "new_email": name_line(facts["email"]),
        "link": f"{base}/{email_change_actions.CANCEL}/{code}/",
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
