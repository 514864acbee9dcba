"""Changing the e-mail address of an account: asked for, proven, told to the old one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from collegium.actions import mails, profiles
from collegium.actions.accounts import check_self_or_staff
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


def ask(tx: Write, actor: Actor, settings: Settings, vault: Vault, uuid: str, email: str) -> None:
    """Send a code to a new address; the account keeps its old one until it comes back.

    Refuses: NotFound when hidden, Forbidden for anybody but staff and oneself,
    Conflict ``account.address_protected``.
    """
    account = accounts.reach(tx, actor, uuid)
    check_self_or_staff(actor, account)
    closed = protected_fields(account.registration_method, settings.local_idp_protected_fields)
    check_address_free(email_is_protected="email" in closed)
    lock_account(tx, account.id)
    code = vault.code(account.id, email, tx.now.isoformat())
    addresses.put(tx, account.id, email, vault.digest(code))
    outbox.post(tx, mails.ChangeEmailRequest(email, account.id, tx.now.isoformat()))
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
    accounts.change(tx, again.account_id, {"email": again.email, "modified": tx.now})
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
