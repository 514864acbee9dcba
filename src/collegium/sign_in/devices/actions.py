"""Letting a program in from a browser: it begins to wait, a person decides, it fetches a token."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.accounts import queries as account_queries
from collegium.db.database import UniqueViolationError
from collegium.events import queries as event_queries
from collegium.outbox import mails
from collegium.refusals import NotFound
from collegium.settings import DEFAULTS
from collegium.sign_in import credentials, notices
from collegium.sign_in.devices import queries as device_queries
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.devices.rules import State
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import check_quota, issue_device

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.db.database import ReadTransaction, WriteTransaction
    from collegium.db.statements import Row
    from collegium.security.crypto import Vault
    from collegium.settings import Settings


_USER_CODE: Final = "user code "


class PendingLogin(NamedTuple):
    """A program that has begun to wait.

    Args:
        uuid: for the address of the page; whoever has it can look, and decides only logged in.
        device_code: what the program asks with.
        user_code: what the person types, or compares.
    """

    uuid: str
    device_code: str
    user_code: str


def begin(
    tx: WriteTransaction,
    vault: Vault,
    name: str,
    *,
    address: str = "",
    lifetime: int | None = None,
    settings: Settings = DEFAULTS,
) -> PendingLogin:
    """Let a program wait to be let in.

    Args:
        name: what it calls itself; nobody has checked that.
        address: the network address that it asks from.
        lifetime: seconds that it wants its token to live; None: what is usual.

    Refuses: Invalid ``device.lifetime``.
    """
    longest = settings.device_token_lifetime_max
    if lifetime is None:
        lifetime = min(settings.device_token_lifetime, longest)
    device_rules.check_lifetime(lifetime, longest)
    expires = tx.now + timedelta(seconds=device_rules.LIFETIME)
    while True:
        waiting = PendingLogin(uuid4().hex, vault.new_personal(), vault.new_user_code())
        try:
            device_queries.add(
                tx,
                waiting.uuid,
                vault.digest(waiting.device_code),
                _user_digest(vault, waiting.user_code),
                vault.encrypt(_user_text(waiting.user_code)),
                name,
                address[:64],
                lifetime,
                State.PENDING,
                expires,
            )
        except UniqueViolationError:
            continue  # the short code is in use
        return waiting


def find(tx: ReadTransaction, vault: Vault, user_code: str) -> Row:
    """Give the program that waits with a code, to show its name and ask the person.

    Count the failures: see ``Call.guarded``.

    Refuses: NotFound ``device.unknown``.
    """
    return _open(tx, device_queries.by_user_digest(tx, _user_digest(vault, user_code)))


def find_by_uuid(tx: ReadTransaction, uuid: str) -> Row:
    """Give the program that the address of the page names.

    Refuses: NotFound ``device.unknown``.
    """
    return _open(tx, device_queries.by_uuid(tx, uuid))


def user_code(vault: Vault, device: Row) -> str:
    """Return the code that the device shows; empty for one that waits since an earlier release."""
    if device.user_code_sealed is None:
        return ""
    code = vault.decrypt(device.user_code_sealed, device.user_digest).removeprefix(_USER_CODE)
    return f"{code[:4]}-{code[4:]}"


def lifetime(device: Row, settings: Settings) -> int:
    """Return the seconds that the token of a program will live."""
    return device_rules.lifetime(
        device.lifetime,
        settings.device_token_lifetime,
        settings.device_token_lifetime_max,
        settings.token_max_age,
    )


def longest(settings: Settings) -> int:
    """Return the seconds that the token of a program can live at most, whatever is asked."""
    most = settings.device_token_lifetime_max
    return device_rules.lifetime(None, most, most, settings.token_max_age)


def approve(
    tx: WriteTransaction,
    actor: Actor,
    uuid: str,
    *,
    lifetime: int | None = None,
    settings: Settings = DEFAULTS,
) -> None:
    """Let a program in as oneself; it fetches its token when it next asks.

    The account's owner is told now: this is what a person does, and from where.

    Args:
        lifetime: seconds that the person lets its token live; None: as the program asked.

    Refuses: NotFound ``device.unknown``, Conflict ``token.too_many``, Invalid
    ``device.lifetime``; and as ``credentials.confirm``.
    """
    account = credentials.confirm(tx, actor)
    check_quota(tx, actor.id, settings)
    if lifetime is not None:
        device_rules.check_lifetime(lifetime, settings.device_token_lifetime_max)
    name = _decide(tx, actor, uuid, State.APPROVED, lifetime)
    notices.send_notice(tx, mails.TokenCreated, account, actor, name=name, program=True)


def deny(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Turn a program away.

    Refuses: NotFound ``device.unknown``; and as ``credentials.confirm``.
    """
    credentials.confirm(tx, actor)
    _decide(tx, actor, uuid, State.DENIED)


def peek(tx: ReadTransaction, vault: Vault, device_code: str) -> State | None:
    """Tell a program what became of it; None: its time is over, or it never waited."""
    device = device_queries.by_digest(tx, vault.digest(device_code))
    return None if device is None or device.expires <= tx.now else State(device.state)


def fetch(
    tx: WriteTransaction, vault: Vault, device_code: str, *, settings: Settings = DEFAULTS
) -> str | None:
    """Give a program that was let in its token, once; None: there is none to be had now."""
    device = device_queries.by_digest(tx, vault.digest(device_code))
    if device is None or device.expires <= tx.now or device.state != State.APPROVED:
        return None
    # What ends the account's credentials turns the program away: it came first, or finds the token.
    access_queries.lock_account(tx, device.account_id)
    account = account_queries.by_id(tx, device.account_id)
    if account is None or not account.is_active:
        return None
    if not device_queries.change_state(tx, device, State.USED, account.id):
        return None
    token_queries.remove_expired(tx, account.id, settings.token_max_age)
    return issue_device(tx, vault, account, device.name, lifetime(device, settings))


def _decide(
    tx: WriteTransaction, actor: Actor, uuid: str, state: State, lifetime: int | None = None
) -> str:
    """Decide about a program, and give what it calls itself."""
    device = find_by_uuid(tx, uuid)
    if not device_queries.change_state(tx, device, state, actor.id, lifetime):
        raise NotFound("device.unknown")
    kind = "device.approved" if state is State.APPROVED else "device.denied"
    event_queries.record(tx, kind, actor, account=actor.id, name=device.name)
    return str(device.name)


def _open(tx: ReadTransaction, device: Row | None) -> Row:
    if device is None:
        raise NotFound("device.unknown")
    device_rules.check_open(device.state, device.expires, tx.now)
    return device


def _user_digest(vault: Vault, user_code: str) -> bytes:
    return vault.digest(_user_text(user_code))


def _user_text(user_code: str) -> str:
    return _USER_CODE + device_rules.plain(user_code)
