"""Actions of device sign-in: a program starts it, a person decides, the program fetches a token."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction, UniqueViolationError, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.refusals import NotFound
from collegium.security.crypto import Vault
from collegium.settings import DEFAULTS, Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.devices import queries as device_queries
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.devices.queries import DeviceRow
from collegium.sign_in.devices.rules import State
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import check_token_quota, issue_device

_USER_CODE: Final = "user code "


class PendingSignIn(NamedTuple):
    """A device sign-in that was started.

    Args:
        uuid: part of the URL of the page, 32 hex digits. Everybody with the URL can see the page;
            deciding requires a session.
        device_code: secret of the program, with which it polls.
        user_code: short code that the person types or compares.
    """

    uuid: str
    device_code: str
    user_code: str


def begin(
    tx: WriteTransaction,
    vault: Vault,
    name: str,
    *,
    ip_address: str = "",
    lifetime: int | None = None,
    settings: Settings = DEFAULTS,
) -> PendingSignIn:
    """Start a device sign-in.

    Args:
        name: name of the program. It is not verified.
        ip_address: of the program.
        lifetime: requested lifetime of the token in seconds; None for the default.

    Raises:
        Invalid: ``device.lifetime``: longer than the operator allows.
    """
    limit = settings.device_token_lifetime_max
    if lifetime is None:
        lifetime = min(settings.device_token_lifetime, limit)
    device_rules.check_lifetime(lifetime, limit)
    expires_at = tx.now + timedelta(seconds=device_rules.LIFETIME)
    while True:
        pending = PendingSignIn(uuid4().hex, vault.new_personal_token(), vault.new_user_code())
        try:
            device_queries.add(
                tx,
                pending.uuid,
                vault.keyed_hash(pending.device_code),
                _hash_user_code(vault, pending.user_code),
                vault.encrypt(_user_code_text(pending.user_code)),
                name,
                ip_address[:64],
                lifetime,
                State.PENDING,
                expires_at,
            )
        except UniqueViolationError:
            continue  # the short code is in use
        return pending


def get_pending_by_code(tx: ReadTransaction, vault: Vault, user_code: str) -> DeviceRow:
    """Return the pending program with a user code, to show its name and ask the person.

    The caller must count failures with ``RequestContext.rate_limited``, because codes can be
    guessed.

    Raises:
        NotFound: ``device.unknown``: the code is unknown, expired or already decided.
    """
    return _require_pending(
        tx, device_queries.by_user_code_hash(tx, _hash_user_code(vault, user_code))
    )


def get_pending_by_uuid(tx: ReadTransaction, uuid: str) -> DeviceRow:
    """Return the pending program of a page.

    Raises:
        NotFound: ``device.unknown``: the UUID is unknown, expired or already decided.
    """
    return _require_pending(tx, device_queries.by_uuid(tx, uuid))


def user_code(vault: Vault, device: DeviceRow) -> str:
    """Return the code that the device shows."""
    code = vault.decrypt(device.user_code_encrypted, device.user_code_hash).removeprefix(_USER_CODE)
    return f"{code[:4]}-{code[4:]}"


def lifetime(device: DeviceRow, settings: Settings) -> int:
    """Return the lifetime in seconds that the token of a program will have."""
    return device_rules.lifetime(
        device.lifetime,
        settings.device_token_lifetime_max,
        settings.token_max_age,
    )


def longest_lifetime(settings: Settings) -> int:
    """Return the maximum lifetime in seconds of the token of a program."""
    limit = settings.device_token_lifetime_max
    return device_rules.lifetime(limit, limit, settings.token_max_age)


def approve(
    tx: WriteTransaction,
    actor: Actor,
    uuid: str,
    *,
    lifetime: int | None = None,
    settings: Settings = DEFAULTS,
) -> None:
    """Approve a program for the actor's account. It gets its token when it polls the next time.

    The owner is notified now, because this is the person's action with the person's address.

    Args:
        lifetime: lifetime of the token in seconds that the person chose; None for that of the
            program.

    Raises:
        NotFound: ``device.unknown``: the sign-in is unknown, expired or already decided.
        Conflict: ``token.too_many``: the account has the maximum number of tokens.
        Invalid: ``device.lifetime``: longer than the operator allows.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor)
    check_token_quota(tx, actor.id, settings)
    if lifetime is not None:
        device_rules.check_lifetime(lifetime, settings.device_token_lifetime_max)
    name = _set_decision(tx, actor, uuid, State.APPROVED, lifetime)
    notices.send_notice(tx, mails.TokenCreated, account, actor, name=name, program=True)


def deny(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Deny a program.

    Raises:
        NotFound: ``device.unknown``: the sign-in is unknown, expired or already decided.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    credentials.confirm(tx, actor)
    _set_decision(tx, actor, uuid, State.DENIED)


def peek(tx: ReadTransaction, vault: Vault, device_code: str) -> State | None:
    """Return the state of a device sign-in to its program; None if it is expired or unknown."""
    device = device_queries.by_device_code_hash(tx, vault.keyed_hash(device_code))
    return None if device is None or device.expires_at <= tx.now else State(device.state)


def fetch(
    tx: WriteTransaction, vault: Vault, device_code: str, *, settings: Settings = DEFAULTS
) -> str | None:
    """Issue the token of an approved program, once. Return None if no token is available."""
    device = device_queries.by_device_code_hash(tx, vault.keyed_hash(device_code))
    if device is None or device.expires_at <= tx.now or device.state != State.APPROVED:
        return None
    if device.account_id is None:
        return None
    # Revoking the credentials of the account denies the program. With this lock, the revocation
    # either came first and is noticed here, or it comes later and revokes the token.
    access_queries.lock_account(tx, device.account_id)
    account = account_queries.by_id(tx, device.account_id)
    if account is None or not account.is_active:
        return None
    if not device_queries.change_state(tx, device, State.USED, account.id):
        return None
    token_queries.remove_expired(tx, account.id, settings.token_max_age)
    return issue_device(
        tx,
        vault,
        account,
        device.name,
        lifetime(device, settings),
        has_second_factor=device.has_second_factor,
    )


def _set_decision(
    tx: WriteTransaction, actor: Actor, uuid: str, state: State, lifetime: int | None = None
) -> str:
    """Decide about a program. Return its name."""
    device = get_pending_by_uuid(tx, uuid)
    has_second_factor = token_queries.has_second_factor(tx, actor.token)
    if not device_queries.change_state(
        tx, device, state, actor.id, lifetime, has_second_factor=has_second_factor
    ):
        raise NotFound("device.unknown")
    event = events.DeviceApproved if state is State.APPROVED else events.DeviceDenied
    event_queries.record(tx, actor, event(account=actor.id, name=device.name))
    return str(device.name)


def _require_pending(tx: ReadTransaction, device: DeviceRow | None) -> DeviceRow:
    if device is None:
        raise NotFound("device.unknown")
    device_rules.check_open(device.state, device.expires_at, tx.now)
    return device


def _hash_user_code(vault: Vault, user_code: str) -> bytes:
    return vault.keyed_hash(_user_code_text(user_code))


def _user_code_text(user_code: str) -> str:
    return _USER_CODE + device_rules.plain(user_code)
