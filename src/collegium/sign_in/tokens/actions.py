"""Sign in and out, and issue, refresh and revoke tokens.

All protocols share one table of tokens.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.rules import Actor, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow, AccountWithPassword, Identity
from collegium.agreements import queries as agreement_queries
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.refusals import Forbidden, NotFound, Unauthenticated, check_quota
from collegium.security.crypto import Vault
from collegium.settings import DEFAULTS, Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.devices import queries as device_queries
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.queries import EncryptedToken
from collegium.sign_in.tokens.rules import (
    ACCESS_LIFETIME,
    COUNTED,
    LOGINS_WINDOW,
    PERSONAL_LIFETIME,
    REFRESH_LIFETIME,
    TokenKind,
    check_logins,
    expiry,
)
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor import rules as two_factor_rules


def actor_of(
    account: Identity,
    ip_address: str | None = None,
    request_id: str = "",
    impersonator: Actor | None = None,
    *,
    token: int = 0,
    credentials: int | None = None,
    token_kind: str | None = None,
) -> Actor:
    """Return the actor for an account.

    Args:
        ip_address: of the client; "" if unknown, None without a request.
        request_id: id of the request.
        impersonator: the member of staff who impersonates the account.
        token: id of the token that authenticated the request.
        credentials: ``credentials_version`` of the account when the password was verified.
        token_kind: kind of that token.
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
        ip_address=ip_address,
        request_id=request_id,
        impersonator=impersonator,
        token=token,
        credentials=credentials,
        token_kind=token_kind,
    )


def stored_actor(
    tx: ReadTransaction,
    account_id: int | None,
    impersonator_id: int | None,
    ip_address: str,
    request_id: str,
) -> Actor | None:
    """Return the actor for work that a request has left to the worker.

    The rights are those of the account now. Return None if it is not active any more, or if it was
    impersonated by an account that is not active staff any more.

    Args:
        account_id: id of the account that sent the request.
        impersonator_id: id of the member of staff who impersonated it.
        ip_address: of the client of that request.
        request_id: id of that request.
    """
    account = account_queries.by_id(tx, account_id or 0)
    if account is None or not account.is_active:
        return None
    if impersonator_id is None:
        return actor_of(account, ip_address, request_id)
    impersonator = account_queries.by_id(tx, impersonator_id)
    if impersonator is None or not impersonator.is_active or not impersonator.is_staff:
        return None
    return actor_of(account, ip_address, request_id, actor_of(impersonator))


def issue_api_token(
    tx: WriteTransaction,
    vault: Vault,
    actor: Actor | None,
    account: int,
    *,
    has_second_factor: bool = False,
) -> str:
    """Issue a new API token for an account. The old one is invalid at once.

    Args:
        has_second_factor: whether it comes of a sign-in that needed more than a password.
    """
    token_queries.revoke(tx, account)
    token = vault.new_token()
    token_queries.add(
        tx,
        account,
        vault.keyed_hash(token),
        vault.encrypt(token),
        has_second_factor=has_second_factor,
    )
    event_queries.record(tx, actor, events.TokenCreated(account=account))
    return token


def issue_personal(
    tx: WriteTransaction, vault: Vault, actor: Actor, name: str, *, settings: Settings = DEFAULTS
) -> tuple[str, int]:
    """Issue a personal token for a program of the actor. Return the token and its id.

    The token is shown only once.

    Args:
        name: name by which the owner recognises it.

    Raises:
        Conflict: ``token.too_many``.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor)
    check_token_quota(tx, actor.id, settings)
    token = vault.new_personal_token()
    token_id = token_queries.add(
        tx,
        actor.id,
        vault.keyed_hash(token),
        kind=TokenKind.PERSONAL,
        name=name,
        lifetime=PERSONAL_LIFETIME,
        has_second_factor=token_queries.has_second_factor(tx, actor.token),
    )
    event_queries.record(tx, actor, events.TokenCreated(account=actor.id, name=name))
    notices.send_notice(tx, mails.TokenCreated, account, actor, name=name)
    return token, token_id


def issue_device(
    tx: WriteTransaction,
    vault: Vault,
    account: AccountRow,
    name: str,
    lifetime: int,
    *,
    has_second_factor: bool,
) -> str:
    """Issue the token of a program that was approved in a browser.

    The account must be locked, and ``check_token_quota`` must have been called at the approval.

    Args:
        name: name of the program.
        lifetime: seconds that the token lives, used or not.
        has_second_factor: whether the session that approved it had a second factor.
    """
    token = vault.new_personal_token()
    token_queries.add(
        tx,
        account.id,
        vault.keyed_hash(token),
        kind=TokenKind.DEVICE,
        name=name,
        expires_at=tx.now + timedelta(seconds=lifetime),
        has_second_factor=has_second_factor,
    )
    event_queries.record(tx, actor_of(account), events.TokenCreated(account=account.id, name=name))
    return token


def check_token_quota(tx: WriteTransaction, account: int, settings: Settings) -> None:
    """Check that an account may have another token for a program.

    Approved programs that have not fetched their token are counted too. The account must be locked,
    so that of two concurrent requests the second one counts the token of the first.

    Raises:
        Conflict: ``token.too_many``.
    """
    rows = token_queries.remove_expired(tx, account, settings.token_max_age)
    count = sum(row.kind in COUNTED for row in rows) + device_queries.count_approved(tx, account)
    check_quota(count, settings.max_personal_tokens, "token.too_many")


def revoke_own(tx: WriteTransaction, actor: Actor, token_id: int) -> None:
    """Revoke one of the actor's tokens and its family. Sessions are not revoked here.

    Args:
        token_id: id of the token.

    Raises:
        NotFound: ``token.none``.
    """
    row = token_queries.get(tx, actor.id, token_id)
    if row is None or row.kind in {TokenKind.SESSION, TokenKind.SPENT}:
        raise NotFound("token.none")
    if not token_queries.revoke_row(tx, actor.id, row):
        raise NotFound("token.none")
    event_queries.record(tx, actor, events.TokenRevoked(account=actor.id, name=row.name))


def revoke_all_but_session(tx: WriteTransaction, actor: Actor) -> None:
    """Revoke all tokens and sessions of the actor except the session of the request.

    Raises:
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    credentials.confirm(tx, actor)
    credentials.cancel_pending(tx, actor.id)
    token_queries.revoke_all_but(tx, actor.id, actor.token)
    event_queries.record(tx, actor, events.TokenRevoked(account=actor.id))


