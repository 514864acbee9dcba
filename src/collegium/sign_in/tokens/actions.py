"""Logging in and out. A token of any dialect is a row of the one token store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.events import queries as event_queries
from collegium.outbox import mails
from collegium.refusals import Forbidden, NotFound, Unauthenticated
from collegium.settings import DEFAULTS
from collegium.sign_in import credentials, notices
from collegium.sign_in.devices import queries as device_queries
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import (
    ACCESS_LIFETIME,
    COUNTED,
    LOGINS_WINDOW,
    PERSONAL_LIFETIME,
    REFRESH_LIFETIME,
    TokenKind,
    check_logins,
    check_token_quota,
    expiry,
)

if TYPE_CHECKING:
    from datetime import datetime

    from collegium.db.database import WriteTransaction
    from collegium.db.statements import Row
    from collegium.security.crypto import Vault
    from collegium.settings import Settings


def actor_of(
    account: Row,
    address: str | None = None,
    request: str = "",
    behind: Actor | None = None,
    *,
    token: int = 0,
    credentials: int | None = None,
    token_kind: str | None = None,
) -> Actor:
    """Give the actor that an account is, or that somebody ``behind`` it acts as.

    Args:
        token: id of the token that was shown.
        credentials: ``credentials_version`` of the account that a password was verified at.
        token_kind: the kind of the token that was shown.
    """
    return Actor(
        id=account.id,
        uuid=account.uuid,
        username=account.username,
        name=account_queries.full_name(account),
        email=account.email,
        is_staff=account.is_staff,
        is_support=account.is_support,
        is_identity_manager=account.is_identity_manager,
        civil_number=account.civil_number,
        address=address,
        request=request,
        impersonator=behind,
        token=token,
        credentials=credentials,
        token_kind=token_kind,
    )


def issue(tx: WriteTransaction, vault: Vault, actor: Actor | None, account: int) -> str:
    """Give an account a new token; the old one is dead at once."""
    token_queries.revoke(tx, account)
    token = vault.new_token()
    token_queries.add(tx, account, vault.digest(token), vault.encrypt(token))
    event_queries.record(tx, "token.created", actor, account=account)
    return token


def issue_personal(
    tx: WriteTransaction, vault: Vault, actor: Actor, name: str, *, settings: Settings = DEFAULTS
) -> tuple[str, int]:
    """Give a person another token for a program of theirs; it is told this once.

    Args:
        name: by which its owner knows it again.

    Gives the token and its number.

    Refuses: Conflict ``token.too_many``; and as ``credentials.confirm``.
    """
    account = credentials.confirm(tx, actor)
    check_quota(tx, actor.id, settings)
    token = vault.new_personal()
    number = token_queries.add(
        tx,
        actor.id,
        vault.digest(token),
        kind=TokenKind.PERSONAL,
        name=name,
        lifetime=PERSONAL_LIFETIME,
    )
    event_queries.record(tx, "token.created", actor, account=actor.id, name=name)
    notices.send_notice(tx, mails.TokenCreated, account, actor, name=name)
    return token, number


def issue_device(tx: WriteTransaction, vault: Vault, account: Row, name: str, lifetime: int) -> str:
    """Give a program that was let in from a browser its token, once.

    The account must be locked, and the program counted by ``check_room`` when it was let in.

    Args:
        name: what the program calls itself.
        lifetime: seconds that the token lives, used or not.
    """
    token = vault.new_personal()
    token_queries.add(
        tx,
        account.id,
        vault.digest(token),
        kind=TokenKind.DEVICE,
        name=name,
        ends=tx.now + timedelta(seconds=lifetime),
    )
    event_queries.record(tx, "token.created", actor_of(account), account=account.id, name=name)
    return token


def check_quota(tx: WriteTransaction, account: int, settings: Settings) -> None:
    """Let an account have another token for a program only while it has few enough.

    Programs that were let in and have not fetched their token count as well. The account must be
    locked, so that of two requests at one moment the second one counts the token of the first.

    Refuses: Conflict ``token.too_many``.
    """
    rows = token_queries.remove_expired(tx, account, settings.token_max_age)
    count = sum(row.kind in COUNTED for row in rows) + device_queries.approved(tx, account)
    check_token_quota(count, settings.max_personal_tokens)


def revoke_own(tx: WriteTransaction, actor: Actor, number: int) -> None:
    """End one of the actor's tokens, of whatever kind but a session; a pair goes together.

    Refuses: NotFound ``token.none``.
    """
    row = token_queries.get(tx, actor.id, number)
    if row is None or row.kind in {TokenKind.SESSION, TokenKind.SPENT}:
        raise NotFound("token.none")
    if not token_queries.revoke_row(tx, actor.id, row):
        raise NotFound("token.none")
    event_queries.record(tx, "token.revoked", actor, account=actor.id, name=row.name)


def revoke_everything_else(tx: WriteTransaction, actor: Actor) -> None:
    """End every token and session of the actor but the session that asks for it.

    Refuses: as ``credentials.confirm``.
    """
    credentials.confirm(tx, actor)
    credentials.drop_pending(tx, actor.id)
    token_queries.revoke_but(tx, actor.id, actor.token)
    event_queries.record(tx, "token.revoked", actor, account=actor.id)


class Pair(NamedTuple):
    """A token to be let in with for an hour, and one that is good for the next pair."""

    access: str
    refresh: str


def log_in_with_refresh(
    tx: WriteTransaction, vault: Vault, actor: Actor, method: str, *, settings: Settings = DEFAULTS
) -> Pair:
    """Let somebody in whose password was right, and give a pair of tokens.

    Where the account has too many pairs, the one that was not used for longest ends.

    Refuses: Unauthenticated ``login.failed`` when what was verified no longer holds; see
    ``credentials.confirm``; Limited ``tries.wait`` after too many logins.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    check_login_rate(tx, account.id, settings)
    rows = token_queries.remove_expired(tx, account.id, settings.token_max_age)
    pairs = [row for row in rows if row.kind == TokenKind.REFRESH]
    token_queries.revoke_oldest(tx, account.id, pairs, settings.max_sessions - 1)
    account_queries.change(tx, account.id, {"last_login": tx.now})
    event_queries.record(tx, "login.succeeded", actor, account=account.id, method=method)
    return _issue_pair(tx, vault, account.id, uuid4().hex, tx.now)


