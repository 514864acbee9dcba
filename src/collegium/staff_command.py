"""The command ``collegium staff``: create a staff account, or make an existing account staff."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from collegium.access.queries import lock_account
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import Database, ReadTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.scopes.actions import change_account
from collegium.security.crypto import Vault, check_password, hash_password
from collegium.security.passwords import password_errors
from collegium.settings import Settings
from collegium.sign_in.tokens import actions as token_actions
from collegium.site import queries as site_queries
from collegium.text.email_addresses import address_error, canonical_address
from collegium.text.names import trim


class UnfitAccountError(Exception):
    """The operator gave values that an account cannot have. The message says why."""


def ensure_staff(
    database: Database,
    settings: Settings,
    vault: Vault,
    username: str,
    email: str,
    password: str | None,
    *,
    allow_promotion: bool = False,
    lifetime: int | EllipsisType | None = ...,
) -> tuple[str, str]:
    """Create a staff account, or make an existing account staff. Return its UUID and API token.

    The password is changed only if it differs, so that repeating the command ends no session.

    Args:
        allow_promotion: also accept an account that a person created and named.
        lifetime: seconds that the token lives after its last use; None for ever; ``...`` to keep
            the present lifetime, or the default for a new account.

    Raises:
        UnfitAccountError: the user name, address or password is invalid, or another person may hold
            the account, or the account was changed concurrently.
    """
    email = canonical_address(trim(email))
    _check_staff_values(username, email, password)
    with database.read() as tx:
        previous = account_queries.by_username(tx, username)
    password_hash = None
    if password is not None and not (previous and check_password(previous.password, password)):
        password_hash = hash_password(password)
    with database.write() as tx:
        existing = account_queries.by_username(tx, username)
        if existing is not None:
            lock_account(tx, existing.id)
            existing = account_queries.by_username(tx, username)
        if (existing and existing.password) != (previous and previous.password):
            message = f"the account {username} was changed at the same time. Try again"
            raise UnfitAccountError(message)
        columns: dict[str, Any] = {"is_staff": True, "is_active": True, "email": email}
        if lifetime is not ...:
            columns["token_lifetime"] = lifetime
        site_queries.void_key(tx)
        if existing is None:
            account_id = account_actions.create(
                tx, None, settings, vault, {"username": username, **columns}
            )
        else:
            account_id = existing.id
            if not (allow_promotion or existing.is_staff or _was_created_by_staff(tx, existing)):
                message = (
                    f"the account {username} was not created by staff. Use --promote to make it "
                    "staff"
                )
                raise UnfitAccountError(message)
            if existing.email != email:
                email_change_queries.cancel(tx, account_id)
            if not existing.is_active:
                account_actions.set_active(tx, None, account_id, is_active=True)
            change_account(tx, account_id, {**columns, "modified_at": tx.now})
            event_queries.record(
                tx, None, events.AccountMadeStaff(account=account_id, username=username)
            )
        if password_hash is not None:
            account_actions.set_password(
                tx, None, account_id, password_hash, notify=existing is not None
            )
        account = account_queries.existing(tx, account_id)
        return str(account.uuid), token_actions.renew(tx, vault, settings, None, account)


def _was_created_by_staff(tx: ReadTransaction, account: AccountRow) -> bool:
    """Return whether staff or an operator created an account.

    Invited people choose their own user name, so the name alone does not show who the account
    belongs to.
    """
    invitation = event_queries.payload_of(tx, events.AccountCreated, account.id).get("invitation")
    return invitation is None and account.registration_method == "default"


def _check_staff_values(username: str, email: str, password: str | None) -> None:
    if not account_actions.USERNAME.fullmatch(username):
        message = "a user name has 1 to 128 of these characters: a-z 0-9 _ . @ + -"
        raise UnfitAccountError(message)
    error = address_error(email)
    if error:
        message = f"--email: {error}"
        raise UnfitAccountError(message)
    if password is not None:
        if len(password) > account_actions.PASSWORD_MAX:
            message = (
                f"the password is too long (maximum {account_actions.PASSWORD_MAX} characters)"
            )
            raise UnfitAccountError(message)
        if any(character < " " or "\ud800" <= character <= "\udfff" for character in password):
            message = "the password contains control characters or is not UTF-8"
            raise UnfitAccountError(message)
        errors = password_errors(password, (username, email))
        if errors:
            raise UnfitAccountError("the password cannot be used: " + " ".join(errors))
