"""Actions on passwords: change one's own, reset a forgotten one by e-mail."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from msgspec.structs import replace

from collegium.access import queries as access_queries
from collegium.access.rules import Actor, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow, AccountWithPassword
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, NotFound
from collegium.security.crypto import Vault
from collegium.security.passwords import password_errors
from collegium.sign_in import credentials, notices

RESET: Final = "password_reset"
"""Purpose for which a reset link is signed; also a segment of its URL."""

LINK_LIFETIME: Final = timedelta(hours=1)


class Reset(NamedTuple):
    """The content of a password reset link.

    Args:
        account: UUID of the account, 32 hex digits.
        asked: when the link was requested, UTC.
        mark: code derived from the password hash, the address and ``asked``.
    """

    account: str
    asked: datetime
    mark: str


class _NoAccountError(Exception):
    """No account has the address."""


def request_reset(tx: WriteTransaction, email: str, ip_address: str) -> None:
    """E-mail a reset link to every account with an address. The caller does not learn who has one.

    Accounts whose password another service manages get no e-mail.

    Args:
        ip_address: of the request, for the audit log.
    """
    accounts = account_queries.local_by_email(tx, email)
    for account in accounts:
        outbox_queries.enqueue(
            tx, mails.PasswordReset(account.email, account.id, tx.now.isoformat())
        )
        event_queries.record(
            tx, None, events.PasswordResetRequested(account=account.id, address=ip_address)
        )
    if not accounts:
        # The same work as for a known address, so that the time does not reveal the difference: an
        # e-mail is queued and rolled back.
        with suppress(_NoAccountError), tx.savepoint():
            outbox_queries.enqueue(tx, mails.PasswordReset(email, 0, tx.now.isoformat()))
            raise _NoAccountError
        event_queries.record(
            tx, None, events.PasswordResetRequested(account=None, address=ip_address)
        )


def send(tx: WriteTransaction, actor: Actor, uuid: str) -> AccountRow:
    """E-mail a reset link to an account on behalf of staff. Return the account.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is not staff.
        Conflict: ``password.elsewhere``: the account cannot have a local password.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    account = account_queries.lock_account_and_recheck(tx, actor, account)
    if not may_have_password(account):
        raise Conflict("password.elsewhere")
    outbox_queries.enqueue(tx, mails.PasswordReset(account.email, account.id, tx.now.isoformat()))
    event_queries.record(tx, actor, events.PasswordResetRequested(account=account.id))
    return account


def link(vault: Vault, account: AccountWithPassword, requested_at: datetime) -> str:
    """Return the last URL segment of the reset link."""
    return vault.sign(
        RESET, account.uuid, requested_at.isoformat(), _derive_mark(vault, account, requested_at)
    )


def read_link(tx: ReadTransaction, vault: Vault, text: str) -> AccountWithPassword:
    """Return the account whose password a link may set now.

    A link becomes invalid after an hour, and when the password or the address of the account
    changes.

    Raises:
        NotFound: ``password.unknown_link``.
    """
    match vault.unsign(RESET, text):
        case [str(uuid), str(timestamp), str(mark)]:
            requested_at = datetime.fromisoformat(timestamp)
            account = account_queries.with_password_by_uuid(tx, uuid)
            if (
                account is not None
                and may_have_password(account)
                and tx.now <= requested_at + LINK_LIFETIME
                and mark == _derive_mark(vault, account, requested_at)
            ):
                return account
    raise NotFound("password.unknown_link")


def may_have_password(account: AccountRow) -> bool:
    """Return whether an account may have a local password: it is active and local."""
    return bool(account.is_active and account.registration_method == "default")


def personal_data(account: AccountRow) -> tuple[str, ...]:
    """Return the personal data that a password must not resemble."""
    return (account.username, account.email, account.first_name, account.last_name)


def check_new_password(password: str, personal: tuple[str, ...]) -> list[str]:
    """Return every error of a new password as a sentence.

    Args:
        personal: personal data of the account, from ``personal_data``.
    """
    return password_errors(password, personal)


def reset(
    tx: WriteTransaction, vault: Vault, text: str, password_hash: str, ip_address: str
) -> None:
    """Set a password with a reset link, and sign the account out everywhere.

    The link becomes invalid.

    Args:
        text: the last URL segment of the link.
        password_hash: the result of ``hash_password``, computed before the transaction.
        ip_address: of the request, for the audit log and the notice to the owner.

    Raises:
        NotFound: ``password.unknown_link``.
    """
    account = read_link(tx, vault, text)
    access_queries.lock_account(tx, account.id)
    # Checked again under the lock, because the link may just have been used by another request.
    account = read_link(tx, vault, text)
    _set_password(tx, account.id, password_hash)
    event_queries.record(
        tx, None, events.PasswordChanged(account=account.id, because="link", address=ip_address)
    )
    notices.send_notice(
        tx, mails.PasswordChanged, account, None, by=notices.PERSON, ip_address=ip_address
    )


def change(tx: WriteTransaction, actor: Actor, password_hash: str) -> Actor:
    """Set the actor's own password, and sign the account out everywhere.

    The caller must have verified the old password. Return the actor, who can be signed in again in
    the same transaction.

    Args:
        password_hash: the result of ``hash_password``, computed before the transaction.

    Raises:
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor)
    _set_password(tx, actor.id, password_hash)
    event_queries.record(tx, actor, events.PasswordChanged(account=actor.id))
    notices.send_notice(tx, mails.PasswordChanged, account, actor)
    return replace(actor, token=0, credentials=None)


def _set_password(tx: WriteTransaction, account: int, password_hash: str) -> None:
    account_queries.change(tx, account, {"password": password_hash, "modified_at": tx.now})
    credentials.revoke_everything(tx, account)


def _derive_mark(vault: Vault, account: AccountWithPassword, requested_at: datetime) -> str:
    return vault.derive_code(
        RESET, account.id, account.password or "", account.email, requested_at.isoformat()
    )
