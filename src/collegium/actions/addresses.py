"""Changing the e-mail address of an account: asked for, told to the old one, proven or canceled."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from collegium.actions import credentials, mail_budgets, mails, notices, profiles
from collegium.actions.accounts import check_self_or_staff
from collegium.actions.scopes import change_account
from collegium.rules.accounts import check_address_free, protected_fields
from collegium.rules.refusals import Conflict, NotFound
from collegium.store import accounts, addresses, events, outbox
from collegium.store.access import lock_account

if TYPE_CHECKING:
    from collegium.rules.access import Actor
    from collegium.settings import Settings
    from collegium.store.db import Write
    from collegium.store.statements import Row
    from collegium.store.vault import Vault

CANCEL: Final = "user_email_change_cancel"
"""What a code to cancel is derived for; also the segment of its path before the last."""


def ask(tx: Write, actor: Actor, settings: Settings, vault: Vault, uuid: str, email: str) -> None:
    """Send a code to a new address; the account keeps its old one until it comes back.

    The old address is told at once, with a link that cancels the change.

    Refuses: NotFound when hidden, Forbidden for anybody but staff and oneself,
    Conflict ``account.address_protected``, Limited ``mail_budget.spent``; and as
    ``credentials.confirm``.
    """
    account = accounts.reach(tx, actor, uuid)
    check_self_or_staff(actor, account)
    closed = protected_fields(account.registration_method, settings.local_idp_protected_fields)
    check_address_free(email_is_protected="email" in closed)
    if actor.id == account.id:
        credentials.confirm(tx, actor)
    else:
        lock_account(tx, account.id)
    held: Row = accounts.by_number(tx, account.id)
    version = held.credentials_version
    code = vault.code(account.id, email, tx.now.isoformat())
    cancels = cancel_code(vault, held.id, held.email, version)
    addresses.put(tx, account.id, email, vault.digest(code), vault.digest(cancels))
    mail_budgets.spend(tx, settings, email, actor)
    outbox.post(tx, mails.ChangeEmailRequest(email, account.id, tx.now.isoformat()))
    notices.tell(tx, mails.ChangeEmailNotice, held, actor, email=email, version=version)
    events.record(tx, "account.address_change_asked", actor, account=account.id, email=email)


def cancel(tx: Write, actor: Actor, uuid: str) -> bool:
    """Take the wish for another address back; tell whether there was one.

    Refuses: NotFound when hidden, Forbidden for anybody but staff and oneself.
    """
    account = accounts.reach(tx, actor, uuid)
    check_self_or_staff(actor, account)
    found = addresses.cancel(tx, account.id)
    if found:
        events.record(tx, "account.address_change_canceled", actor, account=account.id)
    return found


def cancel_code(vault: Vault, account: int, address: str, version: int) -> str:
    """Derive the code that cancels a change of an account's address.

    It is the same for every change that is asked for until one is canceled by it: who asks again
    must not make the link in an earlier mail worthless.

    Args:
        address: the one that the account has.
        version: of the account's credentials.
    """
    return vault.code(CANCEL, account, address, version)


def cancel_everything(tx: Write, vault: Vault, code: str, whence: str) -> None:
    """Cancel a change by the code in the old mailbox, and sign the account out everywhere.

    Args:
        code: 32 hex digits, from the mail.
        whence: the network address it comes from; for history.

    Refuses: NotFound ``address.unknown_code``.
    """
    change = addresses.by_cancel_digest(tx, vault.digest(code))
    if change is not None:
        lock_account(tx, change.account_id)
        # Asked again under the lock: it may have been confirmed or canceled at this moment.
        change = addresses.by_cancel_digest(tx, vault.digest(code))
    if change is None:
        raise NotFound("address.unknown_code")
    credentials.end_all(tx, change.account_id)
    events.record(
        tx,
        "account.address_change_canceled",
        None,
        account=change.account_id,
        address=whence,
        because="link",
    )


def confirm(tx: Write, settings: Settings, vault: Vault, code: str) -> None:
    """Give an account the address that its code was sent to, and tell the old one.

    Args:
        code: 32 hex digits, from the mail.

    Refuses: NotFound ``address.unknown_code``, Conflict ``address.code_expired``.
    """
    change = addresses.by_digest(tx, vault.digest(code))
    if change is None:
        raise NotFound("address.unknown_code")
    lock_account(tx, change.account_id)
    # Asked again under the lock: a second confirmation at this moment has used it up.
    again: Row | None = addresses.by_digest(tx, vault.digest(code))
    if again is None:
        raise NotFound("address.unknown_code")
    if again.created + timedelta(seconds=settings.email_change_max_age) < tx.now:
        raise Conflict("address.code_expired")
    addresses.drop_address(tx, again.email)
    before: Row = accounts.by_number(tx, again.account_id)
    change_account(tx, again.account_id, {"email": again.email, "modified": tx.now})
    mail_budgets.restore(tx, again.email)
    events.record(
        tx,
        "account.address_changed",
        None,
        account=again.account_id,
        old=again.old_email,
        new=again.email,
    )
    profiles.tell(tx, None, settings, before, {"email": again.email})
    if again.old_email:
        outbox.post(tx, mails.EmailChanged(again.old_email, again.account_id, again.email))
