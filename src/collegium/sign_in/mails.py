"""Load the data of e-mails that notify the owner of an account about its credentials."""

from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.accounts.mails import load_account, name_of
from collegium.db.database import ReadTransaction
from collegium.hooks import queries as hook_queries
from collegium.outbox.mails import (
    ChangeEmailNotice,
    HookChanged,
    IdentityChanged,
    IdentityLinkRequest,
    PasskeyChanged,
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
from collegium.sign_in.identities import linking, mail_links
from collegium.sign_in.notices import PERSON
from collegium.sign_in.passwords.mails import Loader
from collegium.text.plain import name_line


def _load_notice(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account = load_account(tx, payload["account"])
    # These links go to our own pages, because other front ends have no such pages.
    base = settings.base_url.rstrip("/")
    # An e-mail queued by an earlier release contains neither the time nor the person.
    at = payload.get("at")
    return {
        "name": name_of(account),
        "username": name_line(account.username),
        "at": datetime.fromisoformat(at) if at else tx.now,
        "by": payload.get("by", "staff"),
        "address": name_line(payload.get("address", "")) if payload.get("by") == PERSON else "",
        "password_link": f"{base}/forgotten_password/",
        "tokens_link": f"{base}/account/tokens/",
        "link": f"{base}/account/second_factor/",
    }


def _load_token_created(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    return _load_notice(tx, settings, vault, payload) | {
        "token_name": name_line(payload["name"]),
        "program": bool(payload["program"]),
    }


def _load_hook_changed(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    destination = payload["host"]
    if not destination:
        hook = hook_queries.by_uuid(tx, payload["uuid"])
        destination = "" if hook is None else hook.email
    return _load_notice(tx, settings, vault, payload) | {
        "destination": name_line(destination),
        "changed": bool(payload["changed"]),
        "link": f"{settings.base_url.rstrip('/')}/account/hooks/",
    }


def _load_password_changed(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    # An e-mail queued by an earlier release does not say it.
    return _load_notice(tx, settings, vault, payload) | {"removed": payload.get("removed", False)}


def _load_method_changed(path: str) -> Loader:
    """Return the loader of a notice about a sign-in method that was added or removed.

    Args:
        path: of the page of such methods.
    """

    def load(
        tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
    ) -> dict[str, Any]:
        return _load_notice(tx, settings, vault, payload) | {
            "method_name": name_line(payload["name"]),
            "removed": bool(payload["removed"]),
            "link": f"{settings.base_url.rstrip('/')}{path}",
        }

    return load


def _load_identity_link(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account = load_account(tx, payload["account"])
    expires_at = datetime.fromisoformat(payload["asked"]) + mail_links.LIFETIME
    if tx.now > expires_at:
        raise ObsoleteError("The link has expired before the e-mail was sent.")
    mail = IdentityLinkRequest(account.email, *(payload[name] for name in _LINK_FIELDS))
    link = mail_links.sign_link(vault, account, mail)
    base = settings.base_url.rstrip("/")
    can_link = account.is_active and not linking.is_protected(tx, account)
    return {
        "name": name_of(account),
        "username": name_line(account.username),
        "provider_name": name_line(payload["name"]),
        "expires": expires_at,
        "link": f"{base}/{mail_links.PURPOSE}/{link}/" if can_link else "",
        "methods_link": f"{base}/account/sign_in_methods/",
    }


_LINK_FIELDS: Final = [field.name for field in fields(IdentityLinkRequest)][1:]


def _load_second_factor_failed(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    values = _load_notice(tx, settings, vault, payload)
    return values | {"codes": payload["codes"], "locked": bool(payload["locked"])}


def _load_change_email_notice(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    values = _load_notice(tx, settings, vault, payload)
    account = load_account(tx, payload["account"])
    change = email_change_queries.of_account(tx, account.id)
    code = email_change_actions.cancel_code(vault, account.id, account.email, payload["version"])
    if change is None or change.cancel_code_hash != vault.keyed_hash(code):
        # If the change was confirmed, another e-mail informs the old address.
        raise ObsoleteError("The change was cancelled or confirmed.")
    base = settings.base_url.rstrip("/")
    return values | {
        "new_email": name_line(payload["email"]),
        "link": f"{base}/{email_change_actions.CANCEL}/{code}/",
    }


LOADERS: Final[dict[str, Loader]] = {
    ChangeEmailNotice.kind: _load_change_email_notice,
    HookChanged.kind: _load_hook_changed,
    IdentityLinkRequest.kind: _load_identity_link,
    IdentityChanged.kind: _load_method_changed("/account/sign_in_methods/"),
    PasskeyChanged.kind: _load_method_changed("/account/passkeys/"),
    PasswordChanged.kind: _load_password_changed,
    SecondFactorDisabled.kind: _load_notice,
    SecondFactorEnabled.kind: _load_notice,
    SecondFactorFailed.kind: _load_second_factor_failed,
    SecondFactorReset.kind: _load_notice,
    TokenCreated.kind: _load_token_created,
}
