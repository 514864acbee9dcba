"""Letting a program in from a browser: it begins to wait, a person decides, it fetches a token."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from collegium.actions import credentials
from collegium.actions.tokens import actor_of, issue_personal
from collegium.rules import devices as rules
from collegium.rules.devices import State
from collegium.rules.refusals import NotFound
from collegium.store import access, accounts, devices, events
from collegium.store.db import Duplicate

if TYPE_CHECKING:
    from collegium.rules.access import Actor
    from collegium.store.db import Read, Write
    from collegium.store.statements import Row
    from collegium.store.vault import Vault


class Waiting(NamedTuple):
    """A program that has begun to wait.

    Args:
        uuid: for the address of the page; whoever has it can look, and decides only logged in.
        device_code: what the program asks with.
        user_code: what the person types, or compares.
    """

    uuid: str
    device_code: str
    user_code: str


def begin(tx: Write, vault: Vault, name: str) -> Waiting:
    """Let a program wait to be let in.

    Args:
        name: what it calls itself; nobody has checked that.
    """
    expires = tx.now + timedelta(seconds=rules.LIFETIME)
    while True:
        waiting = Waiting(uuid4().hex, vault.new_personal(), vault.new_user_code())
        try:
            devices.add(
                tx,
                waiting.uuid,
                vault.digest(waiting.device_code),
                _user_digest(vault, waiting.user_code),
                name,
                State.PENDING,
                expires,
            )
        except Duplicate:
            continue  # the short code is in use
        return waiting


def find(tx: Read, vault: Vault, user_code: str) -> Row:
    """Give the program that waits with a code, to show its name and ask the person.

    Count the failures: see ``Call.guarded``.

    Refuses: NotFound ``device.unknown``.
    """
    return _open(tx, devices.by_user_digest(tx, _user_digest(vault, user_code)))


def find_by_uuid(tx: Read, uuid: str) -> Row:
    """Give the program that the address of the page names.

    Refuses: NotFound ``device.unknown``.
    """
    return _open(tx, devices.by_uuid(tx, uuid))


def approve(tx: Write, actor: Actor, uuid: str) -> None:
    """Let a program in as oneself; it fetches its token when it next asks.

    Refuses: NotFound ``device.unknown``.
    """
    _decide(tx, actor, uuid, State.APPROVED)


def deny(tx: Write, actor: Actor, uuid: str) -> None:
    """Turn a program away.

    Refuses: NotFound ``device.unknown``.
    """
    _decide(tx, actor, uuid, State.DENIED)


def look(tx: Read, vault: Vault, device_code: str) -> State | None:
    """Tell a program what became of it; None: its time is over, or it never waited."""
    device = devices.by_digest(tx, vault.digest(device_code))
    return None if device is None or device.expires <= tx.now else State(device.state)


def fetch(tx: Write, vault: Vault, device_code: str) -> str | None:
    """Give a program that was let in its token, once; None: there is none to be had now."""
    device = devices.by_digest(tx, vault.digest(device_code))
    if device is None or device.expires <= tx.now or device.state != State.APPROVED:
        return None
    # What ends the account's credentials turns the program away: it came first, or finds the token.
    access.lock_account(tx, device.account_id)
    account = accounts.by_number(tx, device.account_id)
    if account is None or not account.is_active:
        return None
    if not devices.step(tx, device, State.USED, account.id):
        return None
    return issue_personal(tx, vault, actor_of(account), device.name)[0]


def _decide(tx: Write, actor: Actor, uuid: str, state: State) -> None:
    credentials.confirm(tx, actor)
    device = find_by_uuid(tx, uuid)
    if not devices.step(tx, device, state, actor.id):
        raise NotFound("device.unknown")
    kind = "device.approved" if state is State.APPROVED else "device.denied"
    events.record(tx, kind, actor, account=actor.id, name=device.name)


def _open(tx: Read, device: Row | None) -> Row:
    if device is None:
        raise NotFound("device.unknown")
    rules.check_open(device.state, device.expires, tx.now)
    return device


def _user_digest(vault: Vault, user_code: str) -> bytes:
    return vault.digest(f"user code {rules.plain(user_code)}")
