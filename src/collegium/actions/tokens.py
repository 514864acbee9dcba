"""Logging in and out. A token of any dialect is a row of the one token store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from collegium.actions import credentials
from collegium.rules.access import Actor
from collegium.rules.refusals import Forbidden, NotFound, Unauthenticated
from collegium.rules.tokens import (
    ACCESS_LIFETIME,
    PERSONAL_LIFETIME,
    REFRESH_LIFETIME,
    Kind,
    end,
)
from collegium.store import access, accounts, events, tokens

if TYPE_CHECKING:
    from collegium.settings import Settings
    from collegium.store.db import Write
    from collegium.store.statements import Row
    from collegium.store.vault import Vault


def actor_of(
    account: Row,
    address: str | None = None,
    request: str = "",
    behind: Actor | None = None,
    *,
    token: int = 0,
    credentials: int | None = None,
) -> Actor:
    """Give the actor that an account is, or that somebody ``behind`` it acts as.

    Args:
        token: id of the token that was shown.
        credentials: ``credentials_version`` of the account that a password was verified at.
    """
    return Actor(
        id=account.id,
        uuid=account.uuid,
        username=account.username,
        name=accounts.full_name(account),
        email=account.email,
        is_staff=account.is_staff,
        is_support=account.is_support,
        is_identity_manager=account.is_identity_manager,
        civil_number=account.civil_number,
        address=address,
        request=request,
        behind=behind,
        token=token,
        credentials=credentials,
    )


def issue(tx: Write, vault: Vault, actor: Actor | None, account: int) -> str:
    """Give an account a new token; the old one is dead at once."""
    tokens.revoke(tx, account)
    token = vault.new_token()
    tokens.add(tx, account, vault.digest(token), vault.seal(token))
    events.record(tx, "token.created", actor, account=account)
    return token


def issue_personal(tx: Write, vault: Vault, actor: Actor, name: str) -> tuple[str, int]:
    """Give a person another token for a program of theirs; it is told this once.

    Args:
        name: by which its owner knows it again.

    Gives the token and its number.

    Refuses: as ``credentials.confirm``.
    """
    credentials.confirm(tx, actor)
    token = vault.new_personal()
    number = tokens.add(
        tx,
        actor.id,
        vault.digest(token),
        kind=Kind.PERSONAL,
        name=name,
        lifetime=PERSONAL_LIFETIME,
    )
    events.record(tx, "token.created", actor, account=actor.id, name=name)
    return token, number


def revoke_personal(tx: Write, actor: Actor, number: int) -> None:
    """End one of the actor's personal tokens.

    Refuses: NotFound ``token.none``.
    """
    if not tokens.revoke_one(tx, actor.id, number):
        raise NotFound("token.none")
    events.record(tx, "token.revoked", actor, account=actor.id)


class Pair(NamedTuple):
    """A token to be let in with for an hour, and one that is good for the next pair."""

    access: str
    refresh: str


def log_in_briefly(tx: Write, vault: Vault, actor: Actor, method: str) -> Pair:
    """Let somebody in whose password was right, and give a pair of tokens.

    Refuses: Unauthenticated ``login.failed`` when what was verified no longer holds; see
    ``credentials.confirm``.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    accounts.change(tx, account.id, {"last_login": tx.now})
    events.record(tx, "login.succeeded", actor, account=account.id, method=method)
    return _issue_pair(tx, vault, account.id)


def refresh(tx: Write, vault: Vault, settings: Settings, token: str) -> Pair:
    """Give the next pair for a refresh token; the pair that it came with is dead at once.

    Refuses: Unauthenticated ``token.unknown``, ``token.inactive``, ``token.expired``.
    """
    owner = tokens.owner(tx, vault.digest(token))
    if owner is not None:
        # Read again under the lock: what ends all tokens of the account may have come first.
        access.lock_account(tx, owner.id)
        owner = tokens.owner(tx, vault.digest(token))
    if owner is None or owner.token_kind != Kind.REFRESH:
        raise Unauthenticated("token.unknown")
    if not owner.is_active:
        raise Unauthenticated("token.inactive")
    ends = end(owner.issued, owner.used, owner.lifetime, settings.token_max_age, owner.ends)
    if ends is not None and ends < tx.now:
        raise Unauthenticated("token.expired")
    if not tokens.revoke_family(tx, owner.family):
        # Somebody else was first with it.
        raise Unauthenticated("token.unknown")
    return _issue_pair(tx, vault, owner.id)


def _issue_pair(tx: Write, vault: Vault, account: int) -> Pair:
    pair = Pair(vault.new_personal(), vault.new_personal())
    family = uuid4().hex
    for token, kind, seconds in (
        (pair.access, Kind.ACCESS, ACCESS_LIFETIME),
        (pair.refresh, Kind.REFRESH, REFRESH_LIFETIME),
    ):
        tokens.add(
            tx,
            account,
            vault.digest(token),
            kind=kind,
            ends=tx.now + timedelta(seconds=seconds),
            family=family,
        )
    return pair


def renew(tx: Write, vault: Vault, settings: Settings, actor: Actor | None, account: Row) -> str:
    """Give the account's token: the one it has, its lifetime begun anew, or a new one."""
    kept = tokens.of_account(tx, account.id)
    if kept is not None:
        ends = end(kept.issued, kept.used, account.token_lifetime, settings.token_max_age)
        if ends is None or ends >= tx.now:
            tokens.touch_now(tx, kept.id)
            return vault.unseal(kept.sealed, kept.digest)
    return issue(tx, vault, actor, account.id)


def log_in(tx: Write, vault: Vault, settings: Settings, actor: Actor, method: str) -> str:
    """Let somebody in whose password was right, and give the token.

    Args:
        actor: whose password was verified, before this transaction began.

    Refuses: Unauthenticated ``login.failed`` when what was verified no longer holds; see
    ``credentials.confirm``.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    token = renew(tx, vault, settings, actor, account)
    accounts.change(tx, account.id, {"last_login": tx.now})
    events.record(tx, "login.succeeded", actor, account=account.id, method=method)
    return token


def fail(tx: Write, account: Row | None, username: str, address: str) -> None:
    """Write down that somebody did not get in."""
    events.record(
        tx,
        "login.failed",
        None,
        account=account.id if account is not None else None,
        username=username[:128],
        address=address,
    )


def log_out(tx: Write, actor: Actor) -> None:
    """End the actor's token, and with it every session that uses it."""
    tokens.revoke(tx, actor.id)
    events.record(tx, "logout", actor, account=actor.id)


def check_may_oversee(actor: Actor) -> None:
    """Let only staff see and end what others are logged in with.

    Refuses: Forbidden ``permission.missing``.
    """
    if not actor.is_staff:
        raise Forbidden("permission.missing")


def end_of(tx: Write, actor: Actor, account: int) -> None:
    """End somebody's token, and with it every session that uses it.

    Refuses: Forbidden ``permission.missing``, NotFound ``token.none``.
    """
    check_may_oversee(actor)
    if not tokens.revoke(tx, account):
        raise NotFound("token.none")
    events.record(tx, "token.revoked", actor, account=account)