def check_login_rate(tx: WriteTransaction, account: int, settings: Settings) -> None:
    """Let an account log in only so many times in ten minutes; staff as well.

    The account must be locked: of two logins at one moment the second one counts the first.

    Refuses: Limited ``tries.wait``.
    """
    if settings.rate_limits:
        since = tx.now - LOGINS_WINDOW
        first = event_queries.login_number(tx, account, since, settings.max_logins)
        check_logins(first, tx.now)


def refresh(tx: WriteTransaction, vault: Vault, settings: Settings, token: str) -> Pair | None:
    """Give the next pair for a refresh token; the pair that it came with is dead at once.

    None for a token that was spent before: whoever shows it, two of them have it, and so the
    whole family has ended, which must be committed (RFC 9700, section 4.14.2). A client whose
    answer was lost logs in anew: docs/decisions/0028-tokens.md.

    Refuses: Unauthenticated ``token.unknown``, ``token.inactive``, ``token.expired``.
    """
    owner = token_queries.owner(tx, vault.digest(token))
    if owner is not None:
        # Read again under the lock: what ends all tokens of the account may have come first.
        access_queries.lock_account(tx, owner.id)
        owner = token_queries.owner(tx, vault.digest(token))
    if owner is None or owner.token_kind != TokenKind.REFRESH:
        if owner is None and _end_reused(tx, vault, token):
            return None
        raise Unauthenticated("token.unknown")
    if not owner.is_active:
        raise Unauthenticated("token.inactive")
    ends = expiry(owner.issued, owner.used, owner.lifetime, settings.token_max_age, owner.ends)
    if ends is not None and ends < tx.now:
        raise Unauthenticated("token.expired")
    token_queries.revoke_family(tx, owner.id, owner.family)
    return _issue_pair(tx, vault, owner.id, owner.family, owner.issued)


