"""Passwords: changed by their owner, or set anew by whoever reads the account's mail."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from collegium.access import queries as access_queries
from collegium.accounts import queries as account_queries
from collegium.accounts.actions import require_staff
from collegium.events import queries as event_queries
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, NotFound
from collegium.security.passwords import password_errors
from collegium.sign_in import credentials, notices

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.db.database import ReadTransaction, WriteTransaction
    from collegium.db.statements import Row
    from collegium.security.crypto import Vault

RESET: Final = "password_reset"
"""What a link is signed for; also the segment of its path before the last."""

LIFETIME: Final = timedelta(hours=1)


class Reset(NamedTuple):
    """What a link to set a password says.

    Args:
        account: UUID.
        mark: of the password, the address and the moment that it was made for.
    """

    account: str
    asked: datetime
    mark: str


class _NoAccountError(Exception):
    """Nobody has that address."""


def request_reset(tx: WriteTransaction, address: str, whence: str) -> None:
    """Mail a link to set a new password to every account of an address; tell nobody of whom.

    Accounts that another service knows the password of get none.

    Args:
        whence: the network address it is asked from; for history.
    """
    found = account_queries.with_address(tx, address)
    for account in found:
        outbox_queries.enqueue(
            tx, mails.PasswordReset(account.email, account.id, tx.now.isoformat())
        )
        _record(tx, "account.password_reset_asked", None, account.id, address=whence)
    if not found:
        # As much work as for a known one: a mail is written as well, and taken back.
        with suppress(_NoAccountError), tx.savepoint():
            outbox_queries.enqueue(tx, mails.PasswordReset(address, 0, tx.now.isoformat()))
            raise _NoAccountError
        _record(tx, "account.password_reset_asked", None, None, address=whence)


def send(tx: WriteTransaction, actor: Actor, uuid: str) -> Row:
    """Mail a link to set a new password to an account, for staff; give the account.

    Refuses: NotFound when hidden, Forbidden for anybody but staff,
    Conflict ``password.elsewhere`` for an account that cannot have a password of ours.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    if not is_open(account):
        raise Conflict("password.elsewhere")
    outbox_queries.enqueue(tx, mails.PasswordReset(account.email, account.id, tx.now.isoformat()))
    _record(tx, "account.password_reset_asked", actor, account.id)
    return account


def link(vault: Vault, account: Row, asked: datetime) -> str:
    """Make the last segment of the address that the mail names."""
    return vault.sign(RESET, account.uuid, asked.isoformat(), _mark(vault, account, asked))


def read_link(tx: ReadTransaction, vault: Vault, text: str) -> Row:
    """Give the account whose password a link may set now.

    A link dies with the hour, with the password it was to replace, and with the address it
    went to.

    Refuses: NotFound ``password.unknown_link``.
    """
    match vault.unsign(RESET, text):
        case [str(uuid), str(moment), str(mark)]:
            asked = datetime.fromisoformat(moment)
            account = account_queries.known_by_uuid(tx, uuid)
            if (
                account is not None
                and is_open(account)
                and tx.now <= asked + LIFETIME
                and mark == _mark(vault, account, asked)
            ):
                return account
    raise NotFound("password.unknown_link")


def is_open(account: Row) -> bool:
    """Tell whether an account has, or could have, a password of ours."""
    return bool(account.is_active and account.registration_method == "default")


def describe(account: Row) -> tuple[str, ...]:
    """Give what is known of a person, for the judge of passwords."""
    return (account.username, account.email, account.first_name, account.last_name)


def check_new_password(password: str, known: tuple[str, ...]) -> list[str]:
    """Say everything that is wrong with a password.

    Args:
        known: what is known of the person.
    """
    return password_errors(password, known)


def reset(tx: WriteTransaction, vault: Vault, text: str, hashed: str, whence: str) -> None:
    """Set a password by a link; whoever was signed in is out, and the link is used up.

    Args:
        whence: the network address it is set from; for history, and for the owner's mail.

    Refuses: NotFound ``password.unknown_link``.
    """
    account = read_link(tx, vault, text)
    access_queries.lock_account(tx, account.id)
    # Asked again under the lock: the same link, followed at this moment, has used itself up.
    account = read_link(tx, vault, text)
    _set(tx, account.id, hashed)
    _record(tx, "account.password_changed", None, account.id, because="link", address=whence)
    notices.send_notice(tx, mails.PasswordChanged, account, None, by=notices.PERSON, address=whence)


def change(tx: WriteTransaction, actor: Actor, hashed: str) -> Actor:
    """Set the actor's own password, who has just shown the old one; whoever was signed in is out.

    Args:
        hashed: by ``vault.hash_password``, made before the transaction.

    Gives the actor, who may be signed in anew in this transaction.

    Refuses: as ``credentials.confirm``.
    """
    account = credentials.confirm(tx, actor)
    _set(tx, actor.id, hashed)
    _record(tx, "account.password_changed", actor, actor.id)
    notices.send_notice(tx, mails.PasswordChanged, account, actor)
    return replace(actor, token=0, credentials=None)


def _set(tx: WriteTransaction, account: int, hashed: str) -> None:
    account_queries.change(tx, account, {"password": hashed, "modified": tx.now})
    credentials.revoke_everything(tx, account)


def _mark(vault: Vault, account: Row, asked: datetime) -> str:
    return vault.derive_code(
        RESET, account.id, account.password or "", account.email, asked.isoformat()
    )


def _record(
    tx: WriteTransaction, kind: str, actor: Actor | None, account: int | None, **facts: Any
) -> None:
    event_queries.record(tx, kind, actor, account=account, **facts)
