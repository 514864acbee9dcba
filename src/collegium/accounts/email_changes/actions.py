"""Change the e-mail address of an account: request, notify the old address, confirm, cancel."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from collegium.access.queries import lock_account
from collegium.access.rules import ANONYMOUS, Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.actions import require_self_or_staff
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.accounts.email_changes.queries import EmailChange
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.queries import AccountRow
from collegium.accounts.rules import check_email_not_protected, protected_fields
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations.mail_budgets import actions as mail_budget_actions
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, Limited, NotFound
from collegium.scopes.actions import change_account
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.providers import queries as provider_queries

CANCEL: Final = "user_email_change_cancel"
"""Purpose for which the cancellation code is derived; also a segment of its URL."""


def request_change(
    tx: WriteTransaction, actor: Actor, settings: Settings, vault: Vault, uuid: str, email: str
) -> None:
    """Send a confirmation code to a new address.

    Until it is confirmed the account keeps the old one.

    The old address gets a notice at once, with a link that cancels the change.

    Args:
        uuid: the account, 32 hex digits.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is neither staff nor the owner.
        Conflict: ``account.address_protected``: an identity provider decides the address.
        Limited: ``mail_budget.spent``: the new address got too many e-mails.
        Unauthenticated: ``token.unknown``: the credentials of the request were revoked or changed.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_self_or_staff(actor, account)
    protected = protected_fields(
        account.registration_method,
        settings.local_idp_protected_fields,
        provider_queries.protected_fields(tx, account),
    )
    check_email_not_protected(email_is_protected="email" in protected)
    if actor.id == account.id:
        credentials.confirm(tx, actor)
    locked = account_queries.lock_account_and_recheck(tx, actor, account)
    _send_code(tx, actor, settings, vault, locked, email)
    notices.send_notice(
        tx, mails.ChangeEmailNotice, locked, actor, email=email, version=locked.credentials_version
    )


def _send_code(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    vault: Vault,
    account: AccountRow,
    email: str,
) -> None:
    code = vault.derive_code(account.id, email, tx.now.isoformat())
    to_cancel = cancel_code(vault, account.id, account.email, account.credentials_version)
    email_change_queries.replace(
        tx, account.id, email, vault.keyed_hash(code), vault.keyed_hash(to_cancel)
    )
    mail_budget_actions.spend(tx, settings, email, actor)
    outbox_queries.enqueue(tx, mails.ChangeEmailRequest(email, account.id, tx.now.isoformat()))
    event_queries.record(tx, actor, events.EmailChangeRequested(account=account.id, email=email))


def request_first(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    vault: Vault,
    account: AccountRow,
    email: str,
) -> bool:
    """Send a confirmation code to the address of a new account, which has none until then.

    Args:
        actor: the new person.
        email: an address that nobody has verified.

    Returns:
        Whether a code was sent; False if the address got too many e-mails.
    """
    try:
        with tx.savepoint():
            _send_code(tx, actor, settings, vault, account, email)
    except Limited:
        return False
    return True


def cancel(tx: WriteTransaction, actor: Actor, uuid: str) -> bool:
    """Cancel the change of an address. Return whether there was one.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is neither staff nor the owner.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_self_or_staff(actor, account)
    account_queries.lock_account_and_recheck(tx, actor, account)
    is_canceled = email_change_queries.cancel(tx, account.id)
    if is_canceled:
        event_queries.record(tx, actor, events.EmailChangeCanceled(account=account.id))
    return is_canceled


def cancel_code(vault: Vault, account: int, email: str, version: int) -> str:
    """Derive the code that cancels a change of an account's address.

    The code stays the same for all requested changes until one is cancelled with it. So a second
    request does not invalidate the link in an earlier e-mail.

    Args:
        email: the present address of the account.
        version: the version of the account's credentials.
    """
    return vault.derive_code(CANCEL, account, email, version)


def cancel_by_code(tx: WriteTransaction, vault: Vault, code: str, ip_address: str) -> None:
    """Cancel a change with the code from the old mailbox, and sign the account out everywhere.

    Args:
        code: 32 hex digits, from the e-mail.
        ip_address: of the request, for the audit log.

    Raises:
        NotFound: ``address.unknown_code``.
    """
    change = email_change_queries.by_cancel_code_hash(tx, vault.keyed_hash(code))
    if change is not None:
        lock_account(tx, change.account_id)
        # Checked again under the lock, because the change may just have been confirmed or
        # cancelled.
        change = email_change_queries.by_cancel_code_hash(tx, vault.keyed_hash(code))
    if change is None:
        raise NotFound("address.unknown_code")
    credentials.revoke_everything(tx, change.account_id)
    event_queries.record(
        tx,
        None,
        events.EmailChangeCanceled(account=change.account_id, address=ip_address, because="link"),
    )


def by_code(tx: ReadTransaction, settings: Settings, vault: Vault, code: str) -> EmailChange:
    """Return the pending change that a code confirms.

    Args:
        code: 32 hex digits, from the e-mail.

    Raises:
        NotFound: ``address.unknown_code``.
        Conflict: ``address.code_expired``.
    """
    change = email_change_queries.by_code_hash(tx, vault.keyed_hash(code))
    if change is None:
        raise NotFound("address.unknown_code")
    if change.created_at + timedelta(seconds=settings.email_change_max_age) < tx.now:
        raise Conflict("address.code_expired")
    return change


def confirm(
    tx: WriteTransaction, actor: Actor, settings: Settings, vault: Vault, code: str
) -> None:
    """Set the address that the code was sent to, and notify the old address.

    The code proves the mailbox, not the account: who reads the mailbox may never have asked
    for the change. So a person who is signed in confirms for the own account alone.

    Args:
        actor: the owner, staff, or anonymous: the described API needs no token for this.
        code: 32 hex digits, from the e-mail.

    Raises:
        NotFound: ``address.unknown_code``; also for the code of another account.
        Conflict: ``address.code_expired``.
    """
    lock_account(tx, by_code(tx, settings, vault, code).account_id)
    # Checked again under the lock, because a concurrent confirmation may have used the code.
    locked = by_code(tx, settings, vault, code)
    if actor is not ANONYMOUS and actor.id != locked.account_id and not actor.is_staff:
        raise NotFound("address.unknown_code")
    # Another account may just have confirmed the same address, which ends this change.
    if locked.account_id not in email_change_queries.delete_by_email(tx, locked.email):
        raise NotFound("address.unknown_code")
    before = account_queries.existing(tx, locked.account_id)
    change_account(tx, locked.account_id, {"email": locked.email, "modified_at": tx.now})
    mail_budget_actions.restore(tx, locked.email)
    by = None if actor is ANONYMOUS else actor
    event_queries.record(
        tx,
        by,
        events.EmailChanged(account=locked.account_id, old=locked.old_email, new=locked.email),
    )
    profile_actions.notify_operator(tx, by, settings, before, {"email": locked.email})
    _notify_old_address(tx, locked.account_id, locked.old_email, locked.email)


def supersede(tx: WriteTransaction, before: AccountRow, email: str) -> None:
    """End the pending changes that a change by an identity provider overtakes, and notify.

    Args:
        before: the account before the change; it must be locked.
        email: its new address.
    """
    email_change_queries.cancel(tx, before.id)
    email_change_queries.delete_by_email(tx, email)
    _notify_old_address(tx, before.id, before.email, email)


def _notify_old_address(tx: WriteTransaction, account: int, old: str, new: str) -> None:
    if old:
        outbox_queries.enqueue(tx, mails.EmailChanged(old, account, new))