def _end_reused(tx: WriteTransaction, vault: Vault, token: str) -> bool:
    """End the family of a refresh token that was spent before; tell whether it still lived."""
    found = vault.family_of(token)
    if found is None:
        return False
    account, family = found
    access_queries.lock_account(tx, account)
    if not token_queries.revoke_family(tx, account, family):
        return False
    event_queries.record(tx, "token.reused", None, account=account)
    return True


def _issue_pair(
    tx: WriteTransaction, vault: Vault, account: int, family: str, issued: datetime
) -> Pair:
    pair = Pair(vault.new_personal(), vault.new_refresh(account, family))
    for token, kind, seconds in (
        (pair.access, TokenKind.ACCESS, ACCESS_LIFETIME),
        (pair.refresh, TokenKind.REFRESH, REFRESH_LIFETIME),
    ):
        token_queries.add(
            tx,
            account,
            vault.digest(token),
            kind=kind,
            ends=tx.now + timedelta(seconds=seconds),
            family=family,
            issued=issued,
        )
    return pair


def renew(
    tx: WriteTransaction, vault: Vault, settings: Settings, actor: Actor | None, account: Row
) -> str:
    """Give the account's token: the one it has, its lifetime begun anew, or a new one."""
    kept = token_queries.of_account(tx, account.id)
    if kept is not None:
        ends = expiry(kept.issued, kept.used, account.token_lifetime, settings.token_max_age)
        if ends is None or ends >= tx.now:
            token_queries.touch_now(tx, kept.id)
            return vault.decrypt(kept.sealed, kept.digest)
    return issue(tx, vault, actor, account.id)


def log_in(
    tx: WriteTransaction, vault: Vault, settings: Settings, actor: Actor, method: str
) -> str:
    """Let somebody in whose password was right, and give the token.

    Args:
        actor: whose password was verified, before this transaction began.

    Refuses: Unauthenticated ``login.failed`` when what was verified no longer holds; see
    ``credentials.confirm``; Limited ``tries.wait`` after too many logins.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    check_login_rate(tx, account.id, settings)
    token = renew(tx, vault, settings, actor, account)
    account_queries.change(tx, account.id, {"last_login": tx.now})
    event_queries.record(tx, "login.succeeded", actor, account=account.id, method=method)
    return token


def record_failed_login(tx: WriteTransaction, account: Row | None, address: str) -> None:
    """Write down that somebody did not get in.

    What was typed as a user name is not kept: it may be a password, or a name of somebody else.
    """
    event_queries.record(
        tx,
        "login.failed",
        None,
        account=account.id if account is not None else None,
        address=address,
    )


def log_out(tx: WriteTransaction, actor: Actor) -> None:
    """End the token that authenticated the request, whatever its kind; a pair goes together.

    Where a member of staff acts as somebody else, it is the token of the member of staff.
    """
    shown = actor.impersonator or actor
    row = token_queries.get(tx, shown.id, shown.token)
    if row is not None:
        token_queries.revoke_row(tx, shown.id, row)
    event_queries.record(tx, "logout", shown, account=shown.id)


def check_may_oversee(actor: Actor) -> None:
    """Let only staff see and end what others are logged in with.

    Refuses: Forbidden ``permission.missing``.
    """
    if not actor.is_staff:
        raise Forbidden("permission.missing")


def end_token(tx: WriteTransaction, actor: Actor, account: int) -> None:
    """End somebody's token, and with it every session that uses it.

    Refuses: Forbidden ``permission.missing``, NotFound ``token.none``.
    """
    check_may_oversee(actor)
    if not token_queries.revoke(tx, account):
        raise NotFound("token.none")
    event_queries.record(tx, "token.revoked", actor, account=account)