class TokenPair(NamedTuple):
    """An access token for an hour, and the refresh token for the next pair."""

    access: str
    refresh: str


def log_in_with_refresh(
    tx: WriteTransaction, vault: Vault, actor: Actor, method: str, *, settings: Settings = DEFAULTS
) -> TokenPair:
    """Sign in a person whose password was verified. Return a pair of tokens.

    If the account has too many pairs, the one that was unused for longest ends.

    Raises:
        Unauthenticated: ``login.failed``: the verified credentials are no longer valid.
        Limited: ``tries.wait``: too many sign-ins.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    check_login_rate(tx, account.id, settings)
    rows = token_queries.remove_expired(tx, account.id, settings.token_max_age)
    pairs = [row for row in rows if row.kind == TokenKind.REFRESH]
    token_queries.revoke_oldest(tx, account.id, pairs, settings.max_sessions - 1)
    agreement_queries.record_sign_in(tx, account.id)
    event_queries.record(tx, actor, events.SignedIn(account=account.id, method=method))
    return _issue_pair(tx, vault, account.id, uuid4().hex, tx.now)


def check_login_rate(tx: WriteTransaction, account: int, settings: Settings) -> None:
    """Limit the number of sign-ins of an account in ten minutes, for staff too.

    The account must be locked, so that of two concurrent sign-ins the second one counts the first.

    Raises:
        Limited: ``tries.wait``.
    """
    if settings.rate_limits:
        since = tx.now - LOGINS_WINDOW
        first = event_queries.nth_sign_in(tx, account, since, settings.max_logins)
        check_logins(first, tx.now)


def refresh(tx: WriteTransaction, vault: Vault, settings: Settings, token: str) -> TokenPair | None:
    """Exchange a refresh token for the next pair. The old pair is invalid at once.

    Return None if the refresh token was used before. Then two parties have it, so its whole family
    is revoked (RFC 9700, section 4.14.2); the caller must commit this. A client whose response was
    lost must sign in again; see docs/decisions/0028-tokens.md.

    Raises:
        Unauthenticated: ``token.unknown``, ``token.inactive`` (deactivated account) or
            ``token.expired``.
    """
    owner = token_queries.owner(tx, vault.keyed_hash(token))
    if owner is not None:
        # Read again under the lock, because all tokens of the account may just have been revoked.
        access_queries.lock_account(tx, owner.id)
        owner = token_queries.owner(tx, vault.keyed_hash(token))
    if owner is None or owner.token_kind != TokenKind.REFRESH or owner.family is None:
        if owner is None and _revoke_reused(tx, vault, token):
            return None
        raise Unauthenticated("token.unknown")
    if not owner.is_active:
        raise Unauthenticated("token.inactive")
    expires_at = expiry(
        owner.created_at,
        owner.last_used_at,
        owner.lifetime,
        settings.token_max_age,
        owner.expires_at,
    )
    if expires_at is not None and expires_at < tx.now:
        raise Unauthenticated("token.expired")
    token_queries.revoke_family(tx, owner.id, owner.family)
    return _issue_pair(tx, vault, owner.id, owner.family, owner.created_at)


def _revoke_reused(tx: WriteTransaction, vault: Vault, token: str) -> bool:
    """Revoke the family of a refresh token that was used before. Return whether it existed."""
    account_and_family = vault.family_of(token)
    if account_and_family is None:
        return False
    account, family = account_and_family
    access_queries.lock_account(tx, account)
    if not token_queries.revoke_family(tx, account, family):
        return False
    event_queries.record(tx, None, events.TokenReused(account=account))
    return True


def _issue_pair(
    tx: WriteTransaction, vault: Vault, account: int, family: str, created_at: datetime
) -> TokenPair:
    pair = TokenPair(vault.new_personal_token(), vault.new_refresh_token(account, family))
    for token, kind, seconds in (
        (pair.access, TokenKind.ACCESS, ACCESS_LIFETIME),
        (pair.refresh, TokenKind.REFRESH, REFRESH_LIFETIME),
    ):
        token_queries.add(
            tx,
            account,
            vault.keyed_hash(token),
            kind=kind,
            expires_at=tx.now + timedelta(seconds=seconds),
            family=family,
            created_at=created_at,
        )
    return pair


def renew(
    tx: WriteTransaction, vault: Vault, settings: Settings, actor: Actor | None, account: AccountRow
) -> str:
    """Return the API token of an account and restart its lifetime, or replace an expired one."""
    return _renew(tx, vault, settings, actor, account, token_queries.of_account(tx, account.id))


def _renew(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    actor: Actor | None,
    account: AccountRow,
    row: EncryptedToken | None,
    *,
    has_second_factor: bool = False,
) -> str:
    if row is not None and row.token_encrypted is not None:
        expires_at = expiry(
            row.created_at, row.last_used_at, account.token_lifetime, settings.token_max_age
        )
        if expires_at is None or expires_at >= tx.now:
            token_queries.touch_now(tx, row.id)
            return vault.decrypt(row.token_encrypted, row.token_hash)
    return issue_api_token(tx, vault, actor, account.id, has_second_factor=has_second_factor)


def _without_other_factor(
    tx: WriteTransaction, settings: Settings, account: AccountWithPassword, row: EncryptedToken
) -> EncryptedToken | None:
    """Return the API token for a sign-in that had a second factor if and only if it had none.

    All programs of a person have the same API token, so it must not get a second factor that the
    others did not show, and none of them gets one from it. Return None if a new one is needed.

    Raises:
        Forbidden: ``second_factor.required``.
    """
    counts = two_factor_rules.is_required(
        settings.two_factor_required, sees_all=account.is_staff or account.is_support
    ) and not two_factor_queries.is_on(tx, account.id)
    if row.has_second_factor:
        if counts:
            raise Forbidden("second_factor.required")
        token_queries.forget_second_factor(tx, account.id, row.id)
    # Programs with a token that has none are refused anyway.
    return None if counts else row


def log_in(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    actor: Actor,
    method: str,
    *,
    has_second_factor: bool = False,
) -> str:
    """Sign in a person whose password was verified. Return the API token.

    Args:
        actor: the person, whose password was verified before this transaction.
        has_second_factor: whether the sign-in needed more than a password.

    Raises:
        Unauthenticated: ``login.failed``: the verified credentials are no longer valid.
        Forbidden: ``second_factor.required``: the operator requires a second factor, the API token
            comes of a sign-in that had one, and this sign-in had none.
        Limited: ``tries.wait``: too many sign-ins.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    check_login_rate(tx, account.id, settings)
    row = token_queries.of_account(tx, account.id)
    if row is not None and row.has_second_factor != has_second_factor:
        row = _without_other_factor(tx, settings, account, row)
    token = _renew(tx, vault, settings, actor, account, row, has_second_factor=has_second_factor)
    agreement_queries.record_sign_in(tx, account.id)
    event_queries.record(tx, actor, events.SignedIn(account=account.id, method=method))
    return token


def record_failed_sign_in(
    tx: WriteTransaction, account: AccountRow | None, ip_address: str
) -> None:
    """Record a failed sign-in.

    The entered user name is not stored, because it may be a password or another person's name.
    """
    event_queries.record(
        tx,
        None,
        events.SignInFailed(
            account=account.id if account is not None else None, address=ip_address
        ),
    )


def log_out(tx: WriteTransaction, actor: Actor) -> None:
    """Revoke the token that authenticated the request, and its family.

    During impersonation this is the token of the member of staff.
    """
    person = actor.impersonator or actor
    row = token_queries.get(tx, person.id, person.token)
    if row is not None:
        token_queries.revoke_row(tx, person.id, row)
    event_queries.record(tx, person, events.LoggedOut(account=person.id))


def revoke_api_token(tx: WriteTransaction, actor: Actor, account: int) -> None:
    """Revoke the API token of an account. This signs out all clients that use it.

    Raises:
        Forbidden: ``permission.missing``: the actor is not staff.
        NotFound: ``token.none``.
    """
    require_staff(actor)
    if not token_queries.revoke(tx, account):
        raise NotFound("token.none")
    event_queries.record(tx, actor, events.TokenRevoked(account=account))
